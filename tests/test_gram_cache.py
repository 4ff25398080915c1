"""GramCache: the same numbers without the work, and never those of something else."""

from pathlib import Path

import pytest
import torch

from polystyle.gram_cache import GramCache
from polystyle.losses import PerceptualLoss
from polystyle.vgg import VGG16


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vgg: VGG16) -> PerceptualLoss:
    """A loss whose VGG counts as a real one, with a cache of its own."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(vgg, "is_random", False)
    return PerceptualLoss(vgg)


def gram_buffers(loss: PerceptualLoss) -> dict[str, torch.Tensor]:
    return {name: each.clone() for name, each in loss.named_buffers() if name.startswith("gram_")}


def make_paintings() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    sizes = {"wave": (32, 40), "sun": (32, 32), "sea": (32, 40), "sky": (48, 32)}
    return {name: torch.rand(3, *size) for name, size in sizes.items()}


def test_the_second_time_nothing_is_computed_and_nothing_differs(
    cached: PerceptualLoss, monkeypatch: pytest.MonkeyPatch
) -> None:
    paintings = make_paintings()
    cached.set_style_images(paintings)
    before = gram_buffers(cached)
    monkeypatch.setattr(VGG16, "forward", lambda *_: pytest.fail("VGG was asked again"))
    again = PerceptualLoss(cached.vgg)
    again.set_style_images(dict(reversed(paintings.items())))
    for name, grams in gram_buffers(again).items():
        assert torch.equal(grams.flip(0), before[name])


def test_paintings_of_one_size_together_have_the_gram_matrices_they_have_alone(
    vgg: VGG16, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, seen = PerceptualLoss(vgg), []
    vgg.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    loss.set_style_images(make_paintings())
    alone = gram_buffers(loss)
    monkeypatch.setattr("polystyle.losses.PIXELS_AT_ONCE", {"cpu": 2 * 32 * 40})
    loss.set_style_images(make_paintings())
    assert seen[4:] == [(2, 3, 32, 40), (1, 3, 32, 32), (1, 3, 48, 32)]
    for name, grams in gram_buffers(loss).items():
        assert (grams - alone[name]).norm() < 1e-6 * alone[name].norm()


def test_another_painting_layer_pooling_or_weight_is_another_file(vgg: VGG16) -> None:
    image = torch.rand(3, 32, 32)
    other_weights = VGG16("random")
    average = VGG16("random", pooling="average")
    average.load_state_dict(vgg.state_dict())
    for name, buffer in vgg.named_buffers():
        average.get_buffer(name).copy_(buffer)
    paths = {
        GramCache(vgg, ["relu1_2"]).path(image),
        GramCache(vgg, ["relu1_2"]).path(image + 1e-3),
        GramCache(vgg, ["relu1_2"]).path(image.reshape(3, 16, 64)),
        GramCache(vgg, ["relu1_2", "relu2_2"]).path(image),
        GramCache(average, ["relu1_2"]).path(image),
        GramCache(other_weights, ["relu1_2"]).path(image),
    }
    assert len(paths) == 6
    assert GramCache(vgg, ["relu2_2", "relu1_2"]).path(image) in paths


def test_a_cut_file_is_computed_again_and_mended(cached: PerceptualLoss, tmp_path: Path) -> None:
    paintings = make_paintings()
    cached.set_style_images(paintings)
    before = gram_buffers(cached)
    file = next(tmp_path.rglob("*.safetensors"))
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    cached.set_style_images(paintings)
    assert all(torch.equal(each, before[name]) for name, each in gram_buffers(cached).items())
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_stops_nothing(
    cached: PerceptualLoss, tmp_path: Path
) -> None:
    (tmp_path / "polystyle_grams").write_text("a file where the folder would be")
    cached.set_style_images(make_paintings())
    assert torch.isfinite(cached.gram_relu1_2).all()


def test_random_weights_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    PerceptualLoss(VGG16("random")).set_style_images(make_paintings())
    assert not list(tmp_path.iterdir())
