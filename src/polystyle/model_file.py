"""The trained network as one file: weights, and in the header what must travel with them."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from polystyle.transformer_net import TransformerNet
from polystyle.whole_file import whole_file

FORMAT = "polystyle"
FORMAT_VERSION = 1

# The style that paints the photo itself, in networks trained with data.photo_row=true.
PHOTO = "photo"


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
        return [name for name in self.style_names if name != PHOTO]


def find_style(name: str, style_names: Sequence[str]) -> int:
    """A style's index.

    Raises:
        ValueError: it isn't there; names the nearest.
    """
    if name in style_names:
        return list(style_names).index(name)
    near = get_close_matches(name, style_names)
    hint = f"did you mean {' or '.join(near)}?" if near else ", ".join(style_names)
    raise ValueError(f"there is no style {name!r}: {hint}")


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


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write a file whole or not at all; its folder is made, and an older file there replaced."""
    # safetensors writes what lies in memory, so channels_last weights are laid out anew.
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_bytes(save(plain, metadata=dict(header)))


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the header of a file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged, or of another kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged, or not a safetensors file ({error})") from error


def check_version(path: Path, header: Mapping[str, str], newest: int) -> None:
    """Raises ValueError for a file of a newer polystyle, or of none."""
    version = header.get("format_version", "")
    if not version.isdecimal():
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
    weights, header = read_safetensors(path)
    if header.get("format") != FORMAT:
        raise ValueError(f"{path} is a safetensors file, but not a polystyle model")
    check_version(path, header, FORMAT_VERSION)
    try:
        style_names = json.loads(header["style_names"])
        if not isinstance(style_names, list) or not all(isinstance(n, str) for n in style_names):
            raise TypeError("style_names is no list of names")
        net = TransformerNet(len(style_names), json.loads(header["width"]))
        net.load_state_dict(weights)
        training = dict(json.loads(header.get("training", "{}")))
        thumbnails = {
            name: base64.b64decode(text, validate=True)
            for name, text in json.loads(header.get("thumbnails", "{}")).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError(f"{path} does not hold the network that its header promises") from error
    return Model(net.eval(), style_names, training, thumbnails)
