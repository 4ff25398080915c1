"""The losses: the published formulas, free of scale where asked, each image its own painting."""

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from polystyle.losses.perceptual_loss import (
    PerceptualLoss,
    content_loss,
    gram_matrix,
    style_loss,
    total_variation_loss,
)
from polystyle.losses.style_transfer import StyleTransfer
from polystyle.losses.vgg import VGG16
from polystyle.losses.vgg_weights import LAYERS

STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
PUBLISHED = {
    "style_weight": 1.0,
    "style_weights": dict.fromkeys(STYLE_LAYERS, 1e-4),
    "relative": False,
}


def make_paintings() -> dict[str, Tensor]:
    """Three paintings, unlike in colour and in grain, of different sizes; always the same."""
    random = torch.Generator().manual_seed(1)
    fine = torch.rand(3, 32, 32, generator=random)
    coarse = torch.rand(3, 6, 5, generator=random).repeat_interleave(8, 1).repeat_interleave(8, 2)
    stripes = torch.linspace(0, 30, 40).sin().abs() * torch.tensor([0.9, 0.5, 0.1])[:, None, None]
    return {"fine": fine, "coarse": coarse, "stripes": stripes.expand(3, 36, 40)}


def make_loss(vgg: VGG16, **options: Any) -> PerceptualLoss:
    loss = PerceptualLoss(vgg, **options)
    loss.set_style_images(make_paintings())
    return loss


def make_pictures(batch: int = 2) -> tuple[Tensor, Tensor]:
    """Photos and what might be painted from them."""
    return torch.rand(batch, 3, 32, 32), torch.rand(batch, 3, 32, 32)


def squared_difference(values: np.ndarray, targets: np.ndarray, relative: bool) -> float:
    """Of one image, in plain numpy."""
    squares = ((values - targets) ** 2).sum()
    return squares / (targets**2).sum() if relative else squares / values.size


def gram_by_hand(features: np.ndarray) -> np.ndarray:
    """The Gram matrix of one image, in plain numpy."""
    channels, height, width = features.shape
    gram = np.zeros((channels, channels))
    for i in range(channels):
        for j in range(channels):
            gram[i, j] = (features[i] * features[j]).sum() / (height * width)
    return gram


def test_gram_is_the_mean_product_of_each_two_channels() -> None:
    features = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    gram = gram_matrix(features)
    assert gram.dtype == torch.float64
    for ours, image in zip(gram, features, strict=True):
        np.testing.assert_allclose(ours.numpy(), gram_by_hand(image.numpy()), rtol=1e-12)


@given(
    channels=st.integers(1, 8),
    sides=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 2**32 - 1),
)
def test_gram_is_symmetric_and_positive_semidefinite(
    channels: int, sides: tuple[int, int], seed: int
) -> None:
    torch.manual_seed(seed)
    gram = gram_matrix(torch.randn(2, channels, *sides, dtype=torch.float64))
    torch.testing.assert_close(gram, gram.mT, rtol=1e-12, atol=1e-12)
    assert torch.linalg.eigvalsh(gram).min() > -1e-12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gram_of_half_precision_is_float32_and_does_not_overflow(dtype: torch.dtype) -> None:
    features = torch.ones(1, 4, 256, 256, dtype=dtype)
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=dtype, enabled=enabled):
            gram = gram_matrix(features)
        assert gram.dtype == torch.float32
        assert gram.eq(1).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_does_not_round_the_gram(dtype: torch.dtype) -> None:
    features = torch.randn(1, 4, 16, 16)
    with torch.autocast("cpu", dtype=dtype):
        gram = gram_matrix(features)
    assert torch.equal(gram, gram_matrix(features))


@pytest.mark.parametrize("relative", [True, False])
def test_content_and_style_loss_are_the_formulas_image_by_image(relative: bool) -> None:
    features = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    photo = torch.randn(2, 3, 4, 5, dtype=torch.float64) * 2
    painting = torch.randn(2, 3, 6, 7, dtype=torch.float64) * 3
    content = content_loss(features, photo, relative)
    style = style_loss(features, gram_matrix(painting), relative)
    for i in range(2):
        here, there, paint = features[i].numpy(), photo[i].numpy(), painting[i].numpy()
        assert content[i].item() == pytest.approx(squared_difference(here, there, relative))
        grams = gram_by_hand(here), gram_by_hand(paint)
        assert style[i].item() == pytest.approx(squared_difference(*grams, relative))


