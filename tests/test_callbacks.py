"""What is written beside the training step."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim.lr_scheduler import ConstantLR
from training import make_folders

from polystyle.callbacks import ImagesPerSecond, ModelFile, ProgressBar, StylizedGrid
from polystyle.data import StyleTransferData
from polystyle.losses import PerceptualLoss
from polystyle.module import MultiStyleModule
from polystyle.vgg import VGG16

pytestmark = pytest.mark.filterwarnings("ignore")
SIDE = 32
CELL = SIDE + 4  # make_grid's padding


@pytest.fixture
def data(tmp_path: Path) -> StyleTransferData:
    photos, paintings = make_folders(tmp_path)
    data = StyleTransferData(
        photos, paintings, SIDE, 40, batch_size=2, num_workers=0, val_fraction=0.5
    )
    data.setup()
    return data


@pytest.fixture
def module(data: StyleTransferData) -> MultiStyleModule:
    torch.manual_seed(0)
    loss = PerceptualLoss(VGG16(weights="random"))
    constant = partial(ConstantLR, factor=1.0)
    return MultiStyleModule(data.style_names, loss, width=0.125, scheduler=constant)


def cell(grid: torch.Tensor, row: int, column: int) -> torch.Tensor:
    top, left = 4 + row * CELL, 4 + column * CELL
    return grid[:, top : top + SIDE, left : left + SIDE]


def test_the_grid_has_paintings_on_top_and_photos_down_the_side(
    data: StyleTransferData, module: MultiStyleModule, tmp_path: Path
) -> None:
    callback = StylizedGrid(tmp_path / "stylized", max_photos=2, max_styles=2)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.datamodule = data
    grid = callback.grid(trainer, module)
    assert grid.shape == (3, 4 + 3 * CELL, 4 + 3 * CELL)
    assert (cell(grid, 0, 0) == 1).all()
    for row, photo in enumerate(data.val_photos[:2], start=1):
        assert torch.equal(cell(grid, row, 0), photo)
        for style in range(2):
            with torch.no_grad():
                stylized = module(photo[None], torch.tensor([style]))[0]
            assert torch.equal(cell(grid, row, 1 + style), stylized)
    middle = data.paintings["haze"][:, 4:36, :]
    assert abs(cell(grid, 0, 2).mean() - middle.mean()) < 0.05


def test_tensorboard_has_everything_that_people_look_for(
    data: StyleTransferData, module: MultiStyleModule, tmp_path: Path
) -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=2,
        max_epochs=-1,
        val_check_interval=1,
        check_val_every_n_epoch=None,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=TensorBoardLogger(tmp_path, name="tensorboard", version=""),
        callbacks=[
            StylizedGrid(tmp_path / "stylized"),
            ModelFile(tmp_path / "model.safetensors", {"seed": 3}),
            ImagesPerSecond(),
            ProgressBar(),
            pl.callbacks.LearningRateMonitor(),
        ],
    )
    trainer.fit(module, datamodule=data)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    wanted = {f"val_style_loss/{name}" for name in data.style_names}
    wanted |= {f"{part}/{kind}" for part in ("train", "val") for kind in ("loss", "content_loss")}
    wanted |= {"train/style_loss", "val/style_loss", "train/images_per_second"}
    wanted |= {"train/learning_rate"}
    assert wanted <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("val/loss")] == [1, 2]
    assert [image.step for image in events.Images("stylized")] == [0, 1, 2]
    pictures = sorted(path.name for path in (tmp_path / "stylized").iterdir())
    assert pictures == ["step-000000.png", "step-000001.png", "step-000002.png"]
    shape = np.asarray(Image.open(tmp_path / "stylized/step-000002.png")).shape
    assert shape == (4 + (1 + len(data.val_photos)) * CELL, 4 + 4 * CELL, 3)
    assert (tmp_path / "model.safetensors").exists()


def test_images_per_second_counts_images_and_not_validation(monkeypatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    logged = []
    module = SimpleNamespace(log=lambda name, value: logged.append(value))
    trainer = SimpleNamespace(world_size=2, log_every_n_steps=2, global_step=0)
    callback = ImagesPerSecond()
    callback.on_train_start(trainer, module)
    for step in (1, 2, 3, 4):
        now += 0.5
        trainer.global_step = step
        callback.on_train_batch_end(trainer, module, None, {"style": torch.zeros(4)}, step)
        if step == 2:
            now += 60
            callback.on_validation_end(trainer, module)
    assert logged == pytest.approx([16.0, 16.0])
