"""Model files and style packs whose headers lie, or are changed at random."""

import base64
import io
import json
import math
import random
import shutil
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attacks.commands import Tally, attempt, contents, fault, record
from polystyle.files.safetensors_file import MAX_HEADER


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """A safetensors file: its header, and its tensors."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: dict[str, Any] | bytes, tensors: bytes, length: int | None = None) -> bytes:
    """A safetensors file, whose header may be said to have another length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + tensors


NAMES = {
    "leaves the folder": "../../x",
    "is a path": "/etc/x",
    "is Windows' path": "C:\\x",
    "has a drive": "C:x",
    "has a slash": "a/b",
    "is hidden": ".x",
    "is empty": "",
    "is the folder": ".",
    "is the folder above": "..",
    "has a NUL": "a\0b",
    "has two lines": "a\nb",
    "returns": "a\rb",
    "clears the screen": "\x1b[2J",
    "sets the title": "\x9d0;x\x9c",
    "turns the direction": "abc\u202egpj",
    "turns it another way": "abc\u2067gpj",
    "has a line separator": "a\u2028b",
    "is no text": "\udcff",
    "is long": "x" * 201,
    "is very long": "x" * 1_000_000,
    "is long in UTF-8": "\N{SNOWMAN}" * 67,
}


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


