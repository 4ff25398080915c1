"""What a run says: errors in one line, what stands after them, what was made, what to type next."""

import os
import shlex
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from polystyle.files.path_text import shell_path, typed_path
from polystyle.networks.model_file import MODEL_NAME
from polystyle.training.checkpoints import newest_checkpoint
from polystyle.training.command_line import path_override
from polystyle.training.memory import is_out_of_memory


class RunStoppedError(Exception):
    """What ended a run before its time, and where the next one goes on."""


# Errors that say in their own words what a user can mend.
EXPECTED = (ValueError, OSError, MemoryError, FloatingPointError, RunStoppedError)


def one_line(error: BaseException) -> str:
    """What an error says, without the traceback that a loader's worker sends along with it."""
    message = str(error).strip()
    if isinstance(error, OSError) and error.strerror and error.filename:
        message = f"{os.fsdecode(error.filename)}: {error.strerror}"
    if "Original Traceback" in message:
        message = message.splitlines()[-1].partition(": ")[2]
    return " ".join(message.split())


def unexpected(error: Exception, run_dir: Path) -> str:
    """One line for an error that may be a mistake of ours; its traceback goes to a file."""
    if is_out_of_memory(error):
        return "out of memory: try a smaller network.width, data.image_size or data.batch_size"
    path = run_dir / "traceback.txt"
    with suppress(OSError):
        path.write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")
    return f"{type(error).__name__}: {one_line(error)} (unexpected: {path} says where)"


def resume_command(overrides: Sequence[str], run_dir: Path) -> str:
    """The command that goes on with a run, to be pasted into a shell.

    Args:
        overrides: what the run was started with, but for its folder.
        run_dir: the run's folder.
    """
    kept = [text for text in overrides if not text.lstrip("+").startswith("ckpt_path=")]
    folder = path_override("hydra.run.dir", run_dir)
    return shlex.join(["polystyle-train", *kept, folder, "ckpt_path=last"])


def what_stands(run_dir: Path, overrides: Sequence[str]) -> str:
    """After an error in the middle of a run: where the next one will go on."""
    command = resume_command(overrides, run_dir)
    if not run_dir.exists():
        return f"{run_dir} is gone: put it back, and go on with {command}"
    try:
        found = newest_checkpoint(run_dir / "checkpoints")
    except (OSError, ValueError):
        found = None
    if not found:
        return "There is no checkpoint yet to go on from"
    path, checkpoint = found
    return f"{path}, of step {checkpoint['global_step']}, stands: go on with {command}"


def made(run_dir: Path, styles: Sequence[str]) -> str:
    """What a run has made, and what to do next: paint in these styles."""
    pictures = sorted((run_dir / "stylized").glob("*.png"))
    lines = [f"Look:   {pictures[-1]}"] if pictures else []
    # A run without pictures does not paint.
    if pictures and (run_dir / MODEL_NAME).exists():
        options = [option for name in styles for option in ("--style", name)]
        command = ["polystyle-stylize", "PHOTO", "--model", typed_path(run_dir), *options]
        lines.append(f"Paint:  {shlex.join([*command, '--output', 'painted/'])}")
    elif (run_dir / MODEL_NAME).exists():
        lines.append(f"Model:  {run_dir / MODEL_NAME}")
    tables = sorted(run_dir.rglob("metrics.csv"), key=lambda path: path.stat().st_mtime_ns)
    if any(run_dir.rglob("events.out.tfevents.*")):
        lines.append(f"Curves: tensorboard --logdir {shell_path(run_dir)}")
    elif tables:
        lines.append(f"Curves: {tables[-1]}")
    return "\n".join(lines)
