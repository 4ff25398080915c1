"""Files that appear whole or not at all, whatever happens meanwhile. Imports no torch."""

import hashlib
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNFINISHED = ".polystyle-part"

# Bytes of the file's own name that its temporary file repeats. File systems take names of 255
# bytes, and the rest of the name has at most 40.
MAX_REPEATED = 200

# The machine, as temporary files name it: a process ID says nothing about another machine, which
# may write to the same network disk.
HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Replaces `path` atomically: yields a temporary file beside it, which is synced to the disk
    and renamed to `path` on success. Until then, and on failure, an older file stays.

    Raises:
        OSError: the file can't be written; says which and why.
    """
    partial = temporary_file(path)
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno is None:  # raised by polystyle, and says what it is about
            raise
        raise OSError(f"{path} can't be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # it was renamed, or its folder is gone or read-only by now
            partial.unlink()


def temporary_file(path: Path) -> Path:
    """The temporary file of this process for `path`: several processes may write the same file.

    The name is hidden, so that no pattern such as ``*.png`` finds it, and nobody but polystyle
    gives it: `remove_unfinished` may delete it.
    """
    repeated = path.name.encode(errors="ignore")[:MAX_REPEATED].decode(errors="ignore")
    return path.with_name(f".{repeated}.{HOST}-{os.getpid()}{UNFINISHED}")


def sync_folder(folder: Path) -> None:
    """Writes a folder's list of names to the disk: a renaming is stored only there."""
    if os.name == "posix":  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_unfinished(folder: Path) -> None:
    """Removes the temporary files in a folder, not in its subfolders, that processes of this
    machine left behind when they were killed. Any other file stays.

    To be called before this process writes anything: a temporary file with its own process ID is
    taken for that of an earlier process.
    """
    pattern = re.compile(rf"\..*\.{HOST}-(\d+){re.escape(UNFINISHED)}", re.DOTALL)
    for path in folder.glob(f".*{UNFINISHED}"):
        name = pattern.fullmatch(path.name)
        if name and path.is_file() and not path.is_symlink() and is_dead(int(name[1])):
            with suppress(OSError):  # a read-only folder: the file does no harm
                path.unlink()


def is_dead(process_id: int) -> bool:
    """Whether no other process of this machine has this ID. False where that can't be known."""
    if process_id == os.getpid():  # in containers, every run may get the same ID
        return True
    if os.name != "posix":  # on Windows, os.kill would end the process
        return False
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):  # of another user; no ID at all
        return False
    return False
