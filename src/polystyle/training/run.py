"""One run, once it is built: announce it, put it on record, train, and say what was made."""

import logging
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, Trainer

from polystyle.files.atomic_file import atomic_write
from polystyle.files.path_kind import MODEL_NAME
from polystyle.files.terminal_text import counted
from polystyle.training.checkpoints import LAST
from polystyle.training.distributed import end_other_processes
from polystyle.training.memory import is_out_of_memory
from polystyle.training.messages import (
    EXPECTED,
    RunStoppedError,
    made,
    one_line,
    resume_command,
    what_stands,
)
from polystyle.training.module import MultiStyleModule
from polystyle.training.run_folder import bytes_to_write, check_room, remove_leftovers
from polystyle.training.run_record import write_record
from polystyle.training.slurm import REQUEUE_SIGNAL, requeue

log = logging.getLogger(__name__)


@dataclass
class Run:
    """All that a run is made of.

    Attributes:
        folder: where it is written.
        data, module, trainer, callbacks: its parts; callbacks by their name in the configuration.
        checkpoint: the file to go on from, and what it holds; None for a new run.
        start_step, max_steps: where the run begins, and where it ends.
        changes: in what the run differs from what is on record of it.
        base_file: the network that conditions are added to, if any.
        configuration: plain values, interpolations as they were written.
        configuration_files: the same for people, YAML by file name.
        resolved_yaml: the configuration, interpolations resolved, for TensorBoard.
        overrides: what was typed, but for where the run is written: flags of configurations, too.
    """

    folder: Path
    data: LightningDataModule
    module: MultiStyleModule
    trainer: Trainer
    callbacks: Mapping[str, Callback]
    checkpoint: tuple[Path, dict[str, Any]] | None
    start_step: int
    max_steps: int
    changes: list[str]
    base_file: str | None
    configuration: Mapping[str, Any]
    configuration_files: Mapping[str, str]
    resolved_yaml: str
    overrides: list[str]

    @property
    def num_bytes(self) -> int:
        """About how much the run will write, at the most."""
        return bytes_to_write(self.trainer, self.module, self.data, self.start_step)

    @property
    def new_styles(self) -> list[str]:
        """What to paint with the network, to see what this run has trained."""
        return self.module.conditions if self.module.base else ["all"]


def carry_out(run: Run) -> None:
    """Carry out a run.

    Raises:
        ValueError, OSError, MemoryError, FloatingPointError, RunStoppedError: what a user can mend,
            in one line.
    """
    announce(run)
    if run.start_step >= run.max_steps:
        complete(run)
        return
    begin(run)
    started_at = time.monotonic()
    fit(run)
    if run.trainer.fast_dev_run:
        log.info("All is well, as far as one step tells: leave out trainer.fast_dev_run to train")
        return
    report(run, (time.monotonic() - started_at) / 60)
    leave_if_stopped(run)


def announce(run: Run) -> None:
    """Say what the run will be."""
    trainer = run.trainer
    devices = str(trainer.strategy.root_device)
    if trainer.world_size > 1:
        devices = f"{trainer.world_size} devices ({trainer.strategy.root_device.type})"
    if run.module.base:
        log.info(f"{old_styles(run)}, frozen like all shared weights; new:")
    for line in run.data.summary():
        log.info(line)
    place = f"Writing to {run.folder}, some {run.num_bytes / 1e6:,.0f} MB"
    if trainer.fast_dev_run:
        place = "A dry run, trainer.fast_dev_run: one step or a few, and nothing is written"
    log.info(
        f"{counted(run.max_steps, 'step')} of {counted(run.data.batch_size, 'image')}, "
        f"{trainer.precision} on {devices}\n{place}"
    )


def old_styles(run: Run) -> str:
    return f"{counted(len(run.module.base.style_names), 'style')} of {run.base_file}"


def complete(run: Run) -> None:
    """A run that is at its last step already: write the model file, if a kill prevented that."""
    if run.trainer.is_global_zero and not run.trainer.fast_dev_run:
        remove_leftovers(run.folder)
    if model_file := run.callbacks.get("model_file"):
        run.data.setup("fit")
        run.module.load_state_dict(run.checkpoint[1]["state_dict"])
        model_file.complete(run.module, run.start_step, run.data)
    log.info(f"It is at step {run.start_step} already: raise trainer.max_steps to train on")
    log.info(made(run.folder, run.new_styles))


