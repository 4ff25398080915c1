"""Several devices, a process for each: one run folder, one voice, one end. Imports no torch."""

import os
import signal
import time
from multiprocessing import active_children
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


def is_first_process() -> bool:
    """Whether this is the only process of a run, or the one of several that writes and speaks."""
    # torchrun numbers all processes by RANK. Lightning starts its own with the other two.
    names = ["RANK"] if "RANK" in os.environ else ["LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"]
    return all(os.environ.get(name, "0") == "0" for name in names)


def let_the_first_process_speak() -> None:
    """Wait before an error of another process: most likely the first met the same, has said so,
    and its end ends this one."""
    if not is_first_process():
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


def check_devices(trainer: "Trainer", batch_size: int) -> None:
    """Raises ValueError if a run can't go on that many devices."""
    from polystyle.data.draws import StepSampler

    StepSampler(batch_size, world_size=trainer.world_size)
    if (
        trainer.world_size > 1
        and not trainer.strategy.cluster_environment.creates_processes_externally
        and HydraConfig.initialized()
        and HydraConfig.get().mode == RunMode.MULTIRUN
    ):
        # Lightning would start the other devices' processes with this command: all of the sweep.
        raise ValueError(
            "several devices can't be had with -m, but by torchrun or hydra/launcher=slurm: "
            "leave out -m, or set trainer=default"
        )


def end_other_processes(trainer: "Trainer") -> None:
    """Kill the processes that Lightning started for the other devices, which may be waiting for
    this one, and would for half an hour; and the loader's, which leave signals to this one, and so
    would go on for ever."""
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
