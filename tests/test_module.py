"""MultiStyleModule under Lightning: what is in a checkpoint, what is trained, what is logged."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch.optim.lr_scheduler import ConstantLR, OneCycleLR
from training import load_checkpoint, make_folders, make_module

from polystyle.data.datamodule import StyleTransferData
from polystyle.losses.perceptual_loss import PerceptualLoss
from polystyle.losses.style_transfer import is_varied
from polystyle.losses.vgg import VGG16
from polystyle.networks.model_file import Model
from polystyle.networks.style_rows import rows_of, with_rows
from polystyle.networks.transformer_net import TransformerNet
from polystyle.training.module import Batch, MultiStyleModule

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
    return make_module(data.conditions, PerceptualLoss(VGG16(weights="random")))


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
    before = {name: buffer.clone() for name, buffer in module.objective.loss.vgg.named_buffers()}
    fit.fit(module, datamodule=data)
    fit.save_checkpoint(tmp_path / "some.ckpt")
    checkpoint = load_checkpoint(tmp_path / "some.ckpt")
    assert {name.split(".")[0] for name in checkpoint["state_dict"]} == {"net"}
    (optimizer,) = checkpoint["optimizer_states"]
    convolutions = set(module.net.state_dict()) - set(rows_of(module.net))
    assert len(optimizer["state"]) == len(convolutions) + 1  # all rows have one state
    module.train()
    assert not any(part.training for part in module.objective.loss.vgg.modules())
    for name, buffer in module.objective.loss.vgg.named_buffers():
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
    each = [logged[f"val_style_loss/{name}"] for name in data.conditions]
    assert logged["val/style_loss"] == pytest.approx(float(sum(each)) / 3, rel=1e-5)
    with torch.no_grad():
        photos = data.val_photos
        for index, value in enumerate(each):
            style = torch.full((len(photos),), index)
            losses = module.losses({"content": photos, "style": style})
            expected = losses["style_loss"].mean()
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


def make_base(*style_names: str, width: float = 0.125) -> Model:
    net = TransformerNet(len(style_names), width)
    rows = {name: torch.randn_like(row) for name, row in rows_of(net).items()}
    return Model(with_rows(net, rows), list(style_names))


def test_new_styles_alone_are_trained(tmp_path: Path, data: StyleTransferData) -> None:
    base = make_base("sky", "sea")
    before = {name: tensor.clone() for name, tensor in base.net.state_dict().items()}
    loss = PerceptualLoss(VGG16(weights="random"))
    module = make_module(data.conditions, loss, base=base)
    rows = rows_of(module.net)
    fit = trainer(tmp_path, max_steps=2, limit_val_batches=0)
    fit.fit(module, datamodule=data)
    (optimizer,) = fit.optimizers
    trained = {id(each) for group in optimizer.param_groups for each in group["params"]}
    parameters = dict(module.net.named_parameters())
    assert trained == {id(parameters[name]) for name in rows}
    model = module.trained()
    assert model.style_names == ["sky", "sea", *data.conditions]
    for name, tensor in model.net.state_dict().items():
        old = tensor[:2] if name in rows else tensor
        assert torch.equal(old, before[name]), name
        assert torch.equal(base.net.state_dict()[name], before[name]), name
        if name in rows:
            assert torch.equal(tensor[2:], module.net.state_dict()[name])
            assert (tensor[2:, None] != before[name]).any(2).all(), name


def test_a_new_style_begins_as_the_nearest_old_one(
    tmp_path: Path, data: StyleTransferData, vgg: VGG16
) -> None:
    base = make_base("sky", "sea", "sun")
    module = make_module(data.conditions, PerceptualLoss(vgg), base=base)
    fit = trainer(tmp_path, max_steps=1, limit_val_batches=0)
    # So that each is nearest to another, the paintings are what the old styles paint.
    data.setup()
    with torch.no_grad():
        painted = base.net(data.val_photos[:1].expand(3, -1, -1, -1), torch.arange(3))
    data.setup = lambda stage=None: None
    data.paintings = {
        name: [image] for name, image in zip(data.conditions, painted[[2, 0, 1]], strict=True)
    }

    class Stop(pl.Callback):
        def on_train_start(self, trainer, pl_module) -> None:
            for name, row in rows_of(pl_module.net).items():
                assert torch.equal(row, rows_of(base.net)[name][[2, 0, 1]]), name
            trainer.should_stop = True

    fit.callbacks.append(Stop())
    fit.fit(module, datamodule=data)


def test_a_network_trained_from_the_start_is_all_there_is(module: MultiStyleModule) -> None:
    assert module.trained().net is module.net
    assert module.trained().style_names == ["dots", "haze", "rust"]
    assert all(parameter.requires_grad for parameter in module.net.parameters())


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["wave", "sea"], "has the style sea already"),
        (["photo"], "has an identity style already: leave out data.identity_style"),
    ],
)
def test_a_name_that_the_network_has_is_refused(names: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make_module(names, loss=None, base=make_base("sea", "photo"))


def test_a_checkpoint_goes_on_with_its_own_network_only() -> None:
    base, other = make_base("sky"), make_base("sky")
    more_styles = Model(base.net, ["sea"])

    def module(base: Model | None) -> MultiStyleModule:
        return make_module(["wave"], loss=None, base=base)

    def checkpoint(base: Model | None) -> dict:
        saved, trained = {}, module(base)
        trained.optimizers = lambda: SimpleNamespace(skipped_in_a_row=0)
        trained.on_save_checkpoint(saved)
        return saved

    module(None).on_load_checkpoint(checkpoint(None))
    module(None).on_load_checkpoint({"style_names": ["wave"]})  # of an earlier polystyle
    module(more_styles).on_load_checkpoint(checkpoint(base))
    with pytest.raises(ValueError, match="adds styles to a network: name it with model_file="):
        module(None).on_load_checkpoint(checkpoint(base))
    with pytest.raises(ValueError, match="trains a whole network: leave out model_file"):
        module(base).on_load_checkpoint(checkpoint(None))
    with pytest.raises(ValueError, match="adds styles to another network than model_file"):
        module(other).on_load_checkpoint(checkpoint(base))


def test_nothing_is_learned_from_a_photo_of_one_colour(
    tmp_path: Path, data: StyleTransferData, module: MultiStyleModule
) -> None:
    # It would be 1e37 and not finite: see `is_varied`.
    fit = trainer(tmp_path, max_steps=1, limit_val_batches=0)
    fit.fit(module, datamodule=data)
    noise = torch.rand(1, 3, 32, 32)
    blue = torch.zeros(1, 3, 32, 32)
    blue[:, 2] = 1
    style = torch.tensor([0, 1, 2])

    def gradients(content: torch.Tensor) -> list[torch.Tensor]:
        module.zero_grad()
        loss = module.training_step({"content": content, "style": style[: len(content)]}, 0)
        loss.backward()
        assert loss.isfinite()
        return [len(content) * each.grad.clone() for each in module.net.parameters()]

    alone = gradients(noise)
    for flat in (torch.zeros_like(blue), torch.ones_like(blue), blue, blue / 2):
        for one, other in zip(alone, gradients(torch.cat([noise, flat, flat])), strict=True):
            torch.testing.assert_close(one, other[: len(one)], rtol=1e-3, atol=1e-4)


def test_variety_in_one_channel_is_enough() -> None:
    content = torch.full((4, 3, 16, 16), 0.5)
    content[1, 2, 3, 3] = 1.0
    content[2, 0] += 0.5  # a colour, but one
    content[3] = torch.rand(3, 16, 16)
    assert is_varied(content).tolist() == [0, 1, 0, 1]


def test_a_loss_that_is_not_finite_makes_the_gradient_nan(
    tmp_path: Path, data: StyleTransferData, module: MultiStyleModule
) -> None:
    fit = trainer(tmp_path, max_steps=1, limit_val_batches=0)
    fit.fit(module, datamodule=data)
    batch = {"content": torch.rand(2, 3, 32, 32), "style": torch.tensor([0, 1])}

    def step(value: float) -> torch.Tensor:
        factor = torch.tensor([1.0, value])

        def losses(batch: Batch) -> dict[str, torch.Tensor]:
            return {"loss": module.losses(batch)["loss"] + factor.detach() - 1}

        module.training_losses = losses
        module.zero_grad()
        loss = module.training_step(batch, 0)
        loss.backward()
        return torch.cat([each.grad.flatten() for each in module.net.parameters()])

    assert step(1.0).isfinite().all()
    assert step(float("inf")).isnan().any()
    assert step(float("nan")).isnan().any()


@pytest.mark.parametrize("schedule", ["none", "constant", "one_cycle"])
def test_a_resumed_run_has_the_learning_rate_that_is_configured(
    tmp_path: Path, data: StyleTransferData, schedule: str
) -> None:
    loss = PerceptualLoss(VGG16(weights="random"))

    def fit(rate: float, **options: Any) -> MultiStyleModule:
        makers = {
            "none": None,
            "constant": partial(ConstantLR, factor=1.0),
            "one_cycle": partial(OneCycleLR, max_lr=4 * rate, total_steps=8),
        }
        module = make_module(data.conditions, loss, learning_rate=rate, scheduler=makers[schedule])
        run = trainer(tmp_path, limit_val_batches=0, max_steps=options.pop("max_steps"))
        run.fit(module, datamodule=data, weights_only=True, **options)
        return module

    def rate_of(module: MultiStyleModule) -> float:
        (group,) = module.trainer.optimizers[0].param_groups
        return group["lr"]

    path = tmp_path / "some.ckpt"
    fit(0.001, max_steps=4).trainer.save_checkpoint(path)
    without_a_break = rate_of(fit(0.001, max_steps=6))
    assert rate_of(fit(0.001, max_steps=6, ckpt_path=path)) == without_a_break
    changed = rate_of(fit(0.0001, max_steps=6, ckpt_path=path))
    assert changed == pytest.approx(without_a_break / 10)


def test_another_kind_of_schedule_does_not_resume() -> None:
    def make(scheduler: Any) -> MultiStyleModule:
        return make_module(["dots"], loss=None, scheduler=scheduler)

    schedule = make(partial(ConstantLR, factor=1.0)).configure_optimizers()
    checkpoint = {
        "style_names": ["dots"],
        "optimizer_states": [schedule["optimizer"].state_dict()],
        "lr_schedulers": [schedule["lr_scheduler"]["scheduler"].state_dict()],
    }
    make(partial(ConstantLR, factor=1.0)).on_load_checkpoint(checkpoint)
    for other in (None, partial(OneCycleLR, max_lr=1.0, total_steps=8)):
        with pytest.raises(ValueError, match="another kind of learning-rate schedule"):
            make(other).on_load_checkpoint(checkpoint)
