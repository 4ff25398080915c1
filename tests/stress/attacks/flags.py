"""Odd command lines of polystyle-stylize."""

import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from attacks.commands import Tally, attempt, contents, fault, record

NUMBERS = (
    *("0", "1", "-1", "0.5", "2", "nan", "inf", "-inf", "1e308", "-1e308", "1e-320", "1e400"),
    *("", " ", "x", "0x10", "1_0", "10" * 30, "\u0663", "true"),
)
STYLES = (
    *("x", "y", "photo", "all", "z", "", ":", "x:", ":1", "x:x:1", "../x", "\x1b[2J", "\u202ex"),
    *("x:nan", "x:inf", "y:-1", "y:0", "x:1e308", "y:1e308", "x:0.3", "y:0.7", "photo:1"),
    "x:1e-320",
)
MASKS = (
    *("photos/a.png=x", "photos/a.png=", "=x", "=", "x", "rest=y", "rest=", "wide.png=x"),
    *("nowhere.png=x", "no picture.png=x", "photos=x", "photos/b.png=z", "\x1b[2J=x"),
)
PHOTOS = (
    *("photos/a.png", "photos", "wide.png", "no picture.png", "nowhere.png", "*.png", ""),
    "\x1b[2J",
    *("model.safetensors", "photos/*.png", "[", "~", "x.mp4"),
)


def random_flags(rng: random.Random) -> list[str]:
    """A command line of polystyle-stylize, odd in some places."""

    def pick(sound: Sequence[str], odd: Sequence[str]) -> str:
        return rng.choice(odd if rng.random() < 0.3 else sound)

    arguments = ["--model=model.safetensors", pick(("photos/a.png", "wide.png", "odd"), PHOTOS)]
    what = rng.randrange(6)
    if what < 3:
        sound = rng.choice((["x", "y", "all"], ["x:0.3", "y:0.7", "y:1e-3"]))
        arguments += [f"--style={pick(sound, STYLES)}" for _ in range(rng.randint(1, 3))]
    elif what == 3:
        masks = ("photos/a.png=x", "photos/b.png=y")
        arguments += [f"--mask={pick(masks, MASKS)}" for _ in range(rng.randint(1, 2))]
        arguments += ["--mask=rest=y"] * rng.randint(0, 1)
    elif what == 4:
        arguments += ["--sweep", pick("xy", STYLES), pick("xy", STYLES)]
    else:
        corners = [pick("xy", STYLES) for _ in range(rng.randint(1, 5))]
        arguments += ["--blend-grid", *corners, "--steps=3"]
    for flag, sound in {
        "strength": ("0", "0.5", "1"),
        "scale": ("1", "0.5", "4", "native"),
        "tile": ("auto", "off", "7", "1000"),
        "steps": ("2", "5"),
        "smoothing": ("0", "0.9"),
        "device": ("cpu", "auto"),
        "precision": ("float32", "bfloat16"),
    }.items():
        if rng.random() < 0.2:
            arguments.append(f"--{flag}={pick(sound, NUMBERS)}")
    for flag in ("raw", "keep-colors", "overwrite", "strength-by=pixels"):
        if rng.random() < 0.15:
            arguments.append(f"--{flag}")
    return arguments


def fault_of_pictures(folder: Path) -> str | None:
    """Which picture of a folder can't be read, if there is one."""
    for path in folder.rglob("*"):
        try:
            with Image.open(path) as picture:
                picture.load()
        except OSError as error:
            return f"{path.name} is no picture: {error}"
    return None


def try_flags(ground: Path, tally: Tally, count: int, rng: random.Random) -> Iterator[str]:
    for _ in range(count):
        arguments = random_flags(rng)
        with tempfile.TemporaryDirectory(dir=ground) as scratch:
            folder = Path(scratch) / "here"
            shutil.copytree(ground / "sound", folder)
            before = contents(Path(scratch))
            outcome = attempt("stylize", arguments, folder)
            wrong = fault("stylize", outcome)
            # Of several photos each has a line of its own.
            if wrong and wrong.startswith("status 1 and not one line"):
                lines = [line for line in outcome.errors.splitlines() if line.strip()]
                if all(line.startswith("polystyle-stylize: ") for line in lines):
                    wrong = None
            new = {path.relative_to(folder) for path in contents(Path(scratch)) - before}
            if {path.parts[0] for path in new} - {"painted"}:
                wrong = f"wrote {new}"
            elif new == {Path("painted")}:
                wrong = wrong or "left an empty folder"
            elif outcome.status == 0 and not new:
                wrong = wrong or "painted nothing, with status 0"
            wrong = wrong or fault_of_pictures(folder / "painted")
            did = "painted" if outcome.status == 0 else "refused"
            yield record(tally, f"polystyle-stylize {arguments}", wrong, did, outcome)
