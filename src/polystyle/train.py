"""polystyle-train: compose the configuration, build what it names, fit, and say what was made."""

import logging
import os
import re
import shlex
import signal
import sys
import threading
import time
import traceback
import warnings
from contextlib import nullcontext, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from polystyle.training.config_check import check_types
from polystyle.training.distributed import (
    check_devices,
    end_other_processes,
    is_first_process,
    let_the_first_process_speak,
    share_run_name,
)
from polystyle.training.run_folder import check_room, claimed
from polystyle.training.run_record import differences, flat, write_record
from polystyle.training.slurm import REQUEUE_SIGNAL, requeue

if TYPE_CHECKING:
    from lightning.pytorch import Callback, Trainer
    from lightning.pytorch.loggers import Logger

    from polystyle.data.datamodule import StyleTransferData
    from polystyle.networks.model_file import Model
    from polystyle.training.module import MultiStyleModule

# torch and Lightning are imported where a run starts, so that --help and --cfg answer at once.

log = logging.getLogger(__name__)


class RunStoppedError(Exception):
    """What ended a run before its time, and where the next one goes on."""


# Errors that say in their own words what a user can mend.
EXPECTED = ValueError | OSError | MemoryError | FloatingPointError | RunStoppedError

REQUIRED = {"data.content_dir": "the folder of photos", "data.style_dir": "the folder of paintings"}


