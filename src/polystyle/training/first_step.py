"""The first step, tried before training begins: does it fit into memory, how long does it take, and
can it be compiled?"""

import gc
import logging
import time
import traceback
from difflib import get_close_matches

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor

from polystyle.training.callbacks import ImagesPerSecond
from polystyle.training.memory import capped_at_free_memory, is_out_of_memory
from polystyle.training.module import Batch, MultiStyleModule, channels_last

log = logging.getLogger(__name__)


class FirstStep(Callback):
    """Takes this device's share of a training step at full size, forward and backward, and forgets
    it; then compiles the step, if the module asks for that.

    No weight changes. The step is tried in `on_train_start`, when the objective is prepared and the
    loader's workers have not started. This callback stands before all others that write: a run that
    can't begin writes nothing. So does one in which another callback monitors a number that nothing
    logs: Lightning would find that at the first validation.

    Args:
        max_steps: the run's, to estimate how long it takes. (In a dry run the Trainer has another.)

    Attributes:
        passed: whether training can begin.
        compiled_shapes: the shapes of batches that the step is compiled for.

    Raises:
        MemoryError: the step doesn't fit into memory; says which batch size would.
        FloatingPointError: the loss is infinite or NaN.
        ValueError: a callback monitors what is not logged.
    """

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps
        self.passed = False
        self.compiled_shapes: set[torch.Size] = set()

    def on_train_start(self, trainer: Trainer, pl_module: MultiStyleModule) -> None:
        compiles = pl_module.compile_step and pl_module.device.type in ("cpu", "cuda")
        compiles &= not trainer.fast_dev_run  # compiling takes longer than that
        try:
            seconds = try_step(trainer, pl_module)
        except MemoryError:
            if not compiles:
                raise
            self.compile(trainer, pl_module)  # a compiled step needs about half of the memory
            try_step(trainer, pl_module)
            check_monitors(trainer, pl_module)
        else:
            check_monitors(trainer, pl_module)
            steps = self.max_steps - trainer.global_step
            duration = in_words(steps * trainer.accumulate_grad_batches * seconds)
            faster_later = ", less once it is compiled" if compiles else ""
            log.info(f"Tried a step: {seconds:.2g} s, so about {duration} in all{faster_later}")
            if compiles:
                self.compile(trainer, pl_module)
        self.passed = True

    def compile(self, trainer: Trainer, module: MultiStyleModule) -> None:
        """Compile the training step, forward and backward.

        Where that fails (no C++ compiler, say), a line tells why, and training goes on uncompiled.
        """
        batch = example(trainer, trainer.datamodule.batch_size // trainer.world_size)
        uncompiled = module.training_losses
        module.training_losses = torch.compile(module.losses, dynamic=False)
        log.info("Compiling the training step (model.compile=false leaves it as it is)")
        started_at = time.monotonic()
        try:
            gradients(trainer, module, batch)
        except Exception as error:
            # Dynamo, its backends and their toolchains fail in as many ways as there are of them.
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            log.warning(f"torch.compile failed ({reason}); training continues uncompiled")
            module.training_losses = uncompiled
            return
        self.compiled_shapes.add(shape_of(batch))
        log.info(f"Compiled in {time.monotonic() - started_at:.0f} s")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: MultiStyleModule, batch: Batch, batch_idx: int
    ) -> None:
        shape = shape_of(batch)
        if self.compiled_shapes and shape not in self.compiled_shapes:
            self.compiled_shapes.add(shape)
            log.info(f"\nCompiling the training step for images of {shape[-1]} pixels")


