"""Conditional instance normalization: as right as torch's own, and no style touches another."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.func import functional_call
from torch.nn import functional as F

from polystyle.networks.conditional_instance_norm import ConditionalInstanceNorm2d

KINDS = ("index", "mix", "map")
INDEX = torch.tensor([2, 0])


def make_layer(
    num_features: int = 3, num_styles: int = 4, dtype: torch.dtype = torch.float64
) -> ConditionalInstanceNorm2d:
    """A layer whose rows all differ."""
    layer = ConditionalInstanceNorm2d(num_features, num_styles).to(dtype)
    with torch.no_grad():
        layer.gamma.normal_()
        layer.beta.normal_()
    return layer


def make_exact(layer: ConditionalInstanceNorm2d) -> ConditionalInstanceNorm2d:
    """The same layer in float64."""
    return copy.deepcopy(layer).double()


def make_style(kind: str, dtype: torch.dtype = torch.float64) -> Tensor:
    """A style of each kind, for two images, four styles and, as a map, 6 x 5 positions."""
    if kind == "index":
        return INDEX
    shape = (2, 4) if kind == "mix" else (2, 4, 6, 5)
    return torch.rand(shape, dtype=dtype).softmax(1)


def expected(x: Tensor, style: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """What torch's instance norm gives, image by image and, for a map, style by style."""
    images = []
    for image, chosen in zip(x.split(1), style, strict=True):
        if chosen.ndim == 0:
            images.append(F.instance_norm(image, weight=gamma[chosen], bias=beta[chosen]))
        elif chosen.ndim == 1:
            images.append(F.instance_norm(image, weight=chosen @ gamma, bias=chosen @ beta))
        else:
            each = [
                share * F.instance_norm(image, weight=g, bias=b)
                for share, g, b in zip(chosen, gamma, beta, strict=True)
            ]
            images.append(sum(each))
    return torch.cat(images)


def test_starts_as_plain_instance_norm_with_one_row_per_style() -> None:
    layer = ConditionalInstanceNorm2d(3, 4)
    shapes = {name: tuple(tensor.shape) for name, tensor in layer.state_dict().items()}
    assert shapes == {"gamma": (4, 3), "beta": (4, 3)}
    x = torch.randn(2, 3, 6, 5)
    torch.testing.assert_close(layer(x, INDEX), F.instance_norm(x))


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_instance_norm(kind: str) -> None:
    layer = make_layer()
    style = make_style(kind)
    x = (torch.randn(2, 3, 6, 5, dtype=torch.float64) * 3 + 1).requires_grad_()
    cotangent = torch.randn_like(x)
    inputs = (x, layer.gamma, layer.beta)

    ours = layer(x, style)
    theirs = expected(x, style, layer.gamma, layer.beta)

    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    for our_gradient, their_gradient in zip(
        torch.autograd.grad(ours, inputs, cotangent),
        torch.autograd.grad(theirs, inputs, cotangent),
        strict=True,
    ):
        torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "style",
    [
        torch.tensor([1, 0]),
        torch.rand(2, 2, dtype=torch.float64, requires_grad=True),
        torch.rand(2, 2, 4, 3, dtype=torch.float64, requires_grad=True),
        torch.rand(2, 2, 2, 2, dtype=torch.float64, requires_grad=True),
    ],
    ids=["index", "mix", "map", "smaller map"],
)
def test_gradcheck(style: Tensor) -> None:
    layer = make_layer(num_features=2, num_styles=2)
    x = torch.randn(2, 2, 4, 3, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, gamma: Tensor, beta: Tensor, style: Tensor) -> Tensor:
        return functional_call(layer, {"gamma": gamma, "beta": beta}, (x, style))

    assert torch.autograd.gradcheck(run, (x, layer.gamma, layer.beta, style))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_large_means_and_flat_images_keep_their_statistics(
    kind: str, memory_format: torch.memory_format
) -> None:
    layer = make_layer(dtype=torch.float32)
    style = make_style(kind, torch.float32)
    noise = torch.randn(2, 3, 60, 50)
    for x in (noise + 1000, noise * 1e-3 + 1, torch.full_like(noise, 7.0), torch.zeros_like(noise)):
        ours = layer(x.contiguous(memory_format=memory_format), style)
        exact = make_exact(layer)(x.double(), style.double() if style.ndim > 1 else style)
        torch.testing.assert_close(ours.double(), exact, rtol=0, atol=2e-3)


