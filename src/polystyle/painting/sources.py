"""The photos and videos that a command line names."""

import glob
from collections.abc import Iterable
from pathlib import Path

from polystyle.data.picture_folder import list_images, unread_line
from polystyle.files.path_kind import PICTURE, Kind, check_kind, kind_of_path

NETWORK_FILES = {Kind.MODEL, Kind.RUN, Kind.PACK, Kind.CHECKPOINT, Kind.ONNX}


def find_sources(photos: list[str]) -> list[Path]:
    """The files that the arguments name, each once and in order.

    Args:
        photos: files, folders (all pictures directly in them), or glob patterns.

    Raises:
        FileNotFoundError: a pattern matches nothing.
        ValueError: a folder holds no picture, or a network or another file of polystyle's is among
            the photos.
    """
    sources: list[Path] = []
    for photo in photos:
        path = Path(photo)
        # Any other file that is no picture is reported at the end, and the photos are painted.
        if kind_of_path(path) in NETWORK_FILES:
            check_kind(path, PICTURE)
        if path.is_dir():
            sources += list_images(path, deep=False)
        elif is_pattern(photo):
            matches = matches_of(photo)
            if not matches:
                raise FileNotFoundError(f"nothing matches {photo}")
            sources += [match for match in matches if not match.is_dir()]
        else:
            sources.append(path)
    return each_once(sources)


def each_once(sources: Iterable[Path]) -> list[Path]:
    """The paths without those that name an earlier file in other words, such as ``./photo.jpg``."""
    by_place: dict[Path, Path] = {}
    for path in sources:
        by_place.setdefault(path.parent.resolve() / path.name, path)
    return list(by_place.values())


def is_pattern(photo: str) -> bool:
    return glob.has_magic(photo) and not Path(photo).exists()


def matches_of(pattern: str) -> list[Path]:
    # Path.glob takes no absolute pattern.
    return sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207


def unread_lines(photos: list[str]) -> list[str]:
    """A line for each folder or pattern among the arguments that has more than is painted."""
    lines = []
    for photo in dict.fromkeys(photos):
        if is_pattern(photo):
            folders = sum(path.is_dir() for path in matches_of(photo))
            line = f"Not read of {photo}: {folders} folder{'s' * (folders > 1)}" * (folders > 0)
        else:
            line = unread_line(Path(photo), deep=False)
        if line:
            lines.append(f"{line}. Name videos and folders to paint them")
    return lines