def main() -> None:
    """The command. What a user did wrong ends it with one line and exit status 1."""
    # Else Hydra prints errors of its own over several lines, and tracebacks for ours.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    # On a full disk train.log can't be written either, nor TensorBoard's file, whose thread hands
    # its error over to ours.
    logging.raiseExceptions = False
    threading.excepthook = lambda _: None
    try:
        share_run_name()
        if not is_first_process():
            # The first one writes Hydra's files.
            sys.argv += ["hydra/job_logging=none"]
            # Lightning added overrides, too, and there must be no flags in between.
            sys.argv[1:] = sorted(sys.argv[1:], key=lambda each: bool(re.match("[^-].*=", each)))
        run()
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
        let_the_first_process_speak()
        sys.exit(f"polystyle-train: {explain(error)}")
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
        if is_first_process():
            print("polystyle-train: stopped before training began", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


@hydra.main(version_base="1.3", config_path="pkg://polystyle.configs", config_name="train")
def run(cfg: DictConfig) -> None:
    if not is_first_process():
        logging.disable()
        warnings.simplefilter("ignore")
    try:
        train(cfg)
    except Exception as error:
        let_the_first_process_speak()
        log.debug("", exc_info=True)  # hydra.verbose=true shows it
        if isinstance(error, InstantiationException) and isinstance(
            error.__cause__, ValueError | OSError
        ):
            error = error.__cause__  # what our constructor said, without Hydra's wrapping
        if isinstance(error, InstantiationException | OmegaConfBaseException | EXPECTED):
            message = one_line(error)
        else:
            message = unexpected(error, Path(os.path.relpath(str(cfg.run_dir))))
        sys.exit(f"polystyle-train: {message}")


def unexpected(error: Exception, run_dir: Path) -> str:
    """In one line what may be a mistake of ours; its traceback goes to a file."""
    from polystyle.training.memory import is_out_of_memory

    if is_out_of_memory(error):
        return "out of memory: try a smaller model.width, data.image_size or data.batch_size"
    path = run_dir / "traceback.txt"
    with suppress(OSError):
        path.write_text(traceback.format_exc())
    return f"{type(error).__name__}: {one_line(error)} (unexpected: {path} says where)"


def one_line(error: Exception) -> str:
    """What an error says, without the traceback that a loader's worker sends along with it."""
    message = str(error).strip()
    if isinstance(error, OSError) and error.strerror and error.filename:
        message = f"{os.fsdecode(error.filename)}: {error.strerror}"
    if "Original Traceback" in message:
        message = message.splitlines()[-1].partition(": ")[2]
    return " ".join(message.split())


def explain(error: Exception) -> str:
    """A configuration error in one or two lines, with the keys that may have been meant."""
    if isinstance(error.__cause__, OSError):  # "Unable to configure handler 'file'": why?
        error = error.__cause__
    if isinstance(error, OSError):
        return one_line(error)
    # Hydra names its search path, in more lines than the error itself.
    message = " ".join(str(error).split("Config search path")[0].split())
    unknown = re.match(r"Could not override '([^']+)'", str(error))
    if "'hydra/launcher/submitit_" in message:
        return f"{message} It needs the plugin: pip install 'polystyle[slurm]'"
    if not unknown:
        return message
    key = unknown[1]
    with hydra.initialize_config_module("polystyle.configs", version_base="1.3"):
        known = list(flat(OmegaConf.to_container(hydra.compose("train"))))
    same_leaf = [name for name in known if name.split(".")[-1] == key.split(".")[-1]]
    near = dict.fromkeys(same_leaf + get_close_matches(key, known, n=3))
    meant = f"did you mean {' or '.join(near)}?" if near else "see polystyle-train --help"
    return f"there is no {key} in the configuration: {meant}"


def train(cfg: DictConfig) -> None:
    """One run: build, try, fit, and say what was made.

    Raises:
        ValueError, OSError, MemoryError, FloatingPointError: what a user can mend, in one line.
    """
    for key, meaning in REQUIRED.items():
        if OmegaConf.is_missing(cfg.data, key.removeprefix("data.")):
            raise ValueError(f"{key} is not set: {meaning}. See polystyle-train --help")
    check_types(OmegaConf.to_container(cfg, resolve=True))
    for key in ("max_steps", "val_check_interval", "log_every_n_steps", "accumulate_grad_batches"):
        if cfg.trainer[key] < 1:
            raise ValueError(f"trainer.{key} must be at least 1, not {cfg.trainer[key]}")
    run_dir = Path(os.path.relpath(cfg.run_dir))
    writes = is_first_process() and not cfg.trainer.fast_dev_run
    with claimed(run_dir) if writes else nullcontext():
        train_in(run_dir, cfg)


def train_in(run_dir: Path, cfg: DictConfig) -> None:
    """A run in its folder, which is this process's."""
    base = load_base(cfg)

    import lightning.pytorch as pl
    import torch

    from polystyle.training.checkpoints import checked_step, find_checkpoint
    from polystyle.training.first_step import bytes_to_write

    silence_hints()
    # TF32 where a GPU has it: 10 bits of products that are summed in float32.
    torch.set_float32_matmul_precision("high")

    found = find_checkpoint(cfg.ckpt_path, run_dir)
    checkpoint = found[0] if found else None
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    if cfg.trainer.fast_dev_run:
        cfg.data.skipped_photos = None  # it writes nothing
    data = instantiate(cfg.data, _convert_="all")
    loss = instantiate(cfg.loss, _convert_="all")
    make_module = instantiate(cfg.model, _partial_=True, _convert_="all")
    module = make_module(style_names=data.conditions, loss=loss, base=base)
    start_step = checked_step(*found, module, cfg.trainer.max_steps) if found else 0
    module.steps_to_go = cfg.trainer.max_steps - start_step
    changes = differences(checkpoint.parents[1], cfg, data) if checkpoint else []
    if changes and not cfg.allow_changes:
        raise ValueError(
            f"{checkpoint} is of another run: {'; '.join(changes)}. To go on all the same, add "
            "allow_changes=true"
        )
    callbacks = {
        name: instantiate(callback, _convert_="all")
        for name, callback in cfg.callbacks.items()
        if callback is not None
    }
    trainer = make_trainer(cfg, list(callbacks.values()), start_step)
    check_devices(trainer, data.batch_size)

    devices = str(trainer.strategy.root_device)
    if trainer.world_size > 1:
        devices = f"{trainer.world_size} devices ({trainer.strategy.root_device.type})"
    names = ", ".join(data.conditions)
    if base:
        old = f"{len(base.style_names)} styles of {cfg.model_file}"
        log.info(f"{old}, frozen like all convolutions\n{len(data.conditions)} new: {names}")
    else:
        log.info(f"{len(data.conditions)} styles: {names}")
    num_bytes = bytes_to_write(module, data, trainer, start_step)
    log.info(
        f"{len(data.train_paths)} photos to train on, {len(data.val_paths)} held out\n"
        f"{cfg.trainer.max_steps} steps of {data.batch_size} images at {data.image_size} pixels, "
        f"{trainer.precision} on {devices}\n"
        f"Writing to {run_dir}, some {num_bytes / 1e6:,.0f} MB"
    )
    styles = data.conditions if base else ["all"]
    if start_step >= cfg.trainer.max_steps:
        if writes_model := callbacks.get("model_file"):
            data.setup()
            module.load_state_dict(found[1]["state_dict"])
            writes_model.complete(module, start_step, data.paintings)
        log.info(f"It is at step {start_step} already: raise trainer.max_steps to train on")
        log.info(made(run_dir, styles))
        return

    check_room(run_dir, num_bytes)
    if changes:
        log.warning(f"Going on although {'; '.join(changes)}")
    if trainer.is_global_zero and not trainer.fast_dev_run:
        write_record(run_dir, cfg, data, start_step, changes)
        (run_dir / "checkpoints").mkdir(exist_ok=True)
    if trainer.logger:
        text = f"```yaml\n{OmegaConf.to_yaml(cfg, resolve=True)}\n```"
        trainer.logger.experiment.add_text("configuration", text)
    log.info(f"Going on from {checkpoint}, step {start_step}" if checkpoint else "Starting")
    started_at = time.monotonic()
    fit(trainer, module, data, checkpoint, run_dir)
    if trainer.fast_dev_run:
        log.info("All is well, as far as one step tells: leave out trainer.fast_dev_run to train")
        return
    minutes = (time.monotonic() - started_at) / 60
    log.info(f"Step {trainer.global_step} of {trainer.max_steps}, after {minutes:.1f} minutes.")
    if skipped := int(trainer.optimizers[0].skipped):
        log.info(f"{skipped} of them were skipped: their loss or gradient was not finite")
    if skipped := data.skipped.count():
        log.info(f"Photos that can't be used: {skipped}, listed in {run_dir}/skipped_photos.txt")
    if base:
        log.info(f"Made {run_dir / 'model.safetensors'}: the {old} as they were, and {names}")
    log.info(made(run_dir, styles))
    stop = callbacks.get("stop_on_signal")
    # A second process that failed would have Lightning, or torchrun, kill the first.
    if stop and stop.received and trainer.is_global_zero:
        if stop.received == REQUEUE_SIGNAL:
            log.info(requeue())
        log.info(f"Go on:  {typed_again(run_dir)}")
        sys.exit(128 + stop.received)


def silence_hints() -> None:
    """Lightning's hints are for people who write loops; ours are in the configuration."""
    from lightning.fabric.utilities.warnings import PossibleUserWarning

    warnings.filterwarnings("ignore", category=PossibleUserWarning)
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")  # its own business
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # on a single core
    # By torch 2.15; earlier ones don't know the new name.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
    for chatty in ("lightning.pytorch", "lightning.fabric.utilities.distributed"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # torch.compile without a GPU, where a CUDA toolkit is installed.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


def make_trainer(cfg: DictConfig, callbacks: "list[Callback]", start_step: int) -> "Trainer":
    from lightning.pytorch.plugins.environments import SLURMEnvironment

    from polystyle.training.checkpoints import CheckpointFiles

    precision = cfg.trainer.precision
    if precision == "auto":
        precision = best_precision(cfg.trainer.accelerator)
    plugins = [CheckpointFiles()]
    if SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))  # StopOnSignal sees to it
    return instantiate(
        cfg.trainer,
        _convert_="all",
        callbacks=callbacks,
        logger=make_logger(cfg, start_step),
        plugins=plugins,
        precision=precision,
        # A run shorter than the interval is validated once, at its end.
        val_check_interval=min(cfg.trainer.val_check_interval, cfg.trainer.max_steps),
    )


