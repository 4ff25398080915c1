"""The objective of style transfer: the perceptual loss of stylized photos."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from polystyle.losses.perceptual_loss import PerceptualLoss


class Paintings(Protocol):
    """The attributes of the data that `StyleTransfer` reads."""

    # The paintings by style name, in the order of the styles; empty for the identity style.
    paintings: Mapping[str, Sequence[Tensor]]
    # The same at another size, for the steps of progressive resizing; None for the same size.
    progressive_paintings: Mapping[str, Sequence[Tensor]] | None
    # The side of the training crops after progressive resizing, in pixels.
    image_size: int


class StyleTransfer(nn.Module):
    """The perceptual loss of photos that a network has stylized (Johnson et al. 2016, section 3).

    Args:
        loss: the perceptual loss. `prepare` computes its Gram targets.
    """

    def __init__(self, loss: PerceptualLoss) -> None:
        super().__init__()
        self.loss = loss
        self.image_size = 0

    @property
    def settings(self) -> dict[str, Any]:
        """The weights of the losses, for the model file's header."""
        return {
            "content_weight": self.loss.content_weight,
            "style_weight": self.loss.style_weight,
            "relative": self.loss.relative,
        }

    def prepare(self, data: Paintings) -> None:
        """Computes the Gram matrices of the paintings; see `PerceptualLoss.set_style_images`."""
        self.loss.set_style_images(data.paintings, data.progressive_paintings)
        self.image_size = data.image_size

    def forward(self, net: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Stylizes photos and returns their losses. Crops smaller than the data's ``image_size``
        are those of progressive resizing.

        Args:
            net: takes content and style, gives stylized images ``[B, 3, H, W]`` in [0, 1].
            batch: ``"content"``, RGB ``[B, 3, H, W]`` float32 in [0, 1], and ``"style"``, the index
                of each photo's style, ``[B]`` int64.

        Returns:
            The losses of `PerceptualLoss.forward`, except that ``"loss"`` is 0 for photos of one
            colour.
        """
        content, style = batch["content"], batch["style"]
        is_progressive = content.shape[-1] < self.image_size
        losses = self.loss(content, net(content, style), style, is_progressive)
        return {**losses, "loss": losses["loss"] * is_varied(content)}

    def losses_by_condition(self, net: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss that one stylized photo has for each of the N styles: ``[N]`` float32.

        Args:
            net: as in `forward`.
            batch: as in `forward`, with one photo, and the style that it is painted in.
        """
        content = batch["content"]
        styles = torch.arange(self.loss.num_styles, device=content.device)
        return self.loss(content, net(content, batch["style"]), styles)["loss"]


def is_varied(content: Tensor) -> Tensor:
    """Whether a photo varies by at least one level of 255 in any channel: 1 or 0, ``[B]`` float32.

    On a photo of one colour each instance normalization multiplies the gradient by 1 / sqrt(eps),
    and the fifteen layers of the published network by 1e37. Such a step would destroy the weights.
    """
    return (content.flatten(2).var(2).amax(1) > 255**-2).float()
