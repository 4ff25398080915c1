"""The optimizer: Adam, which does not update the rows of styles that are absent from the batch, and
updates nothing where a gradient is not finite."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import get_total_norm
from torch.optim import Adam


class StyleAdam(Adam):
    """Lazy Adam (Kingma & Ba 2015, algorithm 1) for the styles' rows, with per-row bias correction.

    Plain Adam sees a gradient of zero for a style that is absent from the batch: momentum moves its
    row all the same, and its second moment fades. Here a row without a gradient keeps its values
    and its moments, bit for bit, and its bias correction counts the steps that the row has taken.

    A step with an infinite or NaN gradient changes nothing at all, and is counted. All that is
    decided on the device: nobody waits for it.

    Args:
        shared: parameters that every style shares: torch's own (fused) Adam steps them.
        rows: gamma and beta of every layer, each ``[N, C]``.
        lr: learning rate.
        style_lr_multiplier: learning-rate multiplier of the rows. A row takes few steps where
            styles are many, and bears long ones.

    Attributes:
        skipped: how many steps were skipped, an int64 scalar on the device.
        skipped_in_a_row: how many of them were the last ones, likewise.
    """

    def __init__(
        self,
        shared: Iterable[Parameter],
        rows: Iterable[Parameter],
        lr: float,
        style_lr_multiplier: float = 1.0,
    ) -> None:
        self.rows = list(rows)
        self.style_lr_multiplier = style_lr_multiplier
        super().__init__([*shared, *self.rows], lr=lr, fused=True)
        # Fused Adam would unscale float16's gradients by itself, but not those of the rows.
        self._step_supports_amp_scaling = False
        self.skipped = torch.zeros((), dtype=torch.int64, device=self.rows[0].device)
        self.skipped_in_a_row = self.skipped.clone()

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One step of everything that has a gradient; `closure` computes the gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        (group,) = self.param_groups
        norm = get_total_norm([each.grad for each in group["params"] if each.grad is not None])
        is_bad = ~norm.isfinite()
        self.skipped += is_bad
        self.skipped_in_a_row += 1
        self.skipped_in_a_row *= is_bad
        self.found_inf = is_bad.float()  # what fused Adam asks before it changes anything
        gradients = [row.grad for row in self.rows]
        for row in self.rows:
            row.grad = None  # Adam passes over what has none
        super().step()
        for row, gradient in zip(self.rows, gradients, strict=True):
            row.grad = gradient
        self._step_rows(is_bad)
        return loss

    def _step_rows(self, is_bad: Tensor) -> None:
        """Adam's algorithm 1 on the rows side by side, ``[N, all C]``, in a handful of passes."""
        (group,) = self.param_groups
        gradient = torch.cat([row.grad for row in self.rows], dim=1).masked_fill_(is_bad, 0)
        state = self.state[self.rows[0]]
        if not state:
            state["step"] = gradient.new_zeros(len(gradient), 1, dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(gradient)
            state["exp_avg_sq"] = torch.zeros_like(gradient)
        beta1, beta2 = group["betas"]
        present = gradient.any(dim=1, keepdim=True).to(gradient.dtype)
        state["step"] += present
        steps = state["step"].clamp(min=1).to(gradient.dtype)
        mean = state["exp_avg"].lerp_(gradient, (1 - beta1) * present)
        square = state["exp_avg_sq"].lerp_(gradient.square_(), (1 - beta2) * present)
        # Of m' / (sqrt(v') + eps) the corrections are taken out, and all is done in the gradient's
        # memory: with a thousand styles, passes and fresh tensors are what takes the time.
        correction = (1 - beta2**steps).sqrt()
        update = torch.sqrt(square, out=gradient).add_(group["eps"] * correction)
        torch.div(mean, update, out=update)
        rate = self.style_lr_multiplier * group["lr"]
        update *= -rate * present * correction / (1 - beta1**steps)
        changes = update.split([row.shape[1] for row in self.rows], dim=1)
        for row, change in zip(self.rows, changes, strict=True):
            row += change
