"""The name of a run that got none."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polystyle.training.distributed import remove_empty, run_name


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLYSTYLE_RUN", raising=False)
    monkeypatch.setattr(time, "strftime", lambda _: "2030-01-01_00-00-00")
    monkeypatch.setattr("atexit.register", lambda *_: None)


def test_runs_of_one_second_get_folders_of_their_own(tmp_path: Path) -> None:
    # Without its cache, each call is another process.
    names = [run_name.__wrapped__(str(tmp_path / "outputs")) for _ in range(3)]
    assert names == [f"2030-01-01_00-00-00{suffix}" for suffix in ("", "_2", "_3")]
    assert sorted(path.name for path in (tmp_path / "outputs").iterdir()) == names


def test_a_run_that_writes_nothing_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_exit: list[tuple] = []
    monkeypatch.setattr("atexit.register", lambda *call: at_exit.append(call))
    run_name.__wrapped__(str(tmp_path / "new" / "outputs"))
    ((function, folders),) = at_exit
    function(folders)
    assert not list(tmp_path.iterdir())


def test_all_processes_of_a_run_share_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYSTYLE_RUN", "shared")
    assert run_name.__wrapped__(str(tmp_path)) == "shared"
    assert not list(tmp_path.iterdir())


def test_only_an_empty_folder_is_removed(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    (tmp_path / "empty").mkdir()
    remove_empty(tmp_path / name for name in ("full", "empty", "missing"))
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_the_configuration_names_the_folder_of_a_run_that_got_none(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "polystyle.train", "--cfg", "hydra", "--resolve"]
    env = {**os.environ, "POLYSTYLE_RUN": "shared"}
    result = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert result.stdout.count("dir: outputs/shared") == 2, result.stderr
