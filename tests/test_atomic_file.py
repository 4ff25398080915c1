"""Files that appear whole or not at all."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from polystyle.files.atomic_file import HOST, atomic_write, remove_unfinished, temporary_file


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
        names = sorted("".join(path.suffixes[-1:]) or path.name for path in tmp_path.iterdir())
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().suffix, names))

    if not Path("/proc/self/fd").exists():
        pytest.skip("there is no /proc to tell which file a descriptor is")
    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_write(tmp_path / "weights") as partial:
        partial.write_bytes(b"new")
    assert synced == [(".polystyle-part", [".polystyle-part"]), ("", ["weights"])]


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


def kill_while_it_writes(folder: Path) -> int:
    """Kill a process in the middle of a file; returns its ID."""
    kill_within = (
        "import os, sys; from pathlib import Path\n"
        "from polystyle.files.atomic_file import atomic_write\n"
        "with atomic_write(Path('weights')) as partial:\n"
        "    partial.write_bytes(b'ne')\n"
        "    os.kill(os.getpid(), 9)"
    )
    process = subprocess.Popen([sys.executable, "-c", kill_within], cwd=folder)
    process.wait()
    return process.pid


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    dead = kill_while_it_writes(tmp_path)
    left = tmp_path / f".weights.{HOST}-{dead}.polystyle-part"
    assert list(tmp_path.iterdir()) == [left]
    kept = {
        *("photo.part", "a.b.part", "weights", "film.1080p.mkv.part", "last.ckpt.123.part"),
        f".weights.{HOST}-{os.getppid()}.polystyle-part",  # of a process that lives
        f".weights.0000aaaa-{dead}.polystyle-part",  # of another machine
        *(f".weights.{HOST}-x.polystyle-part", f".weights.{HOST}-{10**30}.polystyle-part"),
        f"weights.{HOST}-{dead}.polystyle-part",
    }
    for name in kept:
        (tmp_path / name).touch()
    for name in ("x.1.part", f".x.{HOST}-{dead}.polystyle-part", "checkpoints"):
        (tmp_path / name).mkdir()
        (tmp_path / name / left.name).touch()
        kept.add(name)
    link = tmp_path / f".link.{HOST}-{dead}.polystyle-part"
    link.symlink_to(tmp_path / "weights")
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, link.name}
    assert (tmp_path / "x.1.part" / left.name).exists()


def test_a_process_with_the_number_of_an_earlier_one_removes_its_files(tmp_path: Path) -> None:
    """As in containers, where each run is process 1."""
    temporary_file(tmp_path / "weights").touch()
    remove_unfinished(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x" * 255, "\N{SNOWMAN}" * 85, "\udcff" * 255])
def test_the_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    try:
        (tmp_path / name).touch()
    except (OSError, UnicodeError):
        pytest.skip("the file system takes no such name")
    with atomic_write(tmp_path / name) as partial:
        partial.write_bytes(b"new")
    assert (tmp_path / name).read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 1
