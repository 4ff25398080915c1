"""The model file: what was saved comes back bit for bit, and nothing else is taken for it."""

import json
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from polystyle.networks.conditional_instance_norm import ConditionalInstanceNorm2d
from polystyle.networks.model_file import FORMAT_VERSION, Model, fingerprint, load_model, save_model
from polystyle.networks.style_rows import rows_of, with_rows
from polystyle.networks.transformer_net import TransformerNet
from polystyle.style_names import IDENTITY_STYLE, find_style

NAMES = ["starry_night", "la_muse", "Æble & pære"]
JPEG = BytesIO()
Image.new("RGB", (64, 48), "blue").save(JPEG, "JPEG")
JPEG = JPEG.getvalue()


@pytest.fixture
def net() -> TransformerNet:
    """A small network, none of whose numbers is what a new one starts with."""
    net = TransformerNet(len(NAMES), width=0.125)
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    return net.eval()


@pytest.fixture
def saved(tmp_path: Path, net: TransformerNet) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, Model(net, NAMES))
    return path


def read_header(path: Path) -> dict[str, Any]:
    """The header as safetensors documents it: its length in 8 bytes, then JSON."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length])


def network(**arguments: object) -> str:
    """What a header says of a TransformerNet."""
    return json.dumps({"kind": "TransformerNet", "arguments": arguments})


def rewrite(path: Path, tensors: dict | None = None, header: dict | None = None) -> None:
    """Change or, with None, drop tensors or entries of the header."""
    header = {**read_header(path)["__metadata__"], **(header or {})}
    tensors = {**load_file(path), **(tensors or {})}
    save_file(
        {name: tensor for name, tensor in tensors.items() if tensor is not None},
        path,
        metadata={name: value for name, value in header.items() if value is not None},
    )


def refusal(path: Path) -> str:
    """What load_model says of a file that it refuses: one line, that names the file."""
    with pytest.raises(ValueError) as error:
        load_model(path)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def assert_same_network(ours: nn.Module, theirs: nn.Module) -> None:
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_what_was_saved_comes_back_bit_for_bit(saved: Path, net: TransformerNet) -> None:
    model = load_model(saved)
    again, names = model.net, model.style_names
    assert names == NAMES
    assert again.arguments == {"width": 0.125}
    assert len(again.paint.norm.gamma) == 3
    assert not again.training
    assert_same_network(again, net)
    photo = torch.rand(3, 3, 20, 24)
    style = torch.tensor([2, 0, 1])
    assert torch.equal(again(photo, style), net(photo, style))


def test_the_same_network_is_the_same_file(saved: Path, net: TransformerNet) -> None:
    first = saved.read_bytes()
    # The header's end, where the tensors begin.
    assert int.from_bytes(first[:8], "little") % 8 == 0
    for _ in range(5):
        save_model(saved, Model(net, NAMES))
        assert saved.read_bytes() == first


def test_header_says_what_must_travel_with_the_weights(tmp_path: Path, net: TransformerNet) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, Model(net, NAMES, {"steps": 40_000, "style_weight": 5.0}))
    header = read_header(path)
    about = header.pop("__metadata__")
    assert about["format"] == "polystyle"
    assert about["format_version"] == str(FORMAT_VERSION) == "2"
    assert json.loads(about["style_names"]) == NAMES
    expected = {"kind": "TransformerNet", "arguments": {"width": 0.125}}
    assert json.loads(about["network"]) == expected
    assert json.loads(about["training"]) == {"steps": 40_000, "style_weight": 5.0}
    assert header.keys() == net.state_dict().keys()
    assert {entry["dtype"] for entry in header.values()} == {"F32"}


def test_file_is_no_pickle_or_zip(saved: Path) -> None:
    assert saved.read_bytes()[8:9] == b"{"
    assert not zipfile.is_zipfile(saved)


def test_folder_is_made(tmp_path: Path, net: TransformerNet) -> None:
    path = tmp_path / "new" / "folder" / "model.safetensors"
    save_model(path, Model(net, NAMES))
    assert load_model(path).style_names == NAMES
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("names", [[], NAMES[:2], [*NAMES, "one_more"]])
def test_one_name_for_each_style_or_nothing_is_written(
    tmp_path: Path, net: TransformerNet, names: list[str]
) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match=f"{len(names)} names for 3 styles"):
        save_model(path, Model(net, names))
    assert not path.exists()


def test_channels_last_network_is_saved_right(tmp_path: Path, net: TransformerNet) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, Model(net.to(memory_format=torch.channels_last), NAMES))
    assert not net.residual[0].first.conv.weight.is_contiguous()
    assert_same_network(load_model(path).net, net)


def test_compiled_network_is_saved_under_plain_names(tmp_path: Path, net: TransformerNet) -> None:
    path = tmp_path / "model.safetensors"
    net.compile(backend="eager")
    save_model(path, Model(net, NAMES))
    assert_same_network(load_model(path).net, net)


def test_saving_again_replaces_the_older_file(saved: Path, net: TransformerNet) -> None:
    with torch.no_grad():
        net.paint.norm.beta += 1
    save_model(saved, Model(net, ["a", "b", "c"]))
    model = load_model(saved)
    again, names = model.net, model.style_names
    assert names == ["a", "b", "c"]
    assert_same_network(again, net)


def test_write_that_fails_leaves_the_older_file(
    saved: Path, net: TransformerNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def write_half(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with torch.no_grad():
        net.paint.norm.beta += 1
    with pytest.raises(OSError, match="No space left"):
        save_model(saved, Model(net, NAMES))
    assert saved.read_bytes() == before


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no model file .*nowhere\.safetensors$"):
        load_model(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("kept", [1e-4, 0.01, 0.1, 0.5, 0.999])
def test_cut_file_is_refused(saved: Path, kept: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(kept * len(whole))])
    assert "is damaged, or not a safetensors file" in refusal(saved)


def test_file_short_of_one_byte_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-1])
    assert "is damaged" in refusal(saved)


def test_web_page_is_refused(saved: Path) -> None:
    saved.write_text("<html>404: not found</html>\n" * 40)
    assert "is a web page, not a network: a browser saved the page" in refusal(saved)


def test_checkpoint_of_torch_is_refused(saved: Path, net: TransformerNet) -> None:
    torch.save(net.state_dict(), saved)
    assert "is a file of PyTorch weights, not a network: name the folder" in refusal(saved)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_safetensors_file_of_another_program_is_refused(
    saved: Path, net: TransformerNet, metadata: dict[str, str] | None
) -> None:
    save_file(net.state_dict(), saved, metadata=metadata)
    assert "is a safetensors file of another program, not a network" in refusal(saved)


def test_newer_format_asks_for_an_update(saved: Path) -> None:
    rewrite(saved, header={"format_version": "3"})
    assert "has format 3, and this polystyle reads up to 2: update polystyle" in refusal(saved)


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        ({"paint.norm.gamma": None}, "paint.norm.gamma is missing"),
        ({"paint.norm.gamma": torch.ones(2, 3)}, "paint.norm.gamma is F32 [2, 3], not F32 [3, 3]"),
        (
            {"down.0.conv.weight": torch.ones(4, 3, 3, 3)},
            "down.0.conv.weight is F32 [4, 3, 3, 3], not F32 [4, 3, 9, 9]",
        ),
        (
            {"up.1.norm.beta": torch.zeros(3, 4, dtype=torch.float64)},
            "up.1.norm.beta is F64 [3, 4], not F32 [3, 4]",
        ),
        ({"one_too_many": torch.ones(1)}, "unexpected tensor 'one_too_many'"),
        ({"\x1b[2J": torch.ones(1)}, r"unexpected tensor '\x1b[2J'"),
    ],
    ids=["missing", "styles", "kernel", "dtype", "extra", "garbling"],
)
def test_tensors_that_do_not_fit_the_header_are_refused(
    saved: Path, tensors: dict, complaint: str
) -> None:
    rewrite(saved, tensors=tensors)
    assert f"does not hold what its header describes: {complaint}" in refusal(saved)


@pytest.mark.parametrize(
    "header",
    [
        {"network": None},
        {"network": "a quarter"},
        {"network": "[]"},
        {"network": '{"kind": "TransformerNet"}'},
        {"network": '{"kind": ["TransformerNet"], "arguments": {}}'},
        {"network": '{"kind": "TransformerNet", "arguments": [0.125]}'},
        {"network": network(depth=3)},
        {"network": network(num_styles=3)},
        {"network": network(width="wide")},
        {"network": network(width=-1)},
        {"network": network(width=float("nan"))},
        {"network": network(width=1e9)},
        {"network": None, "width": None},
        {"network": None, "width": "a quarter"},
        {"network": None, "width": '"wide"'},
        {"network": None, "width": "-1"},
        {"network": None, "width": "NaN"},
        {"style_names": "one, two, three"},
        {"style_names": None},
        {"style_names": "3"},
        {"style_names": "[]"},
        {"style_names": "[1, 2, 3]"},
        {"style_names": '{"a": 1, "b": 2, "c": 3}'},
    ],
)
def test_header_that_does_not_fit_the_tensors_is_refused(saved: Path, header: dict) -> None:
    rewrite(saved, header=header)
    assert "does not hold the network that its header describes" in refusal(saved)


@pytest.mark.parametrize(
    "header", [{"network": network(width=0.25)}, {"style_names": '["one", "two"]'}]
)
def test_header_of_another_network_is_refused(saved: Path, header: dict) -> None:
    rewrite(saved, header=header)
    assert "does not hold what its header describes: down.0." in refusal(saved)


def test_a_file_of_polystyle_0_1_is_read(saved: Path) -> None:
    now = load_model(saved)
    rewrite(saved, header={"network": None, "width": "0.125", "format_version": "1"})
    before = load_model(saved)
    assert before.net.arguments == {"width": 0.125}
    assert before.style_names == now.style_names
    expected = now.net.state_dict()
    assert before.net.state_dict().keys() == expected.keys()
    for name, tensor in before.net.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


class TinyNet(nn.Module):
    """A network of one's own: one layer."""

    def __init__(self, num_conditions: int, channels: int, depths: list[int] | None = None) -> None:
        super().__init__()
        self.arguments = {"channels": channels, "depths": depths}
        self.conv = nn.Conv2d(3, channels, 1)
        self.norm = ConditionalInstanceNorm2d(channels, num_conditions)


