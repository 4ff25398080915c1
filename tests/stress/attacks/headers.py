"""Model files and style packs whose headers lie, or are changed at random.

The plain faults, with their messages, are in tests/test_model_file.py and tests/test_style_pack.py.
Here are those that somebody made to do harm.
"""

import base64
import io
import json
import math
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attacks.commands import Outcome, Tally, attempt, fault, peak_megabytes, record
from polystyle.files.safetensors_file import MAX_HEADER
from polystyle.files.terminal_text import GARBLING
from polystyle.networks.model_file import load_model
from polystyle.networks.style_pack import load_style_pack
from polystyle.style_names import check_style_name

# The text of a header, of 32 MB at the most, becomes somewhat more in memory.
MOST_MEGABYTES = 300
MAX_MESSAGE = 1200  # characters, beside the file's path


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """A safetensors file: its header, and its tensors."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: dict[str, Any] | bytes, tensors: bytes, length: int | None = None) -> bytes:
    """A safetensors file, whose header may be said to have another length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + tensors


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


def hostile_models(sound: bytes) -> Iterator[tuple[str, bytes]]:
    """Model files that lie, each after what is wrong with it.

    Args:
        sound: a model file of the styles x, y and photo.
    """
    header, tensors = split(sound)
    about = header["__metadata__"]
    name, other = "paint.norm.gamma", "paint.norm.beta"
    first = min(
        (tensor for tensor in header if tensor != "__metadata__"),
        key=lambda tensor: header[tensor]["data_offsets"],
    )
    begin, end = header[name]["data_offsets"]

    def declaring(tensor: str = name, **changes: Any) -> bytes:
        return joined({**header, tensor: {**header[tensor], **changes}}, tensors)

    def saying(**changes: Any) -> bytes:
        return joined({**header, "__metadata__": {**about, **changes}}, tensors)

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
    for dtype in ("BF16", "F64", "I32", "I64", "U8", "BOOL", "F8_E4M3", "C64", "x"):
        yield f"{dtype}", declaring(dtype=dtype)
        size = {"BF16": 2, "F64": 8, "I64": 8, "C64": 8, "I32": 4}.get(dtype, 1)
        moved, place = {}, 0
        for tensor in sorted(header.keys() - {"__metadata__"}, key=str):
            shape = header[tensor]["shape"]
            length = math.prod(shape) * (size if tensor == name else 4)
            moved[tensor] = {
                "dtype": dtype if tensor == name else "F32",
                "shape": shape,
                "data_offsets": [place, place + length],
            }
            place += length
        yield (
            f"{dtype}, as many bytes as that takes",
            joined({**moved, "__metadata__": about}, bytes(place)),
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

    for width in ("1e9", "1e300", "Infinity", "0", "true", "null", '"0.125"', "[0.125]"):
        yield f"width {width}", saying(network=network(width))
    yield "width 10^5000", saying(network=network("1" + "0" * 5000))
    yield "width 100,000 lists deep", saying(network=network("[" * 100_000))
    for version in ("9" * 5000, "\u0661", "1\x1b[2J"):
        yield f"format version {version[:9]!r}", saying(format_version=version)
    yield "one name twice", saying(style_names='["x", "y", "x"]')
    for style_name in ("../../x", "\x1b[2J", "x" * 1_000_000):
        names = json.dumps(["x", "y", style_name])
        yield f"the style name {style_name[:9]!r}", saying(style_names=names)
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
    """Model files whose headers alone are megabytes, each after what is wrong with it."""
    header, tensors = split(sound)
    many = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}
    yield "100,000 tensors too many", joined({**header, **many}, tensors)
    text = json.dumps(header).encode()
    yield "a header of over 32 MB", joined(text.ljust(MAX_HEADER + 1), tensors)
    about = {**header["__metadata__"], "network": network("10")}
    yield "a width that would take 700 MB", joined({**header, "__metadata__": about}, tensors)
    for number in (4_000_000, 10_000_000):
        about = {**header["__metadata__"], "style_names": json.dumps(["x"] * number)}
        yield f"{number} names", joined({**header, "__metadata__": about}, tensors)


def network(width: str) -> str:
    """What a header says of a network of that width, in JSON."""
    return f'{{"kind": "TransformerNet", "arguments": {{"width": {width}}}}}'


