"""Several pictures on one sheet, each with its name under it."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

GAP = 8
TEXT_SIZE = 15


def contact_sheet(
    pictures: Sequence[Image.Image], labels: Sequence[str], columns: int, cell: int = 320
) -> Image.Image:
    """Lay pictures out in rows, on white.

    Args:
        pictures: RGB, of any sizes; larger ones than a cell are shrunk to fit.
        labels: a text for each, shortened to fit.
        columns: pictures in a row.
        cell: the cells' longer side, in pixels; the other is the tallest (widest) picture's.

    Returns:
        RGB.
    """
    cells = []
    for picture in pictures:
        small = picture.copy()
        small.thumbnail((cell, cell), Image.Resampling.LANCZOS)
        cells.append(small)
    width = max(small.width for small in cells)
    height = max(small.height for small in cells)
    font = ImageFont.load_default(TEXT_SIZE)
    step_x, step_y = width + GAP, height + TEXT_SIZE + 2 * GAP
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * step_x + GAP, rows * step_y + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (small, label) in enumerate(zip(cells, labels, strict=True)):
        row, column = divmod(number, columns)
        left, top = GAP + column * step_x, GAP + row * step_y
        sheet.paste(small, (left + (width - small.width) // 2, top))
        shown = label
        while draw.textlength(shown, font) > width and len(shown) > 1:
            shown = f"{shown[:-2]}…"
        middle = left + (width - draw.textlength(shown, font)) / 2
        draw.text((middle, top + height + 2), shown, "black", font)
    return sheet
