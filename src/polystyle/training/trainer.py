"""Lightning's Trainer as polystyle uses it: precision, logger, checkpoint files, no hints."""

import logging
import warnings
from collections.abc import Callable, Mapping

import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import SLURMEnvironment

from polystyle.training.checkpoints import CheckpointFiles


def silence_hints() -> None:
    """Lightning's hints are for people who write loops; ours are in the configuration."""
    warnings.filterwarnings("ignore", category=PossibleUserWarning)
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")  # its own business
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # on a single core
    # By torch 2.15; earlier ones don't know the new name.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
    for logger in ("lightning.pytorch", "lightning.fabric.utilities.distributed"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    # torch.compile without a GPU, where a CUDA toolkit is installed.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


def prepare_torch(seed: int) -> None:
    """Seed all random numbers, and allow TF32 where a GPU has it: products have 10 bits, their sums
    are float32."""
    torch.set_float32_matmul_precision("high")
    seed_everything(seed, workers=True, verbose=False)


def make_trainer(
    trainer: Callable[..., Trainer],
    settings: Mapping[str, object],
    callbacks: list[Callback],
    logger: Logger | bool,
) -> Trainer:
    """Build the Trainer.

    Args:
        trainer: Lightning's Trainer with all other arguments.
        settings: its configuration, of which three values are completed here.
        callbacks, logger: see Lightning's Trainer.
    """
    precision = settings["precision"]
    if precision == "auto":
        precision = best_precision(settings["accelerator"])
    plugins = [CheckpointFiles()]
    if SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))  # StopOnSignal sees to it
    return trainer(
        callbacks=callbacks,
        logger=logger,
        plugins=plugins,
        precision=precision,
        # A run shorter than the interval is validated once, at its end.
        val_check_interval=min(settings["val_check_interval"], settings["max_steps"]),
    )


def best_precision(accelerator: str) -> str:
    """bf16-mixed where the hardware multiplies bfloat16 in earnest, else 32-true."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator == "cpu" or not torch.backends.mps.is_available():
        bfloat16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        bfloat16 = False
    return "bf16-mixed" if bfloat16 else "32-true"
