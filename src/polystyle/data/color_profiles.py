"""Embedded colour profiles: the conversion of a picture's pixels to sRGB. Imports no torch."""

from functools import cache, lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

# The largest rounding error of a conversion from sRGB to sRGB, in levels of 255.
MOST_ROUNDING = 2

# Modes whose single channel is a grey. A profile of grey describes no other mode.
GREYS = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")


def srgb_conversion(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """The conversion of a picture's pixels to sRGB: relative colorimetric, with black point
    compensation.

    Returns:
        A transform whose `input_mode` is the mode that the pixels must have: ``"RGB"``, ``"L"``,
        ``"CMYK"`` or ``"LAB"``, and whose result is 8-bit RGB. None if the pixels are sRGB already:
        there is no profile, the profile is sRGB's, it is damaged, or it describes pixels of another
        kind.
    """
    if image.mode == "LAB":
        return lab_conversion()
    profile = image.info.get("icc_profile")
    return conversion_of(profile, image.mode) if isinstance(profile, bytes) else None


@cache
def lab_conversion() -> ImageCms.ImageCmsTransform:
    return conversion(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "LAB")


@lru_cache(maxsize=16)
def conversion_of(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """See `srgb_conversion`. Cached, because building a transform takes milliseconds."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        input_mode = described_mode(source.profile.xcolor_space.strip(), mode)
        if input_mode is None:
            return None
        transform = conversion(source, input_mode)
    except Exception:
        # A damaged profile raises many kinds of error. Viewers ignore it, and so does this.
        return None
    return None if is_identity(transform) else transform


def described_mode(color_space: str, mode: str) -> str | None:
    """The mode in which a profile of a colour space describes pixels of `mode`; None if it does
    not."""
    if color_space == "CMYK":
        return "CMYK" if mode == "CMYK" else None
    if color_space == "GRAY":
        return "L" if mode in GREYS else None
    return "RGB" if color_space == "RGB" and mode != "CMYK" else None


def conversion(source: ImageCms.ImageCmsProfile, input_mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        input_mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform changes no colour by more than rounding."""
    if transform.input_mode == "CMYK":
        return False
    levels = np.linspace(0, 255, 18).round().astype(np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 18, 3)
    before = Image.fromarray(colors).convert(transform.input_mode)
    after = np.asarray(transform.apply(before), dtype=int)
    return bool(abs(after - np.asarray(before.convert("RGB"))).max() <= MOST_ROUNDING)


@cache
def srgb_profile() -> bytes:
    """A profile of sRGB, about 600 bytes, to tag results with."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Bytes 24 to 35 are the time of creation: without them equal pictures are equal files.
    profile[24:36] = bytes((7, 208, 0, 1, 0, 1)) + bytes(6)  # 2000-01-01 00:00:00
    return bytes(profile)
