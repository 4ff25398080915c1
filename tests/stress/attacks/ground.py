"""The folder that is attacked: photos, paintings, a network and a style pack."""

import io
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from polystyle.networks.model_file import Model, save_model
from polystyle.networks.style_pack import extract_style, save_style_pack
from polystyle.networks.style_rows import rows_of
from polystyle.networks.transformer_net import TransformerNet


def make_ground(folder: Path) -> None:
    """Photos, paintings, a network of three styles and one of its style packs."""
    rng = np.random.default_rng(0)
    for path in ("photos/a.png", "photos/b.png", "photos/c.png", "paintings/x.png", "wide.png"):
        size = (5, 90, 3) if path == "wide.png" else (36, 48, 3)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(folder / path)
    (folder / "no picture.png").write_text("no picture")
    (folder / "odd").mkdir()
    for name in ("\x1b[2J.png", "a\nb.png", "\udcff.png", f"{'x' * 240}.png"):
        with suppress(OSError):  # where the disk takes no such name
            shutil.copy(folder / "wide.png", folder / "odd" / name)
    model = make_model(["x", "y", "photo"])
    save_model(folder / "model.safetensors", model)
    save_style_pack(folder / "pack.safetensors", extract_style(model, "y"))


def make_model(names: list[str]) -> Model:
    torch.manual_seed(0)
    net = TransformerNet(len(names), width=0.125).eval()
    for row in rows_of(net).values():
        torch.nn.init.normal_(row)
    picture = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(picture, "JPEG")
    thumbnails = {name: picture.getvalue() for name in names if name != "photo"}
    return Model(net, names, {"step": 7, "image_size": 32, "style_size": 32}, thumbnails)


def train_arguments(*overrides: str) -> list[str]:
    """Arguments of polystyle-train in that folder: one small step, and nothing is written."""
    return [
        *("data.content_dir=photos", "data.style_dir=paintings", "data.num_workers=0"),
        *("data.image_size=32", "data.style_size=32", "data.batch_size=2"),
        *("data.num_val_photos=1", "network.width=0.125", "model.compile=false"),
        *("loss.vgg.weights=random", "trainer.accelerator=cpu", "trainer.max_steps=1"),
        *("trainer.fast_dev_run=true", "hydra.run.dir=run", *overrides),
    ]