@given(scale=st.floats(0.1, 1000), seed=st.integers(0, 2**32 - 1))
def test_relative_losses_do_not_feel_the_scale_of_the_features(scale: float, seed: int) -> None:
    torch.manual_seed(seed)
    features, photo, painting = torch.randn(3, 2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(
        content_loss(scale * features, scale * photo), content_loss(features, photo)
    )
    torch.testing.assert_close(
        style_loss(scale * features, gram_matrix(scale * painting)),
        style_loss(features, gram_matrix(painting)),
    )


@pytest.mark.parametrize("relative", [True, False])
def test_losses_are_zero_for_what_is_equal(relative: bool) -> None:
    features = torch.randn(2, 3, 4, 5)
    assert content_loss(features, features, relative).eq(0).all()
    assert style_loss(features, gram_matrix(features), relative).eq(0).all()


def test_blank_target_gives_a_finite_loss_and_gradient() -> None:
    features = torch.randn(2, 3, 4, 5, requires_grad=True)
    blank = torch.zeros(2, 3, 4, 5)
    loss = content_loss(features, blank) + style_loss(features, gram_matrix(blank))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert features.grad.isfinite().all()


def test_small_float16_differences_do_not_vanish_when_squared() -> None:
    photo = torch.zeros(1, 3, 4, 5, dtype=torch.float16)
    loss = content_loss(photo + 1e-4, photo, relative=False)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(1e-8, rel=0.01)


def test_total_variation_of_known_pictures() -> None:
    flat = torch.full((3, 6, 8), 0.3)
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(8), indexing="ij")
    board = ((rows + columns) % 2).expand(3, 6, 8).float()
    ramp = (0.1 * columns).expand(3, 6, 8)
    steep = (0.1 * columns + 0.05 * rows).expand(3, 6, 8)
    losses = total_variation_loss(torch.stack([flat, board, ramp, steep]))
    torch.testing.assert_close(losses, torch.tensor([0, 2, 0.1, 0.15]))


def count_calls(vgg: VGG16) -> Counter[int]:
    """How often each of VGG's modules runs from now on, by its index."""
    calls: Counter[int] = Counter()
    for index, module in enumerate(vgg.features):
        module.register_forward_hook(lambda *_, index=index: calls.update([index]))
    return calls


@pytest.mark.parametrize(
    ("pooling", "options"),
    [
        ("max", {}),
        ("average", PUBLISHED),
        (
            "max",
            {"content_weights": {"relu2_2": 0.5, "relu4_1": 2}, "style_weights": {"relu1_1": 3}},
        ),
    ],
    ids=["scale-free", "dumoulin2017", "own layers"],
)
def test_perceptual_loss_is_its_definition(
    pooling: str,
    options: dict[str, Any],
    true_weights: dict[str, Tensor],
    features_by_hand: Callable[..., dict[str, Tensor]],
) -> None:
    def features(image: Tensor) -> dict[str, np.ndarray]:
        maps = features_by_hand(image[None], true_weights, pooling)
        return {name: tensor[0].numpy() for name, tensor in maps.items()}

    vgg = VGG16(weights="random", pooling=pooling).double()
    for name, buffer in vgg.features.named_buffers():
        buffer.copy_(true_weights[name])
    loss = make_loss(vgg, **options)
    paintings = list(make_paintings().values())
    photos, pictures = make_pictures()
    style = torch.tensor([2, 0])
    relative = options.get("relative", True)
    content_weights = options.get("content_weights", {"relu3_3": 1})
    style_weights = options.get("style_weights", dict.fromkeys(STYLE_LAYERS, 0.25))

    terms = loss(photos.double(), pictures.double(), style)

    for i in range(2):
        photo, picture, painting = map(features, (photos[i], pictures[i], paintings[style[i]]))
        content = sum(
            weight * squared_difference(picture[layer], photo[layer], relative)
            for layer, weight in content_weights.items()
        )
        grams = sum(
            weight
            * squared_difference(
                np.einsum("chw,dhw->cd", picture[layer], picture[layer]) / picture[layer][0].size,
                np.einsum("chw,dhw->cd", painting[layer], painting[layer])
                / painting[layer][0].size,
                relative,
            )
            for layer, weight in style_weights.items()
        )
        assert terms["content_loss"][i].item() == pytest.approx(content, rel=1e-6)
        assert terms["style_loss"][i].item() == pytest.approx(grams, rel=1e-5)
        total = content + options.get("style_weight", 5) * grams
        assert terms["loss"][i].item() == pytest.approx(total, rel=1e-5)


def test_loss_is_the_weighted_sum_of_its_terms(vgg: VGG16) -> None:
    loss = make_loss(vgg, content_weight=2.0, style_weight=3.0, tv_weight=0.5)
    photos, pictures = make_pictures()
    terms = loss(photos, pictures, torch.tensor([0, 1]))
    torch.testing.assert_close(terms["tv_loss"], total_variation_loss(pictures))
    total = 2 * terms["content_loss"] + 3 * terms["style_loss"] + 0.5 * terms["tv_loss"]
    torch.testing.assert_close(terms["loss"], total)
    for term in terms.values():
        assert term.shape == (2,)
        assert term.dtype == torch.float32
        assert (term > 0).all()


