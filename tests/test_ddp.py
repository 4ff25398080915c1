"""Several devices, here processes on the CPU: the same run as on one, told and written once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training import ONE_THREAD, load_checkpoint, make_folders, run, train_command

from polystyle.networks.model_file import load_model
from polystyle.training.distributed import check_devices, is_rank_zero

# Three styles and two photos to a device: no device sees all styles of a step.
BATCH = ("data.batch_size=4", "data.num_workers=0", "trainer.precision=32-true")
TWO_DEVICES = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
# Adam makes a whole step of a gradient that is but rounding. Small ones keep two runs together.
SHORT_STEPS = ("model.learning_rate=1e-5", "trainer.val_check_interval=2")


@pytest.fixture(scope="module")
def one_device(folders: Path) -> Path:
    """Four steps, shared by the tests, which only read it."""
    command = train_command(
        folders, *BATCH, *SHORT_STEPS, "trainer.max_steps=4", "hydra.run.dir=one"
    )
    result = run(command, folders)
    assert result.returncode == 0, result.stderr
    return folders / "one"


def scalars(run_dir: Path, name: str) -> dict[int, float]:
    """A curve of TensorBoard's: value by step."""
    events = EventAccumulator(str(run_dir / "tensorboard")).Reload()
    return {event.step: event.value for event in events.Scalars(name)}


def adam_moments(checkpoint: dict, name: str) -> torch.Tensor:
    states = checkpoint["optimizer_states"][0]["state"].values()
    return torch.cat([state[name].flatten() for state in states])


def weights(checkpoint: dict) -> torch.Tensor:
    """All but those whose true gradient is zero: the next normalization takes a residual block's
    beta out again."""
    weights = checkpoint["state_dict"]
    return torch.cat(
        [weights[name].flatten() for name in weights if "second.norm.beta" not in name]
    )


def count_of_lines(output: str) -> dict[str, int]:
    lines = [line for line in output.splitlines() if line.strip() and "|" not in line]  # no bars
    return {line: lines.count(line) for line in lines}


@pytest.mark.slow
def test_two_devices_stopped_and_resumed_train_as_one_does(one_device: Path) -> None:
    root = one_device.parent
    line = (*BATCH, *SHORT_STEPS, *TWO_DEVICES, "hydra.run.dir=two", "ckpt_path=last")
    for max_steps in (2, 4):
        result = run(train_command(root, *line, f"trainer.max_steps={max_steps}"), root)
        assert result.returncode == 0, result.stderr
        # Each line once, and no other file than those of one device.
        assert set(count_of_lines(result.stdout).values()) == {1}, result.stdout
        assert "on 2 devices (cpu)" in result.stdout
        assert "Traceback" not in result.stderr and "is deprecated" not in result.stderr
    assert "Going on from two/checkpoints/last.ckpt" in result.stdout
    written, as_one = (
        {
            path.relative_to(run_dir).as_posix()
            for path in run_dir.rglob("*")
            if not path.name.startswith("events")
        }
        for run_dir in (root / "two", one_device)
    )
    assert written == as_one
    assert len(list((root / "two/tensorboard").glob("events.*"))) == 2  # one each time

    # Rounding alone differs. Losses: by 1e-5 of themselves. Adam's averages of the gradients, and
    # what the last two steps changed: by 2 % in norm (0.4 % where this was written).
    for name in ("train/loss", "train/content_loss", "train/style_loss", "val/loss"):
        losses, as_one = scalars(root / "two", name), scalars(one_device, name)
        assert losses == pytest.approx(as_one, rel=1e-5), name
    last = "checkpoints/last.ckpt"
    two, one = load_checkpoint(root / "two" / last), load_checkpoint(one_device / last)
    before = load_checkpoint(one_device / "checkpoints/step-000002.ckpt")
    assert two["global_step"] == one["global_step"] == 4
    for name in ("exp_avg", "exp_avg_sq"):
        expected = adam_moments(one, name)
        assert (adam_moments(two, name) - expected).norm() < 0.02 * expected.norm(), name
    expected = weights(one) - weights(before)
    assert (weights(two) - weights(before) - expected).norm() < 0.02 * expected.norm()


@pytest.mark.slow
def test_torchrun_makes_one_folder_and_says_each_line_once(folders: Path) -> None:
    # Started two seconds apart, the processes would call the folder by different times.
    late = ["bash", "-c", 'sleep $((2 * RANK)); exec "$@"', "-"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--no-python"]
    overrides = (*BATCH, *TWO_DEVICES, "trainer.max_steps=1")
    # In a folder of its own, so that outputs/ holds this run alone.
    (folders / "torchrun").mkdir()
    command = [*launcher, *late, *train_command(folders, *overrides)]
    result = run(command, folders / "torchrun")
    assert result.returncode == 0, result.stderr
    assert set(count_of_lines(result.stdout).values()) == {1}, result.stdout
    (run_dir,) = (folders / "torchrun/outputs").iterdir()
    assert load_model(run_dir / "model.safetensors").training["step"] == 1


@pytest.mark.slow
def test_ctrl_c_leaves_a_whole_run_and_one_message(folders: Path) -> None:
    line = (*BATCH, *TWO_DEVICES, "hydra.run.dir=stopped", "trainer.max_steps=100000")
    # In a session of its own: a terminal sends Ctrl-C to all processes of the group.
    process = subprocess.Popen(
        train_command(folders, *line),
        cwd=folders,
        env=ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (folders / "stopped/stylized/step-000000.png").exists():
            assert time.monotonic() < deadline and process.poll() is None, process.stdout.read()
            time.sleep(0.05)
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 128 + signal.SIGINT, output
    assert "Traceback" not in output
    assert output.count("SIGINT: stopping after this step") == 1
    reached = load_checkpoint(folders / "stopped/checkpoints/last.ckpt")["global_step"]
    assert output.count(f"Step {reached} of 100000") == output.count("Go on:") == 1
    assert load_model(folders / "stopped/model.safetensors").training["step"] == reached


@pytest.mark.slow
def test_an_error_that_all_processes_meet_is_one_line(tmp_path: Path) -> None:
    _, paintings = make_folders(tmp_path)
    (paintings / "haze.png").write_bytes(b"no picture")  # read when both processes are there
    result = run(train_command(tmp_path, *BATCH, *TWO_DEVICES), tmp_path)
    assert result.returncode == 1, result.stderr
    assert "haze.png can't be read" in result.stderr
    assert result.stderr.count("\n") == 1, result.stderr


def test_what_devices_cannot_do_is_said_before_they_start() -> None:
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False)
    with pytest.raises(ValueError, match=r"data\.batch_size=3 is for all devices together"):
        check_devices(trainer, batch_size=3, is_sweep=False)
    check_devices(trainer, batch_size=4, is_sweep=False)
    with pytest.raises(ValueError, match="several devices can't be had with -m"):
        check_devices(trainer, batch_size=4, is_sweep=True)
    one = Trainer(accelerator="cpu", devices=1, logger=False)
    check_devices(one, batch_size=4, is_sweep=True)


@pytest.mark.parametrize(
    ("environment", "is_first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, True),
        ({"SLURM_PROCID": "8", "SLURM_LOCALID": "0"}, False),
        # torchrun in a task of SLURM's each, which needn't number the machines alike.
        ({"RANK": "0", "LOCAL_RANK": "0", "SLURM_PROCID": "1"}, True),
        ({"RANK": "8", "LOCAL_RANK": "0", "SLURM_PROCID": "0"}, False),
    ],
)
def test_one_process_speaks(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], is_first: bool
) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_rank_zero() == is_first