def hostile_models(sound: bytes) -> Iterator[tuple[str, bytes]]:
    """What is wrong with them, and model files that lie.

    Args:
        sound: a model file of the styles x, y and photo.
    """
    header, tensors = split(sound)
    about = header["__metadata__"]
    name, other = "paint.norm.gamma", "paint.norm.beta"
    first = min(
        (each for each in header if each != "__metadata__"),
        key=lambda each: header[each]["data_offsets"],
    )
    begin, end = header[name]["data_offsets"]

    def declaring(tensor: str = name, **changes: Any) -> bytes:
        return joined({**header, tensor: {**header[tensor], **changes}}, tensors)

    def saying(**changes: Any) -> bytes:
        changed = {key: value for key, value in {**about, **changes}.items() if value is not None}
        return joined({**header, "__metadata__": changed}, tensors)

    yield "10^12 numbers", declaring(shape=[10**12])
    yield "10^12 numbers, declared to be there", declaring(data_offsets=[begin, begin + 4 * 10**12])
    yield "a size beyond 64 bits", declaring(shape=[2**63, 2**63])
    yield "a size that is 0 by overflow", declaring(shape=[2**32, 2**32])
    yield "100 GB", declaring(shape=[25 * 10**9], data_offsets=[begin, begin + 10**11])
    yield "no numbers", declaring(shape=[0, 3], data_offsets=[begin, begin])
    yield "10^18 x 0 numbers", declaring(shape=[10**18, 0], data_offsets=[begin, begin])
    yield "a negative size", declaring(shape=[-3, -3])
    yield "a size that is no whole number", declaring(shape=[3.5, 3])
    yield "a size in words", declaring(shape=["three", 3])
    yield "sizes exchanged", declaring(first, shape=header[first]["shape"][::-1])
    yield "9 dimensions", declaring(shape=[1, 1, 1, 1, 1, 1, 1, 3, 3])
    yield "overlapping tensors", declaring(data_offsets=header[other]["data_offsets"])
    yield "a hole", declaring(data_offsets=[begin + 4, end + 4])
    odd = {**header[name], "data_offsets": [begin + 4, end + 4]}
    yield (
        "a hole in a tensor whose name clears the screen",
        joined({**{k: v for k, v in header.items() if k != name}, "\x1b[2J\n": odd}, tensors),
    )
    yield "offsets turned round", declaring(data_offsets=[end, begin])
    yield "offsets beyond the end", declaring(data_offsets=[len(tensors), len(tensors) + 36])
    yield "negative offsets", declaring(data_offsets=[-36, 0])
    for dtype in ("F16", "BF16", "F64", "I32", "I64", "U8", "BOOL", "F8_E4M3", "C64", "x"):
        yield f"{dtype}", declaring(dtype=dtype)
        size = {"F16": 2, "BF16": 2, "F64": 8, "I64": 8, "C64": 8, "I32": 4}.get(dtype, 1)
        moved, place = {}, 0
        for each in sorted(header.keys() - {"__metadata__"}, key=str):
            shape = header[each]["shape"]
            length = math.prod(shape) * (size if each == name else 4)
            moved[each] = {
                "dtype": dtype if each == name else "F32",
                "shape": shape,
                "data_offsets": [place, place + length],
            }
            place += length
        yield (
            f"{dtype}, as many bytes as that takes",
            joined({**moved, "__metadata__": about}, bytes(place)),
        )
    yield "a tensor missing", joined({k: v for k, v in header.items() if k != name}, tensors)
    surplus = {"dtype": "F32", "shape": [1], "data_offsets": [len(tensors), len(tensors) + 4]}
    yield "a tensor too many", joined({**header, "more": surplus}, tensors + bytes(4))
    yield (
        "a tensor too many, whose name clears the screen",
        joined({**header, "\x1b[2J\n": surplus}, tensors + bytes(4)),
    )
    for value in (math.nan, math.inf, -math.inf):
        number = np.float32(value).tobytes()
        yield (
            f"a weight of {value}",
            joined(header, tensors[:begin] + number + tensors[begin + 4 :]),
        )

    yield "a header of 2^63 bytes", joined(header, tensors, length=2**63)
    yield "a header of 2^64 - 1 bytes", joined(header, tensors, length=2**64 - 1)
    yield "a header longer than the file", joined(header, tensors, length=10**6)
    yield "a header cut short", joined(header, tensors, length=100)
    yield "a header of no bytes", joined(b"", tensors)
    yield "a header that is a list", joined(b"[]", tensors)
    yield "a header 100,000 lists deep", joined(b'{"x":' + b"[" * 100_000, tensors)
    yield "a header that is no UTF-8", joined(b'{"\xff": 0}', tensors)
    twice = json.dumps(header)[:-1] + f', "{name}": {json.dumps({**header[name], "shape": [9]})}}}'
    yield "a tensor twice", joined(twice.encode(), tensors)
    twice = json.dumps(header)[:-1] + ', "__metadata__": {}}'
    yield "two sets of words", joined(twice.encode(), tensors)

    for width in (
        "1e9",
        "1e300",
        "NaN",
        "Infinity",
        "-1",
        "0",
        "true",
        "null",
        '"0.125"',
        "[0.125]",
    ):
        yield f"width {width}", saying(width=width)
    yield "width 10^5000", saying(width="1" + "0" * 5000)
    yield "width 100,000 lists deep", saying(width="[" * 100_000)
    for key in ("format", "format_version", "style_names", "width"):
        yield f"no {key}", saying(**{key: None})
    for version in ("2", "-1", "9" * 5000, "\u0661", "1\x1b[2J"):
        yield f"format version {version[:9]!r}", saying(format_version=version)
    yield "two names for three styles", saying(style_names='["x", "y"]')
    yield "no names", saying(style_names="[]")
    yield "names that are no list", saying(style_names='{"x": 0, "y": 0, "photo": 0}')
    yield "names that are numbers", saying(style_names="[1, 2, 3]")
    yield "one name twice", saying(style_names='["x", "y", "x"]')
    for what, bad in NAMES.items():
        yield f"a name that {what}", saying(style_names=json.dumps(["x", "y", bad]))
    for training in ("[]", "7", '"x"', "[[1, 2]]", "{", "[" * 100_000):
        yield f"training {training[:9]}", saying(training=training)
    for what, thumbnail in {
        "no JPEG": b"no picture",
        "of no bytes": b"",
        "a GIF": b"GIF89a" + bytes(99),
        "of 60,000 x 60,000 pixels": jpeg(60_000, 60_000),
        "of 513 x 1 pixels": jpeg(513, 1),
        "of 0 pixels": jpeg(0, 0),
    }.items():
        text = json.dumps({"x": base64.b64encode(thumbnail).decode()})
        yield f"a thumbnail {what}", saying(thumbnails=text)
    for thumbnails in ('{"x": 7}', '["x"]', "7", '{"x": "!"}', '{"x": "\u00e9"}'):
        yield f"thumbnails {thumbnails}", saying(thumbnails=thumbnails)


def heavy_models(sound: bytes) -> Iterator[tuple[str, bytes]]:
    """What is wrong with them, and model files whose headers alone are megabytes."""
    header, tensors = split(sound)
    many = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}
    yield "100,000 tensors too many", joined({**header, **many}, tensors)
    text = json.dumps(header).encode()
    yield "a header of over 32 MB", joined(text.ljust(MAX_HEADER + 1), tensors)
    about = {**header["__metadata__"], "width": "10"}
    yield "a width that would take 700 MB", joined({**header, "__metadata__": about}, tensors)
    for number in (4_000_000, 10_000_000):
        about = {**header["__metadata__"], "style_names": json.dumps(["x"] * number)}
        yield f"{number} names", joined({**header, "__metadata__": about}, tensors)


