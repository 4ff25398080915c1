"""What the folders of training runs hold, for people to look at. Imports no Gradio."""

import json
import re
import shlex
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from polystyle.files.path_kind import MODEL_NAME
from polystyle.training.command_line import path_override

# A run that has written nothing for so long, in seconds, is not taken for one under way.
QUIET = 600

# What polystyle-train logs for each condition: val_<loss>/<condition>.
PER_CONDITION = re.compile(r"val_(\w+)/(.+)")


@dataclass(frozen=True)
class Run:
    """A run's folder.

    Attributes:
        folder: the folder.
        pictures: what it painted, by step.
        step: the last step that is on the disk.
        max_steps: where it ends; None if its record does not say.
        overrides: what it was started with; None if that is not on the disk.
        seconds_ago: when it last wrote anything.
        has_model: whether there is a network to paint with.
    """

    folder: Path
    pictures: dict[int, Path]
    step: int
    max_steps: int | None
    overrides: list[str] | None
    seconds_ago: float
    has_model: bool

    @property
    def state(self) -> str:
        """Whether it is finished, in words."""
        if self.max_steps is None:
            return f"step {self.step:,}"
        steps = f"step {self.step:,} of {self.max_steps:,}"
        if self.step >= self.max_steps:
            return f"finished: {steps}"
        return f"{steps}, {'under way' if self.seconds_ago < QUIET else 'stopped'}"

    @property
    def resume_command(self) -> str | None:
        """What goes on with it, where it was started; None if that can't be told."""
        if self.overrides is None:
            return None
        kept = [text for text in self.overrides if not text.startswith(("ckpt_path=", "hydra.run"))]
        folder = path_override("hydra.run.dir", self.folder)
        return shlex.join(["polystyle-train", *kept, folder, "ckpt_path=last"])


def find_runs(root: Path) -> list[Path]:
    """The folders of runs and, of sweeps, of each run; the one that was written last first."""
    records = [*root.glob("*/run.json"), *root.glob("*/*/run.json")]
    return [path.parent for path in sorted(records, key=last_written, reverse=True)]


def last_written(record: Path) -> float:
    """When a run last wrote a picture, a checkpoint or its record: seconds since 1970."""
    folder = record.parent
    times = [0.0]
    for path in (record, folder / "stylized", folder / "checkpoints", folder / MODEL_NAME):
        with suppress(OSError):  # not there yet, or replaced at this moment
            times.append(path.stat().st_mtime)
    return max(times)


def read_run(folder: Path) -> Run:
    """What a run's folder holds.

    Raises:
        OSError, ValueError: it has no record, or a damaged one.
    """
    record = read_record(folder / "run.json")
    trainer = record.get("configuration", {}).get("trainer", {})
    pictures = numbered(folder / "stylized", ".png")
    steps = [*pictures, *numbered(folder / "checkpoints", ".ckpt")]
    return Run(
        folder,
        pictures,
        max(steps, default=0),
        trainer.get("max_steps"),
        read_overrides(folder / ".hydra/overrides.yaml"),
        time.time() - last_written(folder / "run.json"),
        (folder / MODEL_NAME).is_file(),
    )


def read_record(path: Path) -> Mapping[str, Any]:
    """Raises ValueError for a record that is none, and OSError if there is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path} is damaged")
    return record


def read_overrides(path: Path) -> list[str] | None:
    """What a run was started with; None if that can't be read."""
    try:
        overrides = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return [str(text) for text in overrides] if isinstance(overrides, list) else None


def numbered(folder: Path, suffix: str) -> dict[int, Path]:
    """The files named ``step-<number><suffix>``, by number, in order."""
    found = {
        int(path.stem.removeprefix("step-")): path
        for path in folder.glob(f"step-*{suffix}")
        if path.stem.removeprefix("step-").isdecimal()
    }
    return dict(sorted(found.items()))


def read_losses(folder: Path) -> tuple[list[str], list[list[str | float]]]:
    """The losses of the last validation, by condition, from TensorBoard's files.

    Returns:
        The names of the columns, and a row for each condition: its name and its losses. Both are
        empty if there was no validation.
    """
    # Imported here: it takes a second.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not (folder / "tensorboard").is_dir():
        return [], []
    events = EventAccumulator(str(folder / "tensorboard"), {"images": 1, "tensors": 1})
    events.Reload()
    losses: dict[str, dict[str, float]] = {}
    for tag in events.Tags()["scalars"]:
        if name := PER_CONDITION.fullmatch(tag):
            last = events.Scalars(tag)[-1].value
            losses.setdefault(name[2], {})[name[1]] = float(f"{last:.4g}")
    columns = list(dict.fromkeys(loss for values in losses.values() for loss in values))
    rows = [[name, *(values.get(loss, "") for loss in columns)] for name, values in losses.items()]
    return ["style", *columns] if rows else [], rows
