"""Mask images: which style each pixel of a photo is painted in."""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from polystyle.data.images import to_rgb


def region_map(masks: Sequence[Image.Image], size: Sequence[int]) -> Tensor:
    """The share of each mask's style, and of the remaining area's, in every pixel.

    Args:
        masks: pictures; in grey, white is 1.
        size: the photo's height and width.

    Returns:
        ``[1, len(masks) + 1, H, W]`` float32, which adds up to 1 at every pixel; the last share is
        that of the remaining area.

    Raises:
        ValueError: a mask of another size.
    """
    height, width = size
    for mask in masks:
        if mask.size != (width, height):
            raise ValueError(
                f"a mask is {mask.width} x {mask.height} pixels, and the photo {width} x {height}: "
                "make them one size"
            )
    shares = torch.stack([pil_to_tensor(grey(mask))[0] for mask in masks]) / 255
    shares = shares / shares.sum(0).clamp_min(1)
    rest = (1 - shares.sum(0)).clamp_min(0)
    return torch.cat([shares, rest[None]])[None]


def grey(mask: Image.Image) -> Image.Image:
    """A mask in 8-bit grey. Transparent pixels are black, as if nothing were drawn there."""
    if mask.has_transparency_data:
        mask = mask.convert("RGBA")
        mask = Image.alpha_composite(Image.new("RGBA", mask.size, "black"), mask)
    return to_rgb(mask).convert("L")
