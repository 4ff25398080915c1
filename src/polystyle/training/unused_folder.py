"""The folder of a run that did not begin is removed again. Imports no torch."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from polystyle.files.new_folder import missing_folders

# What Hydra and the lock of a run write before a run can be refused.
LOGS = ("train.log", "run.lock", "multirun.yaml")
# What a run has put on record by the time that its first step is tried.
RECORDS = (
    *(*LOGS, "run.json", "config.yaml", "hydra.yaml", "overrides.yaml", "skipped_photos.txt"),
    *("hparams.yaml", "metrics.csv", "events.out.tfevents.*"),
)


@dataclass
class OwnFolder:
    """What this start has made by itself.

    Attributes:
        folder: of the run or the sweep, if all that it holds is of this start; else None.
        new: that folder and its parents, as far as they did not exist, the innermost first.
    """

    folder: Path | None = None
    new: list[Path] = field(default_factory=list)

    def remember(self, folder: Path) -> None:
        """To be called before the folder of a run is made."""
        is_empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
        self.folder = folder.absolute() if is_empty else None
        self.new = missing_folders(folder.absolute())


own = OwnFolder()


class NewFolders(Callback):
    """Hydra's callback: remembers which folders Hydra is about to make."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        own.remember(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        own.remember(Path(config.hydra.sweep.dir))


def remove_unused_folders(refused: Path | None = None) -> None:
    """Removes what this start has written, if it is nothing but traces of a start, and the folders
    that it made. In a sweep, each run's folder by itself.

    Args:
        refused: the folder of a run that was refused: there, records are traces, too.
    """
    if own.folder is None:
        return
    if refused is not None and refused.absolute().is_relative_to(own.folder):
        remove_traces(refused.absolute(), RECORDS)
    if (own.folder / "multirun.yaml").exists():
        for run in [path for path in own.folder.iterdir() if path.is_dir()]:
            remove_traces(run, LOGS)
            with suppress(OSError):  # it holds something
                run.rmdir()
    remove_traces(own.folder, LOGS)
    for new in own.new:
        with suppress(OSError):
            new.rmdir()


def remove_traces(folder: Path, traces: Collection[str]) -> None:
    """Empties a folder that holds nothing but traces of a start: files of certain names."""
    paths = sorted(folder.rglob("*"), reverse=True)  # what a folder holds comes before the folder
    files = [path for path in paths if path.is_symlink() or not path.is_dir()]
    if all(any(fnmatch(path.name, trace) for trace in traces) for path in files):
        with suppress(OSError):  # a file that is still open, on Windows
            for path in files:
                path.unlink()
            for path in paths:
                if path not in files:
                    path.rmdir()
