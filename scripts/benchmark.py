"""How fast polystyle is on this machine: one table, and the same numbers as JSON.

Compared with the step as published code does it (float32, eager, contiguous tensors, both images
through VGG to relu4_3, `.item()` every step). Whatever is compared is run in turns, in one process,
and the median of the turns is shown.

    python scripts/benchmark.py                          this machine, 256 x 256, batches of 4
    python scripts/benchmark.py --batch-size 16 --photos PHOTOS --workers 15    on a GPU
"""

import argparse
import ctypes
import json
import logging
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import hydra
import lightning.pytorch as pl
import numpy as np
import torch
from hydra.utils import instantiate
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from polystyle.data.datamodule import StyleTransferData
from polystyle.losses.perceptual_loss import gram_matrix
from polystyle.losses.vgg import VGG16
from polystyle.networks.model_file import Model
from polystyle.networks.transformer_net import TransformerNet
from polystyle.painting.painter import Painter
from polystyle.training.module import MultiStyleModule, channels_last
from polystyle.training.trainer import best_precision

# The published step lives with the tests: tests/test_published_step.py compares our losses with it.
sys.path.append(str(Path(__file__).parents[1] / "tests/stress"))
from published_step import STYLE_LAYERS, PublishedStep

MATRIX_SIZE = 4096

Row = dict[str, str | float | None]


def main() -> None:
    args = parser().parse_args()
    warnings.filterwarnings("ignore")  # Lightning's and Dynamo's advice
    for chatty in ("torch.utils.cpp_extension", "lightning.pytorch"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    torch.set_float32_matmul_precision("high")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        bench = Benchmark(args, device, Path(folder))
        sections = {
            "steps": bench.steps,
            "pieces": bench.pieces,
            "styles": bench.styles,
            "loader": bench.loader,
            "training": bench.training,
            "stylize": bench.stylize,
        }
        result = {"machine": bench.machine}
        print_rows("machine", [bench.machine])
        for name in args.only or sections:
            torch.compiler.reset()  # each section compiles the same code for shapes of its own
            result[name] = sections[name]()
            print_rows(name, result[name])
    args.output.write_text(json.dumps(result, indent=2) + "\n")
    minutes = (time.monotonic() - started_at) / 60
    print(f"\nWrote {args.output} after {minutes:.1f} minutes.")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7, help="turns: their median is shown")
    parser.add_argument("--photos", type=Path, help="folder to load from; else 200 made-up photos")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of the loader")
    parser.add_argument("--steps", type=int, default=15, help="of the training from end to end")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=["steps", "pieces", "styles", "loader", "training", "stylize"],
        help="these sections (default: all)",
    )
    parser.add_argument("--output", type=Path, default=Path("benchmark.json"))
    return parser


