"""Odd calls of polystyle.load's painter from Python."""

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from attacks.commands import Outcome, Tally, peak_megabytes, record
from polystyle.files.terminal_text import GARBLING
from polystyle.networks.model_file import load_model
from polystyle.painting.painter import Painter


def random_call(rng: random.Random) -> tuple[Any, Any, dict[str, Any]]:
    """Content, style and keywords of a call of the painter, odd in some places."""
    numbers = (0.0, 1.0, 0.5, -1.0, math.nan, math.inf, -math.inf, 1e308, 1e-320, 999.0)
    width, height = (rng.choice((1, 2, 15, 16, 17, rng.randint(1, 90), 400)) for _ in range(2))
    if rng.random() < 0.1:
        width, height = rng.choice(((1, 3000), (3000, 1), (16, 1500)))
    if rng.random() < 0.5:
        mode = rng.choice(("RGB", "RGBA", "L", "LA", "P", "CMYK", "1", "I;16", "F"))
        content = Image.new(mode, (width, height))
    else:
        shape = rng.choice(([3], [1, 3], [2, 3], rng.choice(([], [4], [1], [0, 3], [1, 1, 3]))))
        content = torch.rand(*shape, height, width)
        kind = rng.randrange(8)
        if kind == 0:
            content = (content * 255).to(torch.uint8)
        elif kind == 1:
            content = content.to(rng.choice((torch.float16, torch.float64, torch.bfloat16)))
        elif kind == 2:
            content = content.to(rng.choice((torch.int64, torch.bool, torch.complex64)))
        elif kind == 3 and content.numel():
            content.view(-1)[0] = rng.choice((math.nan, math.inf, -5.0, 1e38))

    def style() -> Any:
        mix = {rng.choice(("x", "y", "photo", "z", "")): rng.choice(numbers) for _ in range(2)}
        odd = (7, None, {}, [], {"x": None}, {"x": "1"}, {1: 1.0}, {"x": torch.tensor(0.5)}, True)
        return rng.choice(("x", "y", "x", {"x": 0.3, "y": 0.7}, mix, rng.choice(odd)))

    options: dict[str, Any] = {}
    if rng.random() < 0.3:
        options["strength"] = rng.choice((0.5, rng.random(), rng.choice(numbers)))
    if rng.random() < 0.3:
        options["scale"] = rng.choice((0.7, 4.0, None, rng.choice(numbers)))
    if rng.random() < 0.2:
        size = (width, height) if rng.random() < 0.7 else (7, 9)
        mode = rng.choice(("L", "RGB", "RGBA", "1", "I;16"))
        options["masks"] = [(Image.new(mode, size, rng.choice((0, 1))), style())]
    for flag in ("by_pixels", "keep_colors", "raw"):
        if rng.random() < 0.3:
            options[flag] = True
    styles = [style() for _ in range(rng.randint(0, 3))]
    return content, rng.choice((style(), style(), styles)), options


def numbers_of(painted: Any) -> torch.Tensor:
    """The pixels of a picture, or of several."""
    if isinstance(painted, list):
        return torch.cat([numbers_of(picture).flatten() for picture in painted])
    if isinstance(painted, torch.Tensor):
        return painted.float()
    return torch.from_numpy(np.asarray(painted).astype(np.float32))


def try_painter(ground: Path, tally: Tally, count: int, rng: random.Random) -> Iterator[str]:
    painter = Painter(load_model(ground / "sound/model.safetensors"), "cpu")
    for _ in range(count):
        content, style, options = random_call(rng)
        size = list(content.shape) if isinstance(content, torch.Tensor) else content.size
        what = f"painter({size} {getattr(content, 'dtype', '')}, {style}, {options})"
        wrong, did = None, "painted"
        before = peak_megabytes()
        try:
            if not numbers_of(painter(content, style, **options)).isfinite().all():
                wrong = "painted numbers that are not finite"
        except ValueError as error:
            did = "refused"
            if not str(error) or GARBLING.search(str(error)):
                wrong = f"not one line: {error!r}"
        except Exception as error:
            wrong = repr(error)
        yield record(tally, what, wrong, did, Outcome(0, "", "", peak_megabytes() - before))
