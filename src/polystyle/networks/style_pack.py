"""Style packs: files that hold one style of a network, and merge into a network."""

import base64
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polystyle.files.path_kind import STYLE_PACK, check_kind
from polystyle.files.safetensors_file import read_header, read_tensors, write_safetensors
from polystyle.networks.model_file import (
    Model,
    NetworkKind,
    check_version,
    fingerprint,
    kind_of,
    read_kind,
    read_thumbnail,
    read_training,
    write_kind,
)
from polystyle.networks.style_rows import rows_of, with_rows
from polystyle.style_names import check_style_name, find_style

FORMAT = "polystyle-style"
MAX_BYTES = 64_000_000  # of an untrusted pack; packs of the published network have 15,000
FORMAT_VERSION = 2  # version 1, of polystyle 0.1, had the network's width in place of its kind


@dataclass
class StylePack:
    """One style, with the fingerprint and kind of its network.

    Attributes:
        style_name: the name of the style.
        rows: gamma and beta of every layer, concatenated in the order of `rows_of`: ``[S]``
            float32, S the sum of all the sizes C.
        fingerprint: the fingerprint of the network that the style was trained with; see
            `model_file.fingerprint`.
        kind: the kind of the network, to be shown to users.
        training: the settings of the training, plain values, to be shown to users.
        thumbnail: a small JPEG of the painting, or None.
    """

    style_name: str
    rows: Tensor
    fingerprint: str
    kind: NetworkKind
    training: dict[str, Any] = field(default_factory=dict)
    thumbnail: bytes | None = None


def extract_style(model: Model, name: str) -> StylePack:
    """Copies one style of a network.

    Raises:
        ValueError: the network has no style of this name.
    """
    index = find_style(name, model.style_names)
    rows = [table[index].to("cpu", torch.float32) for table in rows_of(model.net).values()]
    return StylePack(
        style_name=name,
        rows=torch.cat(rows),
        fingerprint=fingerprint(model.net),
        kind=kind_of(model.net),
        training=model.training,
        thumbnail=model.thumbnails.get(name),
    )


def merge_style(model: Model, pack: StylePack) -> Model:
    """The network with the style of a pack as its last. All other styles paint the same picture as
    before, bit for bit.

    Args:
        model: the network. It is not changed.
        pack: the style.

    Raises:
        ValueError: the style was trained with other convolutions, its name is taken, or it has the
            wrong number of rows.
    """
    own = fingerprint(model.net)
    if pack.fingerprint != own:
        raise ValueError(
            f"the style {pack.style_name!r} belongs to the network {pack.fingerprint[:12]}, "
            f"and this one is {own[:12]}"
        )
    if pack.style_name in model.style_names:
        raise ValueError(
            f"there is a style {pack.style_name!r} already: rename it first, "
            "with polystyle-styles rename"
        )
    tables = rows_of(model.net)
    sizes = [table.shape[1] for table in tables.values()]
    if len(pack.rows) != sum(sizes):
        raise ValueError(
            f"the pack has {len(pack.rows)} numbers and the network's layers take {sum(sizes)}: "
            "the pack is damaged"
        )
    rows = {
        name: torch.cat([table, row[None].to(table)])
        for (name, table), row in zip(tables.items(), pack.rows.split(sizes), strict=True)
    }
    thumbnails = dict(model.thumbnails)
    if pack.thumbnail is not None:
        thumbnails[pack.style_name] = pack.thumbnail
    return replace(
        model,
        net=with_rows(model.net, rows),
        style_names=[*model.style_names, pack.style_name],
        thumbnails=thumbnails,
    )


def save_style_pack(path: Path, pack: StylePack) -> None:
    """Writes a style to a safetensors file, atomically; an existing file is replaced."""
    header = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "style_name": pack.style_name,
        "fingerprint": pack.fingerprint,
        "network": write_kind(pack.kind),
        "training": json.dumps(pack.training),
    }
    if pack.thumbnail is not None:
        header["thumbnail"] = base64.b64encode(pack.thumbnail).decode()
    # One tensor for all layers: the names of 32 tensors would be a fifth of the file.
    write_safetensors(path, {"rows": pack.rows}, header)


def load_style_pack(path: Path) -> StylePack:
    """Reads a style that `save_style_pack` wrote. `merge_style` checks whether it fits a network.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of another kind, or from a newer polystyle.
    """
    check_kind(path, STYLE_PACK)
    header = read_header(path)
    check_version(path, header, FORMAT_VERSION)
    try:
        pack = StylePack(
            style_name=header["style_name"],
            rows=torch.empty(0),
            fingerprint=header["fingerprint"],
            kind=read_kind(header),
            training=read_training(header),
            thumbnail=read_thumbnail(header["thumbnail"]) if "thumbnail" in header else None,
        )
        if not re.fullmatch("[0-9a-f]{64}", pack.fingerprint):
            raise ValueError("a fingerprint is 64 hex digits")
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError(f"{path} does not hold the style that its header describes") from error
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(
            f"{path} is too large for a style pack: {MAX_BYTES / 1e6:g} MB are the most"
        )
    pack.rows = read_tensors(path, {"rows": [None]})["rows"]
    try:
        check_style_name(pack.style_name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return pack
