"""The training step as published code does it: what tests and scripts/benchmark.py compare with.

float32, eager, contiguous tensors; both images go through VGG to relu4_3, and the loss is read with
`.item()` every step.
"""

from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F

from polystyle.losses.vgg import VGG16
from polystyle.networks.transformer_net import TransformerNet

STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")


class PublishedStep:
    """One training step, as published code does it.

    Args:
        net: the network that is trained.
        vgg: gives the features of both losses.
        paintings: ``[S, 3, H, W]``, RGB in [0, 1], one for each style of `net`.
    """

    def __init__(self, net: TransformerNet, vgg: VGG16, paintings: Tensor) -> None:
        self.net = net.to(memory_format=torch.contiguous_format)
        self.vgg = vgg.to(memory_format=torch.contiguous_format)
        self.optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        with torch.no_grad():
            self.grams = [self.gram(features) for features in vgg(paintings, STYLE_LAYERS).values()]

    @staticmethod
    def gram(features: Tensor) -> Tensor:
        batch, channels, height, width = features.shape
        flat = features.reshape(batch, channels, height * width)
        return flat @ flat.mT / (height * width)

    @staticmethod
    def upsample(x: Tensor, factor: int) -> Tensor:
        return F.interpolate(x, scale_factor=factor, mode="nearest")

    def losses(self, content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        """Content and style loss ``[B]``, relative as in `polystyle.losses.perceptual_loss`.

        Args:
            content: photos ``[B, 3, H, W]``, RGB in [0, 1].
            style: indices of their styles, ``[B]``, int64.
        """
        # polystyle's own upsampling is made for channels-last maps, and would leave half of this
        # step's maps in that layout.
        with patch("polystyle.networks.transformer_net.upsample_nearest", self.upsample):
            stylized = self.vgg(self.net(content, style), STYLE_LAYERS)
        photo = self.vgg(content, STYLE_LAYERS)["relu3_3"]
        content_loss = (stylized["relu3_3"] - photo).square().sum((1, 2, 3))
        content_loss = content_loss / photo.square().sum((1, 2, 3))
        style_loss = 0
        for features, grams in zip(stylized.values(), self.grams, strict=True):
            target = grams[style]
            difference = (self.gram(features) - target).square().sum((1, 2))
            style_loss = style_loss + difference / target.square().sum((1, 2)) / 4
        return content_loss, style_loss

    def __call__(self, content: Tensor, style: Tensor) -> float:
        """Take one step of Adam, and return the loss, read from the device."""
        content_loss, style_loss = self.losses(content, style)
        loss = (content_loss + 5 * style_loss).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()
