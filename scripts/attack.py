"""Give polystyle hostile files and odd values, and see that it refuses each in one line, or paints.

    python scripts/attack.py --count 300

Six kinds, of which --only picks some:

pickles  a pickle that would leave a mark, in every place that a command loads a file from, in up
         to --count flavours
grams    the same as the Gram matrices that training keeps in torch's cache
headers  model files and style packs whose headers lie, and --count that are changed at random
flags    --count command lines of polystyle-stylize
painter  --count calls of polystyle.load's painter from Python
config   --count values of polystyle-train's configuration, of a wrong kind or size

Every command is the real one's main(), in a process of its own. It must end with status 0, or with
one line and status 1 (2 for what argparse refuses); leave no mark, print nothing that a terminal
would obey, write nothing outside of its own folder, and stay under the stated memory. A painter
paints finite numbers, or raises a ValueError. The table at the end counts; the exit status is 1 if
anything got through. Takes about a minute for --count 50. Linux and macOS.
"""

import argparse
import base64
import io
import json
import math
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import tarfile
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from polystyle.model_file import Model, load_model, save_model
from polystyle.painter import Painter
from polystyle.printable import GARBLING
from polystyle.safetensors_file import MAX_HEADER
from polystyle.style_pack import extract_style, save_style_pack
from polystyle.transformer_net import TransformerNet
from polystyle.vgg import CHECKPOINT_NAME, random_weights

SECONDS = 120  # for any attempt
MEGABYTES = 1000  # over what a process has that imported everything and did nothing
ADDRESSES = 2**34  # bytes: what fills the memory must not fill the machine's


@dataclass
class Outcome:
    """What has become of a command.

    Attributes:
        status: its exit status; negative is the signal that ended it.
        output, errors: what it printed.
        megabytes: its peak of memory, over that of a process which does nothing.
    """

    status: int
    output: str
    errors: str
    megabytes: float


@dataclass
class Tally:
    """What was tried of one kind."""

    outcomes: Counter = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    megabytes: float = 0.0


# ---- Commands -------------------------------------------------------------------------------


