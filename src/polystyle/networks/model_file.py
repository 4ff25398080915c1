"""The trained network as one file: weights, and in the header what must travel with them."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from polystyle.files.path_kind import MODEL_NAME, NETWORK, Expectation, check_kind
from polystyle.files.safetensors_file import read_header, read_tensors, write_safetensors
from polystyle.files.terminal_text import counted, sanitized
from polystyle.networks.style_rows import rows_of
from polystyle.networks.transformer_net import TransformerNet
from polystyle.style_names import IDENTITY_STYLE, check_style_name

FORMAT = "polystyle"
FORMAT_VERSION = 2  # 1, of polystyle 0.1, knew one kind of network, and named its width alone

# The networks that a file may ask for by name. A file never imports anything: it may come from
# anywhere. Networks of one's own are handed to `load_model`.
NETWORKS: dict[str, type[nn.Module]] = {"TransformerNet": TransformerNet}

# The network that comes with polystyle, and the word for it wherever a model file is named.
PRETRAINED = "pretrained"
PRETRAINED_FILE = Path(__file__).parent / "pretrained/paintings.safetensors"

# Models may come from anywhere: what they may hold, at the most.
MAX_THUMBNAIL = 512  # pixels; ours have 64
MAX_ARGUMENT = 1e6  # what a network is built with, such as its width


@dataclass
class Model:
    """A trained network, and what travels with it.

    Attributes:
        net: the network. Its attribute ``arguments`` is what its class was called with, besides
            the number of conditions: plain values by name.
        style_names: a name for each style (or other condition), in order.
        training: how it was trained: plain values, for people to read.
        thumbnails: small JPEGs of the paintings, by style name; some may lack.
    """

    net: nn.Module
    style_names: list[str]
    training: dict[str, Any] = field(default_factory=dict)
    thumbnails: dict[str, bytes] = field(default_factory=dict)

    @property
    def painted_names(self) -> list[str]:
        """The names of the styles that come from paintings."""
        return [name for name in self.style_names if name != IDENTITY_STYLE]


@dataclass(frozen=True)
class NetworkKind:
    """Which network a file holds.

    Attributes:
        name: the name of its class.
        arguments: what the class is called with, besides the number of conditions.
    """

    name: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.name}({arguments})"


def kind_of(net: nn.Module) -> NetworkKind:
    """The kind of a network, for a file's header."""
    return NetworkKind(type(net).__name__, dict(getattr(net, "arguments", {})))


def model_path(path: str | Path, expected: Expectation = NETWORK) -> Path:
    """The file that a path names: the file itself, the model file of a run's folder, or for the
    word "pretrained" the one that comes with polystyle.

    Args:
        path: what a user names.
        expected: what the file must hold: a network, or perhaps a style pack.

    Raises:
        FileNotFoundError: nothing is there, or a folder without a model file.
        ValueError: the path is something else, such as a checkpoint: says what to name instead.
    """
    path = Path(path)
    if path == Path(PRETRAINED):
        return PRETRAINED_FILE
    check_kind(path, expected)
    if not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(f"there is no model file {path}")
        return path
    if not (path / MODEL_NAME).is_file():
        raise FileNotFoundError(
            f"{path} is a folder without a {MODEL_NAME}: a run's folder has one"
        )
    check_kind(path / MODEL_NAME, expected)
    return path / MODEL_NAME


def folder_of(path: Path) -> Path:
    """Where to write what is made from a model file: its own folder, but the current one for the
    network that comes with polystyle."""
    return Path() if path == PRETRAINED_FILE else path.parent


