"""Files that somebody made to do harm: none runs code, none fills the memory, all get one line.

tests/stress/attacks/ has the files, and tests/stress/attack.py is a longer form of all this.
"""

import random
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from attacks.commands import Tally, attempt, fault, import_all
from attacks.ground import make_ground, make_model
from attacks.headers import (
    NAMES,
    changed_at_random,
    heavy_models,
    hostile_models,
    hostile_packs,
)
from attacks.pickles import PLACES, check_armed, pickles, try_pickles
from hypothesis import given
from hypothesis import strategies as st
from training import ONE_THREAD, make_folders, train_command

from polystyle.data.datamodule import StyleTransferData
from polystyle.files.terminal_text import GARBLING, sanitized
from polystyle.losses.vgg import VGG16
from polystyle.losses.vgg_weights import read_weights
from polystyle.networks.model_file import load_model, read_width, save_model
from polystyle.networks.style_pack import load_style_pack
from polystyle.style_names import MAX_NAME, check_style_name

# The text of a header, of 32 MB at the most, becomes somewhat more in memory.
MOST_MEGABYTES = 300


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ground")
    make_ground(folder)
    return folder


# ---- Pickles --------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_no_pickle_runs_in_any_place_of_any_command(tmp_path: Path) -> None:
    make_ground(tmp_path / "sound")
    import_all()
    tally = Tally()
    for violation in try_pickles(tmp_path, tally, 1, random.Random(0)):
        assert not violation
    assert tally.outcomes == {"refused": len(PLACES)}


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    make_folders(tmp_path)
    mark = tmp_path / "marks" / "mark"
    data = pickles(mark)["torch's zip"]
    check_armed("torch's zip", data, mark)  # unpickled without care, it does leave its mark
    (tmp_path / "evil.ckpt").write_bytes(data)
    command = train_command(tmp_path, "ckpt_path=evil.ckpt", f"hydra.run.dir={tmp_path / 'run'}")
    result = subprocess.run(
        command, cwd=tmp_path, env=ONE_THREAD, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 1
    assert result.stderr.startswith("polystyle-train: evil.ckpt is damaged, or not a checkpoint")
    assert result.stderr.count("\n") == 1
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ""])
def test_no_pickle_runs_as_weights_of_vgg(tmp_path: Path, suffix: str) -> None:
    mark = tmp_path / "marks" / "mark"
    for flavour, data in pickles(mark).items():
        check_armed(flavour, data, mark)
        path = tmp_path / f"vgg{suffix}"
        path.write_bytes(data)
        with pytest.raises(ValueError, match="is damaged, or not a file of plain weights"):
            read_weights(path)
        assert not mark.exists(), flavour


# ---- Safetensors files ----------------------------------------------------------------------


