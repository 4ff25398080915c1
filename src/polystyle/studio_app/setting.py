"""What the page is set to: as a command line, and as the query of a link. Imports no Gradio."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode

from polystyle.files.path_text import typed_path
from polystyle.networks.model_file import PRETRAINED

# The strokes that the page offers: `polystyle-stylize --scale` takes up to 10.
SMALLEST_SCALE, LARGEST_SCALE = 0.25, 4.0

# Decimals of a blend's weights, so that the command line stays short.
WEIGHT_DECIMALS = 3


@dataclass(frozen=True)
class Setting:
    """How a photo is painted.

    Attributes:
        model: the network, as `--model` takes it.
        weights: the styles by name; one style has the weight 1.
        strength, scale, keep_colors: see `Painter.__call__`.
        by_pixels: what a strength under 1 blends: see `Painter.__call__`.
    """

    model: str
    weights: Mapping[str, float]
    strength: float = 1.0
    scale: float = 1.0
    keep_colors: bool = False
    by_pixels: bool = False

    @property
    def style(self) -> str | dict[str, float]:
        """The style as `Painter` takes it: a name, or a blend."""
        return next(iter(self.weights)) if len(self.weights) == 1 else dict(self.weights)


def blend_of(names: Sequence[str], weights: Sequence[float]) -> dict[str, float]:
    """Weights by name, rounded, without those that are 0; a name that occurs twice has their sum.

    Raises:
        ValueError: all are 0, or there is none.
    """
    blend: dict[str, float] = {}
    for name, weight in zip(names, weights, strict=True):
        if name and round(weight, WEIGHT_DECIMALS) > 0:
            blend[name] = round(blend.get(name, 0.0) + weight, WEIGHT_DECIMALS)
    if not blend:
        raise ValueError("the weights of all styles are 0: move a slider")
    return {name: 1.0 for name in blend} if len(blend) == 1 else blend


def corner_weights(across: float, down: float) -> list[float]:
    """The bilinear weights of the corners of a square: top left, top right, bottom left, bottom
    right, at a point from (0, 0), top left, to (1, 1)."""
    return [(1 - across) * (1 - down), across * (1 - down), (1 - across) * down, across * down]


def command_arguments(
    setting: Setting,
    photo: Path | str,
    masks: Sequence[tuple[Path | str, str]] = (),
    device: str = "auto",
) -> list[str]:
    """The arguments of the polystyle-stylize that paints the same.

    Args:
        setting: how to paint.
        photo: the photo's file.
        masks: the files of masks, each with the style of its white area.
        device: where to compute.
    """
    arguments = [typed_path(photo)]
    if setting.model != PRETRAINED:
        arguments += ["--model", setting.model]
    for text in style_texts(setting):
        arguments += ["--style", text]
    for path, name in masks:
        arguments += ["--mask", f"{path}={name}"]
    if setting.strength < 1:
        arguments += ["--strength", f"{setting.strength:g}"]
        if setting.by_pixels:
            arguments += ["--strength-by", "pixels"]
    if setting.scale != 1:
        arguments += ["--scale", f"{setting.scale:g}"]
    if setting.keep_colors:
        arguments.append("--keep-colors")
    if device != "auto":
        arguments += ["--device", device]
    return arguments


def style_texts(setting: Setting) -> list[str]:
    """The styles as `--style` takes them: a name, or names with weights."""
    if len(setting.weights) == 1:
        return list(setting.weights)
    return [f"{name}:{weight:g}" for name, weight in setting.weights.items()]


def to_query(setting: Setting, sample: str | None) -> str:
    """The query of a link that opens the page with this setting.

    Args:
        setting: how to paint.
        sample: the sample photo that is painted, if it is one. No other photo is in a link.
    """
    pairs = [("model", setting.model)] if setting.model != PRETRAINED else []
    pairs += [("style", text) for text in style_texts(setting)]
    if setting.strength < 1:
        pairs.append(("strength", f"{setting.strength:g}"))
    if setting.scale != 1:
        pairs.append(("scale", f"{setting.scale:g}"))
    if setting.keep_colors:
        pairs.append(("colors", "keep"))
    if sample:
        pairs.append(("photo", sample))
    return urlencode(pairs, safe=":/")


def from_query(query: str, style_names: Sequence[str], default: Setting) -> Setting:
    """The setting in the query of a link; the model is the default's.

    Args:
        query: what stands behind the question mark.
        style_names: the styles of the network.
        default: what is not in the query.

    Raises:
        ValueError: a link that the page did not write, or for a network with other styles.
    """
    values = parse_qs(query)
    names, weights = [], []
    for text in values.get("style", []):
        name, _, weight = (text, "", "1") if text in style_names else text.rpartition(":")
        if name not in style_names:
            raise ValueError(f"the link's style {name or text!r} is not one of this network's")
        names.append(name)
        weights.append(number_in(weight, 0, math.inf))
    return Setting(
        default.model,
        blend_of(names, weights) if names else default.weights,
        number_in(values.get("strength", ["1"])[0], 0, 1),
        number_in(values.get("scale", ["1"])[0], SMALLEST_SCALE, LARGEST_SCALE),
        values.get("colors") == ["keep"],
        default.by_pixels,
    )


def value_of_query(query: str, name: str) -> str | None:
    """The first value of a name in the query of a link."""
    return parse_qs(query).get(name, [None])[0]


def number_in(text: str, low: float, high: float) -> float:
    """A number of a link, clipped to a range.

    Raises:
        ValueError: it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"the link holds {text!r} where a number should be")
    return min(max(number, low), high)
