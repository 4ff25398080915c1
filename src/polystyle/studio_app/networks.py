"""The networks that the page offers, loaded when they are first asked for, and again when their
files were replaced. Imports no Gradio."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from polystyle.files.path_kind import MODEL_NAME
from polystyle.networks.model_file import PRETRAINED, load_model, model_path
from polystyle.painting.painter import Painter, find_device
from polystyle.style_names import IDENTITY_STYLE

# The folder where polystyle-train writes a folder for each run.
RUNS_FOLDER = Path("outputs")


@dataclass(frozen=True)
class Network:
    """A network that is loaded.

    Attributes:
        painter: paints with it.
        names: the styles that come from paintings.
        thumbnails: small JPEGs of the paintings, by style name; some may lack.
        stamp: what tells a file from one that replaces it.
    """

    painter: Painter
    names: list[str]
    thumbnails: dict[str, bytes]
    stamp: tuple[int, int, int]

    @property
    def has_identity_style(self) -> bool:
        return IDENTITY_STYLE in self.painter.style_names


class Networks:
    """The networks by the names that `--model` takes.

    Args:
        models: those asked for, the first of which is chosen at the start; if there is none, the
            network that comes with polystyle.
        device: see `Painter`.

    Raises:
        OSError, ValueError: one of them can't be loaded, or there is no such device.
    """

    def __init__(self, models: Sequence[Path], device: str) -> None:
        find_device(device)
        self.device = device
        self.asked = [str(path) for path in models] or [PRETRAINED]
        self.loaded: dict[str, Network] = {}
        self.lock = threading.Lock()
        for name in self.asked:
            self.get(name)

    def choices(self) -> list[str]:
        """The names of all networks: those asked for, the runs that have one, and the one that
        comes with polystyle."""
        runs = [str(path.parent) for path in sorted(RUNS_FOLDER.glob(f"*/{MODEL_NAME}"))]
        return list(dict.fromkeys([*self.asked, *runs, PRETRAINED]))

    def get(self, name: str) -> Network:
        """A network; loaded again if its file is no longer the one that was loaded.

        Raises:
            OSError, ValueError: there is no such network, or it can't be loaded.
        """
        if name not in self.choices():
            raise ValueError(f"the page offers no network {name}")
        path = model_path(Path(name))
        status = path.stat()
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        with self.lock:
            known = self.loaded.get(name)
            if known is None or known.stamp != stamp:
                model = load_model(path)
                painter = Painter(model, self.device)
                self.loaded[name] = Network(painter, model.painted_names, model.thumbnails, stamp)
            return self.loaded[name]
