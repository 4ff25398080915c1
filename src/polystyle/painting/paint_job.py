"""What polystyle-stylize was asked to paint, worked out once for all photos."""

import argparse
import glob
import io
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

from polystyle.files.atomic_file import atomic_write
from polystyle.painting.blends import blend_grid, check_steps, parse_styles, split_masks, sweep

if TYPE_CHECKING:
    from PIL import Image

    from polystyle.painting.painter import Painter, Style

VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".m4v", ".avi"}


SHEET_CELL = 384  # pixels


TOGETHER = 16  # styles that are painted in one batch, at the most: a grid may have thousands


def paint_all(job: "PaintJob", sources: list[Path]) -> None:
    """Paint each photo or video. What can't be painted becomes one of the job's failures."""
    import torch
    from tqdm import tqdm

    from polystyle.files.terminal_text import sanitized

    with tqdm(sources, unit="photo", disable=None) as progress:
        for source in progress:
            progress.set_postfix_str(sanitized(source.name))
            try:
                job.paint(source)
            except (ValueError, OSError) as error:
                named = str(source) in str(error)
                job.failures.append(str(error) if named else f"{source}: {error}")
            except torch.OutOfMemoryError:
                job.failures.append(f"{source}: out of the GPU's memory: try --tile 64")


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


class PaintJob:
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
        from polystyle.style_names import IDENTITY_STYLE

        self.painter = painter
        self.args = args
        self.columns = 0
        self.masks: list[tuple[Image.Image, Style]] = []
        self.written: list[Path] = []
        self.failures: list[str] = []
        names = [name for name in painter.style_names if name != IDENTITY_STYLE]
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
        from polystyle.painting.contact_sheet import contact_sheet
        from polystyle.painting.painter import WHOLE_PIXELS

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
        from polystyle.painting.contact_sheet import contact_sheet

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
        from polystyle.painting.smoothing import smoothed_statistics
        from polystyle.painting.video import FORMATS, stylize_video

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
