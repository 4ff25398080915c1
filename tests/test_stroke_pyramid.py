"""The stroke pyramid: the sizes of its levels, and what is painted at each of them."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from polystyle.networks.transformer_net import MIN_SIDE
from polystyle.painting import stroke_pyramid
from polystyle.painting.picture_tensors import resized
from polystyle.painting.stroke_pyramid import (
    AREA_SIDE,
    MAX_ENLARGEMENT,
    PHOTO_SHARE,
    SCALES,
    STROKE_PIXELS,
    level_sizes,
    paint_pyramid,
    with_area_colors,
)

sides = st.integers(1, 20_000)
scales = st.floats(*SCALES)


class Paint:
    """Paints the negative, and records the contents and styles that it is given."""

    def __init__(self) -> None:
        self.contents: list[Tensor] = []
        self.styles: list[Tensor] = []

    def __call__(self, content: Tensor, style: Tensor) -> Tensor:
        self.contents.append(content)
        self.styles.append(style)
        return 255 - content if content.dtype == torch.uint8 else 1 - content


@pytest.fixture
def small_strokes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first level of scale 1 has 24 x 32 pixels, which saves time."""
    monkeypatch.setattr(stroke_pyramid, "STROKE_PIXELS", 24 * 32)


# The sizes of the levels.


@given(height=sides, width=sides, scale=scales)
@example(height=3000, width=4000, scale=1.0)
@example(height=1, width=20_000, scale=4.0)
def test_first_level_has_the_pixels_of_its_scale(height: int, width: int, scale: float) -> None:
    first = level_sizes(height, width, scale)[0]
    if min(first) > MIN_SIDE:
        # Rounding moves a side by half a pixel.
        pixels = STROKE_PIXELS / scale**2
        assert math.prod(first) == pytest.approx(pixels, rel=0.5 / first[0] + 0.6 / first[1])
        assert first[0] / first[1] == pytest.approx(height / width, rel=1.1 / min(first))


@given(height=sides, width=sides, scale=scales)
@example(height=400, width=500, scale=1.0)  # exactly the pixels of the first level
@example(height=15, width=20_000, scale=4.0)
def test_last_level_has_the_photos_size_unless_the_first_is_larger(
    height: int, width: int, scale: float
) -> None:
    levels = level_sizes(height, width, scale)
    if height * width * scale**2 <= STROKE_PIXELS:
        assert len(levels) == 1
        assert levels[0][0] >= height
        assert levels[0][1] >= width
    else:
        assert len(levels) > 1
        assert levels[-1] == (max(MIN_SIDE, height), max(MIN_SIDE, width))


@given(height=sides, width=sides, scale=scales)
@example(height=1250, width=1000, scale=1.0)  # exactly the largest enlargement
def test_levels_grow_by_at_most_the_largest_enlargement(
    height: int, width: int, scale: float
) -> None:
    levels = level_sizes(height, width, scale)
    for smaller, larger in pairwise(levels):
        for before, after in zip(smaller, larger, strict=True):
            assert before <= after <= MAX_ENLARGEMENT * (before + 0.5) + 0.5
    # There are no more levels than that takes.
    enlargement = scale * math.sqrt(height * width / STROKE_PIXELS)
    if len(levels) > 1:
        assert MAX_ENLARGEMENT ** (len(levels) - 2) < enlargement


@given(height=sides, width=sides, scale=scales)
def test_no_level_is_too_small_for_the_network(height: int, width: int, scale: float) -> None:
    assert min(map(min, level_sizes(height, width, scale))) >= MIN_SIDE


# What is painted.


@pytest.mark.usefixtures("small_strokes")
def test_photo_up_to_the_first_level_is_painted_once_at_that_levels_size() -> None:
    for size, scale in (((24, 32), 1.0), ((12, 16), 1.0), ((24, 32), 0.25), ((30, 40), 0.5)):
        photo, paint = torch.rand(1, 3, *size), Paint()
        painted = paint_pyramid(paint, photo, torch.tensor([0]), scale)
        (content,) = paint.contents
        assert torch.equal(content, resized(photo, [round(24 / scale), round(32 / scale)]))
        assert torch.equal(painted, resized(1 - content, size))


