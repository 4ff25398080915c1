"""Train one network that paints any photo in many styles, and paint with it."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from polystyle.painting.painter import Painter

__version__ = version("polystyle")


def load(
    path: str | Path = "pretrained",
    device: str = "auto",
    precision: str = "float32",
    network: "type[nn.Module] | None" = None,
) -> "Painter":
    """Load a trained network to paint with: ``load("outputs/monet")(photo, "wave")``.

    Args:
        path: a model file, or the folder of the run that wrote it. By default, the network that
            comes with polystyle.
        device, precision: see `polystyle.painting.painter.Painter`.
        network: the class of the network, if it is not one of polystyle's own.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the path is something else, such as a checkpoint; its network is of another
            class; or there is no such device or precision.
    """
    # Imported here, so that commands that need no torch start at once.
    from polystyle.networks.model_file import load_model
    from polystyle.painting.painter import Painter

    return Painter(load_model(Path(path), network), device, precision)
