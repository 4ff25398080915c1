"""Measure how much a painted video flickers, with and without smoothed instance statistics.

    python scripts/measure_flicker.py outputs/monet data/sample/photos/coffee.jpg

Clips of known motion are cut out of one photo and painted frame by frame. Flicker is the mean
absolute difference of consecutive painted frames, the motion undone, in levels of 0 to 255.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from polystyle.data.images import load_image
from polystyle.data.samples import to_float
from polystyle.networks.model_file import load_model
from polystyle.painting.smoothing import smoothed_statistics
from polystyle.style_names import find_style

MOMENTA = (0, 0.5, 0.8, 0.9, 0.95)
SIDE = 160
NUM_FRAMES = 12
# At the edges the network sees its own padding.
MARGIN = 16

# The lamp's light is in the first columns; the others are measured from where the network, in one
# place of the painting, sees nothing of them.
LAMP, BEYOND_LAMP = 40, 104

# Frames [3, SIDE, SIDE] in [0, 1], and how many pixels each is to the right of the photo's edge.
Clip = list[tuple[Tensor, int]]


def window(photo: Tensor, left: int) -> Tensor:
    top = (photo.shape[1] - SIDE) // 2
    return photo[:, top : top + SIDE, left : left + SIDE]


def pan(photo: Tensor, generator: torch.Generator, step: int) -> Clip:
    """The camera turns to the right."""
    return [(window(photo, step * number), step * number) for number in range(NUM_FRAMES)]


def shake(photo: Tensor, generator: torch.Generator) -> Clip:
    """The camera trembles, by multiples of the network's stride."""
    lefts = 4 * torch.randint(0, 5, (NUM_FRAMES,), generator=generator)
    return [(window(photo, left), left) for left in lefts.tolist()]


def noise(photo: Tensor, generator: torch.Generator) -> Clip:
    """A camera on a tripod: noise of two levels in each pixel."""
    still = window(photo, 0)
    return [
        (still + 2 / 255 * torch.randn(still.shape, generator=generator), 0)
        for _ in range(NUM_FRAMES)
    ]


def exposure(photo: Tensor, generator: torch.Generator) -> Clip:
    """The whole picture is a little brighter or darker in each frame, by 2 %."""
    gains = 1 + 0.02 * torch.randn(NUM_FRAMES, generator=generator)
    return [(gain * window(photo, 0), 0) for gain in gains]


def lamp(photo: Tensor, generator: torch.Generator) -> Clip:
    """A lamp flickers in the left quarter of the picture; measured is the right half."""
    frames = []
    for level in torch.rand(NUM_FRAMES, generator=generator):
        frame = window(photo, 0).clone()
        frame[:, :, :LAMP] = frame[:, :, :LAMP].lerp(torch.ones(()), level)
        frames.append((frame, 0))
    return frames


SCENES: dict[str, Callable[[Tensor, torch.Generator], Clip]] = {
    "noise": noise,
    "exposure": exposure,
    "lamp": lamp,
    "shake": shake,
    "pan 4 px": lambda photo, generator: pan(photo, generator, 4),
    "pan 1 px": lambda photo, generator: pan(photo, generator, 1),
}


def sunset(photo: Tensor) -> list[Tensor]:
    """Three frames, then the light goes down by a third at once."""
    return [window(photo, 0)] * 3 + [window(photo, 0) * 2 / 3] * 8


def paint(net: torch.nn.Module, frames: list[Tensor], styles: Tensor, momentum: float) -> Tensor:
    """``[T, S, 3, SIDE, SIDE]`` in levels: every frame in every style."""
    painted = []
    with smoothed_statistics(net, momentum) as statistics, torch.inference_mode():
        for frame in frames:
            statistics.next_frame()
            # A camera knows whole levels only.
            content = frame.clamp(0, 1).mul(255).round().div(255)
            painted.append(net(content.expand(len(styles), -1, -1, -1), styles).mul(255))
    return torch.stack(painted)


def flicker(frames: Tensor, offsets: list[int], first_column: int) -> float:
    """The flicker of painted frames, as the module's docstring defines it.

    Args:
        frames: ``[T, ..., H, W]``.
        offsets: how many pixels each frame is to the right of the photo's edge.
        first_column: the first column that is measured.
    """
    differences = []
    for one, two, shift in zip(
        frames[:-1], frames[1:], (b - a for a, b in pairwise(offsets)), strict=True
    ):
        first = first_column + max(shift, 0)
        last = SIDE - MARGIN + min(shift, 0)
        difference = one[..., first:last] - two[..., first - shift : last - shift]
        differences.append(difference[..., MARGIN:-MARGIN, :].abs().mean())
    return torch.stack(differences).mean().item()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a model.safetensors, or a run's folder")
    parser.add_argument("photo", type=Path, help=f"at least {SIDE + 48} x {SIDE} pixels")
    parser.add_argument(
        "--style", action="append", help="a style's name; may be repeated (default: three of them)"
    )
    args = parser.parse_args()
    try:
        measure(args.model, args.photo, args.style)
    except (ValueError, OSError) as error:
        sys.exit(f"measure_flicker.py: {error}")


def measure(model: Path, path: Path, names: list[str] | None) -> None:
    trained = load_model(model)
    names = names or trained.painted_names[:: max(1, len(trained.painted_names) // 3)][:3]
    styles = torch.tensor([find_style(name, trained.style_names) for name in names])
    photo = to_float(load_image(path))
    if photo.shape[1] < SIDE or photo.shape[2] < SIDE + 4 * NUM_FRAMES:
        raise ValueError(f"{path} is smaller than {SIDE + 4 * NUM_FRAMES} x {SIDE} pixels")
    clips = {name: scene(photo, torch.Generator().manual_seed(0)) for name, scene in SCENES.items()}

    print(f"flicker of {path.name} in {', '.join(names)}, in levels of 0 to 255")
    columns = "".join(f"{name:>10}" for name in SCENES)
    print(f"{'momentum':<12}{columns}   after a change of light: at once, 8 frames on")

    def row(label: str, paint_frames: Callable[[list[Tensor]], Tensor]) -> str:
        cells = []
        for name, clip in clips.items():
            frames, offsets = [frame for frame, _ in clip], [offset for _, offset in clip]
            first_column = BEYOND_LAMP if name == "lamp" else MARGIN
            cells.append(f"{flicker(paint_frames(frames), offsets, first_column):>10.2f}")
        return f"{label:<12}" + "".join(cells)

    print(row("(unpainted)", lambda frames: torch.stack(frames).mul(255)), flush=True)
    unsmoothed = paint(trained.net, sunset(photo), styles, 0)
    with tqdm(total=len(MOMENTA), unit="momentum", disable=None, leave=False) as progress:
        for momentum in MOMENTA:
            smoothed = paint(trained.net, sunset(photo), styles, momentum)
            lag = (smoothed - unsmoothed).abs().mean((1, 2, 3, 4))
            text = row(str(momentum), partial(paint, trained.net, styles=styles, momentum=momentum))
            progress.write(f"{text}   {lag[3]:.2f}, {lag[-1]:.2f}")
            progress.update()


if __name__ == "__main__":
    main()
