"""The training step as it is run (bfloat16, channels last, compiled) against the plain one: the
same losses, the same gradients, no waiting for the device."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from published_step import PublishedStep
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from training import make_folders, make_module, train_command

from polystyle.data.datamodule import StyleTransferData
from polystyle.losses.perceptual_loss import PerceptualLoss
from polystyle.losses.vgg import VGG16
from polystyle.networks.conditional_instance_norm import ConditionalInstanceNorm2d
from polystyle.networks.transformer_net import TransformerNet
from polystyle.training.callbacks import ImagesPerSecond, ProgressBar, StopOnSignal
from polystyle.training.module import MultiStyleModule

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning",
    "ignore:.*LeafSpec.* is deprecated",
)

# How far a loss may be from the plain float32 step's, of itself; and the cosine that the gradients
# have at the least. bfloat16's 8 bits, through 30 layers and back, are 0.95 here, compiled or not.
FLOAT32 = (1e-4, 0.99999)
BFLOAT16 = (3e-2, 0.9)


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    """Photos with large and small forms, as photos have, and their styles."""
    torch.manual_seed(0)
    content = sum(
        torch.nn.functional.interpolate(torch.rand(3, 3, side, side), size=64, mode="bilinear")
        for side in (3, 9, 27)
    )
    return content / 3, torch.tensor([1, 0, 1])


@pytest.fixture(scope="module")
def plain(batch: tuple[Tensor, Tensor], true_weights: dict) -> tuple[dict, dict]:
    """Losses and gradients of the published step, in float32."""
    torch.manual_seed(0)
    step = PublishedStep(TransformerNet(2, width=0.25), VGG16(), paintings())
    content_loss, style_loss = step.losses(*batch)
    (content_loss + 5 * style_loss).mean().backward()
    losses = {"content_loss": content_loss, "style_loss": style_loss}
    return losses, dict(step.net.named_parameters())


def paintings() -> Tensor:
    torch.manual_seed(1)
    return torch.stack([torch.rand(3, 64, 64), torch.rand(3, 4, 4).repeat(1, 16, 16)])


def published_module() -> MultiStyleModule:
    torch.manual_seed(0)
    module = make_module(["noise", "tiles"], PerceptualLoss(VGG16(), style_weight=5.0), width=0.25)
    style_images = {n: [p] for n, p in zip(module.conditions, paintings(), strict=True)}
    module.objective.loss.set_style_images(style_images)
    return module


def as_dict(batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    return dict(zip(("content", "style"), batch, strict=True))


def check(module: MultiStyleModule, losses: dict, plain: tuple[dict, dict], within: tuple) -> None:
    losses["loss"].mean().backward()
    expected_losses, expected = plain
    for name, value in expected_losses.items():
        torch.testing.assert_close(losses[name], value, rtol=within[0], atol=0)
    ours = torch.cat([parameter.grad.flatten() for parameter in module.net.parameters()])
    theirs = torch.cat([expected[name].grad.flatten() for name, _ in module.net.named_parameters()])
    assert torch.cosine_similarity(ours, theirs, dim=0) > within[1]


@pytest.mark.parametrize(("autocast", "within"), [(False, FLOAT32), (True, BFLOAT16)])
def test_the_step_is_the_published_one(
    batch: tuple[Tensor, Tensor], plain: tuple[dict, dict], autocast: bool, within: tuple
) -> None:
    module = published_module()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        losses = module.losses(as_dict(batch))
    check(module, losses, plain, within)


@pytest.mark.slow
def test_the_compiled_step_is_the_published_one(
    batch: tuple[Tensor, Tensor], plain: tuple[dict, dict]
) -> None:
    module = published_module()
    # Whole, or it would be compiled in pieces, and slower for it.
    compiled = torch.compile(module.losses, dynamic=False, fullgraph=True)
    with torch.autocast("cpu", torch.bfloat16):
        losses = compiled(as_dict(batch))
    check(module, losses, plain, BFLOAT16)


def run_in(
    environment: dict[str, str], command: list[str], folder: Path
) -> subprocess.CompletedProcess:
    """A command with environment variables that torch reads when it is imported."""
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


SMALL_NET = """
from torch import nn
from polystyle.networks.transformer_net import ConvNorm


