"""Paintings: which files they are, reading them, and their thumbnails."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop, resize, to_pil_image

from polystyle.data.images import Box, PictureError, Size, check_sides, load_resized
from polystyle.data.picture_folder import list_images
from polystyle.data.samples import to_float
from polystyle.data.skipped_photos import first_errors
from polystyle.files.terminal_text import counted, sanitized
from polystyle.style_names import IDENTITY_STYLE, check_file_labels, check_new_style_name

# Highest ratio of a painting's sides. The longest scrolls have 30.
LONGEST_PAINTING = 100

THUMBNAIL_SIDE = 64  # pixels


def find_paintings(folder: Path) -> dict[str, list[Path]]:
    """The paintings of each style, by its name: a file is a style of that stem, and a subfolder is
    one style of all pictures in it, however deep. Hidden files and folders are ignored.

    Raises:
        FileNotFoundError: the folder is missing.
        ValueError: the folder or a subfolder has no picture, two styles have the same name, or
            would have in the names of files, or a name can't be a style's.
    """
    subfolders = [
        path for path in folder.glob("*") if path.is_dir() and not path.name.startswith(".")
    ]
    files = list_images(folder, deep=False) if not subfolders or has_pictures(folder) else []
    styles: dict[str, list[Path]] = {}
    named_by: dict[str, Path] = {}
    for path in sorted({*files, *subfolders}):
        name = path.name if path in subfolders else path.stem
        try:
            check_new_style_name(name)
        except ValueError as error:
            raise ValueError(f"{sanitized(path)}: {error}: rename it") from error
        if name == IDENTITY_STYLE:
            raise ValueError(
                f"{sanitized(path)}: a style can't be named {IDENTITY_STYLE!r}, which is that "
                "of data.identity_style: rename it"
            )
        if name in styles:
            raise ValueError(f"two styles are named {name!r}: {named_by[name]} and {path}")
        named_by[name] = path
        styles[name] = list_images(path, deep=True) if path in subfolders else [path]
    try:
        check_file_labels(styles)
    except ValueError as error:
        raise ValueError(f"{sanitized(folder)}: {error}") from error
    return styles


def has_pictures(folder: Path) -> bool:
    """Whether a folder has a picture, subfolders aside."""
    try:
        return bool(list_images(folder, deep=False))
    except ValueError:
        return False


def load_paintings(styles: Mapping[str, Sequence[Path]], size: int) -> dict[str, list[Tensor]]:
    """The paintings of each style by its name, read on all cores; see `load_painting`.

    Raises:
        OSError: paintings can't be used; names the first of them.
    """

    def load(path: Path) -> Tensor | PictureError:
        try:
            return load_painting(path, size)
        except PictureError as error:
            return error

    paths = [path for paintings in styles.values() for path in paintings]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(load, paths))
    errors = [result for result in results if isinstance(result, PictureError)]
    if errors:
        raise OSError(
            f"{len(errors)} of {counted(len(results), 'painting')} can't be used: "
            f"{first_errors(errors)}"
        )
    loaded = (result for result in results if not isinstance(result, PictureError))
    return {name: list(islice(loaded, len(paths))) for name, paths in styles.items()}


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


def mosaic(paintings: Sequence[Tensor]) -> Tensor:
    """One picture that shows a style: its painting, or squares of the first four, two by two.

    Args:
        paintings: RGB ``[3, h, w]``, at least one. Where there are two or three, the first ones
            fill the square.
    """
    if len(paintings) == 1:
        return paintings[0]
    side = min(min(painting.shape[1:]) for painting in paintings[:4])
    squares = [resize(center_crop(p, [min(p.shape[1:])] * 2), [side, side]) for p in paintings[:4]]
    squares = (squares * 2)[:4]
    return torch.cat([torch.cat(squares[:2], 2), torch.cat(squares[2:], 2)], 1)


def thumbnails(paintings: Mapping[str, Sequence[Tensor]]) -> dict[str, bytes]:
    """The `thumbnail` of each style's `mosaic`; none where there is no painting."""
    return {name: thumbnail(mosaic(images)) for name, images in paintings.items() if images}


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
