"""polystyle-styles: list, share, add, remove, rename and reorder the styles of a network."""

import argparse
import shlex
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polystyle.networks.model_file import Model, NetworkKind

# torch is imported where a command starts, so that --help answers at once.

DESCRIPTION = """The styles of a trained network: list, share, add, remove, rename and reorder them.

A style leaves its network as a style pack, a file of some 15 KB, and merges into any network with
the same convolutions: the same fingerprint, as `list` shows it. Whatever is done to one style, all
the others paint the same picture as before, bit for bit."""
EPILOG = """examples:
  polystyle-styles list model.safetensors
  polystyle-styles extract model.safetensors wave candy --output styles/
  polystyle-styles merge model.safetensors styles/wave.safetensors --output new.safetensors
  polystyle-styles remove model.safetensors candy --output new.safetensors
  polystyle-styles rename model.safetensors wave great_wave --output new.safetensors
  polystyle-styles reorder model.safetensors wave candy --output new.safetensors

Nothing is overwritten without --overwrite. With it, --output may be the network itself.
"""


def main() -> None:
    """The command. Exit status 0, or 1 if it was refused."""
    parser = argparse.ArgumentParser(
        prog="polystyle-styles",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add_command(run: Callable, about: str, output: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            run.__name__, help=about, description=f"{about.capitalize()}."
        )
        command.set_defaults(run=run)
        command.add_argument("model", type=Path, metavar="MODEL", help="model.safetensors of a run")
        command.add_argument("--output", type=Path, required=True, help=output)
        command.add_argument("--overwrite", action="store_true", help="replace what is there")
        return command

    show = commands.add_parser(
        "list",
        help="show what a network or a style pack holds",
        description="Show what a network or a style pack holds.",
    )
    show.set_defaults(run=list_styles)
    show.add_argument("path", type=Path, metavar="FILE", help="model.safetensors, or a style pack")

    command = add_command(
        extract, "write styles to style packs, a small file each", "folder for the packs"
    )
    command.add_argument("styles", nargs="+", metavar="STYLE", help='a style\'s name, or "all"')

    new_network = "file for the changed network"
    command = add_command(merge, "add the styles of style packs to a network", new_network)
    command.add_argument("packs", type=Path, nargs="+", metavar="PACK", help="a style pack")
    command = add_command(remove, "take styles out of a network", new_network)
    command.add_argument("styles", nargs="+", metavar="STYLE", help="a style's name")
    command = add_command(rename, "give a style another name", new_network)
    command.add_argument("old", metavar="OLD", help="its name")
    command.add_argument("new", metavar="NEW", help="its new name")
    command = add_command(reorder, "put styles first, in this order; the rest follow", new_network)
    command.add_argument("styles", nargs="+", metavar="STYLE", help="a style's name")

    args = vars(parser.parse_args())
    try:
        args.pop("run")(**args)
    except (ValueError, OSError) as error:
        sys.exit(f"polystyle-styles: {error}")


def list_styles(path: Path) -> None:
    """Print what a network or a style pack holds.

    Raises:
        FileNotFoundError, ValueError: no such file, or one of another kind.
    """
    from polystyle.networks.model_file import fingerprint, kind_of, load_model
    from polystyle.networks.style_pack import is_style_pack, load_style_pack
    from polystyle.style_names import IDENTITY_STYLE

    if is_style_pack(path):
        pack = load_style_pack(path)
        thumbnail = "with a thumbnail" if pack.thumbnail else "no thumbnail"
        print(f"{path}: the style {pack.style_name}, {thumbnail}, {size(path)}")
        print_network(pack.kind, pack.fingerprint, pack.training)
        print(f"\nMerge: polystyle-styles merge MODEL {quote(path)} --output NEW.safetensors")
        return

    model = load_model(path)
    print(f"{path}: {styles_in(model.style_names)}, {size(path)}")
    print_network(kind_of(model.net), fingerprint(model.net), model.training)
    column = max(map(len, ["style", *model.style_names]))
    print(f"\n{'#':>5}  {'style':<{column}}  thumbnail")
    for index, name in enumerate(model.style_names):
        thumbnail = "yes" if name in model.thumbnails else "-"
        note = "identity style: paints the photo itself" if name == IDENTITY_STYLE else ""
        print(f"{index:>5}  {name:<{column}}  {thumbnail:<9}  {note}".rstrip())
    print(f"\nPaint: polystyle-stylize {quote(path)} PHOTO --style all --output painted/")
    print(f"Share: polystyle-styles extract {quote(path)} all --output styles/")


def print_network(kind: "NetworkKind", fingerprint: str, training: Mapping[str, Any]) -> None:
    from polystyle.files.terminal_text import sanitized

    print(sanitized(f"fingerprint {fingerprint[:12]}, {kind}"))
    if training:
        print(sanitized("trained with " + " ".join(f"{k}={v}" for k, v in training.items())))


def extract(model: Path, styles: Sequence[str], output: Path, overwrite: bool = False) -> None:
    """Write ``<output>/<style name>.safetensors`` for each style; ``"all"`` is every style.

    Raises:
        FileNotFoundError, ValueError: no network there, or a style that it doesn't have.
        FileExistsError: a file is there already. Then, as before, none is written.
    """
    from polystyle.networks.style_pack import extract_style, save_style_pack

    network = load_network(model)
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"{output} is a file: --output names a folder")
    chosen = []
    for name in styles:
        chosen += network.style_names if name == "all" else [name]
    packs = {}
    for name in chosen:
        pack = extract_style(network, name)
        path = output / f"{name}.safetensors"
        check_free(path, overwrite)
        packs[path] = pack
    for path, pack in packs.items():
        save_style_pack(path, pack)
        print(f"Extracted {path}, {size(path)}")
    print(f"Merge: polystyle-styles merge MODEL {quote(path)} --output NEW.safetensors")
    print(f"MODEL is any with fingerprint {pack.fingerprint[:12]}: polystyle-styles list shows it")


