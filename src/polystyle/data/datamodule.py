"""Photos and paintings: from folders of files to batches that are functions of (seed, step)."""

import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from polystyle.data.draws import (
    PHOTO_STREAM,
    STYLE_STREAM,
    TRIAL_STREAM,
    StepSampler,
    draw,
    is_held_out,
    permutation,
)
from polystyle.data.images import Openable, PictureError, list_images, silence_pillow
from polystyle.data.prepared_set import find_photos
from polystyle.data.samples import (
    TrainingImages,
    load_painting,
    load_square,
    middle_square,
    to_float,
)
from polystyle.data.skipped_photos import MOST_NAMED, SkippedPhotos
from polystyle.files.terminal_text import sanitized
from polystyle.style_names import IDENTITY_STYLE, check_style_name
from polystyle.training.slurm import REQUEUE_SIGNAL

log = logging.getLogger(__name__)

# Worker processes of a loader, if nobody says how many.
MOST_WORKERS = 16


# Photos in a step, and pixels on a side. More would fit nowhere, and it would take minutes to find
# that out.
MOST_PHOTOS, MOST_PIXELS = 2**16, 2**14

# How many photos are read before a run starts, to see whether most can be used.
MOST_TRIED = 512


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


class StyleTransferData(LightningDataModule):
    """A folder of photos, or a prepared set of them, and a folder of paintings.

    Args:
        content_dir: photos, in folders however deep; or what polystyle-prepare made of them.
        style_dir: paintings, one file a style; the file's stem is the style's name. None if the
            identity style is the only style.
        image_size: side of the square training crops, in pixels.
        style_size: the paintings' shorter side, in pixels; sets the size of the brush strokes.
        progressive_share: progressive resizing: the share of the steps, the first ones, whose crops
            have half the side. They learn the coarse structure at a quarter of the cost.
        batch_size: photos in a step, on all devices together.
        num_workers: processes that load photos for each device; None shares the cores between the
            devices. Changes speed, never a result.
        val_fraction: share of the photos held out for validation.
        num_val_photos: how many of the held-out photos are used, at the most.
        seed: with the step, decides every batch.
        identity_style: one more style, the last: "photo", which paints the photo itself.
        skipped_photos: where to list the photos that can't be used; see `SkippedPhotos`, whose
            `path` it is.

    Attributes:
        skipped: the `SkippedPhotos`.
        conditions: the names of the styles, sorted; a style's index is its place in here.
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
        progressive_share: float = 0.0,
        batch_size: int = 4,
        num_workers: int | None = None,
        val_fraction: float = 0.05,
        num_val_photos: int = 4,
        seed: int = 0,
        identity_style: bool = False,
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
        if not 0 <= progressive_share <= 1:
            raise ValueError(f"data.progressive_share must be in [0, 1], not {progressive_share}")
        if progressive_share and image_size < 32:
            raise ValueError(f"half of data.image_size={image_size} is too small: 16 is the least")
        self.image_size = image_size
        self.style_size = style_size
        self.progressive_share = progressive_share
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
            if path.stem == IDENTITY_STYLE:
                raise ValueError(
                    f"{path}: a painting can't be named {IDENTITY_STYLE!r}, which is the style of "
                    "data.identity_style: rename it"
                )
            if path.stem in self.style_paths:
                raise ValueError(
                    f"two paintings are named {path.stem!r}: "
                    f"{self.style_paths[path.stem]} and {path}"
                )
            self.style_paths[path.stem] = path
        self.conditions = sorted(self.style_paths) + [IDENTITY_STYLE] * identity_style
        if not self.conditions:
            raise ValueError(
                "data.style_dir is null and data.identity_style false: there is no style"
            )

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
        self.paintings: dict[str, Tensor | None] = dict.fromkeys(self.conditions)
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
            self.train_paths, len(self.conditions), self.image_size, self.seed, self.skipped
        )
        self.training_images[0]  # a run whose photos are all unusable ends before it begins

    @property
    def crop_sizes(self) -> list[int]:
        """The sizes of a run's training crops, one after the other, in pixels."""
        return [self.image_size // 2] * (self.progressive_share > 0) + [self.image_size]

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
        small_steps = round(self.progressive_share * trainer.max_steps)
        samples.small_crops_until = small_steps * trainer.accumulate_grad_batches * self.batch_size
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
                self.conditions[draw(self.seed, STYLE_STREAM, sample, len(self.conditions))],
                self.train_paths[draw(self.seed, PHOTO_STREAM, sample, len(self.train_paths))],
            )
            for sample in range(batch * self.batch_size, (batch + 1) * self.batch_size)
        ]

    def val_dataloader(self) -> DataLoader:
        """One batch for each style: all held-out photos, to be painted in it."""
        batches = [
            {"content": self.val_photos, "style": torch.full((len(self.val_photos),), index)}
            for index in range(len(self.conditions))
        ]
        return DataLoader(batches, batch_size=None, generator=torch.Generator())
