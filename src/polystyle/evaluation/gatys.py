"""Optimised pixels: the best that the total loss can get, without a network."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from tqdm import tqdm

    from polystyle.losses.perceptual_loss import PerceptualLoss


def optimise_pixels(
    loss: "PerceptualLoss", photo: "Tensor", style: int, steps: int, progress: "tqdm"
) -> "Tensor":
    """The picture of the least total loss, without a network: L-BFGS on the pixels, from the photo
    (Gatys, Ecker & Bethge 2016, section 2.3).

    Args:
        loss: what is made small.
        photo: ``[1, 3, S, S]`` in [0, 1].
        style: index of the style.
        steps: evaluations of the loss. A line search under way is brought to its end.
        progress: moves on by `steps`.

    Returns:
        ``[1, 3, S, S]`` in [0, 1].
    """
    import torch

    # The pixels are a sine of what is optimised: they stay in [0, 1], and unlike clamped ones they
    # can leave its ends again.
    waves = torch.asin(2 * photo.clamp(0.01, 0.99) - 1).requires_grad_()
    styles = torch.tensor([style], device=photo.device)
    optimizer = torch.optim.LBFGS(
        [waves],
        max_iter=steps,
        max_eval=steps,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        history_size=50,
        line_search_fn="strong_wolfe",
    )
    start = progress.n

    def closure() -> "Tensor":
        optimizer.zero_grad()
        total = loss(photo, (1 + waves.sin()) / 2, styles)["loss"].sum()
        total.backward()
        progress.update()
        return total

    optimizer.step(closure)
    progress.update(start + steps - progress.n)
    return (1 + waves.detach().sin()) / 2