def test_every_lying_model_file_is_refused_in_one_line(ground: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for what, data in hostile_models((ground / "model.safetensors").read_bytes()):
        path.write_bytes(data)
        check_refused(load_model, path, what)


def test_every_lying_style_pack_is_refused_in_one_line(ground: Path, tmp_path: Path) -> None:
    path = tmp_path / "pack.safetensors"
    for what, data in hostile_packs((ground / "pack.safetensors").read_bytes()):
        path.write_bytes(data)
        check_refused(load_style_pack, path, what)


def check_refused(load: Callable, path: Path, what: str) -> None:
    with pytest.raises(ValueError) as error:
        pytest.fail(f"{what} is not refused: {load(path)}")
    message = str(error.value)
    assert message.startswith(str(path)), what
    assert not GARBLING.search(message), what
    assert len(message) < len(str(path)) + 1200, what


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_huge_header_is_refused_in_little_memory(ground: Path, tmp_path: Path) -> None:
    sound = (ground / "model.safetensors").read_bytes()
    for what, data in heavy_models(sound):
        (tmp_path / "model.safetensors").write_bytes(data)
        outcome = attempt("styles", ["list", "model.safetensors"], tmp_path)
        assert (outcome.status, fault("styles", outcome)) == (1, None), what
        assert outcome.megabytes < MOST_MEGABYTES, what


@given(rng=st.randoms(use_true_random=False), is_pack=st.booleans())
def test_a_header_changed_at_random_is_read_or_refused(
    ground: Path, rng: object, is_pack: bool
) -> None:
    sound = (ground / ("pack.safetensors" if is_pack else "model.safetensors")).read_bytes()
    path = ground / "changed.safetensors"
    path.write_bytes(changed_at_random(sound, rng))
    try:
        names = [load_style_pack(path).style_name] if is_pack else load_model(path).style_names
    except ValueError as error:
        assert not GARBLING.search(str(error))
    else:
        for name in names:
            check_style_name(name)


def test_a_width_is_a_number() -> None:
    assert read_width({"width": "0.5"}) == 0.5
    for text in ("true", '"1"', "[1]", "null", "NaN"):
        with pytest.raises(TypeError):
            read_width({"width": text})


def test_an_old_file_stays_loadable(ground: Path) -> None:
    """Sound files are: else all of them would be refused."""
    model = load_model(ground / "model.safetensors")
    assert model.style_names == ["x", "y", "photo"]
    assert model.thumbnails.keys() == {"x", "y"}
    assert load_style_pack(ground / "pack.safetensors").style_name == "y"


# ---- Weights and Gram matrices --------------------------------------------------------------


def test_weights_that_unpack_to_more_than_themselves_are_refused(tmp_path: Path) -> None:
    torch.save({"0.weight": torch.zeros(2_000_000)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    with pytest.raises(ValueError, match=r"is not VGG-16: 0\.weight is"):
        read_weights(tmp_path / "plain.pth")
    with pytest.raises(ValueError, match="is damaged, or not a file of plain weights"):
        read_weights(tmp_path / "bomb.pth")


def test_weights_with_a_flipped_bit_are_refused(tmp_path: Path) -> None:
    torch.save({"0.weight": torch.zeros(1000)}, tmp_path / "vgg.pth")
    data = bytearray((tmp_path / "vgg.pth").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "vgg.pth").write_bytes(data)
    with pytest.raises(ValueError, match="is damaged, or not a file of plain weights"):
        read_weights(tmp_path / "vgg.pth")


@pytest.mark.parametrize("kind", [torch.int64, torch.complex64, "meta"])
def test_weights_that_are_no_plain_floats_are_refused(
    tmp_path: Path, vgg: VGG16, kind: torch.dtype | str
) -> None:
    weights = {name: tensor.contiguous() for name, tensor in vgg.features.named_buffers()}
    weights["2.bias"] = weights["2.bias"].to(kind)
    torch.save(weights, tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match=r"vgg\.pth is not VGG-16: 2\.bias is no plain tensor"):
        read_weights(tmp_path / "vgg.pth")


# ---- Names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_unfit_for_a_file_is_refused(name: str) -> None:
    with pytest.raises(ValueError) as error:
        check_style_name(name)
    assert not GARBLING.search(str(error.value))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "starry night",
            "Café – 2",  # noqa: RUF001
            "Die große Welle",
            "v1.2 (final).copy",
            "Monet: Lilies",
        ),
        *(
            "北斎　波",
            "می‌خواهم",
            "👩‍🎨",
            "Screenshot 9.41.00\u202fAM",
            "x" * MAX_NAME,
            "it's",
            "-x",
        ),
        "Claude Monet - Woman with a Parasol - Madame Monet and Her Son - Google Art Project",
    ],
)
def test_a_name_that_people_have_is_taken(tmp_path: Path, name: str) -> None:
    check_style_name(name)
    save_model(tmp_path / "model.safetensors", make_model([name]))
    assert load_model(tmp_path / "model.safetensors").style_names == [name]
    assert sanitized(name) == name


@pytest.mark.parametrize("stem", ["a\nb", "\x1b[2J", "abc\u202egpj", "x" * 201])
def test_training_refuses_a_painting_whose_name_no_model_could_have(
    tmp_path: Path, stem: str
) -> None:
    photos, paintings = make_folders(tmp_path)
    (paintings / "dots.png").rename(paintings / f"{stem}.png")
    with pytest.raises(ValueError, match=r"not fit for a file's name|and 200 are") as error:
        StyleTransferData(str(photos), str(paintings))
    assert not GARBLING.search(str(error.value))
