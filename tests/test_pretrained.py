"""The network that comes with polystyle: what it holds, and that commands take it by default."""

import sys
from pathlib import Path

import fork_server
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import polystyle
from polystyle.networks.model_file import PRETRAINED_FILE, Model, load_model, save_model
from polystyle.networks.style_edits import remove_styles
from polystyle.networks.style_pack import (
    load_style_pack,
    merge_style,
)
from polystyle.networks.style_rows import rows_of
from polystyle.networks.transformer_net import TransformerNet


def command(name: str, *arguments: str, cwd: Path) -> str:
    """What a command prints."""
    result = fork_server.run([sys.executable, "-m", f"polystyle.{name}", *arguments], cwd)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def shipped() -> Model:
    return load_model(Path("pretrained"))


def test_it_is_small_and_its_numbers_are_float16() -> None:
    assert PRETRAINED_FILE.stat().st_size < 4_000_000
    with safe_open(PRETRAINED_FILE, framework="pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118


def test_every_style_but_the_identity_style_has_a_thumbnail(shipped: Model) -> None:
    assert len(shipped.painted_names) >= 20
    assert shipped.style_names[-1] == "photo"
    assert shipped.thumbnails.keys() == set(shipped.painted_names)


def test_the_model_card_names_every_style(shipped: Model) -> None:
    card = PRETRAINED_FILE.with_name("README.md").read_text()
    for name in shipped.painted_names:
        assert f"| {name} |" in card, name


def test_it_is_what_load_loads() -> None:
    photo = Image.effect_noise((40, 32), 60).convert("RGB")
    by_default = polystyle.load(device="cpu")(photo, "wave")
    by_name = polystyle.load(PRETRAINED_FILE, device="cpu")(photo, "wave")
    assert by_default.tobytes() == by_name.tobytes()


def test_its_styles_are_listed(tmp_path: Path, shipped: Model) -> None:
    listed = command("styles", "list", cwd=tmp_path)
    assert listed.startswith(f"pretrained: {len(shipped.style_names)} styles, ")
    assert "polystyle-stylize PHOTO --model pretrained --style all" in listed
    for name in shipped.style_names:
        assert f"  {name}" in listed


def test_a_style_leaves_as_a_pack_and_comes_back_bit_for_bit(
    tmp_path: Path, shipped: Model
) -> None:
    command("styles", "extract", "pretrained", "wave", "--output", "packs", cwd=tmp_path)
    pack = load_style_pack(tmp_path / "packs/wave.safetensors")
    merged = merge_style(remove_styles(shipped, ["wave"]), pack)
    index = shipped.style_names.index("wave")
    for name, table in rows_of(shipped.net).items():
        assert torch.equal(rows_of(merged.net)[name][-1], table[index]), name


def test_float16_is_read_as_the_float32_numbers_that_it_holds(tmp_path: Path) -> None:
    net = TransformerNet(2, width=0.125)
    save_model(tmp_path / "half.safetensors", Model(net, ["sky", "sea"]), torch.float16)
    loaded = load_model(tmp_path / "half.safetensors").net.state_dict()
    for name, tensor in net.state_dict().items():
        assert loaded[name].dtype == torch.float32
        assert torch.equal(loaded[name], tensor.half().float()), name