@pytest.mark.parametrize("kind", ["index", "mix"])
@pytest.mark.parametrize("mean", [0.0, 20.0, 100.0])
def test_bfloat16_is_as_exact_as_its_own_rounding(kind: str, mean: float) -> None:
    layer = make_layer(dtype=torch.float32)
    style = make_style(kind, torch.float32)
    x = (torch.randn(2, 3, 60, 50) + mean).bfloat16().to(memory_format=torch.channels_last)
    cotangent = torch.randn(2, 3, 60, 50)

    exact = make_exact(layer)
    ours, theirs = (
        (norm(value, style.to(norm.gamma.dtype) if kind == "mix" else style), value, norm)
        for norm, value in (
            (layer, x.detach().requires_grad_()),
            (exact, x.double().requires_grad_()),
        )
    )
    torch.testing.assert_close(ours[0].double(), theirs[0], rtol=0.01, atol=0.03)
    for our_gradient, their_gradient in zip(
        torch.autograd.grad(ours[0], (ours[1], *ours[2].parameters()), cotangent.bfloat16()),
        torch.autograd.grad(
            theirs[0], (theirs[1], *theirs[2].parameters()), cotangent.bfloat16().double()
        ),
        strict=True,
    ):
        scale = their_gradient.abs().max()
        torch.testing.assert_close(
            our_gradient.double() / scale, their_gradient / scale, rtol=0, atol=0.02
        )


def test_each_image_of_a_batch_gets_its_own_row() -> None:
    layer = make_layer()
    style = torch.tensor([3, 1, 0, 1, 2])
    photo = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    out = layer(photo.expand(5, -1, -1, -1), style)
    torch.testing.assert_close(out.mean((2, 3)), layer.beta[style])
    std = out.std((2, 3), correction=0)
    torch.testing.assert_close(std, layer.gamma[style].abs(), rtol=1e-4, atol=0)


def test_int32_index_is_an_index() -> None:
    layer = make_layer()
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    assert torch.equal(layer(x, INDEX.int()), layer(x, INDEX))


def test_one_hot_mix_is_exactly_the_index() -> None:
    layer = make_layer(dtype=torch.float32)
    x = torch.randn(2, 3, 6, 5)
    assert torch.equal(layer(x, F.one_hot(INDEX, 4).float()), layer(x, INDEX))


def test_map_that_is_constant_in_space_is_the_mix() -> None:
    layer = make_layer()
    mix = make_style("mix")
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    for size in ((6, 5), (1, 1), (3, 2), (20, 9)):
        constant = mix[:, :, None, None].expand(-1, -1, *size)
        torch.testing.assert_close(layer(x, constant), layer(x, mix))