def test_each_image_is_compared_with_its_own_painting(vgg: VGG16) -> None:
    loss = make_loss(vgg)
    paintings = torch.stack([image[:, :32, :32] for image in make_paintings().values()])
    loss.set_style_images(dict(zip("abc", paintings, strict=True)))
    own = loss(paintings, paintings, torch.tensor([0, 1, 2]))["style_loss"]
    another = loss(paintings, paintings, torch.tensor([1, 2, 0]))["style_loss"]
    assert (own < 1e-8).all()
    assert (another > 1e-2).all()


def test_batch_is_each_image_alone(vgg: VGG16) -> None:
    loss = make_loss(vgg)
    photos, pictures = make_pictures(3)
    style = torch.tensor([1, 1, 2])
    together = loss(photos, pictures, style)["loss"]
    for i in range(3):
        alone = loss(photos[i : i + 1], pictures[i : i + 1], style[i : i + 1])["loss"]
        torch.testing.assert_close(alone, together[i : i + 1])


def test_style_coefficient_scales_the_style_of_its_name_only(vgg: VGG16) -> None:
    photos, pictures = make_pictures(3)
    style = torch.tensor([0, 1, 2])
    plain = make_loss(vgg)(photos, pictures, style)
    scaled = make_loss(vgg, style_coefficients={"coarse": 3.0})(photos, pictures, style)
    factors = torch.tensor([1.0, 3.0, 1.0])
    torch.testing.assert_close(scaled["style_loss"], plain["style_loss"] * factors)
    assert torch.equal(scaled["content_loss"], plain["content_loss"])


@pytest.mark.parametrize("options", [{}, PUBLISHED], ids=["scale-free", "dumoulin2017"])
def test_the_style_without_a_painting_is_compared_with_the_photos_pixels(
    vgg: VGG16, options: dict[str, Any]
) -> None:
    photos, pictures = make_pictures(3)
    style = torch.tensor([0, 3, 2])
    plain = make_loss(vgg, **options)(photos, pictures, style.where(style != 3, 1))
    loss = make_loss(vgg, **options)
    loss.set_style_images({**make_paintings(), "photo": None})
    expected = (photos[1] - pictures[1]).square().mean()
    terms = loss(photos, pictures.requires_grad_(), style)
    torch.testing.assert_close(terms["style_loss"][1], expected)
    painted = torch.tensor([0, 2])
    for name, term in terms.items():
        assert torch.equal(term[painted], plain[name][painted]), name
    terms["loss"].sum().backward()
    assert pictures.grad.isfinite().all()
    assert loss(photos, photos, style)["loss"][1] == 0


def test_coefficient_of_an_unknown_style_names_the_nearest(vgg: VGG16) -> None:
    with pytest.raises(ValueError, match="no style 'coars'; nearest is 'coarse'"):
        make_loss(vgg, style_coefficients={"coars": 2.0})


@pytest.mark.parametrize("which", ["content_weights", "style_weights"])
def test_unknown_layer_is_refused(vgg: VGG16, which: str) -> None:
    with pytest.raises(ValueError, match="VGG-16 has no layer 'relu5_1'; it has relu1_1, "):
        PerceptualLoss(vgg, **{which: {"relu2_2": 1.0, "relu5_1": 1.0}})


@pytest.mark.parametrize("which", ["content_weights", "style_weights"])
def test_no_layer_left_is_refused(vgg: VGG16, which: str) -> None:
    with pytest.raises(ValueError, match="need a layer of weight over 0"):
        PerceptualLoss(vgg, **{which: {"relu2_2": 0.0}})


def test_gradient_reaches_the_picture_and_nothing_else(vgg: VGG16) -> None:
    loss = make_loss(vgg)
    photos, pictures = (images.requires_grad_() for images in make_pictures())
    loss(photos, pictures, torch.tensor([0, 1]))["loss"].sum().backward()
    assert photos.grad is None
    assert (pictures.grad.flatten(1).abs().sum(1) > 0).all()
    assert not list(loss.parameters())
    assert not any(buffer.requires_grad for buffer in loss.buffers())


def test_nothing_of_the_loss_is_in_a_checkpoint(vgg: VGG16) -> None:
    assert not make_loss(vgg).state_dict()


