"""The LightningModule: a network, an objective and an optimizer, as Lightning wants them."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from polystyle.networks.model_file import Model, fingerprint
from polystyle.networks.style_rows import check_has_rows, rows_of, with_rows
from polystyle.training.nearest_rows import nearest_rows, set_rows, with_new_rows
from polystyle.training.style_adam import StyleAdam

log = logging.getLogger(__name__)

Batch = Mapping[str, Tensor]
Losses = Mapping[str, Tensor]
Objective = Callable[[nn.Module, Batch], Losses]


class MultiStyleModule(LightningModule):
    """Trains one network for N conditions, such as styles: each is a row of gamma and beta.

    It knows neither the task nor the network. It asks the data for ``conditions``, ``batch_size``
    and ``example(count)``, and the objective for its losses.

    Args:
        conditions: their names; a condition's index is its place in here.
        network: makes the network from the number of conditions. Its conditional instance
            normalizations are found by their type.
        objective: takes the network and a batch, gives losses ``[B]`` by name. ``"loss"`` is
            minimized, all others are logged. Its ``prepare(data)``, if it has one, runs once before
            the first step.
        learning_rate, style_lr_multiplier: see `StyleAdam`.
        scheduler: makes a scheduler, stepped every step, from the optimizer; None keeps the
            learning rate constant.
        base: a trained network to add the conditions to, in place of `network`. Its shared weights
            and its own rows stay as they are; only the new rows are trained, and each begins as the
            nearest old one. (`begin_from` copies a trained network, and trains all of it.)
        compile: whether `FirstStep` compiles the training step with torch.compile.

    A step whose loss or gradient is not finite is skipped (see `StyleAdam`).

    Logs ``train/<name>`` for each of the objective's losses, the mean over all devices, every
    `Trainer.log_every_n_steps`. Each validation batch is one condition's: it logs ``val/<name>``,
    the mean over conditions, and ``val_<name>/<condition>``.
    """

    def __init__(
        self,
        conditions: list[str],
        network: Callable[[int], nn.Module],
        objective: Objective,
        learning_rate: float = 1e-3,
        style_lr_multiplier: float = 10.0,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        base: Model | None = None,
        compile: bool = True,
    ) -> None:
        super().__init__()
        self.conditions = list(conditions)
        self.base = base
        self.base_fingerprint = fingerprint(base.net) if base else None
        if base:
            self.net = with_new_rows(base, self.conditions)
        else:
            self.net = network(len(self.conditions))
            check_has_rows(self.net)
            if not hasattr(self.net, "arguments"):  # for the model file's header
                self.net.arguments = dict(getattr(network, "keywords", {}))
        self.net.to(memory_format=torch.channels_last)
        self.origin = base
        self.objective = objective
        self.learning_rate = learning_rate
        self.style_lr_multiplier = style_lr_multiplier
        self.scheduler = scheduler
        self.compile_step = compile
        self.training_losses: Callable[[Batch], Losses] = self.losses

    def on_fit_start(self) -> None:
        data = self.trainer.datamodule
        if prepare := getattr(self.objective, "prepare", None):
            prepare(data)
        if self.origin and not self.trainer.ckpt_path:
            self.begin_as_nearest(self.origin)

    def begin_from(self, origin: Model) -> None:
        """Begin with the shared tensors of a trained network of the same kind, and each row as the
        nearest of its rows. All of the network is trained."""
        rows = rows_of(self.net)
        shared = {n: t for n, t in origin.net.state_dict().items() if n not in rows}
        self.net.load_state_dict(shared, strict=False)
        self.origin = origin

    def begin_as_nearest(self, origin: Model) -> None:
        """Begin each row as that of a trained network which, as it is, has the least loss for it.
        A line names them."""
        old_rows = rows_of(origin.net)
        with self.trainer.precision_plugin.train_step_context():
            nearest = nearest_rows(self.net, old_rows, self.losses_by_condition)
        # Were two losses a rounding apart, devices might choose differently.
        nearest = self.trainer.strategy.broadcast(nearest)
        set_rows(self.net, old_rows, nearest)
        pairs = zip(self.conditions, nearest.tolist(), strict=True)
        names = ", ".join(f"{name} as {origin.style_names[index]}" for name, index in pairs)
        log.info(f"Each style begins as the nearest one: {names}")

    def losses_by_condition(self) -> Tensor:
        """The loss of the data's example for each condition, ``[N]``, with the network as it is.

        An objective that has a ``losses_by_condition`` of its own paints one example for all of
        them.
        """
        data, strategy = self.trainer.datamodule, self.trainer.strategy
        if measure := getattr(self.objective, "losses_by_condition", None):
            return measure(self.net, strategy.batch_to_device(data.example(1)))
        examples = strategy.batch_to_device(data.example(len(self.conditions)))
        return torch.cat(
            [
                self.losses({name: values[index : index + 1] for name, values in examples.items()})[
                    "loss"
                ]
                for index in range(len(self.conditions))
            ]
        )

    def losses(self, batch: Batch) -> Losses:
        """The objective's losses of a batch, ``[B]`` each, by name."""
        return self.objective(self.net, batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        losses = self.training_losses(channels_last(batch))
        # A GPU must not wait for numbers that nobody looks at.
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:
            self.log_step()
            for name, values in losses.items():
                self.log(f"train/{name}", values.mean(), sync_dist=True)
        loss = losses["loss"].mean()
        # Times 1; or NaN where it is not finite, and so is the gradient then, on every device.
        return loss * (loss.detach() * 0 + 1)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        # Every device validates everything, so there is nothing to sum over devices.
        self.log_step()
        condition = self.conditions[batch_idx]
        for name, values in self.losses(channels_last(batch)).items():
            self.log(f"val/{name}", values.mean(), batch_size=len(values))
            self.log(f"val_{name}/{condition}", values.mean(), batch_size=len(values))

    def log_step(self) -> None:
        """Lightning takes this for the curves' horizontal axis, and drops its own "epoch"."""
        self.log("step", float(self.global_step))

    def configure_optimizers(self) -> Optimizer | dict[str, Any]:
        names = rows_of(self.net).keys()
        trained = {name: p for name, p in self.net.named_parameters() if p.requires_grad}
        optimizer = StyleAdam(
            shared=[parameter for name, parameter in trained.items() if name not in names],
            rows=[parameter for name, parameter in trained.items() if name in names],
            lr=self.learning_rate,
            style_lr_multiplier=self.style_lr_multiplier,
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
        """The network with all its conditions: those of `base` first, as they were."""
        if self.base is None:
            return Model(self.net, self.conditions)
        new_rows = rows_of(self.net)
        rows = {
            name: torch.cat([old, new_rows[name].cpu()])
            for name, old in rows_of(self.base.net).items()
        }
        return Model(
            with_rows(self.base.net, rows),
            self.base.style_names + self.conditions,
            self.base.training,
            self.base.thumbnails,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["style_names"] = self.conditions
        checkpoint["base_fingerprint"] = self.base_fingerprint
        checkpoint["skipped_in_a_row"] = int(self.optimizers().skipped_in_a_row)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises ValueError as `check_checkpoint`."""
        self.check_checkpoint(checkpoint)
        if "optimizer_states" in checkpoint:
            self.keep_own_rate(checkpoint)

    def check_checkpoint(self, checkpoint: Mapping[str, Any], run: str = "RUN") -> None:
        """Raises ValueError for a checkpoint of other conditions, of another base, or with another
        kind of learning-rate schedule. `run` is the folder of its run, for the message."""
        trained = checkpoint["style_names"]
        if trained != self.conditions:
            raise ValueError(
                f"the checkpoint was trained on the styles {', '.join(trained)}; "
                f"the paintings now are {', '.join(self.conditions)}. To train new styles into its "
                f"network, with its own as they are: experiment=add_styles model_file={run}, in "
                f"another hydra.run.dir and without ckpt_path. To train a network for these "
                f"paintings alone: init={run} in place of that"
            )
        was, now = checkpoint.get("base_fingerprint"), self.base_fingerprint
        if was and not now:
            raise ValueError("the checkpoint adds styles to a network: name it with model_file=")
        if now and not was:
            raise ValueError("the checkpoint trains a whole network: leave out model_file")
        if was != now:
            raise ValueError("the checkpoint adds styles to another network than model_file")
        if "optimizer_states" in checkpoint:
            _, schedulers = self.optimizer_and_schedulers()
            own_keys = [scheduler.state_dict().keys() for scheduler in schedulers]
            if [state.keys() for state in checkpoint["lr_schedulers"]] != own_keys:
                raise ValueError(
                    "the checkpoint follows another kind of learning-rate schedule: "
                    "model/scheduler can't change under it"
                )

    def optimizer_and_schedulers(self) -> tuple[Optimizer, list[LRScheduler]]:
        """New ones, as `configure_optimizers` makes them."""
        configured = self.configure_optimizers()
        if isinstance(configured, dict):
            return configured["optimizer"], [configured["lr_scheduler"]["scheduler"]]
        return configured, []

    def keep_own_rate(self, checkpoint: dict[str, Any]) -> None:
        """Go on with this configuration's learning rate, where a checkpoint would bring its own."""
        optimizer, schedulers = self.optimizer_and_schedulers()
        (own,) = optimizer.param_groups
        (group,) = checkpoint["optimizer_states"][0]["param_groups"]
        base_rate = "initial_lr" if schedulers else "lr"
        group["lr"] *= own[base_rate] / group[base_rate]  # wherever it stands in its schedule
        group |= {name: own[name] for name in ("initial_lr", "max_lr", "min_lr") if name in own}
        for state, scheduler in zip(checkpoint["lr_schedulers"], schedulers, strict=True):
            state["base_lrs"] = scheduler.base_lrs


def channels_last(batch: Batch) -> Batch:
    """A batch whose images are in the layout in which convolutions in bfloat16 run about twice as
    fast, on CPUs and on GPUs."""
    return {
        name: values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values
        for name, values in batch.items()
    }
