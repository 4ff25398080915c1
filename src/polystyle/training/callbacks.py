"""What happens beside the training step: the model file, rates, bad steps, a clean stop."""

import logging
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

from polystyle.files.console import hangup_signals
from polystyle.files.safetensors_file import read_header
from polystyle.files.terminal_text import counted
from polystyle.networks.model_file import read_training, save_model
from polystyle.training.module import Batch, MultiStyleModule
from polystyle.training.slurm import REQUEUE_SIGNAL, is_job

log = logging.getLogger(__name__)

# Of gradients in float16. Those of the published losses, of millions, fit at 2**-5.
LEAST_SCALE = 2.0**-20


class ModelFile(Callback):
    """Writes the network to one file at every validation and at the end, with a thumbnail of each
    painting.

    The file's header says how the network was trained: the step, and the ``settings`` of the data
    and of the objective, if they have any. Where conditions are added to a network, its own header
    stays, and theirs goes under "added".

    Args:
        path: the file.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_fit_start(self, trainer: Trainer, pl_module: MultiStyleModule) -> None:
        self.thumbnails = thumbnails_of(trainer.datamodule)

    def write(self, trainer: Trainer, module: MultiStyleModule) -> None:
        if trainer.is_global_zero and not trainer.fast_dev_run and not trainer.sanity_checking:
            if trainer.optimizers[0].skipped_in_a_row:
                return  # whatever these weights are, the file's are good
            self.save(module, trainer.global_step, trainer.datamodule, self.thumbnails)

    def save(
        self,
        module: MultiStyleModule,
        step: int,
        data: LightningDataModule,
        thumbnails: Mapping[str, bytes],
    ) -> None:
        training = {**settings_of(data), **settings_of(module.objective), "step": step}
        model = module.trained()
        if module.base:
            added = {"styles": module.conditions, **training}
            earlier = model.training.get("added", [])
            training = {**model.training, "added": [*earlier, added]}
        all_thumbnails = {**model.thumbnails, **thumbnails}
        save_model(self.path, replace(model, training=training, thumbnails=all_thumbnails))

    def complete(self, module: MultiStyleModule, step: int, data: LightningDataModule) -> None:
        """Write the network of a run's last step, if the run was killed before it could."""
        if self.path.exists():
            training = read_training(read_header(self.path))
            if [training, *training.get("added", [])][-1].get("step") == step:
                return
        self.save(module, step, data, thumbnails_of(data))

    def on_validation_end(self, trainer: Trainer, pl_module: MultiStyleModule) -> None:
        self.write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: MultiStyleModule) -> None:
        self.write(trainer, pl_module)


def settings_of(part: object) -> dict[str, Any]:
    """What a part of the training tells the model file's header of itself: plain values."""
    return dict(getattr(part, "settings", {}))


def thumbnails_of(data: LightningDataModule) -> dict[str, bytes]:
    """Small JPEGs by condition, from data that has any."""
    return data.thumbnails() if hasattr(data, "thumbnails") else {}


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
        self.images += len(next(iter(batch.values()))) * trainer.world_size
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
            f"last {counted(trainer.log_every_n_steps, 'step')}: skipped"
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
    def which(self, trainer: Trainer, module: MultiStyleModule, batch: Batch) -> str:
        """The samples of this device's last batch whose loss is not finite; all of them if it is
        the gradient. Data that can name its samples does."""
        number = trainer.global_step * trainer.accumulate_grad_batches - 1
        is_bad = ~module.losses(batch)["loss"].isfinite()
        share = len(is_bad)
        first = trainer.global_rank * share
        if hasattr(trainer.datamodule, "samples"):
            pairs = trainer.datamodule.samples(number)[first : first + share]
            names = [f"{condition} on {source}" for condition, source in pairs]
        else:
            names = [f"sample {first + place} of the batch" for place in range(share)]
        bad = [name for name, wrong in zip(names, is_bad, strict=True) if wrong]
        return ", ".join(bad or names)


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
        return {
            name.removeprefix("train/"): float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("train/") and name.endswith("loss")
        }


class StopOnSignal(Callback):
    """Ctrl-C, SIGTERM, SLURM's requeue signal and the SIGHUP of a terminal that vanishes end the
    run after the step under way, as if it were the last one, so that everything that is written at
    the end is whole. A second Ctrl-C or SIGTERM stops at once.

    A second SIGHUP does not: the kernel and the shell each send one, and systemd sends one after
    SIGTERM. SIGHUP that was ignored when the process started, as under nohup, stays ignored.

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
        for number in hangup_signals():
            self.catch(number)

    def catch(self, number: signal.Signals) -> None:
        self.before[number] = signal.signal(number, self.receive)

    def receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        signal.signal(number, self.after(self.received))
        log.info(f"\n{self.received.name}: stopping after this step")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        # All devices stop after the same step, also if only one of them was told to.
        strategy = trainer.strategy
        if strategy.reduce_boolean_decision(self.received is not None, all=False):
            number = torch.tensor(float(self.received or 0), device=strategy.root_device)
            self.received = signal.Signals(int(strategy.reduce(number, reduce_op="max")))
            trainer.should_stop = True
            trainer.fit_loop.epoch_loop.min_steps = None  # a signal needs no least number of steps
            trainer.limit_val_batches = 0  # stopping would otherwise validate first

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.restore()

    def on_exception(self, trainer: Trainer, *_: Any) -> None:
        self.restore()

    def restore(self) -> None:
        for number in self.before:
            signal.signal(number, self.after(number))

    def ignore_hangups(self) -> None:
        """To be called after training, if a signal has ended it: Lightning has put back the
        handlers of before, and the last checkpoint is yet to be written."""
        for number in hangup_signals():
            signal.signal(number, signal.SIG_IGN)

    def after(self, number: signal.Signals) -> Any:
        """What a signal does from now on. The last checkpoint is yet to be written."""
        if self.received and number == getattr(signal, "SIGHUP", None):
            return signal.SIG_IGN
        return self.before[number]
