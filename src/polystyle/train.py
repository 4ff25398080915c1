"""polystyle-train: compose the configuration, build what it names, and train."""

import inspect
import logging
import os
import re
import signal
import sys
import threading
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from polystyle.training.config_check import check_config, drop_unused, explain
from polystyle.training.distributed import is_rank_zero, share_run_name, wait_for_rank_zero

if TYPE_CHECKING:
    from polystyle.networks.model_file import Model
    from polystyle.training.run import Run

# What imports torch and Lightning is imported where a run starts: --help and --cfg answer at once.

log = logging.getLogger(__name__)


def main() -> None:
    """The command. What a user did wrong ends it with one line and exit status 1."""
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
        if not is_rank_zero():
            # Rank zero writes Hydra's files.
            sys.argv += ["hydra/job_logging=none"]
            # Lightning added overrides, too, and there must be no flags in between.
            sys.argv[1:] = sorted(sys.argv[1:], key=lambda text: bool(re.match("[^-].*=", text)))
        run()
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


def composition_error(error: Exception) -> str:
    """In one line why no configuration was composed, or no folder made for the run."""
    if isinstance(error.__cause__, OSError):  # "Unable to configure handler 'file'": why?
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return explain(error)


@hydra.main(version_base="1.3", config_path="pkg://polystyle.configs", config_name="train")
def run(cfg: DictConfig) -> None:
    if not is_rank_zero():
        logging.disable()
        warnings.simplefilter("ignore")
    try:
        train(cfg)
    except Exception as error:
        wait_for_rank_zero()
        log.debug("", exc_info=True)  # hydra.verbose=true shows it
        sys.exit(f"polystyle-train: {run_error(error, Path(os.path.relpath(str(cfg.run_dir))))}")


def run_error(error: Exception, run_dir: Path) -> str:
    """In one line why a run failed."""
    from polystyle.training.messages import EXPECTED, one_line, unexpected

    if isinstance(error, InstantiationException) and isinstance(
        error.__cause__, ValueError | OSError
    ):
        error = error.__cause__  # what our constructor said, without Hydra's wrapping
    if isinstance(error, (InstantiationException, OmegaConfBaseException, *EXPECTED)):
        return one_line(error)
    return unexpected(error, run_dir)


def train(cfg: DictConfig) -> None:
    """Check, build and carry out one run.

    Raises:
        ValueError, OSError, MemoryError, FloatingPointError, RunStoppedError: what a user can mend,
            in one line.
    """
    for line in drop_unused(cfg, typed_overrides()):
        log.info(line)
    check_config(cfg)

    from polystyle.training.run import train
    from polystyle.training.run_folder import claimed

    folder = Path(os.path.relpath(cfg.run_dir))
    writes = is_rank_zero() and not cfg.trainer.fast_dev_run
    with claimed(folder) if writes else nullcontext():
        train(build_run(cfg, folder))


