"""Reading pictures in sRGB: whole, or a part at the size that is needed. Imports no torch.

Pictures come from untrusted sources. Reading one takes at most 2.5 GB of memory, whatever the file
claims: Pillow refuses more than 179 megapixels (twice `Image.MAX_IMAGE_PIXELS`) and keeps 4 bytes
per pixel, and the copy in RGB takes another 4. Some decoders need more, see `HUNGRY`.
"""

import logging
import math
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError
from PIL.Image import Resampling, Transpose

from polystyle.data.color_profiles import srgb_conversion
from polystyle.data.exif import painting_exif, valid_dpi
from polystyle.files.path_kind import PICTURE, Kind, kind_of_path, remedy
from polystyle.files.terminal_text import sanitized

# What turns a picture upright, by its EXIF orientation. ImageOps.exif_transpose would also rewrite
# the tags, and fails on good pictures that have a malformed one.
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}

# Formats whose decoders need up to 25 bytes per pixel. They may have half as many pixels as others.
HUNGRY = ("JPEG2000", "WEBP", "AVIF", "HEIF")
# Formats that are not read: Pillow would run the programs in EPS files with Ghostscript, and
# recognizes MPEG videos without being able to decode them.
NOT_READ = ("EPS", "MPEG")
# Formats whose further frames are no pictures of their own: a phone's depth map, a layer.
ONE_PICTURE = ("MPO", "PSD")
NO_PICTURE = "it is no picture that Pillow knows"
# What `upright` copies of a picture's info.
KEPT_INFO = ("icc_profile", "transparency")
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
HEIF_REMEDY = "pip install 'polystyle[heif]'"
# A camera's raw files. Pillow takes many of them for TIFF, and reads a preview of 160 pixels.
RAW_SUFFIXES = (
    *(".3fr", ".ari", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf"),
    *(".fff", ".gpr", ".iiq", ".k25", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf"),
    *(".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
# The largest file, in bytes: some formats are read into memory as a whole.
MOST_BYTES = 2**30
# The least shorter side of a photo to train on, or of a painting, in pixels.
LEAST_SIDE = 16
# Pixels that `to_rgb` converts at a time.
BAND_PIXELS = 2**20

Size = tuple[int, int]  # width, height
Box = tuple[float, float, float, float]  # left, top, right, bottom


class Openable(Protocol):
    """A picture's file, or a part of a file: a `Path` or a `PreparedPhoto`."""

    def open(self, mode: Literal["rb"]) -> BinaryIO: ...


class PictureError(OSError):
    """A picture can't be used. The message is "PHOTO REASON", in one line.

    Attributes:
        photo: the file.
        reason: "can't be read: ..." or "is ... pixels: ...".
    """

    def __init__(self, photo: Openable, reason: str) -> None:
        super().__init__(photo, reason)
        self.photo = photo
        self.reason = reason

    def __str__(self) -> str:
        return sanitized(f"{self.photo} {self.reason}")


def silence_pillow() -> None:
    """Turns off Pillow's warnings about malformed files. A user needs only the error, which
    `PictureError` reports."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)


@cache
def formats() -> tuple[str, ...]:
    """The formats that are read: Pillow's, and HEIF where the package pillow-heif is installed."""
    Image.init()
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    return tuple(name for name in Image.ID if name not in NOT_READ)


@cache
def suffixes() -> frozenset[str]:
    """The extensions of the formats that are read, in lower case, with their dots."""
    readable = (*formats(), "MPO")  # which Pillow opens as a JPEG
    extensions = Image.registered_extensions().items()
    return frozenset(suffix for suffix, name in extensions if name in readable)


@contextmanager
def opened(photo: Openable) -> Iterator[Image.Image]:
    """Opens a picture without decoding its pixels.

    Raises:
        PictureError: the file can't be opened, or an error occurred in the block, where the pixels
            are decoded.
    """
    try:
        if isinstance(photo, Path):
            check_file(photo)
        with photo.open("rb") as file, Image.open(file, formats=formats()) as image:
            if image.format in HUNGRY and image.width * image.height > most_pixels():
                raise ValueError(
                    f"{image.width} x {image.height} pixels are too many for {image.format}"
                )
            yield image
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        reason = unknown_format(photo)
        if Path(str(photo)).suffix.lower() in HEIF_SUFFIXES and "HEIF" not in formats():
            reason = f"HEIC needs the package pillow-heif: {HEIF_REMEDY}"
        raise PictureError(photo, f"can't be read: {reason}") from error
    except Exception as error:
        # Pillow's thirty decoders raise as many kinds of error for a damaged file.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise PictureError(photo, f"can't be read: {reason}") from error


def most_pixels() -> float:
    """The most pixels of a picture that Pillow opens without a warning; a program may lift this
    limit."""
    return Image.MAX_IMAGE_PIXELS or math.inf


def unknown_format(photo: Openable) -> str:
    """Why Pillow knows no format of a file: what the file is instead, if that can be told."""
    if not isinstance(photo, Path):
        return NO_PICTURE
    kind = kind_of_path(photo)
    if kind in PICTURE.fitting | {Kind.TEXT}:
        return NO_PICTURE
    return f"it is {kind.value}: {remedy(photo, kind, PICTURE)}"


def check_file(path: Path) -> None:
    """Raises PictureError for a raw file, and unless the path is a file of a reasonable size.
    Opening a pipe would wait forever."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        os.scandir(path).close()  # raises PermissionError for a folder that can't be listed
        raise PictureError(path, "can't be read: it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise PictureError(path, "can't be read: it is a pipe or a device, not a file")
    if status.st_size > MOST_BYTES:
        raise PictureError(path, f"can't be read: it has {status.st_size / 1e9:.1f} GB")
    if path.suffix.lower() in RAW_SUFFIXES:
        raise PictureError(path, "can't be read: it is a camera's raw file: convert it to JPEG")


def is_picture(path: Path) -> bool:
    """Whether a file is of a format that is read, whatever its name and whether it is damaged."""
    try:
        with opened(path):
            return True
    except PictureError:
        return False


def has_more_frames(photo: Openable) -> bool:
    """Whether a file has more pictures than the first, which is the only one that is read: an
    animation, or pages. False if it can't be read."""
    try:
        with opened(photo) as image:
            return image.format not in ONE_PICTURE and getattr(image, "n_frames", 1) > 1
    except PictureError:
        return False


def load_image(path: Openable, as_rgb: bool = True) -> Image.Image:
    """A picture of any format that Pillow reads, turned upright by its EXIF orientation. Of a file
    with several pictures, the first.

    Args:
        path: the file.
        as_rgb: convert to 8-bit sRGB, see `to_rgb`. Otherwise see `upright`.

    Raises:
        PictureError: the file can't be read as a picture.
    """
    with opened(path) as image:
        image.load()  # first: it turns a TIFF upright, and then resets the orientation
        picture = upright(image)
        return to_rgb(picture) if as_rgb else picture


def upright(image: Image.Image) -> Image.Image:
    """A copy of a picture, turned upright by its EXIF orientation.

    Its mode, format and colour profile are the picture's; its EXIF and its resolution are those of
    a picture painted from it, see `polystyle.data.exif`. So a second call turns it no further.
    """
    turn = TURNS.get(orientation_of(image))
    turned = image.copy() if turn is None else image.transpose(turn)
    turned.format = image.format
    turned.info = {key: image.info[key] for key in KEPT_INFO if key in image.info}
    turned.info |= {"exif": painting_exif(image), "dpi": valid_dpi(image)}
    return turned


def load_resized(
    photo: Openable, choose: Callable[[int, int], tuple[Box, Size]], spare: float = 1.0
) -> Image.Image:
    """A part of a picture, upright, 8-bit sRGB, resized once (bilinear, antialiased).

    Where that is enough, a JPEG is decoded at a half, a quarter or an eighth of its size, which
    costs proportionally less: the decoder evaluates its blocks of 8 x 8 cosines at fewer points.

    Args:
        photo: the file.
        choose: takes the width and the height of the upright picture and returns the part and its
            new size.
        spare: the least ratio of the part's decoded size to its new size. 1 is fastest, with 2
            nobody can tell the result from a full decode.

    Raises:
        PictureError: see `load_image`; also any error that `choose` raises.
    """
    with opened(photo) as image:
        if image.format not in ("JPEG", "MPO"):
            image.load()  # before the orientation is read: see load_image
        orientation = orientation_of(image)
        sideways = orientation in (5, 6, 7, 8)
        box, size = choose(*(image.size[::-1] if sideways else image.size))
        left, top, right, bottom = stored_box(box, image.size, orientation)
        stored_size = size[::-1] if sideways else size
        reduction = min((right - left) / stored_size[0], (bottom - top) / stored_size[1]) / spare
        width, height = image.size
        for scale in (8, 4, 2):
            # draft returns None for every format but JPEG.
            if scale <= reduction and image.draft(None, (width // scale, height // scale)):
                left, top, right, bottom = (side / scale for side in (left, top, right, bottom))
                break
        part = to_rgb(image).resize(stored_size, Resampling.BILINEAR, (left, top, right, bottom))
        # Turning and resizing commute, and the resized part has fewer pixels to turn.
        turn = TURNS.get(orientation)
        return part if turn is None else part.transpose(turn)


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of a picture; 1, upright, without one."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        # Pillow raises many kinds of error for damaged tags, and the pixels may be good.
        return 1


def stored_box(box: Box, stored_size: Size, orientation: int) -> Box:
    """The box, in the picture as stored, of a part of the upright picture."""
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
    """Raises PictureError if a picture is too small to learn from."""
    if min(width, height) < LEAST_SIDE:
        raise PictureError(photo, f"is {width} x {height} pixels: {LEAST_SIDE} a side is the least")


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts any of Pillow's modes to 8-bit RGB in the colours of sRGB.

    The picture's embedded colour profile is applied, see `srgb_conversion`; without one, RGB and
    grey are taken for sRGB, and CMYK is converted by Pillow's formula. 16-bit and float greys are
    scaled, and transparent areas become white. Returns an opaque picture in sRGB itself, not a
    copy.
    """
    conversion = srgb_conversion(image)
    if image.mode == "RGB" and not image.has_transparency_data and conversion is None:
        return image
    result = Image.new("RGB", image.size)
    # In bands of rows, so that the intermediate results take little memory.
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        band = image.crop((0, top, image.width, bottom))
        result.paste(band_to_rgb(band, conversion), (0, top))
    return result


def band_to_rgb(image: Image.Image, conversion: ImageCms.ImageCmsTransform | None) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        # convert("RGB") would clip these at 255.
        white = 65535 if image.mode.startswith("I") else 1
        with np.errstate(invalid="ignore"):  # numpy warns of signaling NaNs, in damaged floats
            grey = np.nan_to_num((np.asarray(image, dtype=np.float64) / white).clip(0, 1))
        image = Image.fromarray((grey * 255).round().astype(np.uint8))
    if image.mode == "La":
        image = image.convert("LA")  # Pillow converts La to no other mode
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    if conversion:
        image = conversion.apply(image.convert(conversion.input_mode))
    if alpha:
        image.putalpha(alpha)
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
