"""A run's folder: for one run at a time, with room for it."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from polystyle.files.atomic_file import temporary_file
from polystyle.training.run_folder import check_room, claimed, remove_leftovers

CLAIM_AND_WAIT = (
    "import os, sys, time; from pathlib import Path\n"
    "from polystyle.training.run_folder import claimed\n"
    "with claimed(Path('run')):\n"
    # As a loader's worker; it is the one that speaks, as it lets go of the lock only once it runs.
    "    if os.fork() == 0:\n"
    "        print('claimed', flush=True)\n"
    "    time.sleep(60)"
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_folder_is_for_one_run_until_it_dies(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLAIM_AND_WAIT]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout.readline() == b"claimed\n"
        message = r"another run is at work in .*run: wait until"
        with pytest.raises(BlockingIOError, match=message), claimed(tmp_path / "run"):
            pass
        # Killed, and not the worker, which lives on.
        process.kill()
        process.wait()
        with claimed(tmp_path / "run"):
            pass
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    """In the folders that a run makes, and in no others: the folder may be somebody's."""
    for name in ("", "checkpoints", "stylized", ".hydra", "photos"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "film.1080p.mkv.part").touch()
        temporary_file(tmp_path / name / "x").touch()
    left = temporary_file(tmp_path / "photos/x")
    with claimed(tmp_path):
        pass
    assert len(list(tmp_path.rglob("*-part"))) == 5  # the run may yet be refused
    remove_leftovers(tmp_path)
    assert list(tmp_path.rglob("*-part")) == [left]
    assert len(list(tmp_path.rglob("film.1080p.mkv.part"))) == 5


def test_a_run_needs_room(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    # The folder need not be there yet.
    check_room(tmp_path / "outputs/run", free // 2)
    with pytest.raises(OSError, match=r"run: this run will write some [\d,]+ MB, and its disk has"):
        check_room(tmp_path / "outputs/run", 2 * free)