@pytest.mark.usefixtures("small_strokes")
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_each_level_paints_the_enlarged_painting_with_the_photos_share(dtype: torch.dtype) -> None:
    photo = torch.rand(2, 3, 120, 160)
    if dtype == torch.uint8:
        photo = (photo * 255).round().to(dtype)
    paint = Paint()
    style = torch.tensor([0, 2])
    painted = paint_pyramid(paint, photo, style, 1.0)
    assert [content.shape[-2:] for content in paint.contents] == [(24, 32), (54, 72), (120, 160)]
    assert all(content.dtype == dtype for content in paint.contents)
    assert all(torch.equal(level_style, style) for level_style in paint.styles)

    assert torch.equal(paint.contents[0], resized(photo, [24, 32]))
    top = 255 if dtype == torch.uint8 else 1
    paintings = [top - content for content in paint.contents]
    paintings = [with_area_colors(painting, paintings[0]) for painting in paintings]
    for before, content in zip(paintings[:-1], paint.contents[1:], strict=True):
        size = content.shape[-2:]
        enlarged = resized(before, size).float()
        expected = enlarged + PHOTO_SHARE * (resized(photo, size).float() - enlarged)
        difference = (content.float() - expected).abs().max()
        assert difference <= (0.51 if dtype == torch.uint8 else 1e-5)
    assert torch.equal(painted, paintings[-1])


@pytest.mark.usefixtures("small_strokes")
def test_map_of_styles_is_resized_for_every_level() -> None:
    shares = torch.rand(1, 2, 120, 160).softmax(1)
    paint = Paint()
    paint_pyramid(paint, torch.rand(1, 3, 120, 160), shares, 1.0)
    for content, style in zip(paint.contents, paint.styles, strict=True):
        expected = F.interpolate(shares, content.shape[-2:], mode="bilinear", antialias=True)
        torch.testing.assert_close(style, expected)
        torch.testing.assert_close(style.sum(1), torch.ones(1, *content.shape[-2:]))
    assert torch.equal(paint.styles[-1], shares)


@pytest.mark.usefixtures("small_strokes")
def test_photo_too_thin_for_the_network_is_painted_wider_and_shrunk() -> None:
    photo, paint = torch.rand(1, 3, 3, 2000), Paint()
    assert paint_pyramid(paint, photo, torch.tensor([0]), 1.0).shape == photo.shape
    assert [content.shape[-2] for content in paint.contents] == [16, 16, 16]
    assert paint.contents[-1].shape[-1] == 2000


# The colours of areas.


def test_area_of_another_colour_gets_that_of_the_first_level_and_keeps_its_strokes() -> None:
    strokes = torch.full((1, 3, 64, 96), 0.3)
    strokes[..., 48:] = 0.7
    texture = 0.1 * (torch.arange(192) // 2 % 2 - 0.5)  # stripes two pixels wide
    painting = 0.5 + texture.expand(1, 3, 128, 192)
    colored = with_area_colors(painting, strokes)
    margin = 2 * 2 * AREA_SIDE  # two areas, in the painting's pixels
    for columns, mean in ((slice(0, 96 - margin), 0.3), (slice(96 + margin, 192), 0.7)):
        part = colored[..., columns]
        assert part.mean().item() == pytest.approx(mean, abs=0.04)
        torch.testing.assert_close(
            part - part.mean(), (painting - 0.5)[..., columns], atol=1e-2, rtol=0
        )


def test_small_difference_in_colour_stays() -> None:
    for level in (-2, 2):
        painting = torch.full((1, 3, 128, 192), 0.5)
        colored = with_area_colors(painting, torch.full((1, 3, 64, 96), 0.5 + level / 255))
        assert (colored - painting).abs().max() < 0.5 / 255


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_painting_in_the_first_levels_colours_is_left_alone(dtype: torch.dtype) -> None:
    strokes = F.interpolate(torch.rand(1, 3, 4, 6), (64, 96), mode="bilinear")
    strokes = strokes if dtype == torch.float32 else (strokes * 255).to(dtype)
    assert torch.equal(with_area_colors(strokes, strokes), strokes)
