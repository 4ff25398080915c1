"""Several pictures on one sheet, each with a label under it."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

# In pixels.
GAP = 8
TEXT_SIZE = 15


def contact_sheet(
    pictures: Sequence[Image.Image], labels: Sequence[str], columns: int, cell: int = 320
) -> Image.Image:
    """Lay pictures out in rows, on white.

    Args:
        pictures: RGB, of any sizes; those larger than a cell are shrunk to fit.
        labels: a text for each picture, shortened to fit.
        columns: pictures in a row.
        cell: the most pixels that a picture may have on a side. All cells are as wide as the widest
            and as high as the highest picture.

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
        text = shortened(label, draw, font, width)
        middle = left + (width - draw.textlength(text, font)) / 2
        draw.text((middle, top + height + 2), text, "black", font)
    return sheet


def shortened(
    label: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, width: int
) -> str:
    """A label cut to a width in pixels, with an ellipsis where it was cut."""
    while draw.textlength(label, font) > width and len(label) > 1:
        label = f"{label[:-2]}…"
    return label
