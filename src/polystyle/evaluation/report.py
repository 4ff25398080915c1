"""What an evaluation measured, as people read it: table, sentences, CSV and a sheet of pictures."""

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

# A mean over sixteen photos is so many standard errors from 0 by chance in one case of a hundred
# (Student's t), and one such question is asked for each style.
BEYOND_SPREAD = 3.0

# Fewer photos don't tell how widely photos spread.
FEW = 5

# A style whose way is so much shorter than the median style's lags.
LAG = 0.1

LOSSES = ("content_loss", "style_loss", "loss")
NAME_WIDTH = 20


@dataclass
class Judged:
    """What was measured of one network, or of one of the two ends, in one style.

    Attributes:
        losses: ``[K]`` float64, a value for each photo, by name: "content_loss", "style_loss" and
            their weighted sum "loss", scale-free; with "paper_" in front, as the paper has them.
        picture: the first photo, stylized: RGB ``[3, S, S]`` in [0, 1].
        way: how far from the photo (0) to the optimised pixels (1) the total loss has come; to a
            loss of 0 where no pixels were optimised.
        identical: whether every picture is network A's, bit for bit.
    """

    losses: "dict[str, Tensor]"
    picture: "Tensor"
    way: float = math.nan
    identical: bool = False

    def mean(self, name: str) -> float:
        return self.losses[name].mean().item()


# By style name, and then by who painted: "photo", "A", "B", "gatys".
Results = dict[str, dict[str, Judged]]


def paired_difference(a: "Tensor", b: "Tensor") -> tuple[float, float]:
    """How much larger b is than a, photo by photo, as a share of the mean of a.

    Args:
        a, b: ``[K]``, losses of the same photos.

    Returns:
        The mean, and its standard error over photos: NaN for fewer than `FEW`.
    """
    shares = (b - a) / a.mean()
    error = shares.std().item() / math.sqrt(len(shares)) if len(shares) >= FEW else math.nan
    return shares.mean().item(), error


def verdict(difference: float, error: float) -> str:
    """What a difference in loss says of B."""
    if not abs(difference) > BEYOND_SPREAD * error:
        return "unclear"
    return "better" if difference < 0 else "worse"


def table(results: Results) -> str:
    """The figures as aligned text, a line for each style and one for the mean over the styles that
    all networks have."""
    labels = [label for label in ("A", "B") if any(label in each for each in results.values())]
    shared = [each for each in results.values() if all(label in each for label in labels)]
    gatys = "gatys" in next(iter(results.values()))

    def column(
        *heading: str, who: str, value: Callable[[Judged], float], form: str = ".3f"
    ) -> list[str]:
        cells = [f"{value(each[who]):{form}}" if who in each else "" for each in results.values()]
        cells += [f"{mean(value(each[who]) for each in shared):{form}}"] if shared else []
        return [*heading, *cells]

    def loss(name: str) -> Callable[[Judged], float]:
        return lambda judged: judged.mean(name)

    two = len(labels) == 2
    names = [name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 1]}…" for name in results]
    columns = [["", "style", *names, *(["mean"] if shared else [])]]
    for who in labels:
        heading = ("way", who) if two else ("", "way")
        columns.append(column(*heading, who=who, value=lambda judged: judged.way, form=".0%"))
    for name, word in (("content_loss", "content"), ("style_loss", "style")):
        painters = {who: who if two else "network" for who in labels}
        if name == "style_loss":
            painters = {"photo": "photo", **painters}
        if gatys and not (two and name == "content_loss"):
            painters["gatys"] = "Gatys"
        for who, heading in painters.items():
            columns.append(column(word, heading, who=who, value=loss(name)))
    if two:
        columns.append(["B against A,", "total loss", *map(against, results.values())])
        columns[-1] += [""] if shared else []
    else:
        for name, word in (("paper_content_loss", "content"), ("paper_style_loss", "style")):
            columns.append(column("paper's", word, who="A", value=loss(name), form=",.0f"))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for name, *cells in zip(*columns, strict=True):
        numbers = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join([f"{name:<{widths[0]}}", *numbers]).rstrip())
    return "\n".join(lines)


def against(judged: Mapping[str, Judged]) -> str:
    """How B compares with A in one style, in few words."""
    if "A" not in judged or "B" not in judged:
        return ""
    if judged["B"].identical:
        return "identical"
    difference, error = paired_difference(judged["A"].losses["loss"], judged["B"].losses["loss"])
    if math.isnan(error):
        return f"{difference:+.1%}"
    return f"{100 * difference:+.1f} ±{100 * error:.1f}% {verdict(difference, error):>7}"


