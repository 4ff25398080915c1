"""Files that appear whole or not at all, whatever happens meanwhile. Imports no torch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNFINISHED = ".part"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to. After the block what is there is synced to the disk, and
    renamed to `path`: until then an older file stands, and if the block fails it stays.

    Raises:
        OSError: the file can't be written; says which and why.
    """
    # Of its own process: several may write the same file, and each of them a whole one.
    partial = path.with_name(f"{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno is None:  # one of ours, that says what it is about
            raise
        raise OSError(f"{path} can't be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # it was renamed, or its folder is gone or read-only by now
            partial.unlink()


def sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk: a renaming is nowhere else before."""
    if os.name == "posix":  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_unfinished(folder: Path) -> None:
    """Remove what a process that was killed had begun to write, anywhere in the folder."""
    for partial in folder.rglob(f"*.[0-9]*{UNFINISHED}"):
        partial.unlink()
