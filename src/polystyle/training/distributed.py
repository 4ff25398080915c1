"""Several devices, a process for each: one folder, one that speaks, one end. Imports no torch."""

import atexit
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from itertools import count
from multiprocessing import active_children
from pathlib import Path
from typing import TYPE_CHECKING

from polystyle.files.new_folder import missing_folders

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


def is_rank_zero() -> bool:
    """Whether this is the only process of a run, or the one of several that writes and speaks."""
    # torchrun numbers all processes by RANK. Lightning starts its own with the other two.
    names = ["RANK"] if "RANK" in os.environ else ["LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"]
    return all(os.environ.get(name, "0") == "0" for name in names)


def wait_for_rank_zero() -> None:
    """Wait before another process reports an error: most likely rank zero met the same, reports it,
    and its end ends this process."""
    if not is_rank_zero():
        time.sleep(10)


def share_run_name() -> None:
    """Give the processes that torchrun or srun started one name for the run's folder: each reads
    the configuration by itself, and their clocks differ."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        from torch.distributed import rendezvous

        store, rank, _ = next(rendezvous("env://"))
        if rank == 0:
            store.set("polystyle", time.strftime("%Y-%m-%d_%H-%M-%S"))
        os.environ["POLYSTYLE_RUN"] = store.get("polystyle").decode()
    elif int(os.environ.get("SLURM_NTASKS", 1)) > 1 and "SLURM_STEP_ID" in os.environ:
        os.environ["POLYSTYLE_RUN"] = "slurm-{SLURM_JOB_ID}.{SLURM_STEP_ID}".format(**os.environ)


@cache
def run_name(folder: str) -> str:
    """The name of the folder, within `folder`, of a run or sweep that got none: the time at which
    it started, of all its processes alike.

    The folder is made here. Of two runs that start in the same second one fails to make it, and
    appends a number. A folder that is still empty when the process ends is removed, and so are the
    parents that were made for it.
    """
    if shared := os.environ.get("POLYSTYLE_RUN"):  # see `share_run_name`
        return shared
    time_now = time.strftime("%Y-%m-%d_%H-%M-%S")
    new = missing_folders(Path(folder).absolute())
    for number in count(1):
        name = time_now if number == 1 else f"{time_now}_{number}"
        with suppress(FileExistsError):
            Path(folder, name).mkdir(parents=True)
            break
    atexit.register(remove_empty, [Path(folder, name).absolute(), *new])
    return name


def remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # it holds something
            folder.rmdir()


def check_devices(trainer: "Trainer", batch_size: int, is_sweep: bool) -> None:
    """Raises ValueError if a run can't go on that many devices.

    Args:
        trainer: knows the devices.
        batch_size: of all devices together.
        is_sweep: whether this run is one of several that Hydra starts (-m).
    """
    if batch_size % trainer.world_size:
        raise ValueError(
            f"data.batch_size={batch_size} is for all devices together and does not divide by "
            f"the {trainer.world_size} there are"
        )
    started_by_lightning = (
        trainer.world_size > 1
        and not trainer.strategy.cluster_environment.creates_processes_externally
    )
    if started_by_lightning and is_sweep:
        # Lightning would start the other devices' processes with this command: all of the sweep.
        raise ValueError(
            "several devices can't be had with -m, but by torchrun or hydra/launcher=slurm: "
            "leave out -m, or set trainer=default"
        )


def end_other_processes(trainer: "Trainer") -> None:
    """Kill the other devices' processes and the loader's.

    Processes that Lightning started for the other devices may be waiting for this one, and would
    for half an hour. Those of the loader ignore signals, and would go on for ever.
    """
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else torch would raise an error for each
    for worker in active_children():
        worker.kill()
    if trainer.strategy.launcher:
        children = trainer.strategy.launcher.procs.copy()
        # Lightning watches this list, and kills this process, too, when one of them fails.
        trainer.strategy.launcher.procs.clear()
        for child in children:
            child.kill()
