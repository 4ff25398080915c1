"""polystyle-prepare: make a folder of photos small and quick to read."""

import argparse
import io
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polystyle.data.images import Box, Openable, Size
    from polystyle.data.prepared_set import EncodedPhoto

# Pillow is imported where it is needed, so that --help answers at once.

DESCRIPTION = "Make a folder of photos small and quick to read: small JPEGs in a few tar files."
EPILOG = """A training crop is a quarter to all of a photo, enlarged where it has fewer pixels than
data.image_size: --size 512 keeps crops of 256 pixels as sharp as the photos allow.

examples:
  polystyle-prepare photos/ --output prepared/
  polystyle-prepare photos/ --output prepared-512/ --size 512
  polystyle-train data.content_dir=prepared/ data.style_dir=paintings/
"""

QUALITY = 92


def main() -> None:
    """The command. Photos that can't be read are named and left out."""
    # A plain kill would leave the workers and the half-made folder behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
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
    parser.add_argument("photos", type=Path, help="folder of photos, however deep")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="PREPARED", help="folder to make"
    )
    parser.add_argument(
        "--size",
        type=int,
        default=256,
        metavar="PIXELS",
        help="the photos' shorter side (default 256); smaller photos stay as they are, "
        "and those of fewer than 16 pixels are left out",
    )
    return parser


def prepare(photos: Path, output: Path, size: int) -> None:
    """Make a prepared set of a folder of photos, whole or not at all.

    See `polystyle.data.prepared_set`.

    Raises:
        FileNotFoundError, ValueError: no photos, or none that can be read; a size below 16.
        FileExistsError: there is something in the output folder.
    """
    from polystyle.data.prepared_set import find_photos, write_prepared

    if size < 16:
        raise ValueError(f"--size must be at least 16, not {size}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"{output} is there already: choose another --output, or remove it")
    found = find_photos(photos)
    started_at = time.monotonic()
    partial_output = output.with_name(f"{output.name}.part")
    if partial_output.exists():
        raise FileExistsError(
            f"{partial_output} is there, of a run that was killed or still goes on: remove it"
        )
    partial_output.mkdir(parents=True)
    try:
        count = write_prepared(partial_output, encoded_photos(found, size))
        if not count:
            raise ValueError(f"none of the {len(found)} photos in {photos} can be read")
        partial_output.rename(output)
    finally:
        shutil.rmtree(partial_output, ignore_errors=True)
    shards = list(output.glob("*.tar"))
    megabytes = sum(path.stat().st_size for path in shards) / 1e6
    skipped = f" ({len(found) - count} skipped)" if count < len(found) else ""
    print(
        f"Made {output}: {count} photos{skipped} in {len(shards)} "
        f"shard{'s' * (len(shards) > 1)}, {megabytes:.1f} MB, "
        f"{time.monotonic() - started_at:.0f} seconds\n"
        f"Train: polystyle-train data.content_dir={shlex.quote(str(output))} "
        "data.style_dir=PAINTINGS"
    )


def encoded_photos(found: "dict[str, Openable]", size: int) -> "Iterator[EncodedPhoto]":
    """The photos in their order, encoded on all cores; what can't be read is named."""
    from tqdm import tqdm

    with Pool(initializer=begin_worker) as pool:
        encoded = pool.imap(partial(encode_photo, size=size), found.items(), chunksize=8)
        for photo in tqdm(encoded, total=len(found), unit="photo", disable=None):
            if isinstance(photo, str):
                tqdm.write(f"Skipped: {photo}", file=sys.stderr)
            else:
                yield photo


def begin_worker() -> None:
    from polystyle.data.images import silence_pillow

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    silence_pillow()


def encode_photo(named_photo: "tuple[str, Openable]", size: int) -> "EncodedPhoto | str":
    """A photo as it is stored, or why it can't be."""
    from polystyle.data.images import PictureError, check_sides, load_resized
    from polystyle.data.prepared_set import EncodedPhoto

    name, photo = named_photo

    def whole(width: int, height: int) -> "tuple[Box, Size]":
        check_sides(photo, width, height)
        scale = min(1, size / min(width, height))
        return (0, 0, width, height), (round(width * scale), round(height * scale))

    try:
        image = load_resized(photo, whole, spare=2)
    except PictureError as error:
        return str(error)
    image.info.clear()  # no EXIF, no comment, no colour profile: nothing here reads them
    file = io.BytesIO()
    try:
        image.save(file, "JPEG", quality=QUALITY)
    except OSError:
        long = f"is {image.width} x {image.height} pixels, which is too long for a JPEG"
        return str(PictureError(photo, long))
    return EncodedPhoto(name, file.getvalue(), *image.size)


if __name__ == "__main__":
    main()
