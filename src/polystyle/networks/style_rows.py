"""Reads and replaces the rows of a network: gamma and beta of all its CIN layers.

A condition, such as a style, is one row of each of these matrices; all other tensors of a network
are shared between its conditions. The layers are found by their type, in any network.
"""

import copy
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

from polystyle.networks.conditional_instance_norm import ConditionalInstanceNorm2d

Net = TypeVar("Net", bound=nn.Module)


def rows_of(net: nn.Module) -> dict[str, Tensor]:
    """Gamma and beta of every `ConditionalInstanceNorm2d` in a network.

    Returns:
        ``[N, C]`` tensors by their name in the state dict, in the network's order. They share the
        memory of the parameters and require no gradient.
    """
    return {
        f"{prefix}.{name}".removeprefix("."): parameter.detach()
        for prefix, layer in net.named_modules()
        if isinstance(layer, ConditionalInstanceNorm2d)
        for name, parameter in (("gamma", layer.gamma), ("beta", layer.beta))
    }


def with_rows(net: Net, rows: Mapping[str, Tensor]) -> Net:
    """A copy of a network with other rows. All other tensors share the memory of `net`.

    Args:
        net: a network with `ConditionalInstanceNorm2d` layers. It is not changed.
        rows: gamma and beta of every layer, each ``[M, C]``, named as in `rows_of`. M may differ
            from the network's own number of rows.

    Raises:
        ValueError: the names or shapes of the rows are not those of the network's layers.
    """
    own = rows_of(net)
    if rows.keys() != own.keys():
        raise ValueError("the rows are not those of this network's layers")
    num_rows = len(next(iter(rows.values())))
    if any(rows[name].shape != (num_rows, table.shape[1]) for name, table in own.items()):
        raise ValueError("the rows do not have the shape of this network's layers")
    # deepcopy does not copy objects in the memo. Parameters are wrapped in new objects, so that
    # requires_grad_ on one network does not affect the other.
    memo: dict[int, Tensor] = {id(buffer): buffer for buffer in net.buffers()}
    for name, parameter in net.named_parameters(remove_duplicate=False):
        values = rows.get(name, parameter.detach())
        memo.setdefault(id(parameter), nn.Parameter(values, parameter.requires_grad))
    return copy.deepcopy(net, memo)


def check_has_rows(net: nn.Module) -> None:
    """Raises ValueError for a network without a `ConditionalInstanceNorm2d` layer."""
    if not rows_of(net):
        raise ValueError(
            f"{type(net).__name__} has no ConditionalInstanceNorm2d layer, which holds a row of "
            "gamma and beta for each condition"
        )
