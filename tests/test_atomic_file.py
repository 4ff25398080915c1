"""Files that appear whole or not at all."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from polystyle.files.atomic_file import atomic_write, remove_unfinished


def test_the_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"old")
    with atomic_write(path) as partial:
        partial.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as partial:
        partial.write_bytes(b"ne")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_synced_before_it_is_renamed_and_then_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def fsync(descriptor: int) -> None:
        # What it is, and what there was to see in the folder at that time.
        names = sorted(path.name.split(".")[0] + path.suffix for path in tmp_path.iterdir())
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().suffix, names))

    if not Path("/proc/self/fd").exists():
        pytest.skip("there is no /proc to tell which file a descriptor is")
    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_write(tmp_path / "weights") as partial:
        partial.write_bytes(b"new")
    assert synced == [(".part", ["weights.part"]), ("", ["weights"])]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "No space left on device"),
        (errno.EROFS, "Read-only file system"),
        (errno.EACCES, "Permission denied"),
    ],
)
def test_an_error_says_which_file_and_why(tmp_path: Path, number: int, reason: str) -> None:
    message = rf"weights can't be written: {reason}$"
    with pytest.raises(OSError, match=message), atomic_write(tmp_path / "weights"):
        raise OSError(number, reason)


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gone/weights"
    message = r"gone/weights can't be written: No such file"
    with pytest.raises(OSError, match=message), atomic_write(path) as partial:
        partial.write_bytes(b"new")


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kill_within = (
        "import os, sys; from pathlib import Path\n"
        "from polystyle.files.atomic_file import atomic_write\n"
        "with atomic_write(Path('weights')) as partial:\n"
        "    partial.write_bytes(b'ne')\n"
        "    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", kill_within], cwd=tmp_path, check=False)
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    for name in ("photo.part", "a.b.part", "weights"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.b.part", "photo.part", "weights"]
