"""How soon a recipe comes to a good picture: seconds of training to the held-out loss that the
published recipe (Adam at 1e-3, constant) has after as many images.

    python scripts/compare_recipes.py PHOTOS PAINTINGS

Compiling, loading and validating are not in the seconds. Every recipe sees the same photos.
"""

import argparse
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch.optim import Adam
from torch.optim.lr_scheduler import OneCycleLR

from polystyle.data.datamodule import StyleTransferData
from polystyle.losses.perceptual_loss import PerceptualLoss
from polystyle.losses.style_transfer import StyleTransfer
from polystyle.losses.vgg import VGG16
from polystyle.networks.transformer_net import TransformerNet
from polystyle.training.module import MultiStyleModule, channels_last
from polystyle.training.trainer import best_precision

# What each has beyond the one before it; the last is experiment=fast.
RECIPES = {
    "published": {},
    "one cycle": {"one_cycle": True},
    "one cycle, style_lr_multiplier 10": {"one_cycle": True, "style_lr_multiplier": 10.0},
    "fast": {"one_cycle": True, "style_lr_multiplier": 10.0, "progressive_share": 0.6},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("paintings", type=Path)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=["published", "fast"])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument(
        "--every", type=int, default=25, help="steps from one validation to another"
    )
    args = parser.parse_args()
    curves = {}
    for name in args.recipes:
        curves[name] = []
        for step, seconds, losses in train(args, **RECIPES[name]):
            curves[name].append((seconds, losses["loss"]))
            shown = ", ".join(f"{each} {value:.3f}" for each, value in losses.items())
            print(f"{name}: step {step}, {seconds:.0f} s: {shown}", flush=True)
    _, target = curves[args.recipes[0]][-1]
    reached = {
        name: next((seconds for seconds, loss in curve if loss <= target), None)
        for name, curve in curves.items()
    }
    for name, curve in curves.items():
        when = "never"
        if reached[name] is not None:
            sooner = reached[args.recipes[0]] / reached[name]
            when = f"after {reached[name]:.0f} s, {sooner:.1f} times as soon"
        print(f"{name}: loss {target:.3f} {when}; at the end {curve[-1][1]:.3f}")


def train(
    args: argparse.Namespace,
    one_cycle: bool = False,
    style_lr_multiplier: float | None = None,
    progressive_share: float = 0.0,
) -> Iterator[tuple[int, float, dict[str, float]]]:
    """Steps, seconds of training so far and held-out losses, now and then."""
    torch.manual_seed(0)
    data = StyleTransferData(
        str(args.photos),
        str(args.paintings),
        image_size=args.image_size,
        batch_size=args.batch_size,
        progressive_share=progressive_share,
    )
    # It only tells the data where it is.
    data.trainer = pl.Trainer(
        accelerator="auto",
        devices=1,
        max_steps=args.steps,
        logger=False,
        enable_checkpointing=False,
    )
    data.setup()
    device = data.trainer.strategy.root_device
    module = MultiStyleModule(
        data.conditions,
        TransformerNet,
        StyleTransfer(PerceptualLoss(VGG16())),
        style_lr_multiplier=style_lr_multiplier or 1.0,
    ).to(device)
    module.objective.prepare(data)
    # torch's own: absent styles move on.
    published = Adam(module.net.parameters(), lr=1e-3)
    optimizer = published if style_lr_multiplier is None else module.configure_optimizers()
    scheduler = OneCycleLR(optimizer, max_lr=4e-3, total_steps=args.steps) if one_cycle else None
    mixed = partial(
        torch.autocast, device.type, torch.bfloat16, best_precision("auto") == "bf16-mixed"
    )
    compiled = torch.compile(module.losses, dynamic=False)
    style = torch.zeros(args.batch_size, dtype=torch.long, device=device)
    for size in data.crop_sizes:
        content = torch.zeros(args.batch_size, 3, size, size, device=device)
        with mixed():
            loss = compiled(channels_last({"content": content, "style": style}))["loss"].mean()
        torch.autograd.grad(loss, list(module.net.parameters()))

    seconds = 0.0
    for step, batch in enumerate(data.train_dataloader(), start=1):
        batch = data.on_after_batch_transfer(
            {name: values.to(device) for name, values in batch.items()}
        )
        started_at = time.perf_counter()
        with mixed():
            loss = compiled(channels_last(batch))["loss"].mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if scheduler:
            scheduler.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds += time.perf_counter() - started_at
        if step % args.every == 0 or step == args.steps:
            with torch.no_grad(), mixed():
                yield step, seconds, validate(module, data)
        if step == args.steps:
            return


def validate(module: MultiStyleModule, data: StyleTransferData) -> dict[str, float]:
    """Means over all styles and held-out photos."""
    sums = {"loss": 0.0, "content_loss": 0.0, "style_loss": 0.0}
    photos = data.val_photos.to(module.device)
    for index in range(len(data.conditions)):
        style = torch.full((len(photos),), index, device=module.device)
        losses = module.losses({"content": photos, "style": style})
        for name in sums:
            sums[name] += losses[name].mean().item() / len(data.conditions)
    return sums


if __name__ == "__main__":
    main()
