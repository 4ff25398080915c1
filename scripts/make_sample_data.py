"""Make a small sample data set: six real photos, and eight paintings to learn styles from.

The photos come out of the installed scikit-image package, which carries them in its wheel: nothing
is downloaded. The paintings are painted here from a fixed seed, so the same library versions
paint the same pictures each time. A file that is already there is never overwritten.

Where the photos are from, as recorded in ``skimage/data/_fetchers.py``:

- astronaut: Eileen Collins, by NASA; public domain.
- cat: Chelsea, by Stefan van der Walt; CC0.
- coffee: a cup at the Pikolo Espresso Bar, by Rachel Michetti; CC0.
- hubble: the Hubble eXtreme Deep Field, by NASA; public domain.
- motorbike: from the Middlebury 2014 stereo benchmark, by D. Scharstein and others; no licence
  is stated, so do not publish it further.
- rocket: Falcon 9 on its launch pad, by SpaceX; public domain.

The paintings are part of this project and share its licence.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFilter

from polystyle.files.terminal_text import counted

PHOTOS = {
    "astronaut": "astronaut.png",
    "cat": "chelsea.png",
    "coffee": "coffee.png",
    "hubble": "hubble_deep_field.jpg",
    "motorbike": "motorcycle_left.png",
    "rocket": "rocket.jpg",
}
PHOTO_SIDE = 640
SEED = 1889
SIZE = 512
# Everything is painted at twice the final size and then shrunk, which gives smooth edges.
CANVAS = 2 * SIZE
YS, XS = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)


def palette(colours: str) -> np.ndarray:
    """Turn ``"#rrggbb #rrggbb ..."`` into an array with one row of red, green, blue for each."""
    return np.array([ImageColor.getrgb(colour) for colour in colours.split()], dtype=np.float32)


def ink(colour: np.ndarray) -> tuple[int, ...]:
    """Turn a colour into what ImageDraw takes."""
    return tuple(int(channel) for channel in np.clip(colour, 0, 255))


def dot(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: object) -> None:
    """Draw a filled circle."""
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill)


def smooth_noise(rng: np.random.Generator, columns: int, rows: int | None = None) -> np.ndarray:
    """Return a canvas of soft random hills in [0, 1]; few columns or rows make broad hills."""
    coarse = Image.fromarray(rng.random((rows or columns, columns), dtype=np.float32))
    noise = np.asarray(coarse.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC))
    return (noise - noise.min()) / (noise.max() - noise.min())


def blend(colours: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Return, for each position in [0, 1], the colour found there along a row of colours."""
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(position, stops, channel) for channel in colours.T], axis=-1)


def to_image(colours: np.ndarray) -> Image.Image:
    """Turn an array of colours into an image."""
    return Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))


