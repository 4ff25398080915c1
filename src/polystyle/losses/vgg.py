"""The frozen VGG-16 whose features the losses compare."""

import logging
from collections.abc import Collection
from typing import Literal

import torch
from torch import Tensor, nn

from polystyle.losses.vgg_weights import LAYERS, blank_features, load_weights, random_weights

log = logging.getLogger(__name__)


# The pixels that the weights were trained on: RGB x 255 minus this mean, no division.
PIXEL_MEAN = (123.68, 116.779, 103.939)


class VGG16(nn.Module):
    """VGG-16 up to relu4_3 (Simonyan & Zisserman 2014), frozen.

    The weights are buffers outside of the state dict, not parameters: they move with the module
    and are in no optimizer and no checkpoint. The module stays in eval mode, also after `train()`.

    Args:
        weights: a file with the weights (.safetensors or .pth), ``"random"``, or None for the file
            that `find_weights` finds or fetches.
        pooling: ``"max"`` as trained, or ``"average"`` (Gatys, Ecker & Bethge 2016, section 2).

    Raises:
        ValueError: unknown pooling, or a weights file that isn't the original VGG-16.
        FileNotFoundError: there is no such file, or no source of the weights can be reached.
    """

    pixel_mean: Tensor

    def __init__(
        self, weights: str | None = None, pooling: Literal["max", "average"] = "max"
    ) -> None:
        super().__init__()
        if pooling not in ("max", "average"):
            raise ValueError(f"pooling must be max or average, not {pooling!r}")
        self.features = blank_features()
        self.is_random = weights == "random"
        if self.is_random:
            log.warning(
                "VGG-16 has random weights, which are for tests: pictures will have no style"
            )
            self.features.load_state_dict(random_weights(), assign=True)
        else:
            self.features.load_state_dict(load_weights(weights), assign=True)
        if pooling == "average":
            for index, layer in enumerate(self.features):
                if isinstance(layer, nn.MaxPool2d):
                    self.features[index] = nn.AvgPool2d(kernel_size=2, stride=2)
        for layer in self.features:
            for name, parameter in list(layer.named_parameters()):
                delattr(layer, name)
                layer.register_buffer(name, parameter.detach(), persistent=False)
        mean = torch.tensor(PIXEL_MEAN).view(3, 1, 1)
        self.register_buffer("pixel_mean", mean, persistent=False)
        # The memory format of training, in all uses, so that results are equal bit for bit.
        self.to(memory_format=torch.channels_last)
        self.eval()

    def train(self, mode: bool = True) -> "VGG16":
        return super().train(False)

    def forward(self, images: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Features of the named layers, computed no deeper than the deepest of them.

        Args:
            images: RGB ``[B, 3, H, W]`` in [0, 1]. They are scaled to VGG's pixels here.
            layers: names out of `LAYERS`, such as ``"relu3_3"``.

        Returns:
            Feature maps by name, each ``[B, C, H', W']``.

        Raises:
            ValueError: a name is not in `LAYERS`.
        """
        check_layers(layers)
        names = {LAYERS[name]: name for name in layers}
        x = images * 255 - self.pixel_mean
        tapped = {}
        for index, layer in enumerate(self.features[: max(names) + 1]):
            x = layer(x)
            if index in names:
                tapped[names[index]] = x
        return tapped


def check_layers(layers: Collection[str]) -> None:
    """Raises ValueError for a name that is not in `LAYERS`."""
    unknown = [name for name in layers if name not in LAYERS]
    if unknown:
        raise ValueError(f"VGG-16 has no layer {unknown[0]!r}; it has {', '.join(LAYERS)}")
