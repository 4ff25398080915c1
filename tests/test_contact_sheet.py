"""A sheet of pictures with labels."""

import numpy as np
from PIL import Image

from polystyle.painting.contact_sheet import GAP, contact_sheet


def test_pictures_lie_in_rows_in_their_order_each_with_a_label() -> None:
    colours = ["red", "green", "blue", "yellow", "cyan"]
    pictures = [Image.new("RGB", (80, 40), colour) for colour in colours]
    sheet = contact_sheet(pictures, colours, columns=3)
    found = [
        colour
        for row in (GAP, sheet.height // 2 + GAP)
        for colour in (sheet.getpixel((GAP + 40 + column * (80 + GAP), row)) for column in range(3))
    ]
    expected = [Image.new("RGB", (1, 1), colour).getpixel((0, 0)) for colour in colours]
    assert found == [*expected, (255, 255, 255)]
    below = np.asarray(sheet)[GAP + 40 : sheet.height // 2]
    assert (below < 128).any(), "no text under the first row"


def test_large_pictures_are_shrunk_and_long_labels_cut() -> None:
    sheet = contact_sheet([Image.new("RGB", (3000, 1500))], ["a long name " * 20], 1, cell=200)
    assert sheet.width == 200 + 2 * GAP
    assert 100 < sheet.height < 150


def test_pictures_of_different_shapes_share_a_sheet() -> None:
    pictures = [Image.new("RGB", (50, 200), "red"), Image.new("RGB", (200, 50), "red")]
    sheet = np.asarray(contact_sheet(pictures, ["tall", "wide"], columns=2))
    assert (sheet == (255, 0, 0)).all(axis=2).sum() == 2 * 50 * 200
