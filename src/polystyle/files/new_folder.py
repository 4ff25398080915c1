"""Folders to write to: what stands in the way is named, and what stays empty is removed. Imports no
torch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from polystyle.files.path_kind import kind_of_path


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Makes a folder, with its parents, to write to in the block. Those of them that are new and
    still empty after the block are removed.

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
            with suppress(OSError):  # it holds something
                new.rmdir()


def missing_folders(folder: Path) -> list[Path]:
    """A folder and its parents, as far as they do not exist, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def check_can_be_folder(folder: Path) -> None:
    """Raises NotADirectoryError if a file stands where a folder is to be made, or where one of its
    parents is."""
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not existing.is_dir():
        what = "a broken link" if existing.is_symlink() else kind_of_path(existing).value
        raise NotADirectoryError(f"{existing} is {what}, not a folder: write to another folder")
