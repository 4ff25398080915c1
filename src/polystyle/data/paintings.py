"""Paintings: which files they are, reading them, and their thumbnails."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from polystyle.data.images import Box, PictureError, Size, check_sides, load_resized
from polystyle.data.picture_folder import list_images
from polystyle.data.samples import to_float
from polystyle.data.skipped_photos import first_errors
from polystyle.files.terminal_text import sanitized
from polystyle.style_names import IDENTITY_STYLE, check_style_name

# Highest ratio of a painting's sides. The longest scrolls have 30.
LONGEST_PAINTING = 100

THUMBNAIL_SIDE = 64  # pixels


def find_paintings(folder: Path) -> dict[str, Path]:
    """The paintings of a folder by style name, which is the file's stem. Subfolders are ignored.

    Raises:
        FileNotFoundError: the folder is missing.
        ValueError: the folder has no picture, two paintings have the same name, or a name can't be
            a style's.
    """
    paintings: dict[str, Path] = {}
    for path in list_images(folder, deep=False):
        name = path.stem
        try:
            check_style_name(name)
        except ValueError as error:
            raise ValueError(f"{sanitized(path)}: {error}: rename it") from error
        if name == IDENTITY_STYLE:
            raise ValueError(
                f"{path}: a painting can't be named {IDENTITY_STYLE!r}, which is the style of "
                "data.identity_style: rename it"
            )
        if name in paintings:
            raise ValueError(f"two paintings are named {name!r}: {paintings[name]} and {path}")
        paintings[name] = path
    return paintings


def load_paintings(paths: Mapping[str, Path], size: int) -> dict[str, Tensor]:
    """Paintings by name, read on all cores; see `load_painting`.

    Raises:
        OSError: paintings can't be used; names the first of them.
    """

    def load(path: Path) -> Tensor | PictureError:
        try:
            return load_painting(path, size)
        except PictureError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        paintings = list(pool.map(load, paths.values()))
    errors = [painting for painting in paintings if isinstance(painting, PictureError)]
    if errors:
        raise OSError(
            f"{len(errors)} of {len(paintings)} paintings can't be used: {first_errors(errors)}"
        )
    return dict(zip(paths, paintings, strict=True))


def load_painting(path: Path, size: int) -> Tensor:
    """A painting, ``[3, h, w]`` float32 in [0, 1], whose shorter side is `size`.

    Raises:
        PictureError: the file can't be read, or the painting is too small or too long.
    """

    def whole(width: int, height: int) -> tuple[Box, Size]:
        check_sides(path, width, height)
        shorter, longer = sorted((width, height))
        if longer > LONGEST_PAINTING * shorter:
            raise PictureError(
                path, f"is {width} x {height} pixels: more than {LONGEST_PAINTING} to 1"
            )
        return (0, 0, width, height), (size * width // shorter, size * height // shorter)

    return to_float(load_resized(path, whole, spare=2))


def thumbnails(paintings: Mapping[str, Tensor | None]) -> dict[str, bytes]:
    """The `thumbnail` of each painting by style name; none where the painting is None."""
    return {
        name: thumbnail(painting) for name, painting in paintings.items() if painting is not None
    }


def thumbnail(painting: Tensor) -> bytes:
    """A JPEG file whose longer side is at most 64 pixels: one or two kilobytes.

    Args:
        painting: RGB ``[3, h, w]`` in [0, 1].
    """
    picture = to_pil_image(painting)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    file = BytesIO()
    picture.save(file, "JPEG")
    return file.getvalue()
