"""Measuring the photos, the networks' pictures and optimised pixels in each style."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from polystyle.evaluation.gatys import optimise_pixels
from polystyle.evaluation.report import LOSSES, Judged, Results

if TYPE_CHECKING:
    from torch import Tensor

    from polystyle.losses.perceptual_loss import PerceptualLoss
    from polystyle.networks.model_file import Model
    from polystyle.networks.transformer_net import TransformerNet

# Photos that go through a network together.
BATCH = 4


def judge(
    models: "Mapping[str, Model]",
    rulers: "Mapping[str, PerceptualLoss]",
    names: list[str],
    photos: "Tensor",
    gatys_photos: int,
    gatys_steps: int,
) -> Results:
    """Measure the photos, the networks' pictures and optimised pixels in each style.

    Args:
        models: networks by label.
        rulers: losses by prefix of their names; the one without a prefix is what is optimised.
        names: the styles, in the order of the rulers' style images.
        photos: ``[K, 3, S, S]`` in [0, 1].
        gatys_photos, gatys_steps: see `evaluate`.
    """
    import torch
    from tqdm import tqdm

    few = photos[:gatys_photos] if gatys_steps else photos[:0]
    results: Results = {}
    rounds = len(models) + len(few) * gatys_steps
    with tqdm(total=len(names) * rounds, unit="step", disable=None) as progress:
        for index, name in enumerate(names):
            progress.set_description(name)
            results[name] = {"photo": measure(rulers, photos, photos, index)}
            first = None
            for label, model in models.items():
                progress.update()
                if name not in model.style_names:
                    continue
                stylized = paint(model.net, photos, model.style_names.index(name))
                judged = measure(rulers, photos, stylized, index)
                judged.identical = first is not None and torch.equal(first, stylized)
                first = stylized if label == "A" else None
                results[name][label] = judged
            if len(few):
                optimised = [
                    optimise_pixels(rulers[""], photo, index, gatys_steps, progress)
                    for photo in few.split(1)
                ]
                results[name]["gatys"] = measure(rulers, few, torch.cat(optimised), index)
            set_ways(results[name])
    return results


def paint(net: "TransformerNet", photos: "Tensor", style: int) -> "Tensor":
    """Photos ``[K, 3, S, S]`` in one style, likewise ``[K, 3, S, S]`` in [0, 1]."""
    import torch

    with torch.inference_mode():
        return torch.cat(
            [
                net(batch, torch.full((len(batch),), style, device=batch.device))
                for batch in photos.split(BATCH)
            ]
        )


def measure(
    rulers: "Mapping[str, PerceptualLoss]", photos: "Tensor", stylized: "Tensor", style: int
) -> Judged:
    """The losses of stylized photos, both ``[K, 3, S, S]``, in the style of that index."""
    import torch

    losses = {}
    for prefix, ruler in rulers.items():
        batches = []
        for content, painted in zip(photos.split(BATCH), stylized.split(BATCH), strict=True):
            with torch.inference_mode():
                styles = torch.full((len(content),), style, device=content.device)
                batches.append(ruler(content, painted, styles))
        for name in LOSSES:
            losses[prefix + name] = torch.cat([each[name] for each in batches]).cpu().double()
    return Judged(losses, stylized[0].cpu())


def set_ways(judged: dict[str, Judged]) -> None:
    """Fill in how far each network has come in one style, on the photos that have both ends."""
    photo = judged["photo"].losses["loss"]
    goal = judged["gatys"].losses["loss"] if "gatys" in judged else photo * 0
    start = photo[: len(goal)]
    for label in ("A", "B"):
        if label in judged:
            reached = judged[label].losses["loss"][: len(goal)]
            judged[label].way = ((start - reached).sum() / (start - goal).sum()).item()
