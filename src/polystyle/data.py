"""Photos and paintings: from folders of files to batches that are functions of (seed, step)."""

import hashlib
import logging
import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2
from tqdm import tqdm

from polystyle.files.terminal_text import sanitized
from polystyle.pictures import (
    Box,
    Openable,
    PictureError,
    Size,
    check_sides,
    list_images,
    load_resized,
    silence_pillow,
)
from polystyle.prepared import PreparedPhoto, find_photos
from polystyle.skipped_photos import MOST_NAMED, SkippedPhotos
from polystyle.slurm import REQUEUE_SIGNAL
from polystyle.style_names import PHOTO, check_style_name

log = logging.getLogger(__name__)

# Worker processes of a loader, if nobody says how many.
MOST_WORKERS = 16

# One stream of random numbers for each thing that is drawn.
PHOTO_STREAM, STYLE_STREAM, CROP_STREAM, TRIAL_STREAM = range(4)

# Photos in a step, and pixels on a side. More would fit nowhere, and it would take minutes to find
# that out.
MOST_PHOTOS, MOST_PIXELS = 2**16, 2**14

# How many photos are read before a run starts, to see whether most can be used.
MOST_TRIED = 512

# How many times longer than wide a painting may be. The longest scrolls are 30.
LONGEST_PAINTING = 100

to_float = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


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
    `small_until` the crop is half as large. A photo that can't be used is put on a list, and the
    next usable one takes its place.
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
        self.small_until = 0

    def __getitem__(self, sample: int) -> dict[str, Tensor | int]:
        crop = RandomCrop.draw(self.seed, sample)
        first = draw(self.seed, PHOTO_STREAM, sample, len(self.photos))
        size = self.image_size // (2 if sample < self.small_until else 1)
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


