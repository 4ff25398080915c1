"""HDR videos are painted as their SDR versions look."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from drawing import photo_like
from PIL import Image
from test_color_profiles import levels, light

from polystyle.painting import hdr
from polystyle.painting.video import VideoReader, stylize_video, upright

av = pytest.importorskip("av")

# Primaries and transfer functions by their names; the numbers are those of ITU-T H.273.
PRIMARIES = {
    "bt709": (1, np.eye(3)),
    "bt2020": (9, np.linalg.inv(np.array(hdr.TO_BT709[9]))),
    "p3": (12, np.linalg.inv(np.array(hdr.TO_BT709[12]))),
}


def pq_signal(light: np.ndarray) -> np.ndarray:
    """PQ of light in which 1 is 203 cd/m2 (SMPTE ST 2084)."""
    power = (light * 203 / 10_000) ** (2610 / 16384)
    m2 = 2523 / 4096 * 128
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** m2


def hlg_signal(light: np.ndarray) -> np.ndarray:
    """HLG of light in which 1 is a signal of 75 % (ITU-R BT.2100)."""
    scene = light * 0.26496
    high = 0.17883277 * np.log((12 * scene - 0.28466892).clip(1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, (3 * scene.clip(0)) ** 0.5, high)


TRANSFERS = {
    "pq": (16, pq_signal),
    "hlg": (18, hlg_signal),
    "sdr": (1, lambda light: levels(light) / 255),
}


def encode(linear: np.ndarray, transfer: str, primaries: str) -> "av.VideoFrame":
    """A 16-bit RGB frame of linear light ``[h, w, 3]`` in BT.709's primaries."""
    number, signal_of = TRANSFERS[transfer]
    signal = signal_of((linear @ PRIMARIES[primaries][1].T).clip(0)).clip(0, 1)
    frame = av.VideoFrame.from_ndarray((signal * 65535).round().astype("<u2"), format="rgb48le")
    frame.color_trc, frame.color_primaries = number, PRIMARIES[primaries][0]
    return frame


@pytest.fixture
def picture() -> Image.Image:
    """Without highlights, which tone mapping darkens."""
    dim = np.asarray(photo_like(6, 5).resize((64, 48), Image.Resampling.BICUBIC)) * 0.85
    return Image.fromarray(dim.astype(np.uint8))


@pytest.mark.parametrize("primaries", PRIMARIES)
@pytest.mark.parametrize("transfer", TRANSFERS)
def test_what_both_can_show_looks_the_same(
    transfer: str, primaries: str, picture: Image.Image
) -> None:
    frame = encode(light(np.asarray(picture, dtype=float)), transfer, primaries)
    is_ordinary = (transfer, primaries) == ("sdr", "bt709")
    assert hdr.needs_conversion(frame) == (not is_ordinary)
    difference = np.asarray(hdr.to_srgb(frame), dtype=int) - np.asarray(picture, dtype=int)
    assert abs(difference).max() <= 2
    # The numbers of the signal look different.
    if transfer != "sdr":
        naive = np.asarray(frame.to_image(), dtype=int) - np.asarray(picture, dtype=int)
        assert abs(naive).mean() > 10


@pytest.mark.parametrize("transfer", ["pq", "hlg"])
def test_highlights_keep_their_detail_and_hue(transfer: str) -> None:
    steps = np.array([0.5, 0.9, 1.0, 1.5, 2.0, 3.0])
    frame = encode(np.stack([steps, steps / 2, steps / 4], -1)[None], transfer, "bt2020")
    shown = light(np.asarray(hdr.to_srgb(frame), dtype=float))[0]
    assert (np.diff(shown[:, 0]) > 0.005).all()
    assert shown[-1, 0] <= 1
    assert shown[2, 0] > 0.8  # the white of an ordinary screen stays bright
    np.testing.assert_allclose(shown[:, 1] / shown[:, 0], 0.5, atol=0.02)
    np.testing.assert_allclose(shown[:, 2] / shown[:, 0], 0.25, atol=0.02)


def write_hlg(path: Path, picture: Image.Image) -> Path:
    """A clip in HLG and BT.2020, 10 bits, as a phone records it."""
    signal = hlg_signal(light(np.asarray(picture, dtype=float)) @ PRIMARIES["bt2020"][1].T)
    red, green, blue = np.moveaxis(signal, -1, 0)
    luma = 0.2627 * red + 0.678 * green + 0.0593 * blue
    planes = [
        64 + 876 * luma,
        512 + 896 * (blue - luma) / 1.8814,
        512 + 896 * (red - luma) / 1.4746,
    ]
    with av.open(path, "w") as file:
        stream = file.add_stream("libx265", rate=24, options={"x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt = *picture.size, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = 9, 18, 9
        context.color_range, context.time_base = 1, Fraction(1, 24)
        for number in range(3):
            frame = av.VideoFrame(*picture.size, "yuv420p10le")
            for plane, values in zip(frame.planes, planes, strict=True):
                # Each value of chroma is that of four pixels.
                step = picture.width // plane.width
                rows = values.round().astype("<u2")[::step, ::step]
                padded = np.zeros((plane.height, plane.line_size // 2), dtype="<u2")
                padded[:, : plane.width] = rows
                plane.update(padded.tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 24)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def test_an_hlg_video_is_painted_as_it_looks(picture: Image.Image, tmp_path: Path) -> None:
    clip = write_hlg(tmp_path / "clip.mp4", picture)
    with VideoReader(clip) as reader:
        assert (next(reader.file.decode(video=0))).color_trc == hdr.HLG
    seen = []
    stylize_video(clip, tmp_path / "painted.mp4", lambda image: seen.append(image) or image)
    assert len(seen) == 3
    difference = np.asarray(seen[1], dtype=float) - np.asarray(picture, dtype=float)
    assert abs(difference).mean() < 5
    with av.open(tmp_path / "painted.mp4") as file:
        frame = next(file.decode(video=0))
    assert (frame.color_primaries, frame.color_trc, frame.colorspace) == (1, 1, 1)


def test_transparent_areas_of_a_video_are_white() -> None:
    pixels = np.zeros((16, 16, 4), dtype=np.uint8)
    pixels[:, 8:] = (10, 20, 30, 255)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format="yuva444p")
    shown = np.asarray(upright(frame), dtype=int)
    assert (shown[:, :8] == 255).all()
    assert abs(shown[:, 8:] - (10, 20, 30)).max() <= 3
