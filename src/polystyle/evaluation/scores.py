"""The scores of a painter in one style, and whether two painters differ by more than chance."""

import math
from dataclasses import dataclass, field

from torch import Tensor

# Standard errors from which a difference counts. With 16 photos, chance alone exceeds this in one
# of a hundred comparisons (Student's t), and an evaluation makes one comparison for each style.
SIGNIFICANT = 3.0

# With fewer photos the spread over photos is not known well enough for a standard error.
MIN_PHOTOS = 5

LOSSES = ("content_loss", "style_loss", "loss")


@dataclass
class Scores:
    """The losses of one painter in one style.

    Attributes:
        losses: ``[K]`` float64, one value per photo, by name: "content_loss", "style_loss" and
            their weighted sum "loss", all scale-free; with the prefix "paper_", as defined by
            Dumoulin et al. 2017.
        picture: the first photo, stylized: RGB ``[3, S, S]`` in [0, 1].
        gap_closed: share of the gap between the total loss of the photo (0) and that of optimised
            pixels (1) that the painter has closed. Without optimised pixels, the gap is that
            between the total loss of the photo and 0. NaN until `measure.set_gap_closed`.
        nearest: for each photo, the style whose paintings the network's picture is nearest to, by
            the style loss; empty for painters that are not networks.
        identical: whether all pictures are bit-identical to those of network A.
    """

    losses: dict[str, Tensor]
    picture: Tensor
    gap_closed: float = math.nan
    nearest: list[str] = field(default_factory=list)
    identical: bool = False

    def mean(self, name: str) -> float:
        """The mean over photos of the loss of that name."""
        return self.losses[name].mean().item()


# By style name, then by painter: "photo" (the photo itself), the networks "A" and "B", "gatys".
Results = dict[str, dict[str, Scores]]


def paired_difference(a: Tensor, b: Tensor) -> tuple[float, float]:
    """The difference b - a, paired by photo, as a share of the mean of a.

    Args:
        a, b: ``[K]``, losses on the same photos.

    Returns:
        The mean difference and its standard error over photos; the error is NaN for fewer than
        `MIN_PHOTOS` photos.
    """
    shares = (b - a) / a.mean()
    error = shares.std().item() / math.sqrt(len(shares)) if len(shares) >= MIN_PHOTOS else math.nan
    return shares.mean().item(), error


def verdict(difference: float, error: float) -> str:
    """The verdict on B: "better" for a lower loss, "worse" for a higher one, "unclear" within the
    spread over photos."""
    if not abs(difference) > SIGNIFICANT * error:
        return "unclear"
    return "better" if difference < 0 else "worse"
