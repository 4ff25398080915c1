"""Photos of any size and any mix of styles: the painter paints finite numbers, or says why not."""

import math

import pytest
import torch
from attacks.ground import make_model
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from polystyle.files.terminal_text import GARBLING
from polystyle.painting.blends import parse_styles, split_masks
from polystyle.painting.painter import Painter

# Also those that are no numbers, and too large ones.
ANY_NUMBER = st.floats() | st.sampled_from([0.0, -1.0, math.nan, math.inf, 1e308, 5e-324])
ANY_TEXT = st.text() | st.from_regex(r"[xyz]?:?[0-9a-z.:+=-]*", fullmatch=True)


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter(make_model(["x", "y", "photo"]), "cpu")


@settings(max_examples=15)
@given(
    width=st.integers(1, 60) | st.sampled_from([1, 15, 16, 17, 400]),
    height=st.integers(1, 60) | st.sampled_from([1, 15, 16, 17]),
    scale=st.none() | st.floats(1, 4),
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


@given(texts=st.lists(ANY_TEXT, max_size=4))
def test_any_text_is_a_style_or_is_refused(painter: Painter, texts: list[str]) -> None:
    try:
        for _, style in parse_styles(texts, ["x", "y"]):
            painter.style_mix(style)
        split_masks(texts)
    except ValueError as error:
        assert str(error)
