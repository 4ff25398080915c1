"""Killed runs lose nothing: the short form of tests/stress/kill_training.py."""

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from kill_training import (
    Life,
    LostError,
    Remains,
    check_all_gone,
    check_same_end,
    damage,
    load_checkpoint,
    make_folders,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

STEPS = "trainer.max_steps=6"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders, and a run without a break in ``whole``, which the tests only read."""
    root = tmp_path_factory.mktemp("kill")
    make_folders(root)
    Life(root, "whole", STEPS).end()
    return root


def test_two_runs_in_one_folder_and_kills_at_bad_moments_lose_nothing(root: Path) -> None:
    first = Life(root, "killed", STEPS)
    first.stop_within_write("last.ckpt")
    assert first.writing() == {"last.ckpt"}, first.output()
    names = ("run.json", ".hydra/config.yaml", ".hydra/overrides.yaml", "train.log")
    before = {name: (root / "killed" / name).read_bytes() for name in names}

    second = Life(root, "killed", STEPS, "seed=1")
    second.end(status=1)
    assert second.output() == (
        "polystyle-train: another run is at work in killed: wait until it ends, stop it, or choose "
        "another hydra.run.dir\n"
    )
    assert {name: (root / "killed" / name).read_bytes() for name in names} == before
    assert first.writing() == {"last.ckpt"}

    # The first one goes on. It is killed as it writes step-000006.ckpt, and its workers are not.
    first.process.send_signal(signal.SIGCONT)
    first.stop_within_write("step-000006.ckpt")
    first.kill(with_workers=False)
    assert first.writing() == {"step-000006.ckpt"}
    remains = Remains.of(first.run_dir, {})
    assert (remains.newest, remains.step) == (root / "killed/checkpoints/last.ckpt", 6)
    damage(remains.newest, random.Random(0))
    damaged = {remains.newest: remains.newest.stat().st_mtime_ns}
    remains = Remains.of(first.run_dir, damaged)
    assert (remains.step, remains.damaged) == (3, {"last.ckpt"})

    # The second one is not refused now. It is killed as it writes the model, after its last step.
    second = Life(root, "killed", STEPS)
    second.stop_within_write("model.safetensors")
    second.kill(with_workers=True)
    assert remains.check(second.output(), root)
    assert second.writing() == {"model.safetensors"}
    remains = Remains.of(second.run_dir, damaged)
    assert remains.step == 6

    third = Life(root, "killed", STEPS)
    assert remains.check(third.end(), root)
    check_same_end(third.run_dir, root / "whole")
    check_all_gone([life.group for life in (first, second, third)])


def test_a_job_that_slurm_ends_is_requeued_and_goes_on_in_its_folder(
    root: Path, tmp_path: Path
) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    env = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        # One task, that srun started.
        **{"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "paint"},
        **{"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_PROCID": "0"},
    }
    # No checkpoint but the one that the signal is for.
    line = (STEPS, "trainer.val_check_interval=1000")
    first = Life(root, "job", *line, env=env)
    first.wait_for(r"\| [1-9]/6 ")
    sent_at = time.time()
    first.process.send_signal(signal.SIGUSR1)
    output = first.end(status=128 + signal.SIGUSR1)
    curves = EventAccumulator(str(root / "job/tensorboard")).Reload()
    steps = [event.wall_time for event in curves.Scalars("train/content_loss")]
    # The one under way, and one that had just ended and was yet to be logged.
    assert sum(moment > sent_at for moment in steps) <= 2
    reached = load_checkpoint(root / "job/checkpoints/last.ckpt")["global_step"]
    assert len(steps) == reached < 6
    assert (tmp_path / "asked").read_text() == "requeue 7\n"
    assert "SLURM will start job 7 again" in output

    output = Life(root, "job", *line, env=env).end()
    assert f"Going on from job/checkpoints/last.ckpt, step {reached}\n" in output
    check_same_end(root / "job", root / "whole")


def test_the_harness_sees_what_is_lost(root: Path, tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    whole = (root / "whole/checkpoints/last.ckpt").read_bytes()
    (checkpoints / "last.ckpt").write_bytes(whole)
    remains = Remains.of(tmp_path, {})
    assert (remains.newest, remains.step) == (checkpoints / "last.ckpt", 6)
    assert remains.check("Going on from checkpoints/last.ckpt, step 6\n", tmp_path)
    for said in ("Starting\n", "Going on from checkpoints/last.ckpt, step 3\n"):
        with pytest.raises(LostError, match="it should have said"):
            remains.check(said, tmp_path)
    (checkpoints / "last.ckpt").write_bytes(whole[:-1000])
    with pytest.raises(LostError, match="is cut"):
        Remains.of(tmp_path, {})