def brush_strokes(rng: np.random.Generator) -> Image.Image:
    """Thick oil strokes that swirl around glowing stars: night blues and sun yellows."""
    night = palette("#0a1440 #10307e #1c57ad #3f8fd0 #9cc9d4 #f4e6a0 #fac82a #e98a12")
    flow_x, flow_y = np.ones((CANVAS, CANVAS)), 1.6 * (smooth_noise(rng, 4) - 0.5)
    glow = 0.45 * smooth_noise(rng, 7)
    stars = [(250, 260, 210), (760, 190, 150), (620, 600, 250), (190, 760, 150), (900, 880, 150)]
    for x, y, radius in stars:
        dx, dy = (XS - x) / radius, (YS - y) / radius
        near = np.exp(-(dx**2 + dy**2))
        # The offset from the star, turned by 90 degrees, makes the strokes circle around it.
        flow_x, flow_y = flow_x - 6 * near * dy, flow_y + 6 * near * dx
        glow += near * (0.6 + 0.25 * np.cos(9 * np.hypot(dx, dy)))
    angle = np.arctan2(flow_y, flow_x)
    colour = blend(night, glow)
    canvas = to_image(colour)
    draw = ImageDraw.Draw(canvas)
    for strokes, steps, width in ((2500, 14, 7), (7000, 9, 4)):
        for x, y in rng.uniform(0, CANVAS, (strokes, 2)):
            paint = colour[int(y), int(x)] + rng.normal(0, 14, 3)
            points = []
            for _ in range(steps):
                points.append((x, y))
                way = angle[int(y) % CANVAS, int(x) % CANVAS]
                x, y = x + 8 * np.cos(way), y + 8 * np.sin(way)
            # Bristles side by side, each with its own shade and start, look like thick paint.
            for bristle in range(-2, 3):
                side_x, side_y = -np.sin(way) * bristle * width, np.cos(way) * bristle * width
                line = [(px + side_x, py + side_y) for px, py in points[rng.integers(steps // 3) :]]
                shade = rng.normal(-7 * bristle, 12)
                draw.line(line, ink(paint + shade), width + 1, joint="curve")
    return canvas


def stained_glass(rng: np.random.Generator) -> Image.Image:
    """A rose window: ruby and gold petals among sapphire panes, all set in black lead."""
    warm = palette("#c01030 #eba400 #d4500c #9c0f4c #e2304a")
    cold = palette("#0c2f9e #0b6fa8 #0a7a4a #4a1a8c #1450c8")
    centres, paints = [(540.0, 480.0)], [warm[1]]
    for ring in range(1, 13):
        # The panes grow from ring to ring, as in a real rose window.
        radius, panes = 44 * ring + 2 * ring**2, 6 + 6 * min(ring // 2, 5)
        for turn in 2 * np.pi * (np.arange(panes) + 0.5 * (ring % 2)) / panes:
            far = radius + rng.normal(0, 6)
            centres.append((540 + far * np.cos(turn), 480 + far * np.sin(turn)))
            jewels = warm if np.cos(6 * turn + np.pi * (ring // 4)) > -0.1 else cold
            paints.append(jewels[(ring + (rng.random() < 0.25)) % 5])
    # Each point belongs to the pane with the nearest centre.
    nearest = np.full((CANVAS, CANVAS), np.inf, dtype=np.float32)
    pane = np.zeros((CANVAS, CANVAS), dtype=np.int32)
    for number, (x, y) in enumerate(centres):
        distance = (XS - np.float32(x)) ** 2 + (YS - np.float32(y)) ** 2
        pane[distance < nearest] = number
        nearest = np.minimum(nearest, distance)
    # Hand-made glass is streaky, and every pane has its own thickness.
    streaks = smooth_noise(rng, 130, 16) + smooth_noise(rng, 50)
    light = 0.65 + 0.4 * streaks + rng.uniform(-0.2, 0.3, len(centres))[pane]
    glass = np.array(paints)[pane] * light[..., None] + 45 * (streaks[..., None] - 0.8)
    border = np.zeros((CANVAS, CANVAS), dtype=np.uint8)
    border[1:, 1:] = (pane[1:, 1:] != pane[:-1, 1:]) | (pane[1:, 1:] != pane[1:, :-1])
    lead = Image.fromarray(255 * border).filter(ImageFilter.MaxFilter(9))
    shadow = np.asarray(lead.filter(ImageFilter.GaussianBlur(8)), dtype=np.float32) / 255
    glass *= (1.1 - 0.85 * shadow)[..., None]
    glass[np.asarray(lead) > 0] = (14, 12, 16)
    return to_image(glass)


def pointillism(rng: np.random.Generator) -> Image.Image:
    """Dots of pure pastel colour: an orange sun behind lilac hills, over a teal bay."""
    pigments = palette(
        "#f7b267 #f4845f #f25c54 #ffd6a5 #fff1d6 #8fd3c8 #3aa6a0 #1f7a8c #b8a1d9 #7d6bb0 #f7c6d0"
    )
    sky = palette("#1f7a8c #4fb0ac #a6d8cb #ffc48c #fb9a5d #f4764f #f25c54")
    sea = palette("#f7a066 #8fd3c8 #2b8d98 #17627a")
    x, y, horizon = XS / CANVAS, YS / CANVAS, 0.6
    scene = blend(sky, y / horizon + 0.4 * (smooth_noise(rng, 4, 12) - 0.5))
    sun = np.hypot(x - 0.63, y - 0.37)
    scene[sun < 0.21] = (250, 160, 90)
    scene[sun < 0.13] = (255, 244, 214)
    for height, lilac in ((0.22, pigments[8]), (0.13, pigments[9])):
        scene[y > horizon - height * smooth_noise(rng, 6, 2)[0]] = lilac
    water = y > horizon
    swell = 0.6 * (smooth_noise(rng, 7, 40) - 0.5)
    scene[water] = blend(sea, (y - horizon) / (1 - horizon) + swell)[water]
    scene[water & (np.abs(x - 0.63) < 0.16 * smooth_noise(rng, 3, 60))] = (255, 225, 165)
    canvas = Image.new("RGB", (CANVAS, CANVAS), "#fff4e0")
    draw = ImageDraw.Draw(canvas)
    for dot_x, dot_y in rng.uniform(0, CANVAS, (26000, 2)):
        # A pigment near the wanted colour, chosen with some freedom: the eye mixes the dots.
        wanted = scene[int(dot_y), int(dot_x)] + rng.normal(0, 30, 3)
        # With red and blue swapped, a few cool dots make the warm ones shine, and the reverse.
        if rng.random() < 0.08:
            wanted = wanted[::-1]
        pigment = pigments[np.argmin(((pigments - wanted) ** 2).sum(axis=1))]
        dot(draw, dot_x, dot_y, rng.uniform(4.5, 8.5), ink(pigment))
    return canvas


def cross_hatching(rng: np.random.Generator) -> Image.Image:
    """Pebbles engraved in black ink on cream paper, darker where more hatchings cross."""
    darkness = np.full((CANVAS, CANVAS), 0.9, dtype=np.float32)
    relief, turn = np.zeros_like(darkness), np.zeros_like(darkness)
    # One pebble for each cell of a grid, in random order, leaves no hole in the heap.
    for radius, cell in zip(np.linspace(190, 50, 121), rng.permutation(121), strict=True):
        x, y = (np.array([cell % 11, cell // 11]) + rng.uniform(-0.3, 0.3, 2)) * CANVAS / 10
        dx, dy = (XS - x) / radius, (YS - y) / (radius * rng.uniform(0.65, 1))
        inside = dx**2 + dy**2 < 1
        dx, dy = dx[inside], dy[inside]
        height = np.sqrt(1 - dx**2 - dy**2)
        light = 0.6 * height - 0.5 * dx - 0.6 * dy
        # The rim is inked black, which draws the outline of the pebble.
        darkness[inside] = np.where(height < 0.22, 1.4, 1.08 - light)
        relief[inside] = height * radius
        turn[inside] = rng.uniform(-0.7, 0.7)
    wobble = 14 * smooth_noise(rng, 24)
    inked = np.zeros(darkness.shape, dtype=bool)
    for layer, angle in enumerate((0.6, 2.2, 1.4, 3.0)):
        # Adding the height of the pebble bends the lines over it, like a net over a ball.
        across = XS * np.cos(angle + turn) + YS * np.sin(angle + turn) + wobble + 0.35 * relief
        ridge = np.abs((across / 12) % 1 - 0.5) * 2
        inked |= ridge < 0.65 * (darkness - 0.27 * layer - 0.03)
    black, cream = palette("#17130f #f3e7cd")
    grain = 8 * (smooth_noise(rng, 300) + smooth_noise(rng, 12) - 1)
    return to_image(np.where(inked[..., None], black, cream + grain[..., None]))


def woodblock_waves(rng: np.random.Generator) -> Image.Image:
    """Rows of breaking waves in flat bands, like a woodblock print: Prussian blue and white."""
    prussian, deep, middle, pale, white = palette("#0d2448 #1b4a80 #4a86b4 #a9cbd6 #f6f1e1")
    bands = [prussian, white, deep, pale, prussian, middle, white, deep, prussian, pale, prussian]
    canvas = Image.new("RGB", (CANVAS, CANVAS), ink(prussian))
    draw = ImageDraw.Draw(canvas)
    for row in range(13):
        level, height, length = 92 * row - 10, rng.uniform(90, 150), rng.uniform(48, 66)
        t = np.linspace(0, 30, 900)
        phase = t + rng.uniform(0, 6)
        crest = (0.5 + 0.5 * np.cos(phase)) ** 1.5 * (0.75 + 0.25 * np.sin(0.37 * phase))
        for number, colour in enumerate(bands):
            # Lower bands are flatter and lean less, so that the lines fan out under the crest.
            lift = crest * (1 - 0.075 * number)
            x, y = t * length - 300 + 75 * lift, level + 8 * number - height * lift
            edge = list(zip(x, y, strict=True))
            draw.polygon([*edge, (2 * CANVAS, 2 * CANVAS), (-CANVAS, 2 * CANVAS)], ink(colour))
        tops = rng.choice(np.flatnonzero(crest > 0.45), 300)
        foam_x = t[tops] * length - 300 + 75 * crest[tops] + rng.normal(4, 7, 300)
        foam_y = level - height * crest[tops] + rng.normal(2, 8, 300)
        bubbles = list(zip(foam_x, foam_y, rng.uniform(4, 12, 300), strict=True))
        # All outlines first and all fillings after them: the bubbles melt into one edge.
        for rim, colour in ((3, prussian), (0, white)):
            for x, y, radius in bubbles:
                dot(draw, x, y, radius + rim, ink(colour))
    wood = 0.9 + 0.1 * smooth_noise(rng, 6, 220) + 0.06 * smooth_noise(rng, 40)
    return to_image(np.asarray(canvas) * wood[..., None])


def cubist_planes(rng: np.random.Generator) -> Image.Image:
    """Overlapping see-through facets with hard edges: ochre, brown and grey."""
    earth = palette("#1f1712 #5a3a22 #a06c2c #d3a450 #f3e6c2 #767a78 #3f474a #b57a2a")
    canvas = blend(earth[[1, 3, 5]], smooth_noise(rng, 4))
    # Short dabs of the brush, level in one half of the facets and upright in the other.
    dabs = (smooth_noise(rng, 80, 220) - 0.5, smooth_noise(rng, 220, 80) - 0.5)
    for number, size in enumerate(np.linspace(330, 60, 150)):
        x, y = rng.uniform(0, CANVAS, 2)
        # Few directions, nearly shared by all the facets, hold the picture together.
        turn = rng.choice([0.4, 1.2, 2.0, 3.5, 5.1]) + rng.normal(0, 0.06)
        corners = turn + (np.arange(4) + rng.uniform(-0.3, 0.3, 4)) * np.pi / 2
        sides = size * rng.uniform(0.5, 1.2, 4)
        shape = list(zip(x + sides * np.cos(corners), y + sides * np.sin(corners), strict=True))
        mask, outline = Image.new("1", (CANVAS, CANVAS)), Image.new("1", (CANVAS, CANVAS))
        ImageDraw.Draw(mask).polygon(shape, 1)
        ImageDraw.Draw(outline).line([*shape, shape[0]], 1, int(rng.integers(2, 8)))
        inside = np.asarray(mask)
        # Each facet is opaque at one end and fades into what lies behind it at the other.
        slope = ((XS - x) * np.cos(turn) + (YS - y) * np.sin(turn))[inside] / size
        cover = np.clip(0.5 + 0.9 * slope, 0, 1)[:, None]
        facet = rng.choice(earth) * (1 + 0.6 * dabs[number % 2][inside])[:, None]
        canvas[inside] += (facet - canvas[inside]) * cover
        canvas[np.asarray(outline)] = earth[0]
    return to_image(canvas)


def leaf(rng: np.random.Generator, side: int) -> Image.Image:
    """Return the mask of one seaweed leaf, turned at random, in a square tile."""
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    lobes = int(rng.integers(3, 6))
    width = 0.13 * side / lobes
    for height in np.linspace(0, 1, lobes):
        y, reach = side * (0.8 - 0.5 * height), side * (0.34 - 0.2 * abs(height - 0.4))
        for tip_x, tip_y in ((-reach, -0.4 * reach), (reach, -0.4 * reach), (0, -0.16 * side)):
            # A row of growing circles: a lobe is thin at the stem and fat at the tip.
            for step in np.linspace(0, 1, 25):
                thick = width * (0.6 + 0.8 * step)
                dot(draw, side / 2 + step * tip_x, y + step * tip_y, thick, 255)
    # Blurring and cutting at the middle rounds the corners, as scissors do.
    soft = mask.rotate(rng.uniform(0, 360)).filter(ImageFilter.GaussianBlur(side / 60))
    return soft.point(lambda value: 255 * (value > 110))


def paper_cutouts(rng: np.random.Generator) -> Image.Image:
    """Seaweed leaves cut from painted paper: magenta, orange and green."""
    magenta, orange, green, pink, lime, plum, cream = palette(
        "#d6177f #f47a13 #0f8246 #f9a8c6 #8cc63f #5c0f50 #fdeccd"
    )
    # Paper painted by hand with gouache has faint streaks, level or upright.
    streaks = (smooth_noise(rng, 16, 150), smooth_noise(rng, 150, 16))
    canvas = Image.new("RGB", (CANVAS, CANVAS))
    # Whole sheets first, then leaves from big to small, in colours that tell the layers apart.
    for side, gap, start, share, colours in (
        (256, 256, 0, 1.0, (magenta, orange, orange, green)),
        (360, 256, -180, 1.0, (magenta, magenta, pink, plum, lime)),
        (230, 256, 13, 1.0, (orange, green, cream, plum)),
        (120, 256, -60, 1.0, (cream, pink, orange)),
        (84, 128, 22, 0.5, (plum, lime, cream)),
    ):
        for x, y in product(range(start, CANVAS, gap), repeat=2):
            if rng.random() > share:
                continue
            mask = Image.new("L", (side, side), 255) if start == 0 else leaf(rng, side)
            tone = 0.85 + 0.25 * streaks[rng.integers(2)][:side, :side, None]
            shadow = mask.filter(ImageFilter.GaussianBlur(3)).point(lambda value: value // 2)
            canvas.paste("#2a0a20", (x + 3, y + 5), shadow)
            canvas.paste(to_image(rng.choice(colours) * tone), (x, y), mask)
    return canvas


def op_art(rng: np.random.Generator) -> Image.Image:
    """A black and white chequerboard that rolls, and bulges into red balls."""
    black, white, red = palette("#0c0a0b #f7f4ef #d8121f")
    # Columns that grow narrow and wide again make the flat board seem to roll.
    u = XS + 50 * np.sin(XS / 75 + YS / 400 + rng.normal(0, 0.1))
    v = YS + 26 * np.sin(XS / 120)
    light, dark = np.tile(white, (CANVAS, CANVAS, 1)), np.tile(black, (CANVAS, CANVAS, 1))
    red_black = [(300, 300, 250), (790, 200, 160), (480, 960, 110), (520, 590, 80)]
    white_red = [(770, 700, 230), (200, 780, 170), (1010, 420, 90)]
    for x, y, radius in red_black + white_red:
        dx, dy = (XS - x) / radius, (YS - y) / radius
        far = np.hypot(dx, dy)
        inside = far < 1
        # The arc sine is how a ball, seen from the front, squeezes its pattern at the rim.
        squeeze = 0.62 * radius * np.arcsin(np.minimum(far, 1)) / np.maximum(far, 1e-6)
        u[inside], v[inside] = (x + dx * squeeze)[inside], (y + dy * squeeze)[inside]
        light[inside], dark[inside] = (red, black) if (x, y, radius) in red_black else (white, red)
    board = np.sin(u * np.pi / 30) * np.sin(v * np.pi / 30) > 0
    return to_image(np.where(board[..., None], light, dark))


PAINTERS = (
    brush_strokes,
    stained_glass,
    pointillism,
    cross_hatching,
    woodblock_waves,
    cubist_planes,
    paper_cutouts,
    op_art,
)


def paint(painter: Callable[[np.random.Generator], Image.Image]) -> Image.Image:
    """Let one painter paint, and shrink its canvas to the final size."""
    # Every painter gets a generator of its own, so that none changes when another one does.
    canvas = painter(np.random.default_rng(SEED))
    return canvas.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def load_photo(path: Path) -> Image.Image:
    """Open a photo in colour and shrink it if it is large."""
    with Image.open(path) as file:
        photo = file.convert("RGB")
    photo.thumbnail((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.LANCZOS)
    return photo


def fill(folder: Path, pictures: Mapping[str, Callable[[], Image.Image]], quality: int) -> int:
    """Make the pictures that ``folder`` does not hold yet, keep the others, count the new ones."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in pictures if not (folder / f"{name}.jpg").exists()]
    for name in missing:
        # Renaming a finished file means that a run cut short leaves no half picture behind.
        partial_file = folder / f"{name}.part"
        pictures[name]().save(partial_file, "JPEG", quality=quality)
        partial_file.replace(folder / f"{name}.jpg")
    if kept := [name for name in pictures if name not in missing]:
        print(f"Already in {folder}, kept: {', '.join(kept)}")
    return len(missing)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("data/sample"), metavar="DIR")
    output = parser.parse_args(arguments).output
    # The photos are read as plain files: the functions of skimage.data may start a download.
    package = find_spec("skimage")
    if package is None or package.origin is None:
        print('scikit-image is missing: pip install "polystyle[sample]"', file=sys.stderr)
        return 1
    bundled = Path(package.origin).parent / "data"
    photos = {name: partial(load_photo, bundled / file) for name, file in PHOTOS.items()}
    paintings = {painter.__name__: partial(paint, painter) for painter in PAINTERS}
    new_photos = fill(output / "photos", photos, quality=95)
    new_paintings = fill(output / "paintings", paintings, quality=92)
    if new_photos or new_paintings:
        made = f"{counted(new_photos, 'photo')} and {counted(new_paintings, 'painting')}"
        print(f"Made {made} in {output}.")
    else:
        print(f"Everything is already in {output}.")
    print("Next: polystyle-train experiment=quickstart")
    return 0


if __name__ == "__main__":
    sys.exit(main())
