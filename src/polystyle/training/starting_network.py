"""The trained network that a run begins from: to add conditions to, or to train on from."""

import logging
from pathlib import Path

import torch
from torch import nn

from polystyle.files.terminal_text import counted
from polystyle.networks.model_file import (
    NETWORKS,
    PRETRAINED,
    Model,
    kind_of,
    load_model,
    model_path,
)
from polystyle.networks.style_rows import rows_of
from polystyle.training.module import MultiStyleModule

log = logging.getLogger(__name__)

SCRATCH = "scratch"


def load_network(path: Path, network: type[nn.Module]) -> Model:
    """Read a trained network that may be of a class of the user's own.

    Args:
        path: a model file, the folder of a run, or "pretrained".
        network: the class that the configuration names.

    Raises:
        FileNotFoundError, ValueError: see `load_model`.
    """
    return load_model(path, None if network in NETWORKS.values() else network)


def check_output(output: Path | None, model_file: Path) -> None:
    """Raises FileExistsError for a run whose model file is the network that it adds styles to."""
    if output and output.resolve() == model_path(model_file).resolve():
        raise FileExistsError(
            f"this run would write over its model_file, {model_file}: choose another hydra.run.dir"
        )


def begin_from(module: MultiStyleModule, init: str) -> None:
    """Begin training from a trained network, as the key ``init`` says: "pretrained", "scratch", or
    a model file or the folder of a run.

    Raises:
        FileNotFoundError, ValueError: the file can't be read, or its network is of another kind. A
            network of another kind than the one that comes with polystyle is no error: a line says
            that training starts from scratch, and why.
    """
    if init == SCRATCH:
        return
    model = (
        load_network(Path(init), type(module.net)) if init != PRETRAINED else load_model(Path(init))
    )
    if difference := difference_in_kind(model.net, module.net):
        if init != PRETRAINED:
            raise ValueError(f"init={init}: {difference}")
        log.info(f"Training starts from scratch: {difference}. experiment=fast is made for that")
        return
    module.begin_from(model)
    log.info(
        f"Training starts from {init}, a network of {counted(len(model.style_names), 'style')}"
    )


def difference_in_kind(trained: nn.Module, new: nn.Module) -> str | None:
    """Why a network can't begin with the shared tensors of a trained one; None if it can."""
    kinds = kind_of(trained), kind_of(new)
    if kinds[0].name != kinds[1].name or shared_shapes(trained) != shared_shapes(new):
        return f"the trained network is a {kinds[0]}, and this one a {kinds[1]}"
    return None


def shared_shapes(net: nn.Module) -> dict[str, torch.Size]:
    """The shapes of what all conditions share."""
    rows = rows_of(net)
    return {name: t.shape for name, t in net.state_dict().items() if name not in rows}
