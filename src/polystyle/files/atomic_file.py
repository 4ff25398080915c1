"""Atomic writes: a file is written completely or not at all. Imports no torch."""

import hashlib
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNFINISHED = ".polystyle-part"

# The temporary file's name begins with this many bytes of the file's own name. File systems accept
# names of 255 bytes, and the rest of the temporary name has at most 40.
MAX_REPEATED = 200

# A hash of the machine's name, for the names of temporary files. A process ID alone would not do:
# another machine may write to the same network disk.
HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Replaces `path` atomically: yields a temporary file beside it, which is synced to the disk
    and renamed to `path` on success. Until then, and on failure, an older file stays.

    Raises:
        OSError: the file can't be written. The message names the file and the reason.
    """
    partial = temporary_file(path)
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno is None:  # polystyle's own error, which names its file
            raise
        raise OSError(f"{path} can't be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # it was renamed, or its folder is gone or read-only by now
            partial.unlink()


def temporary_file(path: Path) -> Path:
    """This process's temporary file for `path`; other processes may write the same file.

    The name begins with a dot, so that no pattern such as ``*.png`` matches it. Only polystyle
    creates such names, so that `remove_unfinished` may delete the files.
    """
    repeated = path.name.encode(errors="ignore")[:MAX_REPEATED].decode(errors="ignore")
    return path.with_name(f".{repeated}.{HOST}-{os.getpid()}{UNFINISHED}")


def sync_folder(folder: Path) -> None:
    """Syncs a folder's directory entries to the disk. Without this, a crash may undo a rename."""
    if os.name == "posix":  # Windows can't open folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_unfinished(folder: Path) -> None:
    """Removes temporary files that killed processes of this machine left directly in a folder.

    Call this before the process writes anything: a temporary file with the process's own ID is
    attributed to an earlier process.
    """
    pattern = re.compile(rf"\..*\.{HOST}-(\d+){re.escape(UNFINISHED)}", re.DOTALL)
    for path in folder.glob(f".*{UNFINISHED}"):
        name = pattern.fullmatch(path.name)
        if name and path.is_file() and not path.is_symlink() and is_dead(int(name[1])):
            with suppress(OSError):  # a read-only folder: the file does no harm
                path.unlink()


def is_dead(process_id: int) -> bool:
    """Whether no other process of this machine has this ID. False if that can't be determined."""
    if process_id == os.getpid():  # in a container, every run may have the same ID
        return True
    if os.name != "posix":  # on Windows, os.kill would end the process
        return False
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):  # another user's process; not a valid ID
        return False
    return False
