"""Writing stylized pictures: their names, formats and colour profiles."""

import io
from pathlib import Path

from PIL import Image, ImageCms

from polystyle.files.atomic_file import atomic_write
from polystyle.style_names import file_label

JPEG_QUALITY = 95


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
    options do not replace each other.
    """
    options = ""
    if strength < 1:
        options += f"-strength{strength:g}"
    if keep_colors:
        options += "-colors"
    if scale != 1:
        options += "-native" if scale is None else f"-scale{scale:g}"
    return f"{photo.stem}-{file_label(label)}{options}{suffix}"


def save_picture(picture: Image.Image, path: Path, photo: Image.Image) -> None:
    """Write a picture atomically, with its photo's colour profile.

    Args:
        picture: RGB or RGBA.
        path: the file; its suffix chooses the format.
        photo: the photo that the picture was painted from.

    Raises:
        OSError, ValueError: it can't be written.
    """
    file_format = Image.registered_extensions().get(path.suffix.lower())
    if file_format not in Image.SAVE:
        raise OSError(f"Pillow reads {path.suffix}, but doesn't write it")
    with atomic_write(path) as partial:
        picture.save(partial, file_format, quality=JPEG_QUALITY, icc_profile=rgb_profile(photo))


def rgb_profile(photo: Image.Image) -> bytes | None:
    """The photo's colour profile, if it also describes the RGB picture painted from it."""
    profile = photo.info.get("icc_profile")
    try:
        if ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space == "RGB ":
            return profile
    except (TypeError, OSError, ImageCms.PyCMSError):  # there is none, or it is damaged
        pass
    return None
