"""polystyle-prepare: store a folder of photos as small JPEGs in a few tar files."""

import argparse
import shlex
import signal
import sys
import time
from pathlib import Path

from polystyle import __version__
from polystyle.files.console import exit_on_signals, tolerate_lost_console
from polystyle.files.path_text import path_argument
from polystyle.training.command_line import path_override

DESCRIPTION = "Store a folder of photos as small JPEGs in a few tar files, which load faster."
EPILOG = """A training crop is a quarter to all of a photo, enlarged where it has fewer pixels than
data.image_size: --size 512 keeps crops of 256 pixels as sharp as the photos allow.

examples:
  polystyle-prepare photos/ --output prepared/
  polystyle-prepare photos/ --output prepared-512/ --size 512
  polystyle-train data.content_dir=prepared/ data.style_dir=paintings/
"""


def main() -> None:
    """The command. A mistake of the user's ends it with one line and exit status 1."""
    tolerate_lost_console()
    exit_on_signals()
    args = parser().parse_args()
    try:
        prepare(args.photos, args.output, args.size)
    except (ValueError, OSError) as error:
        sys.exit(f"polystyle-prepare: {error}")
    except KeyboardInterrupt:
        print("polystyle-prepare: stopped, nothing was made", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="polystyle-prepare",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "photos", type=path_argument, metavar="PHOTOS", help="folder of photos, with its subfolders"
    )
    parser.add_argument(
        "--output",
        type=path_argument,
        required=True,
        metavar="PREPARED",
        help="folder to make",
    )
    parser.add_argument(
        "--size",
        type=int,
        default=256,
        metavar="PIXELS",
        help="the photos' new shorter side (default 256); smaller photos keep their size, "
        "and those of fewer than 16 pixels are left out",
    )
    return parser


def prepare(photos: Path, output: Path, size: int) -> None:
    """Make the prepared set and print what was made. Raises as `prepare_set` does."""
    from polystyle.data.images import LEAST_SIDE  # here, so that --help is fast
    from polystyle.data.prepare_set import prepare_set
    from polystyle.files.terminal_text import counted

    if size < LEAST_SIDE:
        raise ValueError(f"--size must be at least {LEAST_SIDE}, not {size}")
    started_at = time.monotonic()
    made = prepare_set(photos, output, size)
    skipped = f" ({made.num_skipped} skipped)" if made.num_skipped else ""
    print(
        f"Made {output}: {counted(made.num_photos, 'photo')}{skipped} in "
        f"{counted(made.num_shards, 'shard')}, {made.num_bytes / 1e6:.1f} MB, "
        f"{counted(round(time.monotonic() - started_at), 'second')}\n"
        f"Train: polystyle-train {shlex.quote(path_override('data.content_dir', output))} "
        "data.style_dir=PAINTINGS"
    )


if __name__ == "__main__":
    main()