def fingerprint(net: nn.Module) -> str:
    """What tells whether a style fits a network: SHA-256 of its shared tensors, as 64 hex digits.

    Networks that differ in their rows alone have the same.
    """
    digest = hashlib.sha256()
    rows = rows_of(net)
    for name, tensor in sorted(net.state_dict().items()):
        if name not in rows:
            digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_kind(header: Mapping[str, str]) -> NetworkKind:
    """The kind of network that a header names.

    Raises:
        KeyError, TypeError, ValueError: it names none, or with arguments that no network has.
    """
    if "network" not in header:  # polystyle 0.1
        kind = NetworkKind("TransformerNet", {"width": json.loads(header["width"])})
    else:
        described = json.loads(header["network"])
        kind = NetworkKind(described["kind"], described["arguments"])
    if not isinstance(kind.name, str) or not isinstance(kind.arguments, dict):
        raise TypeError("the network is no name with arguments")
    for name, value in kind.arguments.items():
        if isinstance(value, int | float) and not abs(value) <= MAX_ARGUMENT:  # NaN is not, either
            raise ValueError(f"the network's {name} is absurd")
    return kind


def write_kind(kind: NetworkKind) -> str:
    return json.dumps({"kind": kind.name, "arguments": kind.arguments})


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


def save_model(path: Path, model: Model, dtype: torch.dtype = torch.float32) -> None:
    """Write a network to a safetensors file, atomically.

    Args:
        path: the file; its folder is made. An older file there is replaced.
        model: what to write.
        dtype: of the numbers in the file: float32, or float16 for half the size.

    Raises:
        ValueError: not one name for each style.
    """
    num_styles = len(next(iter(rows_of(model.net).values())))
    if len(model.style_names) != num_styles:
        raise ValueError(
            f"{counted(len(model.style_names), 'name')} for {counted(num_styles, 'style')}"
        )
    thumbnails = {
        name: base64.b64encode(jpeg).decode()
        for name, jpeg in model.thumbnails.items()
        if name in model.style_names
    }
    header = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "style_names": json.dumps(list(model.style_names)),
        "network": write_kind(kind_of(model.net)),
        "training": json.dumps(model.training),
        "thumbnails": json.dumps(thumbnails),
    }
    tensors = {name: tensor.to(dtype) for name, tensor in model.net.state_dict().items()}
    write_safetensors(path, tensors, header)


def load_model(path: str | Path, network: type[nn.Module] | None = None) -> Model:
    """Read a network that `save_model` wrote; it comes on the CPU, in eval mode.

    Args:
        path: the file, the folder of the run that wrote it, or "pretrained": see `model_path`.
        network: the class of a network of one's own, whose name the file must bear. By default the
            file holds one of polystyle's `NETWORKS`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, of another kind, from a newer polystyle, or holds a network
            of a class that is neither polystyle's nor `network`.
    """
    path = model_path(path)
    header = read_header(path)
    check_version(path, header, FORMAT_VERSION)
    try:
        style_names = json.loads(header["style_names"])
        if not isinstance(style_names, list) or not all(isinstance(n, str) for n in style_names):
            raise TypeError("style_names is no list of names")
        kind = read_kind(header)
        network_class = find_network(path, kind, network)
        signature(network_class).bind(len(style_names), **kind.arguments)
        with torch.device("meta"):  # nothing is allocated for what the header says
            net = network_class(len(style_names), **kind.arguments)
        net.arguments = kind.arguments
        training = read_training(header)
        thumbnails = {
            name: read_thumbnail(text)
            for name, text in json.loads(header.get("thumbnails", "{}")).items()
            if name in style_names
        }
    except UnknownNetworkError:
        raise
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


class UnknownNetworkError(ValueError):
    """A file holds a network of a class that nobody has handed over."""


def find_network(path: Path, kind: NetworkKind, network: type[nn.Module] | None) -> type[nn.Module]:
    """The class of a file's network.

    Raises:
        UnknownNetworkError: it is neither polystyle's nor `network`.
    """
    if network is not None:
        if network.__name__ != kind.name:
            raise UnknownNetworkError(f"{path} holds a {kind.name}, not a {network.__name__}")
        return network
    if kind.name not in NETWORKS:
        name = sanitized(kind.name)
        raise UnknownNetworkError(
            f"{path} holds a {name}, which is not one of polystyle's networks: "
            f"load it in Python with polystyle.load(path, network={name})"
        )
    return NETWORKS[kind.name]