def test_photo_runs_no_deeper_than_the_content_layer(vgg: VGG16) -> None:
    loss = make_loss(vgg)
    calls = count_calls(vgg)
    loss(*make_pictures(), torch.tensor([0, 1]))
    deepest_content, deepest_style = LAYERS["relu3_3"], LAYERS["relu4_3"]
    once = range(deepest_content + 1, deepest_style + 1)
    assert calls == {**dict.fromkeys(range(deepest_content + 1), 2), **dict.fromkeys(once, 1)}


def test_layers_of_weight_zero_are_not_computed(vgg: VGG16) -> None:
    style_weights = {"relu1_2": 1.0, "relu2_2": 1.0, "relu4_3": 0.0}
    content_weights = {"relu2_1": 1.0, "relu3_3": 0.0}
    loss = PerceptualLoss(vgg, content_weights=content_weights, style_weights=style_weights)
    calls = count_calls(vgg)
    loss.set_style_images(make_paintings())
    loss(*make_pictures(), torch.tensor([0, 1]))
    assert max(calls) == LAYERS["relu2_2"]
    assert not hasattr(loss, "gram_relu4_3")


def test_paintings_of_one_size_together_have_the_gram_matrices_they_have_alone(
    vgg: VGG16, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"wave": (32, 40), "sun": (32, 32), "sea": (32, 40), "sky": (48, 32)}
    paintings = {name: torch.rand(3, *size) for name, size in sizes.items()}
    loss, seen = PerceptualLoss(vgg), []
    vgg.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))

    def gram_matrices() -> dict[str, torch.Tensor]:
        loss.set_style_images(paintings)
        buffers = dict(loss.named_buffers())
        return {name: grams.clone() for name, grams in buffers.items() if name.startswith("gram_")}

    alone = gram_matrices()
    monkeypatch.setattr("polystyle.losses.perceptual_loss.PIXELS_AT_ONCE", {"cpu": 2 * 32 * 40})
    together = gram_matrices()
    assert seen[4:] == [(2, 3, 32, 40), (1, 3, 32, 32), (1, 3, 48, 32)]
    for name, grams in together.items():
        assert (grams - alone[name]).norm() < 1e-6 * alone[name].norm()


def test_one_image_is_compared_with_every_painting(vgg: VGG16) -> None:
    loss = PerceptualLoss(vgg)
    loss.set_style_images({"a": torch.rand(3, 32, 32), "b": torch.rand(3, 40, 32), "photo": None})
    content, stylized = torch.rand(2, 1, 3, 32, 32)
    together = loss(content, stylized, torch.arange(loss.num_styles))["loss"]
    for index in range(loss.num_styles):
        alone = loss(content, stylized, torch.tensor([index]))["loss"]
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-5, atol=1e-6)


def test_steps_of_progressive_resizing_have_paintings_and_a_weight_of_their_own(vgg: VGG16) -> None:
    large, small = torch.rand(3, 48, 48), torch.rand(3, 24, 24)
    both = PerceptualLoss(vgg, style_weight=10.0, progressive_style_weight=5.0)
    both.set_style_images({"a": large}, {"a": small})
    content, stylized = torch.rand(2, 1, 3, 32, 32)
    style = torch.tensor([0])
    for is_progressive, painting, weight in ((False, large, 10.0), (True, small, 5.0)):
        alone = PerceptualLoss(vgg, style_weight=weight)
        alone.set_style_images({"a": painting})
        expected = alone(content, stylized, style)
        losses = both(content, stylized, style, is_progressive)
        for name, values in expected.items():
            assert torch.equal(losses[name], values), (name, is_progressive)


def test_progressive_steps_are_like_all_others_by_default(vgg: VGG16) -> None:
    loss = PerceptualLoss(vgg)
    loss.set_style_images({"a": torch.rand(3, 32, 32)})
    content, stylized = torch.rand(2, 1, 3, 32, 32)
    style = torch.tensor([0])
    progressive = loss(content, stylized, style, is_progressive=True)["loss"]
    assert torch.equal(progressive, loss(content, stylized, style)["loss"])


def test_crops_smaller_than_the_datas_are_those_of_progressive_resizing(vgg: VGG16) -> None:
    loss = PerceptualLoss(vgg, progressive_style_weight=50.0)
    objective = StyleTransfer(loss)
    paintings = {"a": torch.rand(3, 32, 32)}
    data = SimpleNamespace(paintings=paintings, progressive_paintings=None, image_size=32)
    objective.prepare(data)
    for size, is_progressive in ((32, False), (16, True)):
        batch = {"content": torch.rand(1, 3, size, size), "style": torch.tensor([0])}
        expected = loss(batch["content"], batch["content"].flip(3), batch["style"], is_progressive)
        losses = objective(lambda content, style: content.flip(3), batch)
        assert torch.equal(losses["loss"], expected["loss"])
