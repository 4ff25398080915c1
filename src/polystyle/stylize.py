"""polystyle-stylize: paint photos and videos with a trained network."""

import argparse
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

from polystyle.painting.paint_job import PaintJob, find_sources, paint_all

# torch and Pillow are imported where they are needed, so that --help answers at once.

DESCRIPTION = "Paint photos in the styles of a trained network, each at its own size."
EPILOG = """examples:
  polystyle-stylize model.safetensors photo.jpg --style starry_night
  polystyle-stylize model.safetensors photos/ --style all --output painted/
  polystyle-stylize model.safetensors photo.jpg --style starry_night:0.7 --style wave:0.3
  polystyle-stylize model.safetensors photo.jpg --mask sky.png=wave --mask rest=starry_night
  polystyle-stylize model.safetensors photo.jpg --style wave --strength 0.5 --keep-colors
  polystyle-stylize model.safetensors photo.jpg --sweep starry_night wave
  polystyle-stylize model.safetensors photo.jpg --blend-grid starry_night wave candy mosaic
  polystyle-stylize model.safetensors clip.mp4 --style wave

The styles of a network: polystyle-styles list model.safetensors
"""


def main() -> None:
    """The command. Exit status 0, or 1 if a photo could not be painted."""
    args = parser().parse_args()
    try:
        sys.exit(stylize(args))
    except (ValueError, OSError) as error:
        from polystyle.files.terminal_text import sanitized

        sys.exit(f"polystyle-stylize: {sanitized(str(error))}")
    except KeyboardInterrupt:
        print("polystyle-stylize: stopped; every picture written is whole", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="polystyle-stylize",
        usage="polystyle-stylize MODEL PHOTO... --style NAME [--output FOLDER] [...]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, help="model.safetensors of a run")
    parser.add_argument("photos", nargs="+", help="photos, videos, folders of photos, or patterns")

    what = parser.add_argument_group("what to paint (one of these)")
    what.add_argument(
        "--style",
        action="append",
        default=[],
        metavar="NAME[:WEIGHT]",
        help='a style; repeated, each of them; with weights, their blend; "all" for every style',
    )
    what.add_argument(
        "--mask",
        action="append",
        default=[],
        metavar="FILE=STYLE",
        help="paint where that picture is white in that style; repeat it; rest=STYLE or --style "
        "is for what remains",
    )
    what.add_argument(
        "--sweep", nargs=2, metavar=("A", "B"), help="one sheet: the way from a style to another"
    )
    what.add_argument(
        "--blend-grid", nargs="+", metavar="STYLE", help="one sheet: blends of two to four styles"
    )

    how = parser.add_argument_group("how")
    how.add_argument(
        "--strength",
        type=float,
        default=1.0,
        metavar="S",
        help="from 0, the photo, to 1, the style (default)",
    )
    how.add_argument(
        "--strength-by",
        choices=("rows", "pixels"),
        default="rows",
        help="blend gamma and beta (needs a network with an identity style), or pixels",
    )
    how.add_argument("--keep-colors", action="store_true", help="the photo's colours")
    how.add_argument(
        "--scale",
        type=scale,
        default=1.0,
        metavar="S",
        help="size of the strokes relative to the picture, 0.25 to 10 (default 1); or native: "
        "paint the photo's pixels as they are",
    )
    how.add_argument("--raw", action="store_true", help="leave a blend's weights as they are")
    how.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="pictures in a sweep (default 9), or in a grid's row (5)",
    )
    how.add_argument(
        "--smoothing",
        type=float,
        default=0.8,
        metavar="M",
        help="videos: how much of the statistics that a frame is normalized with comes from the "
        "frames before it, from 0 to under 1 (default 0.8)",
    )

    where = parser.add_argument_group("where")
    where.add_argument(
        "--output",
        type=Path,
        default=Path("painted"),
        metavar="FOLDER",
        help="folder to write to (default: painted)",
    )
    where.add_argument("--overwrite", action="store_true", help="replace pictures already there")
    where.add_argument(
        "--tile",
        type=tile,
        default=None,
        metavar="ROWS",
        help="large photos: auto (default: over 4 megapixels) paints them in bands, off never, "
        "a number always, in bands of so many rows",
    )
    where.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    where.add_argument(
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


def stylize(args: argparse.Namespace) -> int:
    """Paint each photo as the arguments of `parser` say:
    ``<output>/<photo's stem>-<style><photo's extension>``.

    What can't be painted is reported at the end and stops nothing.

    Returns:
        0, or 1 if any photo failed.

    Raises:
        OSError, ValueError: what makes all of it impossible, in one line.
    """
    from polystyle.data.images import silence_pillow
    from polystyle.files.terminal_text import sanitized
    from polystyle.networks.model_file import load_model
    from polystyle.painting.painter import Painter

    silence_pillow()  # large photos are what --tile is for

    painter = Painter(load_model(args.model), args.device, args.precision, args.tile)
    job = PaintJob(painter, args)
    sources = find_sources(args.photos)
    is_new = not args.output.exists()
    args.output.mkdir(parents=True, exist_ok=True)
    try:
        paint_all(job, sources)
    finally:
        if is_new and not job.written:
            with suppress(OSError):  # somebody put something there
                args.output.rmdir()
    for failure in job.failures:
        print(f"polystyle-stylize: {sanitized(failure)}", file=sys.stderr)
    if len(job.written) == 1:
        print(sanitized(f"Painted {job.written[0]}"))
    elif job.written:
        first, last = job.written[0], job.written[-1].name
        print(sanitized(f"Painted {len(job.written)} pictures, {first} to {last}"))
    return 1 if job.failures else 0


if __name__ == "__main__":
    main()
