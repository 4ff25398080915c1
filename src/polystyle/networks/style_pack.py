"""A style pack: one style of a network as a file of its own, to keep, to share, to merge again."""

import base64
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polystyle.files.safetensors_file import read_header, read_tensors, write_safetensors
from polystyle.networks import model_file
from polystyle.networks.model_file import (
    Model,
    check_version,
    fingerprint,
    read_thumbnail,
    read_training,
    read_width,
)
from polystyle.networks.transformer_net import TransformerNet
from polystyle.style_names import check_style_name, find_style

FORMAT = "polystyle-style"
FORMAT_VERSION = 1


@dataclass
class StylePack:
    """One style, and what network it belongs to.

    Attributes:
        style_name: its name.
        rows: its gamma and beta of every layer, each ``[C]`` float32, named as in
            `TransformerNet.style_rows`.
        fingerprint: of the convolutions that it was trained with: see `model_file.fingerprint`.
        width: the network's.
        training: how the network was trained: plain values, for people to read.
        thumbnail: a small JPEG of the painting, or None.
    """

    style_name: str
    rows: dict[str, Tensor]
    fingerprint: str
    width: float
    training: dict[str, Any] = field(default_factory=dict)
    thumbnail: bytes | None = None


def extract_style(model: Model, name: str) -> StylePack:
    """A copy of one of a network's styles.

    Raises:
        ValueError: it has no style of this name.
    """
    index = find_style(name, model.style_names)
    return StylePack(
        style_name=name,
        rows={
            key: table[index].to("cpu", torch.float32, copy=True)
            for key, table in model.net.style_rows().items()
        },
        fingerprint=fingerprint(model.net),
        width=model.net.width,
        training=model.training,
        thumbnail=model.thumbnails.get(name),
    )


def merge_style(model: Model, pack: StylePack) -> Model:
    """The network with one more style, its last; all the others paint what they did, bit for bit.

    Raises:
        ValueError: the style belongs to other convolutions, or its name is taken.
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
    tables = model.net.style_rows()
    if {key: row.shape for key, row in pack.rows.items()} != {
        key: table.shape[1:] for key, table in tables.items()
    }:
        raise ValueError("its rows are not those of the network's layers: the pack is damaged")
    rows = {
        key: torch.cat([table, pack.rows[key][None].to(table)]) for key, table in tables.items()
    }
    thumbnails = dict(model.thumbnails)
    if pack.thumbnail is not None:
        thumbnails[pack.style_name] = pack.thumbnail
    return replace(
        model,
        net=model.net.with_style_rows(rows),
        style_names=[*model.style_names, pack.style_name],
        thumbnails=thumbnails,
    )


def save_style_pack(path: Path, pack: StylePack) -> None:
    """Write a style to a safetensors file, whole or not at all; an older file there is replaced."""
    header = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "style_name": pack.style_name,
        "fingerprint": pack.fingerprint,
        "width": json.dumps(pack.width),
        "training": json.dumps(pack.training),
    }
    if pack.thumbnail is not None:
        header["thumbnail"] = base64.b64encode(pack.thumbnail).decode()
    # One after the other as one tensor: the names of 32 would be a fifth of the file.
    rows = [pack.rows[key].to(torch.float32) for key in row_sizes(pack.width)]
    write_safetensors(path, {"rows": torch.cat(rows)}, header)


def row_sizes(width: float) -> dict[str, int]:
    """How many numbers of a style each layer of a network has for gamma and for beta, by name."""
    with torch.device("meta"):
        tables = TransformerNet(1, width).style_rows()
    return {key: table.shape[1] for key, table in tables.items()}


def is_style_pack(path: Path) -> bool:
    """Whether a safetensors file says that it is a style pack; raises as `read_header`."""
    return read_header(path).get("format") == FORMAT


def load_style_pack(path: Path) -> StylePack:
    """Read a style that `save_style_pack` wrote. Whether it fits a network, `merge_style` sees.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, of another kind, or from a newer polystyle.
    """
    header = read_header(path)
    if header.get("format") == model_file.FORMAT:
        raise ValueError(
            f"{path} is a network, not a style pack: polystyle-styles extract makes packs of it"
        )
    if header.get("format") != FORMAT:
        raise ValueError(f"{path} is a safetensors file, but not a style pack of polystyle")
    check_version(path, header, FORMAT_VERSION)
    try:
        width = read_width(header)
        sizes = row_sizes(width)
        pack = StylePack(
            style_name=header["style_name"],
            rows={},
            fingerprint=header["fingerprint"],
            width=width,
            training=read_training(header),
            thumbnail=read_thumbnail(header["thumbnail"]) if "thumbnail" in header else None,
        )
        if not re.fullmatch("[0-9a-f]{64}", pack.fingerprint):
            raise ValueError("a fingerprint is 64 hex digits")
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError(f"{path} does not hold the style that its header promises") from error
    rows = read_tensors(path, {"rows": [sum(sizes.values())]})["rows"]
    pack.rows = dict(zip(sizes, rows.split(list(sizes.values())), strict=True))
    try:
        check_style_name(pack.style_name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return pack
