"""Style packs: an extracted style merges again bit for bit, and into no other network."""

import base64
import json
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from polystyle.networks.model_file import Model, NetworkKind, fingerprint, save_model
from polystyle.networks.style_pack import (
    FORMAT_VERSION,
    extract_style,
    load_style_pack,
    merge_style,
    save_style_pack,
)
from polystyle.networks.style_rows import rows_of, with_rows
from polystyle.networks.transformer_net import TransformerNet

NAMES = ["starry_night", "la_muse", "Æble & pære"]


def jpeg(colour: str) -> bytes:
    file = BytesIO()
    Image.new("RGB", (64, 48), colour).save(file, "JPEG")
    return file.getvalue()


JPEG = jpeg("blue")


def make_model(names: list[str], width: float = 0.125) -> Model:
    """A network in which every parameter differs from its initial value."""
    net = TransformerNet(len(names), width)
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    return Model(net.eval(), list(names), {"step": 7, "seed": 0}, {"la_muse": JPEG})


@pytest.fixture
def model() -> Model:
    return make_model(NAMES)


@pytest.fixture
def saved(tmp_path: Path, model: Model) -> Path:
    path = tmp_path / "la_muse.safetensors"
    save_style_pack(path, extract_style(model, "la_muse"))
    return path


def bits(rows: Tensor) -> bytes:
    return rows.numpy().tobytes()


def paint(model: Model, name: str) -> bytes:
    photo = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model.net(photo, torch.tensor([model.style_names.index(name)])).numpy().tobytes()


def read_header(path: Path) -> dict:
    """The header as safetensors documents it: its length in 8 bytes, then JSON."""
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def rewrite(path: Path, rows: dict | None = None, header: dict | None = None) -> None:
    """Changes rows and entries of the header; None removes one."""
    header = {**read_header(path)["__metadata__"], **(header or {})}
    rows = {**load_file(path), **(rows or {})}
    save_file(
        {name: row for name, row in rows.items() if row is not None},
        path,
        metadata={name: value for name, value in header.items() if value is not None},
    )


def refusal(path: Path) -> str:
    """The error with which load_style_pack refuses a file: one line that names the file."""
    with pytest.raises(ValueError) as error:
        load_style_pack(path)
    message = str(error.value)
    assert str(path) in message
    assert message.isprintable()
    return message


# ---- The file -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_style_comes_back_from_its_file_bit_for_bit(
    model: Model, tmp_path: Path, name: str
) -> None:
    with torch.no_grad():
        model.net.paint.norm.beta[:] = torch.tensor([-0.0, 1e-42, 3e38])
    path = tmp_path / "new" / "folder" / "pack.safetensors"
    save_style_pack(path, extract_style(model, name))
    pack = load_style_pack(path)
    index = NAMES.index(name)
    tables = rows_of(model.net)
    assert bits(pack.rows) == bits(torch.cat([table[index] for table in tables.values()]))
    assert pack.style_name == name
    assert pack.fingerprint == fingerprint(model.net)
    assert pack.kind == NetworkKind("TransformerNet", {"width": 0.125})
    assert pack.training == {"step": 7, "seed": 0}
    assert pack.thumbnail == (JPEG if name == "la_muse" else None)
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_what_the_format_says(saved: Path, model: Model) -> None:
    entries = read_header(saved)
    about = entries.pop("__metadata__")
    assert about["format"] == "polystyle-style"
    assert about["format_version"] == str(FORMAT_VERSION) == "2"
    assert about["style_name"] == "la_muse"
    assert about["fingerprint"] == fingerprint(model.net)
    expected = {"kind": "TransformerNet", "arguments": {"width": 0.125}}
    assert json.loads(about["network"]) == expected
    assert json.loads(about["training"]) == {"step": 7, "seed": 0}
    assert base64.b64decode(about["thumbnail"]) == JPEG
    tables = list(rows_of(model.net).values())
    count = sum(table.shape[1] for table in tables)
    assert {key: (entry["dtype"], entry["shape"]) for key, entry in entries.items()} == {
        "rows": ("F32", [count])
    }
    expected = torch.cat([table[1] for table in tables])
    assert torch.equal(load_file(saved)["rows"], expected)


def test_a_style_of_a_full_network_is_a_file_of_thirteen_kilobytes(tmp_path: Path) -> None:
    path = tmp_path / "wave.safetensors"
    save_style_pack(path, extract_style(make_model(["wave"], width=1), "wave"))
    assert 4 * 3206 < path.stat().st_size < 13_600


# ---- Extracting and merging -----------------------------------------------------------------


def test_an_extracted_style_does_not_change_with_its_network(model: Model) -> None:
    pack = extract_style(model, "la_muse")
    before = bits(pack.rows)
    with torch.no_grad():
        for parameter in model.net.parameters():
            parameter.zero_()
    assert bits(pack.rows) == before


def test_a_style_of_a_half_precision_network_is_float32(model: Model) -> None:
    model.net.half()
    assert extract_style(model, "la_muse").rows.dtype == torch.float32


def test_extracting_an_unknown_style_suggests_similar_names(model: Model) -> None:
    with pytest.raises(ValueError, match="no style 'la_mouse': did you mean la_muse"):
        extract_style(model, "la_mouse")


