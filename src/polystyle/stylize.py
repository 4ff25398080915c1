"""polystyle-stylize: paint photos and videos with a trained network."""

import argparse
import signal
import sys
from pathlib import Path

from polystyle import __version__
from polystyle.files.console import exit_on_signals, tolerate_lost_console
from polystyle.files.path_text import path_argument, path_pattern
from polystyle.files.terminal_text import sanitized

DESCRIPTION = "Paint photos in the styles of a trained network, each at its own size."
EPILOG = """examples:
  polystyle-stylize photo.jpg --style starry_night
  polystyle-stylize photos/ --style all --output painted/
  polystyle-stylize photo.jpg --style starry_night:0.7 --style wave:0.3
  polystyle-stylize photo.jpg --mask sky.png=wave --mask rest=starry_night
  polystyle-stylize photo.jpg --style wave --strength 0.5 --keep-colors
  polystyle-stylize photo.jpg --sweep starry_night wave
  polystyle-stylize photo.jpg --blend-grid starry_night wave water_lilies the_scream
  polystyle-stylize clip.mp4 --style wave
  polystyle-stylize photo.jpg --model outputs/monet --style haystacks

The styles of a network: polystyle-styles list [outputs/monet]
"""


def main() -> None:
    """The command. Exit status 0, or 1 if a photo could not be painted."""
    tolerate_lost_console()
    exit_on_signals()
    # Intermixed: flags may stand between photos.
    args = parser().parse_intermixed_args()
    try:
        # Imported here, so that --help does not wait for torch.
        from polystyle.painting.paint_job import PaintOptions, paint_files

        sys.exit(paint_files(PaintOptions(**vars(args))))
    except (ValueError, OSError) as error:
        sys.exit(f"polystyle-stylize: {sanitized(error)}")
    except KeyboardInterrupt:
        print("polystyle-stylize: stopped; every picture written is complete", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def parser() -> argparse.ArgumentParser:
    """The flags; their names are those of the fields of `PaintOptions`."""
    parser = argparse.ArgumentParser(
        prog="polystyle-stylize",
        usage="polystyle-stylize PHOTO... --style NAME [--model FILE_OR_RUN] [--output DIR] [...]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "photos",
        type=path_pattern,
        nargs="+",
        metavar="PHOTO",
        help="photos, videos, folders of photos, or patterns",
    )
    parser.add_argument(
        "--model",
        type=path_argument,
        default=Path("pretrained"),
        metavar="FILE_OR_RUN",
        help="the network: a model.safetensors, or the folder of a run (default: the network that "
        "comes with polystyle)",
    )

    styles = parser.add_argument_group("what to paint (one of these)")
    styles.add_argument(
        "--style",
        action="append",
        default=[],
        metavar="NAME[:WEIGHT]",
        help="a style (repeatable: one picture for each); with weights, one blend of them; "
        '"all" for every style',
    )
    styles.add_argument(
        "--mask",
        type=path_pattern,
        action="append",
        default=[],
        metavar="FILE=STYLE",
        help="mask image: white areas get STYLE (repeatable); rest=STYLE or --style sets the style "
        "of the remaining area",
    )
    styles.add_argument(
        "--sweep",
        nargs=2,
        metavar=("A", "B"),
        help="one sheet with the blends from style A to style B",
    )
    styles.add_argument(
        "--blend-grid", nargs="+", metavar="STYLE", help="one sheet: blends of two to four styles"
    )

    look = parser.add_argument_group("how to paint")
    look.add_argument(
        "--strength",
        type=float,
        default=1.0,
        metavar="S",
        help="from 0, the photo, to 1, the style (default)",
    )
    look.add_argument(
        "--strength-by",
        choices=("rows", "pixels"),
        default="rows",
        help="blend gamma and beta (needs a network with an identity style), or pixels",
    )
    look.add_argument("--keep-colors", action="store_true", help="keep the photo's colours")
    look.add_argument(
        "--scale",
        type=scale,
        default=1.0,
        metavar="S",
        help="size of the strokes relative to the picture, 0.25 to 4 (default 1); or native: "
        "paint the photo's pixels as they are",
    )
    look.add_argument("--raw", action="store_true", help="do not normalize the weights of a blend")
    look.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="pictures in a sweep (default 9), or in a row of a grid (default 5)",
    )
    look.add_argument(
        "--smoothing",
        type=float,
        default=0.8,
        metavar="M",
        help="videos: the share of the earlier frames in the statistics that a frame is normalized "
        "with, from 0 to under 1 (default 0.8)",
    )

    files = parser.add_argument_group("where to write and to compute")
    files.add_argument(
        "--output",
        type=path_argument,
        default=Path("painted"),
        metavar="FOLDER",
        help="folder to write to (default: painted)",
    )
    files.add_argument(
        "--format",
        metavar="NAME",
        help="file format of the results: jpg, png, webp, tif, ... for photos, mp4, mov, mkv or "
        "webm for videos (default: the photo's own, where it can hold the result)",
    )
    files.add_argument(
        "--quality",
        type=int,
        metavar="Q",
        help="quality of JPEG, WebP and AVIF files, from 1 to 100 (default 95)",
    )
    files.add_argument("--overwrite", action="store_true", help="replace existing pictures")
    files.add_argument(
        "--tile",
        type=tile,
        default=None,
        metavar="ROWS",
        help="paint large photos in tiles: auto (default) over 4 megapixels, off never, a number "
        "always, in tiles of that many rows",
    )
    files.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    files.add_argument(
        "--precision", default="float32", help="float32 (default), bfloat16, or float16"
    )
    return parser


def scale(text: str) -> float | None:
    return None if text == "native" else float(text)


def tile(text: str) -> int | None:
    if text in ("auto", "off"):
        return {"auto": None, "off": 0}[text]
    if int(text) < 1:
        raise ValueError
    return int(text)


if __name__ == "__main__":
    main()
