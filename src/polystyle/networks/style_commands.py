"""The subcommands of polystyle-styles. Each reads and writes files, and returns lines for the user.
Errors name the command's flags."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polystyle.files.new_folder import check_can_be_folder
from polystyle.files.path_kind import NETWORK_OR_PACK, Kind, kind_of_path
from polystyle.files.path_text import shell_path
from polystyle.files.terminal_text import counted, sanitized
from polystyle.networks.model_file import (
    PRETRAINED,
    Model,
    NetworkKind,
    fingerprint,
    kind_of,
    load_model,
    model_path,
    save_model,
)
from polystyle.networks.style_edits import remove_styles, rename_style, reorder_styles
from polystyle.networks.style_pack import (
    StylePack,
    extract_style,
    load_style_pack,
    merge_style,
    save_style_pack,
)
from polystyle.style_names import IDENTITY_STYLE


def list_styles(path: Path) -> list[str]:
    """Describes a network or a style pack.

    Args:
        path: a model file, the folder of a run, or a style pack.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is neither a model nor a style pack.
    """
    file = model_path(path, NETWORK_OR_PACK)
    if kind_of_path(file) is Kind.PACK:
        return describe_pack(path, load_style_pack(file))
    # Show the word, not the path of the installed package.
    shown = path if path == Path(PRETRAINED) else file
    return describe_model(shown, load_model(file))


def describe_pack(path: Path, pack: StylePack) -> list[str]:
    """The lines of `list_styles` for a style pack."""
    thumbnail = "with a thumbnail" if pack.thumbnail else "no thumbnail"
    return [
        f"{path}: the style {pack.style_name}, {thumbnail}, {size(path)}",
        *describe_network(pack.kind, pack.fingerprint, pack.training),
        "",
        merge_command(path),
    ]


def describe_model(path: Path, model: Model) -> list[str]:
    """The lines of `list_styles` for a network."""
    lines = [
        f"{path}: {counted(len(model.style_names), 'style')}, {size(path)}",
        *describe_network(kind_of(model.net), fingerprint(model.net), model.training),
    ]
    width = max(map(len, ["style", *model.style_names]))
    lines += ["", f"{'#':>5}  {'style':<{width}}  thumbnail"]
    for index, name in enumerate(model.style_names):
        thumbnail = "yes" if name in model.thumbnails else "-"
        note = "identity style: paints the photo itself" if name == IDENTITY_STYLE else ""
        lines.append(f"{index:>5}  {name:<{width}}  {thumbnail:<9}  {note}".rstrip())
    share = f"Share: polystyle-styles extract {shell_path(path)} all --output styles/"
    return [*lines, "", paint_command(path), share]


def describe_network(
    kind: NetworkKind, shared_fingerprint: str, training: Mapping[str, Any]
) -> list[str]:
    """Lines about a network: fingerprint, kind and settings of the training."""
    lines = [sanitized(f"fingerprint {shared_fingerprint[:12]}, {kind}")]
    if training:
        settings = " ".join(f"{name}={value}" for name, value in training.items())
        lines.append(sanitized(f"trained with {settings}"))
    return lines


def extract(model: Path, styles: Sequence[str], output: Path, overwrite: bool = False) -> list[str]:
    """Writes ``<output>/<style name>.safetensors`` for each style.

    Args:
        model: a model file, or the folder of a run.
        styles: names of styles; "all" stands for every style.
        output: a folder, created if missing.
        overwrite: replace existing files.

    Raises:
        FileNotFoundError: there is no model.
        FileExistsError: a file exists already; no file is written then.
        NotADirectoryError: `output` is a file.
        ValueError: not a model, or a style that it does not have.
    """
    network = load_model(model)
    check_can_be_folder(output)
    names = []
    for style in styles:
        names += network.style_names if style == "all" else [style]
    packs = {}
    for name in names:
        pack = extract_style(network, name)
        path = output / f"{name}.safetensors"
        check_free(path, overwrite)
        packs[path] = pack
    for path, pack in packs.items():
        save_style_pack(path, pack)
    return [
        *(f"Extracted {path}, {size(path)}" for path in packs),
        merge_command(path),
        f"MODEL is any network with fingerprint {pack.fingerprint[:12]}: "
        "polystyle-styles list shows it",
    ]


def merge(model: Path, packs: Sequence[Path], output: Path, overwrite: bool = False) -> list[str]:
    """Writes the network with the styles of the packs after its own.

    Args:
        model: a model file, or the folder of a run.
        packs: style packs.
        output: a file.
        overwrite: replace an existing file.

    Raises:
        FileNotFoundError: a file does not exist.
        FileExistsError: `output` exists already.
        ValueError: a file of another kind, a pack of another network, or a style name that is
            taken.
    """
    network = load_model(model)
    for path in packs:
        pack = load_style_pack(path)
        try:
            network = merge_style(network, pack)
        except ValueError as error:
            raise ValueError(f"{path} can't be merged into {model}: {error}") from error
    return save_network(output, network, overwrite, f"Merged {counted(len(packs), 'style')}")


def remove(model: Path, styles: Sequence[str], output: Path, overwrite: bool = False) -> list[str]:
    """Writes the network without these styles; arguments and errors as in `merge` and
    `remove_styles`."""
    network = remove_styles(load_model(model), styles)
    return save_network(output, network, overwrite, f"Removed {counted(len(set(styles)), 'style')}")


def rename(model: Path, old: str, new: str, output: Path, overwrite: bool = False) -> list[str]:
    """Writes the network with the style `old` named `new`; arguments and errors as in `merge` and
    `rename_style`."""
    network = rename_style(load_model(model), old, new)
    return save_network(output, network, overwrite, f"Renamed {old} to {new}")


def reorder(model: Path, styles: Sequence[str], output: Path, overwrite: bool = False) -> list[str]:
    """Writes the network with these styles first; arguments and errors as in `merge` and
    `reorder_styles`."""
    network = reorder_styles(load_model(model), styles)
    return save_network(output, network, overwrite, "Reordered")


def save_network(path: Path, model: Model, overwrite: bool, done: str) -> list[str]:
    """Writes a network. Returns lines for the user, the first of which begins with `done`."""
    check_free(path, overwrite)
    save_model(path, model)
    return [
        f"{done}: {path} has {counted(len(model.style_names), 'style')}",
        f"Look:  polystyle-styles list {shell_path(path)}",
        paint_command(path),
    ]


def check_free(path: Path, overwrite: bool) -> None:
    """Raises OSError for a folder, for a file that exists and must not be overwritten, and for a
    path below a file."""
    check_can_be_folder(path.parent)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: --output names a file")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already: --overwrite replaces it")


def paint_command(path: Path) -> str:
    """The command that paints a photo in all styles of a network."""
    return (
        f"Paint: polystyle-stylize PHOTO --model {shell_path(path)} --style all --output painted/"
    )


def merge_command(path: Path) -> str:
    """The command that merges a style pack."""
    return f"Merge: polystyle-styles merge MODEL {shell_path(path)} --output NEW.safetensors"


def size(path: Path) -> str:
    """The size of a model file or style pack in KB (1,000 bytes)."""
    return f"{model_path(path, NETWORK_OR_PACK).stat().st_size / 1000:,.1f} KB"
