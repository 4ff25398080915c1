"""What polystyle-stylize's --style, --mask, --sweep and --blend-grid mean."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polystyle.painting.painter import Style


def check_steps(steps: int) -> int:
    """Raises ValueError for a number of pictures that --steps does not allow."""
    if not 2 <= steps <= 50:
        raise ValueError(f"--steps must be from 2 to 50, not {steps}")
    return steps


def parse_styles(texts: list[str], names: list[str]) -> "list[tuple[str, Style]]":
    """What --style asks for, with labels.

    Args:
        texts: ``NAME`` or ``NAME:WEIGHT``; "all" for all names.
        names: the network's styles.

    Returns:
        One blend if the texts have weights, else the styles, each once and in order.

    Raises:
        ValueError: only some texts have a weight, or a weight is not a number.
    """
    weights: dict[str, float] = {}
    plain: list[str] = []
    for text in texts:
        name, colon, weight = text.rpartition(":")
        if text in names or not colon:
            plain += names if text == "all" else [text]
            continue
        try:
            weights[name] = weights.get(name, 0.0) + float(weight)
        except ValueError as error:
            raise ValueError(f"--style {text}: {weight!r} is not a number") from error
    if weights and plain:
        raise ValueError(
            "give every --style a weight, for one blend of them, or none, for a picture in each"
        )
    if weights:
        return [("+".join(f"{name}{weight:g}" for name, weight in weights.items()), weights)]
    return [(name, name) for name in dict.fromkeys(plain)]


def split_masks(texts: list[str]) -> tuple[list[tuple[Path, str]], list[str]]:
    """What --mask asks for.

    Args:
        texts: ``FILE=STYLE``, or ``rest=STYLE`` for the remaining area.

    Returns:
        The files with their styles, and the styles of the remaining area.

    Raises:
        ValueError: a text of another form.
    """
    files, rest = [], []
    for text in texts:
        file, equals, style = text.rpartition("=")
        if not equals or not file or not style:
            raise ValueError(f"--mask takes FILE=STYLE, not {text!r}")
        if file == "rest":
            rest.append(style)
        else:
            files.append((Path(file), style))
    return files, rest


def sweep(first: str, second: str, steps: int) -> "list[tuple[str, Style]]":
    """The blends from one style to another in equal steps, with labels."""
    shares = [step / (steps - 1) for step in range(steps)]
    labels = [first, *(f"{1 - share:.0%} + {share:.0%}" for share in shares[1:-1]), second]
    return [
        (label, blend({first: 1 - share}, {second: share}))
        for label, share in zip(labels, shares, strict=True)
    ]


def blend_grid(corners: list[str], steps: int) -> "list[tuple[str, Style]]":
    """Bilinear blends of the styles in the corners of a grid, row by row, with labels.

    Args:
        corners: styles: top left, top right, bottom left, bottom right. Two make one row; of three,
            the bottom right corner is half the second and half the third.
        steps: the blends in a row, and the rows.

    Raises:
        ValueError: not two to four styles.
    """
    if not 2 <= len(corners) <= 4:
        raise ValueError(f"--blend-grid takes two to four styles, not {len(corners)}")
    ends: list[Mapping[str, float]] = [{name: 1.0} for name in corners]
    if len(ends) == 2:
        ends += ends
    elif len(ends) == 3:
        ends.append(blend({corners[1]: 0.5}, {corners[2]: 0.5}))
    rows = 1 if len(corners) == 2 else steps
    blends = []
    for row in range(rows):
        down = row / max(1, rows - 1)
        for column in range(steps):
            across = column / (steps - 1)
            shares = (
                (1 - down) * (1 - across),
                (1 - down) * across,
                down * (1 - across),
                down * across,
            )
            cell = blend(
                *(
                    {name: weight * share for name, weight in end.items()}
                    for end, share in zip(ends, shares, strict=True)
                )
            )
            blends.append((next(iter(cell)) if len(cell) == 1 else "", cell))
    return blends


def blend(*parts: Mapping[str, float]) -> dict[str, float]:
    """The sum of weights by name, without those that are 0."""
    weights: dict[str, float] = {}
    for part in parts:
        for name, weight in part.items():
            weights[name] = weights.get(name, 0.0) + weight
    return {name: weight for name, weight in weights.items() if weight}
