"""polystyle-train: compose the configuration, build what it names, fit, and say what was made."""

import logging
import os
import re
import shlex
import signal
import sys
import time
import warnings
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from polystyle.devices import (
    check_devices,
    end_other_processes,
    is_first_process,
    let_the_first_process_speak,
    share_run_name,
)

if TYPE_CHECKING:
    from polystyle.model_file import Model
    from polystyle.module import MultiStyleModule

# torch and Lightning are imported where a run starts, so that --help and --cfg answer at once.

log = logging.getLogger(__name__)

REQUIRED = {"data.content_dir": "the folder of photos", "data.style_dir": "the folder of paintings"}


def main() -> None:
    """The command. What a user did wrong ends it with one line and exit status 1."""
    # Else Hydra prints errors of its own over several lines, and tracebacks for ours.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    try:
        share_run_name()
        if not is_first_process():
            # The first one writes Hydra's files.
            sys.argv += ["hydra/job_logging=none", "hydra.output_subdir=null"]
            # Lightning added overrides, too, and there must be no flags in between.
            sys.argv[1:] = sorted(sys.argv[1:], key=lambda each: bool(re.match("[^-].*=", each)))
        run()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        let_the_first_process_speak()
        sys.exit(f"polystyle-train: {explain(error)}")
    except RuntimeError as error:
        if "submitit" not in sys.modules:
            raise
        # A job on the cluster failed. Its reason stands last, after the log that it quotes.
        lines = [line for line in str(error).splitlines() if line.strip()]
        sys.exit(f"polystyle-train: {': '.join(dict.fromkeys([lines[0], lines[-1]]))}")
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
        if not isinstance(error, InstantiationException | ValueError | OSError):
            raise
        log.debug("", exc_info=True)  # hydra.verbose=true shows it
        if isinstance(error, InstantiationException) and isinstance(
            error.__cause__, ValueError | OSError
        ):
            error = error.__cause__  # what our constructor said, without Hydra's wrapping
        sys.exit(f"polystyle-train: {' '.join(str(error).split())}")


def explain(error: Exception) -> str:
    """A configuration error in one or two lines, with the keys that may have been meant."""
    # Hydra names its search path, in more lines than the error itself.
    message = " ".join(str(error).split("Config search path")[0].split())
    unknown = re.match(r"Could not override '([^']+)'", str(error))
    if "'hydra/launcher/submitit_" in message:
        return f"{message} It needs the plugin: pip install 'polystyle[slurm]'"
    if not unknown:
        return message
    key = unknown[1]
    with hydra.initialize_config_module("polystyle.configs", version_base="1.3"):
        known = list(flat_keys(OmegaConf.to_container(hydra.compose("train"))))
    same_leaf = [name for name in known if name.split(".")[-1] == key.split(".")[-1]]
    near = dict.fromkeys(same_leaf + get_close_matches(key, known, n=3))
    meant = f"did you mean {' or '.join(near)}?" if near else "see polystyle-train --help"
    return f"there is no {key} in the configuration: {meant}"


