"""New conditions for a trained network: each begins as the nearest old row."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from polystyle.networks.model_file import Model
from polystyle.networks.style_rows import rows_of, with_rows
from polystyle.style_names import IDENTITY_STYLE


def with_new_rows(base: Model, names: Sequence[str]) -> nn.Module:
    """The network's shared weights, frozen, and a row for each new condition: a copy of its first.

    Raises:
        ValueError: the network has a condition of that name.
    """
    taken = [name for name in names if name in base.style_names]
    if taken == [IDENTITY_STYLE]:
        raise ValueError("the network has an identity style already: leave out data.identity_style")
    if taken:
        raise ValueError(
            f"the network has the style {', '.join(taken)} already: give the painting's file or "
            "folder another name, or take the old one out with polystyle-styles remove"
        )
    rows = {name: table[:1].repeat(len(names), 1) for name, table in rows_of(base.net).items()}
    net = with_rows(base.net, rows)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name in rows)
    return net.train()


@torch.no_grad()
def nearest_rows(
    net: nn.Module, old_rows: Mapping[str, Tensor], losses: Callable[[], Tensor]
) -> Tensor:
    """For each new condition, the old row that has the least loss as it is.

    Args:
        net: the network that `losses` uses. All its rows are overwritten.
        old_rows: the rows to choose from, as `rows_of` gives them.
        losses: the loss for each new condition, ``[N]``, with the network as it is.

    Returns:
        The index of an old row for each new condition, ``[N]`` int64, on the CPU.
    """
    rows = rows_of(net)
    num_old = len(next(iter(old_rows.values())))
    table = []
    for index in tqdm(range(num_old), "Nearest styles", disable=None, leave=False):
        for name, row in rows.items():
            row.copy_(old_rows[name][index])
        table.append(losses().float().cpu())
    return torch.stack(table).argmin(0)


@torch.no_grad()
def set_rows(net: nn.Module, old_rows: Mapping[str, Tensor], indices: Tensor) -> None:
    """Make each row of a network a copy of the old row of that index, ``[N]`` int64."""
    for name, row in rows_of(net).items():
        row.copy_(old_rows[name][indices])