def attempt(command: str, arguments: Sequence[str], folder: Path, **environment: str) -> Outcome:
    """Run ``polystyle-<command>`` in a fork, which saves it the seconds that imports take."""
    main = import_module(f"polystyle.{command}").main
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if not child:
            os.chdir(folder)
            os.environ.update(environment)
            os.dup2(output.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            # As Python begins with, whatever a test runner has made of them.
            sys.stdout = os.fdopen(1, "w")
            sys.stderr = os.fdopen(2, "w", errors="backslashreplace")
            warnings.resetwarnings()
            warnings.simplefilter("ignore")
            signal.alarm(SECONDS)
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
            sys.argv = [f"polystyle-{command}", *arguments]
            os._exit(status_of(main))
        _, status, usage = os.wait4(child, 0)
        output.seek(0)
        errors.seek(0)
        return Outcome(
            os.waitstatus_to_exitcode(status),
            output.read().decode(errors="replace"),
            errors.read().decode(errors="replace"),
            megabytes(usage) - idle_megabytes(),
        )


def megabytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def idle_megabytes() -> float:
    """What a fork begins with."""
    child = os.fork()
    if not child:
        os._exit(0)
    return megabytes(os.wait4(child, 0)[2])


def status_of(main: Callable[[], None]) -> int:
    """The exit status that Python would end with."""
    status = 0
    try:
        main()
    except SystemExit as leaving:
        status = leaving.code or 0
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 99
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def fault(command: str, outcome: Outcome) -> str | None:
    """What is wrong with how a command ended; None if it did well, or was refused in one line."""
    lines = [line for line in outcome.errors.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith(f"polystyle-{command}: ")]
    last = lines[-1] if lines else ""
    if outcome.status not in (0, 1, 2):
        return f"status {outcome.status}: {last}"
    if "Traceback" in outcome.errors or "(unexpected: " in outcome.errors:
        return f"unexpected: {last}"
    if outcome.status == 1 and ours != [last]:
        return f"status 1 and not one line: {last}"
    if outcome.status == 2 and not last.startswith(f"polystyle-{command}: error: "):
        return f"status 2 and no word of argparse: {last}"
    # Progress bars return to the beginning of their line, and go up one.
    printed = (outcome.output + outcome.errors).replace("\x1b[A", "").replace("\r", "\n")
    for line in printed.split("\n"):
        if GARBLING.search(line):
            return f"garbles the terminal: {line!r}"
    if outcome.megabytes > MEGABYTES:
        return f"{outcome.megabytes:.0f} MB"
    return None


def contents(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def import_all() -> None:
    """What the commands import, so that forks find it there."""
    for module in ("stylize", "styles", "evaluate", "export", "train", "data", "module"):
        import_module(f"polystyle.{module}")
    for module in ("callbacks", "losses", "preflight", "checkpoints"):
        import_module(f"polystyle.{module}")
    import_module("lightning.pytorch.loggers")
    import_module("torch.utils.tensorboard")


# ---- What is attacked -----------------------------------------------------------------------


def make_ground(folder: Path) -> None:
    """Photos, paintings, a network of three styles and one of its style packs."""
    rng = np.random.default_rng(0)
    for path in ("photos/a.png", "photos/b.png", "photos/c.png", "paintings/x.png", "wide.png"):
        size = (5, 90, 3) if path == "wide.png" else (36, 48, 3)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(folder / path)
    (folder / "no picture.png").write_text("no picture")
    (folder / "odd").mkdir()
    for name in ("\x1b[2J.png", "a\nb.png", "\udcff.png", f"{'x' * 240}.png"):
        with suppress(OSError):  # where the disk takes no such name
            shutil.copy(folder / "wide.png", folder / "odd" / name)
    model = make_model(["x", "y", "photo"])
    save_model(folder / "model.safetensors", model)
    save_style_pack(folder / "pack.safetensors", extract_style(model, "y"))


def make_model(names: list[str]) -> Model:
    torch.manual_seed(0)
    net = TransformerNet(len(names), width=0.125).eval()
    for row in net.style_rows().values():
        torch.nn.init.normal_(row)
    picture = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(picture, "JPEG")
    thumbnails = {name: picture.getvalue() for name in names if name != "photo"}
    return Model(net, names, {"step": 7, "image_size": 32, "style_size": 32}, thumbnails)


def train_arguments(*overrides: str) -> list[str]:
    """polystyle-train on that ground: one small step, of which nothing is kept."""
    return [
        *("data.content_dir=photos", "data.style_dir=paintings", "data.num_workers=0"),
        *("data.image_size=32", "data.style_size=32", "data.batch_size=2"),
        *("data.num_val_photos=1", "model.width=0.125", "model.compile=false"),
        *("loss.vgg.weights=random", "trainer.accelerator=cpu", "trainer.max_steps=1"),
        *("trainer.fast_dev_run=true", "hydra.run.dir=run", *overrides),
    ]


# ---- Pickles --------------------------------------------------------------------------------


class Mark:
    """Whoever unpickles it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.makedirs, (str(self.path), 0o777, True)


def pickles(mark: Path) -> dict[str, bytes]:
    """Files that make the folder `mark` if somebody unpickles what they hold, by flavour."""
    bare = pickle.dumps(Mark(mark))
    flavours = {
        "pickle": bare,
        "old pickle": pickle.dumps(Mark(mark), protocol=0),
        "pickle in a list": pickle.dumps([torch.zeros(2), {"state_dict": Mark(mark)}]),
    }
    for name, options in (("torch's zip", {}), ("torch's old format", {"_use_new": False})):
        file = io.BytesIO()
        zipped = options.get("_use_new", True)
        values = {"state_dict": {"0.weight": torch.zeros(2)}, "global_step": Mark(mark)}
        torch.save(values, file, _use_new_zipfile_serialization=zipped)
        flavours[name] = file.getvalue()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bare)
        archive.writestr("archive/constants.pkl", bare)
        archive.writestr("archive/version", "3\n")
    flavours["TorchScript's zip"] = file.getvalue()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("sys_info", "storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            member.size = len(bare)
            archive.addfile(member, io.BytesIO(bare))
    flavours["torch's oldest format, a tar"] = file.getvalue()
    return flavours


def check_armed(flavour: str, data: bytes, mark: Path) -> None:
    """See that a file does leave its mark, if it is unpickled without care."""
    mark.parent.mkdir(exist_ok=True)
    pickled = data
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            [name] = [name for name in archive.namelist() if name.endswith("data.pkl")]
            pickled = archive.read(name)
    elif flavour.endswith("tar"):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            pickled = archive.extractfile("pickle").read()
    if flavour.startswith("torch's") and not flavour.endswith("tar"):
        torch.load(io.BytesIO(data), weights_only=False)
    else:
        pickle.loads(pickled)
    if not mark.is_dir():
        raise SystemExit(f"the file of the flavour {flavour!r} leaves no mark: it proves nothing")
    mark.rmdir()


# Where a file is put, and the command that loads it.
PLACES = {
    "stylize": ("m.safetensors", "stylize", ["m.safetensors", "photos", "--style", "x"]),
    "stylize, named .pth": ("m.pth", "stylize", ["m.pth", "photos", "--style", "x"]),
    "styles list": ("m.safetensors", "styles", ["list", "m.safetensors"]),
    "styles extract": (
        *("m.safetensors", "styles"),
        ["extract", "m.safetensors", "all", "--output", "packs"],
    ),
    "styles merge, network": (
        *("m.safetensors", "styles"),
        ["merge", "m.safetensors", "pack.safetensors", "--output", "new.safetensors"],
    ),
    "styles merge, pack": (
        *("p.safetensors", "styles"),
        ["merge", "model.safetensors", "p.safetensors", "--output", "new.safetensors"],
    ),
    "styles remove": (
        *("m.safetensors", "styles"),
        ["remove", "m.safetensors", "x", "--output", "new.safetensors"],
    ),
    "styles rename": (
        *("m.safetensors", "styles"),
        ["rename", "m.safetensors", "x", "z", "--output", "new.safetensors"],
    ),
    "styles reorder": (
        *("m.safetensors", "styles"),
        ["reorder", "m.safetensors", "x", "--output", "new.safetensors"],
    ),
    "evaluate": (
        *("m.safetensors", "evaluate"),
        ["m.safetensors", "--content-dir", "photos", "--style-dir", "paintings"],
    ),
    "evaluate, second network": (
        "m.safetensors",
        "evaluate",
        ["model.safetensors", "m.safetensors"],
    ),
    "export": ("m.safetensors", "export", ["m.safetensors"]),
    "train model_file": ("m.safetensors", "train", train_arguments("model_file=m.safetensors")),
    "train ckpt_path": ("evil.ckpt", "train", train_arguments("ckpt_path=evil.ckpt")),
    "train ckpt_path=last": (
        *("run/checkpoints/last.ckpt", "train"),
        train_arguments("ckpt_path=last"),
    ),
    "train weights .pth": ("vgg.pth", "train", train_arguments("loss.vgg.weights=vgg.pth")),
    "train weights .pt": ("vgg.pt", "train", train_arguments("loss.vgg.weights=vgg.pt")),
    "train weights .safetensors": (
        *("vgg.safetensors", "train"),
        train_arguments("loss.vgg.weights=vgg.safetensors"),
    ),
    "VGG-16 in torch's cache": (
        *(f"torch/hub/checkpoints/{CHECKPOINT_NAME}", "train"),
        train_arguments("loss.vgg.weights=null"),
    ),
    "VGG-16 downloaded by torchvision": (
        *("torch/hub/checkpoints/vgg16_features-amdegroot-88682ab5.pth", "train"),
        train_arguments("loss.vgg.weights=null"),
    ),
}


def try_pickles(ground: Path, tally: Tally, count: int, rng: random.Random) -> Iterator[str]:
    mark = ground / "marks" / "mark"
    flavours = list(pickles(mark).items())
    for flavour, data in flavours:
        check_armed(flavour, data, mark)
    for place, (name, command, arguments) in PLACES.items():
        flavours.append(flavours.pop(0))  # few of them are others in each place
        for flavour, data in flavours[:count]:
            with tempfile.TemporaryDirectory(dir=ground) as scratch:
                folder = Path(scratch) / "here"
                shutil.copytree(ground / "sound", folder)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data)
                outcome = attempt(command, arguments, folder, TORCH_HOME=str(folder / "torch"))
                wrong = fault(command, outcome)
                if mark.exists():
                    mark.rmdir()
                    wrong = "the mark is there: its code has run"
                elif outcome.status != 1:
                    wrong = wrong or f"status {outcome.status}: it is not refused"
                yield record(tally, f"{flavour} as {place}", wrong, "refused", outcome)


def try_grams(ground: Path, tally: Tally, count: int, rng: random.Random) -> Iterator[str]:
    """Cached Gram matrices that are pickles: they are passed over, and computed again."""
    mark = ground / "marks" / "mark"
    arguments = train_arguments("loss.vgg.weights=null")
    with tempfile.TemporaryDirectory(dir=ground) as scratch:
        folder = Path(scratch) / "here"
        shutil.copytree(ground / "sound", folder)
        weights = Path(torch.hub.get_dir()) / "checkpoints" / CHECKPOINT_NAME
        if not weights.is_file():
            return  # they are cached for true weights alone
        (folder / "torch/hub/checkpoints").mkdir(parents=True)
        shutil.copy(weights, folder / "torch/hub/checkpoints")
        home = str(folder / "torch")
        attempt("train", arguments, folder, TORCH_HOME=home)
        [cached] = (folder / "torch/hub/polystyle_grams").iterdir()
        sound = cached.read_bytes()
        for flavour, data in list(pickles(mark).items())[:count]:
            check_armed(flavour, data, mark)
            cached.write_bytes(data)
            outcome = attempt("train", arguments, folder, TORCH_HOME=home)
            wrong = fault("train", outcome)
            if mark.exists():
                mark.rmdir()
                wrong = "the mark is there: its code has run"
            elif outcome.status or cached.read_bytes() != sound:
                wrong = wrong or "they were not computed again"
            yield record(tally, f"{flavour} as cached Grams", wrong, "passed over", outcome)


# ---- Headers --------------------------------------------------------------------------------


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
                    ("stylize", [name, "photos/a.png", "--style", "all", "--output", "out"]),
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


# ---- Flags ----------------------------------------------------------------------------------

NUMBERS = (
    *("0", "1", "-1", "0.5", "2", "nan", "inf", "-inf", "1e308", "-1e308", "1e-320", "1e400"),
    *("", " ", "x", "0x10", "1_0", "10" * 30, "\u0663", "true"),
)
STYLES = (
    *("x", "y", "photo", "all", "z", "", ":", "x:", ":1", "x:x:1", "../x", "\x1b[2J", "\u202ex"),
    *(
        "x:nan",
        "x:inf",
        "y:-1",
        "y:0",
        "x:1e308",
        "y:1e308",
        "x:0.3",
        "y:0.7",
        "photo:1",
        "x:1e-320",
    ),
)
MASKS = (
    *("photos/a.png=x", "photos/a.png=", "=x", "=", "x", "rest=y", "rest=", "wide.png=x"),
    *("nowhere.png=x", "no picture.png=x", "photos=x", "photos/b.png=z", "\x1b[2J=x"),
)
PHOTOS = (
    *(
        "photos/a.png",
        "photos",
        "wide.png",
        "no picture.png",
        "nowhere.png",
        "*.png",
        "",
        "\x1b[2J",
    ),
    *("model.safetensors", "photos/*.png", "[", "~", "x.mp4"),
)


def random_flags(rng: random.Random) -> list[str]:
    """A command line of polystyle-stylize, odd in some places."""

    def some(sound: Sequence[str], odd: Sequence[str]) -> str:
        return rng.choice(odd if rng.random() < 0.3 else sound)

    arguments = ["model.safetensors", some(("photos/a.png", "wide.png", "odd"), PHOTOS)]
    what = rng.randrange(6)
    if what < 3:
        sound = rng.choice((["x", "y", "all"], ["x:0.3", "y:0.7", "y:1e-3"]))
        arguments += [f"--style={some(sound, STYLES)}" for _ in range(rng.randint(1, 3))]
    elif what == 3:
        masks = ("photos/a.png=x", "photos/b.png=y")
        arguments += [f"--mask={some(masks, MASKS)}" for _ in range(rng.randint(1, 2))]
        arguments += ["--mask=rest=y"] * rng.randint(0, 1)
    elif what == 4:
        arguments += ["--sweep", some("xy", STYLES), some("xy", STYLES)]
    else:
        corners = [some("xy", STYLES) for _ in range(rng.randint(1, 5))]
        arguments += ["--blend-grid", *corners, "--steps=3"]
    for flag, sound in {
        "strength": ("0", "0.5", "1"),
        "scale": ("1", "0.5", "10", "native"),
        "tile": ("auto", "off", "7", "1000"),
        "steps": ("2", "5"),
        "smoothing": ("0", "0.9"),
        "device": ("cpu", "auto"),
        "precision": ("float32", "bfloat16"),
    }.items():
        if rng.random() < 0.2:
            arguments.append(f"--{flag}={some(sound, NUMBERS)}")
    for flag in ("raw", "keep-colors", "overwrite", "strength-by=pixels"):
        if rng.random() < 0.15:
            arguments.append(f"--{flag}")
    return arguments


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
            did = "painted" if outcome.status == 0 else "refused"
            yield record(tally, f"polystyle-stylize {arguments}", wrong, did, outcome)


# ---- The painter ----------------------------------------------------------------------------


def random_call(rng: random.Random) -> tuple[Any, Any, dict[str, Any]]:
    """Content, style and keywords of a call of the painter, odd in some places."""
    numbers = (0.0, 1.0, 0.5, -1.0, math.nan, math.inf, -math.inf, 1e308, 1e-320, 999.0)
    width, height = (rng.choice((1, 2, 15, 16, 17, rng.randint(1, 90), 400)) for _ in range(2))
    if rng.random() < 0.1:
        width, height = rng.choice(((1, 3000), (3000, 1), (16, 1500)))
    if rng.random() < 0.5:
        mode = rng.choice(("RGB", "RGBA", "L", "LA", "P", "CMYK", "1", "I;16", "F"))
        content = Image.new(mode, (width, height))
    else:
        shape = rng.choice(([3], [1, 3], [2, 3], rng.choice(([], [4], [1], [0, 3], [1, 1, 3]))))
        content = torch.rand(*shape, height, width)
        kind = rng.randrange(8)
        if kind == 0:
            content = (content * 255).to(torch.uint8)
        elif kind == 1:
            content = content.to(rng.choice((torch.float16, torch.float64, torch.bfloat16)))
        elif kind == 2:
            content = content.to(rng.choice((torch.int64, torch.bool, torch.complex64)))
        elif kind == 3 and content.numel():
            content.view(-1)[0] = rng.choice((math.nan, math.inf, -5.0, 1e38))

    def style() -> Any:
        mix = {rng.choice(("x", "y", "photo", "z", "")): rng.choice(numbers) for _ in range(2)}
        odd = (7, None, {}, [], {"x": None}, {"x": "1"}, {1: 1.0}, {"x": torch.tensor(0.5)}, True)
        return rng.choice(("x", "y", "x", {"x": 0.3, "y": 0.7}, mix, rng.choice(odd)))

    options: dict[str, Any] = {}
    if rng.random() < 0.3:
        options["strength"] = rng.choice((0.5, rng.random(), rng.choice(numbers)))
    if rng.random() < 0.3:
        options["scale"] = rng.choice((0.7, 10.0, None, rng.choice(numbers)))
    if rng.random() < 0.2:
        size = (width, height) if rng.random() < 0.7 else (7, 9)
        mode = rng.choice(("L", "RGB", "RGBA", "1", "I;16"))
        options["masks"] = [(Image.new(mode, size, rng.choice((0, 1))), style())]
    for flag in ("by_pixels", "keep_colors", "raw"):
        if rng.random() < 0.3:
            options[flag] = True
    styles = [style() for _ in range(rng.randint(0, 3))]
    return content, rng.choice((style(), style(), styles)), options


def numbers_of(painted: Any) -> torch.Tensor:
    """The pixels of a picture, or of several."""
    if isinstance(painted, list):
        return torch.cat([numbers_of(each).flatten() for each in painted])
    if isinstance(painted, torch.Tensor):
        return painted.float()
    return torch.from_numpy(np.asarray(painted).astype(np.float32))


def try_painter(ground: Path, tally: Tally, count: int, rng: random.Random) -> Iterator[str]:
    painter = Painter(load_model(ground / "sound/model.safetensors"), "cpu")
    for _ in range(count):
        content, style, options = random_call(rng)
        size = list(content.shape) if isinstance(content, torch.Tensor) else content.size
        what = f"painter({size} {getattr(content, 'dtype', '')}, {style}, {options})"
        wrong, did = None, "painted"
        before = megabytes(resource.getrusage(resource.RUSAGE_SELF))
        try:
            if not numbers_of(painter(content, style, **options)).isfinite().all():
                wrong = "painted numbers that are not finite"
        except ValueError as error:
            did = "refused"
            if "\n" in str(error) or GARBLING.search(str(error)):
                wrong = f"not one line: {error!r}"
        except Exception as error:
            wrong = repr(error)
        peak = megabytes(resource.getrusage(resource.RUSAGE_SELF))
        yield record(tally, what, wrong, did, Outcome(0, "", "", peak - before))


# ---- The configuration ----------------------------------------------------------------------

VALUES = (
    *("null", "true", "-1", "0", "1", "2", "0.5", "-0.5", "1e-30", "1e30", "1e400", "nan", "inf"),
    *("1000000000", "10000000000000000000000", "''", "abc", "'a b'", "[]", "[1,2]", "{}", "{a:1}"),
    *("[nan]", "{relu1_2:-1}", "{relu9_9:1}", "{x:nan}", "{x:a}", "../x", "/dev/null", "all"),
    *("'\\u202e'", "64-true", "16-true", "cuda", "-7", "${seed}", "${nothing}", "???"),
)


def keys(config: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys of a configuration; without those that name code to run, which is their job."""
    for name, value in config.items():
        if not name.startswith("_"):
            yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")


def try_config(ground: Path, tally: Tally, count: int, rng: random.Random) -> Iterator[str]:
    import hydra
    from omegaconf import OmegaConf

    with hydra.initialize_config_module("polystyle.configs", version_base="1.3"):
        known = list(keys(OmegaConf.to_container(hydra.compose("train"))))
    # Processes of their own, as many as there are devices.
    known = [key for key in known if key not in ("trainer.devices", "trainer.num_nodes")]
    # Seconds of random numbers, which every fork would draw anew.
    weights = random_weights()
    import_module("polystyle.vgg").random_weights = lambda: {
        name: tensor.clone() for name, tensor in weights.items()
    }
    for _ in range(count):
        override = f"{rng.choice(known)}={rng.choice(VALUES)}"
        with tempfile.TemporaryDirectory(dir=ground) as scratch:
            folder = Path(scratch) / "here"
            shutil.copytree(ground / "sound", folder)
            outcome = attempt("train", train_arguments(override), folder)
            did = "trained" if outcome.status == 0 else "refused"
            yield record(tally, override, fault("train", outcome), did, outcome)


KINDS = {
    "pickles": try_pickles,
    "grams": try_grams,
    "headers": try_headers,
    "flags": try_flags,
    "painter": try_painter,
    "config": try_config,
}


# ---- All of it ------------------------------------------------------------------------------


def record(tally: Tally, what: str, wrong: str | None, did: str, outcome: Outcome) -> str:
    """Count an attempt; what to print of it, if anything."""
    tally.megabytes = max(tally.megabytes, outcome.megabytes)
    tally.outcomes["violations" if wrong else did] += 1
    if wrong:
        tally.violations.append(f"{what[:300]!r}: {wrong[:500]!r}")
        return f"VIOLATION {tally.violations[-1]}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100, help="random attempts of each kind (100)")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--seed", type=int, default=0, help="of what is random (0)")
    args = parser.parse_args()

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    import_all()
    tallies = {}
    with tempfile.TemporaryDirectory() as scratch:
        ground = Path(scratch).resolve()
        make_ground(ground / "sound")
        for kind in args.only:
            tally = tallies[kind] = Tally()
            rng = random.Random(f"{args.seed} {kind}")
            attempts = KINDS[kind](ground, tally, args.count, rng)
            for line in tqdm(attempts, desc=kind, unit="", disable=None, leave=False):
                if line:
                    tqdm.write(line)
    print(f"{'kind':8} {'tried':>6} {'survived':>9} {'violations':>11} {'peak memory':>13}  how")
    for kind, tally in tallies.items():
        tried, bad = tally.outcomes.total(), tally.outcomes.pop("violations", 0)
        how = ", ".join(f"{number} {what}" for what, number in sorted(tally.outcomes.items()))
        print(
            f"{kind:8} {tried:6} {tried - bad:9} {bad:11} {f'+{tally.megabytes:.0f} MB':>13}  {how}"
        )
    sys.exit(any(tally.violations for tally in tallies.values()))


if __name__ == "__main__":
    main()
