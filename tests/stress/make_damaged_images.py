"""Make damaged and odd pictures in every format, and check that polystyle reads or refuses each.

python tests/stress/make_damaged_images.py build/damaged-images             write the files
python tests/stress/make_damaged_images.py build/damaged-images --check     and read them all
"""

import argparse
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

# No other numbers in a header are likely to be these: see `bombs`.
WIDTH, HEIGHT = 53, 47

MODES = (
    *("1", "L", "LA", "La", "P", "PA", "I;16", "I;16B", "I", "F"),
    *("RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"),
)

# What Pillow both writes and, under this extension, reads.
SUFFIXES = {
    "AVIF": "avif",
    "BLP": "blp",
    "BMP": "bmp",
    "DDS": "dds",
    "DIB": "dib",
    "EPS": "eps",
    "GIF": "gif",
    "ICNS": "icns",
    "ICO": "ico",
    "IM": "im",
    "JPEG": "jpg",
    "JPEG2000": "jp2",
    "MPO": "jpg",
    "MSP": "msp",
    "PCX": "pcx",
    "PNG": "png",
    "PPM": "ppm",
    "QOI": "qoi",
    "SGI": "sgi",
    "SPIDER": "bw",
    "TGA": "tga",
    "TIFF": "tif",
    "WEBP": "webp",
    "XBM": "xbm",
}

# One file that takes longer to read is said to hang.
MOST_SECONDS = 120

USES = ("photo", "painting", "photo to be painted")

PAGE = b"<!DOCTYPE html><html><title>404 Not Found</title><body>No such picture</body></html>\n"


class Odd(NamedTuple):
    """A file to make: what is odd about it, its extension, what is in it."""

    kind: str
    suffix: str
    content: bytes


# ---- Sound pictures ---------------------------------------------------------------------------


