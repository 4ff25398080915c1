"""Lightning's Trainer as polystyle uses it: precision, logger, checkpoint files, no hints."""

import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import (
    Checkpoint,
    LearningRateMonitor,
    ModelCheckpoint,
    ProgressBar,
)
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from polystyle.training.checkpoints import CheckpointFiles
from polystyle.training.early_end import EarlyEnd

log = logging.getLogger(__name__)

NO_EPOCHS = "batches never end, so there are no epochs"
NEVER_RUN = "polystyle-train trains and validates, and does nothing else"

# Arguments of Lightning's Trainer that would be ignored, or break a run: the values that change
# nothing, and why another one is refused.
REFUSED: dict[str, tuple[tuple[object, ...], str]] = {
    "max_epochs": ((-1, None), f"{NO_EPOCHS}: set trainer.max_steps"),
    "min_epochs": ((0, None), f"{NO_EPOCHS}: set trainer.min_steps"),
    "check_val_every_n_epoch": ((None,), f"{NO_EPOCHS}: set trainer.val_check_interval"),
    "reload_dataloaders_every_n_epochs": ((0,), NO_EPOCHS),
    "limit_train_batches": ((1.0, None), f"{NO_EPOCHS}: set trainer.max_steps"),
    "overfit_batches": ((0, 0.0), f"{NO_EPOCHS}: name a folder of few photos in data.content_dir"),
    "limit_test_batches": ((1.0, None), NEVER_RUN),
    "limit_predict_batches": ((1.0, None), NEVER_RUN),
    "use_distributed_sampler": ((False,), "the data shares each batch between devices itself"),
    "callbacks": ((), "add a callback as +callbacks.NAME._target_=CLASS"),
    "logger": ((), "choose one with logger=tensorboard, csv or none"),
    "plugins": ((), "polystyle-train sets its own: checkpoints are written by them"),
    "barebones": ((False,), "it forbids checkpoints, curves and validation"),
    "model_registry": ((None,), "models are written to hydra.run.dir"),
    "enable_autolog_hparams": ((True,), "the whole configuration is logged in any case"),
}


def silence_hints() -> None:
    """Turn off Lightning's hints, which are for people who write training loops. What was asked for
    stays: the table of trainer.enable_model_summary, and that of a profiler."""
    warnings.filterwarnings("ignore", category=PossibleUserWarning)
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")  # its own business
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # on a single core
    # By torch 2.15; earlier ones don't know the new name.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
    for logger in ("lightning.pytorch", "lightning.fabric.utilities.distributed"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    for logger in ("callbacks.model_summary", "profilers.profiler"):
        logging.getLogger(f"lightning.pytorch.{logger}").setLevel(logging.INFO)
    # torch.compile without a GPU, where a CUDA toolkit is installed.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


def prepare_torch(seed: int) -> None:
    """Seed all random numbers, and allow TF32 where a GPU has it: products have 10 bits, their sums
    are float32."""
    torch.set_float32_matmul_precision("high")
    seed_everything(seed, workers=True, verbose=False)


def check_trainer(settings: Mapping[str, object]) -> None:
    """Raises ValueError for an argument of Lightning's Trainer that would be ignored, or break a
    run; says what to set in its place.

    Args:
        settings: the Trainer's configuration.
    """
    for name, (allowed, reason) in REFUSED.items():
        # By type, too: 1 is one batch to Lightning, and 1.0 all of them.
        if name in settings and (type(settings[name]), settings[name]) not in [
            (type(value), value) for value in allowed
        ]:
            raise ValueError(f"trainer.{name} can't be {settings[name]}: {reason}")


def usable(
    callbacks: Mapping[str, Callback], settings: Mapping[str, object], has_logger: bool
) -> dict[str, Callback]:
    """The callbacks that a run can use, by name. Lightning refuses those of what is switched off.

    A line names each ModelCheckpoint that would wait for a validation that never comes.
    """
    switched_off = [
        *([Checkpoint] if settings.get("enable_checkpointing") is False else []),
        *([ProgressBar] if settings.get("enable_progress_bar") is False else []),
        *([] if has_logger else [LearningRateMonitor]),
    ]
    used = {n: c for n, c in callbacks.items() if not isinstance(c, tuple(switched_off))}
    for name, callback in list(used.items()):
        if settings.get("limit_val_batches") == 0 and waits_for_validation(callback):
            log.info(f"Without validation (trainer.limit_val_batches=0) there is no {name}")
            del used[name]
    return used


def waits_for_validation(callback: Callback) -> bool:
    """Whether it is a ModelCheckpoint that keeps the best in what a validation logs."""
    monitor = getattr(callback, "monitor", None) or ""
    return isinstance(callback, ModelCheckpoint) and monitor.startswith("val")


def make_trainer(
    trainer: Callable[..., Trainer],
    settings: Mapping[str, object],
    callbacks: list[Callback],
    logger: Logger | bool,
    checkpoint_folder: Path | None = None,
) -> Trainer:
    """Build the Trainer.

    Args:
        trainer: Lightning's Trainer with all other arguments.
        settings: its configuration, of which some values are completed here.
        callbacks: see Lightning's Trainer; only what is among them draws a bar or writes
            checkpoints.
        logger: see Lightning's Trainer.
        checkpoint_folder: see `CheckpointFiles`.

    Raises:
        ValueError: Lightning refuses an argument, or their combination.
    """
    precision = settings["precision"]
    if precision == "auto":
        precision = best_precision(settings["accelerator"])
    plugins = [CheckpointFiles(checkpoint_folder)]
    if SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))  # StopOnSignal sees to it
    # A run shorter than an interval is validated, and logged, once, at its end.
    steps_to_validation = min(settings["val_check_interval"], settings["max_steps"])
    steps_to_log = min(settings["log_every_n_steps"], settings["max_steps"])
    try:
        built = trainer(
            callbacks=callbacks,
            logger=logger,
            plugins=plugins,
            precision=precision,
            # Lightning counts batches here, of which some make an optimizer step.
            val_check_interval=steps_to_validation * settings["accumulate_grad_batches"],
            log_every_n_steps=steps_to_log,
            # Else min_steps would have Lightning wait for the end of an epoch, which never comes.
            min_epochs=0,
            # cuDNN's search for the fastest convolutions would make `deterministic` void.
            benchmark=bool(settings.get("benchmark")) and not settings.get("deterministic"),
            enable_progress_bar=any(isinstance(c, ProgressBar) for c in callbacks),
            enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),
        )
    except (MisconfigurationException, TypeError) as error:
        raise ValueError(f"trainer: {' '.join(str(error).split())}") from error
    built.callbacks.append(EarlyEnd())
    return built


def best_precision(accelerator: str) -> str:
    """bf16-mixed where the hardware multiplies bfloat16 in earnest, else 32-true."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator == "cpu" or not torch.backends.mps.is_available():
        bfloat16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        bfloat16 = False
    return "bf16-mixed" if bfloat16 else "32-true"
