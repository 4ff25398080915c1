"""Strokes of one size relative to the picture, at every resolution.

The network's strokes have a fixed size in pixels. So a photo is painted small, where strokes are
large; the painting is enlarged, which blurs it, and painted again, which makes its strokes crisp;
and so on, level by level, to the photo's own size. Painting a painting may change the colour of
whole areas; each level gets those of the first one back.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from polystyle.networks.transformer_net import MIN_SIDE
from polystyle.painting.picture_tensors import combine, resized, to_unit

# The pixels of the first level at scale 1.
STROKE_PIXELS = 200_000
# How much larger, per side, a level may be than the one before it.
MAX_ENLARGEMENT = 2.5
# The photo's share in what a level after the first paints; the rest is the enlarged painting.
PHOTO_SHARE = 1 / 3

# Areas are squares of this many pixels of the first level.
AREA_SIDE = 8
# Differences between the colours of areas that are small against this (8 levels of 255) stay.
SMALL_SHIFT = 8 / 255

SCALES = (0.25, 4.0)

# Takes photos [B, 3, h, w] and a style; returns the photos painted.
Paint = Callable[[Tensor, Tensor], Tensor]


def check_scale(scale: float) -> None:
    """Raises ValueError for a scale that is out of range or NaN."""
    low, high = SCALES
    if not low <= scale <= high:
        raise ValueError(f"scale must be from {low:g} to {high:g}, not {scale:g}")


def paint_pyramid(paint: Paint, photos: Tensor, style: Tensor, scale: float) -> Tensor:
    """Paint photos small, and paint the enlarged painting again up to the photos' size.

    Args:
        paint: paints one level.
        photos: ``[B, 3, H, W]``, floating in [0, 1] or uint8.
        style: index ``[B]``, mix ``[B, N]`` or map ``[B, N, H, W]``.
        scale: size of the strokes relative to the picture.

    Returns:
        ``[B, 3, H, W]``, of the photos' dtype.
    """
    height, width = photos.shape[-2:]
    first, *larger = level_sizes(height, width, scale)
    strokes = painting = paint(resized(photos, first), style_at(style, first))
    for size in larger:
        content = with_photo(resized(painting, size), resized(photos, size))
        painting = with_area_colors(paint(content, style_at(style, size)), strokes)
    return resized(painting, (height, width))


def level_sizes(height: int, width: int, scale: float) -> list[tuple[int, int]]:
    """The heights and widths of the pyramid's levels, each of the photo's proportions.

    The first has STROKE_PIXELS / scale^2 pixels. The last has the photo's size, unless the first is
    larger: then it is the only one. No side is under the network's minimum. Each level is larger
    than the one before it by one factor, the largest up to MAX_ENLARGEMENT that ends at the photo.

    Args:
        height, width: the photo's.
        scale: size of the strokes relative to the picture.
    """
    enlargement = scale * math.sqrt(height * width / STROKE_PIXELS)
    if enlargement <= 1:
        return [size_at(height, width, 1 / enlargement)]
    steps = math.ceil(math.log(enlargement, MAX_ENLARGEMENT))
    return [size_at(height, width, enlargement ** (step / steps - 1)) for step in range(steps + 1)]


def size_at(height: int, width: int, factor: float) -> tuple[int, int]:
    """Height and width times factor, in whole pixels that the network can paint."""
    return max(MIN_SIDE, round(height * factor)), max(MIN_SIDE, round(width * factor))


def with_photo(painting: Tensor, photos: Tensor) -> Tensor:
    """A painting with PHOTO_SHARE of the photos blended in; both ``[B, 3, H, W]``."""
    return combine(lambda painted, photo: torch.lerp(painted, photo, PHOTO_SHARE), painting, photos)


def with_area_colors(painting: Tensor, strokes: Tensor) -> Tensor:
    """A level's painting with the colours that whole areas have in the first level's.

    Args:
        painting: ``[B, 3, h, w]``.
        strokes: the first level's painting ``[B, 3, H, W]``, of painting's dtype.

    Returns:
        ``[B, 3, h, w]``. Where the mean colour of an area differs by d, |d| d / (|d| + SMALL_SHIFT)
        is added: all of it would cast greys around the contours in flat, bright areas.
    """
    areas = [max(1, side // AREA_SIDE) for side in strokes.shape[-2:]]
    shift = to_unit(resized(strokes, areas)) - to_unit(resized(painting, areas))
    shift = shift.abs() * shift / (shift.abs() + SMALL_SHIFT)
    shift = F.interpolate(shift, painting.shape[-2:], mode="bicubic")
    return combine(torch.add, painting, shift)


def style_at(style: Tensor, size: Sequence[int]) -> Tensor:
    """A style for photos of that size: a map ``[B, N, H, W]`` resized, or the style as it is.

    The network would stretch a map of another size over the rows and columns that it pads a photo
    with.
    """
    if style.ndim != 4 or style.shape[-2:] == tuple(size):
        return style
    return F.interpolate(style, list(size), mode="bilinear", antialias=True)
