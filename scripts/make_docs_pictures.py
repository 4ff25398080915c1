"""Make the pictures of README.md and docs/ anew, painted by the network that ships.

    python scripts/make_sample_data.py
    python scripts/make_docs_pictures.py --style-dir PAINTINGS

PAINTINGS has the paintings of that network's styles. The pictures of training runs, of TensorBoard
and of the studio are not made here.
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageOps

import polystyle
from polystyle.painting.contact_sheet import contact_sheet
from polystyle.painting.painter import Painter

ROOT = Path(__file__).parents[1]
GRID_STYLES = ("starry_night", "wave", "edtaonisl", "composition_vii", "portrait_of_metzinger")
GRID_PHOTOS = ("astronaut", "coffee", "cat")
CELL = 400


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--style-dir", type=Path, required=True, help="folder of paintings")
    parser.add_argument("--photos", type=Path, default=ROOT / "data/sample/photos")
    parser.add_argument("--output", type=Path, default=ROOT / "docs")
    args = parser.parse_args()
    painter = polystyle.load()
    photos = {path.stem: Image.open(path) for path in sorted(args.photos.iterdir())}
    pictures = {
        "grid": grid(painter, photos, args.style_dir),
        "blend": blend(painter, photos["astronaut"]),
        "mask": masked(painter, photos["coffee"]),
        "strength": strengths(painter, photos["astronaut"]),
        "scale": scales(painter, photos["coffee"]),
        "seam": seam(painter, photos["coffee"]),
        "packs": packs(painter, photos["cat"], args.style_dir),
    }
    for name, picture in pictures.items():
        path = args.output / f"{name}.jpg"
        picture.save(path, quality=85, optimize=True)
        print(f"{path}: {picture.width} x {picture.height}, {path.stat().st_size / 1e3:.0f} KB")


def square(picture: Image.Image, side: int = CELL) -> Image.Image:
    """The middle of a picture, as a square."""
    return ImageOps.fit(picture.convert("RGB"), (side, side), Image.Resampling.LANCZOS)


def painting_of(style_dir: Path, name: str) -> Image.Image:
    """The painting of a style."""
    return square(Image.open(next(style_dir.glob(f"{name}.*"))))


def grid(painter: Painter, photos: dict[str, Image.Image], style_dir: Path) -> Image.Image:
    """Paintings along the top, photos down the side, each photo in each style."""
    rows = [[Image.new("RGB", (CELL, CELL), "white")]]
    rows[0] += [painting_of(style_dir, name) for name in GRID_STYLES]
    for name in GRID_PHOTOS:
        photo = square(photos[name], 512)
        rows.append([square(photo), *map(square, painter(photo, list(GRID_STYLES)))])
    gap = 8
    step = CELL + gap
    sheet = Image.new("RGB", (step * len(rows[0]) - gap, step * len(rows) - gap), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(picture, (step * x, step * y))
    return sheet.resize((sheet.width * 3 // 4, sheet.height * 3 // 4), Image.Resampling.LANCZOS)


def blend(painter: Painter, photo: Image.Image) -> Image.Image:
    """From one style to another in five steps."""
    shares = [0.0, 0.25, 0.5, 0.75, 1.0]
    styles = [{"starry_night": 1 - share, "composition_vii": share} for share in shares]
    labels = [f"{1 - share:.0%} starry_night" for share in shares]
    return contact_sheet(painter(square(photo, 512), styles), labels, len(shares))


def masked(painter: Painter, photo: Image.Image) -> Image.Image:
    """A photo, a mask of its cup, and the photo in two styles."""
    mask = Image.new("L", photo.size)
    left, top, right, bottom = (
        round(share * side)
        for share, side in zip((0.2, 0.08, 0.8, 0.92), (*photo.size, *photo.size), strict=True)
    )
    ImageDraw.Draw(mask).ellipse((left, top, right, bottom), "white")
    mask = mask.filter(ImageFilter.GaussianBlur(photo.width / 100))
    painted = painter(photo, "wave", masks=[(mask, "starry_night")])
    pictures = [photo.convert("RGB"), mask.convert("RGB"), painted]
    labels = ["photo", "mask", "starry_night where the mask is white, wave elsewhere"]
    return contact_sheet(pictures, labels, 3, cell=420)


def strengths(painter: Painter, photo: Image.Image) -> Image.Image:
    """The same photo at five strengths."""
    shares = [0.2, 0.4, 0.6, 0.8, 1.0]
    photo = square(photo, 512)
    pictures = [painter(photo, "starry_night", strength=share) for share in shares]
    return contact_sheet(pictures, [f"--strength {share:g}" for share in shares], len(shares))


def scales(painter: Painter, photo: Image.Image) -> Image.Image:
    """Three stroke sizes, and the photo's colours."""
    photo = photo.resize((2 * photo.width, 2 * photo.height), Image.Resampling.LANCZOS)
    pictures = [painter(photo, "edtaonisl", scale=scale) for scale in (0.5, 1.0, 2.0)]
    pictures.append(painter(photo, "edtaonisl", keep_colors=True))
    labels = ["--scale 0.5", "--scale 1", "--scale 2", "--keep-colors"]
    return contact_sheet(pictures, labels, 2, cell=640)


def seam(painter: Painter, photo: Image.Image) -> Image.Image:
    """The whole of a painting of 12 megapixels, and its middle at full size, where tiles meet."""
    large = photo.resize((4242, 2828), Image.Resampling.LANCZOS)
    painted = painter(large, "starry_night")
    x, y = painted.width // 2, painted.height // 2
    middle = painted.crop((x - 330, y - 220, x + 330, y + 220))
    return contact_sheet([painted, middle], ["4242 x 2828", "its middle, at full size"], 2, 660)


def packs(painter: Painter, photo: Image.Image, style_dir: Path) -> Image.Image:
    """Two styles as paintings, and what the network makes of a photo in both."""
    names = ["woodcut", "rhythm"]
    pictures = [painting_of(style_dir, name) for name in names]
    pictures += painter(square(photo, 512), names)
    return contact_sheet(pictures, [*names, *names], 4, cell=300)


if __name__ == "__main__":
    main()
