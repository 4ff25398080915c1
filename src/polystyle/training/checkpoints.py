"""Training checkpoints: written whole, read as data and never as code; the newest whole one."""

import logging
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor

from polystyle.files.atomic_file import atomic_write
from polystyle.files.path_kind import CHECKPOINT, check_kind, run_of
from polystyle.files.terminal_text import counted

if TYPE_CHECKING:
    from polystyle.training.module import MultiStyleModule

log = logging.getLogger(__name__)

LAST = "last.ckpt"

# Kept free beside a checkpoint, for what else a run writes.
SPARE_BYTES = 2**20


class CheckpointFiles(TorchCheckpointIO):
    """How Lightning writes a checkpoint here: whole or not at all, pruning older ones of the same
    run first where the disk is nearly full, and none of weights that give infinite losses.

    Args:
        folder: where the run's checkpoints lie, of earlier starts, too. In any other folder, which
            several runs may share, only those that this object wrote are the run's.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self.folder = folder
        self.written: set[Path] = set()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike, storage_options: Any = None
    ) -> None:
        path = Path(path)
        if checkpoint["skipped_in_a_row"]:
            log.warning(f"\nThe last step was skipped: no {path.name} of what may not be good")
            return
        # In memory first: on a full disk torch.save fails in ways of its own.
        buffer = BytesIO()
        torch.save(checkpoint, buffer)
        make_room(path.parent, len(buffer.getbuffer()) + SPARE_BYTES, self.own_beside(path))
        with atomic_write(path) as partial:
            partial.write_bytes(buffer.getbuffer())
        self.written.add(path.absolute())

    def own_beside(self, path: Path) -> list[Path]:
        """The run's checkpoints in the folder of `path`."""
        is_own_folder = self.folder and path.parent.absolute() == self.folder.absolute()
        found = path.parent.glob("*.ckpt")
        return [other for other in found if is_own_folder or other.absolute() in self.written]


def make_room(folder: Path, num_bytes: int, checkpoints: Iterable[Path]) -> None:
    """Remove the oldest of the checkpoints in a folder until there is room for a new one, but never
    the newest, nor last.ckpt."""
    kept = sorted(checkpoints, key=lambda path: path.stat().st_mtime_ns)
    for old in kept[:-1]:
        if shutil.disk_usage(folder).free >= num_bytes:
            return
        if old.name != LAST:
            old.unlink()
            log.warning(f"\nThe disk is nearly full: removed {old}")


def find_checkpoint(ckpt_path: str | None, run_dir: Path) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint to go on from, if there is one, and what it holds.

    Raises:
        OSError: it was named and can't be read.
        FileExistsError: the folder holds a run already, and nobody said to go on with it.
        ValueError: it is damaged; where the last one was asked for, all of them are.
    """
    if ckpt_path not in (None, "last"):
        check_kind(Path(ckpt_path), CHECKPOINT)
        if not Path(ckpt_path).is_file():
            raise FileNotFoundError(f"ckpt_path: there is no file {ckpt_path}")
        return Path(ckpt_path), read_checkpoint(Path(ckpt_path))
    folder = run_dir / "checkpoints"
    if ckpt_path is None and any(folder.glob("*.ckpt")):
        raise FileExistsError(
            f"{run_dir} holds a run already: add ckpt_path=last to go on with it, "
            "or choose another hydra.run.dir"
        )
    found = newest_checkpoint(folder)
    if not found and (run_dir / "model.safetensors").exists():
        raise FileExistsError(
            f"{run_dir} holds a model.safetensors that training would replace, and no "
            "checkpoint: choose another hydra.run.dir"
        )
    return found


def checked_step(
    path: Path, checkpoint: dict[str, Any], module: "MultiStyleModule", max_steps: int
) -> int:
    """The step that a checkpoint was written at.

    Raises:
        ValueError: it is one of another run.
    """
    run = str(run_of(path) or "RUN")
    module.check_checkpoint(checkpoint, run)
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    if shapes != {name: tensor.shape for name, tensor in checkpoint["state_dict"].items()}:
        raise ValueError(f"{path} is of a network of another shape: is network.width what it was?")
    for schedule in checkpoint["lr_schedulers"]:
        if schedule.get("total_steps", max_steps) != max_steps:
            raise ValueError(
                f"{path} follows a learning-rate schedule over "
                f"{counted(schedule['total_steps'], 'step')}, "
                f"so that trainer.max_steps can't change: train on in another folder with "
                f"init={run} hydra.run.dir=NEW_FOLDER and without ckpt_path, or set "
                f"trainer.max_steps={schedule['total_steps']}"
            )
    return checkpoint["global_step"]


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest whole checkpoint of a run, if it has any, and what it holds. Damaged ones are
    named and passed over.

    last.ckpt is the newest of all, but that a whole checkpoint of the same step was written after
    it. Where it is damaged, the one of the highest step is.

    Raises:
        ValueError: there are checkpoints, and not one is whole.
        OSError: one can't be read.
    """
    whole, damaged = {}, []
    for path in sorted(folder.glob("*.ckpt")):
        try:
            whole[path] = read_checkpoint(path)
        except ValueError as error:
            damaged.append(path)
            log.warning(f"Passed over: {error}")
    if damaged and not whole:
        raise ValueError(
            f"not one checkpoint in {folder} is whole: move it away to begin anew, or choose "
            "another hydra.run.dir"
        )
    if not whole:
        return None
    last = whole.get(folder / LAST)
    if last:
        whole = {p: each for p, each in whole.items() if each["global_step"] == last["global_step"]}
    # Of one step, last.ckpt is written before validation, another after it, and last.ckpt once more
    # where the run ends.
    return max(whole.items(), key=lambda item: (item[1]["global_step"], item[0].stat().st_mtime_ns))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU: plain values and tensors, whatever else the file says.

    Raises:
        OSError: the file can't be read.
        ValueError: it is cut or damaged, or no checkpoint of polystyle.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # torch packs nothing: what unpacks to more than itself is made to fill the memory.
            if sum(each.file_size for each in archive.infolist()) > path.stat().st_size:
                raise ValueError
            # Each entry has a checksum, which torch.load does not look at.
            if archive.testzip():
                raise ValueError
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        step, names = checkpoint["global_step"], checkpoint["style_names"]
        if not isinstance(step, int) or not all(isinstance(name, str) for name in names):
            raise TypeError
        numbers = list(tensors([checkpoint["state_dict"], checkpoint["optimizer_states"]]))
        # A tensor can claim to be larger than what it is stored in.
        if any(each.nbytes > each.untyped_storage().nbytes() for each in numbers):
            raise ValueError
        is_finite = all(each.isfinite().all() for each in numbers)
    except OSError:
        raise
    except Exception as error:
        # zipfile and torch.load meet a damaged file with a dozen kinds of error.
        check_kind(path, CHECKPOINT)
        raise ValueError(f"{path} is damaged, or not a checkpoint of polystyle") from error
    if not is_finite:
        raise ValueError(f"{path} holds numbers that are infinite or NaN")
    return checkpoint


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors within lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from tensors(each)
