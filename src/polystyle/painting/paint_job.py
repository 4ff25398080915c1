"""polystyle-stylize from its flags to the files that it writes."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from tqdm import tqdm

from polystyle.data.images import has_more_frames, load_image, silence_pillow
from polystyle.files.new_folder import made_folder
from polystyle.files.terminal_text import sanitized
from polystyle.networks.model_file import load_model
from polystyle.painting.animation import (
    ANIMATED,
    animation_suffix,
    is_animation,
    stylize_animation,
)
from polystyle.painting.blends import blend_grid, check_steps, parse_styles, split_masks, sweep
from polystyle.painting.contact_sheet import contact_sheet
from polystyle.painting.painter import WHOLE_PIXELS, Painter, Style
from polystyle.painting.picture_file import (
    WITH_QUALITY,
    can_hold,
    check_format,
    format_of,
    picture_name,
    result_suffix,
    save_picture,
)
from polystyle.painting.smoothing import smoothed_statistics
from polystyle.painting.sources import find_sources, unread_lines
from polystyle.painting.video import FORMATS, has_transparency, is_video, stylize_video
from polystyle.style_names import IDENTITY_STYLE

# The longer side of a picture on a sheet, in pixels.
SHEET_CELL = 384

# Styles painted in one batch, at most: a grid may have thousands.
MAX_BATCH = 16

# Takes the file to write, what paints a frame, and what to call at cuts.
MovingPainter = Callable[[Path, Callable[[Image.Image], Image.Image], Callable[[], None]], object]


@dataclass(frozen=True)
class PaintOptions:
    """What polystyle-stylize is asked for: the values of its flags, under their names.

    Attributes:
        photos: photos, videos, folders of photos, or glob patterns.
        model: the network: a model file or the folder of a run.
        style: styles or weighted styles; see `parse_styles`.
        mask: mask images with their styles; see `split_masks`.
        sweep: the two styles of a sheet of blends between them.
        blend_grid: the two to four styles of a sheet of blends.
        strength, keep_colors, scale, raw: see `Painter.__call__`.
        strength_by: what a strength under 1 blends: gamma and beta, or pixels.
        steps: pictures in a sweep or in a row of a grid; None for their defaults.
        smoothing: the momentum of `smoothed_statistics`, for videos.
        output: the folder to write to.
        overwrite: replace existing pictures.
        format: the results' file format as an extension without its dot: one of pictures, for all
            photos, or of videos, for all videos. None for the photos' and videos' own formats.
        quality: of JPEG, WebP and AVIF files, from 1 to 100; None for 95.
        tile, device, precision: see `Painter`.
    """

    photos: list[str]
    model: Path
    style: list[str]
    mask: list[str]
    sweep: list[str] | None
    blend_grid: list[str] | None
    strength: float
    strength_by: Literal["rows", "pixels"]
    keep_colors: bool
    scale: float | None
    raw: bool
    steps: int | None
    smoothing: float
    output: Path
    overwrite: bool
    format: str | None
    quality: int | None
    tile: int | None
    device: str
    precision: str


def paint_files(options: PaintOptions) -> int:
    """Paint every photo and video as the options say:
    ``<output>/<photo's stem>-<style><photo's extension>``, or the extension of another format if
    that can't hold the result.

    A photo that can't be painted is reported at the end and stops nothing.

    Returns:
        The command's exit status: 0, or 1 if any photo failed.

    Raises:
        OSError, ValueError: nothing can be painted; says why in one line.
    """
    silence_pillow()  # its warnings about large photos: tiles are for those
    sources = find_sources(options.photos)
    for line in unread_lines(options.photos):
        print(f"polystyle-stylize: {line}", file=sys.stderr)
    painter = Painter(load_model(options.model), options.device, options.precision, options.tile)
    job = PaintJob(painter, options)
    with made_folder(options.output):
        job.paint_all(sources)
    report(job)
    return 1 if job.failures else 0


def report(job: "PaintJob") -> None:
    """Print what was painted, and to stderr what differs from what was asked for, and what
    failed."""
    for note, sources in job.notes.items():
        subject = str(sources[0])
        if len(sources) > 1:
            subject = f"{len(sources)} files, {sources[0]} for example"
        print(f"polystyle-stylize: {sanitized(f'{subject}: {note}')}", file=sys.stderr)
    for failure in job.failures:
        print(f"polystyle-stylize: {sanitized(failure)}", file=sys.stderr)
    if len(job.written) == 1:
        print(sanitized(f"Painted {job.written[0]}"))
    elif job.written:
        first, last = job.written[0], job.written[-1].name
        print(sanitized(f"Painted {len(job.written)} pictures, {first} to {last}"))


class PaintJob:
    """What to paint, determined once for all photos, and the outcome.

    Attributes:
        styles: what to paint each photo in, with the label that the picture gets.
        columns: columns of the sheet that the pictures go on; 0 if each picture is a file.
        masks: mask images, each with the style of its white area.
        suffix: the extension of the pictures if one was asked for.
        video_suffix: the extension of the videos if one was asked for.
        written: the files written, in order.
        notes: what differs from what was asked for, with the photos and videos concerned.
        failures: what could not be painted, and why: a line each.

    Raises:
        OSError, ValueError: a mask can't be read, options don't go together, or there is no such
            style.
    """

    def __init__(self, painter: Painter, options: PaintOptions) -> None:
        self.painter = painter
        self.options = options
        self.columns = 0
        self.masks: list[tuple[Image.Image, Style]] = []
        self.written: list[Path] = []
        self.notes: dict[str, list[Path]] = {}
        self.suffix, self.video_suffix = suffixes_asked_for(options)
        self.failures: list[str] = []
        names = [name for name in painter.style_names if name != IDENTITY_STYLE]
        check_one_request(options, names)
        if options.sweep:
            self.columns = check_steps(options.steps or 9)
            start, end = options.sweep
            self.styles = sweep(start, end, self.columns)
        elif options.blend_grid:
            self.columns = check_steps(options.steps or 5)
            self.styles = blend_grid(options.blend_grid, self.columns)
        elif options.mask:
            self.masks, self.styles = read_masks(options, names)
        else:
            self.styles = parse_styles(options.style, names)
        painter.check(options.strength, self.by_pixels, options.scale)
        for _, style in (*self.styles, *self.masks):
            painter.style_mix(style, options.raw)

    def note(self, source: Path, text: str) -> None:
        """Remember what to tell about a photo or video."""
        self.notes.setdefault(text, []).append(source)

    @property
    def by_pixels(self) -> bool:
        return self.options.strength_by == "pixels"

    def paint_all(self, sources: list[Path]) -> None:
        """Paint every photo and video; one that can't be painted is added to `failures`."""
        with tqdm(sources, unit="photo", disable=None) as progress:
            for source in progress:
                progress.set_postfix_str(sanitized(source.name))
                try:
                    self.paint(source)
                except (ValueError, OSError) as error:
                    is_named = str(source) in str(error)
                    self.failures.append(str(error) if is_named else f"{source}: {error}")
                except torch.OutOfMemoryError:
                    self.failures.append(f"{source}: out of the GPU's memory: try --tile 64")

    def paint(self, source: Path) -> None:
        """Paint one photo or video.

        Raises:
            OSError, ValueError: it can't be read or painted.
        """
        if is_video(source):
            self.paint_video(source)
            return
        if self.can_animate() and is_animation(source):
            self.paint_animation(source)
            return
        photo = load_image(source, as_rgb=False)
        suffix = result_suffix(photo, source, self.suffix)
        if has_more_frames(source):
            self.note(source, "only the first of its pictures is painted")
        if self.columns:
            self.paint_sheet(source, photo, suffix)
            return
        if photo.has_transparency_data and not can_hold(format_of(suffix), "RGBA"):
            self.note(source, f"its transparent areas are white: a {suffix} holds no transparency")
        self.paint_styles(source, photo, suffix)

    def can_animate(self) -> bool:
        """Whether animated pictures can be painted frame by frame as the options say."""
        has_format = self.suffix is None or format_of(self.suffix) in ANIMATED
        return has_format and not (self.columns or self.masks)

    def paint_styles(self, source: Path, photo: Image.Image, suffix: str) -> None:
        """Paint a photo in every style, a file each; for "all", also a sheet of them."""
        planned: list[tuple[str, Style, Path]] = []
        for label, style in self.styles:
            path = self.free_path(source, label, suffix)
            if path is not None and any(path == other for *_, other in planned):
                self.failures.append(f"{source} in {label}: {path} is that of another style, too")
            elif path is not None:
                planned.append((label, style, path))
        batch_size = max(1, min(MAX_BATCH, WHOLE_PIXELS // (photo.width * photo.height)))
        cells = []
        for first in range(0, len(planned), batch_size):
            batch = planned[first : first + batch_size]
            pictures = self.stylized(photo, [style for _, style, _ in batch])
            for (_, _, path), picture in zip(batch, pictures, strict=True):
                self.save(picture, path, photo)
                picture.thumbnail((SHEET_CELL, SHEET_CELL))
                cells.append(picture.convert("RGB"))
        if "all" in self.options.style and len(cells) > 1:
            path = self.free_path(source, "all", suffix)
            if path is not None:
                labels = [label for label, _, _ in planned]
                columns = math.ceil(math.sqrt(len(cells)))
                self.save(contact_sheet(cells, labels, columns, SHEET_CELL), path)

    def paint_sheet(self, source: Path, photo: Image.Image, suffix: str) -> None:
        """Paint a photo, shrunk, in every blend of a sweep or grid: one file."""
        corners = self.options.sweep or self.options.blend_grid
        path = self.free_path(
            source, "-".join([*corners, "sweep" if self.options.sweep else "grid"]), suffix
        )
        if path is None:
            return
        small = photo.copy()
        small.thumbnail((SHEET_CELL, SHEET_CELL))
        pictures = []
        for first in range(0, len(self.styles), MAX_BATCH):
            batch = [style for _, style in self.styles[first : first + MAX_BATCH]]
            pictures += [picture.convert("RGB") for picture in self.stylized(small, batch)]
        labels = [label for label, _ in self.styles]
        self.save(contact_sheet(pictures, labels, self.columns, SHEET_CELL), path)

    def paint_video(self, source: Path) -> None:
        """Paint a video in every style, a file each.

        Raises:
            OSError, ValueError: see `stylize_video`; or masks or a sheet were asked for.
        """
        if self.columns or self.masks:
            raise ValueError(f"{source}: a video takes --style, and no masks or sheets")
        own_suffix = source.suffix if source.suffix.lower() in FORMATS else ".mp4"
        suffix = self.video_suffix or own_suffix
        if has_transparency(source):
            self.note(source, "its transparency is lost: painted videos have none")
        self.paint_moving(
            source,
            suffix,
            lambda path, paint, on_cut: stylize_video(source, path, paint, on_cut),
        )

    def paint_animation(self, source: Path) -> None:
        """Paint an animated picture in every style, a file each.

        Raises:
            OSError, ValueError: see `stylize_animation`.
        """
        quality = self.options.quality
        self.paint_moving(
            source,
            self.suffix or animation_suffix(source),
            lambda path, paint, on_cut: stylize_animation(source, path, paint, on_cut, quality),
        )

    def paint_moving(self, source: Path, suffix: str, stylize: MovingPainter) -> None:
        """Paint a video or an animated picture in every style, a file each.

        Args:
            source: the file.
            suffix: the extension of the results.
            stylize: paints the file.
        """
        tile = self.painter.tile
        self.painter.tile = 0  # tiles compute their own statistics, which smoothing does not reach
        try:
            for label, style in self.styles:
                path = self.free_path(source, label, suffix)
                if path is not None:
                    self.paint_frames(style, path, stylize)
        finally:
            self.painter.tile = tile

    def paint_frames(self, style: Style, path: Path, stylize: MovingPainter) -> None:
        """Paint a video or an animated picture in one style, with smoothed statistics."""
        with smoothed_statistics(self.painter.net, self.options.smoothing) as statistics:

            def paint_frame(frame: Image.Image) -> Image.Image:
                statistics.next_frame()
                return self.stylized(frame, [style])[0]

            stylize(path, paint_frame, statistics.reset)
        self.written.append(path)

    def stylized(self, photo: Image.Image, styles: list[Style]) -> list[Image.Image]:
        """The photo in each style, painted in one batch."""
        return self.painter(
            photo,
            styles,
            strength=self.options.strength,
            by_pixels=self.by_pixels,
            scale=self.options.scale,
            keep_colors=self.options.keep_colors,
            masks=self.masks,
            raw=self.options.raw,
        )

    def free_path(self, source: Path, label: str, suffix: str) -> Path | None:
        """The file for a picture; None, and a failure, if that file exists.

        Args:
            source: the photo or video.
            label: the style's.
            suffix: the file's extension.
        """
        options = self.options
        path = options.output / picture_name(
            source,
            label,
            suffix,
            options.strength,
            options.keep_colors,
            options.scale,
        )
        if path in self.written:
            self.failures.append(
                f"{source} in {label}: {path} was painted from another photo of the same name"
            )
        elif path.exists() and not options.overwrite:
            self.failures.append(f"{path} is there already: --overwrite replaces it")
        else:
            return path
        return None

    def save(self, picture: Image.Image, path: Path, photo: Image.Image | None = None) -> None:
        """Write a picture, with the metadata of the photo that it is a painting of."""
        save_picture(picture, path, photo, self.options.quality)
        self.written.append(path)


def suffixes_asked_for(options: PaintOptions) -> tuple[str | None, str | None]:
    """The extension of the pictures and that of the videos that --format asks for; None if it does
    not.

    Raises:
        ValueError: --format or --quality is out of range, or they don't go together.
    """
    if options.quality is not None and not 1 <= options.quality <= 100:
        raise ValueError(f"--quality must be from 1 to 100, not {options.quality}")
    if options.format is None:
        return None, None
    suffix = f".{options.format.lower().removeprefix('.')}"
    if suffix in FORMATS:
        return None, suffix
    check_format(suffix)
    if options.quality is not None and format_of(suffix) not in WITH_QUALITY:
        raise ValueError(f"--quality is for jpg, webp and avif: a {suffix} keeps every pixel")
    return suffix, None


def check_one_request(options: PaintOptions, names: list[str]) -> None:
    """Raises ValueError unless exactly one of styles with masks, a sweep and a grid is asked for.

    Args:
        options: the options.
        names: the network's styles, for the message.
    """
    requests = (options.style or options.mask, options.sweep, options.blend_grid)
    if sum(map(bool, requests)) != 1:
        raise ValueError(
            "say what to paint by one of --style, --mask, --sweep and --blend-grid; "
            f"the styles are {', '.join(names)}"
        )


def read_masks(
    options: PaintOptions, names: list[str]
) -> tuple[list[tuple[Image.Image, Style]], list[tuple[str, Style]]]:
    """The mask images with their styles, and the labelled style of the remaining area.

    Raises:
        OSError, ValueError: a mask can't be read, or there is not one style for the remaining area.
    """
    files, rest = split_masks(options.mask)
    styles = parse_styles(options.style + rest, names)
    if len(styles) != 1:
        raise ValueError("--mask needs one style for the remaining area: --mask rest=NAME")
    masks: list[tuple[Image.Image, Style]] = [
        (load_image(path, as_rgb=False), name) for path, name in files
    ]
    ((label, style),) = styles
    return masks, [("+".join([*(name for _, name in files), label]), style)]
