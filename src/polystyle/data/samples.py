"""A training sample: a square crop of a photo, and the style to paint it in."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from polystyle.data.draws import PHOTO_STREAM, STYLE_STREAM, RandomCrop, draw
from polystyle.data.images import (
    Box,
    Openable,
    PictureError,
    Size,
    check_sides,
    has_more_frames,
    load_resized,
)
from polystyle.data.prepared_set import PreparedPhoto
from polystyle.data.skipped_photos import SkippedPhotos

# A picture (PIL, or [h, w, 3] uint8) to [3, h, w] float32 in [0, 1].
to_float = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def middle_square(width: int, height: int) -> Box:
    """The largest square in the middle of a picture."""
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def load_square(photo: Openable, box: Callable[[int, int], Box], size: int) -> np.ndarray:
    """A square part of a photo, resized to ``[size, size, 3]`` uint8.

    Args:
        photo: the file.
        box: takes the photo's width and height, returns the part.
        size: in pixels.

    Raises:
        PictureError: the file can't be read, or the photo is too small.
    """

    def choose(width: int, height: int) -> tuple[Box, Size]:
        check_sides(photo, width, height)
        return box(width, height), (size, size)

    # Prepared photos are small already: decoding them at a reduced scale would gain nothing.
    spare = math.inf if isinstance(photo, PreparedPhoto) else 1
    return np.array(load_resized(photo, choose, spare))


@dataclass(frozen=True)
class TriedPhoto:
    """The result of a trial decoding.

    Attributes:
        error: why the photo can't be used; None if it can.
        is_small: its shorter side is smaller than the crops, which are enlarged then.
        has_more_frames: it is an animation or has pages, of which only the first is read.
    """

    error: PictureError | None = None
    is_small: bool = False
    has_more_frames: bool = False


def try_photo(photo: Openable, size: int) -> TriedPhoto:
    """Decodes a photo, as for crops of `size` pixels."""
    shorter_side = 0

    def box(width: int, height: int) -> Box:
        nonlocal shorter_side
        shorter_side = min(width, height)
        return middle_square(width, height)

    try:
        load_square(photo, box, size)
    except PictureError as error:
        return TriedPhoto(error)
    return TriedPhoto(None, shorter_side < size, has_more_frames(photo))


class TrainingImages(Dataset[dict[str, Tensor | int]]):
    """Endless training samples; sample i is a pure function of (seed, i).

    A sample is ``{"pixels": [image_size, image_size, 3] uint8, "style": int}``: a random crop of 25
    to 100 % of a photo, flipped half of the time, and the style to paint it in. If a photo can't be
    used, `skipped` lists it and the next usable one takes its place.

    Args:
        photos: the files.
        num_styles: styles to draw from.
        image_size: side of the crops, in pixels.
        seed: with the sample's number, decides the sample.
        skipped: lists the photos that can't be used.

    Attributes:
        small_crops_until: samples before this one have crops of half the side (progressive
            resizing). At first 0.

    Raises:
        ValueError: when indexed, if no photo can be used.
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
        index = draw(self.seed, PHOTO_STREAM, sample, len(self.photos))
        size = self.image_size // (2 if sample < self.small_crops_until else 1)
        pixels = torch.from_numpy(self.usable_square(index, crop, size))
        return {
            "pixels": pixels.flip(1) if crop.flip else pixels,
            "style": draw(self.seed, STYLE_STREAM, sample, self.num_styles),
        }

    def usable_square(self, index: int, crop: RandomCrop, size: int) -> np.ndarray:
        """The crop of the first usable photo from `index` on."""
        for candidate in range(index, index + len(self.photos)):
            photo = self.photos[candidate % len(self.photos)]
            try:
                return load_square(photo, crop.box, size)
            except PictureError as error:
                self.skipped.add(error)
        raise ValueError(f"none of the photos can be used, {self.photos[index]} for example")