@pytest.mark.parametrize("size", [(2, 2), (4, 3), (40, 64)])
def test_resampled_map_still_adds_up_to_one(size: tuple[int, int]) -> None:
    layer = ConditionalInstanceNorm2d(3, 2).double()
    left = torch.zeros(1, 1, *size, dtype=torch.float64)
    left[..., : size[1] // 2] = 1
    x = torch.randn(1, 3, 9, 7, dtype=torch.float64)
    out = layer(x, torch.cat([left, 1 - left], dim=1))
    torch.testing.assert_close(out, F.instance_norm(x))


@pytest.mark.parametrize("size", [(2, 2), (60, 48)])
def test_resampled_map_keeps_every_style_on_its_side(size: tuple[int, int]) -> None:
    layer = make_layer(num_styles=2)
    left = torch.zeros(1, 1, *size, dtype=torch.float64)
    left[..., : size[1] // 2] = 1
    x = torch.randn(1, 3, 10, 12, dtype=torch.float64)
    out = layer(x, torch.cat([left, 1 - left], dim=1))
    for style, column in ((0, 0), (1, -1)):
        alone = layer(x, torch.tensor([style]))
        torch.testing.assert_close(out[..., column], alone[..., column])


@pytest.mark.parametrize(
    ("columns", "shares"),
    [([1, 0], [1, 0.75, 0.25, 0]), ([1, 0, 0, 0] * 4, [0.25] * 4)],
    ids=["enlarged", "reduced"],
)
def test_map_is_resampled_as_a_picture_is(columns: list[int], shares: list[float]) -> None:
    # Pixels are areas: enlarging interpolates between their middles, reducing averages them all.
    layer = make_layer(num_styles=2)
    left = torch.tensor(columns, dtype=torch.float64).expand(1, 1, 1, -1)
    x = torch.randn(1, 3, 6, 4, dtype=torch.float64)
    first, second = layer(x, torch.tensor([0])), layer(x, torch.tensor([1]))
    inner = slice(1, -1) if len(columns) > 4 else slice(None)
    share = torch.tensor(shares, dtype=torch.float64)
    blend = share * first + (1 - share) * second
    out = layer(x, torch.cat([left, 1 - left], dim=1))
    torch.testing.assert_close(out[..., inner], blend[..., inner])


@pytest.mark.parametrize("kind", ["index", "mix"])
def test_absent_styles_get_exactly_zero_gradient(kind: str) -> None:
    layer = make_layer(dtype=torch.float32)
    style = INDEX if kind == "index" else F.one_hot(INDEX, 4).float()
    layer(torch.randn(2, 3, 6, 5), style).square().sum().backward()
    for table in (layer.gamma, layer.beta):
        moved = table.grad.ne(0).any(1)
        assert moved.tolist() == [True, False, True, False]


@pytest.mark.parametrize("junk", [123.0, float("nan")])
def test_another_styles_row_cannot_touch_the_output(junk: float) -> None:
    layer = make_layer(dtype=torch.float32)
    x = torch.randn(2, 3, 6, 5)
    before = layer(x, INDEX)
    with torch.no_grad():
        for table in (layer.gamma, layer.beta):
            table[[1, 3]] = junk
    assert torch.equal(layer(x, INDEX), before)
    with torch.no_grad():
        layer.beta[2] += 1
    after = layer(x, INDEX)
    assert not torch.equal(after[0], before[0])
    assert torch.equal(after[1], before[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_statistics_of_half_precision_maps_are_float32(dtype: torch.dtype, kind: str) -> None:
    layer = make_layer(dtype=torch.float32)
    style = make_style(kind, dtype=torch.float32)
    # bfloat16 can't tell 300 from 301; the variance of the second image is over float16's 65504.
    x = torch.stack([300 + 3 * torch.randn(3, 6, 5), 2000 * torch.randn(3, 6, 5)]).to(dtype)
    out = layer(x, style)
    assert out.dtype == dtype
    gamma, beta = layer.gamma.double(), layer.beta.double()
    exact = expected(x.double(), style if kind == "index" else style.double(), gamma, beta)
    one_step = torch.finfo(dtype).eps
    torch.testing.assert_close(out.double(), exact, rtol=one_step, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype: torch.dtype, kind: str) -> None:
    layer = make_layer(dtype=torch.float32)
    style = make_style(kind, dtype=torch.float32)
    x = 300 + torch.randn(2, 3, 6, 5)
    with torch.autocast("cpu", dtype=dtype):
        out = layer(x, style)
    assert out.dtype == torch.float32
    assert torch.equal(out, layer(x, style))


@pytest.mark.parametrize("kind", KINDS)
def test_compiles_without_a_graph_break(kind: str) -> None:
    torch.compiler.reset()
    layer = make_layer()
    style = make_style(kind)
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, style), layer(x, style))


def test_index_on_a_gpu_is_not_looked_at() -> None:
    # A fake tensor has no values: reading one, which would stall a real GPU, raises.
    with FakeTensorMode(), torch.device("cuda"):
        layer = ConditionalInstanceNorm2d(3, 4)
        out = layer(torch.empty(2, 3, 6, 5), torch.zeros(2, dtype=torch.int64))
    assert out.shape == (2, 3, 6, 5)


@pytest.mark.parametrize(
    ("shape", "style", "message"),
    [
        ((3, 6, 5), INDEX, r"x must be \[B, 3, H, W\], not \[3, 6, 5\]"),
        ((2, 4, 6, 5), INDEX, r"x must be \[B, 3, H, W\], not \[2, 4, 6, 5\]"),
        ((2, 3, 6, 5), torch.tensor(1), r"not of shape \[\]"),
        ((2, 3, 6, 5), torch.rand(2, 4, 6), r"not of shape \[2, 4, 6\]"),
        ((2, 3, 6, 5), torch.tensor([True, False]), "index must be .*, not torch.bool"),
        ((2, 3, 6, 5), torch.tensor([1.0, 0.0]), "index must be .*, not torch.float32"),
        ((2, 3, 6, 5), INDEX.to(torch.uint8), "index must be .*, not torch.uint8"),
        ((2, 3, 6, 5), torch.tensor([0, 4]), r"style index 4 is not in 0\.\.3"),
        ((2, 3, 6, 5), torch.tensor([-1, 3]), r"style index -1 is not in 0\.\.3"),
        ((2, 3, 6, 5), torch.tensor([0]), "style is for 1 image, x has 2"),
        ((2, 3, 6, 5), torch.rand(3, 4), "style is for 3 images, x has 2"),
        ((2, 3, 6, 5), torch.rand(1, 4, 6, 5), "style is for 1 image, x has 2"),
        ((2, 3, 6, 5), torch.rand(2, 5), "a mix must have 4 styles, not 5"),
        ((2, 3, 6, 5), torch.rand(2, 3, 6, 5), "a mix must have 4 styles, not 3"),
        ((2, 3, 6, 5), torch.ones(2, 4).long(), "a mix of styles must be floating, not torch.int"),
        ((2, 3, 6, 5), torch.ones(2, 4).bool(), "a mix of styles must be floating, not torch.bool"),
    ],
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], style: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConditionalInstanceNorm2d(3, 4)(torch.randn(shape), style)


@given(
    sizes=st.tuples(*(st.integers(1, high) for high in (3, 4, 6, 6, 5))),
    seed=st.integers(0, 2**32 - 1),
)
def test_blend_of_styles_is_the_same_blend_of_their_outputs(
    sizes: tuple[int, int, int, int, int], seed: int
) -> None:
    torch.manual_seed(seed)
    batch, channels, height, width, num_styles = sizes
    layer = make_layer(channels, num_styles)
    x = torch.randn(batch, channels, height, width, dtype=torch.float64)
    mix = torch.rand(batch, num_styles, dtype=torch.float64)
    mix = mix / mix.sum(1, keepdim=True)
    blend = sum(
        mix[:, style, None, None, None] * layer(x, torch.full((batch,), style))
        for style in range(num_styles)
    )
    torch.testing.assert_close(layer(x, mix), blend)
