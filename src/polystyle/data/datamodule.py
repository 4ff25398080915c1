"""StyleTransferData: a folder of photos and a folder of paintings in, batches out."""

import logging
import os
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

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
from polystyle.data.fingerprint import paintings_fingerprint, photos_fingerprint
from polystyle.data.images import (
    LEAST_SIDE,
    Openable,
    PictureError,
    has_more_frames,
    silence_pillow,
)
from polystyle.data.paintings import find_paintings, load_paintings, thumbnails
from polystyle.data.picture_folder import unread_line
from polystyle.data.prepared_set import find_photos, is_prepared
from polystyle.data.samples import (
    TrainingImages,
    TriedPhoto,
    load_square,
    middle_square,
    to_float,
    try_photo,
)
from polystyle.data.skipped_photos import SkippedPhotos, first_errors
from polystyle.files.terminal_text import counted, sanitized
from polystyle.style_names import IDENTITY_STYLE

log = logging.getLogger(__name__)

# Most worker processes of a loader if data.num_workers is null.
MOST_WORKERS = 16

# Limits of the batch size and of sizes in pixels. Larger values fit into no memory, and a run would
# take minutes to find that out.
MOST_PHOTOS, MOST_PIXELS = 2**16, 2**14

# Photos that are decoded before a run starts, to see whether most of them can be used.
MOST_TRIED = 512


