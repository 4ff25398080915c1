"""The paintings' Gram matrices on disk: they are constants, so no run need compute them twice."""

import hashlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from polystyle.files.atomic_file import atomic_write
from polystyle.files.safetensors_file import read_tensors
from polystyle.vgg import LAYERS, VGG16


class GramCache:
    """One file for each painting and what else its Gram matrices follow from, to the last bit:
    VGG's weights and pooling, the layers, the kind of device, torch's version.

    They lie beside VGG-16's own weights, in torch's hub cache. Any of them may be deleted.

    Args:
        vgg: the features' network.
        layers: names of its layers.
    """

    def __init__(self, vgg: VGG16, layers: Collection[str]) -> None:
        # In front of each ReLU stands its convolution.
        channels = {name: vgg.features[LAYERS[name] - 1].out_channels for name in sorted(layers)}
        self.shapes = {name: (count, count) for name, count in channels.items()}
        self.folder = Path(torch.hub.get_dir()) / "polystyle_grams"
        settings = (
            f"{list(channels)} {vgg.features} {vgg.pixel_mean.device.type} {torch.__version__}"
        )
        self.settings = hashlib.sha256(settings.encode())
        for weights in vgg.buffers():
            self.settings.update(weights.cpu().contiguous().numpy())

    def path(self, image: Tensor) -> Path:
        digest = self.settings.copy()
        digest.update(str(list(image.shape)).encode())
        digest.update(image.cpu().contiguous().numpy())
        return self.folder / f"{digest.hexdigest()}.safetensors"

    def read(self, image: Tensor) -> dict[str, Tensor] | None:
        """Gram matrices ``[C, C]`` by layer, if they are there.

        Args:
            image: ``[3, h, w]`` float32 in [0, 1].
        """
        try:
            return read_tensors(self.path(image), self.shapes)
        except (OSError, ValueError):  # not there, cut, or not ours
            return None

    def write(self, image: Tensor, grams: Mapping[str, Tensor]) -> None:
        """Keep Gram matrices, if the disk lets us; see `read`."""
        plain = {name: gram.cpu().contiguous() for name, gram in grams.items()}
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.path(image)) as partial:
                partial.write_bytes(save(plain))
