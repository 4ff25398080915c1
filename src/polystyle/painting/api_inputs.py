"""What `Painter` takes besides Pillow images and tensors: paths, numpy arrays, lists of pictures,
numpy's numbers and names; and the results in the form of what was given."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from polystyle.data.images import load_image

# Rounding, as in the inverse of a normalization, may take a float a little beyond [0, 1].
ROUNDING = 1e-4

Content = Image.Image | Tensor
AnyPicture = str | os.PathLike[str] | np.ndarray | Content


def takes_any_picture(paint: Callable[..., Any]) -> Callable[..., Any]:
    """A method that paints Pillow images and tensors, for all that `Painter.__call__` takes.

    Args:
        paint: takes a painter, content, a style and options; returns a picture, or for a list of
            styles a list.
    """

    @wraps(paint)
    def paint_any(painter: Any, content: Any, style: Any, **options: Any) -> Any:
        if is_list_of_pictures(content):
            return [paint_any(painter, picture, style, **options) for picture in content]
        picture = as_content(content)
        if options.get("masks"):
            options["masks"] = [(as_mask(mask), as_style(name)) for mask, name in options["masks"]]
        painted = paint(painter, picture, as_style(style), **options)
        if not isinstance(content, np.ndarray):
            return painted
        return (
            [as_array(picture) for picture in painted]
            if isinstance(painted, list)
            else as_array(painted)
        )

    return paint_any


def is_list_of_pictures(content: Any) -> bool:
    """Whether content is a list, a tuple or an iterator, such as that of ``Path.glob``."""
    is_single = isinstance(content, str | bytes | bytearray)
    return (
        isinstance(content, Sequence | Iterator) and not is_single and not hasattr(content, "read")
    )


def as_content(content: Any) -> Content:
    """A picture as a Pillow image or a tensor.

    Args:
        content: a path; a Pillow image; a tensor ``[3, H, W]`` or ``[B, 3, H, W]``; or an array
            ``[H, W, 3]``, ``[B, H, W, 3]`` or, for grey, ``[H, W]``, uint8 or floating in [0, 1];
            in uint8 also ``[H, W, 4]``, with transparency.

    Raises:
        OSError: the path can't be read as a picture.
        ValueError: none of these; or floats that are beyond [0, 1], infinite or NaN.
    """
    if isinstance(content, str | os.PathLike):
        return load_image(Path(content), as_rgb=False)
    if isinstance(content, np.ndarray):
        content = from_array(content)
    if not isinstance(content, Image.Image | Tensor):
        raise ValueError(
            "content must be a path, a Pillow image, a numpy array, a tensor or a list of those, "
            f"not {type(content).__name__}"
        )
    if isinstance(content, Tensor):
        check_range(content)
    return content


def from_array(array: np.ndarray) -> Content:
    """An array of pixels as a tensor, or as a Pillow image if it has an alpha channel."""
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise ValueError(f"content must be uint8, or floating in [0, 1], not {array.dtype}")
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1):
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if array.ndim == 3 and array.shape[2] == 4 and array.dtype == np.uint8 and array.size:
        return Image.fromarray(np.ascontiguousarray(array), "RGBA")
    if array.ndim not in (3, 4) or array.shape[-1] != 3 or not array.size:
        hint = ""
        if array.ndim in (3, 4) and array.shape[-3] == 3:
            hint = ": numpy.moveaxis(content, -3, -1) puts the channels last"
        elif array.ndim == 3 and array.shape[2] == 4:
            hint = ": content[..., :3] leaves out the alpha channel"
        raise ValueError(
            f"an array must be [H, W, 3], [B, H, W, 3] or, for grey, [H, W], not "
            f"{list(array.shape)}{hint}"
        )
    dtype = array.dtype if array.dtype.itemsize <= 8 else np.dtype(np.float64)
    # A copy: torch takes no negative strides, as of array[..., ::-1], and no other byte order.
    pixels = torch.from_numpy(np.array(array, dtype=dtype.newbyteorder("="), order="C"))
    return pixels.movedim(-1, -3)


def as_array(painted: Content) -> np.ndarray:
    """A painted picture as an array with the channels last."""
    if isinstance(painted, Image.Image):
        return np.array(painted)
    return np.ascontiguousarray(painted.movedim(-3, -1).cpu().numpy())


def check_range(content: Tensor) -> None:
    """Raises ValueError for floats that are beyond [0, 1] or not finite; says the range found."""
    if not content.is_floating_point() or not content.numel():
        return
    if not content.isfinite().all():
        raise ValueError("content has numbers that are infinite or NaN")
    low, high = content.min().item(), content.max().item()
    if low < -ROUNDING or high > 1 + ROUNDING:
        hint = ": divide by 255" if low >= 0 and 2 < high <= 255 else ""
        raise ValueError(
            f"floating content must be in [0, 1], and is from {low:g} to {high:g}{hint}"
        )


def as_mask(mask: Any) -> Image.Image:
    """A mask as a Pillow image.

    Args:
        mask: a path; a Pillow image; or an array or a tensor ``[H, W]``, ``[H, W, 1]`` or
            ``[1, H, W]``: bool, uint8, or floating in [0, 1].

    Raises:
        OSError: the path can't be read as a picture.
        ValueError: none of these.
    """
    if isinstance(mask, str | os.PathLike):
        return load_image(Path(mask), as_rgb=False)
    if isinstance(mask, Image.Image):
        return mask
    if not isinstance(mask, np.ndarray | Tensor):
        raise ValueError(
            "a mask must be a path, a Pillow image, an array or a tensor, not "
            f"{type(mask).__name__}"
        )
    shares = torch.as_tensor(np.array(mask)) if isinstance(mask, np.ndarray) else mask.cpu()
    if shares.ndim == 3 and 1 in (shares.shape[0], shares.shape[2]):
        shares = shares[0] if shares.shape[0] == 1 else shares[..., 0]
    if shares.ndim != 2:
        raise ValueError(f"a mask must be [H, W], not {list(mask.shape)}")
    if shares.dtype == torch.uint8:
        return Image.fromarray(shares.numpy())
    if shares.dtype != torch.bool and not shares.is_floating_point():
        raise ValueError(f"a mask must be bool, uint8, or floating in [0, 1], not {mask.dtype}")
    check_range(shares)
    return Image.fromarray((shares.float() * 255).round().clamp(0, 255).byte().numpy())


def as_style(style: Any) -> Any:
    """A style, or several, with Python's own strings and numbers in place of numpy's and of
    tensors; anything else as it is, for `Painter` to refuse."""
    if isinstance(style, np.ndarray | np.generic):
        return as_style(style.tolist())
    if isinstance(style, Mapping):
        return {as_style(name): as_number(weight) for name, weight in style.items()}
    if isinstance(style, list | tuple):
        return [as_style(one) for one in style]
    return str(style) if isinstance(style, str) else style


def as_number(weight: Any) -> Any:
    """A weight as a number of Python's, if it is one number of numpy or torch."""
    if not isinstance(weight, np.ndarray | np.generic | Tensor):
        return weight
    number = weight.tolist()
    while isinstance(number, list) and len(number) == 1:
        number = number[0]
    return number
