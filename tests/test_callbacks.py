"""What is written beside the training step."""

from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins import MixedPrecision, Precision
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim.lr_scheduler import ConstantLR
from training import make_folders, make_module

from polystyle.data.datamodule import StyleTransferData
from polystyle.losses.perceptual_loss import PerceptualLoss
from polystyle.losses.vgg import VGG16
from polystyle.networks.model_file import load_model
from polystyle.training.callbacks import (
    LEAST_SCALE,
    ImagesPerSecond,
    ModelFile,
    ProgressBar,
    StopWhenNotFinite,
    settings_of,
)
from polystyle.training.checkpoints import CheckpointFiles, read_checkpoint
from polystyle.training.module import Batch, MultiStyleModule
from polystyle.training.stylized_grid import StylizedGrid

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
    return make_module(data.conditions, loss, scheduler=constant)


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
                stylized = module.net(photo[None], torch.tensor([style]))[0]
            assert torch.equal(cell(grid, row, 1 + style), stylized)
    middle = data.paintings["haze"][0][:, 4:36, :]
    assert abs(cell(grid, 0, 2).mean() - middle.mean()) < 0.05


def test_the_photo_rows_painting_is_a_white_cell(
    data: StyleTransferData, module: MultiStyleModule, tmp_path: Path
) -> None:
    data.paintings = {**data.paintings, "haze": []}
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.datamodule = data
    grid = StylizedGrid(tmp_path / "stylized").grid(trainer, module)
    assert (cell(grid, 0, 2) == 1).all()
    assert (cell(grid, 1, 2) != 1).any()
    assert (cell(grid, 0, 3) != 1).any()


def write_model(callback: ModelFile, data: StyleTransferData, module: MultiStyleModule) -> None:
    trainer = SimpleNamespace(
        datamodule=data,
        global_step=5,
        is_global_zero=True,
        fast_dev_run=False,
        sanity_checking=False,
        optimizers=[SimpleNamespace(skipped_in_a_row=0)],
    )
    callback.on_fit_start(trainer, module)
    callback.on_validation_end(trainer, module)


def test_the_model_file_has_a_thumbnail_of_each_painting(
    data: StyleTransferData, module: MultiStyleModule, tmp_path: Path
) -> None:
    data.paintings = {
        "dots": [torch.tensor([1.0, 0.5, 0.0])[:, None, None].expand(3, 128, 160)],
        "haze": [torch.rand(3, 300, 100)],
        "rust": [],
    }
    write_model(ModelFile(tmp_path / "some.safetensors"), data, module)
    thumbnails = load_model(tmp_path / "some.safetensors").thumbnails
    assert thumbnails.keys() == {"dots", "haze"}
    small = {name: Image.open(BytesIO(jpeg)) for name, jpeg in thumbnails.items()}
    assert small["dots"].size == (64, 51)
    assert small["haze"].size == (21, 64)
    assert all(picture.format == "JPEG" for picture in small.values())
    assert np.abs(np.asarray(small["dots"]) - [255.0, 127.5, 0.0]).max() < 4
    assert all(len(jpeg) < 4000 for jpeg in thumbnails.values())


def test_the_header_tells_each_time_that_styles_were_added(
    data: StyleTransferData, module: MultiStyleModule, tmp_path: Path
) -> None:
    path = tmp_path / "some.safetensors"
    data.seed = 3
    write_model(ModelFile(path), data, module)
    settings = {**settings_of(data), **settings_of(module.objective)}
    assert (settings["seed"], settings["image_size"], settings["style_weight"]) == (3, SIDE, 10.0)
    assert load_model(path).training == {**settings, "step": 5}
    for seed, name in enumerate(("wave", "sand")):
        adds = make_module([name], module.objective.loss, base=load_model(path))
        data.seed = seed
        data.paintings = {name: [torch.rand(3, 40, 40)]}
        write_model(ModelFile(path), data, adds)
    model = load_model(path)
    assert model.style_names == ["dots", "haze", "rust", "wave", "sand"]
    assert model.thumbnails.keys() == set(model.style_names)
    assert model.training == {
        **settings,
        "step": 5,
        "added": [
            {**settings, "styles": ["wave"], "seed": 0, "step": 5},
            {**settings, "styles": ["sand"], "seed": 1, "step": 5},
        ],
    }


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
            ModelFile(tmp_path / "model.safetensors"),
            ImagesPerSecond(),
            ProgressBar(),
            pl.callbacks.LearningRateMonitor(),
        ],
    )
    trainer.fit(module, datamodule=data)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    wanted = {f"val_style_loss/{name}" for name in data.conditions}
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


