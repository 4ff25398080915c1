"""The LightningModule: the network, its loss and its optimizer, as Lightning wants them."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from polystyle.losses.perceptual_loss import PerceptualLoss
from polystyle.networks.model_file import Model, fingerprint
from polystyle.networks.transformer_net import TransformerNet
from polystyle.style_names import IDENTITY_STYLE
from polystyle.training.first_step import try_step
from polystyle.training.style_adam import StyleAdam

log = logging.getLogger(__name__)


class MultiStyleModule(LightningModule):
    """Trains a `TransformerNet` to paint like each of N paintings.

    Args:
        style_names: the styles' names; a style's index is its place in here.
        loss: the perceptual loss. Its Gram targets are computed from the datamodule's paintings
            when training starts.
        width, init_std: see `TransformerNet`.
        learning_rate, row_rate: see `StyleAdam`.
        scheduler: makes a scheduler, stepped every step, from the optimizer; None keeps the
            learning rate constant, as published.
        base: a trained network to add the styles to. Its convolutions and its own styles stay as
            they are, `width` and `init_std` are its own, and only the new styles' gamma and beta
            are trained: ``[N, C]`` of their own, each beginning as the nearest old style's.
        compile: compile the training step with torch.compile, before the first one. Where that
            fails (no C++ compiler, say), a line tells why, and training goes on without.

    Nothing is learned from photos of one colour, and a step of which loss or gradient is not finite
    is skipped (see `StyleAdam`).

    Attributes:
        steps_to_go: how long the run will be, to tell people; set by who knows.

    Logs ``train/{loss,content_loss,style_loss,tv_loss}``, the mean over all devices, every
    `Trainer.log_every_n_steps`, and, on the held-out photos, ``val/...`` likewise and
    ``val_style_loss/<style name>`` for each style.
    """

    def __init__(
        self,
        style_names: list[str],
        loss: PerceptualLoss,
        width: float = 1.0,
        init_std: float | None = None,
        learning_rate: float = 1e-3,
        row_rate: float = 10.0,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        base: Model | None = None,
        compile: bool = True,
    ) -> None:
        super().__init__()
        self.style_names = list(style_names)
        self.base = base
        self.base_fingerprint = fingerprint(base.net) if base else None
        if base:
            self.net = with_new_styles(base, self.style_names)
        else:
            self.net = TransformerNet(len(self.style_names), width, init_std)
        self.net.to(memory_format=torch.channels_last)
        self.loss = loss
        self.learning_rate = learning_rate
        self.row_rate = row_rate
        self.scheduler = scheduler
        self.compile_step = compile
        self.steps_to_go = 0
        self.training_losses = self.losses

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """Paint: see `TransformerNet.forward`."""
        return self.net(content, style)

    def on_fit_start(self) -> None:
        self.loss.set_style_images(self.trainer.datamodule.paintings)
        if self.base and not self.trainer.ckpt_path:
            self.begin_as_nearest(self.trainer.datamodule.val_photos[:1].to(self.device))
        compiles = self.compile_step and self.device.type in ("cpu", "cuda")
        compiles &= not self.trainer.fast_dev_run  # compiling takes longer than that
        try:
            seconds = try_step(self)
        except MemoryError:
            if not compiles:
                raise
            self.compile_losses()  # which makes it need about half
            try_step(self)
        else:
            seconds *= self.trainer.accumulate_grad_batches
            minutes = self.steps_to_go * seconds / 60
            takes = f"{minutes:.0f} minutes" if 1.5 < minutes < 120 else f"{minutes / 60:.1f} hours"
            log.info(
                f"Tried a step: {seconds:.2g} s, so about {takes if minutes > 1.5 else 'a minute'} "
                "in all" + ", less once it is compiled" * compiles
            )
            if compiles:
                self.compile_losses()

    def compile_losses(self) -> None:
        """Compile the step, forward and backward, for every size of crop."""
        data = self.trainer.datamodule
        count = data.batch_size // self.trainer.world_size
        style = torch.zeros(count, dtype=torch.long, device=self.device)
        trained = [each for each in self.net.parameters() if each.requires_grad]
        compiled = torch.compile(self.losses, dynamic=False)
        log.info("Compiling the training step (model.compile=false leaves it as it is)")
        started_at = time.monotonic()
        try:
            for size in data.crop_sizes:
                content = channels_last(torch.zeros(count, 3, size, size, device=self.device))
                with self.trainer.precision_plugin.train_step_context():
                    loss = compiled(content, style)["loss"].mean()
                torch.autograd.grad(loss, trained)
        except Exception as error:
            # Dynamo, its backends and their toolchains fail in as many ways as there are of them.
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            log.warning(f"It can't be compiled here, and is the slower for it: {reason}")
            return
        log.info(f"Compiled in {time.monotonic() - started_at:.0f} s")
        self.training_losses = compiled

    @torch.no_grad()
    def begin_as_nearest(self, photo: Tensor) -> None:
        """Begin each new style as the old one that, as it is, has the least loss for it.

        Args:
            photo: what to paint to find out, ``[1, 3, H, W]``.
        """
        old, rows = self.base.net.style_rows(), self.net.style_rows()
        styles = torch.arange(len(self.style_names), device=photo.device)
        losses = []
        for index in range(len(self.base.style_names)):
            for name, row in rows.items():
                row.copy_(old[name][index])
            stylized = self(photo, styles[:1])
            each = [self.loss(photo, stylized, style[None])["loss"].item() for style in styles]
            losses.append(each)
        nearest = torch.tensor(losses).argmin(0)
        # Were two losses a rounding apart, devices might choose differently.
        nearest = self.trainer.strategy.broadcast(nearest)
        for name, row in rows.items():
            row.copy_(old[name][nearest])

    def losses(self, content: Tensor, style: Tensor) -> dict[str, Tensor]:
        """Paint, and compare: the loss of each image, ``[B]``, by name."""
        return self.loss(content, self(content, style), style)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        losses = self.training_losses(channels_last(batch["content"]), batch["style"])
        # A GPU must not wait for numbers that nobody looks at.
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:
            self.log_step()
            for name, values in losses.items():
                self.log(f"train/{name}", values.mean(), sync_dist=True)
        loss = (losses["loss"] * is_varied(batch["content"])).mean()
        # Times 1; or NaN where it is not finite, and so is the gradient then, on every device.
        return loss * (loss.detach() * 0 + 1)

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        # Every device validates everything, so there is nothing to sum over devices.
        self.log_step()
        count = len(batch["style"])
        losses = self.losses(channels_last(batch["content"]), batch["style"])
        for name, values in losses.items():
            self.log(f"val/{name}", values.mean(), batch_size=count)
        name = self.style_names[batch_idx]
        self.log(f"val_style_loss/{name}", losses["style_loss"].mean(), batch_size=count)

    def log_step(self) -> None:
        """Lightning takes this for the curves' horizontal axis, and drops its own "epoch"."""
        self.log("step", float(self.global_step))

    def configure_optimizers(self) -> Optimizer | dict[str, Any]:
        names = self.net.style_rows().keys()
        parameters = {n: each for n, each in self.net.named_parameters() if each.requires_grad}
        optimizer = StyleAdam(
            shared=[each for name, each in parameters.items() if name not in names],
            rows=[each for name, each in parameters.items() if name in names],
            lr=self.learning_rate,
            row_rate=self.row_rate,
        )
        if self.scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": self.scheduler(optimizer),
                "interval": "step",
                "name": "train/learning_rate",
            },
        }

    def trained(self) -> Model:
        """The network with all its styles: those of `base` first, as they were."""
        if self.base is None:
            return Model(self.net, self.style_names)
        new = self.net.style_rows()
        rows = {
            name: torch.cat([old, new[name].cpu()])
            for name, old in self.base.net.style_rows().items()
        }
        return Model(
            self.base.net.with_style_rows(rows),
            self.base.style_names + self.style_names,
            self.base.training,
            self.base.thumbnails,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["style_names"] = self.style_names
        checkpoint["base_fingerprint"] = self.base_fingerprint
        checkpoint["skipped_in_a_row"] = int(self.optimizers().skipped_in_a_row)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises ValueError if the checkpoint is of other paintings, or of another base."""
        trained = checkpoint["style_names"]
        if trained != self.style_names:
            raise ValueError(
                f"the checkpoint was trained on the styles {', '.join(trained)}; "
                f"the paintings now are {', '.join(self.style_names)}"
            )
        was, now = checkpoint.get("base_fingerprint"), self.base_fingerprint
        if was and not now:
            raise ValueError("the checkpoint adds styles to a network: name it with model_file=")
        if now and not was:
            raise ValueError("the checkpoint trains a whole network: leave out model_file")
        if was != now:
            raise ValueError("the checkpoint adds styles to another network than model_file")
        if "optimizer_states" in checkpoint:
            self.keep_own_rate(checkpoint)

    def keep_own_rate(self, checkpoint: dict[str, Any]) -> None:
        """Go on with this configuration's learning rate, where a checkpoint would bring its own.

        Raises:
            ValueError: the checkpoint follows another kind of schedule.
        """
        optimizer, schedulers = self.configure_optimizers(), []
        if isinstance(optimizer, dict):
            schedulers = [optimizer["lr_scheduler"]["scheduler"]]
            optimizer = optimizer["optimizer"]
        states = checkpoint["lr_schedulers"]
        if [each.keys() for each in states] != [each.state_dict().keys() for each in schedulers]:
            raise ValueError(
                "the checkpoint follows another kind of learning-rate schedule: "
                "model/scheduler can't change under it"
            )
        (own,) = optimizer.param_groups
        (group,) = checkpoint["optimizer_states"][0]["param_groups"]
        base = "initial_lr" if schedulers else "lr"
        group["lr"] *= own[base] / group[base]  # wherever it stands in its schedule
        group |= {name: own[name] for name in ("initial_lr", "max_lr", "min_lr") if name in own}
        for state, scheduler in zip(states, schedulers, strict=True):
            state["base_lrs"] = scheduler.base_lrs


def is_varied(content: Tensor) -> Tensor:
    """Whether a photo varies by a level of 255 at least, in any channel: 1 or 0, ``[B]`` float32.

    On a photo of one colour each instance normalization multiplies the gradient by 1 / sqrt(eps),
    which makes 1e37 of the fifteen in the network: nothing can be learned from it, and all be lost.
    """
    return (content.flatten(2).var(2).amax(1) > 255**-2).float()


def channels_last(images: Tensor) -> Tensor:
    """The layout in which convolutions in bfloat16 run about twice as fast, on CPUs and on GPUs."""
    return images.contiguous(memory_format=torch.channels_last)


def with_new_styles(base: Model, style_names: Sequence[str]) -> TransformerNet:
    """The network's convolutions, frozen, and a row for each new style, a copy of its first.

    Raises:
        ValueError: the network has a style of that name.
    """
    taken = [name for name in style_names if name in base.style_names]
    if taken == [IDENTITY_STYLE]:
        raise ValueError("the network has an identity style already: leave out data.identity_style")
    if taken:
        raise ValueError(
            f"the network has the style {', '.join(taken)} already: give the painting's file "
            "another name, or take the old one out with polystyle-styles remove"
        )
    rows = {
        name: old[:1].repeat(len(style_names), 1) for name, old in base.net.style_rows().items()
    }
    net = base.net.with_style_rows(rows)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name in rows)
    return net.train()