def test_a_network_of_ones_own_is_read_with_its_class(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    net = TinyNet(2, channels=3, depths=[1, 2])
    save_model(path, Model(net, ["noise", "blur"]))
    loaded = load_model(path, network=TinyNet)
    assert type(loaded.net) is TinyNet
    assert loaded.net.arguments == {"channels": 3, "depths": [1, 2]}
    assert loaded.style_names == ["noise", "blur"]
    for name, tensor in net.state_dict().items():
        assert torch.equal(loaded.net.state_dict()[name], tensor), name
    with pytest.raises(ValueError, match=r"model.safetensors holds a TinyNet, which is not one of"):
        load_model(path)
    with pytest.raises(ValueError, match=r"holds a TinyNet, not a TransformerNet$"):
        load_model(path, network=TransformerNet)


def test_a_header_imports_nothing(saved: Path) -> None:
    """Whatever a file names as its network, no module is imported for it."""
    kind = json.dumps({"kind": "antigravity.Net", "arguments": {}})
    rewrite(saved, header={"network": kind})
    assert "holds a antigravity.Net, which is not one of polystyle's networks" in refusal(saved)
    assert "antigravity" not in sys.modules


def test_the_folder_of_a_run_stands_for_its_model(saved: Path) -> None:
    assert load_model(saved.parent).style_names == NAMES
    (saved.parent / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty is a folder without a model\.safetensors"):
        load_model(saved.parent / "empty")


@pytest.mark.parametrize("version", ["one", "-1", None])
def test_header_without_a_format_version_is_refused(saved: Path, version: str | None) -> None:
    rewrite(saved, header={"format_version": version})
    assert "has no format version that polystyle knows" in refusal(saved)


def test_thumbnails_and_training_come_back(tmp_path: Path, net: TransformerNet) -> None:
    path = tmp_path / "model.safetensors"
    thumbnails = {"la_muse": JPEG, "of nobody": JPEG}
    save_model(path, Model(net, NAMES, {"step": 7}, thumbnails))
    model = load_model(path)
    assert model.training == {"step": 7}
    assert model.thumbnails == {"la_muse": JPEG}


def test_a_style_is_found_by_its_name_or_the_near_ones_are_named() -> None:
    assert [find_style(name, NAMES) for name in NAMES] == [0, 1, 2]
    with pytest.raises(ValueError, match="no style 'stary_nigth': did you mean starry_night"):
        find_style("stary_nigth", NAMES)
    with pytest.raises(ValueError, match="no style 'zzz': starry_night, la_muse, Æble & pære"):
        find_style("zzz", NAMES)


def test_fingerprint_is_of_the_convolutions_alone(net: TransformerNet) -> None:
    before = fingerprint(net)
    assert len(before) == 64
    assert fingerprint(net.to(memory_format=torch.channels_last)) == before
    some = {name: table[[2, 0]] for name, table in rows_of(net).items()}
    assert fingerprint(with_rows(net, some)) == before
    with torch.no_grad():
        net.up[1].conv.weight[0, 0, 0, 0] += 1e-6
    assert fingerprint(net) != before


def test_the_painted_styles_are_all_but_the_photo(net: TransformerNet) -> None:
    assert Model(net, ["wave", IDENTITY_STYLE, "candy"]).painted_names == ["wave", "candy"]
