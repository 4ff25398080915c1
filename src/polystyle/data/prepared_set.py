"""The format of a prepared set: a folder of photos as small JPEGs in a few tar files.

The tar files (shards) follow the WebDataset convention, in which each JPEG has a key of its own, so
other programs can stream them. `prepared.json` has the position of each photo, so that any photo
takes one read. Imports no torch. `polystyle.data.prepare_set` makes a prepared set.
"""

import io
import json
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from polystyle.data.images import LEAST_SIDE, most_pixels
from polystyle.data.picture_folder import list_images
from polystyle.files.path_kind import PREPARED_INDEX as INDEX
from polystyle.files.terminal_text import counted

PHOTOS_PER_SHARD = 4096  # about 100 MB at 256 pixels


class EncodedPhoto(NamedTuple):
    """A photo to write: its path inside the folder of photos, its JPEG file, its size in pixels,
    and whether its file has further pictures, which are left out."""

    name: str
    jpeg: bytes
    width: int
    height: int
    has_more_frames: bool = False


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """A JPEG file in a shard: `num_bytes` bytes from `offset` on. `name` is the photo's path inside
    the folder of photos; `width` and `height` are in pixels."""

    shard: Path
    name: str
    offset: int
    num_bytes: int
    width: int
    height: int

    def open(self, mode: str = "rb") -> io.BytesIO:
        with self.shard.open(mode) as file:
            file.seek(self.offset)
            return io.BytesIO(file.read(self.num_bytes))

    def __str__(self) -> str:
        return f"{self.name} in {self.shard}"


# A photo to train on.
Photo = Path | PreparedPhoto
# A photo in the index: name, offset, num_bytes, width and height of its `PreparedPhoto`.
Entry = tuple[str, int, int, int, int]


def is_prepared(folder: Path) -> bool:
    return (folder / INDEX).is_file()


def find_photos(folder: Path) -> dict[str, Photo]:
    """The photos of a prepared set, or of a folder and its subfolders, by their path inside the
    folder of photos. A prepared set has the same names in the same order as its folder of photos.

    Raises:
        FileNotFoundError: the folder is missing.
        ValueError: the folder has no picture, or the prepared set is damaged.
    """
    if is_prepared(folder):
        return {photo.name: photo for photo in read_prepared(folder)}
    return {path.relative_to(folder).as_posix(): path for path in list_images(folder, deep=True)}


def write_prepared(folder: Path, photos: Iterable[EncodedPhoto]) -> int:
    """Writes a prepared set into an empty folder. The index comes last: a folder without it is no
    prepared set. The same photos make the same bytes.

    Returns:
        The number of photos.
    """
    photos = iter(photos)
    shards: list[dict[str, Any]] = []
    entries: list[Entry] = []
    while shard_photos := list(islice(photos, PHOTOS_PER_SHARD)):
        path = folder / f"photos-{len(shards):06d}.tar"
        entries += write_shard(path, shard_photos)
        size = path.stat().st_size
        shards.append({"url": path.name, "nsamples": len(shard_photos), "filesize": size})
    index = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "shardlist": shards,
        "photos": entries,
    }
    (folder / INDEX).write_text(json.dumps(index))
    return len(entries)


def write_shard(path: Path, photos: Iterable[EncodedPhoto]) -> list[Entry]:
    """Writes a tar file; returns each photo's entry in the index."""
    entries = []
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, jpeg, width, height, _ in photos:
            # WebDataset's key ends at the first dot, and it merges photos that have the same key.
            key = name.replace("%", "%25").replace(".", "%2E")
            member = tarfile.TarInfo(f"{key}.jpg")
            member.size = len(jpeg)
            tar.addfile(member, io.BytesIO(jpeg))
            padded = -(-len(jpeg) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            entries.append((name, tar.offset - padded, len(jpeg), width, height))
    return entries


def read_prepared(folder: Path) -> list[PreparedPhoto]:
    """The photos of a prepared set in the order in which they were written.

    Raises:
        OSError: the index can't be read.
        ValueError: the index is damaged, or a shard is missing or truncated.
    """
    remedy = "make it again with polystyle-prepare"
    try:
        photos, shard_bytes = parse_index(json.loads((folder / INDEX).read_text()), folder)
    except OSError:
        raise
    except Exception as error:
        # A damaged index may have any JSON value in any place, which raises many kinds of error.
        raise ValueError(f"{folder / INDEX} is damaged: {remedy}") from error
    for path, size in shard_bytes.items():
        if not path.is_file():
            raise ValueError(f"{path} is missing from the prepared set: {remedy}")
        if path.stat().st_size != size:
            raise ValueError(
                f"{path} has {counted(path.stat().st_size, 'byte')} instead of {size}: {remedy}"
            )
    return photos


def parse_index(index: dict[str, Any], folder: Path) -> tuple[list[PreparedPhoto], dict[Path, int]]:
    """The photos of an index, and the size in bytes of each shard. Raises any kind of error if the
    index is damaged."""
    entries = iter(index["photos"])
    photos, shard_bytes = [], {}
    for shard in index["shardlist"]:
        # Prepared sets are downloaded: their index must not name a file outside of the folder.
        if not re.fullmatch(r"[\w-]+\.tar", shard["url"]):
            raise ValueError("a shard is outside of the folder")
        path = folder / shard["url"]
        shard_bytes[path] = shard["filesize"]
        shard_photos = [PreparedPhoto(path, *entry) for entry in islice(entries, shard["nsamples"])]
        if len(shard_photos) != shard["nsamples"]:
            raise ValueError("a shard has fewer photos than nsamples")
        for photo in shard_photos:
            check_entry(photo, shard["filesize"])
        photos += shard_photos
    return photos, shard_bytes


def check_entry(photo: PreparedPhoto, shard_bytes: int) -> None:
    """Raises ValueError if a photo is not inside its shard, or has an impossible size."""
    numbers = photo.offset, photo.num_bytes, photo.width, photo.height
    if type(photo.name) is not str or any(type(number) is not int for number in numbers):
        raise ValueError("a photo has a value of a wrong type")
    if min(photo.offset, photo.num_bytes) < 0 or photo.offset + photo.num_bytes > shard_bytes:
        raise ValueError("a photo is not inside its shard")
    width, height = photo.width, photo.height
    if min(width, height) < LEAST_SIDE or width * height > most_pixels():
        raise ValueError("a photo has a size that no prepared photo has")
