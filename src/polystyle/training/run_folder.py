"""The folder of a run: for one run at a time, with room for what it will write."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from polystyle.files.atomic_file import remove_unfinished


@contextmanager
def claimed(run_dir: Path) -> Iterator[None]:
    """Locks the folder for this process; makes it if it is missing.

    Raises:
        BlockingIOError: another run is at work there.
        OSError: it can't be written to.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    # The system itself takes the lock from a process that dies, in whatever way.
    lock = FileLock(run_dir / "run.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise BlockingIOError(
            f"another run is at work in {run_dir}: wait until it ends, stop it, or choose another "
            "hydra.run.dir"
        ) from error
    with lock:
        yield


def remove_leftovers(run_dir: Path) -> None:
    """Removes what killed runs had begun to write, from the run's folder and the folders that a
    run makes in it. Anything else in there may be somebody's: `hydra.run.dir` names any folder."""
    for folder in (run_dir, *(run_dir / name for name in (".hydra", "checkpoints", "stylized"))):
        remove_unfinished(folder)


def check_room(run_dir: Path, num_bytes: int) -> None:
    """Raises OSError if a run can't write that much to its folder, or to where it will be made."""
    folder = next(path for path in (run_dir, *run_dir.absolute().parents) if path.exists())
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} can't be written to: choose another hydra.run.dir")
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise OSError(
            f"{run_dir}: this run will write some {num_bytes / 1e6:,.0f} MB, and its disk has "
            f"{free / 1e6:,.0f} MB free: make room, or choose another hydra.run.dir"
        )


def bytes_to_write(
    trainer: Trainer, module: LightningModule, data: LightningDataModule, start_step: int
) -> int:
    """About how much a run will add to its folder, in bytes, at the most.

    A callback that writes much tells how much with ``bytes_to_write(data, num_validations)``.
    """
    weights = sum(parameter.nbytes for parameter in module.net.parameters())
    trained = sum(p.nbytes for p in module.net.parameters() if p.requires_grad)
    batches = (trainer.max_steps - start_step) * trainer.accumulate_grad_batches
    validations = batches // trainer.val_check_interval + 2
    kept = [
        validations if callback.save_top_k < 0 else callback.save_top_k
        for callback in trainer.checkpoint_callbacks
    ]
    # Adam keeps two numbers for each that it trains. One checkpoint more while one is replaced.
    checkpoints = (weights + 2 * trained) * (sum(kept) + 1)
    models = 2 * weights
    others = sum(
        callback.bytes_to_write(data, validations)
        for callback in trainer.callbacks
        if hasattr(callback, "bytes_to_write")
    )
    return checkpoints + models + others
