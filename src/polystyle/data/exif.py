"""EXIF metadata of a photo that is kept in a picture painted from it. Imports no torch."""

import math
from contextlib import suppress

from PIL import Image
from PIL.ExifTags import IFD, Base

# Tags that describe the photo as a whole. All others describe how the file stores its pixels and
# thumbnail, and its orientation.
TRUE_OF_A_PAINTING = (
    Base.ImageDescription,
    Base.Make,
    Base.Model,
    Base.XResolution,
    Base.YResolution,
    Base.ResolutionUnit,
    Base.Software,
    Base.DateTime,
    Base.Artist,
    Base.Rating,
    Base.RatingPercent,
    Base.Copyright,
    Base.XPTitle,
    Base.XPComment,
    Base.XPAuthor,
    Base.XPKeywords,
    Base.XPSubject,
)
# Tags of the Exif subdirectory that are dropped: stored sides, and a pointer to other tags.
ABOUT_THE_FILE = (Base.ExifImageWidth, Base.ExifImageHeight, IFD.Interop)
SRGB = 1  # of Base.ColorSpace

# The most bytes of EXIF that a JPEG holds.
MOST_BYTES = 65533
# The most dots per inch: a JPEG stores 16 bits.
MOST_DPI = 65535


def painting_exif(photo: Image.Image) -> bytes:
    """The EXIF of a picture painted from a photo: all but orientation, thumbnail and the tags that
    describe the photo's own file. Empty if the photo has none, or damaged ones."""
    # Pillow raises many kinds of error for damaged tags, and the pixels may be good.
    with suppress(Exception):
        tags = photo.getexif()
        kept = Image.Exif()
        kept.update({tag: tags[tag] for tag in TRUE_OF_A_PAINTING if tag in tags})
        exposure = dict(tags.get_ifd(IFD.Exif))
        for tag in ABOUT_THE_FILE:
            exposure.pop(tag, None)
        if Base.ColorSpace in exposure:
            exposure[Base.ColorSpace] = SRGB
        if exposure:
            kept[IFD.Exif] = exposure
        if place := dict(tags.get_ifd(IFD.GPSInfo)):
            kept[IFD.GPSInfo] = place
        written = kept.tobytes() if kept else b""
        if len(written) > MOST_BYTES:
            # The maker's own notes are the only large tag.
            exposure.pop(Base.MakerNote, None)
            written = kept.tobytes()
        return written if len(written) <= MOST_BYTES else b""
    return b""


def valid_dpi(photo: Image.Image) -> tuple[float, float] | None:
    """The dots per inch of a photo; None if it has none, or impossible ones."""
    with suppress(TypeError, ValueError):
        across, down = map(float, photo.info.get("dpi") or ())
        if all(math.isfinite(dots) and 1 <= dots <= MOST_DPI for dots in (across, down)):
            return across, down
    return None
