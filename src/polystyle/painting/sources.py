"""The photos and videos that a command line names."""

import glob
from pathlib import Path

from polystyle.data.images import list_images
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
        elif glob.has_magic(photo) and not path.exists():
            # Path.glob takes no absolute pattern.
            matches = sorted(map(Path, glob.glob(photo, recursive=True)))  # noqa: PTH207
            if not matches:
                raise FileNotFoundError(f"nothing matches {photo}")
            sources += [match for match in matches if match.is_file()]
        else:
            sources.append(path)
    return list(dict.fromkeys(sources))
