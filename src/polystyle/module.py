"""The LightningModule: the network, its loss and its optimizer, as Lightning wants them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from polystyle.losses import PerceptualLoss
from polystyle.transformer_net import TransformerNet


class MultiStyleModule(LightningModule):
    """Trains a `TransformerNet` to paint like each of N paintings.

    Args:
        style_names: the styles' names; a style's index is its place in here.
        loss: the perceptual loss. Its Gram targets are computed from the datamodule's paintings
            when training starts.
        width, init_std: see `TransformerNet`.
        learning_rate: Adam's.
        scheduler: makes a scheduler, stepped every step, from the optimizer; None keeps the
            learning rate constant, as published.

    Logs ``train/{loss,content_loss,style_loss,tv_loss}`` for each batch and, on the held-out
    photos, ``val/...`` likewise and ``val_style_loss/<style name>`` for each style.
    """

    def __init__(
        self,
        style_names: list[str],
        loss: PerceptualLoss,
        width: float = 1.0,
        init_std: float | None = None,
        learning_rate: float = 1e-3,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
    ) -> None:
        super().__init__()
        self.style_names = list(style_names)
        self.net = TransformerNet(len(self.style_names), width, init_std)
        # Convolutions in bfloat16 run about twice as fast on this layout, on CPUs and on GPUs.
        self.net.to(memory_format=torch.channels_last)
        self.loss = loss
        self.learning_rate = learning_rate
        self.scheduler = scheduler

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """Paint: see `TransformerNet.forward`."""
        return self.net(content, style)

    def on_fit_start(self) -> None:
        self.loss.set_style_images(self.trainer.datamodule.paintings)

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss of each image, ``[B]``, by name."""
        # Lightning takes this for the curves' horizontal axis, and drops its own "epoch".
        self.log("step", float(self.global_step))
        content = batch["content"].contiguous(memory_format=torch.channels_last)
        return self.loss(content, self(content, batch["style"]), batch["style"])

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        means = {name: values.mean() for name, values in self.losses(batch).items()}
        for name, value in means.items():
            self.log(f"train/{name}", value, prog_bar=name in ("content_loss", "style_loss"))
        return means["loss"]

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        # Every device validates everything, so there is nothing to sum over devices.
        count = len(batch["style"])
        losses = self.losses(batch)
        for name, values in losses.items():
            self.log(f"val/{name}", values.mean(), batch_size=count)
        name = self.style_names[batch_idx]
        self.log(f"val_style_loss/{name}", losses["style_loss"].mean(), batch_size=count)

    def configure_optimizers(self) -> Optimizer | dict[str, Any]:
        optimizer = Adam(self.net.parameters(), lr=self.learning_rate)
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

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["style_names"] = self.style_names

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises ValueError if the checkpoint was trained on other paintings."""
        trained = checkpoint["style_names"]
        if trained != self.style_names:
            raise ValueError(
                f"the checkpoint was trained on the styles {', '.join(trained)}; "
                f"the paintings now are {', '.join(self.style_names)}"
            )
