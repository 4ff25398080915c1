"""polystyle-studio: choose styles, blend, brush and compare in the browser."""

import argparse
import sys

from polystyle import __version__
from polystyle.files.console import exit_on_signals, tolerate_lost_console
from polystyle.files.path_text import path_argument
from polystyle.files.terminal_text import sanitized

DESCRIPTION = "Open a page on this machine, to paint photos in the browser."
EPILOG = """examples:
  polystyle-studio
  polystyle-studio --model outputs/monet --model outputs/haystacks
  polystyle-studio --host 0.0.0.0 --port 8000

It needs Gradio: pip install 'polystyle[studio]'
"""
LAST_PORT = 65535


def main() -> None:
    """The command. It runs until it is stopped: exit status 0 on Ctrl-C."""
    tolerate_lost_console()
    exit_on_signals()
    args = parser().parse_args()
    try:
        # Imported here, so that --help does not wait for torch.
        from polystyle.studio_app.serve import serve

        serve(args.model, args.host, args.port, args.device)
    except (ValueError, OSError) as error:
        sys.exit(f"polystyle-studio: {sanitized(error)}")
    except KeyboardInterrupt:
        sys.exit(0)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="polystyle-studio",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--model",
        type=path_argument,
        action="append",
        default=[],
        metavar="FILE_OR_RUN",
        help="a network to paint with: a model.safetensors, or the folder of a run (repeatable; "
        "default: the network that comes with polystyle). The runs under outputs/ can be chosen "
        "on the page, too",
    )
    parser.add_argument(
        "--port",
        type=port,
        default=7860,
        metavar="N",
        help="the page is http://127.0.0.1:N (default: 7860)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="the address to listen on (default: 127.0.0.1, which other machines can't reach); "
        "0.0.0.0 for all of this machine's",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    return parser


def port(text: str) -> int:
    """Raises ValueError for a number that is no port."""
    if not 1 <= int(text) <= LAST_PORT:
        raise ValueError
    return int(text)


if __name__ == "__main__":
    main()
