"""Random draws: shuffles, crops, styles, and each device's share of a step.

Every draw is a function of the numbers (seed, stream, sample). Nothing is drawn from hidden state,
so resuming is exact, and the number of workers or devices changes no batch.
"""

import hashlib
import math
import os
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from typing import NamedTuple, Protocol

import numpy as np
from torch.utils.data import Sampler

from polystyle.data.images import Box

# Independent streams of random numbers, one for each quantity that is drawn.
PHOTO_STREAM, STYLE_STREAM, CROP_STREAM, TRIAL_STREAM = range(4)


def is_held_out(name: str, fraction: float) -> bool:
    """Whether a photo is held out for validation. Depends on the photo's name alone, so that adding
    photos moves no other photo between training and validation.

    Args:
        name: the photo's path inside its folder.
        fraction: share of the photos to hold out, from 0 to 1.
    """
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


@lru_cache(maxsize=8)
def permutation(seed: int, stream: int, shuffle: int, size: int) -> np.ndarray:
    """The given shuffle of ``range(size)``, ``[size]`` int64."""
    return np.random.default_rng([seed, stream, shuffle]).permutation(size)


def draw(seed: int, stream: int, sample: int, size: int) -> int:
    """Item `sample` of an endless sequence of shuffles of ``range(size)``, in which all numbers are
    equally frequent."""
    shuffle, position = divmod(sample, size)
    return int(permutation(seed, stream, shuffle, size)[position])


class RandomCrop(NamedTuple):
    """A crop before the size of its photo is known.

    Attributes:
        area: from 0, the smallest crop, to 1, the largest.
        across, down: from 0, the left or top edge, to 1, the right or bottom edge.
        flip: whether to mirror the crop, left to right.
    """

    area: float
    across: float
    down: float
    flip: bool

    @classmethod
    def draw(cls, seed: int, sample: int) -> "RandomCrop":
        area, across, down, coin = np.random.default_rng([seed, CROP_STREAM, sample]).random(4)
        return cls(area, across, down, bool(coin < 0.5))

    def box(self, width: int, height: int) -> Box:
        """A square of 25 to 100 % of the photo's area, or the largest that fits."""
        largest = min(width, height)
        most = largest**2 / (width * height)
        least = min(0.25, most)
        share = least + self.area * (most - least)
        side = min(largest, math.sqrt(share * width * height))
        left, top = self.across * (width - side), self.down * (height - side)
        # A rounding error must not put the box outside of the photo.
        return left, top, min(left + side, width), min(top + side, height)


class Trainer(Protocol):
    """The attributes of Lightning's Trainer that the sampler reads."""

    @property
    def global_step(self) -> int: ...
    @property
    def accumulate_grad_batches(self) -> int: ...
    @property
    def global_rank(self) -> int: ...
    @property
    def world_size(self) -> int: ...


class StepSampler(Sampler[int]):
    """The endless sample numbers of one device, from a given step on.

    Step t of all devices together has the samples t x batch_size to (t + 1) x batch_size - 1;
    device `rank` of `world_size` takes its slice of them.

    Args:
        batch_size: samples per step, on all devices together.
        start_step: the first step.
        rank: this device's number.
        world_size: the number of devices.

    Attributes:
        share: samples per step, on this device.

    Raises:
        ValueError: `batch_size` is not divisible by `world_size`.
    """

    def __init__(
        self, batch_size: int, start_step: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        if batch_size % world_size:
            raise ValueError(
                f"data.batch_size={batch_size} is the batch of all devices together and must be "
                f"divisible by their number, {world_size}"
            )
        self.batch_size = batch_size
        self.start_step = start_step
        self.rank = rank
        self.share = batch_size // world_size

    @classmethod
    def of(cls, trainer: "Trainer", batch_size: int) -> "StepSampler":
        """The samples of this device, from the trainer's step on.

        Checkpoints hold no accumulated gradients, so a resumed run draws the batches since the last
        optimizer step again.
        """
        start_step = trainer.global_step * trainer.accumulate_grad_batches
        return cls(batch_size, start_step, trainer.global_rank, trainer.world_size)

    def __iter__(self) -> Iterator[int]:
        for step in count(self.start_step):
            first = step * self.batch_size + self.rank * self.share
            yield from range(first, first + self.share)
