"""The report of an evaluation: a table, a summary in sentences, a CSV file, a sheet of pictures."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, median

from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from polystyle.data.paintings import mosaic
from polystyle.evaluation.scores import LOSSES, Results, Scores, paired_difference, verdict
from polystyle.files.terminal_text import counted
from polystyle.painting.contact_sheet import contact_sheet

# A style lags behind if it closes so much less of the gap than the median style.
LAG = 0.1

# Longer style names are cut, so that the table of two networks fits in 100 columns.
NAME_WIDTH = 16


def network_labels(results: Results) -> list[str]:
    """The labels of the networks that were evaluated: "A", or "A" and "B"."""
    painters = {painter for scores in results.values() for painter in scores}
    return [label for label in ("A", "B") if label in painters]


def in_common(results: Results) -> list[dict[str, Scores]]:
    """The scores in the styles that all networks have."""
    labels = network_labels(results)
    return [scores for scores in results.values() if all(label in scores for label in labels)]


def has_optimum(results: Results) -> bool:
    """Whether pixels were optimised."""
    return "gatys" in next(iter(results.values()))


# ---- Table ----------------------------------------------------------------------------------


def table(results: Results) -> str:
    """The scores as aligned text: two lines of headings, one line for each style, and the mean over
    the styles that all networks have."""
    columns = [style_column(results), *gap_closed_columns(results)]
    columns += [*content_columns(results), *style_loss_columns(results)]
    if len(network_labels(results)) == 2:
        columns.append(comparison_column(results))
    else:
        columns += paper_columns(results)
    return aligned(columns)


def aligned(columns: list[list[str]]) -> str:
    """Columns of equal length as lines: the first is aligned to the left, the others to the
    right."""
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for name, *cells in zip(*columns, strict=True):
        numbers = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join([f"{name:<{widths[0]}}", *numbers]).rstrip())
    return "\n".join(lines)


def score_column(
    results: Results,
    heading: tuple[str, str],
    painter: str,
    value: Callable[[Scores], float],
    form: str = ".3f",
) -> list[str]:
    """One value of a painter's scores in each style, blank where the painter lacks the style."""
    cells = [
        f"{value(scores[painter]):{form}}" if painter in scores else ""
        for scores in results.values()
    ]
    shared = in_common(results)
    if shared:
        cells.append(f"{mean(value(scores[painter]) for scores in shared):{form}}")
    return [*heading, *cells]


def style_column(results: Results) -> list[str]:
    """The names of the styles."""
    names = [name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 1]}…" for name in results]
    return ["", "style", *names, *(["mean"] if in_common(results) else [])]


def gap_closed_columns(results: Results) -> list[list[str]]:
    """The share of the gap that each network has closed."""
    labels = network_labels(results)
    headings = {label: ("closed", label) for label in labels}
    if len(labels) == 1:
        headings = {labels[0]: ("gap", "closed")}
    return [
        score_column(results, heading, label, lambda scores: scores.gap_closed, ".0%")
        for label, heading in headings.items()
    ]


def loss_columns(results: Results, loss: str, word: str, painters: list[str]) -> list[list[str]]:
    """One loss of several painters."""
    network = "network" if len(network_labels(results)) == 1 else "A"
    headings = {"photo": "photo", "A": network, "B": "B", "gatys": "Gatys"}
    return [
        score_column(results, (word, headings[painter]), painter, lambda scores: scores.mean(loss))
        for painter in painters
    ]


def content_columns(results: Results) -> list[list[str]]:
    """Content losses of the networks; of optimised pixels only where the width allows it."""
    painters = network_labels(results)
    if has_optimum(results) and len(painters) == 1:
        painters = [*painters, "gatys"]
    return loss_columns(results, "content_loss", "content", painters)


def style_loss_columns(results: Results) -> list[list[str]]:
    """Style losses of all painters."""
    painters = ["photo", *network_labels(results), *(["gatys"] if has_optimum(results) else [])]
    return loss_columns(results, "style_loss", "style", painters)


def paper_columns(results: Results) -> list[list[str]]:
    """Both losses of a single network, as the paper defines them."""
    return [
        score_column(
            results,
            ("paper's", word),
            "A",
            lambda scores, loss=f"paper_{word}_loss": scores.mean(loss),
            ",.0f",
        )
        for word in ("content", "style")
    ]


def comparison_column(results: Results) -> list[str]:
    """How B compares with A in each style."""
    cells = [compare_in_style(scores) for scores in results.values()]
    return ["B against A,", "total loss", *cells, *([""] if in_common(results) else [])]


def compare_in_style(scores: Mapping[str, Scores]) -> str:
    """The difference of B's total loss from A's in one style, its standard error and the verdict;
    blank if a network lacks the style."""
    if "A" not in scores or "B" not in scores:
        return ""
    if scores["B"].identical:
        return "identical"
    difference, error = paired_difference(scores["A"].losses["loss"], scores["B"].losses["loss"])
    if math.isnan(error):
        return f"{difference:+.1%}"
    return f"{100 * difference:+.1f} ±{100 * error:.1f}% {verdict(difference, error):>7}"


# ---- Summary --------------------------------------------------------------------------------


def summarise(results: Results) -> list[str]:
    """What the table says, in sentences."""
    labels = network_labels(results)
    sentences = [least_trained(results, label) for label in labels]
    sentences += [nearest_paintings(results, label) for label in labels]
    if any(
        scores[label].gap_closed > 1
        for scores in results.values()
        for label in labels
        if label in scores
    ):
        sentences.append(
            "Over 100%: the optimised pixels have not converged, which takes more --gatys-steps."
        )
    if len(labels) == 2:
        sentences += compare_networks(results)
    return sentences


