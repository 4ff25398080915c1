"""Train one network that paints any photo in many styles, and paint with it."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polystyle.painting.painter import Painter


def load(path: str | Path, device: str = "auto", precision: str = "float32") -> "Painter":
    """A trained network, ready to paint: ``load("model.safetensors")(photo, "wave")``.

    Args:
        path: a model file that training wrote.
        device, precision: see `polystyle.painting.painter.Painter`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that isn't a model, or no such device or precision.
    """
    # Here, so that commands which need no torch start at once.
    from polystyle.networks.model_file import load_model
    from polystyle.painting.painter import Painter

    return Painter(load_model(Path(path)), device, precision)
