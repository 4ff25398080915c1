"""Odd sizes, styles, flags and configurations: a finite picture comes out, or one line that says
why not. tests/stress/attack.py is the longer form."""

import contextlib
import io
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from attacks.calls import numbers_of, random_call
from attacks.flags import random_flags
from attacks.ground import make_ground, make_model
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from training import ONE_THREAD

from polystyle.files.terminal_text import GARBLING
from polystyle.painting.blends import parse_styles, split_masks
from polystyle.painting.painter import Painter
from polystyle.stylize import main

SCRIPT = Path(__file__).parent / "stress/attack.py"

# Also those that are no numbers, and too large ones.
ANY_NUMBER = st.floats() | st.sampled_from([0.0, -1.0, math.nan, math.inf, 1e308, 5e-324])
ANY_TEXT = st.text() | st.from_regex(r"[xyz]?:?[0-9a-z.:+=-]*", fullmatch=True)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ground")
    make_ground(folder)
    return folder


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter(make_model(["x", "y", "photo"]), "cpu")


def paints_or_refuses(painter: Painter, content: Any, style: Any, **options: Any) -> None:
    """A painter's only error is a ValueError, of one line; what it paints is finite."""
    try:
        painted = painter(content, style, **options)
    except ValueError as error:
        assert str(error)
        assert not GARBLING.search(str(error))
    else:
        assert numbers_of(painted).isfinite().all()


# ---- The painter ----------------------------------------------------------------------------


@settings(max_examples=15)
@given(
    width=st.integers(1, 60) | st.sampled_from([1, 15, 16, 17, 400]),
    height=st.integers(1, 60) | st.sampled_from([1, 15, 16, 17]),
    scale=st.none() | st.floats(1, 10),
    value=st.sampled_from([None, 0.0, 0.5, 1.0]),
)
def test_a_photo_of_any_size_is_painted_at_its_size(
    painter: Painter, width: int, height: int, scale: float | None, value: float | None
) -> None:
    photo = torch.rand(3, height, width) if value is None else torch.full((3, height, width), value)
    if scale is None and min(width, height) < 16:
        with pytest.raises(ValueError, match="both sides must be at least 16 pixels"):
            painter(photo, "x", scale=scale)
        return
    painted = painter(photo, "x", scale=scale)
    assert painted.shape == photo.shape
    assert painted.isfinite().all()
    assert 0 <= painted.min() <= painted.max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1)])
def test_the_thinnest_photos_are_painted_with_masks(painter: Painter, size: tuple) -> None:
    mask = (Image.new("L", size, 99), "y")
    assert painter(Image.new("RGB", size), "x", masks=[mask]).size == size


@given(mix=st.dictionaries(st.sampled_from(["x", "y", "photo", "z"]) | st.text(), ANY_NUMBER))
@pytest.mark.parametrize("raw", [False, True])
def test_any_mix_is_normalized_or_refused(
    painter: Painter, mix: dict[str, float], raw: bool
) -> None:
    try:
        weights = painter.style_mix(mix, raw)
    except ValueError as error:
        assert not GARBLING.search(str(error))
    else:
        assert weights.isfinite().all()
        if not raw:
            assert weights.sum().item() == pytest.approx(1)
            assert (weights >= 0).all()


@settings(max_examples=15)
@given(rng=st.randoms(use_true_random=False))
def test_any_call_of_the_painter_paints_or_is_refused(painter: Painter, rng: Any) -> None:
    content, style, options = random_call(rng)
    paints_or_refuses(painter, content, style, **options)


# ---- The commands ---------------------------------------------------------------------------


@given(texts=st.lists(ANY_TEXT, max_size=4))
def test_any_text_is_a_style_or_is_refused(painter: Painter, texts: list[str]) -> None:
    try:
        for _, style in parse_styles(texts, ["x", "y"]):
            painter.style_mix(style)
        split_masks(texts)
    except ValueError as error:
        assert str(error)


@settings(max_examples=15)
@given(rng=st.randoms(use_true_random=False))
def test_any_flags_paint_or_are_refused_in_one_line(ground: Path, rng: Any) -> None:
    arguments = random_flags(rng)
    errors = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as output,
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stderr(errors),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        patch.chdir(ground)
        folder = Path(output) / "painted"
        patch.setattr(sys, "argv", ["polystyle-stylize", *arguments, f"--output={folder}"])
        with pytest.raises(SystemExit) as leaving:
            main()
        assert bool(leaving.value.code) or any(folder.iterdir())
        assert not folder.exists() or any(folder.iterdir())
        for path in folder.rglob("*"):
            with Image.open(path) as picture:
                picture.load()
    said = errors.getvalue().splitlines()
    if isinstance(leaving.value.code, str):
        said.append(leaving.value.code)
    assert leaving.value.code == 0 or said[-1].startswith("polystyle-stylize: ")
    assert not any(GARBLING.search(line) for line in said)


def test_a_wrong_configuration_gets_one_line() -> None:
    command = [sys.executable, str(SCRIPT), "--only", "config"]
    result = subprocess.run(
        [*command, "--count", "4"], env=ONE_THREAD, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    rows = [line.split()[:4] for line in result.stdout.splitlines()[1:]]
    assert rows == [["config", "4", "4", "0"]]
