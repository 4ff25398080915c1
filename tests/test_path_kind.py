"""What a path is, and what a message says of a path of another kind than expected."""

import io
import json
import shlex
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

from polystyle.data.images import PictureError, load_image
from polystyle.data.picture_folder import list_images
from polystyle.data.prepare_set import prepare_set
from polystyle.files.path_kind import Kind, kind_of_path
from polystyle.losses.vgg_weights import load_weights
from polystyle.networks.model_file import Model, load_model, save_model
from polystyle.networks.style_pack import extract_style, load_style_pack, save_style_pack
from polystyle.networks.transformer_net import TransformerNet
from polystyle.painting.sources import find_sources
from polystyle.training.checkpoints import find_checkpoint
from polystyle.training.command_line import for_hydra


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One path of each kind."""
    root = tmp_path_factory.mktemp("kinds")
    run = root / "outputs" / "monet"
    (run / "checkpoints").mkdir(parents=True)
    model = Model(TransformerNet(2, width=0.125), ["wave", "candy"])
    save_model(run / "model.safetensors", model)
    save_style_pack(root / "packs" / "wave.safetensors", extract_style(model, "wave"))
    checkpoint = {"global_step": 3, "style_names": ["wave"], "state_dict": {}}
    torch.save(checkpoint, run / "checkpoints" / "last.ckpt")
    (run / ".hydra").mkdir()
    for name in ("config.yaml", "overrides.yaml"):
        (run / ".hydra" / name).write_text("seed: 0\n")
    (root / "begun" / "checkpoints").mkdir(parents=True)
    (root / "begun" / ".hydra").mkdir()
    (root / "photos").mkdir()
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8))
    picture.save(root / "photos" / "photo.jpg")
    picture.save(root / "noext", "PNG")
    prepare_set(root / "photos", root / "prepared", 32)
    (root / "empty folder").mkdir()
    (root / "empty.safetensors").touch()
    (root / "notes.txt").write_text("Buy milk.\n")
    (root / "page.ckpt").write_text("<!DOCTYPE html>\n<html>404</html>\n")
    (root / "pointer.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    torch.save({"weight": torch.zeros(2)}, root / "weights.pth")
    torch.save({"weight": torch.zeros(2)}, root / "old.pth", _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(root / "photos.zip", "w") as archive:
        archive.writestr("photo.jpg", b"x")
    with tarfile.open(root / "photos.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("x"), io.BytesIO())
    (root / "net.onnx").write_bytes(b"\x08\x0a\x12\x07pytorch\x1a\x032.6" + bytes(200))
    (root / "clip.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(200))
    (root / "clip").write_bytes(b"\x1aE\xdf\xa3" + bytes(200))
    (root / "noise").write_bytes(rng.bytes(5000))
    header = json.dumps({"w": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
    (root / "other.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return {
        "root": root,
        "run": run,
        "model": run / "model.safetensors",
        "pack": root / "packs" / "wave.safetensors",
        "checkpoint": run / "checkpoints" / "last.ckpt",
        "photo": root / "photos" / "photo.jpg",
    }


KINDS = {
    "outputs": Kind.RUNS,
    "outputs/monet": Kind.RUN,
    "outputs/monet/model.safetensors": Kind.MODEL,
    "outputs/monet/checkpoints": Kind.CHECKPOINTS,
    "outputs/monet/checkpoints/last.ckpt": Kind.CHECKPOINT,
    "outputs/monet/.hydra": Kind.RUN_CONFIGURATION,
    "outputs/monet/.hydra/config.yaml": Kind.CONFIGURATION,
    "begun": Kind.UNFINISHED_RUN,
    "packs": Kind.PACKS,
    "packs/wave.safetensors": Kind.PACK,
    "photos": Kind.PICTURES,
    "photos/photo.jpg": Kind.PICTURE,
    "noext": Kind.PICTURE,
    "prepared": Kind.PREPARED,
    "prepared/prepared.json": Kind.INDEX,
    "prepared/photos-000000.tar": Kind.SHARD,
    "empty folder": Kind.EMPTY_FOLDER,
    "empty.safetensors": Kind.EMPTY,
    "notes.txt": Kind.TEXT,
    "page.ckpt": Kind.WEB_PAGE,
    "pointer.safetensors": Kind.LFS,
    "weights.pth": Kind.WEIGHTS,
    "old.pth": Kind.WEIGHTS,
    "photos.zip": Kind.ARCHIVE,
    "photos.tar.gz": Kind.ARCHIVE,
    "net.onnx": Kind.ONNX,
    "clip.mp4": Kind.VIDEO,
    "clip": Kind.VIDEO,
    "other.safetensors": Kind.SAFETENSORS,
    "noise": Kind.OTHER,
    "nowhere": Kind.MISSING,
    "noise/below": Kind.MISSING,
}


@pytest.mark.parametrize("name", KINDS)
def test_a_path_is_known_by_its_content(files: dict[str, Path], name: str) -> None:
    assert kind_of_path(files["root"] / name) is KINDS[name]


@pytest.mark.parametrize(
    "name", [name for name in KINDS if (Path(name).suffix and "tar" not in name)]
)
def test_the_name_of_a_file_does_not_matter(
    files: dict[str, Path], name: str, tmp_path: Path
) -> None:
    renamed = tmp_path / "file.xyz"
    shutil.copy(files["root"] / name, renamed)
    # Of texts, the name is the only sign of their kind.
    texts = {Kind.CONFIGURATION, Kind.INDEX}
    expected = Kind.TEXT if KINDS[name] in texts else KINDS[name]
    assert kind_of_path(renamed) is expected


def test_a_checkpoint_of_another_program_is_told_from_ours(tmp_path: Path) -> None:
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", max_steps=1)
    trainer.strategy.connect(LightningModule())
    trainer.save_checkpoint(tmp_path / "other.ckpt", weights_only=True)
    assert kind_of_path(tmp_path / "other.ckpt") is Kind.OTHER_CHECKPOINT


@pytest.mark.parametrize("kept", [1, 2, 8, 9, 100, 0.5])
@pytest.mark.parametrize("name", ["model", "pack", "checkpoint", "photo"])
def test_no_cut_file_raises(files: dict[str, Path], name: str, kept: float, tmp_path: Path) -> None:
    data = files[name].read_bytes()
    (tmp_path / "cut").write_bytes(data[: kept if kept >= 1 else int(kept * len(data))])
    assert isinstance(kind_of_path(tmp_path / "cut"), Kind)


def checkpoint_of(path: Path) -> object:
    return find_checkpoint(str(path), Path("nowhere"))


def pictures_of(path: Path) -> object:
    return list_images(path, deep=True)


def photos_of(path: Path) -> object:
    return [load_image(path) for path in find_sources([str(path)])]


def vgg_of(path: Path) -> object:
    return load_weights(str(path))


# What is expected, what is given, what the message says it is, and what to do.
MISTAKES: list[tuple[Callable[[Path], object], str, str, str]] = [
    (load_model, "outputs/monet/checkpoints/last.ckpt", "a checkpoint of a run", "{run}, or the"),
    (load_model, "outputs/monet/checkpoints", "the folder of a run's checkpoints", "run, {run}"),
    (load_model, "outputs/monet/.hydra", "the folder of a run's configuration", "run, {run}"),
    (load_model, "outputs/monet/.hydra/config.yaml", "a configuration", "run, {run}"),
    (load_model, "outputs", "a folder of runs", "such as {run}"),
    (load_model, "begun", "has written no network yet", "ckpt_path=last"),
    (load_model, "packs/wave.safetensors", "a style pack", "polystyle-styles merge"),
    (load_model, "packs", "a folder of safetensors files", "name the folder of a run"),
    (load_model, "net.onnx", "an ONNX file", "that it was exported from"),
    (load_model, "photos/photo.jpg", "a picture", "name the folder of a run"),
    (load_model, "photos", "a folder of pictures", "name the folder of a run"),
    (load_model, "prepared", "a prepared set", "name the folder of a run"),
    (load_model, "clip.mp4", "a video", "name the folder of a run"),
    (load_model, "weights.pth", "a file of PyTorch weights", "name the folder of a run"),
    (load_model, "other.safetensors", "safetensors file of another", "name the folder of a run"),
    (load_model, "empty.safetensors", "an empty file", "copy or download it again"),
    (load_model, "pointer.safetensors", "a Git LFS pointer", "git lfs pull"),
    (load_style_pack, "outputs/monet/model.safetensors", "a network", "polystyle-styles extract"),
    (load_style_pack, "outputs/monet", "the folder of a run", "polystyle-styles extract"),
    (load_style_pack, "packs", "a folder of safetensors files", "name the files in it"),
    (load_style_pack, "photos/photo.jpg", "a picture", "polystyle-styles extract"),
    (load_style_pack, "empty.safetensors", "an empty file", "copy or download it again"),
    (checkpoint_of, "outputs/monet", "the folder of a run", "ckpt_path=last hydra.run.dir={run}"),
    (checkpoint_of, "outputs/monet/checkpoints", "the folder of a run's checkpoints", "last.ckpt"),
    (checkpoint_of, "outputs/monet/model.safetensors", "a network", "init="),
    (checkpoint_of, "weights.pth", "a file of PyTorch weights", "are in its folder"),
    (checkpoint_of, "net.onnx", "an ONNX file", "are in its folder"),
    (checkpoint_of, "photos/photo.jpg", "a picture", "are in its folder"),
    (checkpoint_of, "empty.safetensors", "an empty file", "copy or download it again"),
    (checkpoint_of, "page.ckpt", "a web page", "download the file itself"),
    (pictures_of, "photos/photo.jpg", "a picture", "{root}/photos"),
    (pictures_of, "prepared/prepared.json", "the index of a prepared set", "{root}/prepared"),
    (pictures_of, "prepared/photos-000000.tar", "a part of a prepared set", "{root}/prepared"),
    (pictures_of, "prepared", "a prepared set", "only photos to train on"),
    (pictures_of, "photos.zip", "an archive", "unpack it"),
    (pictures_of, "outputs/monet", "the folder of a run", "name a folder that holds pictures"),
    (pictures_of, "outputs/monet/model.safetensors", "a network", "name a folder"),
    (pictures_of, "empty.safetensors", "an empty file", "copy or download it again"),
    (photos_of, "outputs/monet", "the folder of a run", "--model {run}"),
    (photos_of, "outputs/monet/model.safetensors", "a network", "--model"),
    (photos_of, "outputs/monet/checkpoints/last.ckpt", "a checkpoint of a run", "its run, {run}"),
    (photos_of, "packs/wave.safetensors", "a style pack", "polystyle-styles merge"),
    (photos_of, "net.onnx", "an ONNX file", "that it was exported from"),
    (photos_of, "prepared", "a prepared set", "only photos to train on"),
    (photos_of, "empty.safetensors", "an empty file", "copy or download it again"),
    (photos_of, "photos.zip", "an archive", "unpack it"),
    (vgg_of, "outputs/monet/model.safetensors", "a network", "leave out loss.vgg.weights"),
    (vgg_of, "outputs/monet/checkpoints/last.ckpt", "a checkpoint", "leave out loss.vgg.weights"),
    (vgg_of, "outputs/monet", "the folder of a run", "leave out loss.vgg.weights"),
    (vgg_of, "empty.safetensors", "an empty file", "copy or download it again"),
]


@pytest.mark.parametrize(
    ("read", "name", "kind", "remedy"),
    MISTAKES,
    ids=[f"{mistake[0].__name__}({mistake[1]})" for mistake in MISTAKES],
)
def test_a_path_of_another_kind_is_called_what_it_is(
    files: dict[str, Path], read: Callable[[Path], object], name: str, kind: str, remedy: str
) -> None:
    path = files["root"] / name
    with pytest.raises((ValueError, PictureError)) as error:
        read(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert kind in message
    assert remedy.format(**files) in message
    assert "damaged" not in message
    assert message.isprintable()


@pytest.mark.parametrize(
    "name", ["~", "-m", "a b", "it's", "'90s'", "one, two", "2024", "null", "[1]", "é#="]
)
def test_a_suggested_override_gives_the_path_that_it_names(
    name: str, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(files["run"], tmp_path / name)
    for path, key in ((Path(name), "hydra.run.dir"), (Path(name, "model.safetensors"), "init")):
        with pytest.raises(ValueError, match="not a checkpoint") as error:
            checkpoint_of(path)
        suggested = shlex.split(str(error.value).partition(": ")[2])
        (typed,) = [word for word in suggested if word.startswith(f"{key}=")]
        (override,) = OverridesParser.create().parse_overrides(for_hydra([typed]))
        assert Path(override.value()) == path


def test_a_model_file_that_is_something_else_is_named_in_the_folder_of_a_run(
    files: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copy(files["pack"], tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is a style pack, not a network"):
        load_model(tmp_path)


def test_a_damaged_network_is_still_called_damaged(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(files["model"].read_bytes()[:-1])
    with pytest.raises(ValueError, match="cut is damaged"):
        load_model(tmp_path / "cut")
