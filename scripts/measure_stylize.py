"""Measure what the README says about painting with a trained network.

Tiles against the whole picture, the look at three resolutions, strength against style loss, and
memory and time of a large photo.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from polystyle.data.images import load_image
from polystyle.data.samples import to_float
from polystyle.losses.perceptual_loss import PerceptualLoss
from polystyle.losses.vgg import VGG16
from polystyle.networks.model_file import load_model
from polystyle.painting.painter import Painter
from polystyle.painting.picture_tensors import resized
from polystyle.painting.tiles import paint_in_tiles
from polystyle.style_names import IDENTITY_STYLE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a model.safetensors, or a run's folder")
    parser.add_argument("photo", type=Path)
    parser.add_argument("painting", type=Path, help="a style's painting, named after the style")
    parser.add_argument("--megapixels", type=float, default=0, help="also paint a photo this large")
    args = parser.parse_args()
    model = load_model(args.model)
    painter = Painter(model)
    style = args.painting.stem
    photo = to_float(load_image(args.photo))
    tiles(painter, photo, style)
    resolutions(painter, photo, style)
    if IDENTITY_STYLE in model.style_names:
        strengths(painter, photo, style, to_float(load_image(args.painting)))
    if args.megapixels:
        large(args.model, args.photo, style, args.megapixels)


def levels(difference: Tensor) -> str:
    difference = difference.abs() * 255
    return f"largest {difference.max():.3f}, mean {difference.mean():.4f} levels of 255"


@torch.inference_mode()
def tiles(painter: Painter, photo: Tensor, style: str) -> None:
    """How far a picture painted in tiles is from the same picture painted whole."""
    index = torch.tensor([painter.style_names.index(style)], device=painter.device)
    content = photo[None].to(painter.device)
    whole = painter.net(content, index)
    for rows in (32, 128):
        tiled = paint_in_tiles(painter.net, content, index, rows)
        print(f"tiles of {rows} rows against the whole picture: {levels(tiled - whole)}")


def resolutions(painter: Painter, photo: Tensor, style: str) -> None:
    """How far the look of a photo at other resolutions is from its look at its own."""
    height, width = photo.shape[-2:]
    for scale in (1.0, None):
        here = painter(photo, style, scale=scale)
        for factor in (0.5, 2.0, 4.0):
            other = resized(photo, [round(height * factor), round(width * factor)])
            there = painter(other, style, scale=scale)
            # Compared at one small size, as a viewer sees them.
            small = [height // 4, width // 4]
            difference = (resized(there, small) - resized(here, small)).abs().mean() * 255
            name = "native" if scale is None else f"scale {scale:g}"
            print(f"{name}: at {factor:g} x the resolution, {difference:.1f} levels from its look")


def strengths(painter: Painter, photo: Tensor, style: str, painting: Tensor) -> None:
    loss = PerceptualLoss(VGG16())
    side = min(painting.shape[-2:])
    size = [round(length * 256 / side) for length in painting.shape[-2:]]
    loss.set_style_images({style: [resized(painting, size)]})
    for step in range(11):
        stylized = painter(photo, style, strength=step / 10)
        with torch.inference_mode():
            losses = loss(photo[None], stylized[None], torch.tensor([0]))
        print(
            f"strength {step / 10:.1f}: style loss {losses['style_loss'].item():.3f}, "
            f"content loss {losses['content_loss'].item():.3f}"
        )


def large(model: Path, photo: Path, style: str, megapixels: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        image = load_image(photo)
        factor = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
        image = image.resize((round(image.width * factor), round(image.height * factor)))
        path = Path(folder) / "large.jpg"
        image.save(path)
        size = f"{image.width} x {image.height}"
        del image
        command = [sys.executable, "-m", "polystyle.stylize", path, "--model", model]
        started = time.monotonic()
        subprocess.run([*command, "--style", style, "--output", folder], check=True)
        seconds = time.monotonic() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
        print(f"{size}: {seconds:.0f} s, at most {peak:.1f} GB of memory")


if __name__ == "__main__":
    main()
