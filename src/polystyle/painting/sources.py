"""The photos and videos that a command line names."""

import glob
import shlex
from pathlib import Path

from polystyle.data.picture_folder import list_images
from polystyle.networks.model_file import MODEL_NAME


def find_sources(photos: list[str]) -> list[Path]:
    """The files that the arguments name, each once and in order.

    Args:
        photos: files, folders (all pictures directly in them), or glob patterns.

    Raises:
        FileNotFoundError: a pattern matches nothing.
        ValueError: a folder holds no picture, or a network is among the photos.
    """
    sources: list[Path] = []
    for photo in photos:
        path = Path(photo)
        if is_network(path):
            raise ValueError(
                f"{path} is a network, not a photo: name it with --model {shlex.quote(str(path))}"
            )
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


def is_network(path: Path) -> bool:
    """Whether a path names a model file or the folder of a run."""
    if path.suffix.lower() == ".safetensors":
        return True
    try:
        return (path / MODEL_NAME).is_file()
    except PermissionError:  # of which `list_images` says more
        return False