def usable_cores() -> int:
    """Cores that this process may run on, where the system tells: a cluster lends some of many."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def begin_worker(worker: int) -> None:
    silence_pillow()
    # Ctrl-C in a terminal also goes to the workers: they must outlive the step under way.
    for each in (signal.SIGINT, signal.SIGTERM, REQUEUE_SIGNAL):
        if each is not None:
            signal.signal(each, signal.SIG_IGN)


def some_of(errors: list[PictureError]) -> str:
    named = "; ".join(map(str, errors[:MOST_NAMED]))
    more = len(errors) - MOST_NAMED
    return f"{named}; and {more} more" if more > 0 else named


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


class StyleTransferData(LightningDataModule):
    """A folder of photos, or a prepared set of them, and a folder of paintings.

    Args:
        content_dir: photos, in folders however deep; or what polystyle-prepare made of them.
        style_dir: paintings, one file a style; the file's stem is the style's name. None if the
            photo row is the only style.
        image_size: side of the square training crops, in pixels.
        style_size: the paintings' shorter side, in pixels; sets the size of the brush strokes.
        small_share: share of the steps, the first ones, whose crops are half as large: what is
            coarse is learned there at a quarter of the cost.
        batch_size: photos in a step, on all devices together.
        num_workers: processes that load photos for each device; None shares the cores between the
            devices. Changes speed, never a result.
        val_fraction: share of the photos held out for validation.
        num_val_photos: how many of the held-out photos are used, at the most.
        seed: with the step, decides every batch.
        photo_row: one more style, the last: "photo", which paints the photo itself.
        skipped_photos: where to list the photos that can't be used; see `SkippedPhotos`, whose
            `path` it is.

    Attributes:
        skipped: the `SkippedPhotos`.
        style_names: sorted; a style's index is its place in here.
        paintings: after `setup`, ``[3, h, w]`` float32 in [0, 1] by style name; None for the style
            that has none, "photo".
        val_photos: after `setup`, ``[K, 3, image_size, image_size]`` float32 in [0, 1].

    Raises:
        FileNotFoundError: a folder that isn't there.
        ValueError: a folder without pictures, two paintings of one name, one named "photo", or no
            style at all; a damaged prepared set.
    """

    def __init__(
        self,
        content_dir: str,
        style_dir: str | None,
        image_size: int = 256,
        style_size: int = 256,
        small_share: float = 0.0,
        batch_size: int = 4,
        num_workers: int | None = None,
        val_fraction: float = 0.05,
        num_val_photos: int = 4,
        seed: int = 0,
        photo_row: bool = False,
        skipped_photos: str | None = None,
    ) -> None:
        super().__init__()
        silence_pillow()
        for name, value, least, most in (
            ("image_size", image_size, 16, MOST_PIXELS),
            ("style_size", style_size, 16, MOST_PIXELS),
            ("batch_size", batch_size, 1, MOST_PHOTOS),
            ("num_workers", num_workers or 0, 0, MOST_PHOTOS),
            ("num_val_photos", num_val_photos, 1, MOST_PHOTOS),
            ("seed", seed, 0, 2**63),
        ):
            if value < least:
                raise ValueError(f"data.{name} must be at least {least}, not {value}")
            if value > most:
                raise ValueError(f"data.{name} must be at most {most}, not {value}")
        if not 0 <= val_fraction < 1:
            raise ValueError(f"data.val_fraction must be in [0, 1), not {val_fraction}")
        if not 0 <= small_share <= 1:
            raise ValueError(f"data.small_share must be in [0, 1], not {small_share}")
        if small_share and image_size < 32:
            raise ValueError(f"half of data.image_size={image_size} is too small: 16 is the least")
        self.image_size = image_size
        self.style_size = style_size
        self.small_share = small_share
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.num_val_photos = num_val_photos
        self.seed = seed
        self.skipped = SkippedPhotos(Path(skipped_photos) if skipped_photos else None)
        # One process of them all tries the photos: see `prepare_data`.
        self.prepare_data_per_node = False

        self.content_dir = content_dir
        found = find_photos(Path(content_dir))
        self.photos = photos = list(found.values())
        held_out = [is_held_out(name, val_fraction) for name in found]
        self.train_paths = [photo for photo, held in zip(photos, held_out, strict=True) if not held]
        self.val_paths = [photo for photo, held in zip(photos, held_out, strict=True) if held]
        if not self.train_paths or not self.val_paths:
            log.warning(
                f"data.val_fraction={val_fraction} of {len(photos)} photos leaves none for "
                f"{'training' if self.val_paths else 'validation'}: the same ones are used for both"
            )
            self.train_paths = self.val_paths = photos

        self.style_paths: dict[str, Path] = {}
        for path in list_images(Path(style_dir), deep=False) if style_dir else []:
            try:
                check_style_name(path.stem)
            except ValueError as error:
                raise ValueError(f"{sanitized(path)}: {error}: rename it") from error
            if path.stem == PHOTO:
                raise ValueError(
                    f"{path}: a painting can't be named {PHOTO!r}, which is the style of "
                    "data.photo_row: rename it"
                )
            if path.stem in self.style_paths:
                raise ValueError(
                    f"two paintings are named {path.stem!r}: "
                    f"{self.style_paths[path.stem]} and {path}"
                )
            self.style_paths[path.stem] = path
        self.style_names = sorted(self.style_paths) + [PHOTO] * photo_row
        if not self.style_names:
            raise ValueError("data.style_dir is null and data.photo_row false: there is no style")

    def prepare_data(self) -> None:
        """Try the photos, or a sample of them if they are many, on all cores; and those that an
        earlier start of this run could not use, which may be mended by now.

        Raises:
            ValueError: more than half of them can't be used.
        """
        chosen = set(permutation(self.seed, TRIAL_STREAM, 0, len(self.photos))[:MOST_TRIED])
        listed = self.skipped.begin_anew()
        tried = [
            photo
            for index, photo in enumerate(self.photos)
            if index in chosen or (listed and sanitized(photo) in listed)
        ]

        def trouble(photo: Openable) -> PictureError | None:
            try:
                load_square(photo, middle_square, self.image_size)
            except PictureError as error:
                return error

        with ThreadPoolExecutor(usable_cores()) as pool:
            answers = tqdm(
                pool.map(trouble, tried),
                "Trying photos",
                len(tried),
                unit="photo",
                disable=None,
                leave=False,
            )
            errors = [error for error in answers if error]
        for error in errors:
            self.skipped.add(error)
        if len(errors) > len(tried) / 2:
            which = " that were tried" if len(tried) < len(self.photos) else ""
            raise ValueError(
                f"{len(errors)} of {len(tried)} photos{which} in {self.content_dir} can't be used, "
                f"more than half: {some_of(errors)}"
            )

    def setup(self, stage: str | None = None) -> None:
        """Read the paintings and the held-out photos.

        Raises:
            OSError: there are paintings that can't be used.
            ValueError: not one of the photos can be used.
        """

        def load(path: Path) -> Tensor | PictureError:
            try:
                return load_painting(path, self.style_size)
            except PictureError as error:
                return error

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            paintings = list(pool.map(load, self.style_paths.values()))
        errors = [each for each in paintings if isinstance(each, PictureError)]
        if errors:
            raise OSError(
                f"{len(errors)} of {len(paintings)} paintings can't be used: {some_of(errors)}"
            )
        self.paintings: dict[str, Tensor | None] = dict.fromkeys(self.style_names)
        self.paintings.update(zip(self.style_paths, paintings, strict=True))
        photos = []
        for photo in self.val_paths:
            try:
                photos.append(to_float(load_square(photo, middle_square, self.image_size)))
            except PictureError as error:
                self.skipped.add(error)
            if len(photos) == self.num_val_photos:
                break
        if not photos:
            raise ValueError("none of the held-out photos can be used")
        self.val_photos = torch.stack(photos)
        self.training_images = TrainingImages(
            self.train_paths, len(self.style_names), self.image_size, self.seed, self.skipped
        )
        self.training_images[0]  # a run whose photos are all unusable ends before it begins

    @property
    def crop_sizes(self) -> list[int]:
        """The sizes of a run's training crops, one after the other, in pixels."""
        return [self.image_size // 2] * (self.small_share > 0) + [self.image_size]

    def train_dataloader(self) -> DataLoader:
        """Batches of `TrainingImages`, from the trainer's step on, without end.
        `on_after_batch_transfer` finishes them.

        Raises:
            ValueError: see `StepSampler`.
        """
        trainer = self.trainer
        sampler = StepSampler(
            self.batch_size,
            # Counted in batches. Gradients accumulated since the last optimizer step are in no
            # checkpoint, so a resumed run draws their batches again.
            start_step=trainer.global_step * trainer.accumulate_grad_batches,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        samples = self.training_images
        workers = self.num_workers
        if workers is None:
            workers = max(1, min(MOST_WORKERS, usable_cores() // trainer.num_devices))
        small_steps = round(self.small_share * trainer.max_steps)
        samples.small_until = small_steps * trainer.accumulate_grad_batches * self.batch_size
        return DataLoader(
            samples,
            batch_size=sampler.share,
            sampler=sampler,
            num_workers=workers,
            worker_init_fn=begin_worker,
            generator=torch.Generator(),  # else it would draw from the global one
            pin_memory=torch.cuda.is_available(),
        )

    def on_after_batch_transfer(
        self, batch: dict[str, Tensor], dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        """What is quicker on the device: pixels to ``"content": [B, 3, image_size, image_size]``
        float32 in [0, 1]. Photos travel as bytes: a quarter of the floats."""
        if "pixels" not in batch:
            return batch
        content = batch["pixels"].permute(0, 3, 1, 2).float() / 255
        return {"content": content, "style": batch["style"]}

    def samples(self, batch: int) -> list[tuple[str, Openable]]:
        """What a batch of all devices is made of: each sample's style, by name, and its photo."""
        return [
            (
                self.style_names[draw(self.seed, STYLE_STREAM, sample, len(self.style_names))],
                self.train_paths[draw(self.seed, PHOTO_STREAM, sample, len(self.train_paths))],
            )
            for sample in range(batch * self.batch_size, (batch + 1) * self.batch_size)
        ]

    def val_dataloader(self) -> DataLoader:
        """One batch for each style: all held-out photos, to be painted in it."""
        batches = [
            {"content": self.val_photos, "style": torch.full((len(self.val_photos),), index)}
            for index in range(len(self.style_names))
        ]
        return DataLoader(batches, batch_size=None, generator=torch.Generator())
