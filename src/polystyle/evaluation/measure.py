"""Scores of the photos, of the networks' pictures and of optimised pixels, style by style."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from polystyle.evaluation.gatys import optimise_pixels
from polystyle.evaluation.scores import LOSSES, Results, Scores
from polystyle.losses.perceptual_loss import PerceptualLoss
from polystyle.networks.model_file import Model

# Photos that go through a network or VGG together.
BATCH_SIZE = 4


def score_styles(
    models: Mapping[str, Model],
    references: Mapping[str, PerceptualLoss],
    style_names: Sequence[str],
    photos: Tensor,
    gatys_photos: int,
    gatys_steps: int,
) -> Results:
    """Scores all painters in all styles.

    Args:
        models: networks by label: "A", or "A" and "B".
        references: losses by the prefix of their names; the one with the prefix "" is what the
            pixels are optimised for.
        style_names: the styles, in the order of the references' style images.
        photos: RGB ``[K, 3, S, S]`` in [0, 1].
        gatys_photos: the pixels of this many photos are optimised, the first ones.
        gatys_steps: evaluations of the loss for each of these photos; 0 optimises none.
    """
    photos_to_optimise = photos[:gatys_photos] if gatys_steps else photos[:0]
    steps_per_style = len(models) + len(photos_to_optimise) * gatys_steps
    results: Results = {}
    with tqdm(total=len(style_names) * steps_per_style, unit="step", disable=None) as progress:
        for index, name in enumerate(style_names):
            progress.set_description(name)
            scores = {"photo": score(references, photos, photos, index)}
            scores |= score_networks(models, references, photos, style_names, index, progress)
            if len(photos_to_optimise):
                optimised = [
                    optimise_pixels(references[""], photo, index, gatys_steps, progress)
                    for photo in photos_to_optimise.split(1)
                ]
                pictures = torch.cat(optimised)
                scores["gatys"] = score(references, photos_to_optimise, pictures, index)
            set_gap_closed(scores)
            results[name] = scores
    return results


def score_networks(
    models: Mapping[str, Model],
    references: Mapping[str, PerceptualLoss],
    photos: Tensor,
    style_names: Sequence[str],
    style: int,
    progress: tqdm,
) -> dict[str, Scores]:
    """The scores, by label, of the networks that have the style of that index. For the other
    arguments, see `score_styles`."""
    style_name = style_names[style]
    scores = {}
    pictures = {}
    for label, model in models.items():
        progress.update()
        if style_name not in model.style_names:
            continue
        pictures[label] = stylize(model.net, photos, model.style_names.index(style_name))
        scores[label] = score(references, photos, pictures[label], style)
        nearest = nearest_styles(references[""], pictures[label])
        scores[label].nearest = [style_names[style] for style in nearest]
    if pictures.keys() >= {"A", "B"}:
        scores["B"].identical = torch.equal(pictures["A"], pictures["B"])
    return scores


def stylize(net: nn.Module, photos: Tensor, style: int) -> Tensor:
    """Paints photos, RGB ``[K, 3, S, S]`` in [0, 1], in the network's style of that index."""
    with torch.inference_mode():
        return torch.cat(
            [
                net(batch, torch.full((len(batch),), style, device=batch.device))
                for batch in photos.split(BATCH_SIZE)
            ]
        )


def score(
    references: Mapping[str, PerceptualLoss], photos: Tensor, stylized: Tensor, style: int
) -> Scores:
    """The losses of stylized photos, both ``[K, 3, S, S]``, in the references' style `style`."""
    losses = {}
    for prefix, reference in references.items():
        batches = []
        for content, painted in zip(
            photos.split(BATCH_SIZE), stylized.split(BATCH_SIZE), strict=True
        ):
            with torch.inference_mode():
                styles = torch.full((len(content),), style, device=content.device)
                batches.append(reference(content, painted, styles))
        for name in LOSSES:
            losses[prefix + name] = torch.cat([batch[name] for batch in batches]).cpu().double()
    return Scores(losses, stylized[0].cpu())


def nearest_styles(reference: PerceptualLoss, stylized: Tensor) -> list[int]:
    """For each of the images ``[K, 3, S, S]``, the index of the style of the lowest style loss."""
    styles = torch.arange(reference.num_styles, device=stylized.device)
    with torch.inference_mode():
        losses = [reference(image, image, styles)["style_loss"] for image in stylized.split(1)]
    return torch.stack(losses).argmin(dim=1).tolist()


def set_gap_closed(scores: Mapping[str, Scores]) -> None:
    """Sets the networks' `Scores.gap_closed` in one style, on the photos whose pixels were
    optimised; on all photos if none were.

    Args:
        scores: of all painters in the style: "photo", and "gatys" if pixels were optimised.
    """
    photo = scores["photo"].losses["loss"]
    optimum = scores["gatys"].losses["loss"] if "gatys" in scores else photo * 0
    start = photo[: len(optimum)]
    for label in ("A", "B"):
        if label in scores:
            reached = scores[label].losses["loss"][: len(optimum)]
            closed = (start - reached).sum() / (start - optimum).sum()
            scores[label].gap_closed = closed.item()