def in_words(seconds: float) -> str:
    """How long a run takes, roughly."""
    minutes = seconds / 60
    if minutes <= 1.5:
        return "a minute"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def try_step(trainer: Trainer, module: MultiStyleModule) -> float:
    """Take this device's share of a step, or find out which batch size would fit.

    Returns:
        The seconds that it took, the second time.

    Raises:
        MemoryError, FloatingPointError: see `FirstStep`.
    """
    batch_size = trainer.datamodule.batch_size
    count = batch_size // trainer.world_size
    if fits(trainer, module, count):
        return take_step(trainer, module, count)
    fewer = count // 2
    while fewer and not fits(trainer, module, fewer):
        fewer //= 2
    way_out = (
        f"data.batch_size={fewer * trainer.world_size} does"
        if fewer
        else "try a much smaller one, smaller images, or a smaller network"
    )
    raise MemoryError(
        f"data.batch_size={batch_size} does not fit into the memory of {module.device}; {way_out}"
    )


def fits(trainer: Trainer, module: MultiStyleModule, count: int) -> bool:
    """Whether a step of `count` samples fits into memory."""
    try:
        take_step(trainer, module, count)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold what filled the memory
    else:
        return True
    gc.collect()
    return False


def take_step(trainer: Trainer, module: MultiStyleModule, count: int) -> float:
    """Seconds for the loss of `count` samples and its gradients."""
    batch = example(trainer, count)
    started_at = time.perf_counter()
    with capped_at_free_memory():
        value = gradients(trainer, module, batch)
    if not abs(value) < float("inf"):
        raise FloatingPointError(
            f"the loss is {value} before the first step: see the weights of the losses, and "
            "trainer.precision"
        )
    return time.perf_counter() - started_at


def gradients(trainer: Trainer, module: MultiStyleModule, batch: Batch) -> float:
    """The mean loss of a batch, once its gradients are computed. They are dropped."""
    trained = [parameter for parameter in module.net.parameters() if parameter.requires_grad]
    with trainer.precision_plugin.train_step_context():
        loss = module.training_losses(channels_last(batch))["loss"].mean()
        torch.autograd.grad(loss, trained)
        return loss.item()  # which waits for the device


def example(trainer: Trainer, count: int) -> Batch:
    """The data's example of `count` samples, on the device."""
    return trainer.strategy.batch_to_device(trainer.datamodule.example(count))


def shape_of(batch: Batch) -> torch.Size:
    """The shape of a batch's first tensor, which training compiles its step for."""
    return next(iter(batch.values())).shape


def check_monitors(trainer: Trainer, module: MultiStyleModule) -> None:
    """Raises ValueError for a callback, such as ModelCheckpoint or EarlyStopping, that monitors a
    number which nothing logs. Where the run has callbacks of the user's own, they may log it."""
    packages = {type(callback).__module__.partition(".")[0] for callback in trainer.callbacks}
    if not packages <= {"lightning", "polystyle"}:
        return
    names = logged_names(trainer, module)
    for callback in trainer.callbacks:
        monitor = getattr(callback, "monitor", None)
        if monitor and monitor not in names:
            near = get_close_matches(monitor, names, n=1)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(names))}"
            raise ValueError(
                f"callbacks: {type(callback).__name__} has monitor={monitor}, which nothing logs: "
                f"{meant}"
            )


@torch.no_grad()
def logged_names(trainer: Trainer, module: MultiStyleModule) -> set[str]:
    """The names of all numbers that a run of Lightning's and polystyle's callbacks logs."""
    losses = module.losses(example(trainer, 1))
    names = {"epoch", "step", "train/skipped_steps"} | {f"train/{name}" for name in losses}
    if any(isinstance(callback, ImagesPerSecond) for callback in trainer.callbacks):
        names.add("train/images_per_second")
    if any(isinstance(callback, LearningRateMonitor) for callback in trainer.callbacks):
        names.add("train/learning_rate")
    limit = trainer.limit_val_batches
    count = limit if isinstance(limit, int) else int(limit * len(module.conditions))
    for condition in module.conditions[:count]:
        names |= {f"val/{name}" for name in losses}
        names |= {f"val_{name}/{condition}" for name in losses}
    return names
