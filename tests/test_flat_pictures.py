"""Pictures of one colour, and tiny ones, train and stylize like any other."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training import run, train_command

import polystyle
from polystyle.training.checkpoints import read_checkpoint

COLOURS = {"black": (0, 0, 0), "white": (255, 255, 255), "blue": (0, 0, 255), "grey": (99, 99, 99)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos and paintings of one colour, and one each of 16 x 16 pixels of noise."""
    root = tmp_path_factory.mktemp("flat")
    noise = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    for folder, pixels in zip(("photos", "paintings"), noise, strict=True):
        (root / folder).mkdir()
        for name, colour in COLOURS.items():
            Image.new("RGB", (64, 48), colour).save(root / folder / f"{name}.png")
        Image.fromarray(pixels).save(root / folder / "noise.png")
    return root


@pytest.mark.slow
def test_they_train_and_stylize_without_nan(folders: Path) -> None:
    overrides = ("data.identity_style=true", "hydra.run.dir=flat", "data.batch_size=5")
    steps = ("trainer.max_steps=12", "trainer.val_check_interval=6", "data.num_workers=1")
    result = run(train_command(folders, *overrides, *steps), folders)
    assert result.returncode == 0, result.stderr
    assert "not finite" not in result.stdout
    read_checkpoint(folders / "flat/checkpoints/last.ckpt")  # refuses what is not finite
    painter = polystyle.load(folders / "flat/model.safetensors")
    assert len(painter.style_names) == 6
    for path in (folders / "photos").iterdir():
        photo = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) / 255
        for style in painter.style_names:
            stylized = painter(photo, style)
            assert stylized.shape == photo.shape
            assert stylized.isfinite().all(), (path.stem, style)
            assert stylized.min() >= 0 and stylized.max() <= 1