def merge(model: Path, packs: Sequence[Path], output: Path, overwrite: bool = False) -> None:
    """Write the network with the styles of the packs after its own.

    Raises:
        FileNotFoundError, ValueError: a file that isn't there or of another kind; a pack of
            another network; a style name that is taken.
        FileExistsError: `output` is there already.
    """
    from polystyle.networks.style_pack import load_style_pack, merge_style

    changed = load_network(model)
    for path in packs:
        pack = load_style_pack(path)
        try:
            changed = merge_style(changed, pack)
        except ValueError as error:
            raise ValueError(f"{path} can't be merged into {model}: {error}") from error
    save_network(output, changed, overwrite, f"Merged {styles_in(packs)}")


def remove(model: Path, styles: Sequence[str], output: Path, overwrite: bool = False) -> None:
    """Write the network without these styles.

    Raises:
        FileNotFoundError, ValueError: no network there, a style that it doesn't have, or no
            painted style left.
        FileExistsError: `output` is there already.
    """
    from polystyle.style_names import IDENTITY_STYLE, find_style

    network = load_network(model)
    gone = [find_style(name, network.style_names) for name in styles]
    kept = [index for index in range(len(network.style_names)) if index not in gone]
    if all(network.style_names[index] == IDENTITY_STYLE for index in kept):
        raise ValueError(f"a network needs a style, and {model} would have none left")
    changed = select_styles(network, kept)
    save_network(output, changed, overwrite, f"Removed {styles_in(set(gone))}")


def rename(model: Path, old: str, new: str, output: Path, overwrite: bool = False) -> None:
    """Write the network with a style under another name; it keeps its place and its thumbnail.

    Raises:
        FileNotFoundError, ValueError: no network there, no such style, or a new name that is
            taken, unfit for a file's name, or the identity style's.
        FileExistsError: `output` is there already.
    """
    from polystyle.style_names import IDENTITY_STYLE, check_style_name, find_style

    network = load_network(model)
    index = find_style(old, network.style_names)
    if IDENTITY_STYLE in (old, new):
        raise ValueError(f"{IDENTITY_STYLE!r} is the name of the identity style alone")
    if new in network.style_names:
        raise ValueError(f"there is a style {new!r} already: choose another name")
    check_style_name(new)
    network.style_names[index] = new
    if old in network.thumbnails:
        network.thumbnails[new] = network.thumbnails.pop(old)
    save_network(output, network, overwrite, f"Renamed {old} to {new}")


def reorder(model: Path, styles: Sequence[str], output: Path, overwrite: bool = False) -> None:
    """Write the network with these styles first, in this order, and the rest in theirs.

    Raises:
        FileNotFoundError, ValueError: no network there, or a style that it doesn't have.
        FileExistsError: `output` is there already.
    """
    from polystyle.style_names import find_style

    network = load_network(model)
    first = [find_style(name, network.style_names) for name in styles]
    order = dict.fromkeys([*first, *range(len(network.style_names))])
    changed = select_styles(network, list(order))
    save_network(output, changed, overwrite, "Reordered")


def select_styles(model: "Model", indices: Sequence[int]) -> "Model":
    """The network with these of its styles alone, in this order."""
    from polystyle.networks.style_rows import rows_of, with_rows

    rows = {key: table[indices] for key, table in rows_of(model.net).items()}
    return replace(
        model,
        net=with_rows(model.net, rows),
        style_names=[model.style_names[index] for index in indices],
    )


def load_network(path: Path) -> "Model":
    from polystyle.networks.model_file import load_model
    from polystyle.networks.style_pack import is_style_pack

    if is_style_pack(path):
        raise ValueError(f"{path} is a style pack, not a network: merge it into its network")
    return load_model(path)


def save_network(path: Path, model: "Model", overwrite: bool, done: str) -> None:
    from polystyle.networks.model_file import save_model

    check_free(path, overwrite)
    save_model(path, model)
    print(f"{done}: {path} has {styles_in(model.style_names)}")
    print(f"Look:  polystyle-styles list {quote(path)}")
    print(f"Paint: polystyle-stylize {quote(path)} PHOTO --style all --output painted/")


def check_free(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: a file must go there")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already: --overwrite replaces it")


def styles_in(things: Collection) -> str:
    return f"{len(things)} style{'' if len(things) == 1 else 's'}"


def size(path: Path) -> str:
    return f"{path.stat().st_size / 1000:,.1f} KB"


def quote(path: Path) -> str:
    return shlex.quote(str(path))


if __name__ == "__main__":
    main()
