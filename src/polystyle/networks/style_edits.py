"""Removes, renames and reorders the styles of a network. Every remaining style paints the same
picture as before, bit for bit: its rows of gamma and beta are copied, all other tensors are shared.
"""

from collections.abc import Sequence
from dataclasses import replace

from polystyle.networks.model_file import Model
from polystyle.networks.style_rows import rows_of, with_rows
from polystyle.style_names import IDENTITY_STYLE, check_new_style_name, find_style


def select_styles(model: Model, indices: Sequence[int]) -> Model:
    """The network with only the styles of these indices, in this order."""
    rows = {name: table[indices] for name, table in rows_of(model.net).items()}
    return replace(
        model,
        net=with_rows(model.net, rows),
        style_names=[model.style_names[index] for index in indices],
    )


def remove_styles(model: Model, names: Sequence[str]) -> Model:
    """The network without these styles.

    Raises:
        ValueError: the network does not have one of the styles, or no painted style would be left.
    """
    removed = {find_style(name, model.style_names) for name in names}
    kept = [index for index in range(len(model.style_names)) if index not in removed]
    if all(model.style_names[index] == IDENTITY_STYLE for index in kept):
        raise ValueError("a network needs at least one painted style, and none would be left")
    return select_styles(model, kept)


def rename_style(model: Model, old: str, new: str) -> Model:
    """The network with a style under another name; its index and thumbnail stay the same.

    Raises:
        ValueError: the network has no style `old`; `new` is taken or can't be a style's; or
            either is the name of the identity style.
    """
    index = find_style(old, model.style_names)
    if IDENTITY_STYLE in (old, new):
        raise ValueError(f"the name {IDENTITY_STYLE!r} is reserved for the identity style")
    if new in model.style_names:
        raise ValueError(f"there is a style {new!r} already: choose another name")
    check_new_style_name(new)
    style_names = list(model.style_names)
    style_names[index] = new
    thumbnails = dict(model.thumbnails)
    if old in thumbnails:
        thumbnails[new] = thumbnails.pop(old)
    return replace(model, style_names=style_names, thumbnails=thumbnails)


def reorder_styles(model: Model, names: Sequence[str]) -> Model:
    """The network with these styles first, in this order; the others follow in their own order.

    Raises:
        ValueError: the network does not have one of the styles.
    """
    first = [find_style(name, model.style_names) for name in names]
    return select_styles(model, list(dict.fromkeys([*first, *range(len(model.style_names))])))
