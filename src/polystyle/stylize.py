"""polystyle-stylize: paint photos and videos with a trained network."""

import argparse
import glob
import io
import math
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from polystyle.blends import blend_grid, check_steps, parse_styles, split_masks, sweep
from polystyle.files.atomic_file import atomic_write

if TYPE_CHECKING:
    from PIL import Image

    from polystyle.painter import Painter, Style

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

VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".m4v", ".avi"}
SHEET_CELL = 384  # pixels
TOGETHER = 16  # styles that are painted in one batch, at the most: a grid may have thousands


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
        help="blend gamma and beta (needs a network with a photo row), or pixels",
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
    from polystyle.painter import Painter

    silence_pillow()  # large photos are what --tile is for

    painter = Painter(load_model(args.model), args.device, args.precision, args.tile)
    easel = Easel(painter, args)
    sources = find_sources(args.photos)
    is_new = not args.output.exists()
    args.output.mkdir(parents=True, exist_ok=True)
    try:
        paint_all(easel, sources)
    finally:
        if is_new and not easel.written:
            with suppress(OSError):  # somebody put something there
                args.output.rmdir()
    for failure in easel.failures:
        print(f"polystyle-stylize: {sanitized(failure)}", file=sys.stderr)
    if len(easel.written) == 1:
        print(sanitized(f"Painted {easel.written[0]}"))
    elif easel.written:
        first, last = easel.written[0], easel.written[-1].name
        print(sanitized(f"Painted {len(easel.written)} pictures, {first} to {last}"))
    return 1 if easel.failures else 0


def paint_all(easel: "Easel", sources: list[Path]) -> None:
    """Paint each photo or video. What can't be painted becomes one of the easel's failures."""
    import torch
    from tqdm import tqdm

    from polystyle.files.terminal_text import sanitized

    with tqdm(sources, unit="photo", disable=None) as progress:
        for source in progress:
            progress.set_postfix_str(sanitized(source.name))
            try:
                easel.paint(source)
            except (ValueError, OSError) as error:
                named = str(source) in str(error)
                easel.failures.append(str(error) if named else f"{source}: {error}")
            except torch.OutOfMemoryError:
                easel.failures.append(f"{source}: out of the GPU's memory: try --tile 64")


def find_sources(photos: list[str]) -> list[Path]:
    """The files that the arguments name: files, the pictures in folders, what patterns match.

    Raises:
        FileNotFoundError, ValueError: a pattern that matches nothing, a folder without pictures.
    """
    from polystyle.data.images import list_images

    sources = []
    for photo in photos:
        path = Path(photo)
        if path.is_dir():
            sources += list_images(path, deep=False)
        elif glob.has_magic(photo) and not path.exists():
            # Path.glob takes no absolute pattern.
            matches = sorted(map(Path, glob.glob(photo, recursive=True)))  # noqa: PTH207
            if not matches:
                raise FileNotFoundError(f"nothing matches {photo}")
            sources += [match for match in matches if match.is_file()]
        else:
            sources.append(path)
    return list(dict.fromkeys(sources))


