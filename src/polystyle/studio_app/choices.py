"""What the controls of the page say. Imports no Gradio."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from polystyle.studio_app.networks import Network
from polystyle.studio_app.regions import COLORS
from polystyle.studio_app.setting import Setting, blend_of, corner_weights

# How styles are chosen: the tabs of the page.
ONE, BLEND, CORNERS = "one", "blend", "corners"

# Styles in a blend, at most: each has a slider.
MAX_BLEND = 6
NUM_CORNERS = 4


@dataclass(frozen=True)
class Choices:
    """The values of the controls.

    Attributes:
        model: the network's name.
        mode: how styles are chosen: ONE, BLEND or CORNERS.
        style: the one style.
        blend: the styles of the blend.
        place: where the pad's dot is: across and down, from 0 to 1.
        strength, scale, keep_colors: see `Setting`.
        softness: of the regions' edges, see `region_masks`.
        corners: the styles of the pad's corners.
        region_styles: the style of each of the brush's `COLORS`.
        weights: of the blend, and of the sliders that are not shown.
    """

    model: str
    mode: str
    style: str
    blend: list[str]
    place: tuple[float, float]
    strength: float
    scale: float
    keep_colors: bool
    softness: float
    corners: tuple[str, ...]
    region_styles: tuple[str, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[Any]) -> "Choices":
        """From the values of the controls, in this order."""
        plain, rest = values[:9], values[9:]
        corners, rest = rest[:NUM_CORNERS], rest[NUM_CORNERS:]
        regions, weights = rest[: len(COLORS)], rest[len(COLORS) :]
        return cls(*plain, tuple(corners), tuple(regions), tuple(weights))

    def styles(self) -> dict[str, float]:
        """The weights of the styles.

        Raises:
            ValueError: there is no style, or all weights are 0.
        """
        if self.mode == BLEND:
            if not self.blend:
                raise ValueError("choose the styles of the blend: click their thumbnails")
            return blend_of(self.blend, self.weights[: len(self.blend)])
        if self.mode == CORNERS:
            return blend_of(self.corners, corner_weights(*self.place))
        return {self.style: 1.0}

    def setting(self, network: Network) -> Setting:
        """How to paint, with a network.

        Raises:
            ValueError: see `styles`.
        """
        return Setting(
            self.model,
            self.styles(),
            round(self.strength, 2),
            round(self.scale, 2),
            self.keep_colors,
            by_pixels=not network.has_identity_style,
        )

    def style_of_region(self, color: str) -> str:
        return self.region_styles[list(COLORS).index(color)]


def in_words(name: str) -> str:
    """A style's name as the page shows it."""
    return name.replace("_", " ")
