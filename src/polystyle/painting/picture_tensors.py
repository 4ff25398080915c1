"""Pictures as tensors and back, and arithmetic on them in the dtype that they have."""

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import pil_to_tensor, resize, to_pil_image

from polystyle.data.images import to_rgb

# Luminance of RGB, as in JPEG's YCbCr (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)


def to_batch(content: Image.Image | Tensor) -> Tensor:
    """Content as a batch ``[B, 3, H, W]``: uint8 for a Pillow image, else of its own dtype.

    Raises:
        ValueError: a tensor of another shape or dtype, or with infinite or NaN values.
    """
    if isinstance(content, Image.Image):
        return pil_to_tensor(to_rgb(content))[None]
    photos = content if content.ndim == 4 else content[None]
    if photos.ndim != 4 or photos.shape[1] != 3 or not photos.numel():
        raise ValueError(f"content must be [3, H, W] or [B, 3, H, W], not {list(photos.shape)}")
    if not (photos.is_floating_point() or photos.dtype == torch.uint8):
        raise ValueError(f"content must be floating or uint8, not {photos.dtype}")
    if photos.is_floating_point() and not photos.isfinite().all():
        raise ValueError("content has numbers that are infinite or NaN")
    return photos


def to_pictures(
    stylized: Tensor, content: Image.Image | Tensor, is_list: bool
) -> list[Image.Image] | list[Tensor]:
    """Stylized images ``[B, 3, H, W]`` in content's type and shape, one for each style."""
    if isinstance(content, Image.Image):
        pictures = [to_pil_image(image) for image in stylized]
        if content.has_transparency_data:
            alpha = content.convert("RGBA").getchannel("A")
            for picture in pictures:
                picture.putalpha(alpha)
        return pictures
    if content.ndim == 3:
        return list(stylized)
    return list(stylized.split(1)) if is_list else [stylized]


def resized(images: Tensor, size: Sequence[int]) -> Tensor:
    """Images ``[..., H, W]``, floating in [0, 1] or uint8, resized bicubically, antialiased."""
    if list(size) == [1, 1]:
        # torch 2.15 raises an error for uint8 images in any other memory format.
        images = images.contiguous(memory_format=torch.channels_last)
    images = resize(images, list(size), interpolation=InterpolationMode.BICUBIC, antialias=True)
    return images.clamp(0, 1) if images.is_floating_point() else images


def to_unit(images: Tensor) -> Tensor:
    """Images as float32 in [0, 1]."""
    return images.float() if images.is_floating_point() else images / 255


def from_unit(images: Tensor, like: Tensor) -> Tensor:
    """Images in [0, 1], clipped, in another tensor's dtype and on its device."""
    images = images.float().clamp(0, 1)
    return (images if like.is_floating_point() else images.mul(255).round()).to(like)


def combine(function: Callable[..., Tensor], *images: Tensor) -> Tensor:
    """A function of images, computed in float32 for 256 rows at a time.

    A large photo needs four times its memory as float32.

    Args:
        function: takes and returns float32 images in [0, 1]; the result is clipped.
        images: ``[B, 3, H, W]``, floating in [0, 1] or uint8.

    Returns:
        Images of the first images' dtype, on their device.
    """
    results = []
    for rows in zip(*(image.split(256, dim=-2) for image in images), strict=True):
        results.append(from_unit(function(*map(to_unit, rows)), images[0]))
    return torch.cat(results, dim=-2)


def with_chroma(stylized: Tensor, photos: Tensor) -> Tensor:
    """The luminance of the stylized images with the chroma of the photos."""
    # Adding one number to red, green and blue changes the luminance alone.
    return combine(
        lambda painted, photo: photo + luminance(painted - photo),
        stylized,
        photos,
    )


def luminance(images: Tensor) -> Tensor:
    """``[B, 3, H, W]`` to ``[B, 1, H, W]``."""
    return (images * torch.tensor(LUMA, device=images.device)[:, None, None]).sum(1, keepdim=True)
