"""One sample: a square crop of a photo and the style to paint it in; a painting at its size."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from polystyle.data.draws import PHOTO_STREAM, STYLE_STREAM, RandomCrop, draw
from polystyle.data.images import Box, Openable, PictureError, Size, check_sides, load_resized
from polystyle.data.prepared_set import PreparedPhoto
from polystyle.data.skipped_photos import SkippedPhotos

# How many times longer than wide a painting may be. The longest scrolls are 30.
LONGEST_PAINTING = 100


to_float = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def middle_square(width: int, height: int) -> Box:
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def load_square(photo: Openable, box: Callable[[int, int], Box], size: int) -> np.ndarray:
    """A square part of a photo, ``[size, size, 3]`` uint8.

    Raises:
        PictureError: it can't be read, or is too small.
    """

    def choose(width: int, height: int) -> tuple[Box, Size]:
        check_sides(photo, width, height)
        return box(width, height), (size, size)

    # Prepared photos are small as they are: nothing is gained by a reduced decoding.
    spare = math.inf if isinstance(photo, PreparedPhoto) else 1
    return np.array(load_resized(photo, choose, spare))


def load_painting(path: Path, size: int) -> Tensor:
    """A painting, ``[3, h, w]`` float32 in [0, 1], the shorter side `size`.

    Raises:
        PictureError: it can't be read, or is too small, or too long.
    """

    def whole(width: int, height: int) -> tuple[Box, Size]:
        check_sides(path, width, height)
        shorter, longer = sorted((width, height))
        if longer > LONGEST_PAINTING * shorter:
            raise PictureError(
                path, f"is {width} x {height} pixels: more than {LONGEST_PAINTING} to 1"
            )
        return (0, 0, width, height), (size * width // shorter, size * height // shorter)

    return to_float(load_resized(path, whole, spare=2))


class TrainingImages(Dataset):
    """Endless training samples; sample i is a pure function of (seed, i).

    Each is ``{"pixels": [image_size, image_size, 3] uint8, "style": int}``: a random crop of 25 to
    100 % of a photo, flipped half of the time, and the style to paint it in. Of the samples before
    `small_crops_until` the crop is half as large. A photo that can't be used is put on a list, and
    the next usable one takes its place.
    """

    def __init__(
        self,
        photos: Sequence[Openable],
        num_styles: int,
        image_size: int,
        seed: int,
        skipped: SkippedPhotos,
    ) -> None:
        self.photos = photos
        self.num_styles = num_styles
        self.image_size = image_size
        self.seed = seed
        self.skipped = skipped
        self.small_crops_until = 0

    def __getitem__(self, sample: int) -> dict[str, Tensor | int]:
        crop = RandomCrop.draw(self.seed, sample)
        first = draw(self.seed, PHOTO_STREAM, sample, len(self.photos))
        size = self.image_size // (2 if sample < self.small_crops_until else 1)
        pixels = torch.from_numpy(self.usable_square(first, crop, size))
        return {
            "pixels": pixels.flip(1) if crop.flip else pixels,
            "style": draw(self.seed, STYLE_STREAM, sample, self.num_styles),
        }

    def usable_square(self, index: int, crop: RandomCrop, size: int) -> np.ndarray:
        for candidate in range(index, index + len(self.photos)):
            candidate %= len(self.photos)
            try:
                return load_square(self.photos[candidate], crop.box, size)
            except PictureError as error:
                self.skipped.add(error)
        raise ValueError(f"none of the photos can be used, {self.photos[index]} for one")
