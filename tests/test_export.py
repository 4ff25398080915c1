"""The ONNX file: one for all styles, sizes and blends, with the same pictures as torch's."""

import json
import re
import subprocess
import sys
from pathlib import Path

import fork_server
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from polystyle.export import export, main
from polystyle.networks.model_file import Model, fingerprint, save_model
from polystyle.networks.onnx_file import compare, to_onnx
from polystyle.networks.style_rows import rows_of
from polystyle.networks.transformer_net import TransformerNet

STYLE_NAMES = ["wave", "Æble & pære", "candy"]


def make_net(num_styles: int, width: float) -> TransformerNet:
    """A small network of random weights, in which all styles differ."""
    torch.manual_seed(0)
    net = TransformerNet(num_styles, width).eval()
    for table in rows_of(net).values():
        torch.nn.init.normal_(table)
    return net


@pytest.fixture(scope="module")
def net() -> TransformerNet:
    return make_net(3, width=0.125)


@pytest.fixture(scope="module")
def model(net: TransformerNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    save_model(path, Model(net, STYLE_NAMES))
    return path


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess:
    """The command as a user types it, run once because it takes seconds. MODEL is a folder."""
    command = [sys.executable, "-m", "polystyle.export", str(model.parent)]
    return fork_server.run(command)


@pytest.fixture(scope="module")
def proto(model: Path, exported: subprocess.CompletedProcess) -> onnx.ModelProto:
    assert exported.returncode == 0, exported.stderr
    return onnx.load(model.with_name("model.onnx"))


@pytest.fixture(scope="module")
def session(proto: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(proto.SerializeToString())


@pytest.fixture(scope="module")
def single() -> TransformerNet:
    return make_net(1, width=0.25)


@pytest.fixture(scope="module")
def float16(single: TransformerNet) -> onnx.ModelProto:
    return to_onnx(Model(single, ["mono"]), "float16")


@pytest.fixture
def already_exported(proto: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> onnx.ModelProto:
    """What `export` gets from `to_onnx`, for the test to change."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    monkeypatch.setattr("polystyle.networks.onnx_file.to_onnx", lambda model, precision: copy)
    return copy


def paint(session: onnxruntime.InferenceSession, content: Tensor, style_mix: Tensor) -> Tensor:
    inputs = {"content": content.numpy(), "style_mix": style_mix.numpy()}
    return torch.from_numpy(session.run(["stylized"], inputs)[0])


def one_line_of(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> str:
    """The error message with which the command exits with status 1."""
    monkeypatch.setattr(sys, "argv", ["polystyle-export", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_info:
        main()
    message = exit_info.value.code
    assert isinstance(message, str)
    assert message.startswith("polystyle-export: ")
    assert "\n" not in message
    return message


# ---- The file -------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=12)
@given(height=st.integers(16, 60), width=st.integers(16, 60), batch=st.integers(1, 4))
@example(height=16, width=16, batch=1)
@example(height=17, width=19, batch=3)
def test_paints_each_style_at_any_size_as_the_network_does(
    height: int, width: int, batch: int, net: TransformerNet, session: onnxruntime.InferenceSession
) -> None:
    content = torch.rand(batch, 3, height, width)
    style = torch.randint(3, (batch,))
    with torch.inference_mode():
        expected = net(content, style)
    stylized = paint(session, content, torch.eye(3)[style])
    assert stylized.dtype == torch.float32
    torch.testing.assert_close(stylized, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_paints_each_image_in_its_own_blend(
    net: TransformerNet, session: onnxruntime.InferenceSession
) -> None:
    content = torch.rand(1, 3, 33, 22).repeat(3, 1, 1, 1)
    style_mix = torch.tensor([[0.5, 0.5, 0], [0.2, 0.3, 0.5], [1.5, -0.5, 0]])
    with torch.inference_mode():
        expected = net(content, style_mix)
    stylized = paint(session, content, style_mix)
    torch.testing.assert_close(stylized, expected, rtol=0, atol=1e-4)
    assert (stylized[0] - stylized[1]).abs().mean() > 0.01


@pytest.mark.slow
def test_inputs_and_output_have_names_and_any_size(session: onnxruntime.InferenceSession) -> None:
    picture = ("tensor(float)", ["batch", 3, "height", "width"])
    described = [
        (value.name, value.type, value.shape)
        for value in (*session.get_inputs(), *session.get_outputs())
    ]
    assert described == [
        ("content", *picture),
        ("style_mix", "tensor(float)", ["batch", 3]),
        ("stylized", *picture),
    ]


@pytest.mark.slow
def test_metadata_holds_style_names_fingerprint_and_usage(
    net: TransformerNet, session: onnxruntime.InferenceSession
) -> None:
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["style_names"]) == STYLE_NAMES
    assert about["fingerprint"] == fingerprint(net)
    assert about["format"] == "polystyle"
    assert about["precision"] == "float32"
    assert "style_mix  float32 [batch, styles]" in about["usage"]


@pytest.mark.slow
def test_is_one_valid_file_without_paths_of_the_machine(
    model: Path, proto: onnx.ModelProto
) -> None:
    assert {path.name for path in model.parent.iterdir()} == {"model.safetensors", "model.onnx"}
    data = model.with_name("model.onnx").read_bytes()
    for word in ("transformer_net", str(Path.cwd()), str(Path.home()), sys.prefix):
        assert word.encode() not in data
    onnx.checker.check_model(proto, full_check=True)


@pytest.mark.slow
def test_float16_is_of_convolutions_only_and_half_as_large(
    single: TransformerNet, float16: onnx.ModelProto
) -> None:
    float16 = onnx.shape_inference.infer_shapes(float16, strict_mode=True)
    graph = float16.graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.input, *graph.output, *graph.value_info)
    }
    half, single_precision = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    assert types["content"] == types["style_mix"] == types["stylized"] == single_precision
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 16
    assert {types[node.input[0]] for node in convolutions} == {half}
    statistics = [node for node in graph.node if node.op_type.startswith("Reduce")]
    assert len(statistics) >= 32
    assert {types[node.input[0]] for node in statistics} == {single_precision}
    for tensor in graph.initializer:
        if tensor.name.endswith((".weight", ".gamma", ".beta")):
            wanted = half if tensor.name.endswith(".weight") else single_precision
            assert tensor.data_type == wanted, tensor.name
    weights = sum(conv.weight.nbytes for conv in single.modules() if hasattr(conv, "weight"))
    assert len(float16.SerializeToString()) < 0.5 * weights + 80_000
    assert all(parameter.dtype == torch.float32 for parameter in single.parameters())


@pytest.mark.slow
def test_float16_of_a_single_style_paints_nearly_the_same(
    single: TransformerNet, float16: onnx.ModelProto
) -> None:
    differences = [difference for *_, difference in compare(float16.SerializeToString(), single)]
    assert len(differences) == 3
    assert all(0.001 < difference < 1 for difference in differences)


# ---- The command ----------------------------------------------------------------------------


@pytest.mark.slow
def test_prints_the_result_and_nothing_of_the_exporter(
    model: Path, exported: subprocess.CompletedProcess
) -> None:
    assert exported.returncode == 0
    assert exported.stderr == ""
    lines = exported.stdout.splitlines()
    path = model.with_name("model.onnx")
    assert lines[0] == f"Exporting {model} in float32, which takes about ten seconds"
    assert lines[1].startswith(f"onnxruntime {onnxruntime.__version__} against torch")
    for line, start in zip(
        lines[2:5],
        ("every style +3 x 3 x 35 x 50", "an even blend +1 x 3 x 61 x 47", "random blends +3 x 3"),
        strict=True,
    ):
        assert re.match(rf"  {start}.* largest difference 0\.0\d\d\d$", line)
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    assert lines[5].startswith(f"Exported {path}: {size}, float32, opset ")
    assert lines[5].endswith(f"3 styles: {', '.join(STYLE_NAMES)}")
    assert lines[6].endswith("like polystyle-stylize --scale native")
    assert len(lines) == 11


@pytest.mark.slow
def test_the_lines_it_prints_paint_the_first_style(
    net: TransformerNet, exported: subprocess.CompletedProcess
) -> None:
    lines = [line.strip() for line in exported.stdout.splitlines()[-3:]]
    assert lines[1].endswith("# wave")
    content = torch.rand(1, 3, 21, 34)
    names = {"numpy": np, "onnxruntime": onnxruntime, "content": content.numpy()}
    exec("\n".join(lines), names)
    with torch.inference_mode():
        expected = net(content, torch.tensor([0]))
    torch.testing.assert_close(torch.from_numpy(names["stylized"]), expected, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("error", [0.02, float("nan")])
def test_a_file_with_other_pictures_than_torchs_is_not_written(
    error: float,
    model: Path,
    already_exported: onnx.ModelProto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [beta] = [t for t in already_exported.graph.initializer if t.name == "paint.norm.beta"]
    beta.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(beta) + error, beta.name))
    output = tmp_path / "model.onnx"
    message = one_line_of(monkeypatch, model, "--output", output)
    assert re.search(
        r"nothing is written: .* would paint every style up to [\dna.]+ levels", message
    )
    assert message.endswith("and 0.1 are allowed in float32")
    assert list(tmp_path.iterdir()) == []
    output.write_bytes(b"precious")
    one_line_of(monkeypatch, model, "--output", output, "--overwrite")
    assert output.read_bytes() == b"precious"


@pytest.mark.slow
def test_nothing_is_overwritten_without_overwrite(
    model: Path,
    already_exported: onnx.ModelProto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "new" / "folder" / "model.onnx"
    export(model, output)
    assert list(output.parent.iterdir()) == [output]
    output.write_bytes(b"precious")
    message = one_line_of(monkeypatch, model, "--output", output)
    assert message.endswith(f"{output} exists already: --overwrite replaces it")
    assert output.read_bytes() == b"precious"
    export(model, output, overwrite=True)
    assert output.read_bytes() == already_exported.SerializeToString()


def test_float16_has_a_name_of_its_own(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "monet.safetensors").write_bytes(model.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(model.read_bytes())
    for network, name in (
        (tmp_path / "monet.safetensors", "monet-float16.onnx"),
        (tmp_path, "model-float16.onnx"),
    ):
        (tmp_path / name).write_bytes(b"precious")
        message = one_line_of(monkeypatch, network, "--precision", "float16")
        assert f"{tmp_path / name} exists already" in message


@pytest.mark.slow
def test_a_write_that_fails_leaves_the_older_file(
    model: Path,
    already_exported: onnx.ModelProto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "model.onnx"
    output.write_bytes(b"precious")

    def write_half(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    message = one_line_of(monkeypatch, model, "--output", output, "--overwrite")
    assert message.endswith("No space left on device")
    assert output.read_bytes() == b"precious"


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named(package: str, model: Path, tmp_path: Path) -> None:
    program = f"import sys; sys.modules[{package!r}] = None\n"
    program += "from polystyle.export import main; main()"
    output = tmp_path / "model.onnx"
    command = [sys.executable, "-c", program, str(model), "--output", str(output)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"polystyle-export: {package} is not installed: pip install 'polystyle[export]'\n"
    )
    assert not output.exists()


def test_every_error_is_one_line(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "missing.safetensors"
    assert one_line_of(monkeypatch, missing).endswith(f"there is no model file {missing}")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "is a folder without a model.safetensors" in one_line_of(monkeypatch, empty)
    text = tmp_path / "notes.txt"
    text.write_text("I am not a network.\n")
    assert f"{text} is a text file, not a network" in one_line_of(monkeypatch, text)
    message = one_line_of(monkeypatch, model, "--output", tmp_path, "--overwrite")
    assert message.endswith(f"must be a file that ends in .onnx, not {tmp_path}")
    before = model.read_bytes()
    message = one_line_of(monkeypatch, model, "--output", model, "--overwrite")
    assert "must be a file that ends in .onnx" in message
    assert model.read_bytes() == before


def test_help_answers_without_loading_torch_and_shows_examples() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "polystyle.export", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {"torch", "onnx", "onnxruntime", "numpy"}
    assert "polystyle-export outputs/monet\n" in result.stdout
    assert "style_mix  float32 [batch, styles]" in result.stdout
