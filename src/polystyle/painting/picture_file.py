"""Writing stylized pictures: their names, formats, colour profile and metadata."""

import hashlib
import os
from functools import cache
from io import BytesIO
from pathlib import Path

from PIL import Image

from polystyle.data.color_profiles import srgb_profile
from polystyle.data.images import formats, suffixes
from polystyle.data.picture_folder import VIDEO_SUFFIXES
from polystyle.files.atomic_file import atomic_write
from polystyle.style_names import file_label

QUALITY = 95
WITH_QUALITY = ("JPEG", "WEBP", "AVIF", "HEIF")
# Formats of photos with losses: a painting that can't be of the photo's own format is a JPEG.
LOSSY = ("MPO", "HEIF", "JPEG2000")

# The longest side that a format holds, in pixels.
LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383, "GIF": 65535, "AVIF": 65535, "HEIF": 16384}

# The longest file name of most file systems, in bytes.
MOST_NAME_BYTES = 255


def picture_name(
    photo: Path,
    label: str,
    suffix: str,
    strength: float,
    keep_colors: bool,
    scale: float | None,
) -> str:
    """The file name of a stylized picture: ``<photo's stem>-<label>[-<options>]<suffix>``.

    Options are named only if they are not the defaults, so that pictures painted with different
    options do not replace each other. Names that are too long for a file system are shortened.
    """
    options = ""
    if strength < 1:
        options += f"-strength{strength:g}"
    if keep_colors:
        options += "-colors"
    if scale != 1:
        options += "-native" if scale is None else f"-scale{scale:g}"
    label = file_label(label)
    is_suffix = photo.suffix.lower() in suffixes() or photo.suffix.lower() in VIDEO_SUFFIXES
    stem = photo.stem if is_suffix else photo.name
    most_bytes = MOST_NAME_BYTES - len(os.fsencode(suffix))
    ending = shortened(f"-{label}{options}", most_bytes // 2)
    return f"{shortened(stem, most_bytes - len(os.fsencode(ending)))}{ending}{suffix}"


def shortened(name: str, most_bytes: int) -> str:
    """A name, or, if it is too long, its beginning and eight digits that depend on the whole."""
    encoded = os.fsencode(name)
    if len(encoded) <= most_bytes:
        return name
    digits = f"~{hashlib.sha256(encoded).hexdigest()[:8]}"
    while len(os.fsencode(name)) > most_bytes - len(digits):
        name = name[:-1]
    return f"{name}{digits}"


def result_suffix(photo: Image.Image, source: Path, wanted: str | None = None) -> str:
    """The extension of the pictures painted from a photo: one whose format can hold them.

    That is the photo's own extension where possible, then that of its format, whatever the file is
    called, and else ".jpg" or ".png".

    Args:
        photo: the photo, with its transparency.
        source: the photo's file.
        wanted: the extension to take in any case.

    Raises:
        ValueError: `wanted` can't hold a picture of this size.
    """
    mode = "RGBA" if photo.has_transparency_data else "RGB"
    if wanted:
        file_format = format_of(wanted)
        if max(photo.size) > LONGEST_SIDE.get(file_format, max(photo.size)):
            raise ValueError(
                f"{source} is {photo.width} x {photo.height} pixels: a {wanted} has at most "
                f"{LONGEST_SIDE[file_format]} a side"
            )
        return wanted
    candidates = [source.suffix, suffix_of(photo.format), ".jpg" if photo.format in LOSSY else ""]
    for suffix in filter(None, candidates):
        file_format = format_of(suffix)
        fits = max(photo.size) <= LONGEST_SIDE.get(file_format, max(photo.size))
        if fits and can_hold(file_format, mode):
            return suffix
    return ".png"


def format_of(suffix: str) -> str | None:
    """Pillow's name of the format with an extension, if it is one that is read."""
    return Image.registered_extensions()[suffix.lower()] if suffix.lower() in suffixes() else None


def suffix_of(file_format: str | None) -> str | None:
    """The usual extension of one of Pillow's formats."""
    usual = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}
    registered = (
        suffix for suffix, name in Image.registered_extensions().items() if name == file_format
    )
    return usual.get(file_format) or next(registered, None)


@cache
def can_hold(file_format: str | None, mode: str) -> bool:
    """Whether a file of a format gives back an RGB or RGBA picture of any size: some formats that
    Pillow writes keep no colour, no transparency, or only the sizes of icons."""
    if file_format not in Image.SAVE or file_format not in formats():
        return False
    file = BytesIO()
    try:
        Image.new(mode, (300, 20)).save(file, file_format)
        with Image.open(file, formats=(file_format,)) as image:
            has_alpha = image.has_transparency_data
            has_colors = image.mode in ("RGB", "RGBA", "P")
            return image.size == (300, 20) and has_colors and (mode == "RGB" or has_alpha)
    except Exception:  # of the many formats, some need programs that are not installed
        return False


def check_format(suffix: str) -> None:
    """Raises ValueError unless pictures can be written with this extension."""
    if not can_hold(format_of(suffix), "RGB"):
        raise ValueError(
            f"--format must be jpg, png, webp, tif or another format that Pillow reads and "
            f"writes, or for videos mp4, mov, mkv or webm, not {suffix.removeprefix('.')}"
        )


def save_picture(
    picture: Image.Image,
    path: Path,
    photo: Image.Image | None = None,
    quality: int | None = None,
) -> None:
    """Write a picture in sRGB atomically, and say so with a profile where the format holds one:
    programs for screens of wide gamut guess the colours of untagged pictures.

    Args:
        picture: RGB or RGBA. Where the format holds no transparency, it becomes white.
        path: the file; its suffix chooses the format.
        photo: the photo that the picture was painted from, as `load_image` reads it. Its EXIF and
            resolution go with the picture.
        quality: of JPEG, WebP and AVIF files, from 1 to 100; None for 95.

    Raises:
        OSError, ValueError: it can't be written.
    """
    file_format = format_of(path.suffix)
    if file_format not in Image.SAVE:
        raise OSError(f"Pillow reads {path.suffix}, but doesn't write it")
    if picture.mode == "RGBA" and not can_hold(file_format, "RGBA"):
        background = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(background, picture).convert("RGB")
    with atomic_write(path) as partial:
        picture.save(partial, file_format, **save_options(photo, quality))


def save_options(photo: Image.Image | None, quality: int | None) -> dict[str, object]:
    """The arguments of `Image.save` for a picture painted from a photo."""
    options: dict[str, object] = {"quality": quality or QUALITY, "icc_profile": srgb_profile()}
    metadata = photo.info if photo else {}
    return options | {key: metadata[key] for key in ("exif", "dpi") if metadata.get(key)}