def drawn(rng: random.Random, mode: str = "RGB", size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image:
    """Some forms and noise, no two alike."""
    image = Image.frombytes("RGB", (8, 6), rng.randbytes(144)).resize(size)
    pencil = ImageDraw.Draw(image)
    for _ in range(3):
        x, y = rng.randrange(size[0]), rng.randrange(size[1])
        pencil.ellipse((x, y, x + 20, y + 12), fill=tuple(rng.randbytes(3)))
    if mode in ("I;16", "I;16B"):
        return Image.frombytes(mode, size, rng.randbytes(2 * size[0] * size[1]))
    if mode == "F":
        return image.convert("F").point(lambda value: value * (1 / 255))
    if mode in ("La", "PA", "RGBa"):
        return image.convert({"La": "LA", "PA": "P", "RGBa": "RGBA"}[mode]).convert(mode)
    if mode == "LAB":
        return Image.merge("LAB", image.split())
    return image.convert(mode)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def sound(rng: random.Random) -> list[Odd]:
    """Every mode in every format that takes it."""
    Image.init()
    made = []
    for form, suffix in SUFFIXES.items():
        if form not in Image.SAVE:
            continue
        for mode in MODES:
            try:
                content = encoded(drawn(rng, mode), form)
            except (OSError, ValueError, KeyError):
                continue  # not in this format
            made.append(Odd(f"sound {form}, {mode}", suffix, content))
    return made


# ---- Odd on purpose ---------------------------------------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def png(*chunks: bytes, size: tuple[int, int] = (32, 32), bits: int = 8, colours: int = 0) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colours, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def zeros(length: int) -> bytes:
    """So many zero bytes, compressed by zlib; made without compressing them all."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    rest = zlib.compressobj(9, zlib.DEFLATED, -15)
    end = rest.compress(bytes(length % 2**20)) + rest.flush()
    # Adler-32 of zeros.
    checksum = struct.pack(">I", length % 65521 << 16 | 1)
    return b"\x78\xda" + block * (length // 2**20) + end + checksum


def blank_png(width: int, height: int, bits: int = 1, colours: int = 0) -> bytes:
    samples = {0: 1, 2: 3, 6: 4}[colours]
    row = 1 + -(-width * bits * samples // 8)
    data = chunk(b"IDAT", zeros(row * height))
    return png(data, size=(width, height), bits=bits, colours=colours)


def tiff(*entries: tuple[int, int, int, int], data: bytes = b"", next_at: int = 0) -> bytes:
    """A little-endian TIFF of one directory: (tag, type, count, value or offset)."""
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + directory + struct.pack("<I", next_at) + data


def plain_tiff(*changed: tuple[int, int, int, int], next_at: int = 0) -> bytes:
    """A grey TIFF of 32 x 32, but for some entries."""
    entries = {
        tag: (tag, kind, count, value)
        for tag, kind, count, value in (
            *((256, 4, 1, 32), (257, 4, 1, 32), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)),
            *((273, 4, 1, 200), (277, 3, 1, 1), (278, 4, 1, 32), (279, 4, 1, 1024)),
            *changed,
        )
    }
    whole = tiff(*entries.values(), next_at=next_at)
    return whole.ljust(200, b"\0") + bytes(1024)


def exif_tags(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Orientations and tags that no camera writes."""

    def tags(*entries: bytes, next_at: int = 0) -> bytes:
        directory = struct.pack("<H", len(entries)) + b"".join(entries)
        return b"Exif\0\0II*\0\x08\0\0\0" + directory + struct.pack("<I", next_at)

    for orientation in (0, 1, 6, 8, 9, 255, 65535):
        yield f"orientation {orientation}", tags(struct.pack("<HHII", 274, 3, 1, orientation))
    yield "orientation a text", tags(struct.pack("<HHI4s", 274, 2, 4, b"six\0"))
    yield "orientation a fraction", tags(struct.pack("<HHII", 274, 5, 1, 12))
    yield "orientation a million times", tags(struct.pack("<HHII", 274, 3, 10**6, 8))
    yield "a tag of 4 GB", tags(struct.pack("<HHII", 270, 2, 2**32 - 1, 8))
    yield "tags within themselves", tags(struct.pack("<HHII", 34665, 4, 1, 8), next_at=8)
    yield "garbage", b"Exif\0\0" + rng.randbytes(200)
    yield "cut", tags(struct.pack("<HHII", 274, 3, 1, 6))[:15]


def odd(rng: random.Random) -> Iterator[Odd]:
    """What is sound but strange, and what is damaged with care."""
    for suffix in ("jpg", "png", "gif", "tif", "webp", "avif", "jp2", "ico", "tga", "bmp"):
        yield Odd("no bytes", suffix, b"")
        yield Odd("one byte", suffix, b"\xff")
        yield Odd("zero bytes", suffix, bytes(5000))
        yield Odd("random bytes", suffix, rng.randbytes(5000))
        yield Odd("a page of a web site", suffix, PAGE)
        yield Odd("a text", suffix, "Grüße\n".encode() * 50)
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n{ } loop\n%%EOF\n"
    for suffix in ("eps", "ps", "jpg"):
        yield Odd("a PostScript program", suffix, program)
    for suffix in ("mpg", "wmf", "h5", "grib", "bufr"):
        yield Odd("of a format without pixels", suffix, b"\0\0\1\xb3" + rng.randbytes(500))

    shapes = ((1, 1), (1, 200), (15, 40), (16, 16), (60_000, 1), (1, 60_000), (60_000, 16))
    for width, height in shapes:
        for form in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "PPM", "TGA", "WEBP"):
            if form == "WEBP" and max(width, height) > 16383:
                continue
            image = Image.new("RGB", (width, height), tuple(rng.randbytes(3)))
            if form == "GIF":
                image = image.quantize(4)
            yield Odd(f"{width} x {height}", SUFFIXES[form], encoded(image, form))

    for form in ("GIF", "WEBP", "PNG", "TIFF", "MPO"):  # an AVIF would hold the time
        frames = [drawn(rng) for _ in range(4)]
        animated = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        yield Odd("animated", SUFFIXES[form], animated)
        yield Odd("animated, cut", SUFFIXES[form], animated[: len(animated) // 2])

    for name, values in (
        ("not a number", (float("nan"),) * 4),
        ("infinite", (float("inf"), float("-inf"), 1e38, -1e38)),
        ("negative", (-1.0, -0.5, -1e-30, 0.5)),
    ):
        floats = Image.frombytes("F", (32, 32), struct.pack("<4f", *values) * 256)
        yield Odd(f"floats, {name}", "tif", encoded(floats, "TIFF"))
        yield Odd(f"floats, {name}", "pfm", encoded(floats, "PPM"))
    for colours, samples in ((0, 1), (2, 3), (4, 2), (6, 4)):
        rows = b"".join(b"\0" + rng.randbytes(64 * samples) for _ in range(32))
        data = chunk(b"IDAT", zlib.compress(rows))
        yield Odd("16 bits a sample", "png", png(data, bits=16, colours=colours))
        yield Odd("no such bits", "png", png(data, bits=5, colours=colours))
    # Premultiplied: ExtraSamples 1, not 2.
    for mode in ("LA", "RGBA"):
        content = encoded(drawn(rng, mode), "TIFF")
        extra = struct.pack("<HHII", 338, 3, 1, 2)
        yield Odd("premultiplied", "tif", content.replace(extra, extra[:8] + b"\1\0\0\0"))
    palette = drawn(rng, "P")
    for transparency in (0, bytes(range(256)), b""):
        yield Odd("palette with alpha", "png", encoded(palette, "PNG", transparency=transparency))
    yield Odd("palette with alpha", "gif", encoded(palette, "GIF", transparency=3))
    bare = encoded(palette, "PNG")
    at = bare.index(b"PLTE") - 4
    yield Odd("no palette", "png", bare[:at] + bare[at + 12 + 768 :])

    for form in ("JPEG", "PNG", "WEBP", "TIFF"):
        for name, tags in exif_tags(rng):
            if form != "TIFF":  # which has such tags of its own: below
                content = encoded(drawn(rng), form, exif=tags)
                yield Odd(f"EXIF: {name}", SUFFIXES[form], content)
        for profile in (rng.randbytes(400), bytes(128), b"\xff" * 70_000):
            content = encoded(drawn(rng), form, icc_profile=profile)
            yield Odd("a colour profile that is none", SUFFIXES[form], content)

    most = 2**32 - 1
    for tag, kind, count, value in (
        *((256, 4, 1, most), (257, 4, 1, most), (256, 4, 1, 0), (258, 3, 1, 65535)),
        *((258, 3, 65535, 8), (259, 3, 1, 65000), (262, 3, 1, 9), (273, 4, 1, most)),
        *((273, 4, 10**6, 200), (277, 3, 1, 65535), (277, 3, 1, 0), (278, 4, 1, 0)),
        *((279, 4, 1, most), (279, 4, 1, 0), (270, 2, most, 8), (274, 3, 1, 9)),
        *((274, 2, 4, 200), (338, 3, 1, 9), (339, 3, 1, 3), (700, 1, most, 8), (33432, 2, most, 8)),
        *((34665, 4, 1, 8), (330, 4, 1, 8), (34675, 7, most, 8), (322, 4, 1, most)),
    ):
        content = plain_tiff((tag, kind, count, value))
        yield Odd(f"TIFF tag {tag} absurd", "tif", content)
    yield Odd("TIFF without end", "tif", plain_tiff(next_at=8))
    many = [(1000 + number, 2, 2**20, 8) for number in range(5000)]
    yield Odd("TIFF of 5,000 tags of 1 MB", "tif", tiff(*many, data=bytes(2**20)))

    photo = drawn(rng)
    pixels = [chunk(b"IDAT", zlib.compress((b"\0" + bytes(32)) * 32))]
    text = b"Comment\0\0" + zeros(100_000_000)
    several = [chunk(b"zTXt", b"Comment\0\0" + zeros(1_000_000))] * 100
    for name, chunks in (
        ("a text of 100 MB", [chunk(b"zTXt", text), *pixels]),
        ("a text of 100 MB at its end", [*pixels, chunk(b"zTXt", text)]),
        ("100 texts of 1 MB", [*several, *pixels]),
        ("100,000 texts", [chunk(b"tEXt", b"a\0b")] * 100_000 + pixels),
        ("an unfinished text", [chunk(b"iTXt", b"a\0\1\0\0\0" + text[9:2000]), *pixels]),
        ("a profile of 100 MB", [chunk(b"iCCP", text), *pixels]),
        ("pixels for 100 MB more", [chunk(b"IDAT", zeros(100_000_000))]),
        ("no pixels", []),
        ("4 billion frames", [chunk(b"acTL", b"\xff" * 8), *pixels]),
        ("a chunk of 2 GB", [struct.pack(">I", 2**31 - 1) + b"IDAT" + bytes(20)]),
        ("a nameless chunk", [chunk(b"\1\2\3\4", b"?"), *pixels]),
    ):
        yield Odd(f"PNG with {name}", "png", png(*chunks))
    wrong = bytearray(encoded(photo, "PNG"))
    wrong[29] ^= 1
    yield Odd("PNG with a wrong checksum", "png", bytes(wrong))
    jpeg = encoded(photo, "JPEG")
    yield Odd("JPEG of no tables", "jpg", jpeg.replace(b"\xff\xc4", b"\xff\xe5"))
    yield Odd("JPEG of 12 bits", "jpg", jpeg.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"))
    yield Odd("JPEG without end", "jpg", jpeg[:-2])
    progressive = encoded(photo, "JPEG", progressive=True)
    yield Odd("progressive", "jpg", progressive)
    yield Odd("progressive, cut", "jpg", progressive[: len(progressive) * 2 // 3])
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    yield Odd("progressive, 5,000 scans", "jpg", progressive[:-2] + scan * 5000 + b"\xff\xd9")


def bombs(rng: random.Random) -> Iterator[Odd]:
    """Small files that say they are enormous, and some that are."""
    for side, bits, colours in ((30_000, 1, 0), (30_000, 8, 2), (12_000, 1, 0), (9_000, 8, 0)):
        content = blank_png(side, side, bits, colours)
        yield Odd(f"bomb: blank PNG of {side} x {side}", "png", content)
    inner = blank_png(30_000, 30_000)
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 32, 32, 0, 0, 1, 32, len(inner), 22)
    yield Odd("bomb: icon of 30000 x 30000", "ico", icon + inner)
    apple = struct.pack(">4sI4sI", b"icns", len(inner) + 16, b"ic07", len(inner) + 8)
    yield Odd("bomb: icon of 30000 x 30000", "icns", apple + inner)
    for form, suffix in SUFFIXES.items():
        if form not in Image.SAVE:
            continue
        try:
            content = encoded(drawn(rng), form)
        except (OSError, ValueError):
            continue
        for side in (9_000, 13_000, 65_000):
            for code in ("<H", ">H", "<I", ">I", "%d "):
                bomb = content[:400]
                for number in (WIDTH, HEIGHT):
                    old, new = (
                        (b"%d" % value if "%" in code else struct.pack(code, value))
                        for value in (number, side)
                    )
                    bomb = bomb.replace(old, new)
                if bomb != content[:400]:
                    kind = f"bomb: {form} that says {side}"
                    yield Odd(kind, suffix, bomb + content[400:])


def giants(rng: random.Random) -> Iterator[Odd]:
    """Pictures as large as Pillow reads them, in small files: a second or more and a lot of memory
    each."""
    for bits, colours in ((1, 0), (8, 0), (8, 2), (8, 6), (16, 0), (16, 2)):
        content = blank_png(13_370, 13_370, bits, colours)
        yield Odd(f"giant: PNG of 179 megapixels, {bits} bits, kind {colours}", "png", content)
    for form, mode, side, options in (
        ("JPEG2000", "RGBA", 9_400, {}),
        ("WEBP", "RGBA", 9_400, {"lossless": True, "method": 0}),
        ("AVIF", "RGBA", 9_400, {"speed": 10}),
        ("WEBP", "RGB", 9_500, {"method": 0}),
        ("TIFF", "CMYK", 13_370, {"compression": "tiff_deflate"}),
        ("TIFF", "F", 13_370, {"compression": "tiff_deflate"}),
        ("GIF", "P", 13_370, {"transparency": 0}),
        ("JPEG", "RGB", 13_370, {"progressive": True, "subsampling": 0}),
        ("JPEG", "CMYK", 13_370, {}),
    ):
        content = encoded(Image.new(mode, (side, side)), form, **options)
        yield Odd(f"giant: {form} of {side} x {side}, {mode}", SUFFIXES[form], content)


# ---- Damaged at random ------------------------------------------------------------------------


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def cut_near_the_end(content: bytes, rng: random.Random) -> bytes:
    return content[: -rng.randrange(1, 20)]


def flip(content: bytes, rng: random.Random, within: int | None = None) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        place = rng.randrange(8 * min(within or len(content), len(content)))
        damaged[place // 8] ^= 1 << place % 8
    return bytes(damaged)


def flip_in_the_header(content: bytes, rng: random.Random) -> bytes:
    return flip(content, rng, within=120)


def blank(content: bytes, rng: random.Random) -> bytes:
    """As after a transfer that left a hole."""
    first = rng.randrange(len(content))
    length = rng.randrange(1, 1 + len(content) // 2)
    return content[:first] + bytes(len(content[first : first + length])) + content[first + length :]


def shift(content: bytes, rng: random.Random) -> bytes:
    """A few bytes too many or too few in the middle."""
    place = rng.randrange(len(content))
    return content[:place] + rng.randbytes(3) + content[place + rng.randrange(7) :]


def with_large_numbers(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(min(len(content), 200))
    return (
        content[:place] + rng.choice((b"\xff" * 4, b"\x7f\xff", b"\0" * 4)) + content[place + 4 :]
    )


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(cut, cut_near_the_end, flip, flip_in_the_header, blank, shift, with_large_numbers),
)


def corpus(count: int, seed: int) -> list[Odd]:
    """`count` files or more, the same for the same seed; none takes much time or memory."""
    rng = random.Random(seed)
    good = sound(rng)
    made = [*good, *odd(rng), *bombs(rng)]
    suffixes = sorted({picture.suffix for picture in good})
    while len(made) < count:
        one = rng.choice(good)
        place = len(made) % (len(DAMAGES) + 1)
        if place == len(DAMAGES):
            suffix = rng.choice([suffix for suffix in suffixes if suffix != one.suffix])
            made.append(Odd("wrong extension", suffix, one.content))
        else:
            damage = DAMAGES[place]
            kind = damage.__name__.replace("_", " ")
            made.append(Odd(kind, one.suffix, damage(one.content, rng)))
    return made


# ---- Files that aren't plain ones -------------------------------------------------------------


def make_oddities(folder: Path) -> list[Path]:
    """Things in a folder that are called pictures and are none, or have odd names."""
    paths = {
        name: folder / f"{name}.jpg"
        for name in (
            *("folder", "link_to_nothing", "link_to_itself", "link_to_a_folder", "pipe", "socket"),
            *("device", "no_permission", "huge"),
        )
    }
    paths["folder"].mkdir()
    paths["link_to_nothing"].symlink_to("nothing")
    paths["link_to_itself"].symlink_to(paths["link_to_itself"].name)
    paths["link_to_a_folder"].symlink_to(paths["folder"].name)
    os.mkfifo(paths["pipe"])
    here = Path.cwd()
    os.chdir(folder)  # a socket's path may have 100 characters
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(paths["socket"].name)
    finally:
        os.chdir(here)
    paths["device"].symlink_to("/dev/zero")
    paths["no_permission"].write_bytes(encoded(drawn(random.Random(0)), "JPEG"))
    paths["no_permission"].chmod(0)
    # Takes no room on the disk. Pillow reads such a file as a whole.
    with paths["huge"].open("wb") as file:
        file.write(b"RIFF\xf8\xff\xff\xffWEBPVP8 ")
        file.truncate(2**32)
    for number, name in enumerate(("\x1b[31m red", "two\nlines", "a\ttab", "caf\udce9")):
        paths[name] = folder / f"{name} {number}.jpg"
        paths[name].write_bytes(PAGE)
    return list(paths.values())


def write(folder: Path, files: list[Odd]) -> dict[Path, str]:
    """Write the files; returns what is odd about each, by path."""
    folder.mkdir(parents=True)
    kinds = {}
    for number, (kind, suffix, content) in enumerate(files):
        path = folder / f"{number:04d}.{suffix}"
        path.write_bytes(content)
        kinds[path] = kind
    return kinds


# ---- Reading it all ---------------------------------------------------------------------------


def status(field: str) -> float:
    """A figure of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1000
    raise KeyError(field)


def read_all(paths: list[str], uses: list[str]) -> None:
    """Read each file as polystyle does; prints a line of JSON for each."""
    from polystyle.data.images import PictureError, load_image, silence_pillow
    from polystyle.data.paintings import load_painting
    from polystyle.data.samples import load_square, middle_square

    silence_pillow()
    reads = {
        "photo": lambda path: load_square(path, middle_square, 64),
        "painting": lambda path: load_painting(path, 64),
        "photo to be painted": load_image,
    }
    before = status("VmRSS")
    for path in map(Path, paths):
        answers = {}
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM counts from now on
        signal.alarm(MOST_SECONDS)  # ends this process: whatever hangs is a crash
        started = time.monotonic()
        for use in uses:
            try:
                reads[use](path)
            except PictureError as error:
                answers[use] = error.reason
            except Exception as error:
                answers[use] = f"CRASHED {error!r}"
            else:
                answers[use] = None
        row = {"seconds": time.monotonic() - started, "mb": status("VmHWM") - before} | answers
        print(json.dumps(row), flush=True)


def check(kinds: dict[Path, str]) -> bool:
    """Read each file in a process of its own, and say what came of it."""
    from tqdm import tqdm

    rows, ok = [], True
    paths = list(kinds)
    with tqdm(total=len(paths), unit="file", disable=None, leave=False) as bar:
        while len(rows) < len(paths):
            names = [os.fsdecode(path) for path in paths[len(rows) :]]
            process = subprocess.Popen(
                [sys.executable, __file__, "--read"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            process.stdin.write(json.dumps([names, USES]).encode())
            process.stdin.close()
            for line in process.stdout:
                rows.append(json.loads(line))
                bar.update()
            said = process.stderr.read().decode(errors="replace")
            if said:
                ok = False
                print(f"What nobody should see: {said[:2000]}")
            if process.wait() != 0:
                reason = f"CRASHED: exit status {process.returncode}"
                rows.append({"seconds": 0, "mb": 0} | dict.fromkeys(USES, reason))
    families = Counter(kind.split()[0].strip(":,") for kind in kinds.values())
    print(f"{len(kinds)} files, odd in {len(set(kinds.values()))} ways")
    print(", ".join(f"{family} {count}" for family, count in families.most_common(25)))
    for use in USES:
        answers = [row.get(use) for row in rows]
        crashed = [answer for answer in answers if answer and answer.startswith("CRASHED")]
        ok = ok and not crashed
        refused = Counter(
            answer.partition(": ")[2][:60] if "can't be read" in answer else "too small or too long"
            for answer in answers
            if answer and answer not in crashed
        )
        print(
            f"\nAs a {use}: tried {len(answers)}, read {answers.count(None)}, "
            f"refused with a reason {refused.total()}, crashed {len(crashed)}"
        )
        for reason, count in refused.most_common(12):
            print(f"  {count:4d}  {reason}")
        for row, (path, kind) in zip(rows, kinds.items(), strict=True):
            if (row.get(use) or "").startswith("CRASHED"):
                print(f"  {path} ({kind}): {row[use]}")
    print(
        f"\nMost memory, in MB beyond what Python and torch need: {max(r['mb'] for r in rows):.0f}"
    )
    for figure in ("mb", "seconds"):
        places = sorted(range(len(rows)), key=lambda place: -rows[place][figure])[:8]
        for place in places:
            print(f"  {rows[place][figure]:8.1f} {figure}  {list(kinds.values())[place]}")
    print(f"{sum(row['seconds'] for row in rows):.0f} seconds")
    return ok


def main() -> None:
    if sys.argv[1:] == ["--read"]:
        read_all(*json.load(sys.stdin))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the folder to make")
    parser.add_argument("--count", type=int, default=1000, help="how many files (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="decides what is damaged where")
    parser.add_argument(
        "--check",
        action="store_true",
        help="read every file as a photo, as a painting and as a picture to be painted, giants of "
        "179 megapixels among them, and say what came of it: some minutes",
    )
    args = parser.parse_args()
    if args.output.exists():
        sys.exit(f"make_damaged_images.py: {args.output} is there already: remove it")
    warnings.simplefilter("ignore")
    files = corpus(args.count, args.seed)
    if args.check:
        files += giants(random.Random(args.seed))
    kinds = write(args.output, files)
    kinds |= dict.fromkeys(make_oddities(args.output), "not a plain file")
    print(f"Made {args.output}: {len(kinds)} damaged and odd pictures")
    if args.check and not check(kinds):
        sys.exit("make_damaged_images.py: some were not met as they should be: see above")


if __name__ == "__main__":
    main()
