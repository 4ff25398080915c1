"""What several test modules share: a seed, and a VGG-16 that nobody's test can spoil."""

import copy
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor
from torch.nn import functional as F
from torchvision.models import vgg16
from training import make_folders

from polystyle.losses.vgg import VGG16
from polystyle.losses.vgg_weights import LAYERS, load_weights

# On a busy machine all is slow.
settings.register_profile(
    "polystyle",
    deadline=None,
    max_examples=25,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("polystyle")

# The tensors in these tests are too small to gain from threads, which on a busy machine only wait.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the commands that the tests run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the modules of slow tests first, so that no worker is left with one at the end, and skip
    what is marked `gpu` where there is none."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA GPU, and torch.cuda.is_available() is False here")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds photos and paintings; see `make_folders`."""
    root = tmp_path_factory.mktemp("folders")
    make_folders(root)
    return root


@pytest.fixture(scope="session")
def true_weights() -> dict[str, Tensor]:
    """The real VGG-16, out of torch's hub cache or fetched into it."""
    return load_weights()


@pytest.fixture(scope="session")
def built_vgg() -> VGG16:
    """Building one takes seconds: copy it (the fixture `vgg`), don't change it."""
    torch.manual_seed(0)
    return VGG16(weights="random")


@pytest.fixture
def vgg(built_vgg: VGG16) -> VGG16:
    """A VGG-16 of random weights and max pooling, the test's own to change."""
    return copy.deepcopy(built_vgg)


@pytest.fixture(scope="session")
def features_by_hand() -> Callable[..., dict[str, Tensor]]:
    """All of VGG-16's ReLU maps in float64, from torchvision's own modules."""
    with torch.device("meta"):
        modules = vgg16(weights=None).features[:23]
    mean = torch.tensor([123.68, 116.779, 103.939], dtype=torch.float64)

    def features(images: Tensor, weights: dict[str, Tensor], pooling: str) -> dict[str, Tensor]:
        weights = {name: tensor.double() for name, tensor in weights.items()}
        modules.load_state_dict(weights, assign=True)
        modules.requires_grad_(False)
        names = {index: name for name, index in LAYERS.items()}
        maps = {}
        x = images.double() * 255 - mean[:, None, None]
        for index, module in enumerate(modules):
            if pooling == "average" and isinstance(module, torch.nn.MaxPool2d):
                x = F.avg_pool2d(x, 2)
            else:
                x = module(x)
            if index in names:
                maps[names[index]] = x.clone()
        return maps

    return features
