"""Pickles that would make a folder, in every place that a command loads a file from."""

import io
import os
import pickle
import random
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch

from attacks.commands import Tally, attempt, fault, record
from attacks.ground import train_arguments
from polystyle.losses.vgg_weights import CHECKPOINT_NAME


class Mark:
    """An object whose unpickling makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.makedirs, (str(self.path), 0o777, True)


def pickles(mark: Path) -> dict[str, bytes]:
    """Files whose unpickling makes the folder `mark`, by file format."""
    bare = pickle.dumps(Mark(mark))
    flavours = {
        "pickle": bare,
        "old pickle": pickle.dumps(Mark(mark), protocol=0),
        "pickle in a list": pickle.dumps([torch.zeros(2), {"state_dict": Mark(mark)}]),
    }
    for name, zipped in (("torch's zip", True), ("torch's old format", False)):
        file = io.BytesIO()
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
    """Check that unpickling a file without care does make its folder."""
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
    "stylize": ("m.safetensors", "stylize", ["photos", "--model=m.safetensors", "--style=x"]),
    "stylize, named .pth": ("m.pth", "stylize", ["photos", "--model=m.pth", "--style=x"]),
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
        flavours.append(flavours.pop(0))  # a small count tries other formats in each place
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
