"""From a configuration to a run: check it, build all that it names, and carry it out."""

import inspect
import logging
import os
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from polystyle.files.path_text import typed_path
from polystyle.networks.model_file import Model, kind_of
from polystyle.training.checkpoints import checked_step, find_checkpoint
from polystyle.training.command_line import typed_override
from polystyle.training.config_check import check_config, drop_unused
from polystyle.training.distributed import check_devices, is_rank_zero
from polystyle.training.messages import EXPECTED, one_line, unexpected
from polystyle.training.run import Run, carry_out
from polystyle.training.run_folder import claimed
from polystyle.training.run_record import differences
from polystyle.training.starting_network import begin_from, check_output, load_network
from polystyle.training.trainer import (
    check_trainer,
    make_trainer,
    prepare_torch,
    silence_hints,
    usable,
)

log = logging.getLogger(__name__)

CONFIG_NAME = "train"

# Hydra's overrides that tell how and where this one start runs, and not what.
OF_THE_START = re.compile(
    r"\+*hydra[./](run|sweep|mode|launcher|sweeper|runtime|job_logging|output_subdir|job\.num|job\.id)\b"
)


def run_error(error: Exception, run_dir: Path) -> str:
    """In one line why a run failed."""
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
    if OmegaConf.select(cfg, "trainer.fast_dev_run"):
        leave_out_log_file()
    for line in drop_unused(cfg, typed_overrides()):
        log.info(line)
    check_config(cfg)
    check_trainer(cfg.trainer)
    check_working_directory()

    folder = Path(os.path.relpath(cfg.run_dir))
    writes = is_rank_zero() and not cfg.trainer.fast_dev_run
    with claimed(folder) if writes else nullcontext():
        carry_out(build_run(cfg, folder))


def leave_out_log_file() -> None:
    """Log to the console alone: a dry run writes nothing. Hydra's handler has not opened its file
    yet."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, logging.FileHandler)]:
        root.removeHandler(handler)


def build_run(cfg: DictConfig, folder: Path) -> Run:
    """Build all that the configuration names.

    Raises:
        ValueError, OSError: something that it names can't be had, or it doesn't fit the checkpoint.
    """
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
    if not base and not checkpoint:
        begin_from(module, cfg.init)
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
    logger = build_logger(cfg, start_step)
    callbacks = {
        name: instantiate(callback, _convert_="all")
        for name, callback in cfg.callbacks.items()
        if callback is not None
    }
    callbacks = usable(callbacks, cfg.trainer, has_logger=bool(logger))
    trainer = make_trainer(
        instantiate(cfg.trainer, _partial_=True, _convert_="all"),
        cfg.trainer,
        list(callbacks.values()),
        logger,
        checkpoint_folder=folder / "checkpoints",
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
        overrides=typed_arguments(),
        has_checkpoints=cfg.trainer.get("enable_checkpointing") is not False,
    )


def build_objective(cfg: DictConfig) -> Any:
    """The objective: an object that can be called, or a function as it is."""
    is_function = inspect.isfunction(get_object(cfg.objective._target_))
    return instantiate(cfg.objective, _partial_=is_function, _convert_="all")


def build_logger(cfg: DictConfig, start_step: int) -> Any:
    """Lightning's logger; False for none."""
    if cfg.get("logger") is None:
        return False
    options = {}
    if start_step and cfg.logger._target_.endswith("TensorBoardLogger"):
        # Else the curves of a run that was killed would run twice from its last checkpoint on.
        options["purge_step"] = start_step + 1
    return instantiate(cfg.logger, _convert_="all", **options)


def load_base(cfg: DictConfig) -> Model | None:
    """The network to add conditions to, if there is one. Keys of the data that are null in the
    configuration become what that network was trained with, if its header says so.

    Raises:
        FileNotFoundError, ValueError: see `load_model`; or a size that is nowhere.
        FileExistsError: the run would write over the network.
    """
    base = None
    if cfg.model_file is None and chosen_experiment() == "add_styles":
        # Its learning rates are for gamma and beta alone, and would ruin a whole network.
        raise ValueError(
            "model_file is null, and experiment=add_styles adds styles to a trained network: "
            "name it with model_file=..., or leave model_file out"
        )
    if cfg.model_file is not None:
        base = load_network(Path(cfg.model_file), get_object(cfg.network._target_))
        check_typed_beside(base, cfg)
        output = OmegaConf.select(cfg, "callbacks.model_file.path")
        check_output(output and Path(output), Path(cfg.model_file))
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


def chosen_experiment() -> str | None:
    if not HydraConfig.initialized():
        return None
    return HydraConfig.get().runtime.choices.get("experiment")


def check_typed_beside(base: Model, cfg: DictConfig) -> None:
    """Raises ValueError for what was typed and would be ignored, as ``model_file`` decides it."""
    own = kind_of(base.net).arguments
    for text in typed_overrides():
        key = text.lstrip("+").partition("=")[0]
        group, _, name = key.partition(".")
        if key == "init":
            raise ValueError("init and model_file each name the network to begin with: keep one")
        is_argument = group == "network" and name and not name.startswith("_")
        if is_argument and own.get(name) != cfg.network[name]:
            raise ValueError(
                f"{key}={cfg.network[name]}: styles are added to the network in {cfg.model_file}, "
                f"whose {name} is {own.get(name)}. Leave out {key}"
            )


def check_working_directory() -> None:
    """Raises ValueError if Hydra is told to change to the run's folder: no path of the
    configuration, and none that a run prints, would be what was typed."""
    if HydraConfig.initialized() and HydraConfig.get().job.chdir:
        raise ValueError(
            "hydra.job.chdir=true: paths are relative to the folder where polystyle-train is "
            "typed. Leave it out: a run writes to hydra.run.dir alone"
        )


def typed_overrides() -> list[str]:
    """The overrides of the configuration that the run was started with, in Hydra's quotes."""
    if not HydraConfig.initialized():
        return []
    # Not resolved: an override may have ${seed}, which is no key of Hydra's own configuration.
    return OmegaConf.to_container(HydraConfig.instance().cfg.hydra.overrides.task, resolve=False)


def typed_arguments() -> list[str]:
    """What the run was started with, but for what tells where it is written and by which of Hydra's
    launchers: flags that lead to configurations, and overrides as a person types them."""
    if not HydraConfig.initialized():
        return []
    cfg = HydraConfig.instance().cfg.hydra
    flags = []
    for source in cfg.runtime.config_sources:
        if source.provider == "command-line":
            flags += ["--config-dir", typed_path(os.path.relpath(source.path))]
        elif source.provider == "main" and source.schema == "file":
            flags += ["--config-path", typed_path(source.path)]
    if cfg.job.config_name != CONFIG_NAME:
        flags += ["--config-name", cfg.job.config_name]
    overrides = OmegaConf.to_container(cfg.overrides.hydra, resolve=False) + typed_overrides()
    return flags + [typed_override(text) for text in overrides if not OF_THE_START.match(text)]


def configuration_files(cfg: DictConfig) -> dict[str, str]:
    """What Hydra writes to ``.hydra/``, by file name."""
    parts: dict[str, Any] = {"config": cfg}
    if HydraConfig.initialized():
        parts["hydra"] = HydraConfig.instance().cfg
        parts["overrides"] = OmegaConf.create(typed_overrides())
    return {f"{name}.yaml": OmegaConf.to_yaml(part) for name, part in parts.items()}
