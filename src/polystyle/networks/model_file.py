"""The trained network as one file: weights, and in the header what must travel with them."""

import base64
import hashlib
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from polystyle.files.safetensors_file import read_header, read_tensors, write_safetensors
from polystyle.networks.transformer_net import TransformerNet
from polystyle.style_names import IDENTITY_STYLE, check_style_name

FORMAT = "polystyle"
FORMAT_VERSION = 1

# Models may come from anywhere: what they may hold, at the most.
MAX_THUMBNAIL = 512  # pixels; ours have 64


@dataclass
class Model:
    """A trained network, and what travels with it.

    Attributes:
        net: the network.
        style_names: a name for each style, in order.
        training: how it was trained: plain values, for people to read.
        thumbnails: small JPEGs of the paintings, by style name; some may lack.
    """

    net: TransformerNet
    style_names: list[str]
    training: dict[str, Any] = field(default_factory=dict)
    thumbnails: dict[str, bytes] = field(default_factory=dict)

    @property
    def painted_names(self) -> list[str]:
        """The names of the styles that come from paintings."""
        return [name for name in self.style_names if name != IDENTITY_STYLE]


def fingerprint(net: TransformerNet) -> str:
    """What tells whether a style fits a network: SHA-256 of its convolutions, as 64 hex digits.

    Networks that differ in their styles alone have the same.
    """
    digest = hashlib.sha256()
    rows = net.style_rows()
    for name, tensor in sorted(net.state_dict().items()):
        if name not in rows:
            digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_width(header: Mapping[str, str]) -> float:
    """Raises KeyError, TypeError or ValueError if the header has no width, or an absurd one."""
    width = json.loads(header["width"])
    if type(width) not in (int, float) or not 0 < width < math.inf:
        raise TypeError("width is no number over 0")
    return width


def read_training(header: Mapping[str, str]) -> dict[str, Any]:
    """Raises TypeError or ValueError if the header doesn't tell of the training in a dict."""
    training = json.loads(header.get("training", "{}"))
    if not isinstance(training, dict):
        raise TypeError("training is no dict")
    return training


def read_thumbnail(text: str) -> bytes:
    """A thumbnail in a header, of which only its size is decoded.

    Raises:
        TypeError, ValueError: it is no small JPEG.
    """
    jpeg = base64.b64decode(text, validate=True)
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            size = image.size
    except Exception as error:  # Pillow meets damaged files with many kinds of error
        raise ValueError("a thumbnail is no JPEG") from error
    if max(size) > MAX_THUMBNAIL:
        raise ValueError("a thumbnail is too large")
    return jpeg


def check_version(path: Path, header: Mapping[str, str], newest: int) -> None:
    """Raises ValueError for a file of a newer polystyle, or of none."""
    version = header.get("format_version", "")
    if not re.fullmatch("[0-9]{1,9}", version):
        raise ValueError(f"{path} has no format version that polystyle knows")
    if int(version) > newest:
        raise ValueError(
            f"{path} has format {version}, and this polystyle reads up to {newest}: "
            "update polystyle"
        )


def save_model(path: Path, model: Model) -> None:
    """Write a network to a safetensors file, whole or not at all.

    Args:
        path: the file; its folder is made. An older file there is replaced.
        model: what to write.

    Raises:
        ValueError: not one name for each style.
    """
    if len(model.style_names) != model.net.num_styles:
        raise ValueError(f"{len(model.style_names)} names for {model.net.num_styles} styles")
    thumbnails = {
        name: base64.b64encode(jpeg).decode()
        for name, jpeg in model.thumbnails.items()
        if name in model.style_names
    }
    header = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "style_names": json.dumps(list(model.style_names)),
        "width": json.dumps(model.net.width),
        "training": json.dumps(model.training),
        "thumbnails": json.dumps(thumbnails),
    }
    write_safetensors(path, model.net.state_dict(), header)


def load_model(path: Path) -> Model:
    """Read a network that `save_model` wrote; it comes on the CPU, in eval mode.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, of another kind, or from a newer polystyle.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}")
    header = read_header(path)
    if header.get("format") != FORMAT:
        raise ValueError(f"{path} is a safetensors file, but not a polystyle model")
    check_version(path, header, FORMAT_VERSION)
    try:
        style_names = json.loads(header["style_names"])
        if not isinstance(style_names, list) or not all(isinstance(n, str) for n in style_names):
            raise TypeError("style_names is no list of names")
        with torch.device("meta"):  # nothing is allocated for what the header says
            net = TransformerNet(len(style_names), read_width(header))
        training = read_training(header)
        thumbnails = {
            name: read_thumbnail(text)
            for name, text in json.loads(header.get("thumbnails", "{}")).items()
            if name in style_names
        }
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError(f"{path} does not hold the network that its header promises") from error
    shapes = {name: tensor.shape for name, tensor in net.state_dict().items()}
    net.load_state_dict(read_tensors(path, shapes), assign=True)
    try:
        for name in style_names:
            check_style_name(name)
        if len(set(style_names)) < len(style_names):
            raise ValueError("two styles have the same name")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Model(net.eval(), style_names, training, thumbnails)
