"""Photos and paintings: from folders of files to batches that are functions of (seed, step)."""

import hashlib
import logging
import os
import signal
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Transpose
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from polystyle.model_file import PHOTO

log = logging.getLogger(__name__)

# How to turn a picture upright, by its EXIF orientation. ImageOps.exif_transpose also writes the
# tags anew, and fails on sound pictures with an odd one.
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}

# One stream of random numbers for each thing that is drawn.
PHOTO_STREAM, STYLE_STREAM, CROP_STREAM = range(3)

to_float = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def load_image(path: Path, as_rgb: bool = True) -> Image.Image:
    """Read any picture that Pillow reads, turned upright by its EXIF orientation.

    Args:
        path: the file.
        as_rgb: make it 8-bit RGB: 16-bit and float greys are scaled, and what is transparent
            becomes white. Else it keeps its own mode.

    Raises:
        OSError: the file can't be read as a picture; says which and why.
    """
    try:
        with Image.open(path) as image:
            image.load()  # turns a TIFF by itself, and then it says that it is upright
            turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
            upright = image.copy() if turn is None else image.transpose(turn)
            return to_rgb(upright) if as_rgb else upright
    except UnidentifiedImageError as error:
        raise OSError(f"{path} can't be read: it is no picture that Pillow knows") from error
    except Exception as error:
        # Pillow's thirty decoders meet a damaged file with as many kinds of error.
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"{path} can't be read: {reason}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes as 8-bit RGB; see `load_image`."""
    if image.mode.startswith("I") or image.mode == "F":
        # convert("RGB") would clip these at 255.
        grey = np.asarray(image, dtype=np.float64)
        white = 65535 if image.mode.startswith("I") else 1
        image = Image.fromarray((grey / white * 255).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def list_images(folder: Path, pattern: str) -> list[Path]:
    """The picture files of a folder, by extension, sorted; hidden files are passed over.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no picture in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    Image.init()
    readable = {
        suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN
    }
    paths = sorted(
        path
        for path in folder.glob(pattern)
        if path.suffix.lower() in readable and path.is_file() and not is_hidden(path, folder)
    )
    if not paths:
        raise ValueError(f"there is no picture in {folder}")
    return paths


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether the file, or a folder on the way to it, is a thing of the system's (.thumbnails/)."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


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


class TrainingImages(Dataset):
    """Endless training samples; sample i is a pure function of (seed, i).

    Each is ``{"content": [3, image_size, image_size] float32 in [0, 1], "style": int}``: a random
    crop of 25 to 100 % of a photo, flipped half of the time, and the style to paint it in. A photo
    that can't be read is named once, and the next readable one in the list takes its place.
    """

    def __init__(self, photos: list[Path], num_styles: int, image_size: int, seed: int) -> None:
        self.photos = photos
        self.num_styles = num_styles
        self.seed = seed
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(image_size, scale=(0.25, 1.0), ratio=(1.0, 1.0)),
                v2.RandomHorizontalFlip(),
                to_float,
            ]
        )
        # Shared by the loader's workers, so that a file is named once and not once for each.
        self.named = torch.zeros(len(photos), dtype=torch.bool).share_memory_()

    def __getitem__(self, sample: int) -> dict[str, Tensor | int]:
        image = self.readable_photo(draw(self.seed, PHOTO_STREAM, sample, len(self.photos)))
        crop_seed = np.random.SeedSequence([self.seed, CROP_STREAM, sample]).generate_state(1)
        # The transforms draw from torch's global generator: lend it to them, and give it back.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(crop_seed[0]))
            content = self.transform(image)
        return {"content": content, "style": draw(self.seed, STYLE_STREAM, sample, self.num_styles)}

    def readable_photo(self, index: int) -> Image.Image:
        for candidate in range(index, index + len(self.photos)):
            candidate %= len(self.photos)
            try:
                return load_image(self.photos[candidate])
            except OSError as error:
                if not self.named[candidate]:
                    self.named[candidate] = True
                    log.warning(f"Skipped: {error}")
        raise ValueError("none of the photos can be read")


def leave_signals_to_the_trainer(worker: int) -> None:
    """Ctrl-C in a terminal also goes to the workers: they must outlive the step under way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


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
    """A folder of photos and a folder of paintings.

    Args:
        content_dir: photos, in folders however deep.
        style_dir: paintings, one file a style; the file's stem is the style's name. None if the
            photo row is the only style.
        image_size: side of the square training crops, in pixels.
        style_size: the paintings' shorter side, in pixels; sets the size of the brush strokes.
        batch_size: photos in a step, on all devices together.
        num_workers: processes that load photos. Changes speed, never a result.
        val_fraction: share of the photos held out for validation.
        num_val_photos: how many of the held-out photos are used, at the most.
        seed: with the step, decides every batch.
        photo_row: one more style, the last: "photo", which paints the photo itself.

    Attributes:
        style_names: sorted; a style's index is its place in here.
        paintings: after `setup`, ``[3, h, w]`` float32 in [0, 1] by style name; None for the style
            that has none, "photo".
        val_photos: after `setup`, ``[K, 3, image_size, image_size]`` float32 in [0, 1].

    Raises:
        FileNotFoundError: a folder that isn't there.
        ValueError: a folder without pictures, two paintings of one name, one named "photo", or no
            style at all.
    """

    def __init__(
        self,
        content_dir: str,
        style_dir: str | None,
        image_size: int = 256,
        style_size: int = 256,
        batch_size: int = 4,
        num_workers: int = 2,
        val_fraction: float = 0.05,
        num_val_photos: int = 4,
        seed: int = 0,
        photo_row: bool = False,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("image_size", image_size, 16),
            ("style_size", style_size, 16),
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("num_val_photos", num_val_photos, 1),
            ("seed", seed, 0),
        ):
            if value < least:
                raise ValueError(f"data.{name} must be at least {least}, not {value}")
        if not 0 <= val_fraction < 1:
            raise ValueError(f"data.val_fraction must be in [0, 1), not {val_fraction}")
        self.image_size = image_size
        self.style_size = style_size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.num_val_photos = num_val_photos
        self.seed = seed

        photos = list_images(Path(content_dir), "**/*")
        held_out = {
            path: is_held_out(path.relative_to(content_dir).as_posix(), val_fraction)
            for path in photos
        }
        self.train_paths = [path for path in photos if not held_out[path]]
        self.val_paths = [path for path in photos if held_out[path]]
        if not self.train_paths or not self.val_paths:
            log.warning(
                f"data.val_fraction={val_fraction} of {len(photos)} photos leaves none for "
                f"{'training' if self.val_paths else 'validation'}: the same ones are used for both"
            )
            self.train_paths = self.val_paths = photos

        self.style_paths: dict[str, Path] = {}
        for path in list_images(Path(style_dir), "*") if style_dir else []:
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

    def setup(self, stage: str | None = None) -> None:
        """Read the paintings and the held-out photos.

        Raises:
            OSError: a painting can't be read.
            ValueError: not one of the photos can be read.
        """
        self.paintings: dict[str, Tensor | None] = dict.fromkeys(self.style_names)
        for name, path in self.style_paths.items():
            painting = load_image(path)
            self.paintings[name] = to_float(v2.functional.resize(painting, [self.style_size]))
        square = v2.Compose([v2.Resize(self.image_size), v2.CenterCrop(self.image_size), to_float])
        photos = []
        for path in self.val_paths:
            try:
                photos.append(square(load_image(path)))
            except OSError as error:
                log.warning(f"Skipped: {error}")
            if len(photos) == self.num_val_photos:
                break
        if not photos:
            raise ValueError("none of the held-out photos can be read")
        self.val_photos = torch.stack(photos)
        self.training_images = TrainingImages(
            self.train_paths, len(self.style_names), self.image_size, self.seed
        )
        self.training_images.readable_photo(0)

    def train_dataloader(self) -> DataLoader:
        """Batches ``{"content": [B, 3, image_size, image_size], "style": [B] int64}``, from the
        trainer's step on, without end."""
        trainer = self.trainer
        sampler = StepSampler(
            self.batch_size,
            # Counted in batches. Gradients accumulated since the last optimizer step are in no
            # checkpoint, so a resumed run draws their batches again.
            start_step=trainer.global_step * trainer.accumulate_grad_batches,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        return DataLoader(
            self.training_images,
            batch_size=sampler.share,
            sampler=sampler,
            num_workers=self.num_workers,
            worker_init_fn=leave_signals_to_the_trainer,
            generator=torch.Generator(),  # else it would draw from the global one
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader:
        """One batch for each style: all held-out photos, to be painted in it."""
        batches = [
            {"content": self.val_photos, "style": torch.full((len(self.val_photos),), index)}
            for index in range(len(self.style_names))
        ]
        return DataLoader(batches, batch_size=None, generator=torch.Generator())
