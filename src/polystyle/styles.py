"""polystyle-styles: list, share, add, remove, rename and reorder the styles of a network."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from polystyle import __version__
from polystyle.files.console import exit_on_signals, tolerate_lost_console
from polystyle.files.path_text import path_argument

DESCRIPTION = """The styles of a trained network: list, share, add, remove, rename and reorder them.

A style leaves its network as a style pack, a file of some 15 KB, and merges into any network with
the same convolutions: the same fingerprint, as `list` shows it. Whatever is done to one style, all
the others paint the same picture as before, bit for bit."""
EPILOG = """examples:
  polystyle-styles list
  polystyle-styles list outputs/monet
  polystyle-styles extract outputs/monet wave candy --output styles/
  polystyle-styles merge outputs/monet styles/rain.safetensors --output new.safetensors
  polystyle-styles remove outputs/monet candy --output new.safetensors
  polystyle-styles rename outputs/monet wave great_wave --output new.safetensors
  polystyle-styles reorder outputs/monet wave candy --output new.safetensors

A network is the folder of a run, a model.safetensors, or "pretrained", the one that comes with
polystyle. Nothing is overwritten without --overwrite.
With it, --output may be the network's own file.
"""
NETWORK = "folder of a run, or a model.safetensors"


def main() -> None:
    """Runs the command. Exit status 0, or 1 if it was refused."""
    tolerate_lost_console()
    exit_on_signals()
    arguments = vars(parse(sys.argv[1:]))
    # The only import of torch, here so that --help answers at once.
    from polystyle.networks import style_commands

    command = getattr(style_commands, arguments.pop("function"))
    try:
        lines = command(**arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"polystyle-styles: {error}")
    print(*lines, sep="\n")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments: `function` names one of `networks.style_commands`, the others have the names
    of that function's arguments."""
    parser, subparsers = make_parser()
    for position, name in enumerate(arguments):
        if name in subparsers:
            # Called by the main parser, it would not take flags between positional arguments.
            others = [*arguments[:position], *arguments[position + 1 :]]
            return subparsers[name].parse_intermixed_args(others)
    return parser.parse_args(arguments)


def make_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the command, and those of its subcommands by name."""
    parser = argparse.ArgumentParser(
        prog="polystyle-styles",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    about = "show what a network or a style pack holds"
    command = commands.add_parser("list", help=about, description=f"{about.capitalize()}.")
    command.set_defaults(function="list_styles")
    command.add_argument(
        "path",
        type=path_argument,
        nargs="?",
        default=Path("pretrained"),
        metavar="FILE",
        help=f"{NETWORK}, or a style pack (default: the network that comes with polystyle)",
    )

    def add_command(name: str, about: str, output: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=about, description=f"{about.capitalize()}.")
        command.set_defaults(function=name)
        command.add_argument("model", type=path_argument, metavar="MODEL", help=NETWORK)
        command.add_argument("--output", type=path_argument, required=True, help=output)
        command.add_argument("--overwrite", action="store_true", help="replace existing files")
        return command

    command = add_command(
        "extract", "write style packs, one for each style", "folder for the packs"
    )
    command.add_argument("styles", nargs="+", metavar="STYLE", help='name of a style, or "all"')
    file = "file for the changed network"
    command = add_command("merge", "add the styles of style packs to a network", file)
    command.add_argument(
        "packs", type=path_argument, nargs="+", metavar="PACK", help="a style pack"
    )
    command = add_command("remove", "remove styles from a network", file)
    command.add_argument("styles", nargs="+", metavar="STYLE", help="name of a style")
    command = add_command("rename", "give a style another name", file)
    command.add_argument("old", metavar="OLD", help="name of the style")
    command.add_argument("new", metavar="NEW", help="its new name")
    command = add_command("reorder", "put styles first, in this order; the others follow", file)
    command.add_argument("styles", nargs="+", metavar="STYLE", help="name of a style")
    return parser, commands.choices


if __name__ == "__main__":
    main()