def hostile_packs(sound: bytes) -> Iterator[tuple[str, bytes]]:
    """Style packs that lie, each after what is wrong with it."""
    header, tensors = split(sound)
    about = header["__metadata__"]

    def saying(**changes: Any) -> bytes:
        return joined({**header, "__metadata__": {**about, **changes}}, tensors)

    yield "a pack's name of 1 MB", saying(style_name="x" * 1_000_000)
    for width in ("1e9", "NaN", "[[", ""):
        yield f"a pack's width {width}", saying(network=network(width))
    yield (
        "a pack's thumbnail of 60,000 x 60,000 pixels",
        saying(thumbnail=base64.b64encode(jpeg(60_000, 60_000)).decode()),
    )
    rows = {**header["rows"], "shape": [10**12]}
    yield "a pack of 10^12 numbers", joined({**header, "rows": rows}, tensors)


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


def fault_of_refusal(path: Path, error: ValueError) -> str | None:
    """What is wrong with the message of a refusal; None if it is a line that names the file."""
    message = str(error)
    if not message.startswith(str(path)):
        return f"does not begin with the file's path: {message!r}"
    if GARBLING.search(message):
        return f"garbles the terminal: {message!r}"
    if len(message) > len(str(path)) + MAX_MESSAGE:
        return f"a message of {len(message)} characters"
    return None


def fault_of_names(names: list[str]) -> str | None:
    """What is wrong with the style names of a file that loaded, if anything."""
    try:
        for name in names:
            check_style_name(name)
    except ValueError as error:
        return f"loaded, although {error}"
    return None


def try_file(path: Path, data: bytes, must_refuse: bool) -> tuple[str | None, str]:
    """Load a model file or a style pack: the fault, if there is one, and what loading did.

    What each command does with a file that is refused, `attacks.pickles` tries.
    """
    path.write_bytes(data)
    try:
        is_pack = path.stem == "pack"
        names = [load_style_pack(path).style_name] if is_pack else load_model(path).style_names
    except ValueError as error:
        return fault_of_refusal(path, error), "refused"
    except Exception as error:  # the attack goes on with the next file
        return repr(error), "refused"
    if must_refuse:
        return "it is not refused", "loaded"
    return fault_of_names(names), "loaded"


def try_headers(ground: Path, tally: Tally, count: int, rng: random.Random) -> Iterator[str]:
    """Load every file that lies, and `count` that are changed at random."""
    model = (ground / "sound/model.safetensors").read_bytes()
    pack = (ground / "sound/pack.safetensors").read_bytes()
    with tempfile.TemporaryDirectory(dir=ground) as scratch:
        model_path = Path(scratch) / "model.safetensors"
        pack_path = Path(scratch) / "pack.safetensors"
        # Sound files load: else every lie would be refused.
        files = [(model_path, "sound", model, False), (pack_path, "sound", pack, False)]
        files += [(model_path, what, data, True) for what, data in hostile_models(model)]
        files += [(pack_path, what, data, True) for what, data in hostile_packs(pack)]
        for number in range(count):
            path, sound = rng.choice(((model_path, model), (pack_path, pack)))
            data = changed_at_random(sound, rng)
            files.append((path, f"random change {number}", data, False))
        for path, what, data, must_refuse in files:
            before = peak_megabytes()
            wrong, did = try_file(path, data, must_refuse)
            if what == "sound" and did == "refused":
                wrong = "a sound file is refused"
            grown = peak_megabytes() - before
            if grown > MOST_MEGABYTES:
                wrong = wrong or f"{grown:.0f} MB"
            yield record(tally, f"{path.stem}: {what}", wrong, did, Outcome(0, "", "", grown))
        for what, data in heavy_models(model):
            model_path.write_bytes(data)
            # In a process of its own, of which the memory can be measured.
            outcome = attempt("styles", ["list", model_path.name], model_path.parent)
            wrong = fault("styles", outcome)
            if outcome.status == 0:
                wrong = "it is not refused"
            elif outcome.megabytes > MOST_MEGABYTES:
                wrong = wrong or f"{outcome.megabytes:.0f} MB"
            yield record(tally, f"model: {what}", wrong, "refused", outcome)