class Easel:
    """What to paint, made out once for all photos, and what has become of it.

    Attributes:
        styles: what to paint each photo in, with the label that the picture gets.
        columns: of the sheet that the pictures go on; 0 if they are pictures of their own.
        masks: pictures, each with the style where it is white.
        written: the pictures made, in order.
        failures: what could not be painted, and why.

    Raises:
        OSError, ValueError: a mask that can't be read, arguments that don't go together, or a style
            that isn't there.
    """

    def __init__(self, painter: "Painter", args: argparse.Namespace) -> None:
        from polystyle.data.images import load_image
        from polystyle.style_names import PHOTO

        self.painter = painter
        self.args = args
        self.columns = 0
        self.masks: list[tuple[Image.Image, Style]] = []
        self.written: list[Path] = []
        self.failures: list[str] = []
        names = [name for name in painter.style_names if name != PHOTO]
        if sum(map(bool, (args.style or args.mask, args.sweep, args.blend_grid))) != 1:
            raise ValueError(
                "say what to paint by one of --style, --mask, --sweep and --blend-grid; "
                f"the styles are {', '.join(names)}"
            )
        if args.sweep:
            self.columns = check_steps(args.steps or 9)
            self.styles = sweep(*args.sweep, self.columns)
        elif args.blend_grid:
            self.columns = check_steps(args.steps or 5)
            self.styles = blend_grid(args.blend_grid, self.columns)
        else:
            files, rest = split_masks(args.mask)
            self.styles = parse_styles(args.style + rest, names)
            if args.mask and len(self.styles) != 1:
                raise ValueError(
                    "--mask needs one style for what the masks leave: --mask rest=NAME"
                )
            self.masks = [(load_image(path, as_rgb=False), name) for path, name in files]
            if files:
                ((label, style),) = self.styles
                self.styles = [("+".join([*(name for _, name in files), label]), style)]
        painter.check(args.strength, args.strength_by == "pixels", args.scale)
        for _, style in (*self.styles, *self.masks):
            painter.style_mix(style, args.raw)

    def paint(self, source: Path) -> None:
        """Paint one photo or video.

        Raises:
            OSError, ValueError: it can't be read or painted.
        """
        from polystyle.data.images import load_image

        if source.suffix.lower() in VIDEO_SUFFIXES:
            self.paint_video(source)
            return
        photo = load_image(source, as_rgb=False)
        if self.columns:
            self.paint_sheet(source, photo)
        else:
            self.paint_styles(source, photo)

    def paint_styles(self, source: Path, photo: "Image.Image") -> None:
        from polystyle.contact_sheet import contact_sheet
        from polystyle.painter import WHOLE_PIXELS

        wanted = [
            (label, style, path)
            for label, style in self.styles
            if (path := self.path(source, label)) is not None
        ]
        cells = []
        together = max(1, min(TOGETHER, WHOLE_PIXELS // (photo.width * photo.height)))
        for first in range(0, len(wanted), together):
            some = wanted[first : first + together]
            pictures = self.stylized(photo, [style for _, style, _ in some])
            for (_, _, path), picture in zip(some, pictures, strict=True):
                self.save(picture, path, photo)
                picture.thumbnail((SHEET_CELL, SHEET_CELL))
                cells.append(picture.convert("RGB"))
        if "all" in self.args.style and len(cells) > 1 and (path := self.path(source, "all")):
            columns = math.ceil(math.sqrt(len(cells)))
            labels = [label for label, _, _ in wanted]
            self.save(contact_sheet(cells, labels, columns, SHEET_CELL), path, photo)

    def paint_sheet(self, source: Path, photo: "Image.Image") -> None:
        from polystyle.contact_sheet import contact_sheet

        which = self.args.sweep or self.args.blend_grid
        path = self.path(source, "-".join([*which, "sweep" if self.args.sweep else "grid"]))
        if path is None:
            return
        small = photo.copy()
        small.thumbnail((SHEET_CELL, SHEET_CELL))
        styles = [style for _, style in self.styles]
        pictures = [
            picture.convert("RGB")
            for first in range(0, len(styles), TOGETHER)
            for picture in self.stylized(small, styles[first : first + TOGETHER])
        ]
        labels = [label for label, _ in self.styles]
        self.save(contact_sheet(pictures, labels, self.columns, SHEET_CELL), path, photo)

    def paint_video(self, source: Path) -> None:
        from polystyle.video import FORMATS, smoothed_statistics, stylize_video

        if self.columns or self.masks:
            raise ValueError(f"{source}: a video takes --style, and no masks or sheets")
        band = self.painter.band
        self.painter.band = 0  # bands have statistics of their own, which smoothing does not reach
        try:
            for label, style in self.styles:
                suffix = source.suffix if source.suffix.lower() in FORMATS else ".mp4"
                path = self.path(source, label, suffix)
                if path is None:
                    continue
                with smoothed_statistics(self.painter.net, self.args.smoothing) as statistics:

                    def paint(frame: "Image.Image") -> "Image.Image":
                        statistics.next_frame()
                        return self.stylized(frame, [style])[0]  # noqa: B023

                    stylize_video(source, path, paint, on_cut=statistics.reset)
                self.written.append(path)
        finally:
            self.painter.band = band

    def stylized(self, photo: "Image.Image", styles: "list[Style]") -> "list[Image.Image]":
        args = self.args
        return self.painter(
            photo,
            styles,
            strength=args.strength,
            by_pixels=args.strength_by == "pixels",
            scale=args.scale,
            keep_colors=args.keep_colors,
            masks=self.masks,
            raw=args.raw,
        )

    def path(self, source: Path, label: str, suffix: str | None = None) -> Path | None:
        """Where a picture goes; None, and a failure, if something is there."""
        args = self.args
        variant = f"-strength{args.strength:g}" * (args.strength < 1)
        variant += "-colors" * args.keep_colors
        if args.scale != 1:
            variant += "-native" if args.scale is None else f"-scale{args.scale:g}"
        # What a style's name may hold, and a file's name on Windows may not.
        label = re.sub(r'[/\\:*?"<>|]', "_", label)
        path = args.output / f"{source.stem}-{label}{variant}{suffix or source.suffix}"
        if path in self.written:
            self.failures.append(f"{source} in {label}: {path} is another photo's, of that name")
        elif path.exists() and not args.overwrite:
            self.failures.append(f"{path} is there already: --overwrite replaces it")
        else:
            return path
        return None

    def save(self, picture: "Image.Image", path: Path, photo: "Image.Image") -> None:
        """Write a picture, whole or not at all, with its photo's colour profile.

        Raises:
            OSError, ValueError: it can't be written.
        """
        from PIL import Image

        file_format = Image.registered_extensions().get(path.suffix.lower())
        if file_format not in Image.SAVE:
            raise OSError(f"Pillow reads {path.suffix}, but doesn't write it")
        with atomic_write(path) as partial:
            picture.save(partial, file_format, quality=95, icc_profile=rgb_profile(photo))
        self.written.append(path)


def rgb_profile(photo: "Image.Image") -> bytes | None:
    """The photo's colour profile, if it also describes the RGB picture painted from it."""
    from PIL import ImageCms

    profile = photo.info.get("icc_profile")
    try:
        if ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space == "RGB ":
            return profile
    except (TypeError, OSError, ImageCms.PyCMSError):  # there is none, or it is damaged
        pass
    return None


if __name__ == "__main__":
    main()
