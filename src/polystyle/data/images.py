"""Reading pictures: whole, or a part of them at the size that is needed. Imports no torch.

Pictures come from the internet. One costs at most 2.5 GB of memory while it is read, whatever the
file says: Pillow refuses more than 179 megapixels (twice `Image.MAX_IMAGE_PIXELS`), of which it
keeps 4 bytes each, and another 4 become RGB; some decoders need more, see `HUNGRY`.
"""

import logging
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Resampling, Transpose

from polystyle.files.terminal_text import sanitized

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

# Formats whose decoders need up to 25 bytes for a pixel: half of what others may have.
HUNGRY = ("JPEG2000", "WEBP", "AVIF")
# A file of this format is a program, which Pillow would have Ghostscript run.
PROGRAM = "EPS"
# Some formats are read into memory as a whole.
MOST_BYTES = 2**30
# The shorter side of a photo to train on, or of a painting, in pixels.
LEAST_SIDE = 16
# Converted at a time: see `to_rgb`.
BAND_PIXELS = 2**20

Size = tuple[int, int]  # width, height
Box = tuple[float, float, float, float]  # left, top, right, bottom


class Openable(Protocol):
    """A picture's file, or its place within one: a Path is one."""

    def open(self, mode: str) -> BinaryIO: ...


class PictureError(OSError):
    """A picture that can't be used. Reads as "PHOTO REASON", in one line.

    Attributes:
        photo: its file.
        reason: "can't be read: ..." or "is ... pixels: ...".
    """

    def __init__(self, photo: Openable, reason: str) -> None:
        super().__init__(photo, reason)
        self.photo = photo
        self.reason = reason

    def __str__(self) -> str:
        return sanitized(f"{self.photo} {self.reason}")


def silence_pillow() -> None:
    """What Pillow remarks about odd files is for programmers: we read them or say why not."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)


@cache
def formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in Image.ID if name != PROGRAM)


@contextmanager
def opened(photo: Openable) -> Iterator[Image.Image]:
    """A picture whose pixels are still to be decoded.

    Raises:
        PictureError: it can't be read, when it is opened or within the block; says which and why.
    """
    try:
        if isinstance(photo, Path):
            check_file(photo)
        with photo.open("rb") as file, Image.open(file, formats=formats()) as image:
            if image.format in HUNGRY and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise ValueError(
                    f"{image.width} x {image.height} pixels are too many for {image.format}"
                )
            yield image
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        reason = "can't be read: it is no picture that Pillow knows"
        raise PictureError(photo, reason) from error
    except Exception as error:
        # Pillow's thirty decoders meet a damaged file with as many kinds of error.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise PictureError(photo, f"can't be read: {reason}") from error


def check_file(path: Path) -> None:
    """Raises PictureError unless it is a file of some size: opening a pipe would wait for ever."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        os.scandir(path).close()  # raises an OSError where the folder is closed to us
        raise PictureError(path, "can't be read: it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise PictureError(path, "can't be read: it is a pipe or a device, not a file")
    if status.st_size > MOST_BYTES:
        raise PictureError(path, f"can't be read: it has {status.st_size / 1e9:.1f} GB")


def load_image(path: Openable, as_rgb: bool = True) -> Image.Image:
    """Read any picture that Pillow reads, turned upright by its EXIF orientation.

    Args:
        path: the file.
        as_rgb: make it 8-bit RGB: 16-bit and float greys are scaled, and what is transparent
            becomes white. Else it keeps its own mode.

    Raises:
        PictureError: the file can't be read as a picture; says which and why.
    """
    with opened(path) as image:
        image.load()  # turns a TIFF by itself, and then it says that it is upright
        turn = TURNS.get(orientation_of(image))
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
        PictureError: see `load_image`; or what `choose` raises.
    """
    with opened(photo) as image:
        if image.format not in ("JPEG", "MPO"):
            image.load()  # before asking for the orientation: see load_image
        orientation = orientation_of(image)
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


def orientation_of(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:
        # Pillow meets damaged tags with many kinds of error, and the pixels may be sound.
        return None


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


def check_sides(photo: Openable, width: int, height: int) -> None:
    """Raises PictureError if there is too little of a picture to see or to learn something."""
    if min(width, height) < LEAST_SIDE:
        raise PictureError(photo, f"is {width} x {height} pixels: {LEAST_SIDE} a side is the least")


def to_rgb(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes as 8-bit RGB; see `load_image`. RGB is given back as it is."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    result = Image.new("RGB", image.size)
    # In bands, so that what is in between takes no memory to speak of.
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        result.paste(band_to_rgb(image.crop((0, top, image.width, bottom))), (0, top))
    return result


def band_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        # convert("RGB") would clip these at 255.
        white = 65535 if image.mode.startswith("I") else 1
        with np.errstate(invalid="ignore"):  # numpy warns of signaling NaNs, in damaged floats
            grey = np.nan_to_num((np.asarray(image, dtype=np.float64) / white).clip(0, 1))
        image = Image.fromarray((grey * 255).round().astype(np.uint8))
    if image.mode == "La":
        image = image.convert("LA")  # the only mode that Pillow makes of it
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def list_images(folder: Path, deep: bool) -> list[Path]:
    """What is called a picture in a folder, by its extension, sorted; what is hidden (.thumbnails/)
    and what is behind a link to a folder is passed over.

    It may be a folder, a link to nothing or a pipe: whoever opens it can tell a person so. Folders
    that can't be looked into are listed, too, for the same reason.

    Args:
        deep: look into the folders within it, too.

    Raises:
        FileNotFoundError: no such folder.
        PermissionError: it can't be looked into.
        ValueError: no picture in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    Image.init()
    readable = {
        suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN
    }
    paths = set()

    def list_closed(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise PermissionError(f"{folder} can't be looked into: {error.strerror}") from error
        paths.add(Path(error.filename))

    for parent, folders, files in os.walk(folder, onerror=list_closed):
        names = [name for name in (*folders, *files) if not name.startswith(".")]
        paths |= {Path(parent, each) for each in names if Path(each).suffix.lower() in readable}
        folders[:] = [name for name in folders if not name.startswith(".") and deep]
    if not paths:
        raise ValueError(f"there is no picture in {folder}")
    return sorted(paths)
