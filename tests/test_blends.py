"""What --style, --mask, --sweep and --blend-grid mean."""

from pathlib import Path

import pytest

from polystyle.painting.blends import blend_grid, parse_styles, split_masks, sweep


def test_a_sweep_goes_from_one_style_to_the_other() -> None:
    assert sweep("a", "b", 3) == [
        ("a", {"a": 1}),
        ("50% + 50%", {"a": 0.5, "b": 0.5}),
        ("b", {"b": 1}),
    ]


@pytest.mark.parametrize("corners", [["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"], ["a", "a"]])
def test_a_grid_has_its_styles_in_the_corners_and_weights_that_add_up_to_1(
    corners: list[str],
) -> None:
    cells = blend_grid(corners, 4)
    assert len(cells) == (4 if len(corners) == 2 else 16)
    assert all(sum(weights.values()) == pytest.approx(1) for _, weights in cells)
    found = [cells[place][1] for place in ((0, 3) if len(corners) == 2 else (0, 3, 12, 15))]
    expected = [{name: 1.0} for name in corners]
    if len(corners) == 3:
        expected.append({"b": 0.5, "c": 0.5})
    assert found == expected
    if len(corners) == 4:
        assert cells[6][1] == pytest.approx({"a": 2 / 9, "b": 4 / 9, "c": 1 / 9, "d": 2 / 9})


def test_styles_are_asked_for_once_each_in_order() -> None:
    def names(*texts: str) -> list[str]:
        return [label for label, _ in parse_styles(list(texts), ["wave", "candy", "a:b"])]

    assert names("candy", "wave", "candy") == ["candy", "wave"]
    assert names("candy", "all") == ["candy", "wave", "a:b"]
    assert names("a:b") == ["a:b"]
    assert parse_styles(["a:b:2", "wave:1"], ["wave", "a:b"]) == [
        ("a:b2+wave1", {"a:b": 2.0, "wave": 1.0})
    ]


def test_masks_are_files_with_styles() -> None:
    assert split_masks(["a=b.png=wave", "rest=candy"]) == ([(Path("a=b.png"), "wave")], ["candy"])