def flat_keys(config: dict[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for name, value in config.items():
        keys.append(f"{prefix}{name}")
        if isinstance(value, dict):
            keys += flat_keys(value, f"{prefix}{name}.")
    return keys


def train(cfg: DictConfig) -> None:
    """One run: build, fit, and say what was made.

    Raises:
        ValueError, OSError: what a user can mend, in one line.
    """
    for key, meaning in REQUIRED.items():
        if OmegaConf.is_missing(cfg.data, key.removeprefix("data.")):
            raise ValueError(f"{key} is not set: {meaning}. See polystyle-train --help")
    if cfg.trainer.max_steps < 1:
        raise ValueError(
            f"trainer.max_steps must be at least 1, not {cfg.trainer.max_steps}; "
            "trainer.max_time can end a run earlier"
        )
    run_dir = Path(os.path.relpath(cfg.run_dir))
    checkpoint = find_checkpoint(cfg.ckpt_path, run_dir)
    base = load_base(cfg)

    import lightning.pytorch as pl
    import torch
    from lightning.fabric.utilities.warnings import PossibleUserWarning

    # Lightning's hints are for people who write loops; ours are in the configuration.
    warnings.filterwarnings("ignore", category=PossibleUserWarning)
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")  # its own business
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # on a single core
    # By torch 2.15; earlier ones don't know the new name.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
    for chatty in ("lightning.pytorch", "lightning.fabric.utilities.distributed"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # torch.compile without a GPU, where a CUDA toolkit is installed.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    # TF32 where a GPU has it: 10 bits of products that are summed in float32.
    torch.set_float32_matmul_precision("high")

    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = instantiate(cfg.data, _convert_="all")
    loss = instantiate(cfg.loss, _convert_="all")
    make_module = instantiate(cfg.model, _partial_=True, _convert_="all")
    module = make_module(style_names=data.style_names, loss=loss, base=base)
    start_step = checked_step(checkpoint, module, cfg.trainer.max_steps) if checkpoint else 0

    callbacks = {
        name: instantiate(callback, _convert_="all")
        for name, callback in cfg.callbacks.items()
        if callback is not None
    }
    logger = instantiate(cfg.logger, _convert_="all") if cfg.logger else False
    precision = cfg.trainer.precision
    if precision == "auto":
        precision = best_precision(cfg.trainer.accelerator)
    trainer = instantiate(
        cfg.trainer,
        _convert_="all",
        callbacks=list(callbacks.values()),
        logger=logger,
        precision=precision,
        # A run shorter than the interval is validated once, at its end.
        val_check_interval=min(cfg.trainer.val_check_interval, cfg.trainer.max_steps),
    )
    check_devices(trainer, data.batch_size)
    if trainer.logger:
        text = f"```yaml\n{OmegaConf.to_yaml(cfg, resolve=True)}\n```"
        trainer.logger.experiment.add_text("configuration", text)

    devices = str(trainer.strategy.root_device)
    if trainer.world_size > 1:
        devices = f"{trainer.world_size} devices ({trainer.strategy.root_device.type})"
    names = ", ".join(data.style_names)
    if base:
        old = f"{len(base.style_names)} styles of {cfg.model_file}"
        log.info(f"{old}, frozen like all convolutions\n{len(data.style_names)} new: {names}")
    else:
        log.info(f"{len(data.style_names)} styles: {names}")
    log.info(
        f"{len(data.train_paths)} photos to train on, {len(data.val_paths)} held out\n"
        f"{cfg.trainer.max_steps} steps of {data.batch_size} images at {data.image_size} pixels, "
        f"{trainer.precision} on {devices}\n"
        f"Writing to {run_dir}"
    )
    styles = data.style_names if base else ["all"]
    if start_step >= cfg.trainer.max_steps:
        log.info(f"It is at step {start_step} already: raise trainer.max_steps to train on")
        log.info(made(run_dir, styles))
        return
    log.info(f"Going on from {checkpoint}" if checkpoint else "Starting")
    started_at = time.monotonic()
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:
        # So Lightning ends a run that Ctrl-C met outside of the steps, or met twice.
        end_other_processes(trainer)
        log.info(f"Stopped at once: {run_dir} is as its last checkpoint left it")
        sys.exit(128 + signal.SIGINT)
    except Exception:
        # Whatever it was: it goes on its way, but the others must not wait for this process.
        end_other_processes(trainer)
        raise
    if trainer.fast_dev_run:
        log.info("One step and one validation work: leave out trainer.fast_dev_run to train")
        return
    trainer.save_checkpoint(run_dir / "checkpoints" / "last.ckpt")
    minutes = (time.monotonic() - started_at) / 60
    log.info(f"Step {trainer.global_step} of {trainer.max_steps}, after {minutes:.1f} minutes.")
    if base:
        log.info(f"Made {run_dir / 'model.safetensors'}: the {old} as they were, and {names}")
    log.info(made(run_dir, styles))
    stop = callbacks.get("stop_on_signal")
    # A second process that failed would have Lightning, or torchrun, kill the first.
    if stop and stop.received and trainer.is_global_zero:
        overrides = [
            override
            for override in HydraConfig.get().overrides.task
            if not override.startswith(("ckpt_path=", "hydra."))
        ]
        command = ["polystyle-train", *overrides, f"hydra.run.dir={run_dir}", "ckpt_path=last"]
        log.info(f"Go on:  {shlex.join(command)}")
        sys.exit(128 + stop.received)


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
        from polystyle.model_file import load_model

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


def find_checkpoint(ckpt_path: str | None, run_dir: Path) -> Path | None:
    """The checkpoint to go on from, if there is one.

    Raises:
        FileNotFoundError: it was named and isn't there.
        FileExistsError: the folder holds a run already, and nobody said to go on with it.
    """
    last = run_dir / "checkpoints" / "last.ckpt"
    if ckpt_path is None and last.exists():
        raise FileExistsError(
            f"{run_dir} holds a run already: add ckpt_path=last to go on with it, "
            "or choose another hydra.run.dir"
        )
    if ckpt_path in (None, "last"):
        if last.exists():
            return last
        if (run_dir / "model.safetensors").exists():
            raise FileExistsError(
                f"{run_dir} holds a model.safetensors that training would replace, and no "
                "checkpoint: choose another hydra.run.dir"
            )
        return None
    if not Path(ckpt_path).is_file():
        raise FileNotFoundError(f"ckpt_path: there is no file {ckpt_path}")
    return Path(ckpt_path)


def checked_step(path: Path, module: "MultiStyleModule", max_steps: int) -> int:
    """The step that a checkpoint was written at.

    Raises:
        ValueError: the file is no checkpoint of ours, or one of another run.
    """
    import torch

    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        step, _ = checkpoint["global_step"], checkpoint["style_names"]
    except PermissionError:
        raise
    except Exception as error:
        # torch.load meets a damaged file with a dozen kinds of error.
        raise ValueError(f"{path} is damaged, or not a checkpoint of polystyle") from error
    module.on_load_checkpoint(checkpoint)
    for schedule in checkpoint["lr_schedulers"]:
        if schedule.get("total_steps", max_steps) != max_steps:
            raise ValueError(
                f"{path} follows a learning-rate schedule over {schedule['total_steps']} steps: "
                "trainer.max_steps can't change under it"
            )
    return step


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
