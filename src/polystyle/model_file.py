"""The trained network as one file: weights, and in the header what must travel with them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from polystyle.transformer_net import TransformerNet

FORMAT = "polystyle"
FORMAT_VERSION = 1


def save_model(
    path: Path,
    net: TransformerNet,
    style_names: Sequence[str],
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write a network to a safetensors file, whole or not at all.

    Args:
        path: the file; its folder is made. An older file there is replaced.
        net: the network.
        style_names: a name for each style, in order.
        training: how it was trained: plain values, for people to read.

    Raises:
        ValueError: not one name for each style.
    """
    if len(style_names) != net.num_styles:
        raise ValueError(f"{len(style_names)} names for {net.num_styles} styles")
    header = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "style_names": json.dumps(list(style_names)),
        "width": json.dumps(net.width),
        "training": json.dumps(dict(training or {})),
    }
    # safetensors writes what lies in memory, so channels_last weights are laid out anew.
    weights = {
        name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    partial.write_bytes(save(weights, metadata=header))
    partial.replace(path)


def load_model(path: Path) -> tuple[TransformerNet, list[str]]:
    """Read a network that `save_model` wrote.

    Returns:
        The network, on the CPU in eval mode, and its styles' names in order.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, of another kind, or from a newer polystyle.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged, or not a safetensors file ({error})") from error
    if header.get("format") != FORMAT:
        raise ValueError(f"{path} is a safetensors file, but not a polystyle model")
    version = header.get("format_version", "")
    if version.isdecimal() and int(version) > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format {version}, and this polystyle reads up to "
            f"{FORMAT_VERSION}: update polystyle"
        )
    try:
        int(version)
        style_names = json.loads(header["style_names"])
        if not isinstance(style_names, list) or not all(isinstance(n, str) for n in style_names):
            raise TypeError("style_names is no list of names")
        net = TransformerNet(len(style_names), json.loads(header["width"]))
        net.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError(f"{path} does not hold the network that its header promises") from error
    return net.eval(), style_names
