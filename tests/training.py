"""What the tests of training share: small folders, and the command as a user types it."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import fork_server
import numpy as np
import torch
from PIL import Image

from polystyle.losses.perceptual_loss import PerceptualLoss
from polystyle.losses.style_transfer import StyleTransfer
from polystyle.networks.transformer_net import TransformerNet
from polystyle.training.module import MultiStyleModule

# Small enough for a step to take a tenth of a second.
TINY = (
    "data.image_size=32",
    "data.style_size=32",
    "data.batch_size=3",
    "data.num_val_photos=2",
    "data.val_fraction=0.5",
    "network.width=0.125",
    "model/scheduler=constant",  # so that a run can be made longer
    "model.compile=false",  # it would take longer than the run
    "loss.vgg.weights=random",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
)


def make_folders(root: Path) -> tuple[Path, Path]:
    """Ten photos and three paintings of noise, each in a colour of its own."""
    rng = np.random.default_rng(0)
    photos, paintings = root / "photos", root / "paintings"
    for folder, names in (
        (photos, [f"photo{number}" for number in range(10)]),
        (paintings, ["dots", "haze", "rust"]),
    ):
        folder.mkdir(parents=True)
        for name in names:
            pixels = rng.integers(0, 256, (40, 48, 3)) * rng.random(3)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}.png")
    return photos, paintings


def train_command(root: Path, *overrides: str) -> list[str]:
    """polystyle-train on the folders that `make_folders` made."""
    return [
        *(sys.executable, "-m", "polystyle.train", *TINY),
        *(f"data.content_dir={root / 'photos'}", f"data.style_dir={root / 'paintings'}"),
        *overrides,
    ]


# Small tensors on several threads spend their time waiting, the more the busier the machine is.
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def make_module(
    conditions: list[str], loss: PerceptualLoss | None, width: float = 0.125, **options: Any
) -> MultiStyleModule:
    """A module that trains a small network for style transfer, and does not compile its step."""
    objective = StyleTransfer(loss) if loss else None
    network = partial(TransformerNet, width=width)
    options = {"compile": False} | options
    return MultiStyleModule(conditions, network, objective, **options)


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess:
    return fork_server.run(command, cwd)


def load_checkpoint(path: Path) -> dict:
    return torch.load(path, map_location="cpu", weights_only=True)