def fit(
    trainer: "Trainer",
    module: "MultiStyleModule",
    data: "StyleTransferData",
    checkpoint: Path | None,
    run_dir: Path,
) -> None:
    """Train, and write the last checkpoint.

    Raises:
        RunStoppedError: what a user can mend ended the run after it had begun.
    """
    from polystyle.training.checkpoints import LAST
    from polystyle.training.memory import is_out_of_memory

    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        if not trainer.fast_dev_run:
            trainer.save_checkpoint(run_dir / "checkpoints" / LAST)
    except SystemExit:
        # So Lightning ends a run that Ctrl-C met outside of the steps, or met twice.
        end_other_processes(trainer)
        log.info(f"Stopped at once: {run_dir} is as its last checkpoint left it")
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        # Whatever it was: it goes on its way, but the others must not wait for this process.
        end_other_processes(trainer)
        began = trainer.train_dataloader is not None
        if began and is_out_of_memory(error):
            raise RunStoppedError(
                f"out of memory: try a smaller data.batch_size. {what_stands(run_dir)}"
            ) from error
        if not began or not isinstance(error, EXPECTED):
            raise
        raise RunStoppedError(f"{one_line(error)}. {what_stands(run_dir)}") from error


def make_logger(cfg: DictConfig, start_step: int) -> "Logger | bool":
    if cfg.logger is None:
        return False
    options = {}
    if start_step and cfg.logger._target_.endswith("TensorBoardLogger"):
        # Else the curves of a run that was killed would run twice from its last checkpoint on.
        options["purge_step"] = start_step + 1
    return instantiate(cfg.logger, _convert_="all", **options)


