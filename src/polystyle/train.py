"""polystyle-train: compose the configuration, build what it names, and train."""

import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from polystyle import __version__
from polystyle.files.console import tolerate_lost_console
from polystyle.files.new_folder import check_can_be_folder
from polystyle.training.command_line import for_hydra
from polystyle.training.config_check import explain
from polystyle.training.distributed import (
    is_rank_zero,
    run_name,
    share_run_name,
    wait_for_rank_zero,
)
from polystyle.training.unused_folder import remove_unused_folders

log = logging.getLogger(__name__)

# The folders of the sweep's jobs that failed in this process.
failed_jobs: list[str] = []

# Cached, for the jobs of a sweep on a cluster: Hydra hands a configuration's cache on to them.
OmegaConf.register_new_resolver("run_name", run_name, use_cache=True, replace=True)


def main() -> None:
    """The command. What a user did wrong ends it with one line and exit status 1."""
    tolerate_lost_console()
    if "--version" in sys.argv[1:]:  # Hydra would print its own
        print(f"polystyle-train {__version__}")
        return
    # Else Hydra prints errors of its own over several lines, and tracebacks for ours.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    # On a full disk train.log can't be written either, nor TensorBoard's file, whose thread hands
    # its error over to ours.
    logging.raiseExceptions = False
    threading.excepthook = lambda _: None
    # Classes of one's own, such as network._target_=my_net.MyNet, are looked for here, too.
    sys.path.append(str(Path.cwd()))
    try:
        share_run_name()
        # Lightning starts the processes of other devices with these arguments, and its own.
        sys.argv[1:] = for_hydra(sys.argv[1:], is_rank_zero())
        if not is_rank_zero():
            sys.argv.insert(1, "hydra/job_logging=none")  # rank zero writes Hydra's files
        run()
        if failed_jobs:
            sys.exit(f"polystyle-train: jobs of this sweep that failed: {', '.join(failed_jobs)}")
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
        wait_for_rank_zero()
        sys.exit(f"polystyle-train: {composition_error(error)}")
    except (TypeError, AttributeError) as error:
        # So Hydra meets a value where it composes: logger=[1].
        sys.exit(f"polystyle-train: the configuration can't be composed: {error}")
    except RuntimeError as error:
        if "submitit" not in sys.modules:
            raise
        # A job on the cluster failed. Its reason stands last, after the log that it quotes.
        lines = [line for line in str(error).splitlines() if line.strip()]
        sys.exit(f"polystyle-train: {', '.join(dict.fromkeys([lines[0], lines[-1]]))}")
    except KeyboardInterrupt:
        if "submitit" in sys.modules:
            sys.exit("polystyle-train: waits no longer; submitted jobs go on: see squeue --me")
        if is_rank_zero():
            print("polystyle-train: stopped before training began", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    finally:
        if is_rank_zero():
            remove_unused_folders()


def composition_error(error: Exception) -> str:
    """In one line why no configuration was composed, or no folder made for the run."""
    if isinstance(error.__cause__, OSError):  # "Unable to configure handler 'file'": why?
        error = error.__cause__
    if isinstance(error, FileExistsError | NotADirectoryError) and error.filename:
        try:
            check_can_be_folder(Path(os.path.relpath(os.fsdecode(error.filename))))
        except NotADirectoryError as reason:
            return f"{reason}, with hydra.run.dir=FOLDER"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return explain(error)


@hydra.main(version_base="1.3", config_path="pkg://polystyle.configs", config_name="train")
def run(cfg: DictConfig) -> None:
    # The only import of torch, here so that --help and --cfg job answer at once.
    from polystyle.training import build_run, messages

    if not is_rank_zero():
        logging.disable()
        warnings.simplefilter("ignore")
    run_dir = Path(os.path.relpath(str(cfg.run_dir)))
    try:
        build_run.train(cfg)
    except Exception as error:
        wait_for_rank_zero()
        log.debug("", exc_info=True)  # hydra.verbose=true shows it
        reason = build_run.run_error(error, run_dir)
        if is_local_sweep():  # before the folder is removed: the line goes to train.log, too
            failed_jobs.append(str(run_dir))
            log.error(f"polystyle-train: {run_dir} failed: {reason}")
        if is_rank_zero() and not isinstance(error, messages.RunStoppedError):
            remove_unused_folders(refused=run_dir)
        if not is_local_sweep():
            sys.exit(f"polystyle-train: {reason}")


def is_local_sweep() -> bool:
    """Whether this process goes on with the next job of a sweep (-m). A job on a cluster has a
    process of its own."""
    return HydraConfig.get().mode == RunMode.MULTIRUN and "submitit" not in sys.modules


if __name__ == "__main__":
    main()
