"""From what is brushed over a photo to masks. Imports no Gradio."""

import base64
from io import BytesIO

import numpy as np
from PIL import Image, ImageFilter

# The brush's colours: each stands for one style. The page's stylesheet has them, too.
COLORS = {"red": (230, 60, 70), "green": (50, 170, 90), "blue": (60, 110, 220)}

# Fainter pixels, of 255, have no colour that can be told.
FAINTEST = 16

# The longest side of a drawing that the page sends, in pixels.
MAX_DRAWING = 2048


def read_drawing(data_url: str) -> Image.Image | None:
    """The drawing that the brush sends: RGBA, transparent where nothing is brushed.

    Args:
        data_url: a PNG as a data URL; empty if nothing is brushed.

    Raises:
        ValueError: it is no such drawing.
    """
    if not data_url:
        return None
    try:
        png = base64.b64decode(data_url.partition(",")[2], validate=True)
        with Image.open(BytesIO(png), formats=["PNG"]) as image:
            if max(image.size) > MAX_DRAWING:
                raise ValueError
            drawing = image.convert("RGBA")
    except Exception as error:  # Pillow meets damaged files with many kinds of error
        raise ValueError("the brushed regions can't be read: brush them again") from error
    return drawing if drawing.getchannel("A").getbbox() else None


def region_masks(
    drawing: Image.Image, size: tuple[int, int], softness: float
) -> dict[str, Image.Image]:
    """The mask of each colour that is brushed.

    Args:
        drawing: RGBA.
        size: width and height of the masks.
        softness: the width of the soft edges, in hundredths of the drawing's longer side.

    Returns:
        By the names of `COLORS`, pictures in 8-bit grey: white is the region.
    """
    blur = ImageFilter.GaussianBlur(softness / 100 * max(drawing.size) / 2)
    return {
        name: Image.fromarray(share).filter(blur).resize(size, Image.Resampling.BICUBIC)
        for name, share in brushed(drawing).items()
    }


def brushed(drawing: Image.Image) -> dict[str, np.ndarray]:
    """How much of each colour is brushed on each pixel, ``[H, W]`` uint8, by the names of the
    colours that are brushed at all."""
    pixels = np.asarray(drawing)
    distances = [
        ((pixels[..., :3].astype(np.int32) - color) ** 2).sum(-1) for color in COLORS.values()
    ]
    nearest = np.argmin(distances, axis=0)
    alpha = np.where(pixels[..., 3] < FAINTEST, 0, pixels[..., 3])
    shares = {name: alpha * (nearest == index) for index, name in enumerate(COLORS)}
    return {name: share for name, share in shares.items() if share.any()}
