"""What only a GPU can show: the same numbers as the CPU's, in CUDA's own kernels and precisions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training import load_checkpoint, make_folders, run, train_command

from polystyle.losses.perceptual_loss import gram_matrix
from polystyle.networks.conditional_instance_norm import ConditionalInstanceNorm2d
from polystyle.networks.model_file import Model
from polystyle.networks.style_rows import rows_of
from polystyle.networks.transformer_net import TransformerNet
from polystyle.painting.painter import Painter

pytestmark = pytest.mark.gpu

DEVICE = "cuda"


@pytest.fixture(autouse=True)
def exact_float32() -> Iterator[None]:
    """No TF32 in convolutions: its 10 bits would hide an error of 1e-3."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def styles(kind: str) -> torch.Tensor:
    """Styles for three images of four styles."""
    if kind == "index":
        return torch.tensor([3, 0, 3])
    return torch.rand(3, 4) if kind == "mix" else torch.rand(3, 4, 5, 6)


def normalized_and_gradients(
    norm: ConditionalInstanceNorm2d, x: torch.Tensor, style: torch.Tensor, weights: torch.Tensor
) -> list[torch.Tensor]:
    """The layer's output, and the gradients of x, gamma and beta, in float64 on the CPU."""
    x = x.requires_grad_()
    output = norm(x, style)
    gradients = torch.autograd.grad((output * weights).sum(), [x, norm.gamma, norm.beta])
    return [tensor.detach().double().cpu() for tensor in (output, *gradients)]


@pytest.mark.parametrize("kind", ["index", "mix", "map"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_conditional_instance_norm_is_the_cpus_in_float64(
    kind: str, layout: torch.memory_format
) -> None:
    norm = ConditionalInstanceNorm2d(8, 4)
    torch.nn.init.normal_(norm.gamma)
    torch.nn.init.normal_(norm.beta)
    x, weights, style = 5 * torch.randn(3, 8, 20, 24) + 2, torch.randn(3, 8, 20, 24), styles(kind)
    mix = style if kind == "index" else style.double()
    expected = normalized_and_gradients(norm.double(), x.double(), mix, weights.double())
    x = x.to(DEVICE).contiguous(memory_format=layout)
    found = normalized_and_gradients(
        norm.float().to(DEVICE), x, style.to(DEVICE), weights.to(DEVICE)
    )
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def make_net() -> TransformerNet:
    net = TransformerNet(2, width=0.25).eval()
    for rows in rows_of(net).values():
        torch.nn.init.normal_(rows)
    return net


@pytest.mark.parametrize(
    ("precision", "most"), [("float32", 0.002), ("bfloat16", 0.1), ("float16", 0.02)]
)
def test_a_painting_is_the_cpus(precision: str, most: float) -> None:
    """Within so much of the range from 0 to 1, on average."""
    model = Model(make_net(), ["dots", "haze"])
    photo = torch.rand(3, 90, 120)
    expected = Painter(model, "cpu")(photo, ["dots", "haze"])
    painted = Painter(model, DEVICE, precision)(photo, ["dots", "haze"])
    assert all(picture.device == photo.device for picture in painted)
    for ours, theirs in zip(painted, expected, strict=True):
        assert theirs.std() > 0.05
        assert (ours - theirs).abs().mean() < most


def test_a_gram_matrix_of_float16_maps_does_not_overflow() -> None:
    # 300^2, summed over the positions, is over float16's 65,504 by far.
    features = (300 * torch.rand(2, 64, 32, 32)).to(DEVICE, torch.float16).requires_grad_()
    with torch.autocast(DEVICE, torch.float16):
        gram = gram_matrix(features)
    assert gram.dtype == torch.float32
    flat = features.detach().double().flatten(2)
    expected = flat @ flat.mT / flat.shape[-1]
    torch.testing.assert_close(gram.double(), expected, rtol=1e-4, atol=0)
    (gram.sum() / 1000).backward()
    assert features.grad.isfinite().all()
    assert features.grad.abs().max() > 0


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_network_in_bfloat16_has_the_gradients_of_float32(layout: torch.memory_format) -> None:
    """Autocast and channels last, as in training, against neither."""
    net = make_net().to(DEVICE)
    photo = torch.rand(2, 3, 64, 64, device=DEVICE)
    style = torch.tensor([1, 0], device=DEVICE)
    target = torch.rand(2, 3, 64, 64, device=DEVICE)

    def gradient(dtype: torch.dtype) -> torch.Tensor:
        with torch.autocast(DEVICE, dtype, enabled=dtype != torch.float32):
            painted = net(photo, style)
        loss = (painted.float() - target).square().mean()
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        return torch.cat([tensor.float().flatten() for tensor in gradients])

    expected = gradient(torch.float32)
    net.to(memory_format=layout)
    photo = photo.contiguous(memory_format=layout)
    found = gradient(torch.bfloat16)
    assert torch.cosine_similarity(found, expected, dim=0) > 0.9
    assert 0.8 < found.norm() / expected.norm() < 1.25


@pytest.mark.slow
def test_a_run_in_bfloat16_stops_and_goes_on(tmp_path: Path) -> None:
    make_folders(tmp_path)
    line = (
        *("trainer.accelerator=gpu", "trainer.devices=1", "trainer.precision=bf16-mixed"),
        *("data.num_workers=1", "trainer.val_check_interval=2"),
        *("hydra.run.dir=run", "ckpt_path=last"),
    )
    checkpoint = tmp_path / "run/checkpoints/last.ckpt"
    for steps in (2, 4):
        result = run(train_command(tmp_path, *line, f"trainer.max_steps={steps}"), tmp_path)
        assert result.returncode == 0, result.stderr
        assert load_checkpoint(checkpoint)["global_step"] == steps
    assert "Going on from run/checkpoints/last.ckpt, step 2\n" in result.stdout
    weights = load_checkpoint(checkpoint)["state_dict"]
    assert all(tensor.isfinite().all() for tensor in weights.values())
    assert (tmp_path / "run/model.safetensors").is_file()