def least_trained(results: Results, label: str) -> str:
    """The style in which a network has closed least of the gap, and what to do about it."""
    whose = f"{label}'s" if len(network_labels(results)) == 2 else "The"
    closed = {name: scores[label].gap_closed for name, scores in results.items() if label in scores}
    least = min(closed, key=closed.__getitem__)
    middle = median(closed.values())
    gap = f"{closed[least]:.0%} of the gap closed, where the median style has {middle:.0%}."
    if not has_optimum(results):
        return (
            f"{whose} least changed style is {least}: {gap} "
            "Without --gatys-steps, the loss that pixels can reach in each style is not known."
        )
    advice = "No style lags behind."
    if closed[least] < middle - LAG:
        advice = (
            f"Train longer, or raise the style's weight: loss.style_coefficients={{{least}:2}}."
        )
    return f"{whose} least trained style is {least}: {gap} {advice}"


def nearest_paintings(results: Results, label: str) -> str:
    """How many of a network's pictures are nearest to the painting of their own style, and the
    styles whose pictures are not."""
    whose = f"{label}'s" if len(network_labels(results)) == 2 else "the network's"
    total, misses = 0, []
    for name, scores in results.items():
        if label not in scores:
            continue
        total += len(scores[label].nearest)
        misses += [f"{name} (to {other})" for other in scores[label].nearest if other != name]
    found = f"{total - len(misses)} of {whose} {counted(total, 'picture')}"
    own = f"By the style loss, {found} are nearest to the paintings of their own style"
    if not misses:
        return f"{own}."
    return f"{own}; not those of {', '.join(dict.fromkeys(misses))}."


def compare_networks(results: Results) -> list[str]:
    """How B compares with A over the styles that both have."""
    shared = in_common(results)
    if not shared:
        return ["A and B have no style in common."]
    count = f"the {counted(len(shared), 'style')} that both have"
    identical = sum(scores["B"].identical for scores in shared)
    sentences = []
    if identical:
        sentences.append(
            f"B paints {identical} of {count} exactly as A does, bit for bit: the difference "
            "between A and B does not affect them."
        )
    if identical < len(shared):
        sentences += [
            compare_loss(shared, "loss", "B's total loss", f" than A's over {count}"),
            compare_loss(shared, "paper_loss", "As the paper defines it, the loss", ""),
        ]
    return sentences


def compare_loss(shared: list[dict[str, Scores]], loss: str, subject: str, than_whose: str) -> str:
    """How one loss of B, averaged over styles, compares with A's, and whether the difference is
    beyond the spread over photos."""
    a, b = (
        sum(scores[label].losses[loss] for scores in shared) / len(shared) for label in ("A", "B")
    )
    difference, error = paired_difference(a, b)
    direction = "lower" if difference < 0 else "higher"
    comparison = f"{subject} is {abs(difference):.1%} {direction}{than_whose}"
    if math.isnan(error):
        return f"{comparison}. With so few photos, that may be chance."
    conclusion = verdict(difference, error)
    return (
        f"{comparison} (standard error {error:.1%}, over {counted(len(a), 'photo')}): "
        + ("within" if conclusion == "unclear" else f"B is {conclusion}, beyond")
        + " the spread over photos."
    )


# ---- Files ----------------------------------------------------------------------------------


def write_csv(path: Path, results: Results, models: Mapping[str, Path]) -> None:
    """Writes a row for each style and painter: the networks, the photo and the optimised pixels.

    Args:
        path: the file to write.
        results: the scores.
        models: the networks' files by label.
    """
    losses = [prefix + name for prefix in ("", "paper_") for name in LOSSES]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        comparison = ["difference_from_a", "standard_error", "identical_to_a"]
        writer.writerow(["style", "painter", "model", "photos", *losses, "gap_closed", *comparison])
        for name, scores in results.items():
            for painter in ("A", "B", "photo", "gatys"):
                if painter not in scores:
                    continue
                own = scores[painter]
                row = [name, painter, models.get(painter), len(own.losses["loss"])]
                row += [f"{own.mean(loss):.6g}" for loss in losses]
                row.append(f"{own.gap_closed:.6g}" if painter in models else "")
                if painter == "B" and "A" in scores:
                    difference = paired_difference(scores["A"].losses["loss"], own.losses["loss"])
                    row += [*(f"{value:.6g}" for value in difference), own.identical]
                else:
                    row += [""] * len(comparison)
                writer.writerow(row)


def picture_sheet(
    results: Results, photo: Tensor, paintings: Mapping[str, Sequence[Tensor]]
) -> Image.Image:
    """A row for each style: its paintings, the first photo, the networks' pictures of that photo,
    and its optimised pixels; white where a network lacks the style.

    Args:
        results: the scores, which hold the painters' pictures.
        photo: RGB ``[3, S, S]`` in [0, 1].
        paintings: RGB ``[3, h, w]`` in [0, 1], those of each style by its name.
    """
    labels = network_labels(results)
    painters = [*labels, *(["gatys"] if has_optimum(results) else [])]
    pictures, captions = [], []
    for name, scores in results.items():
        pictures += [to_pil_image(mosaic(paintings[name])), to_pil_image(photo)]
        captions += [name, "photo"]
        for painter in painters:
            if painter not in scores:
                pictures.append(Image.new("RGB", photo.shape[:0:-1], "white"))
                captions.append("")
                continue
            pictures.append(to_pil_image(scores[painter].picture))
            who = painter if len(labels) == 2 else "network"
            caption = f"{who}: {scores[painter].gap_closed:.0%}"
            captions.append("Gatys" if painter == "gatys" else caption)
    return contact_sheet(pictures, captions, len(painters) + 2, cell=photo.shape[-1])
