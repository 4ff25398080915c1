"""The prepared set: a folder of photos as a few tar files, small enough to be read fast.

The shards follow the WebDataset convention (a tar file of JPEGs, each with a key of its own), so
other programs stream them; `prepared.json` says where each photo is, so that any photo is one read
away. Imports no torch.
"""

import io
import json
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from polystyle.data.images import LEAST_SIDE, list_images

INDEX = "prepared.json"
PHOTOS_PER_SHARD = 4096  # about 100 MB at 256 pixels


class EncodedPhoto(NamedTuple):
    """A photo to be written: its path inside the folder it comes from, its JPEG file, its size."""

    name: str
    jpeg: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """A JPEG file within a shard: `num_bytes` from `offset` on."""

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


def is_prepared(folder: Path) -> bool:
    return (folder / INDEX).is_file()


def find_photos(folder: Path) -> dict[str, Path | PreparedPhoto]:
    """The photos of a folder however deep, or of a prepared set, by their path inside the folder
    of photos: the same names in the same order for both.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no picture in it, or the prepared set is damaged.
    """
    if is_prepared(folder):
        return {photo.name: photo for photo in read_prepared(folder)}
    return {path.relative_to(folder).as_posix(): path for path in list_images(folder, deep=True)}


def write_prepared(folder: Path, photos: Iterable[EncodedPhoto]) -> int:
    """Write a prepared set into an empty folder; the index, without which it is none, last.

    The same photos make the same bytes.

    Returns:
        how many photos there were.
    """
    photos = iter(photos)
    shards, places = [], []
    while some := list(islice(photos, PHOTOS_PER_SHARD)):
        path = folder / f"photos-{len(shards):06d}.tar"
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
            for name, jpeg, width, height in some:
                # WebDataset's key ends at the first dot, and photos of one key become one sample.
                key = name.replace("%", "%25").replace(".", "%2E")
                member = tarfile.TarInfo(f"{key}.jpg")
                member.size = len(jpeg)
                tar.addfile(member, io.BytesIO(jpeg))
                padded = -(-len(jpeg) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                places.append((name, tar.offset - padded, len(jpeg), width, height))
        size = path.stat().st_size
        shards.append({"url": path.name, "nsamples": len(some), "filesize": size})
    index = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "shardlist": shards,
        "photos": places,
    }
    (folder / INDEX).write_text(json.dumps(index))
    return len(places)


def read_prepared(folder: Path) -> list[PreparedPhoto]:
    """The photos of a prepared set, in the order they were written in.

    Raises:
        ValueError: the index is damaged, or a shard is missing or cut.
    """
    again = "make it again with polystyle-prepare"
    try:
        index = json.loads((folder / INDEX).read_text())
        places = iter(index["photos"])
        photos, sizes = [], {}
        for shard in index["shardlist"]:
            # Such files are downloaded: none names a file elsewhere.
            if not re.fullmatch(r"[\w-]+\.tar", shard["url"]):
                raise ValueError("a shard outside of the folder")
            path = folder / shard["url"]
            sizes[path] = shard["filesize"]
            some = [PreparedPhoto(path, *place) for place in islice(places, shard["nsamples"])]
            if len(some) != shard["nsamples"]:
                raise ValueError("fewer photos than it says")
            for photo in some:
                check_place(photo, shard["filesize"])
            photos += some
    except OSError:
        raise
    except Exception as error:
        # Any JSON may stand in any place: as many kinds of error.
        raise ValueError(f"{folder / INDEX} is damaged: {again}") from error
    for path, size in sizes.items():
        if not path.is_file():
            raise ValueError(f"{path} is missing from the prepared set: {again}")
        if path.stat().st_size != size:
            raise ValueError(f"{path} has {path.stat().st_size} bytes instead of {size}: {again}")
    return photos


def check_place(photo: PreparedPhoto, shard_bytes: int) -> None:
    """Raises ValueError if it is nowhere in the shard, or of no size that a photo has."""
    numbers = photo.offset, photo.num_bytes, photo.width, photo.height
    if type(photo.name) is not str or any(type(number) is not int for number in numbers):
        raise ValueError("no photo")
    if min(photo.offset, photo.num_bytes) < 0 or photo.offset + photo.num_bytes > shard_bytes:
        raise ValueError("not in its shard")
    width, height = photo.width, photo.height
    if min(width, height) < LEAST_SIDE or width * height > Image.MAX_IMAGE_PIXELS:
        raise ValueError("a size that no prepared photo has")