def print_rows(title: str, rows: list[Row]) -> None:
    """A table with a column for each key of the rows."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns] + [[shown(row.get(column)) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{title}")
    for line in cells:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))


def shown(value: str | float | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:,.{1 if value >= 20 else 3}f}"


def in_turns(
    candidates: dict[str, Callable[[], object]],
    repeats: int,
    device: torch.device,
    warm_up: int = 2,
) -> dict[str, float]:
    """Median seconds of each, after some turns that don't count."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    with tqdm(total=(repeats + warm_up) * len(candidates), disable=None, leave=False) as progress:
        for turn in range(repeats + warm_up):
            for name, candidate in candidates.items():
                synchronize(device)
                started_at = time.perf_counter()
                candidate()
                synchronize(device)
                if turn >= warm_up:
                    seconds[name].append(time.perf_counter() - started_at)
                progress.update()
    return {name: statistics.median(each) for name, each in seconds.items()}


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Callable[[], float | None]]:
    """Yields what tells, afterwards, how many gigabytes were taken at most beyond those before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield lambda: (torch.cuda.max_memory_allocated(device) - before) / 1e9
        return
    if platform.libc_ver()[0] != "glibc":
        yield lambda: None
        return
    statm = Path("/proc/self/statm")
    # What was freed must be gone, or a step would find its memory already there.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    samples = []
    done = threading.Event()

    def sample() -> None:
        while True:
            samples.append(int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
            if done.wait(0.005):
                return

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield lambda: (max(samples) - samples[0]) / 1e9
    finally:
        done.set()
        thread.join()


class OurStep:
    """One training step as `polystyle-train` does it, without Lightning around it."""

    def __init__(self, module: MultiStyleModule, precision: str, compile: bool) -> None:
        self.module = module
        self.autocast = precision == "bf16-mixed"
        self.losses = torch.compile(module.losses, dynamic=False) if compile else module.losses
        self.optimizer = module.configure_optimizers()["optimizer"]

    def __call__(self, content: Tensor, style: Tensor) -> None:
        with torch.autocast(content.device.type, torch.bfloat16, enabled=self.autocast):
            losses = self.losses(channels_last({"content": content, "style": style}))
        losses["loss"].mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


class Benchmark:
    """What is measured, on one machine, with one size of photos and batches."""

    def __init__(self, args: argparse.Namespace, device: torch.device, folder: Path) -> None:
        self.args = args
        self.device = device
        self.folder = folder
        self.precision = best_precision("auto")
        self.vgg = VGG16().to(device)
        size = args.image_size
        self.content = torch.rand(args.batch_size, 3, size, size, device=device)
        self.machine = self.measure_machine()

    def measure_machine(self) -> Row:
        matrix = torch.rand(MATRIX_SIZE, MATRIX_SIZE, device=self.device)
        half = matrix.bfloat16()
        seconds = in_turns(
            {"float32": lambda: matrix @ matrix, "bfloat16": lambda: half @ half}, 5, self.device
        )
        self.rates = {name: 2 * MATRIX_SIZE**3 / each / 1e9 for name, each in seconds.items()}
        name = torch.cuda.get_device_name() if self.device.type == "cuda" else processor()
        return {
            "device": name,
            "cores": os.cpu_count(),
            "torch": torch.__version__,
            "precision": self.precision,
            "float32 GFLOP/s": self.rates["float32"],
            "bfloat16 GFLOP/s": self.rates["bfloat16"],
        }

    def module(self, num_styles: int) -> MultiStyleModule:
        """As configured by default, with random paintings."""
        names = [f"style{number}" for number in range(num_styles)]
        with hydra.initialize_config_module("polystyle.configs", version_base="1.3"):
            cfg = hydra.compose("train", ["data.content_dir=photos", "data.style_dir=paintings"])
        torch.manual_seed(0)
        module = instantiate(
            cfg.model,
            conditions=names,
            network=instantiate(cfg.network, _partial_=True),
            objective=instantiate(cfg.objective),
        )
        module.to(self.device)
        loss = module.objective.loss
        loss.set_style_images({names[0]: [torch.rand(3, 256, 256)]})
        for layer in loss.style_weights:
            gram = loss.get_buffer(f"gram_{layer}")
            setattr(loss, f"gram_{layer}", gram.repeat(num_styles, 1, 1))
        loss.coefficients = loss.coefficients.repeat(num_styles)
        return module

    def style(self, num_styles: int) -> Tensor:
        return torch.arange(self.args.batch_size, device=self.device) % num_styles

    def our_step(self, num_styles: int, precision: str, compile: bool) -> Callable[[], None]:
        step = OurStep(self.module(num_styles), precision, compile)
        style = self.style(num_styles)
        return lambda: step(self.content, style)

    def steps(self) -> list[Row]:
        """The whole step: published, ours as it is, and ours without one thing or another."""
        paintings = torch.rand(10, 3, 256, 256, device=self.device)
        torch.manual_seed(0)
        net = TransformerNet(10).to(self.device)
        published, style = PublishedStep(net, VGG16().to(self.device), paintings), self.style(10)
        candidates = {
            "published": lambda: published(self.content, style),
            "ours": self.our_step(10, self.precision, compile=True),
            "ours, not compiled": self.our_step(10, self.precision, compile=False),
            "ours, in float32": self.our_step(10, "32-true", compile=True),
        }
        # What each really does: ours leaves out what nobody looks at. The counter can't see into
        # compiled code, which does the same as before it was compiled.
        gflop = {}
        for name in ("published", "ours, not compiled"):
            with FlopCounterMode(display=False) as counter:
                candidates[name]()
            gflop[name] = counter.get_total_flops() / 1e9
        seconds = in_turns(candidates, self.args.repeats, self.device)
        rows = []
        for name, each in seconds.items():
            single = self.precision == "32-true" or name in ("published", "ours, in float32")
            with peak_memory(self.device) as peak:
                candidates[name]()
            done = gflop.get(name, gflop["ours, not compiled"]) / each
            rows.append(
                {
                    "step": name,
                    "images/s": self.args.batch_size / each,
                    "seconds": each,
                    "times published": seconds["published"] / each,
                    "GFLOP/s": done,
                    "of the matrix rate": done / self.rates["float32" if single else "bfloat16"],
                    "peak GB": peak(),
                }
            )
        return rows

    def pieces(self) -> list[Row]:
        """Where the time goes: each part by itself, compiled like the whole."""
        module, style = self.module(10), self.style(10)
        content = channels_last({"content": self.content})["content"]
        stylized = content.clone().requires_grad_()
        optimizer = module.configure_optimizers()["optimizer"]
        layers = {"relu3_3": 1, **dict.fromkeys(STYLE_LAYERS, 1)}
        autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed"
        )
        with torch.no_grad(), autocast:
            maps = module.objective.loss.vgg(content, layers)
        maps = {name: each.detach().requires_grad_() for name, each in maps.items()}

        def run(function: Callable[[], Tensor], of: list[Tensor]) -> Callable[[], None]:
            compiled = torch.compile(function, dynamic=False)

            def go() -> None:
                with autocast:
                    total = compiled()
                torch.autograd.grad(total, of)

            return go

        @torch.no_grad()
        def content_features() -> Tensor:
            return module.objective.loss.vgg(content, ["relu3_3"])["relu3_3"]

        content_features = torch.compile(content_features, dynamic=False)

        def photo() -> None:
            with autocast:
                content_features()

        for parameter in module.net.parameters():
            parameter.grad = torch.zeros_like(parameter)
        candidates = {
            "network, forward and backward": run(
                lambda: module.net(content, style).float().sum(), list(module.net.parameters())
            ),
            "VGG of the photo, forward": photo,
            "VGG of the painting, forward and backward": run(
                lambda: sum(
                    each.float().sum()
                    for each in module.objective.loss.vgg(stylized, layers).values()
                ),
                [stylized],
            ),
            "Gram matrices, forward and backward": run(
                lambda: sum(gram_matrix(maps[name]).square().sum() for name in STYLE_LAYERS),
                [maps[name] for name in STYLE_LAYERS],
            ),
            "optimizer": optimizer.step,
        }
        seconds = in_turns(candidates, self.args.repeats, self.device)
        seconds["data, one batch on one core"] = self.args.batch_size / self.load(0)
        return [
            {"piece": name, "milliseconds": 1000 * each, "images/s": self.args.batch_size / each}
            for name, each in seconds.items()
        ]

    def styles(self) -> list[Row]:
        """One step with so many styles."""
        candidates = {
            str(number): self.our_step(number, self.precision, compile=True)
            for number in (1, 10, 100, 1000)
        }
        seconds = in_turns(candidates, self.args.repeats, self.device)
        return [
            {"styles": name, "seconds": each, "times one style": each / seconds["1"]}
            for name, each in seconds.items()
        ]

    def data(self, content_dir: Path, workers: int, **options: str) -> StyleTransferData:
        paintings = self.folder / "paintings"
        if not paintings.exists():
            make_photos(paintings, 10)
        return StyleTransferData(
            content_dir,
            paintings,
            image_size=self.args.image_size,
            batch_size=self.args.batch_size,
            num_workers=workers,
            **options,
        )

    def photos(self) -> Path:
        if self.args.photos:
            return self.args.photos
        photos = self.folder / "photos"
        if not photos.exists():
            make_photos(photos, 200)
        return photos

    def prepared(self) -> Path:
        from polystyle.prepare import prepare

        prepared = self.folder / "prepared"
        if not prepared.exists():
            prepare(self.photos(), prepared, size=self.args.image_size)
        return prepared

    def load(self, workers: int, content_dir: Path | None = None) -> float:
        """Images per second out of the loader."""
        data = self.data(content_dir or self.photos(), workers)
        data.trainer = pl.Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
        )
        data.setup()
        batches = iter(data.train_dataloader())
        count = max(10, 400 // self.args.batch_size)
        for _ in range(max(1, 4 * workers)):  # until those loaded ahead are used up
            next(batches)
        started_at = time.perf_counter()
        for _ in islice(batches, count):
            pass
        return count * self.args.batch_size / (time.perf_counter() - started_at)

    def loader(self) -> list[Row]:
        """The loader alone."""
        rows = []
        for name, folder in (("JPEG files", self.photos()), ("prepared", self.prepared())):
            for workers in sorted({1, self.args.workers}):
                rate = self.load(workers, folder)
                rows.append({"from": name, "worker processes": str(workers), "images/s": rate})
        return rows

    def training(self) -> list[Row]:
        """Training from end to end: Lightning, loader, step."""
        sources = {
            "JPEG files": self.data(self.photos(), self.args.workers),
            "prepared": self.data(self.prepared(), self.args.workers),
        }
        rows = []
        for name, data in sources.items():
            module = self.module(len(data.conditions))
            clock = Clock()
            trainer = pl.Trainer(
                max_steps=self.args.steps + Clock.WARM_UP,
                max_epochs=-1,
                precision=self.precision,
                limit_val_batches=0,
                use_distributed_sampler=False,
                devices=1,
                callbacks=[clock],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(module, datamodule=data)
            rate = self.args.steps * self.args.batch_size / clock.seconds
            rows.append({"training from": name, "images/s": rate})
        return rows

    def stylize(self) -> list[Row]:
        """Painting a photo, of several sizes, in one style and in 16 at once."""
        names = [f"style{number}" for number in range(16)]
        painter = Painter(Model(TransformerNet(16), names), self.device.type)
        candidates = {}
        for size in (512, 1024, 2048):
            photo = torch.rand(3, size, size, device=self.device)
            for styles in (names[:1], names):
                candidates[size, len(styles)] = partial(painter, photo, styles)
        # On a CPU each takes seconds to minutes.
        turns = (1, 0) if self.device.type == "cpu" else (5, 2)
        seconds = in_turns(candidates, turns[0], self.device, warm_up=turns[1])
        return [
            {"pixels": f"{size} x {size}", "styles": str(styles), "paintings/s": styles / each}
            for (size, styles), each in seconds.items()
        ]


class Clock(pl.Callback):
    """Times the steps after the first ones."""

    WARM_UP = 5

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_) -> None:
        if trainer.global_step == self.WARM_UP:
            synchronize(module.device)
            self.started_at = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        synchronize(module.device)
        self.seconds = time.perf_counter() - self.started_at


def make_photos(folder: Path, count: int) -> None:
    """JPEGs of 640 x 480, about as hard to decode as photos (some 100 KB each)."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        layers = torch.zeros(1, 3, 480, 640)
        for side in (3, 12, 48, 192):
            noise = torch.from_numpy(rng.random((1, 3, side, side), dtype=np.float32))
            layers += F.interpolate(noise, size=(480, 640), mode="bicubic") / 4
        pixels = (255 * layers[0].clamp(0, 1)).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{number:03}.jpg", quality=90)


def processor() -> str:
    """The processor's name, where Linux tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