class StyleTransferData(LightningDataModule):
    """A folder of photos, or a prepared set of them, and a folder of paintings.

    Training asks any data for `conditions`, `batch_size`, `example`, `summary` and `fingerprint`,
    and, where they exist, for `settings`, `thumbnails` and `samples`. Everything else in here is
    Lightning's.

    Args:
        content_dir: photos, in folders of any depth, or the output of polystyle-prepare.
        style_dir: paintings: a file is a style of that stem, a subfolder one style of all pictures
            in it. None if the identity style is the only one.
        image_size: side of the square training crops, in pixels.
        style_size: the paintings' shorter side, in pixels; sets the size of the brush strokes.
        progressive_share: progressive resizing: the share of the steps, the first ones, whose crops
            have half the side. They learn the coarse structure at a quarter of the cost.
        progressive_style_size: the paintings' shorter side in those steps, in pixels; None is
            `style_size`.
        batch_size: photos per step, on all devices together.
        num_workers: processes that load photos for each device; None shares the cores between the
            devices. Changes the speed, never a result.
        val_fraction: share of the photos held out for validation, in [0, 1).
        num_val_photos: the most held-out photos that are used.
        seed: with the step, decides every batch.
        identity_style: adds one style, the last: "photo", which paints the photo itself.
        skipped_photos: file that lists the photos that can't be used, see `SkippedPhotos`.

    Attributes:
        conditions: the names of the styles, sorted, "photo" last; a style's index is its position.
        skipped: the `SkippedPhotos`.
        paintings: after `setup`, the paintings of each style by its name, ``[3, h, w]`` float32 in
            [0, 1]; "photo" has none.
        progressive_paintings: after `setup`, the same at `progressive_style_size`; None if that is
            `style_size`, or no step is one of progressive resizing.
        val_photos: after `setup`, ``[K, 3, image_size, image_size]`` float32 in [0, 1].

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: an argument is out of range, a folder has no pictures, two styles have the
            same name, a style is named "photo", there is no style at all, or the prepared set is
            damaged.
    """

    def __init__(
        self,
        content_dir: str,
        style_dir: str | None,
        image_size: int = 256,
        style_size: int = 256,
        progressive_share: float = 0.0,
        progressive_style_size: int | None = None,
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
        check_range("image_size", image_size, LEAST_SIDE, MOST_PIXELS)
        check_range("style_size", style_size, LEAST_SIDE, MOST_PIXELS)
        check_range(
            "progressive_style_size", progressive_style_size or style_size, LEAST_SIDE, MOST_PIXELS
        )
        check_range("batch_size", batch_size, 1, MOST_PHOTOS)
        check_range("num_workers", num_workers or 0, 0, MOST_PHOTOS)
        check_range("num_val_photos", num_val_photos, 1, MOST_PHOTOS)
        check_range("seed", seed, 0, 2**63)
        if not 0 <= val_fraction < 1:
            raise ValueError(f"data.val_fraction must be in [0, 1), not {val_fraction}")
        check_progressive_share(progressive_share, image_size)
        self.image_size = image_size
        self.style_size = style_size
        self.progressive_share = progressive_share
        self.progressive_style_size = progressive_style_size or style_size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.num_val_photos = num_val_photos
        self.seed = seed
        self.skipped = SkippedPhotos(Path(skipped_photos) if skipped_photos else None)
        self.skipped.check_is_own()
        # Lightning then calls `prepare_data` in one process of all, not in one per node.
        self.prepare_data_per_node = False

        self.content_dir = content_dir
        named_photos = find_photos(Path(content_dir))
        self.photos = list(named_photos.values())
        self.train_paths, self.val_paths = split_photos(named_photos, val_fraction)
        self.style_folders = [Path(style_dir)] if style_dir else []
        self.style_paths = find_paintings(Path(style_dir)) if style_dir else {}
        self.conditions = sorted(self.style_paths) + [IDENTITY_STYLE] * identity_style
        if not self.conditions:
            raise ValueError(
                "data.style_dir is null and data.identity_style false: there is no style"
            )

    # ---- What training asks -----------------------------------------------------------------

    @property
    def settings(self) -> dict[str, int]:
        """What the header of the model file tells of the data: plain values by name."""
        return {
            "seed": self.seed,
            "image_size": self.image_size,
            "style_size": self.style_size,
            "batch_size": self.batch_size,
        }

    def example(self, count: int) -> dict[str, Tensor]:
        """A batch to try a step with, after `setup`: held-out photos, each in every style in turn.

        Returns:
            What `on_after_batch_transfer` returns, on the CPU: ``"content": [count, 3, image_size,
            image_size]`` float32 in [0, 1] and ``"style": [count]`` int64.
        """
        index = torch.arange(count)
        photo = index // len(self.conditions) % len(self.val_photos)
        return {"content": self.val_photos[photo], "style": index % len(self.conditions)}

    def summary(self) -> list[str]:
        """The data in two lines of text, for the log, and a line for each folder that holds files
        that are not read."""
        several = {name: paths for name, paths in self.style_paths.items() if len(paths) > 1}
        names = [
            f"{name} ({len(several[name])} paintings)" if name in several else name
            for name in self.conditions
        ]
        photos = Path(self.content_dir)
        folders = ([] if is_prepared(photos) else [photos]) + self.style_folders
        unread = filter(None, (unread_line(folder, deep=True) for folder in folders))
        return [
            f"{counted(len(self.conditions), 'style')}: {', '.join(names)}",
            f"{counted(len(self.train_paths), 'photo')} to train on, "
            f"{len(self.val_paths)} held out; crops of {self.image_size} pixels",
            *self.subfolder_lines(),
            *unread,
        ]

    def subfolder_lines(self) -> list[str]:
        """A line where all paintings lie in subfolders: somebody may have meant one painting for
        each style."""
        paintings = [path for paths in self.style_paths.values() for path in paths]
        if not paintings or any(path.parent in self.style_folders for path in paintings):
            return []
        return [
            f"{self.style_folders[0]} holds {counted(len(paintings), 'painting')}, all in "
            "subfolders: each subfolder is one style"
        ]

    def fingerprint(self) -> dict[str, Any]:
        """What tells this data from other data, in plain values for a JSON file: counts, bytes and
        SHA-256. See `polystyle.data.fingerprint`."""
        folder = Path(self.content_dir)
        return {
            "photos to train on": photos_fingerprint(self.train_paths, folder),
            "held-out photos": photos_fingerprint(self.val_paths, folder),
            "paintings": paintings_fingerprint(self.style_paths),
        }

    def thumbnails(self) -> dict[str, bytes]:
        """A small JPEG of each style's paintings by its name, after `setup`; none of "photo"."""
        return thumbnails(self.paintings)

    def samples(self, batch: int) -> list[tuple[str, Openable]]:
        """The style's name and the photo of each sample in a batch of all devices together."""
        return [
            (
                self.conditions[draw(self.seed, STYLE_STREAM, sample, len(self.conditions))],
                self.train_paths[draw(self.seed, PHOTO_STREAM, sample, len(self.train_paths))],
            )
            for sample in range(batch * self.batch_size, (batch + 1) * self.batch_size)
        ]

    # ---- What Lightning calls, in this order ------------------------------------------------

    def prepare_data(self) -> None:
        """Decodes the photos, or a sample of them if there are many, on all cores. Photos that an
        earlier start of this run listed are tried again: they may have been repaired.

        Raises:
            ValueError: more than half of them can't be used.
        """
        listed = self.skipped.begin_anew()
        chosen = set(permutation(self.seed, TRIAL_STREAM, 0, len(self.photos))[:MOST_TRIED])
        tried = [
            photo
            for index, photo in enumerate(self.photos)
            if index in chosen or (listed and sanitized(photo) in listed)
        ]
        results = try_photos(tried, self.image_size)
        errors = [result.error for result in results if result.error]
        for error in errors:
            self.skipped.add(error)
        which = " that were tried" if len(tried) < len(self.photos) else ""
        if small := sum(result.is_small for result in results):
            log.warning(
                f"{small} of {len(tried)} photos{which} are smaller than data.image_size="
                f"{self.image_size} pixels: their crops are enlarged, and less sharp"
            )
        if moving := sum(result.has_more_frames for result in results):
            log.warning(
                f"{moving} of {len(tried)} photos{which} are animations or have pages: only the "
                "first picture of each is used"
            )
        if len(errors) > len(tried) / 2:
            raise ValueError(
                f"{len(errors)} of {counted(len(tried), 'photo')}{which} in "
                f"{self.content_dir} can't be used, more than half: {first_errors(errors)}"
            )

    def setup(self, stage: str | None = None) -> None:
        """Reads the paintings and the held-out photos.

        Raises:
            OSError: a painting can't be used; names all of them.
            ValueError: no photo can be used.
        """
        self.paintings = self.load_paintings(self.style_size)
        self.progressive_paintings = None
        if self.progressive_share and self.progressive_style_size != self.style_size:
            self.progressive_paintings = self.load_paintings(self.progressive_style_size)
        paths = [path for paintings in self.style_paths.values() for path in paintings]
        if moving := [path for path in paths if has_more_frames(path)]:
            log.warning(
                f"{counted(len(moving), 'painting')}, {moving[0]} for example: only the first "
                "picture of an animation or of pages is used"
            )
        self.val_photos = self.load_val_photos()
        self.training_images = TrainingImages(
            self.train_paths, len(self.conditions), self.image_size, self.seed, self.skipped
        )
        self.training_images[0]  # fails now, not in a worker, if no photo can be used

    def load_paintings(self, size: int) -> dict[str, list[Tensor]]:
        paintings = load_paintings(self.style_paths, size)
        return {name: paintings.get(name, []) for name in self.conditions}

    def load_val_photos(self) -> Tensor:
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
        return torch.stack(photos)

    def train_dataloader(self) -> DataLoader:
        """Endless batches of `TrainingImages` from the trainer's step on, this device's share of
        each. `on_after_batch_transfer` finishes them.

        Raises:
            ValueError: see `StepSampler`.
        """
        trainer = self.trainer
        sampler = StepSampler.of(trainer, self.batch_size)
        workers = self.num_workers
        if workers is None:
            workers = max(1, min(MOST_WORKERS, usable_cores() // trainer.num_devices))
        small_steps = round(self.progressive_share * trainer.max_steps)
        self.training_images.small_crops_until = (
            small_steps * trainer.accumulate_grad_batches * self.batch_size
        )
        return DataLoader(
            self.training_images,
            batch_size=sampler.share,
            sampler=sampler,
            num_workers=workers,
            worker_init_fn=init_worker,
            generator=torch.Generator(),  # or it would draw from the global generator
            pin_memory=torch.cuda.is_available(),
        )

    @property
    def crop_sizes(self) -> list[int]:
        """The sizes of a run's training crops in the order of their use, in pixels."""
        return [self.image_size // 2] * (self.progressive_share > 0) + [self.image_size]

    def on_after_batch_transfer(
        self, batch: dict[str, Tensor], dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        """Converts ``"pixels": [B, S, S, 3]`` uint8 to ``"content": [B, 3, S, S]`` float32 in
        [0, 1], on the device: bytes are a quarter of the floats to transfer."""
        if "pixels" not in batch:
            return batch
        content = batch["pixels"].permute(0, 3, 1, 2).float() / 255
        return {"content": content, "style": batch["style"]}

    def val_dataloader(self) -> DataLoader:
        """One batch for each style: all held-out photos, to be painted in it."""
        batches = [
            {"content": self.val_photos, "style": torch.full((len(self.val_photos),), index)}
            for index in range(len(self.conditions))
        ]
        return DataLoader(batches, batch_size=None, generator=torch.Generator())

    def teardown(self, stage: str) -> None:
        """At the end of training, logs how many photos could not be used."""
        if stage != "fit":
            return
        if count := self.skipped.count():
            where = f", listed in {self.skipped.path}" if self.skipped.path else ""
            log.info(f"Photos that can't be used: {count}{where}")


def check_range(name: str, value: int, least: int, most: int) -> None:
    if value < least:
        raise ValueError(f"data.{name} must be at least {least}, not {value}")
    if value > most:
        raise ValueError(f"data.{name} must be at most {most}, not {value}")


def check_progressive_share(progressive_share: float, image_size: int) -> None:
    if not 0 <= progressive_share <= 1:
        raise ValueError(f"data.progressive_share must be in [0, 1], not {progressive_share}")
    if progressive_share and image_size < 2 * LEAST_SIDE:
        raise ValueError(
            f"data.image_size must be at least {2 * LEAST_SIDE} with data.progressive_share, whose "
            f"crops have half of it, not {image_size}"
        )


def split_photos(
    named_photos: Mapping[str, Openable], val_fraction: float
) -> tuple[list[Openable], list[Openable]]:
    """The photos to train on and the held-out ones; the same list twice if one would be empty."""
    to_train_on, held_out = [], []
    for name, photo in named_photos.items():
        (held_out if is_held_out(name, val_fraction) else to_train_on).append(photo)
    if to_train_on and held_out:
        return to_train_on, held_out
    log.warning(
        f"data.val_fraction={val_fraction} of {counted(len(named_photos), 'photo')} leaves "
        f"none for {'training' if held_out else 'validation'}: the same ones are used for both"
    )
    photos = to_train_on or held_out
    return photos, photos


def try_photos(photos: Sequence[Openable], size: int) -> list[TriedPhoto]:
    """What decoding each photo showed, on all cores; see `try_photo`."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        results = tqdm(
            pool.map(partial(try_photo, size=size), photos),
            "Trying photos",
            len(photos),
            unit="photo",
            disable=None,
            leave=False,
        )
        return list(results)


def usable_cores() -> int:
    """The cores that this process may use: on a cluster often fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def init_worker(worker: int) -> None:
    silence_pillow()
    # Ctrl-C and signals to a whole job reach the workers, too. The main process handles them, after
    # the step that is running, and that step needs its workers. Windows lacks some of them.
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
