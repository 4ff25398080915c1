"""Fingerprints of sets of photos and paintings, to detect that a set has changed."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polystyle.data.prepared_set import Photo, PreparedPhoto


def photos_fingerprint(photos: Sequence[Photo], folder: Path) -> dict[str, Any]:
    """Number, total bytes, and the SHA-256 of the photos' paths inside the folder and of their
    sizes in bytes. Their content is not read: that would take minutes."""
    digest, total = hashlib.sha256(), 0
    for photo in photos:
        if isinstance(photo, PreparedPhoto):
            name, size = photo.name, photo.num_bytes
        else:
            name = photo.relative_to(folder).as_posix()
            size = photo.lstat().st_size  # lstat: the target of a link may be missing
        digest.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
        total += size
    return {"count": len(photos), "bytes": total, "sha256": digest.hexdigest()}


def paintings_fingerprint(styles: Mapping[str, Sequence[Path]]) -> dict[str, str]:
    """The SHA-256 of the files of each style's paintings, one after the other, by style name."""
    return {
        name: hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
        for name, paths in styles.items()
    }