class StepsThatAreNotFinite(Callback):
    """Makes the loss of some steps NaN, counted from 1."""

    def __init__(self, steps: range, image: int = 0) -> None:
        self.steps = steps
        self.image = image

    def on_train_start(self, trainer: pl.Trainer, pl_module: MultiStyleModule) -> None:
        losses = pl_module.losses

        def broken(batch: Batch, ahead: int) -> dict[str, torch.Tensor]:
            values = losses(batch)
            if trainer.global_step + ahead in self.steps:
                values["loss"][self.image] = float("nan")
            return values

        pl_module.training_losses = partial(broken, ahead=1)
        pl_module.losses = partial(broken, ahead=0)  # asked again after the step


def fit_with_broken_steps(
    data: StyleTransferData,
    module: MultiStyleModule,
    root: Path,
    steps: range,
    image: int = 0,
    max_steps: int = 12,
    precision: Sequence[Precision] = (),
) -> pl.Trainer:
    trainer = pl.Trainer(
        default_root_dir=root,
        accelerator="cpu",
        max_steps=max_steps,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        val_check_interval=4,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        log_every_n_steps=2,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[CheckpointFiles(), *precision],
        logger=TensorBoardLogger(root, name="", version=""),
        callbacks=[
            StepsThatAreNotFinite(steps, image),
            StopWhenNotFinite(patience=3),
            ModelFile(root / "model.safetensors"),
            ModelCheckpoint(root, "last", every_n_train_steps=4, enable_version_counter=False),
        ],
    )
    trainer.fit(module, datamodule=data)
    return trainer


def test_steps_that_are_not_finite_are_skipped_and_counted(
    data: StyleTransferData,
    module: MultiStyleModule,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    trainer = fit_with_broken_steps(data, module, tmp_path, range(7, 9))
    assert trainer.global_step == 12
    assert trainer.optimizers[0].skipped == 2
    assert "Step 8: loss or gradient was not finite in 2 of the last 2 steps" in caplog.text
    # Step 8 is when there should be a checkpoint, and a model, of what may not be good.
    assert "The last step was skipped: no last.ckpt" in caplog.text
    events = EventAccumulator(str(tmp_path)).Reload()
    assert {event.value for event in events.Scalars("train/skipped_steps")} == {2}
    assert all(weight.isfinite().all() for weight in module.net.parameters())


def test_too_many_in_a_row_end_the_run_and_name_what_it_was(
    data: StyleTransferData, module: MultiStyleModule, tmp_path: Path
) -> None:
    # Step 8 would write over the checkpoint and the model of step 4.
    with pytest.raises(FloatingPointError) as error:
        fit_with_broken_steps(data, module, tmp_path, range(6, 13), image=1)
    style, photo = data.samples(7)[1]
    assert "not finite in steps 6 to 8, the last time in " in str(error.value)
    assert f"in {style} on {photo}. Try a lower" in str(error.value)
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 4
    assert load_model(tmp_path / "model.safetensors").training["step"] == 4


def test_float16_finds_a_scale_by_itself_and_ends_the_run_where_there_is_none(
    data: StyleTransferData, module: MultiStyleModule, tmp_path: Path
) -> None:
    def precision(scaler: torch.amp.GradScaler) -> list[Precision]:
        return [MixedPrecision("16-mixed", "cpu", scaler)]

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    fit_with_broken_steps(data, module, tmp_path / "found", range(0), 0, 2, precision(scaler))
    assert scaler.get_scale() < 2**20
    before = [weight.clone() for weight in module.net.parameters()]

    scaler = torch.amp.GradScaler("cpu", init_scale=4 * LEAST_SCALE)
    with pytest.raises(FloatingPointError) as error:
        fit_with_broken_steps(data, module, tmp_path / "none", range(9), 0, 8, precision(scaler))
    style, photo = data.samples(3)[0]
    assert "does not fit into float16, up to step 4, the last time in " in str(error.value)
    assert f"in {style} on {photo}. Try trainer.precision=32-true" in str(error.value)
    assert all(map(torch.equal, before, module.net.parameters()))


def test_samples_are_what_the_loader_gives(
    data: StyleTransferData, module: MultiStyleModule, tmp_path: Path
) -> None:
    for batch in range(3):
        images = [data.training_images[batch * 2 + place] for place in range(2)]
        styles = [style for style, _ in data.samples(batch)]
        assert [data.conditions[each["style"]] for each in images] == styles
        for each, (_, photo) in zip(images, data.samples(batch), strict=True):
            colours = np.asarray(Image.open(photo)).reshape(-1, 3).max(0)
            assert (each["pixels"].reshape(-1, 3).max(0).values.numpy() <= colours).all()