class SmallNet(nn.Module):
    def __init__(self, num_styles, width):
        super().__init__()
        self.first = ConvNorm(3, 4, 3, num_styles)
        self.last = ConvNorm(4, 3, 3, num_styles)

    def forward(self, content, style):
        return self.last(self.first(content, style).relu(), style).sigmoid()
"""

# polystyle's own network and all layers of VGG-16 take a minute to compile; the test above does.
QUICK_TO_COMPILE = (
    "network._target_=small_net.SmallNet",
    "loss.style_weights={relu1_2:1,relu2_2:0,relu3_3:0,relu4_3:0}",
    "loss.content_weights.relu3_3=0",
    "+loss.content_weights.relu1_2=1",
)


@pytest.mark.slow
def test_training_is_compiled_once_and_before_the_first_step(tmp_path: Path) -> None:
    make_folders(tmp_path)
    (tmp_path / "small_net.py").write_text(SMALL_NET)
    compiled = ("model.compile=true", "trainer.max_steps=3", *QUICK_TO_COMPILE)
    command = train_command(tmp_path, *compiled)
    result = run_in({"TORCH_LOGS": "recompiles"}, command, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Compiled in " in result.stdout
    assert "ecompil" not in result.stderr


@pytest.mark.slow
def test_training_goes_on_without_a_compiler(tmp_path: Path) -> None:
    make_folders(tmp_path)
    command = train_command(tmp_path, "model.compile=true", "trainer.max_steps=1")
    # Nothing out of the cache of earlier compilations: that needs no compiler.
    broken = {"CXX": "/no/such/compiler", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    result = run_in(broken, command, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "torch.compile failed (" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert "Step 1 of 1" in result.stdout


class Watch(TorchDispatchMode):
    """Counts what would make the program wait for a GPU: reading a number out of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None) -> object:
        if function.__name__.split(".")[0] in ("_local_scalar_dense", "nonzero", "is_nonzero"):
            self.waits.append(function.__name__)
        return function(*args, **(kwargs or {}))


class WatchSteps(pl.Callback):
    """Watches all that happens from one step's batch to the next."""

    def __init__(self) -> None:
        self.waits: dict[int, list[str]] = {}
        self.watch: Watch | None = None

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        self.end()
        self.step, self.watch = trainer.global_step, Watch()
        self.watch.__enter__()

    def on_train_end(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        if self.watch:
            self.watch.__exit__(None, None, None)
            self.waits[self.step] = self.watch.waits
            self.watch = None


@pytest.fixture
def unchecked_styles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On the CPU a style's index is looked at; on a GPU it isn't."""
    monkeypatch.setattr(ConditionalInstanceNorm2d, "_check", lambda *_: None)
    yield


def test_no_step_waits_for_the_device_but_those_that_are_logged(
    tmp_path: Path, vgg: VGG16, unchecked_styles: None
) -> None:
    photos, styles = make_folders(tmp_path)
    data = StyleTransferData(
        photos, styles, 32, 32, batch_size=3, num_workers=0, val_fraction=0.5, num_val_photos=2
    )
    module = make_module(data.conditions, PerceptualLoss(vgg))
    watch = WatchSteps()
    trainer = pl.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_steps=7,
        max_epochs=-1,
        log_every_n_steps=4,
        limit_val_batches=0,
        precision="bf16-mixed",
        callbacks=[watch, ProgressBar(), ImagesPerSecond(), StopOnSignal()],
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    # The fourth is logged, and the bar ends with the losses.
    assert [step for step, waits in watch.waits.items() if waits] == [3, 6]
