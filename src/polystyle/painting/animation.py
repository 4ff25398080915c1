"""Animated pictures (GIF, WebP, PNG, AVIF), painted frame by frame."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from PIL import Image

from polystyle.data.color_profiles import srgb_profile
from polystyle.data.images import PictureError, opened, upright
from polystyle.files.atomic_file import atomic_write
from polystyle.painting.picture_file import QUALITY, format_of
from polystyle.painting.video import CutDetector

# The formats of animations that are read and written, with their usual extensions.
ANIMATED = {"GIF": ".gif", "WEBP": ".webp", "PNG": ".png", "AVIF": ".avif"}

# What draws a transparent frame on an empty canvas, not over the frame before it.
TRANSPARENT_OPTIONS = {"GIF": {"disposal": 2}, "WEBP": {"kmin": 0, "kmax": 1}}

# All frames of an animation are in memory when it is written, with 4 bytes for each pixel.
MOST_PIXELS = 500_000_000


def is_animation(source: Path) -> bool:
    """Whether a file is an animated picture. False if it can't be read."""
    with suppress(PictureError), opened(source) as image:
        return image.format in ANIMATED and first_of(image) < getattr(image, "n_frames", 1) - 1
    return False


def first_of(image: Image.Image) -> int:
    """The number of an animation's first frame: a PNG may begin with a picture for programs that
    don't animate it."""
    return 1 if image.info.get("default_image") else 0


def animation_suffix(source: Path) -> str:
    """The extension of the animations painted from a file: its own, or else its format's."""
    with opened(source) as image:
        is_own = format_of(source.suffix) == image.format
        return source.suffix if is_own else ANIMATED[image.format]


def stylize_animation(
    source: Path,
    target: Path,
    paint: Callable[[Image.Image], Image.Image],
    on_cut: Callable[[], None],
    quality: int | None = None,
) -> None:
    """Paint every frame of an animated picture. Durations, repetitions and transparency are kept.

    Args:
        source: the animated picture.
        target: the file to write, of a format in `ANIMATED`. It is written atomically, and replaces
            an older file.
        paint: takes a frame and returns an RGB or RGBA picture of the same size.
        on_cut: called before the first frame of each new scene is painted.
        quality: of WebP and AVIF files, from 1 to 100; None for 95.

    Raises:
        OSError: source can't be read, or target can't be written.
        ValueError: source has more pixels than fit into memory.
    """
    with opened(source) as image:
        if image.n_frames * image.width * image.height > MOST_PIXELS:
            raise ValueError(
                f"{source} has {image.n_frames} frames of {image.width} x {image.height} pixels, "
                "too many for an animated picture: convert it to an .mp4"
            )
        loop = {"loop": image.info["loop"]} if "loop" in image.info else {}
        durations: list[float] = []
        cuts = CutDetector()
        painted = []
        for frame in frames_of(image, durations):
            if cuts.is_cut(frame.convert("RGB")):
                on_cut()
            painted.append(paint(frame))
    is_transparent = any(picture.mode == "RGBA" for picture in painted)
    if is_transparent:
        painted = [picture.convert("RGBA") for picture in painted]
    file_format = format_of(target.suffix)
    with atomic_write(target) as partial:
        painted[0].save(
            partial,
            file_format,
            save_all=True,
            append_images=painted[1:],
            duration=durations,
            **(TRANSPARENT_OPTIONS.get(file_format, {}) if is_transparent else {}),
            quality=quality or QUALITY,
            icc_profile=srgb_profile(),
            **loop,
        )


def frames_of(image: Image.Image, durations: list[float]) -> Iterator[Image.Image]:
    """The frames of an animation, upright. Appends each frame's duration in milliseconds."""
    for number in range(first_of(image), image.n_frames):
        image.seek(number)
        image.load()  # a WebP tells a frame's duration when it is decoded
        durations.append(image.info.get("duration") or 0)
        yield upright(image)
