"""MultiStyleModule under Lightning: what is in a checkpoint, what is trained, what is logged."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from training import load_checkpoint, make_folders

from polystyle.data import StyleTransferData
from polystyle.losses import PerceptualLoss
from polystyle.module import MultiStyleModule
from polystyle.vgg import VGG16

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning",
    "ignore:.*LeafSpec.* is deprecated",
)


@pytest.fixture
def data(tmp_path: Path) -> StyleTransferData:
    photos, paintings = make_folders(tmp_path)
    return StyleTransferData(
        photos, paintings, 32, 32, batch_size=3, num_workers=0, val_fraction=0.5, num_val_photos=2
    )


@pytest.fixture
def module(data: StyleTransferData) -> MultiStyleModule:
    torch.manual_seed(0)
    return MultiStyleModule(data.style_names, PerceptualLoss(VGG16(weights="random")), width=0.125)


def trainer(root: Path, **options) -> pl.Trainer:
    return pl.Trainer(
        default_root_dir=root,
        accelerator="cpu",
        max_epochs=-1,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"logger": False, "enable_checkpointing": False} | options,
    )


def test_vgg_is_in_no_checkpoint_and_stays_in_eval_mode(
    tmp_path: Path, data: StyleTransferData, module: MultiStyleModule
) -> None:
    fit = trainer(tmp_path, max_steps=2, val_check_interval=1)
    before = {name: buffer.clone() for name, buffer in module.loss.vgg.named_buffers()}
    fit.fit(module, datamodule=data)
    fit.save_checkpoint(tmp_path / "some.ckpt")
    checkpoint = load_checkpoint(tmp_path / "some.ckpt")
    assert {name.split(".")[0] for name in checkpoint["state_dict"]} == {"net"}
    (optimizer,) = checkpoint["optimizer_states"]
    assert len(optimizer["state"]) == len(list(module.net.parameters()))
    module.train()
    assert not any(part.training for part in module.loss.vgg.modules())
    for name, buffer in module.loss.vgg.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_every_style_and_every_convolution_learns(
    tmp_path: Path, data: StyleTransferData, module: MultiStyleModule
) -> None:
    before = {name: tensor.clone() for name, tensor in module.net.state_dict().items()}
    trainer(tmp_path, max_steps=2, limit_val_batches=0).fit(module, datamodule=data)
    for name, tensor in module.net.state_dict().items():
        changed = (tensor != before[name]).flatten(1).any(1)
        assert changed.all(), f"{name}: {changed.tolist()}"


def test_the_style_loss_of_every_style_is_logged_by_name(
    tmp_path: Path, data: StyleTransferData, module: MultiStyleModule
) -> None:
    fit = trainer(tmp_path, max_steps=1, val_check_interval=1)
    fit.fit(module, datamodule=data)
    logged = fit.logged_metrics
    each = [logged[f"val_style_loss/{name}"] for name in data.style_names]
    assert logged["val/style_loss"] == pytest.approx(float(sum(each)) / 3, rel=1e-5)
    with torch.no_grad():
        photos = data.val_photos
        for index, value in enumerate(each):
            style = torch.full((len(photos),), index)
            expected = module.loss(photos, module(photos, style), style)["style_loss"].mean()
            assert value == pytest.approx(float(expected), rel=1e-4)


def test_accumulated_batches_are_drawn_once(
    tmp_path: Path, data: StyleTransferData, module: MultiStyleModule
) -> None:
    seen = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            seen.append(batch["content"].sum().item())

    options = {"accumulate_grad_batches": 2, "limit_val_batches": 0, "callbacks": [Watch()]}
    first = trainer(tmp_path, max_steps=2, **options)
    first.fit(module, datamodule=data)
    first.save_checkpoint(tmp_path / "some.ckpt")
    second = trainer(tmp_path, max_steps=4, **options)
    second.fit(module, datamodule=data, ckpt_path=tmp_path / "some.ckpt", weights_only=True)
    assert len(seen) == len(set(seen)) == 8
