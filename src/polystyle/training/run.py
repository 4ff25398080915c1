"""One run, once it is built: announce it, put it on record, train, and say what was made."""

import logging
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.loggers import Logger

from polystyle.files.atomic_file import atomic_write
from polystyle.files.path_kind import MODEL_NAME
from polystyle.files.terminal_text import counted
from polystyle.training.checkpoints import LAST
from polystyle.training.command_line import path_override
from polystyle.training.distributed import end_other_processes
from polystyle.training.early_end import reason_of
from polystyle.training.first_step import FirstStep
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
        resolved_yaml: the configuration, interpolations resolved, for the logger.
        overrides: what was typed, but for where the run is written: flags of configurations, too.
        has_checkpoints: whether the run writes checkpoints.
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
    has_checkpoints: bool = True

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
        count = run.trainer.max_steps
        steps = "one step tells" if count == 1 else f"{count} steps tell"
        log.info(f"All is well, as far as {steps}: leave out trainer.fast_dev_run to train")
        return
    report(run, (time.monotonic() - started_at) / 60)
    explain_early_end(run)
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
    log.info(f"It is at step {run.start_step} already: {how_to_train_on(run)}")
    log.info(made(run.folder, run.new_styles))


def how_to_train_on(run: Run) -> str:
    """What to do with a run that is at its last step, to train its network further."""
    if any("total_steps" in schedule for schedule in run.checkpoint[1]["lr_schedulers"]):
        return (
            "its learning rate has come to its end there. A new run trains on from its network: "
            f"{shlex.join([path_override('init', run.folder), 'hydra.run.dir=NEW_FOLDER'])}, "
            "without ckpt_path"
        )
    return "raise trainer.max_steps to train on"


def begin(run: Run) -> None:
    """Check the disk, and say where the run starts. The run is put on record once training begins.

    Raises:
        OSError: there is no room, or the folder can't be written to.
    """
    check_room(run.folder, run.num_bytes)
    if run.changes:
        log.warning(f"Going on although {'; '.join(run.changes)}")
    trainer = run.trainer
    if trainer.is_global_zero and not trainer.fast_dev_run:
        remove_leftovers(run.folder)
    if run.checkpoint:
        log.info(f"Going on from {run.checkpoint[0]}, step {run.start_step}")
    else:
        log.info("Starting")
    # After the first step was tried: a start that is refused there adds nothing to the record of
    # the run that it would have gone on with.
    places = [i for i, c in enumerate(trainer.callbacks) if isinstance(c, FirstStep)]
    record = LambdaCallback(on_train_start=lambda *_: put_on_record(run))
    trainer.callbacks.insert(max(places, default=-1) + 1, record)


def put_on_record(run: Run) -> None:
    """Write what the run is to its folder, and tell its logger."""
    trainer = run.trainer
    if trainer.is_global_zero and not trainer.fast_dev_run:
        fingerprint = run.data.fingerprint()
        write_record(run.folder, run.configuration, fingerprint, run.start_step, run.changes)
        write_configuration(run)
        if run.has_checkpoints:
            (run.folder / "checkpoints").mkdir(exist_ok=True)
    if trainer.logger:
        log_configuration(trainer.logger, run.resolved_yaml)


def log_configuration(logger: Logger, resolved_yaml: str) -> None:
    """Hand the configuration to a logger: to TensorBoard as text, where every run looks the same,
    and to others as hyperparameters."""
    if hasattr(logger.experiment, "add_text"):
        logger.experiment.add_text("configuration", f"```yaml\n{resolved_yaml}\n```")
    else:
        logger.log_hyperparams(yaml.safe_load(resolved_yaml))


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
        if signal_received(run):
            run.callbacks["stop_on_signal"].ignore_hangups()
        if run.has_checkpoints and not trainer.fast_dev_run:
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


def signal_received(run: Run) -> signal.Signals | None:
    """The signal that has stopped the run, if one has."""
    stop = run.callbacks.get("stop_on_signal")
    return stop.received if stop else None


def explain_early_end(run: Run) -> None:
    """Say why a run ended before its last step, and how to go on."""
    trainer = run.trainer
    if trainer.global_step >= run.max_steps:
        return
    if not signal_received(run):
        log.info(f"Stopped before step {run.max_steps}: {reason_of(trainer)}")
    if run.has_checkpoints:
        log.info(f"Go on:  {resume_command(run.overrides, run.folder)}")
    else:
        log.info("There is no checkpoint to go on from: trainer.enable_checkpointing is false")


def leave_if_stopped(run: Run) -> None:
    """End the process as a signal asks for, if one has stopped the run."""
    received = signal_received(run)
    # A second process that failed would have Lightning, or torchrun, kill the first.
    if received and run.trainer.is_global_zero:
        if received == REQUEUE_SIGNAL:
            log.info(requeue())
        sys.exit(128 + received)