def hostile_packs(sound: bytes) -> Iterator[tuple[str, bytes]]:
    """What is wrong with them, and style packs that lie."""
    header, tensors = split(sound)
    about = header["__metadata__"]

    def saying(**changes: Any) -> bytes:
        return joined({**header, "__metadata__": {**about, **changes}}, tensors)

    for what, bad in NAMES.items():
        if bad != "\udcff":  # in JSON it can't be written so
            yield f"a pack's name that {what}", saying(style_name=bad)
    for width in ("1e9", "NaN", "Infinity", "-1", "0", "true", '"0.125"', "1"):
        yield f"a pack's width {width}", saying(width=width)
    for training in ("[]", "[[1, 2]]", "[" * 100_000):
        yield f"a pack's training {training[:9]}", saying(training=training)
    yield (
        "a pack's thumbnail of 60,000 x 60,000 pixels",
        saying(thumbnail=base64.b64encode(jpeg(60_000, 60_000)).decode()),
    )
    yield "a pack's fingerprint", saying(fingerprint="\x1b[2J" * 16)
    rows = header["rows"]
    for what, changed in {
        "a pack of 10^12 numbers": {"shape": [10**12]},
        "a pack of float64": {"dtype": "F64", "shape": [len(tensors) // 8]},
        "a pack of two dimensions": {"shape": [1, *rows["shape"]]},
    }.items():
        yield what, joined({**header, "rows": {**rows, **changed}}, tensors)
    yield "a pack's NaN", joined(header, np.float32(math.nan).tobytes() + tensors[4:])


def changed_at_random(sound: bytes, rng: random.Random) -> bytes:
    """The file with some bytes of its header changed, left out, or doubled."""
    length = int.from_bytes(sound[:8], "little")
    header = bytearray(sound[8 : 8 + length])
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(header))
        what = rng.randrange(4)
        if what == 0:
            header[place] = rng.randrange(256)
        elif what == 1:
            header[place] = rng.choice(b'0123456789-.eE"[]{},:\\')
        elif what == 2:
            del header[place : place + rng.randint(1, 9)]
        else:
            header[place:place] = header[place : place + rng.randint(1, 40)]
    right = rng.random() < 0.9
    return joined(bytes(header), sound[8 + length :], None if right else rng.getrandbits(64))


def try_headers(ground: Path, tally: Tally, count: int, rng: random.Random) -> Iterator[str]:
    model = (ground / "sound/model.safetensors").read_bytes()
    pack = (ground / "sound/pack.safetensors").read_bytes()

    def corpus() -> Iterator[tuple[str, bytes, bool]]:
        for what, data in chain(hostile_models(model), heavy_models(model)):
            yield what, data, False
        for what, data in hostile_packs(pack):
            yield what, data, True
        for number in range(count):
            sound = rng.choice((model, pack))
            what = f"random change {number} of a {'pack' if sound is pack else 'model'}"
            yield what, changed_at_random(sound, rng), sound is pack

    for what, data, is_pack in corpus():
        with tempfile.TemporaryDirectory(dir=ground) as scratch:
            folder = Path(scratch) / "a" / "b"
            shutil.copytree(ground / "sound", folder)
            name = "pack.safetensors" if is_pack else "model.safetensors"
            (folder / name).write_bytes(data)
            before = contents(Path(scratch))
            for command, arguments in (
                [("styles", ["merge", "model.safetensors", name, "--output", "new.safetensors"])]
                if is_pack
                else [
                    ("styles", ["extract", name, "all", "--output", "out"]),
                    ("stylize", ["photos/a.png", f"--model={name}", "--style=all", "--output=out"]),
                ]
            ):
                outcome = attempt(command, arguments, folder)
                wrong = fault(command, outcome)
                strayed = [
                    path
                    for path in contents(Path(scratch)) - before
                    if path.relative_to(folder).parts[0] not in ("out", "new.safetensors")
                ]
                if strayed:
                    wrong = f"wrote {strayed[0].relative_to(scratch)}"
                elif outcome.status == 0 and "random" not in what:
                    wrong = wrong or "it is not refused"
                did = "painted" if outcome.status == 0 else "refused"
                yield record(tally, f"{command}: {what}", wrong, did, outcome)
