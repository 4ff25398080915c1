"""Optimised pixels: the lowest total loss that a picture can reach, without a network."""

from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from polystyle.losses.perceptual_loss import PerceptualLoss


def optimise_pixels(
    loss: PerceptualLoss, photo: Tensor, style: int, steps: int, progress: "tqdm[Any]"
) -> Tensor:
    """Minimises the total loss over the pixels with L-BFGS, starting from the photo (Gatys, Ecker &
    Bethge 2016, section 2.3).

    Args:
        loss: what is minimised: the value "loss".
        photo: RGB ``[1, 3, S, S]`` in [0, 1].
        style: index of the style.
        steps: evaluations of the loss. A line search that has begun is finished.
        progress: advances by `steps`.

    Returns:
        RGB ``[1, 3, S, S]`` in [0, 1].
    """
    # The pixels are a sine of what is optimised, which keeps them in [0, 1]. Clamped pixels would
    # have no gradient at 0 and 1 and could not leave these values again.
    angles = torch.asin(2 * photo.clamp(0.01, 0.99) - 1).requires_grad_()
    styles = torch.tensor([style], device=photo.device)
    optimizer = torch.optim.LBFGS(
        [angles],
        max_iter=steps,
        max_eval=steps,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        history_size=50,
        line_search_fn="strong_wolfe",
    )
    start = progress.n

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = loss(photo, (1 + angles.sin()) / 2, styles)["loss"].sum()
        total.backward()
        progress.update()
        return total

    optimizer.step(closure)
    progress.update(start + steps - progress.n)
    return (1 + angles.detach().sin()) / 2
