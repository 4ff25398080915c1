"""What tells one set of photos and paintings from another."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polystyle.data.prepared_set import PreparedPhoto

if TYPE_CHECKING:
    from polystyle.data.datamodule import StyleTransferData


def data_fingerprint(data: "StyleTransferData") -> dict[str, Any]:
    """What tells one set of photos and paintings from another: for photos their paths in the
    folder and sizes in bytes (to read them all would take minutes), for paintings their bytes."""
    return {
        "photos to train on": photos_fingerprint(data.train_paths, Path(data.content_dir)),
        "held-out photos": photos_fingerprint(data.val_paths, Path(data.content_dir)),
        "paintings": {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in data.style_paths.items()
        },
    }


def photos_fingerprint(photos: Sequence[Path | PreparedPhoto], folder: Path) -> dict[str, Any]:
    digest, total = hashlib.sha256(), 0
    for photo in photos:
        if isinstance(photo, PreparedPhoto):
            name, size = photo.name, photo.num_bytes
        else:
            name = photo.relative_to(folder).as_posix()
            size = photo.lstat().st_size  # also of a link that leads nowhere
        digest.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
        total += size
    return {"count": len(photos), "bytes": total, "sha256": digest.hexdigest()}