def begin(run: Run) -> None:
    """Check the disk, put the run on record, and say where it starts.

    Raises:
        OSError: there is no room, or the folder can't be written to.
    """
    check_room(run.folder, run.num_bytes)
    if run.changes:
        log.warning(f"Going on although {'; '.join(run.changes)}")
    trainer = run.trainer
    if trainer.is_global_zero and not trainer.fast_dev_run:
        remove_leftovers(run.folder)
        fingerprint = run.data.fingerprint()
        write_record(run.folder, run.configuration, fingerprint, run.start_step, run.changes)
        write_configuration(run)
        (run.folder / "checkpoints").mkdir(exist_ok=True)
    if trainer.logger:
        text = f"```yaml\n{run.resolved_yaml}\n```"
        trainer.logger.experiment.add_text("configuration", text)
    if run.checkpoint:
        log.info(f"Going on from {run.checkpoint[0]}, step {run.start_step}")
    else:
        log.info("Starting")


def write_configuration(run: Run) -> None:
    """Write ``.hydra/``, for people, as Hydra itself would have written it."""
    folder = run.folder / ".hydra"
    folder.mkdir(exist_ok=True)
    for name, text in run.configuration_files.items():
        with atomic_write(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")


def fit(run: Run) -> None:
    """Train, and write the last checkpoint.

    Raises:
        RunStoppedError: what a user can mend ended the run after it had begun.
    """
    trainer = run.trainer
    checkpoint = run.checkpoint[0] if run.checkpoint else None
    try:
        trainer.fit(run.module, datamodule=run.data, ckpt_path=checkpoint, weights_only=True)
        if not trainer.fast_dev_run:
            trainer.save_checkpoint(run.folder / "checkpoints" / LAST)
    except SystemExit:
        # So Lightning ends a run that Ctrl-C met outside of the steps, or met twice.
        end_other_processes(trainer)
        log.info(f"Stopped at once: {run.folder} is as its last checkpoint left it")
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        # Whatever it was, it is raised again: but the others must not wait for this process.
        end_other_processes(trainer)
        if not has_begun(run):
            raise
        stopped = stopped_by(error, run)
        if stopped is None:
            raise
        raise stopped from error


def has_begun(run: Run) -> bool:
    """Whether training began: until then, an error needs no word about checkpoints."""
    first_step = run.callbacks.get("first_step")
    return first_step.passed if first_step else run.trainer.global_step > run.start_step


def stopped_by(error: Exception, run: Run) -> RunStoppedError | None:
    """What a user needs to know of an error in the middle of a run; None if it isn't expected."""
    if is_out_of_memory(error):
        reason = "out of memory: try a smaller data.batch_size"
    elif isinstance(error, OSError) and error.strerror and not error.filename:
        reason = f"{run.folder}: {error.strerror}"  # as TensorBoard meets a full disk
    elif isinstance(error, EXPECTED):
        reason = one_line(error)
    else:
        return None
    return RunStoppedError(f"{reason}. {what_stands(run.folder, run.overrides)}")


def report(run: Run, minutes: float) -> None:
    """Say what was made."""
    trainer = run.trainer
    log.info(f"Step {trainer.global_step} of {trainer.max_steps}, after {minutes:.1f} minutes.")
    if skipped := int(trainer.optimizers[0].skipped):
        were = "was" if skipped == 1 else "were"
        log.info(f"{skipped} of them {were} skipped: loss or gradient was not finite")
    if run.module.base:
        names = ", ".join(run.module.conditions)
        model = run.folder / MODEL_NAME
        log.info(f"Made {model}: the {old_styles(run)} as they were, and {names}")
    log.info(made(run.folder, run.new_styles))


def leave_if_stopped(run: Run) -> None:
    """End the process as a signal asks for, if one has stopped the run."""
    stop = run.callbacks.get("stop_on_signal")
    # A second process that failed would have Lightning, or torchrun, kill the first.
    if stop and stop.received and run.trainer.is_global_zero:
        if stop.received == REQUEUE_SIGNAL:
            log.info(requeue())
        log.info(f"Go on:  {resume_command(run.overrides, run.folder)}")
        sys.exit(128 + stop.received)