def answers(results: Results) -> list[str]:
    """What the table says, in sentences."""
    labels = [label for label in ("A", "B") if any(label in each for each in results.values())]
    gatys = "gatys" in next(iter(results.values()))
    lines = []
    for label in labels:
        whose = f"{label}'s " if len(labels) == 2 else "The "
        reached = {name: each[label].way for name, each in results.items() if label in each}
        last, middle = min(reached, key=reached.__getitem__), median(reached.values())
        lines.append(
            f"{whose}least {'trained' if gatys else 'changed'} style is {last}: "
            f"{reached[last]:.0%} of the way, where the median style has come {middle:.0%}."
        )
        if not gatys:
            lines[-1] += " How far pixels can come in each is not known without --gatys-steps."
        elif reached[last] < middle - LAG:
            lines[-1] += f" Train longer, or weigh it more: loss.style_coefficients={{{last}:2}}."
        else:
            lines[-1] += " No style lags behind."
    if any(each[label].way > 1 for each in results.values() for label in labels if label in each):
        lines.append("Over 100%: the pixels are not yet optimal, which takes more --gatys-steps.")
    both = [each for each in results.values() if "A" in each and "B" in each]
    if not both:
        return lines if len(labels) == 1 else [*lines, "A and B have no style in common."]
    identical = sum(each["B"].identical for each in both)
    if identical:
        lines.append(
            f"B paints {identical} of the {len(both)} styles that both have exactly as A does, "
            "bit for bit: whatever sets B apart cost them nothing."
        )
    if identical == len(both):
        return lines
    for prefix, definition in (("", "B's total loss"), ("paper_", "As the paper defines it, it")):
        a, b = (
            sum(each[label].losses[f"{prefix}loss"] for each in both) / len(both)
            for label in ("A", "B")
        )
        difference, error = paired_difference(a, b)
        line = f"{definition} is {abs(difference):.1%} {'lower' if difference < 0 else 'higher'}"
        line += f" than A's over the {len(both)} styles that both have" if not prefix else ""
        if math.isnan(error):
            lines.append(f"{line}. With so few photos, that may be chance.")
            continue
        line += f" (standard error {error:.1%}, over {len(a)} photos): "
        said = verdict(difference, error)
        lines.append(
            line
            + ("within" if said == "unclear" else f"B is {said}, beyond")
            + " the spread over photos."
        )
    return lines


def write_csv(path: Path, results: Results, models: Mapping[str, Path | None]) -> None:
    """A row for each style and painter: the networks, the photo itself and the optimised pixels."""
    losses = [prefix + name for prefix in ("", "paper_") for name in LOSSES]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        comparison = ["difference_from_a", "standard_error", "identical_to_a"]
        writer.writerow(["style", "painter", "model", "photos", *losses, "way", *comparison])
        for name, judged in results.items():
            for label in ("A", "B", "photo", "gatys"):
                if label not in judged:
                    continue
                each = judged[label]
                row = [name, label, models.get(label), len(each.losses["loss"])]
                row += [f"{each.mean(loss):.6g}" for loss in losses]
                row.append(f"{each.way:.6g}" if label in models else "")
                if label == "B" and "A" in judged:
                    a, b = judged["A"].losses["loss"], each.losses["loss"]
                    row += [f"{value:.6g}" for value in paired_difference(a, b)]
                    row.append(each.identical)
                else:
                    row += [""] * len(comparison)
                writer.writerow(row)


def sheet(results: Results, photo: "Tensor", paintings: "Mapping[str, Tensor]") -> "Image.Image":
    """A row for each style: its painting, the first photo, what each network makes of that, and
    the optimised pixels."""
    from PIL import Image
    from torchvision.transforms.v2.functional import to_pil_image

    from polystyle.painting.contact_sheet import contact_sheet

    labels = list(dict.fromkeys(label for each in results.values() for label in each))
    columns = [label for label in ("A", "B", "gatys") if label in labels]
    pictures, captions = [], []
    for name, judged in results.items():
        pictures += [to_pil_image(paintings[name]), to_pil_image(photo)]
        captions += [name, "photo"]
        for label in columns:
            if label not in judged:
                pictures.append(Image.new("RGB", photo.shape[:0:-1], "white"))
                captions.append("")
                continue
            pictures.append(to_pil_image(judged[label].picture))
            who = label if "B" in columns else "network"
            captions.append("Gatys" if label == "gatys" else f"{who}: {judged[label].way:.0%}")
    return contact_sheet(pictures, captions, len(columns) + 2, cell=photo.shape[-1])
