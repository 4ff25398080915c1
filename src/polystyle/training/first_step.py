"""What is found out before the first step rather than hours later: memory, time, disk."""

import gc
import time
import traceback
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import Trainer

from polystyle.training.callbacks import StylizedGrid
from polystyle.training.memory import free_memory_only, is_out_of_memory

if TYPE_CHECKING:
    from polystyle.data.datamodule import StyleTransferData
    from polystyle.training.module import MultiStyleModule


def try_step(module: "MultiStyleModule") -> float:
    """Take this device's share of a training step, forward and backward, at full size, and forget
    it: no weight changes.

    Returns:
        The seconds that it took, the second time.

    Raises:
        MemoryError: it doesn't fit; says which batch would.
        FloatingPointError: the loss is infinite or NaN.
    """
    data, trainer = module.trainer.datamodule, module.trainer
    count = data.batch_size // trainer.world_size
    if fits(module, count):
        return take_step(module, count)
    fewer = count // 2
    while fewer and not fits(module, fewer):
        fewer //= 2
    way_out = (
        f"data.batch_size={fewer * trainer.world_size} does"
        if fewer
        else "try a much smaller one, or a smaller data.image_size or model.width"
    )
    raise MemoryError(
        f"data.batch_size={data.batch_size} at {data.image_size} pixels does not fit into the "
        f"memory of {module.device}; {way_out}"
    )


def fits(module: "MultiStyleModule", count: int) -> bool:
    try:
        take_step(module, count)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold what filled the memory
    else:
        return True
    gc.collect()
    return False


def take_step(module: "MultiStyleModule", count: int) -> float:
    """Seconds for the loss of `count` photos, each in another style, and its gradients."""
    trainer = module.trainer
    photos = trainer.datamodule.val_photos
    content = photos[torch.arange(count) % len(photos)].to(module.device)
    style = torch.arange(count, device=module.device) % len(module.style_names)
    trained = [each for each in module.net.parameters() if each.requires_grad]
    started_at = time.perf_counter()
    with free_memory_only(), trainer.precision_plugin.train_step_context():
        loss = module.training_losses(content, style)["loss"].mean()
        torch.autograd.grad(loss, trained)
        value = loss.item()  # which waits for the device
    if not abs(value) < float("inf"):
        raise FloatingPointError(
            f"the loss is {value} before the first step: see loss.content_weight, "
            "loss.style_weight and their like, and trainer.precision"
        )
    return time.perf_counter() - started_at


def bytes_to_write(
    module: "MultiStyleModule", data: "StyleTransferData", trainer: Trainer, start_step: int
) -> int:
    """About how much a run will add to its folder, in bytes, at the most."""
    weights = sum(each.nbytes for each in module.net.parameters())
    trained = sum(each.nbytes for each in module.net.parameters() if each.requires_grad)
    validations = (trainer.max_steps - start_step) // trainer.val_check_interval + 2
    # Adam keeps two numbers for each that it trains. One checkpoint more while one is replaced.
    kept = [validations if c.save_top_k < 0 else c.save_top_k for c in trainer.checkpoint_callbacks]
    checkpoints = (weights + 2 * trained) * (sum(kept) + 1)
    pictures = 0
    for grid in (each for each in trainer.callbacks if isinstance(each, StylizedGrid)):
        cells = (1 + min(grid.max_photos, data.num_val_photos)) * (
            1 + min(grid.max_styles, len(data.conditions))
        )
        # Once as a file and once for TensorBoard, and paint does not compress well.
        pictures += 2 * validations * cells * 3 * data.image_size**2
    return checkpoints + 2 * weights + pictures