def build_run(cfg: DictConfig, folder: Path) -> "Run":
    """Build all that the configuration names.

    Raises:
        ValueError, OSError: something that it names can't be had, or it doesn't fit the checkpoint.
    """
    from polystyle.training.checkpoints import checked_step, find_checkpoint
    from polystyle.training.distributed import check_devices
    from polystyle.training.run import Run
    from polystyle.training.run_record import differences
    from polystyle.training.trainer import make_trainer, prepare_torch, silence_hints

    silence_hints()
    base = load_base(cfg)
    checkpoint = find_checkpoint(cfg.ckpt_path, folder)
    prepare_torch(cfg.seed)
    if cfg.trainer.fast_dev_run and "skipped_photos" in cfg.data:
        cfg.data.skipped_photos = None  # it writes nothing
    data = instantiate(cfg.data, _convert_="all")
    module = instantiate(cfg.model, _partial_=True, _convert_="all")(
        conditions=data.conditions,
        objective=build_objective(cfg),
        network=instantiate(cfg.network, _partial_=True, _convert_="all"),
        base=base,
    )
    start_step = checked_step(*checkpoint, module, cfg.trainer.max_steps) if checkpoint else 0
    configuration = OmegaConf.to_container(cfg)
    changes = []
    if checkpoint:
        path = checkpoint[0]
        changes = differences(path.parents[1], configuration, data.fingerprint())
        if changes and not cfg.allow_changes:
            raise ValueError(
                f"{path} is of another run: {'; '.join(changes)}. To go on all the same, add "
                "allow_changes=true"
            )
    callbacks = {
        name: instantiate(callback, _convert_="all")
        for name, callback in cfg.callbacks.items()
        if callback is not None
    }
    trainer = make_trainer(
        instantiate(cfg.trainer, _partial_=True, _convert_="all"),
        cfg.trainer,
        list(callbacks.values()),
        build_logger(cfg, start_step),
    )
    is_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    check_devices(trainer, data.batch_size, is_sweep)
    return Run(
        folder=folder,
        data=data,
        module=module,
        trainer=trainer,
        callbacks=callbacks,
        checkpoint=checkpoint,
        start_step=start_step,
        max_steps=cfg.trainer.max_steps,
        changes=changes,
        base_file=cfg.model_file,
        configuration=configuration,
        configuration_files=configuration_files(cfg),
        resolved_yaml=OmegaConf.to_yaml(cfg, resolve=True),
        overrides=typed_overrides(),
    )


def build_objective(cfg: DictConfig) -> Any:
    """The objective: an object that can be called, or a function as it is."""
    is_function = inspect.isfunction(get_object(cfg.objective._target_))
    return instantiate(cfg.objective, _partial_=is_function, _convert_="all")


def build_logger(cfg: DictConfig, start_step: int) -> Any:
    """Lightning's logger; False for none."""
    if cfg.logger is None:
        return False
    options = {}
    if start_step and cfg.logger._target_.endswith("TensorBoardLogger"):
        # Else the curves of a run that was killed would run twice from its last checkpoint on.
        options["purge_step"] = start_step + 1
    return instantiate(cfg.logger, _convert_="all", **options)


def load_base(cfg: DictConfig) -> "Model | None":
    """The network to add conditions to, if there is one. Keys of the data that are null in the
    configuration become what that network was trained with, if its header says so.

    Raises:
        FileNotFoundError, ValueError: see `load_model`; or a size that is nowhere.
        FileExistsError: the run would write over the network.
    """
    from polystyle.networks.model_file import NETWORKS, load_model, model_path

    base = None
    if cfg.model_file is not None:
        path = model_path(Path(cfg.model_file))
        own_class = get_object(cfg.network._target_)
        base = load_model(path, None if own_class in NETWORKS.values() else own_class)
        output = OmegaConf.select(cfg, "callbacks.model_file.path")
        if output and Path(output).resolve() == path.resolve():
            raise FileExistsError(
                f"this run would write over its model_file, {cfg.model_file}: "
                "choose another hydra.run.dir"
            )
        for name, value in cfg.data.items():
            if value is None and isinstance(base.training.get(name), int):
                cfg.data[name] = base.training[name]
    for name in ("image_size", "style_size"):
        if OmegaConf.select(cfg, f"data.{name}", default=0) is None:
            if not base:
                raise ValueError(
                    "model_file is not set: the trained network to add styles to "
                    f"(data.{name}=null means its {name})"
                )
            raise ValueError(f"{cfg.model_file} doesn't tell its {name}: set data.{name}")
    return base


def typed_overrides() -> list[str]:
    """The overrides that the run was started with."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def configuration_files(cfg: DictConfig) -> dict[str, str]:
    """What Hydra writes to ``.hydra/``, by file name."""
    parts: dict[str, Any] = {"config": cfg}
    if HydraConfig.initialized():
        parts["hydra"] = HydraConfig.instance().cfg
        parts["overrides"] = OmegaConf.create(typed_overrides())
    return {f"{name}.yaml": OmegaConf.to_yaml(part) for name, part in parts.items()}


if __name__ == "__main__":
    main()
