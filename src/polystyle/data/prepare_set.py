"""Makes a prepared set of a folder of photos. Imports no torch.

`polystyle.data.prepared_set` has the format.
"""

import io
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool
from pathlib import Path

from tqdm import tqdm

from polystyle.data.images import (
    LEAST_SIDE,
    Box,
    Openable,
    PictureError,
    Size,
    check_sides,
    has_more_frames,
    load_resized,
    silence_pillow,
)
from polystyle.data.picture_folder import unread_line
from polystyle.data.prepared_set import EncodedPhoto, find_photos, is_prepared, write_prepared
from polystyle.files.new_folder import made_folder
from polystyle.files.terminal_text import counted

JPEG_QUALITY = 92


@dataclass(frozen=True)
class PreparedSetSummary:
    """How many photos a prepared set has, how many could not be read, and its size."""

    num_photos: int
    num_skipped: int
    num_shards: int
    num_bytes: int


def prepare_set(photos: Path, output: Path, size: int) -> PreparedSetSummary:
    """Makes a prepared set on all cores, completely or not at all.

    Photos that can't be read or are too small to train on are left out. These, and the folder's
    other files, are named on standard error. Pixels are converted to sRGB.

    Args:
        photos: folder of photos.
        output: folder to make. May exist if it is empty.
        size: the photos' new shorter side, in pixels; smaller photos keep their size.

    Raises:
        FileNotFoundError: `photos` is missing.
        FileExistsError: `output` isn't empty, or the folder for unfinished work exists.
        ValueError: `size` is below 16, or no photo can be read.
    """
    if size < LEAST_SIDE:
        raise ValueError(f"size must be at least {LEAST_SIDE}, not {size}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"{output} exists already: remove it or choose another output folder")
    named_photos = find_photos(photos)
    unfinished = output.with_name(f"{output.name}.part")
    if unfinished.exists():
        raise FileExistsError(
            f"{unfinished} exists already, from a run that was killed or is still going on: "
            "remove it"
        )
    if not is_prepared(photos) and (line := unread_line(photos, deep=True)):
        print(line, file=sys.stderr)
    with made_folder(unfinished):
        try:
            count = write_prepared(unfinished, encoded_photos(named_photos, size))
            if not count:
                raise ValueError(
                    f"none of the {counted(len(named_photos), 'photo')} in {photos} can be read"
                )
            unfinished.rename(output)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    shards = list(output.glob("*.tar"))
    num_bytes = sum(path.stat().st_size for path in shards)
    return PreparedSetSummary(count, len(named_photos) - count, len(shards), num_bytes)


def encoded_photos(named_photos: Mapping[str, Openable], size: int) -> Iterator[EncodedPhoto]:
    """The usable photos in order, encoded on all cores. Prints why photos are left out, and how
    many files have further pictures, which are not used."""
    num_first_frames = 0
    with Pool(initializer=init_worker) as pool:
        results = pool.imap(partial(encode_photo, size=size), named_photos.items(), chunksize=8)
        for result in tqdm(results, total=len(named_photos), unit="photo", disable=None):
            if isinstance(result, str):
                tqdm.write(f"Skipped: {result}", file=sys.stderr)
            else:
                num_first_frames += result.has_more_frames
                yield result
    if num_first_frames:
        print(
            f"Animations and pages of which only the first picture is used: {num_first_frames}",
            file=sys.stderr,
        )


def init_worker() -> None:
    # The parent process handles Ctrl-C, and the SIGHUP of a terminal that vanishes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    silence_pillow()


def encode_photo(named_photo: tuple[str, Openable], size: int) -> EncodedPhoto | str:
    """A photo as a prepared set stores it, or the reason why it is left out."""
    name, photo = named_photo

    def whole(width: int, height: int) -> tuple[Box, Size]:
        check_sides(photo, width, height)
        scale = min(1, size / min(width, height))
        return (0, 0, width, height), (round(width * scale), round(height * scale))

    try:
        image = load_resized(photo, whole, spare=2)
    except PictureError as error:
        return str(error)
    image.info.clear()  # EXIF, comment and colour profile, which training doesn't read
    file = io.BytesIO()
    try:
        image.save(file, "JPEG", quality=JPEG_QUALITY)
    except OSError:
        reason = f"is {image.width} x {image.height} pixels, which is too long for a JPEG"
        return str(PictureError(photo, reason))
    return EncodedPhoto(name, file.getvalue(), *image.size, has_more_frames(photo))
