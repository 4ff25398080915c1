"""What happens beside the training step: pictures, rates, files, and a clean stop."""

import logging
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor
from torchvision.transforms import v2
from torchvision.utils import make_grid, save_image

from polystyle.data.paintings import thumbnails
from polystyle.files.atomic_file import atomic_write
from polystyle.networks.model_file import load_model, save_model
from polystyle.training.slurm import REQUEUE_SIGNAL, is_job

log = logging.getLogger(__name__)

# Of gradients in float16. Those of the published losses, of millions, fit at 2**-5.
LEAST_SCALE = 2.0**-20


class StylizedGrid(Callback):
    """One picture of how things stand: paintings along the top, held-out photos down the side, and
    each photo in each style. Written at the start, at every validation and at the end, to
    TensorBoard and to ``<folder>/step-000300.png``.

    Args:
        folder: where the pictures go.
        max_photos, max_styles: rows and columns, at the most (the first ones).
    """

    def __init__(self, folder: str, max_photos: int = 4, max_styles: int = 16) -> None:
        self.folder = Path(folder)
        self.max_photos = max_photos
        self.max_styles = max_styles
        self.written_step: int | None = None

    @torch.no_grad()
    def grid(self, trainer: Trainer, module: LightningModule) -> Tensor:
        """``[3, H, W]`` in [0, 1]."""
        photos = trainer.datamodule.val_photos[: self.max_photos]
        paintings = list(trainer.datamodule.paintings.values())[: self.max_styles]
        size = photos.shape[-1]
        square = v2.Compose([v2.Resize(size), v2.CenterCrop(size)])
        white = torch.ones_like(photos[0])
        rows = [white, *(white if each is None else square(each) for each in paintings)]
        for photo in photos:
            rows.append(photo)
            for index in range(len(paintings)):
                style = torch.tensor([index], device=module.device)
                with trainer.precision_plugin.forward_context():
                    stylized = module(photo[None].to(module.device), style)
                rows.append(stylized[0].float().cpu())
        return make_grid(rows, nrow=len(paintings) + 1, padding=4, pad_value=1.0)

    def write(self, trainer: Trainer, module: LightningModule) -> None:
        step = trainer.global_step
        # The end often comes right after a validation.
        if not trainer.is_global_zero or trainer.fast_dev_run or step == self.written_step:
            return
        self.written_step = step
        grid = self.grid(trainer, module)
        self.folder.mkdir(exist_ok=True)
        with atomic_write(self.folder / f"step-{step:06d}.png") as partial:
            save_image(grid, partial, format="png")
        for logger in trainer.loggers:
            logger.experiment.add_image("stylized", grid, step)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.write(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.write(trainer, pl_module)


class ModelFile(Callback):
    """Writes the network to one file at every validation and at the end, with a thumbnail of each
    painting.

    Args:
        path: the file.
        training: how it is trained, for the file's header; the step is added. Where styles are
            added to a network, its own header stays, and these go under "added".
    """

    def __init__(self, path: str, training: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.training = dict(training or {})

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.thumbnails = thumbnails(trainer.datamodule.paintings)

    def write(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.is_global_zero and not trainer.fast_dev_run and not trainer.sanity_checking:
            if trainer.optimizers[0].skipped_in_a_row:
                return  # whatever these weights are, the file's are good
            self.save(module, trainer.global_step, self.thumbnails)

    def save(
        self, module: LightningModule, step: int, painting_thumbnails: Mapping[str, bytes]
    ) -> None:
        training = {**self.training, "step": step}
        model = module.trained()
        if module.base:
            added = {"styles": module.style_names, **training}
            earlier = model.training.get("added", [])
            training = {**model.training, "added": [*earlier, added]}
        all_thumbnails = {**model.thumbnails, **painting_thumbnails}
        save_model(self.path, replace(model, training=training, thumbnails=all_thumbnails))

    def complete(
        self, module: LightningModule, step: int, paintings: Mapping[str, Tensor | None]
    ) -> None:
        """Write the network of a run's last step, if the run was killed before it could."""
        if self.path.exists():
            training = load_model(self.path).training
            if [training, *training.get("added", [])][-1].get("step") == step:
                return
        self.save(module, step, thumbnails(paintings))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.write(trainer, pl_module)


class ImagesPerSecond(Callback):
    """Logs ``train/images_per_second``, without validation's time.

    Lightning's ThroughputMonitor measures more, but waits for the GPU after every step to do it.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.restart()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.restart()

    def restart(self) -> None:
        self.images = 0
        self.since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += len(batch["style"]) * trainer.world_size
        if (trainer.global_step % trainer.log_every_n_steps) == 0:
            rate = self.images / (time.perf_counter() - self.since)
            pl_module.log("train/images_per_second", rate)
            self.restart()


class StopWhenNotFinite(Callback):
    """Tells of the steps that were skipped because their loss or gradient is not finite, and ends
    the run after some in a row: as none of them changes a weight, the next will be no better.

    To count them is to wait for the GPU, so it is done on logged steps alone.

    In float16 (``16-mixed``) torch's GradScaler skips steps by itself, and halves its scale, until
    gradients fit into it. They are not counted; where no scale will do, the run ends, too.

    Args:
        patience: how many in a row end the run, at the least.

    Raises:
        FloatingPointError: that many were skipped; says which steps, styles and photos.
    """

    def __init__(self, patience: int = 10) -> None:
        self.patience = patience
        self.skipped = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step % trainer.log_every_n_steps:
            return
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler and scaler.get_scale() < LEAST_SCALE:
            raise FloatingPointError(
                f"loss or gradient does not fit into float16, up to step {step}, the last time in "
                f"{self.which(trainer, pl_module, batch)}. Try trainer.precision=32-true, or "
                "leave out what it names"
            )
        skipped = int(trainer.optimizers[0].skipped)
        if skipped == self.skipped:
            return
        log.warning(
            f"\nStep {step}: loss or gradient was not finite in {skipped - self.skipped} of the "
            f"last {trainer.log_every_n_steps} steps, which were skipped"
        )
        self.skipped = skipped
        pl_module.log("train/skipped_steps", float(skipped))
        in_a_row = int(trainer.optimizers[0].skipped_in_a_row)
        if in_a_row >= self.patience:
            raise FloatingPointError(
                f"loss or gradient was not finite in steps {step - in_a_row + 1} to {step}, the "
                f"last time in {self.which(trainer, pl_module, batch)}. Try a lower "
                "model.learning_rate, or trainer.precision=32-true, or leave out what it names"
            )

    @torch.no_grad()
    def which(self, trainer: Trainer, module: LightningModule, batch: Any) -> str:
        """The styles and photos of this device's last batch whose loss is not finite; all of them
        if it is the gradient."""
        data = trainer.datamodule
        number = trainer.global_step * trainer.accumulate_grad_batches - 1
        share = len(batch["style"])
        samples = data.samples(number)[trainer.global_rank * share :][:share]
        is_bad = ~module.losses(batch["content"], batch["style"])["loss"].isfinite()
        bad = [sample for sample, each in zip(samples, is_bad, strict=True) if each]
        return ", ".join(f"{style} on {photo}" for style, photo in bad or samples)


class ProgressBar(TQDMProgressBar):
    """Lightning's bar, counting the steps of the whole run: a resumed one shows its true rate and
    time left."""

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        super().on_train_start(trainer)
        self.show_whole_run(trainer)  # a resumed run begins within its one epoch

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self.show_whole_run(trainer)

    def show_whole_run(self, trainer: Trainer) -> None:
        bar = self.train_progress_bar
        bar.total = trainer.max_steps * trainer.accumulate_grad_batches
        bar.initial = bar.n = trainer.global_step * trainer.accumulate_grad_batches
        bar.set_description("Step")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        bar = self.train_progress_bar
        bar.update()
        # To read the losses is to wait for the GPU.
        if trainer.global_step % trainer.log_every_n_steps == 0:
            bar.set_postfix(self.get_metrics(trainer, pl_module), refresh=False)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        # Not by log(prog_bar=True): Lightning would wait for those numbers after every step.
        logged = trainer.callback_metrics
        names = [name for name in ("content_loss", "style_loss") if f"train/{name}" in logged]
        return {name: float(logged[f"train/{name}"]) for name in names}


class StopOnSignal(Callback):
    """Ctrl-C, SIGTERM and SLURM's requeue signal end the run after the step under way, as if it
    were the last one, so that everything that is written at the end is whole. A second one stops
    at once.

    Attributes:
        received: the signal that ended the run, or None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.before: dict[signal.Signals, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if is_job():  # compiling may take as long as SLURM waits
            self.catch(REQUEUE_SIGNAL)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.catch(signal.SIGINT)
        self.catch(signal.SIGTERM)

    def catch(self, number: signal.Signals) -> None:
        self.before[number] = signal.signal(number, self.receive)

    def receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        signal.signal(number, self.before[self.received])
        log.info(f"\n{self.received.name}: stopping after this step")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        # All devices stop after the same step, also if only one of them was told to.
        strategy = trainer.strategy
        if strategy.reduce_boolean_decision(self.received is not None, all=False):
            number = torch.tensor(float(self.received or 0), device=strategy.root_device)
            self.received = signal.Signals(int(strategy.reduce(number, reduce_op="max")))
            trainer.should_stop = True
            trainer.limit_val_batches = 0  # stopping would otherwise validate first

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.restore()

    def on_exception(self, trainer: Trainer, *_: Any) -> None:
        self.restore()

    def restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
