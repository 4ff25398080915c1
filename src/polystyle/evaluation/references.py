"""The reference losses: the same for every network, however it was trained."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from polystyle.evaluation.settings import Settings
from polystyle.losses.perceptual_loss import PerceptualLoss
from polystyle.losses.vgg import VGG16


def make_references(
    settings: Settings, paintings: Mapping[str, Sequence[Tensor]], device: torch.device
) -> dict[str, PerceptualLoss]:
    """The reference losses by the prefix of their names.

    Args:
        settings: gives VGG's weights and the two weights of the scale-free total.
        paintings: RGB ``[3, h, w]`` in [0, 1], those of each style by its name; a style's index is
            its place in here.
        device: where the losses are computed.

    Returns:
        Under "" the scale-free loss, under "paper_" that of Dumoulin et al. 2017.
    """
    references = {
        "": PerceptualLoss(
            VGG16(settings.vgg_weights),
            content_weight=settings.content_weight,
            style_weight=settings.style_weight,
        ),
        # As in configs/loss/dumoulin2017.yaml.
        "paper_": PerceptualLoss(
            VGG16(settings.vgg_weights, pooling="average"),
            style_weight=1.0,
            style_weights=dict.fromkeys(("relu1_2", "relu2_2", "relu3_3", "relu4_3"), 1e-4),
            relative=False,
        ),
    }
    for reference in references.values():
        reference.to(device).set_style_images(paintings)
    return references
