"""Pictures to test with."""

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.Image import Resampling


def plain(mode: str, colour: tuple[int, ...] | float, size: tuple[int, int] = (24, 16)) -> Image:
    return Image.new(mode, size, colour)


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def photo_like(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise in which large forms are strong and small ones weak, as in photos."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for octave in range(2, 8):
        small = rng.integers(0, 256, (2**octave, 2**octave, 3), dtype=np.uint8)
        grown = Image.fromarray(small).resize((width, height), Resampling.BICUBIC)
        total += (np.asarray(grown) - 127.5) * 0.6 ** (octave - 2)
    return Image.fromarray((total * 0.6 + 127.5).clip(0, 255).astype(np.uint8))


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
