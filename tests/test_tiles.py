"""Painting in tiles gives what the network paints whole, in the memory of one tile."""

import weakref
from unittest import mock

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

import polystyle.painting.tiles
from polystyle.networks.style_rows import rows_of
from polystyle.networks.transformer_net import ConvNorm, TransformerNet
from polystyle.painting.tiles import Tiles, paint_in_tiles


def make_net(dtype: torch.dtype = torch.float64) -> TransformerNet:
    """A small network of random weights, whose three styles differ."""
    torch.manual_seed(0)
    net = TransformerNet(3, width=0.125).eval().to(dtype)
    for table in rows_of(net).values():
        torch.nn.init.normal_(table)
    return net


def make_style(kind: str, height: int, width: int) -> Tensor:
    """A style for one photo of that size: an index, a mix or a map."""
    if kind == "index":
        return torch.tensor([1])
    if kind == "mix":
        return torch.tensor([[0.7, -0.2, 0.5]], dtype=torch.float64)
    if kind == "map":
        return torch.rand(1, 3, height, width, dtype=torch.float64)
    return torch.rand(1, 3, 7, 50, dtype=torch.float64)


# Maps are kept in float64, so that rounding explains no difference.
exact = mock.patch.object(polystyle.painting.tiles, "KEPT", torch.float64)


@exact
@given(
    height=st.integers(16, 60),
    width=st.integers(16, 60),
    tile=st.integers(1, 70),
    kind=st.sampled_from(["index", "mix", "map", "map of another size"]),
)
@example(height=16, width=16, tile=1, kind="index")
@example(height=37, width=18, tile=1, kind="map")
@example(height=33, width=21, tile=4, kind="mix")
@example(height=34, width=22, tile=5, kind="map of another size")
@example(height=35, width=23, tile=1000, kind="map")
def test_tiles_of_any_height_paint_what_the_network_paints_at_once(
    height: int, width: int, tile: int, kind: str
) -> None:
    net = make_net()
    photo = torch.rand(1, 3, height, width, dtype=torch.float64)
    style = make_style(kind, height, width)
    with torch.inference_mode():
        whole = net(photo, style)
    torch.testing.assert_close(paint_in_tiles(net, photo, style, tile), whole, atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", ["index", "map"])
def test_maps_kept_in_float16_cost_a_fraction_of_a_level(kind: str) -> None:
    net = make_net(torch.float32)
    photo = torch.rand(1, 3, 121, 98)
    style = make_style(kind, 121, 98)
    with torch.inference_mode():
        levels = 255 * (paint_in_tiles(net, photo, style, 16) - net(photo, style)).abs()
    # The difference is larger than a trained network's (0.2 at most), because this one is random.
    assert levels.mean() < 0.2
    assert levels.max() < 2
    assert levels.max() > 0.01, "float32 was kept, in twice the memory"


@exact
def test_8_bit_photos_come_back_rounded_to_8_bits() -> None:
    net = make_net()
    photo = torch.randint(0, 256, (1, 3, 29, 34), dtype=torch.uint8)
    style = torch.tensor([2])
    stylized = paint_in_tiles(net, photo, style, 8)
    assert stylized.dtype == torch.uint8
    with torch.inference_mode():
        whole = net(photo.double() / 255, style)
    torch.testing.assert_close(stylized, (whole * 255).round().to(torch.uint8), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 15, 40), "a 40 x 15 image is too small: both sides must be at least 16 pixels"),
        ((1, 4, 32, 32), r"content must be \[B, 3, H, W\], not \[1, 4, 32, 32\]"),
    ],
)
def test_photo_that_does_not_fit_is_refused_as_by_the_network(
    shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        paint_in_tiles(make_net(), torch.rand(shape), torch.tensor([0]), 8)


def test_photo_and_network_stay_as_they_were() -> None:
    net = make_net(torch.float32)
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    photo = torch.rand(1, 3, 32, 32)
    before = photo.clone()
    paint_in_tiles(net, photo, torch.tensor([0]), 8)
    assert torch.equal(photo, before)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("tile", [1, 12, 500])
@pytest.mark.parametrize("height", [16, 77])
def test_progress_adds_up_to_1(height: int, tile: int) -> None:
    shares: list[float] = []
    photo = torch.rand(1, 3, height, 20)
    paint_in_tiles(make_net(torch.float32), photo, torch.tensor([0]), tile, shares.append)
    assert min(shares) > 0
    assert sum(shares) == pytest.approx(1)


@exact
def test_statistics_of_every_layer_are_those_of_the_whole_picture() -> None:
    net = make_net()
    photo = torch.rand(1, 3, 50, 39, dtype=torch.float64)
    tiles = Tiles(net, photo, torch.tensor([1]), 9, lambda share: None)
    with torch.inference_mode():
        tiles.paint()
    layers = [layer for layer in net.modules() if isinstance(layer, ConvNorm)]
    convolved: dict[ConvNorm, Tensor] = {}
    for layer in layers:
        layer.conv.register_forward_hook(
            lambda _, inputs, output, layer=layer: convolved.update({layer: output})
        )
    with torch.inference_mode():
        net(photo, torch.tensor([1]))
    assert len(layers) == 16
    for layer in layers:
        mean, variance = tiles.statistics[layer]
        torch.testing.assert_close(mean, convolved[layer].mean((2, 3), keepdim=True))
        by_hand = convolved[layer].var((2, 3), correction=0, keepdim=True)
        torch.testing.assert_close(variance, by_hand)


def test_tiles_that_vary_little_around_a_large_mean_are_merged_without_loss() -> None:
    # In float32, the mean of squares minus the square of the mean would lose the variance here.
    net = make_net(torch.float32)
    photo = 0.9 + 1e-4 * torch.rand(1, 3, 64, 64)
    tiles = Tiles(net, photo, torch.tensor([0]), 4, lambda share: None)
    with torch.inference_mode():
        tiles.paint()
        layer = net.down[0]
        convolved = F.conv2d(
            F.pad(photo.double(), [4] * 4, mode="reflect"), layer.conv.weight.double()
        )
    mean, variance = tiles.statistics[layer]
    by_hand = convolved.var((2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(variance.double(), by_hand, rtol=1e-2, atol=0)
    assert (mean.double() ** 2 / by_hand).max() > 1e6  # the mean is over a thousand deviations


def test_memory_is_for_one_tile_and_for_two_maps_of_a_quarter_of_the_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[weakref.ref[Tensor]] = []
    shapes: list[tuple[int, ...]] = []
    alive: list[int] = []
    rows: list[int] = []

    def empty_map(tiles: Tiles, layer: ConvNorm) -> Tensor:
        features = real_map(tiles, layer)
        kept.append(weakref.ref(features))
        shapes.append(tuple(features.shape))
        alive.append(sum(reference() is not None for reference in kept))
        return features

    def conv2d(x: Tensor, *args: Tensor, **options: int) -> Tensor:
        rows.append(x.shape[2])
        return real_conv2d(x, *args, **options)

    real_map, real_conv2d = Tiles.empty_map, F.conv2d
    monkeypatch.setattr(Tiles, "empty_map", empty_map)
    monkeypatch.setattr(polystyle.painting.tiles.F, "conv2d", conv2d)
    net = make_net(torch.float32)
    paint_in_tiles(net, torch.rand(1, 3, 320, 16), torch.tensor([0]), 32)
    # The last map, of three channels, replaces one of the first two.
    assert shapes == [(1, 16, 80, 4), (1, 16, 80, 4), (1, 3, 320, 16)]
    assert alive == [1, 2, 2]
    assert max(rows) <= 32 + 20  # and the rows that the kernels read beyond the tile
