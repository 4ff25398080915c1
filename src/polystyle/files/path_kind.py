"""What a path is, told from its content, for messages about a path of another kind than expected.
Imports no torch.

A file of the wrong kind is not damaged. Its reader knows only that it can't read it; here is what
it is instead, and what to do.
"""

import json
import os
import stat
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from polystyle.files.path_text import shell_path
from polystyle.files.terminal_text import sanitized

# The file of a run's folder that holds its network, and the index of a prepared set.
MODEL_NAME = "model.safetensors"
PREPARED_INDEX = "prepared.json"

# The least and the most that is read of a file to know it.
HEAD_BYTES = 1024
PICKLE_BYTES = 2**20
JSON_BYTES = 32_000_000

# Entries of a folder that are looked at.
MOST_ENTRIES = 1000


class Kind(Enum):
    """What a path is. The value is its description, after "is"."""

    MISSING = "missing"
    OTHER = "a file of an unknown kind"  # also what can't be opened: its reader says why
    DEVICE = "a pipe or a device"
    EMPTY = "an empty file"
    MODEL = "a network"
    PACK = "a style pack"
    SAFETENSORS = "a safetensors file of another program"
    CHECKPOINT = "a checkpoint of a run"
    OTHER_CHECKPOINT = "a checkpoint of another program"
    WEIGHTS = "a file of PyTorch weights"
    ONNX = "an ONNX file"
    PICTURE = "a picture"
    VIDEO = "a video"
    ARCHIVE = "an archive"
    LFS = "a Git LFS pointer, which stands for a file"
    WEB_PAGE = "a web page"
    PROGRAM = "a PostScript or PDF document"
    INDEX = "the index of a prepared set"
    SHARD = "a part of a prepared set"
    CONFIGURATION = "a configuration"
    TEXT = "a text file"
    RUN = "the folder of a run"
    UNFINISHED_RUN = "the folder of a run that has written no network yet"
    CHECKPOINTS = "the folder of a run's checkpoints"
    RUN_CONFIGURATION = "the folder of a run's configuration"
    RUNS = "a folder of runs"
    PREPARED = "a prepared set of photos"
    PACKS = "a folder of safetensors files"
    PICTURES = "a folder of pictures"
    EMPTY_FOLDER = "an empty folder"
    FOLDER = "a folder"


