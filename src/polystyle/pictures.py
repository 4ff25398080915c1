"""Reading pictures: whole, or a part of them at the size that is needed. Imports no torch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Resampling, Transpose

# How to turn a picture upright, by its EXIF orientation. ImageOps.exif_transpose also writes the
# tags anew, and fails on sound pictures with an odd one.
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}

Size = tuple[int, int]  # width, height
Box = tuple[float, float, float, float]  # left, top, right, bottom


class Openable(Protocol):
    """A picture's file, or its place within one: a Path is one."""

    def open(self, mode: str) -> BinaryIO: ...


@contextmanager
def opened(photo: Openable) -> Iterator[Image.Image]:
    """A picture whose pixels are still to be decoded.

    Raises:
        OSError: it can't be read, when it is opened or within the block; says which and why.
    """
    try:
        with photo.open("rb") as file, Image.open(file) as image:
            yield image
    except UnidentifiedImageError as error:
        raise OSError(f"{photo} can't be read: it is no picture that Pillow knows") from error
    except Exception as error:
        # Pillow's thirty decoders meet a damaged file with as many kinds of error.
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"{photo} can't be read: {reason}") from error


def load_image(path: Openable, as_rgb: bool = True) -> Image.Image:
    """Read any picture that Pillow reads, turned upright by its EXIF orientation.

    Args:
        path: the file.
        as_rgb: make it 8-bit RGB: 16-bit and float greys are scaled, and what is transparent
            becomes white. Else it keeps its own mode.

    Raises:
        OSError: the file can't be read as a picture; says which and why.
    """
    with opened(path) as image:
        image.load()  # turns a TIFF by itself, and then it says that it is upright
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
        upright = image.copy() if turn is None else image.transpose(turn)
        return to_rgb(upright) if as_rgb else upright


def load_resized(
    photo: Openable, choose: Callable[[int, int], tuple[Box, Size]], spare: float = 1.0
) -> Image.Image:
    """A part of a picture, upright, 8-bit RGB, resized once (bilinear, antialiased).

    A JPEG is decoded at a half, a quarter or an eighth of its size where that is enough: its
    blocks of 8 x 8 cosines are evaluated at fewer points, which costs that much less.

    Args:
        photo: the file.
        choose: takes the width and the height of the upright picture, gives the part and the size
            to make it.
        spare: how many times larger than its new size the part stays when it is decoded, at the
            least: 1 is quick, 2 can't be told from a full decode.

    Raises:
        OSError: see `load_image`.
    """
    with opened(photo) as image:
        if image.format not in ("JPEG", "MPO"):
            image.load()  # before asking for the orientation: see load_image
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        sideways = orientation in (5, 6, 7, 8)
        box, size = choose(*(image.size[::-1] if sideways else image.size))
        left, top, right, bottom = stored_box(box, image.size, orientation)
        stored_size = size[::-1] if sideways else size
        enough = min((right - left) / stored_size[0], (bottom - top) / stored_size[1]) / spare
        width, height = image.size
        for scale in (8, 4, 2):
            # None from every format but JPEG.
            if scale <= enough and image.draft(None, (width // scale, height // scale)):
                left, top, right, bottom = (side / scale for side in (left, top, right, bottom))
                break
        part = to_rgb(image).resize(stored_size, Resampling.BILINEAR, (left, top, right, bottom))
        # Turning commutes with resizing, and now there is less to turn.
        turn = TURNS.get(orientation)
        return part if turn is None else part.transpose(turn)


def stored_box(box: Box, stored_size: Size, orientation: int | None) -> Box:
    """Where a part of the upright picture is in the picture as it is stored."""
    left, top, right, bottom = box
    width, height = stored_size
    if orientation in (5, 6, 7, 8):
        left, top, right, bottom = top, left, bottom, right
    if orientation in (2, 3, 7, 8):
        left, right = width - right, width - left
    if orientation in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def to_rgb(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes as 8-bit RGB; see `load_image`. RGB is given back as it is."""
    if image.mode.startswith("I") or image.mode == "F":
        # convert("RGB") would clip these at 255.
        grey = np.asarray(image, dtype=np.float64)
        white = 65535 if image.mode.startswith("I") else 1
        image = Image.fromarray((grey / white * 255).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def list_images(folder: Path, pattern: str) -> list[Path]:
    """The picture files of a folder, by extension, sorted; hidden files are passed over.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no picture in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    Image.init()
    readable = {
        suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN
    }
    paths = sorted(
        path
        for path in folder.glob(pattern)
        if path.suffix.lower() in readable and path.is_file() and not is_hidden(path, folder)
    )
    if not paths:
        raise ValueError(f"there is no picture in {folder}")
    return paths


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether the file, or a folder on the way to it, is a thing of the system's (.thumbnails/)."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
