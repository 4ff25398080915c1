"""HDR video, tone-mapped to the colours and brightness of ordinary screens.

The filter of FFmpeg that does this, zscale, is missing from PyAV's builds. swscale's own conversion
differs from the SDR version of a clip by 7.4 levels of 255 on average (relative colorimetric) or 20
(perceptual); this one by 2.2.
"""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import av

# Numbers of ITU-T H.273, table 2 and table 3.
BT2020, DCI_P3, DISPLAY_P3 = 9, 11, 12
PQ, HLG = 16, 18

# Light of 1 is the white of an ordinary screen: 203 cd/m2 in PQ, 75 % of the signal in HLG
# (ITU-R BT.2408, table 1).
PQ_PEAK = 10_000 / 203
# The brightest light that keeps detail, as mastered for screens of 1,000 cd/m2.
BRIGHTEST = 1_000 / 203
# Light up to the knee is kept; above it, up to the brightest, it is compressed into what is left.
KNEE = 0.8

# RGB of other primaries to RGB of BT.709, in linear light (ITU-R BT.2087 for BT.2020).
P3_TO_BT709 = ((1.2249, -0.2249, 0.0), (-0.0421, 1.0421, 0.0), (-0.0196, -0.0786, 1.0983))
TO_BT709 = {
    BT2020: ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),
    DCI_P3: P3_TO_BT709,
    DISPLAY_P3: P3_TO_BT709,
}


def needs_conversion(frame: "av.VideoFrame") -> bool:
    """Whether a frame is HDR, or in other primaries than those of ordinary screens."""
    return frame.color_trc in (PQ, HLG) or frame.color_primaries in TO_BT709


def to_srgb(frame: "av.VideoFrame") -> Image.Image:
    """A frame in PQ, HLG or wide primaries as 8-bit RGB in the colours of sRGB."""
    signal = frame.to_ndarray(format="rgb48le")
    light = light_of_signal(frame.color_trc)[signal]
    if frame.color_primaries in TO_BT709:
        to_bt709 = np.array(TO_BT709[frame.color_primaries], dtype=np.float32)
        light = (light @ to_bt709.T).clip(0)
    if frame.color_trc in (PQ, HLG):
        light = compress_highlights(light)
    return Image.fromarray(srgb_levels()[(light.clip(0, 1) * 65535).astype(np.uint16)])


def compress_highlights(light: np.ndarray) -> np.ndarray:
    """Light ``[h, w, 3]`` of 0 and more to light of at most 1 (Reinhard et al. 2002, equation 4,
    above the knee). All channels of a pixel are scaled alike, which keeps its hue."""
    strongest = light.max(axis=-1, keepdims=True)
    above = ((strongest - KNEE) / (1 - KNEE)).clip(0)
    most_above = (BRIGHTEST - KNEE) / (1 - KNEE)
    compressed = above * (1 + above / most_above**2) / (1 + above)
    mapped = np.where(strongest > KNEE, KNEE + (1 - KNEE) * compressed, strongest)
    return light * (mapped / strongest.clip(1e-6))


@cache
def light_of_signal(transfer: int) -> np.ndarray:
    """The linear light of every 16-bit signal: ``[65536]`` float32."""
    light: Callable[[np.ndarray], np.ndarray] = {PQ: pq_light, HLG: hlg_light}.get(
        transfer, srgb_light
    )
    return light(np.linspace(0, 1, 65536)).astype(np.float32)


def pq_light(signal: np.ndarray) -> np.ndarray:
    """The inverse of PQ (SMPTE ST 2084, equation 4.1)."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = signal ** (1 / m2)
    return PQ_PEAK * ((root - c1).clip(0) / (c2 - c3 * root)) ** (1 / m1)


def hlg_light(signal: np.ndarray) -> np.ndarray:
    """The light of the scene in HLG (ITU-R BT.2100, table 5). The gamma of HLG's screens is left
    out, because ordinary screens apply their own."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    white = (np.exp((0.75 - c) / a) + b) / 12
    return light / white


def srgb_light(signal: np.ndarray) -> np.ndarray:
    """The inverse of sRGB's transfer function (IEC 61966-2-1)."""
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


@cache
def srgb_levels() -> np.ndarray:
    """The level from 0 to 255 of every 16-bit light: ``[65536]`` uint8."""
    light = np.linspace(0, 1, 65536)
    signal = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return (255 * signal).round().astype(np.uint8)