def test_a_merged_style_paints_as_in_its_first_network_and_the_others_as_before(
    model: Model,
) -> None:
    others = {key: torch.randn(2, table.shape[1]) for key, table in rows_of(model.net).items()}
    cousin = Model(with_rows(model.net, others), ["wave", "candy"], {}, {"wave": jpeg("pink")})
    merged = merge_style(model, extract_style(cousin, "wave"))
    assert merged.style_names == [*NAMES, "wave"]
    assert merged.thumbnails == {**model.thumbnails, "wave": jpeg("pink")}
    assert merged.training == model.training
    assert paint(merged, "wave") == paint(cousin, "wave")
    for name in NAMES:
        assert paint(merged, name) == paint(model, name)
    # The given network is not changed.
    assert model.style_names == NAMES
    assert len(model.net.paint.norm.gamma) == 3
    assert model.thumbnails.keys() == {"la_muse"}


def test_another_network_refuses_a_style_in_one_sentence(model: Model) -> None:
    other = make_model(["wave"])
    with pytest.raises(ValueError) as error:
        merge_style(other, extract_style(model, "la_muse"))
    assert str(error.value) == (
        f"the style 'la_muse' belongs to the network {fingerprint(model.net)[:12]}, "
        f"and this one is {fingerprint(other.net)[:12]}"
    )


def test_a_name_that_is_taken_is_refused(model: Model) -> None:
    with pytest.raises(ValueError, match="there is a style 'la_muse' already: rename it first"):
        merge_style(model, extract_style(model, "la_muse"))


def test_a_pack_of_polystyle_0_1_is_read(saved: Path, model: Model) -> None:
    rewrite(saved, header={"network": None, "width": "0.125", "format_version": "1"})
    pack = load_style_pack(saved)
    assert pack.kind == NetworkKind("TransformerNet", {"width": 0.125})
    assert bits(pack.rows) == bits(extract_style(model, "la_muse").rows)


def test_a_pack_with_too_few_rows_is_refused(saved: Path, model: Model) -> None:
    rewrite(saved, rows={"rows": torch.ones(3)})
    pack = load_style_pack(saved)
    pack.style_name = "wave"
    with pytest.raises(ValueError, match=r"has \d+ numbers and the network's layers take \d+"):
        merge_style(model, pack)


def test_rows_of_another_width_are_refused(model: Model) -> None:
    pack = extract_style(make_model(["wave"], width=0.25), "wave")
    pack.fingerprint = fingerprint(model.net)
    with pytest.raises(ValueError, match=r"has \d+ numbers and the network's layers take \d+"):
        merge_style(model, pack)


# ---- Files that are refused -----------------------------------------------------------------


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere\.safetensors$"):
        load_style_pack(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.999])
def test_a_cut_file_is_refused(saved: Path, kept: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(kept * len(whole))])
    assert "is damaged, or not a safetensors file" in refusal(saved)


def test_a_network_is_refused(saved: Path, model: Model) -> None:
    save_model(saved, model)
    assert "is a network, not a style pack: polystyle-styles extract" in refusal(saved)


def test_a_file_of_another_program_is_refused(saved: Path) -> None:
    save_file(load_file(saved), saved)
    assert "is a safetensors file of another program, not a style pack" in refusal(saved)


def test_a_newer_format_asks_for_an_update(saved: Path) -> None:
    rewrite(saved, header={"format_version": "3"})
    assert "has format 3, and this polystyle reads up to 2: update polystyle" in refusal(saved)


@pytest.mark.parametrize(
    "header",
    [
        {"style_name": None},
        {"fingerprint": None},
        {"fingerprint": "21d7fceaa138"},
        {"fingerprint": "\n" * 64},
        {"network": None},
        {"network": "wide"},
        {"network": '{"kind": "TransformerNet"}'},
        {"network": '{"kind": "TransformerNet", "arguments": {"width": Infinity}}'},
        {"training": "steps: 7"},
        {"training": "[1, 2]"},
        {"training": "[" * 100_000},
        {"thumbnail": "/9g!ACg=="},
        {"thumbnail": "é"},
    ],
    ids=lambda header: " ".join(f"{name}={str(value)[:8]!r}" for name, value in header.items()),
)
def test_a_damaged_header_is_refused(saved: Path, header: dict[str, str | None]) -> None:
    rewrite(saved, header=header)
    assert "does not hold the style that its header describes" in refusal(saved)


def test_rows_in_float16_are_read_as_float32(saved: Path) -> None:
    rewrite(saved, rows={"rows": torch.ones(406, dtype=torch.float16)})
    assert load_style_pack(saved).rows.dtype == torch.float32


@pytest.mark.parametrize(
    "rows",
    [
        torch.ones(406, dtype=torch.float64),
        torch.ones(406, dtype=torch.int32),
        torch.ones(406, 1),
        torch.ones(()),
        None,
    ],
    ids=["float64", "int32", "two_dimensions", "scalar", "missing"],
)
def test_rows_that_are_not_the_promised_ones_are_refused(saved: Path, rows: Tensor | None) -> None:
    assert load_file(saved)["rows"].shape == (406,)
    rewrite(saved, rows={"rows": rows})
    assert "does not hold what its header describes: rows is " in refusal(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused(saved: Path, value: float) -> None:
    rows = load_file(saved)["rows"]
    rows[7] = value
    rewrite(saved, rows={"rows": rows})
    assert "holds numbers that are infinite or NaN" in refusal(saved)


def test_a_name_that_could_leave_its_folder_is_refused(saved: Path) -> None:
    rewrite(saved, header={"style_name": "../../wave"})
    assert "the style name '../../wave' is not fit for a file's name" in refusal(saved)