def what_stands(run_dir: Path) -> str:
    """After an error in the middle of a run: where the next one will go on."""
    from polystyle.training.checkpoints import newest_checkpoint

    if not run_dir.exists():
        return f"{run_dir} is gone: put it back, and go on with {typed_again(run_dir)}"
    try:
        found = newest_checkpoint(run_dir / "checkpoints")
    except (OSError, ValueError):
        found = None
    if not found:
        return "There is no checkpoint yet to go on from"
    path, checkpoint = found
    return f"{path}, of step {checkpoint['global_step']}, stands: go on with {typed_again(run_dir)}"


def typed_again(run_dir: Path) -> str:
    """The command that goes on with this run."""
    overrides = [
        override
        for override in (HydraConfig.get().overrides.task if HydraConfig.initialized() else [])
        if not override.startswith(("ckpt_path=", "hydra."))
    ]
    return shlex.join(["polystyle-train", *overrides, f"hydra.run.dir={run_dir}", "ckpt_path=last"])


def load_base(cfg: DictConfig) -> "Model | None":
    """The network to add styles to, if there is one. Sizes that are null in the configuration
    become those that it was trained with.

    Raises:
        FileNotFoundError, ValueError: see `load_model`; or a size that is nowhere.
        FileExistsError: the run would write over the network.
    """
    if cfg.model_file is None:
        base = None
    else:
        from polystyle.networks.model_file import load_model

        base = load_model(Path(cfg.model_file))
        output = OmegaConf.select(cfg, "callbacks.model_file.path")
        if output and Path(output).resolve() == Path(cfg.model_file).resolve():
            raise FileExistsError(
                f"this run would write over its model_file, {cfg.model_file}: "
                "choose another hydra.run.dir"
            )
    for name in ("image_size", "style_size"):
        if cfg.data[name] is None:
            if not base:
                raise ValueError(
                    "model_file is not set: the trained network to add styles to "
                    f"(data.{name}=null means its {name})"
                )
            if not isinstance(base.training.get(name), int):
                raise ValueError(f"{cfg.model_file} doesn't tell its {name}: set data.{name}")
            cfg.data[name] = base.training[name]
    return base


def best_precision(accelerator: str) -> str:
    """bf16-mixed where the hardware multiplies bfloat16 in earnest, else 32-true."""
    import torch

    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator == "cpu" or not torch.backends.mps.is_available():
        bfloat16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        bfloat16 = False
    return "bf16-mixed" if bfloat16 else "32-true"


def made(run_dir: Path, styles: list[str]) -> str:
    """What a run has made, and what to do next: paint in these styles."""
    model = run_dir / "model.safetensors"
    pictures = sorted((run_dir / "stylized").glob("*.png"))
    lines = []
    if pictures:
        lines.append(f"Look:   {pictures[-1]}")
    if model.exists():
        options = [option for name in styles for option in ("--style", name)]
        command = ["polystyle-stylize", str(model), "PHOTO", *options, "--output", "painted/"]
        lines.append(f"Paint:  {shlex.join(command)}")
    lines.append(f"Curves: tensorboard --logdir {run_dir}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