# The first bytes of files, and where they stand.
SIGNATURES: list[tuple[int, bytes, Kind]] = [
    (0, b"\x1aE\xdf\xa3", Kind.VIDEO),  # Matroska and WebM
    (8, b"AVI ", Kind.VIDEO),
    (0, b"\x00\x00\x01\xba", Kind.VIDEO),  # MPEG program stream
    (0, b"\x00\x00\x01\xb3", Kind.VIDEO),  # MPEG-1 and MPEG-2
    (0, b"FLV\x01", Kind.VIDEO),
    (0, b"0&\xb2u\x8ef\xcf\x11", Kind.VIDEO),  # WMV
    (0, b"OggS", Kind.VIDEO),
    (4, b"moov", Kind.VIDEO),
    (4, b"mdat", Kind.VIDEO),
    (0, b"\xff\x0a", Kind.PICTURE),  # JPEG XL
    (4, b"JXL ", Kind.PICTURE),
    (257, b"ustar", Kind.ARCHIVE),
    (0, b"\x1f\x8b", Kind.ARCHIVE),
    (0, b"7z\xbc\xaf'\x1c", Kind.ARCHIVE),
    (0, b"Rar!", Kind.ARCHIVE),
    (0, b"\xfd7zXZ", Kind.ARCHIVE),
    (0, b"BZh", Kind.ARCHIVE),
    (0, b"(\xb5/\xfd", Kind.ARCHIVE),
    (0, b"%PDF", Kind.PROGRAM),
    (0, b"%!PS", Kind.PROGRAM),
    (0, b"\xc5\xd0\xd3\xc6", Kind.PROGRAM),  # EPS with a preview
    (0, b"version https://git-lfs", Kind.LFS),
    # torch.save before torch 1.6: a pickle that begins with a magic number.
    (0, b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", Kind.WEIGHTS),
]
# Brands of ISO media files that are pictures, such as HEIC and AVIF, and no videos.
PICTURE_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif", b"avis")
# Fields that may follow the version in an ONNX file, a message of protobuf: names of the producer
# and the domain, the model's version, a text, the graph, the operators.
ONNX_FIELDS = b"\x12\x1a\x22\x28\x32\x3a\x42"


def kind_of_path(path: Path) -> Kind:
    """What a path is. Never raises: what can't be read is `Kind.OTHER`, or a `Kind.FOLDER`."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return Kind.MISSING
    except (OSError, ValueError):
        return Kind.OTHER
    if stat.S_ISDIR(status.st_mode):
        return kind_of_folder(path)
    if not stat.S_ISREG(status.st_mode):
        return Kind.DEVICE
    if status.st_size == 0:
        return Kind.EMPTY
    try:
        return kind_of_file(path)
    except (OSError, ValueError):
        return Kind.OTHER


def kind_of_folder(folder: Path) -> Kind:
    """What a folder is, by the names of what it holds."""
    try:
        entries = list(islice(folder.iterdir(), MOST_ENTRIES))
    except OSError:
        return Kind.FOLDER
    names = {entry.name for entry in entries}
    suffixes = {entry.suffix.lower() for entry in entries}
    Image.init()
    is_known = {
        Kind.RUN: MODEL_NAME in names,
        Kind.PREPARED: PREPARED_INDEX in names,
        Kind.CHECKPOINTS: ".ckpt" in suffixes,
        Kind.RUN_CONFIGURATION: {"config.yaml", "overrides.yaml"} <= names,
        Kind.UNFINISHED_RUN: "run.json" in names or {"checkpoints", ".hydra"} <= names,
        Kind.RUNS: next(runs_in(folder), None) is not None,
        Kind.PACKS: ".safetensors" in suffixes,
        Kind.PICTURES: bool(suffixes & Image.registered_extensions().keys()),
        Kind.EMPTY_FOLDER: not entries,
        Kind.FOLDER: True,
    }
    return next(kind for kind, fits in is_known.items() if fits)


def runs_in(folder: Path) -> Iterator[Path]:
    """The folders of runs directly in a folder."""
    with suppress(OSError):
        for entry in sorted(islice(folder.iterdir(), MOST_ENTRIES)):
            if (entry / MODEL_NAME).is_file() or (entry / "run.json").is_file():
                yield entry


def kind_of_file(path: Path) -> Kind:
    """What a file is, by its content. Raises OSError if it can't be read."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head[4:8] == b"ftyp":
        return Kind.PICTURE if head[8:12] in PICTURE_BRANDS else Kind.VIDEO
    if head[:1] == b"G" and head[188:189] == b"G" and head[376:377] == b"G":
        return Kind.VIDEO  # MPEG transport stream: packets of 188 bytes
    for offset, signature, kind in SIGNATURES:
        if head.startswith(signature, offset):
            is_shard = kind is Kind.ARCHIVE and (path.parent / PREPARED_INDEX).is_file()
            return Kind.SHARD if is_shard else kind
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= JSON_BYTES:
        return kind_of_safetensors(path)
    if zipfile.is_zipfile(path):
        return kind_of_zip(path)
    if pillow_knows(path):
        return Kind.PICTURE
    if len(head) > 8 and head[0] == 8 and head[1] < 32 and head[2] in ONNX_FIELDS:
        return Kind.ONNX
    return kind_of_text(path, head)


def kind_of_safetensors(path: Path) -> Kind:
    """What a safetensors file is; OTHER if its header is damaged, of which its reader says more."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length)).get("__metadata__") or {}
            form = header.get("format")
        except (ValueError, AttributeError, RecursionError):
            return Kind.OTHER
    return {"polystyle": Kind.MODEL, "polystyle-style": Kind.PACK}.get(form, Kind.SAFETENSORS)


def kind_of_zip(path: Path) -> Kind:
    """What a zip file is. Nothing in it is unpickled: a pickle has the keys of dictionaries as
    plain bytes."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.split("/")[-1] == "data.pkl"]
            if not pickles:
                return Kind.ARCHIVE
            with archive.open(pickles[0]) as file:
                keys = file.read(PICKLE_BYTES)
    except Exception:  # a damaged archive raises a dozen kinds of error: its reader says more
        return Kind.OTHER
    if b"state_dict" not in keys or b"global_step" not in keys:
        return Kind.WEIGHTS
    return Kind.CHECKPOINT if b"style_names" in keys else Kind.OTHER_CHECKPOINT


def pillow_knows(path: Path) -> bool:
    """Whether Pillow knows the format of a file. No pixel is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path):
                return True
    except Image.DecompressionBombError:
        return True
    except (UnidentifiedImageError, OSError):
        return False
    except Exception:  # Pillow meets damaged files with many kinds of error
        return False


def kind_of_text(path: Path, head: bytes) -> Kind:
    """What a file is that none of the binary formats fits."""
    if b"\0" in head:
        return Kind.OTHER
    try:
        text = head[: head.rfind(b"\n") + 1 or None].decode().lstrip().lower()
    except UnicodeDecodeError:
        return Kind.OTHER
    if text.startswith(("<!doctype html", "<html")):
        return Kind.WEB_PAGE
    if path.name == PREPARED_INDEX:
        return Kind.INDEX
    if path.suffix.lower() in (".yaml", ".yml") or path.name == "run.json":
        return Kind.CONFIGURATION
    return Kind.TEXT


# ---- Messages -------------------------------------------------------------------------------

DOWNLOAD_AGAIN = "copy or download it again"

# What to do with a path of a kind that fits nowhere.
GENERAL_REMEDIES = {
    Kind.EMPTY: DOWNLOAD_AGAIN,
    Kind.LFS: "git lfs pull fetches that file",
    Kind.WEB_PAGE: "a browser saved the page that links to the file: download the file itself",
}


@dataclass(frozen=True)
class Expectation:
    """What a path is expected to be.

    A remedy names a path in ``{path}``, quoted for the shell. That is enough for polystyle-train,
    too, which quotes the paths that it is given for Hydra.

    Attributes:
        noun: its description.
        fitting: kinds that may be it, or a damaged file of it: its reader finds out.
        remedy: what to do with a path of any other kind.
        remedies: what to do with a path of a certain kind. "{path}" stands for the path, "{parent}"
            for its folder, "{run}" and "{example}" for ", FOLDER" of the run that it belongs to,
            and of a run in it, if there is one.
    """

    noun: str
    fitting: frozenset[Kind]
    remedy: str
    remedies: dict[Kind, str] = field(default_factory=dict)


PARTS_OF_RUN = {
    Kind.CHECKPOINT: f"name the folder of its run{{run}}, or the {MODEL_NAME} there",
    Kind.CHECKPOINTS: "name the folder of the run{run}",
    Kind.RUN_CONFIGURATION: "name the folder of the run{run}",
    Kind.CONFIGURATION: "name the folder of a run{run}",
    Kind.RUNS: "name one of them{example}",
    Kind.ONNX: f"name the {MODEL_NAME} that it was exported from",
}
RESUME = "ckpt_path=last hydra.run.dir={path} goes on with this run"
FOLDERS = frozenset({Kind.FOLDER, Kind.EMPTY_FOLDER})

NETWORK = Expectation(
    "a network",
    frozenset({Kind.MODEL, Kind.RUN, Kind.OTHER, Kind.MISSING}) | FOLDERS,
    f"name the folder of a run, or the {MODEL_NAME} in it",
    {
        **PARTS_OF_RUN,
        Kind.PACK: "polystyle-styles merge MODEL {path} --output NEW.safetensors adds it to its "
        "network",
        Kind.UNFINISHED_RUN: f"polystyle-train with {RESUME}",
    },
)
STYLE_PACK = Expectation(
    "a style pack",
    frozenset({Kind.PACK, Kind.OTHER, Kind.MISSING}),
    "polystyle-styles extract makes style packs of a network",
    {
        Kind.MODEL: "polystyle-styles extract makes packs of it",
        Kind.RUN: "polystyle-styles extract makes packs of its network",
        Kind.PACKS: "name the files in it: {path}/*.safetensors",
    },
)
NETWORK_OR_PACK = Expectation(
    "a network or a style pack",
    NETWORK.fitting | STYLE_PACK.fitting,
    f"name the folder of a run, the {MODEL_NAME} in it, or a style pack",
    {**PARTS_OF_RUN, Kind.PACKS: "name one of the files in it"},
)
CHECKPOINT = Expectation(
    "a checkpoint",
    frozenset({Kind.CHECKPOINT, Kind.OTHER, Kind.MISSING}),
    "the checkpoints of a run are in its folder, in checkpoints/",
    {
        Kind.RUN: RESUME,
        Kind.UNFINISHED_RUN: RESUME,
        Kind.RUNS: "name a checkpoint of one of them{example}",
        Kind.CHECKPOINTS: "name one of the files in it, such as {path}/last.ckpt",
        Kind.MODEL: "init={path} in place of ckpt_path begins a new run from it; to go on with its "
        "own run, ckpt_path=last and hydra.run.dir=RUN",
    },
)
PICTURE_FOLDER = Expectation(
    "a folder of pictures",
    frozenset({Kind.PICTURES, Kind.MISSING}) | FOLDERS,
    "name a folder that holds pictures",
    {
        Kind.PICTURE: "name the folder that holds it, {parent}",
        Kind.INDEX: "name the prepared set, {parent}",
        Kind.SHARD: "name the prepared set, {parent}",
        Kind.ARCHIVE: "unpack it, and name the folder",
        Kind.PREPARED: "only photos to train on can be prepared, so name the pictures themselves",
    },
)
PICTURE = Expectation(
    "a picture",
    frozenset({Kind.PICTURE, Kind.VIDEO, Kind.OTHER, Kind.MISSING}),
    "name a file that holds a picture",
    {
        Kind.MODEL: "name it with --model {path}",
        Kind.RUN: "name it with --model {path}",
        Kind.PACK: "polystyle-styles merge adds it to its network",
        Kind.CHECKPOINT: "--model takes the folder of its run{run}",
        Kind.ONNX: f"--model takes the {MODEL_NAME} that it was exported from",
        Kind.ARCHIVE: "unpack it, and name the folder",
        Kind.PREPARED: "name the photos that it was made of",
        Kind.SHARD: "name the photos that it was made of",
        Kind.INDEX: "name the photos that it was made of",
    },
)
VGG_WEIGHTS = Expectation(
    "a file of VGG-16's weights",
    frozenset({Kind.WEIGHTS, Kind.SAFETENSORS, Kind.OTHER, Kind.MISSING}),
    "leave out loss.vgg.weights, and polystyle finds or fetches the file",
)


def check_kind(path: Path, expected: Expectation) -> None:
    """Raises ValueError for a path of another kind than is expected: says what it is and what to
    do. A path whose kind can't be told is left to its reader."""
    kind = kind_of_path(path)
    if kind not in expected.fitting:
        raise ValueError(mistake(path, kind, expected))


def mistake(path: Path, kind: Kind, expected: Expectation) -> str:
    """What a path is in place of what is expected, and what to do, in one sentence."""
    return sanitized(f"{path} is {kind.value}, not {expected.noun}: {remedy(path, kind, expected)}")


def remedy(path: Path, kind: Kind, expected: Expectation) -> str:
    """What to do with a path of a kind that is not expected."""
    text = expected.remedies.get(kind) or GENERAL_REMEDIES.get(kind) or expected.remedy
    run, example = run_of(path), next(runs_in(path), None)
    return text.format(
        path=shell_path(path),
        parent=path.parent,
        run=f", {run}" if run else "",
        example=f", such as {example}" if example else "",
    )


def run_of(path: Path) -> Path | None:
    """The folder of the run that a file or folder belongs to, if that run has written its
    network."""
    for folder in list(path.absolute().parents)[:2]:
        if (folder / MODEL_NAME).is_file():
            return folder if path.is_absolute() else Path(os.path.relpath(folder))
    return None
