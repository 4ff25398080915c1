"""What (seed, step) decides: shuffles, crops, styles, and each device's share of a step.

Everything is drawn from numbers alone, (seed, stream, sample), and nothing from hidden state: so
resuming is exact, and the number of workers or devices changes no batch.
"""

import hashlib
import math
import os
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from polystyle.data.images import Box

# One stream of random numbers for each thing that is drawn.
PHOTO_STREAM, STYLE_STREAM, CROP_STREAM, TRIAL_STREAM = range(4)


def is_held_out(name: str, fraction: float) -> bool:
    """Whether a photo is for validation. Its name alone decides: adding photos moves no other."""
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


@lru_cache(maxsize=8)
def permutation(seed: int, stream: int, turn: int, size: int) -> np.ndarray:
    return np.random.default_rng([seed, stream, turn]).permutation(size)


def draw(seed: int, stream: int, sample: int, size: int) -> int:
    """The sample-th of an endless row of shuffles of ``range(size)``: each comes equally often."""
    turn, place = divmod(sample, size)
    return int(permutation(seed, stream, turn, size)[place])


class RandomCrop(NamedTuple):
    """Where to crop whatever photo comes, as numbers from 0 to 1, and whether to flip it."""

    area: float
    across: float
    down: float
    flip: bool

    @classmethod
    def draw(cls, seed: int, sample: int) -> "RandomCrop":
        area, across, down, coin = np.random.default_rng([seed, CROP_STREAM, sample]).random(4)
        return cls(area, across, down, bool(coin < 0.5))

    def box(self, width: int, height: int) -> Box:
        """A square of 25 to 100 % of a photo's area, or as much as it has room for."""
        largest = min(width, height)
        most = largest**2 / (width * height)
        least = min(0.25, most)
        share = least + self.area * (most - least)
        side = min(largest, math.sqrt(share * width * height))
        left, top = self.across * (width - side), self.down * (height - side)
        # Not outside the photo by a rounding.
        return left, top, min(left + side, width), min(top + side, height)


class StepSampler(Sampler[int]):
    """Sample numbers for one of several devices, endlessly, from a given step on.

    Step t of all devices together is samples t x batch_size to (t + 1) x batch_size - 1; device
    `rank` of `world_size` takes its slice of them.

    Raises:
        ValueError: the batch can't be shared equally.
    """

    def __init__(
        self, batch_size: int, start_step: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        if batch_size % world_size:
            raise ValueError(
                f"data.batch_size={batch_size} is for all devices together and does not divide by "
                f"the {world_size} there are"
            )
        self.batch_size = batch_size
        self.start_step = start_step
        self.rank = rank
        self.share = batch_size // world_size

    def __iter__(self) -> Iterator[int]:
        for step in count(self.start_step):
            first = step * self.batch_size + self.rank * self.share
            yield from range(first, first + self.share)
