"""Output folders: a file in the way is reported, and new folders that stay empty are removed.
Imports no torch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from polystyle.files.path_kind import kind_of_path


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Makes a folder and its parents for the block. New ones that are empty after the block are
    removed.

    Raises:
        NotADirectoryError: see `check_can_be_folder`.
        OSError: the folder can't be made.
    """
    check_can_be_folder(folder)
    missing = missing_folders(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for new in missing:
            with suppress(OSError):  # not empty
                new.rmdir()


def missing_folders(folder: Path) -> list[Path]:
    """Those of a folder and its parents that do not exist, innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def check_can_be_folder(folder: Path) -> None:
    """Raises NotADirectoryError if the folder, or one of its parents, exists as a file."""
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not existing.is_dir():
        description = "a broken link" if existing.is_symlink() else kind_of_path(existing).value
        raise NotADirectoryError(
            f"{existing} is {description}, not a folder: write to another folder"
        )
