"""polystyle-evaluate: how well a network paints its styles, and whether another paints better."""

import argparse
import csv
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor
    from tqdm import tqdm

    from polystyle.losses import PerceptualLoss
    from polystyle.model_file import Model
    from polystyle.transformer_net import TransformerNet

# torch is imported where it is needed, so that --help answers at once.

DESCRIPTION = """Judge a network, style by style, on photos that training held out: content loss,
style loss, and how far it has come from the untouched photo (0 %) to pixels that are
optimised one by one (100 %). With a second network: which of the two is better."""
EPILOG = """A network in the folder of its run knows its photos and paintings: it needs no flag.

examples:
  polystyle-evaluate outputs/monet/model.safetensors
  polystyle-evaluate outputs/monet/model.safetensors outputs/longer/model.safetensors
  polystyle-evaluate model.safetensors --content-dir photos/ --style-dir paintings/
"""

# What is asked of the run that made a network: the key in its configuration, and the value where
# neither that nor the network's header has one.
SETTINGS = {
    "content_dir": ("data.content_dir", ""),
    "style_dir": ("data.style_dir", ""),
    "image_size": ("data.image_size", 256),
    "style_size": ("data.style_size", 256),
    "val_fraction": ("data.val_fraction", 0.05),
    "vgg_weights": ("loss.vgg.weights", ""),
    "relative": ("loss.relative", True),
    "content_weight": ("loss.content_weight", 1.0),
    "style_weight": ("loss.style_weight", 5.0),
}

# Photos that go through a network together.
BATCH = 4

# A mean over sixteen photos is so many standard errors from 0 by chance in one case of a hundred
# (Student's t), and one such question is asked for each style.
BEYOND_SPREAD = 3.0

# Fewer photos don't tell how widely photos spread.
FEW = 5

# A style whose way is so much shorter than the median style's lags.
LAG = 0.1

LOSSES = ("content_loss", "style_loss", "loss")
NAME_WIDTH = 20


@dataclass
class Judged:
    """What was measured of one network, or of one of the two ends, in one style.

    Attributes:
        losses: ``[K]`` float64, a value for each photo, by name: "content_loss", "style_loss" and
            their weighted sum "loss", scale-free; with "paper_" in front, as the paper has them.
        picture: the first photo, stylized: RGB ``[3, S, S]`` in [0, 1].
        way: how far from the photo (0) to the optimised pixels (1) the total loss has come; to a
            loss of 0 where no pixels were optimised.
        identical: whether every picture is network A's, bit for bit.
    """

    losses: "dict[str, Tensor]"
    picture: "Tensor"
    way: float = math.nan
    identical: bool = False

    def mean(self, name: str) -> float:
        return self.losses[name].mean().item()


# By style name, and then by who painted: "photo", "A", "B", "gatys".
Results = dict[str, dict[str, Judged]]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="polystyle-evaluate",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="model.safetensors of a run")
    parser.add_argument(
        "model_b", type=Path, nargs="?", metavar="MODEL_B", help="another, to compare it with"
    )
    parser.add_argument(
        "--content-dir",
        type=Path,
        metavar="PHOTOS",
        help="folder of photos, of which those that training holds out are used "
        "(default: that of MODEL's run)",
    )
    parser.add_argument(
        "--style-dir",
        type=Path,
        metavar="PAINTINGS",
        help="folder of paintings, named like their styles (default: that of MODEL's run)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder to write to (default: evaluation, or evaluation-vs-<MODEL_B's run>, "
        "beside MODEL)",
    )
    parser.add_argument(
        "--photos", type=int, default=16, metavar="K", help="photos to judge by, at the most (16)"
    )
    parser.add_argument(
        "--gatys-photos", type=int, default=2, metavar="K", help="photos to optimise pixels of (2)"
    )
    parser.add_argument(
        "--gatys-steps",
        type=int,
        default=100,
        metavar="N",
        help="steps of that, which take most of the time (100); 0 leaves it out",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps, ... (auto)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier evaluation")
    args = parser.parse_args()
    try:
        evaluate(**vars(args))
    except (ValueError, OSError) as error:
        sys.exit(f"polystyle-evaluate: {error}")
    except KeyboardInterrupt:
        print("polystyle-evaluate: stopped, and nothing is written", file=sys.stderr)
        sys.exit(130)


def evaluate(
    model: Path,
    model_b: Path | None = None,
    content_dir: Path | None = None,
    style_dir: Path | None = None,
    output: Path | None = None,
    photos: int = 16,
    gatys_photos: int = 2,
    gatys_steps: int = 100,
    device: str = "auto",
    overwrite: bool = False,
) -> None:
    """Judge one network or two, print a table and what it says, and write ``table.csv`` and
    ``sheet.jpg``.

    Args:
        model: a file that `polystyle.model_file.save_model` wrote.
        model_b: another; it is judged by the sizes and weights of the first one's run.
        content_dir, style_dir: photos and paintings; None takes those of the first one's run.
            Styles without a painting are named, and passed over.
        output: a folder, made if need be; None is one beside the first model.
        photos: how many held-out photos to judge by, at the most.
        gatys_photos, gatys_steps: pixels are optimised on so many of them, for so many steps.
        device: torch's name of one, or ``"auto"``.
        overwrite: replace files that are there.

    Raises:
        OSError, ValueError: what a user can mend, in one line.
    """
    import torch

    from polystyle.data import StyleTransferData
    from polystyle.losses import PerceptualLoss
    from polystyle.model_file import load_model
    from polystyle.painter import find_device
    from polystyle.vgg import VGG16

    for flag, value, least in (
        ("--photos", photos, 1),
        ("--gatys-photos", gatys_photos, 1),
        ("--gatys-steps", gatys_steps, 0),
    ):
        if value < least:
            raise ValueError(f"{flag} must be at least {least}, not {value}")
    models = {"A": load_model(model)}
    if model_b:
        models["B"] = load_model(model_b)
    if output is None:
        output = model.parent / (f"evaluation-vs-{run_name(model_b)}" if model_b else "evaluation")
    csv_path, sheet_path = output / "table.csv", output / "sheet.jpg"
    for path in (csv_path, sheet_path):
        if path.exists() and not overwrite:
            raise FileExistsError(
                f"{path} is there already: --overwrite replaces it, --output writes elsewhere"
            )
    settings = read_settings(model, models["A"].training, content_dir, style_dir)
    found_device = find_device(device)
    torch.backends.cudnn.deterministic = True
    torch.manual_seed(0)  # for a VGG-16 of random weights

    data = StyleTransferData(
        settings["content_dir"],
        settings["style_dir"],
        settings["image_size"],
        settings["style_size"],
        val_fraction=settings["val_fraction"],
        num_val_photos=photos,
    )
    data.setup()
    names = list(dict.fromkeys(name for each in models.values() for name in each.painted_names))
    paintings = {name: data.paintings[name] for name in names if name in data.paintings}
    for label, each in models.items():
        if not paintings.keys() & each.painted_names:
            raise ValueError(
                f"{settings['style_dir']} has no painting of any style of network {label} "
                f"({', '.join(each.painted_names)}): --style-dir names another folder"
            )
    vgg_weights = settings["vgg_weights"] or None
    rulers = {
        "": PerceptualLoss(
            VGG16(vgg_weights),
            content_weight=settings["content_weight"],
            style_weight=settings["style_weight"],
        ),
        # configs/loss/dumoulin2017.yaml
        "paper_": PerceptualLoss(
            VGG16(vgg_weights, pooling="average"),
            style_weight=1.0,
            style_weights=dict.fromkeys(("relu1_2", "relu2_2", "relu3_3", "relu4_3"), 1e-4),
            relative=False,
        ),
    }
    for ruler in rulers.values():
        ruler.to(found_device).set_style_images(paintings)
    for each in models.values():
        each.net.to(found_device, memory_format=torch.channels_last)
    output.mkdir(parents=True, exist_ok=True)
    content = data.val_photos.to(found_device)
    results = judge(models, rulers, list(paintings), content, gatys_photos, gatys_steps)
    # The worst first.
    worst = {
        name: min(each[who].way for who in models if who in each) for name, each in results.items()
    }
    results = {name: results[name] for name in sorted(results, key=worst.__getitem__)}

    print(f"A: {model}\nB: {model_b}" if model_b else model)
    optimised = min(gatys_photos, len(content)) if gatys_steps else 0
    seen = "not held out" if data.val_paths is data.train_paths else "held out of training"
    print(
        f"Photos: {len(content)}, {seen}, of {settings['content_dir']}, "
        f"at {data.image_size} pixels\n"
        f"Paintings: of {settings['style_dir']}, at {data.style_size} pixels\n"
        f"Total loss: {settings['content_weight']:g} x content "
        f"+ {settings['style_weight']:g} x style\n"
        "Way: how far the total loss has come from the photo's to "
        + (f"that of optimised pixels (Gatys; photos: {optimised})" if optimised else "0")
    )
    for key in ("image_size", "style_size"):
        own = models["B"].training.get(key) if model_b else None
        if own not in (None, settings[key]):
            print(f"B was trained with data.{key}={own}, but is judged at A's {settings[key]}")
    if passed_over := [name for name in names if name not in paintings]:
        print(f"Passed over, having no painting there: {', '.join(passed_over)}")
    print(f"\n{table(results)}\n")
    for answer in answers(results):
        print(answer)
    write_csv(csv_path, results, {"A": model, "B": model_b})
    sheet(results, data.val_photos[0], paintings).save(sheet_path, quality=92)
    print(f"\nLook:  {sheet_path}\nTable: {csv_path}")


def run_name(model: Path) -> str:
    """What a model is called: its file's name, or its folder's if that is just "model"."""
    return model.resolve().parent.name if model.stem == "model" else model.stem


def read_settings(
    model: Path, header: Mapping[str, Any], content_dir: Path | None, style_dir: Path | None
) -> dict[str, Any]:
    """What a network was trained on, and how: a value for each of `SETTINGS`.

    Args:
        model: the network's file. The configuration of its run is looked for beside it.
        header: what the file itself says of its training.
        content_dir, style_dir: folders that win over the run's.

    Raises:
        FileNotFoundError: a folder of the run is no longer there.
        ValueError: a folder that nobody names, or a configuration that can't be read.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    found = {name: header[name] for name in SETTINGS if header.get(name) is not None}
    typed_in = Path()
    config_path = model.parent / ".hydra" / "config.yaml"
    if config_path.is_file():
        try:
            config = OmegaConf.load(config_path)
            for name, (key, _) in SETTINGS.items():
                if (value := OmegaConf.select(config, key)) is not None:
                    found[name] = value
            # Relative paths start where the user typed polystyle-train.
            hydra = OmegaConf.load(config_path.with_name("hydra.yaml"))
            typed_in = Path(OmegaConf.select(hydra, "hydra.runtime.cwd") or "")
        except (OmegaConfBaseException, YAMLError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{config_path} is no configuration of a run: {reason}") from error
    settings = {}
    for name, (_, default) in SETTINGS.items():
        try:
            settings[name] = type(default)(found.get(name, default))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{model}: its run's {name} is {found[name]!r}") from error
    if not settings["relative"]:
        # The weights of that run are for losses of another size.
        for name in ("content_weight", "style_weight"):
            settings[name] = SETTINGS[name][1]
    if settings["vgg_weights"] not in ("", "random"):
        settings["vgg_weights"] = str(typed_in / settings["vgg_weights"])

    for name, given in (("content_dir", content_dir), ("style_dir", style_dir)):
        flag = f"--{name.replace('_', '-')}"
        if given:
            settings[name] = given
            continue
        if not settings[name]:
            raise ValueError(f"{model} does not lie in its run's folder: {flag} is needed")
        folders = [folder / settings[name] for folder in (typed_in, Path())]
        there = [folder for folder in folders if folder.is_dir()]
        if not there:
            raise FileNotFoundError(
                f"{model} was trained with {folders[0]}, which is not there: pass {flag}"
            )
        settings[name] = there[0].resolve()
    return settings


def judge(
    models: "Mapping[str, Model]",
    rulers: "Mapping[str, PerceptualLoss]",
    names: list[str],
    photos: "Tensor",
    gatys_photos: int,
    gatys_steps: int,
) -> Results:
    """Measure the photos, the networks' pictures and optimised pixels in each style.

    Args:
        models: networks by label.
        rulers: losses by prefix of their names; the one without a prefix is what is optimised.
        names: the styles, in the order of the rulers' style images.
        photos: ``[K, 3, S, S]`` in [0, 1].
        gatys_photos, gatys_steps: see `evaluate`.
    """
    import torch
    from tqdm import tqdm

    few = photos[:gatys_photos] if gatys_steps else photos[:0]
    results: Results = {}
    rounds = len(models) + len(few) * gatys_steps
    with tqdm(total=len(names) * rounds, unit="step", disable=None) as progress:
        for index, name in enumerate(names):
            progress.set_description(name)
            results[name] = {"photo": measure(rulers, photos, photos, index)}
            first = None
            for label, model in models.items():
                progress.update()
                if name not in model.style_names:
                    continue
                stylized = paint(model.net, photos, model.style_names.index(name))
                judged = measure(rulers, photos, stylized, index)
                judged.identical = first is not None and torch.equal(first, stylized)
                first = stylized if label == "A" else None
                results[name][label] = judged
            if len(few):
                optimised = [
                    optimise_pixels(rulers[""], photo, index, gatys_steps, progress)
                    for photo in few.split(1)
                ]
                results[name]["gatys"] = measure(rulers, few, torch.cat(optimised), index)
            set_ways(results[name])
    return results


def paint(net: "TransformerNet", photos: "Tensor", style: int) -> "Tensor":
    """Photos ``[K, 3, S, S]`` in one style, likewise ``[K, 3, S, S]`` in [0, 1]."""
    import torch

    with torch.inference_mode():
        return torch.cat(
            [
                net(batch, torch.full((len(batch),), style, device=batch.device))
                for batch in photos.split(BATCH)
            ]
        )


def measure(
    rulers: "Mapping[str, PerceptualLoss]", photos: "Tensor", stylized: "Tensor", style: int
) -> Judged:
    """The losses of stylized photos, both ``[K, 3, S, S]``, in the style of that index."""
    import torch

    losses = {}
    for prefix, ruler in rulers.items():
        batches = []
        for content, painted in zip(photos.split(BATCH), stylized.split(BATCH), strict=True):
            with torch.inference_mode():
                styles = torch.full((len(content),), style, device=content.device)
                batches.append(ruler(content, painted, styles))
        for name in LOSSES:
            losses[prefix + name] = torch.cat([each[name] for each in batches]).cpu().double()
    return Judged(losses, stylized[0].cpu())


def optimise_pixels(
    loss: "PerceptualLoss", photo: "Tensor", style: int, steps: int, progress: "tqdm"
) -> "Tensor":
    """The picture of the least total loss, without a network: L-BFGS on the pixels, from the photo
    (Gatys, Ecker & Bethge 2016, section 2.3).

    Args:
        loss: what is made small.
        photo: ``[1, 3, S, S]`` in [0, 1].
        style: index of the style.
        steps: evaluations of the loss. A line search under way is brought to its end.
        progress: moves on by `steps`.

    Returns:
        ``[1, 3, S, S]`` in [0, 1].
    """
    import torch

    # The pixels are a sine of what is optimised: they stay in [0, 1], and unlike clamped ones they
    # can leave its ends again.
    waves = torch.asin(2 * photo.clamp(0.01, 0.99) - 1).requires_grad_()
    styles = torch.tensor([style], device=photo.device)
    optimizer = torch.optim.LBFGS(
        [waves],
        max_iter=steps,
        max_eval=steps,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        history_size=50,
        line_search_fn="strong_wolfe",
    )
    start = progress.n

    def closure() -> "Tensor":
        optimizer.zero_grad()
        total = loss(photo, (1 + waves.sin()) / 2, styles)["loss"].sum()
        total.backward()
        progress.update()
        return total

    optimizer.step(closure)
    progress.update(start + steps - progress.n)
    return (1 + waves.detach().sin()) / 2


def set_ways(judged: dict[str, Judged]) -> None:
    """Fill in how far each network has come in one style, on the photos that have both ends."""
    photo = judged["photo"].losses["loss"]
    goal = judged["gatys"].losses["loss"] if "gatys" in judged else photo * 0
    start = photo[: len(goal)]
    for label in ("A", "B"):
        if label in judged:
            reached = judged[label].losses["loss"][: len(goal)]
            judged[label].way = ((start - reached).sum() / (start - goal).sum()).item()


def paired_difference(a: "Tensor", b: "Tensor") -> tuple[float, float]:
    """How much larger b is than a, photo by photo, as a share of the mean of a.

    Args:
        a, b: ``[K]``, losses of the same photos.

    Returns:
        The mean, and its standard error over photos: NaN for fewer than `FEW`.
    """
    shares = (b - a) / a.mean()
    error = shares.std().item() / math.sqrt(len(shares)) if len(shares) >= FEW else math.nan
    return shares.mean().item(), error


def verdict(difference: float, error: float) -> str:
    """What a difference in loss says of B."""
    if not abs(difference) > BEYOND_SPREAD * error:
        return "unclear"
    return "better" if difference < 0 else "worse"


def table(results: Results) -> str:
    """The figures as aligned text, a line for each style and one for the mean over the styles that
    all networks have."""
    labels = [label for label in ("A", "B") if any(label in each for each in results.values())]
    shared = [each for each in results.values() if all(label in each for label in labels)]
    gatys = "gatys" in next(iter(results.values()))

    def column(
        *heading: str, who: str, value: Callable[[Judged], float], form: str = ".3f"
    ) -> list[str]:
        cells = [f"{value(each[who]):{form}}" if who in each else "" for each in results.values()]
        cells += [f"{mean(value(each[who]) for each in shared):{form}}"] if shared else []
        return [*heading, *cells]

    def loss(name: str) -> Callable[[Judged], float]:
        return lambda judged: judged.mean(name)

    two = len(labels) == 2
    names = [name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 1]}…" for name in results]
    columns = [["", "style", *names, *(["mean"] if shared else [])]]
    for who in labels:
        heading = ("way", who) if two else ("", "way")
        columns.append(column(*heading, who=who, value=lambda judged: judged.way, form=".0%"))
    for name, word in (("content_loss", "content"), ("style_loss", "style")):
        painters = {who: who if two else "network" for who in labels}
        if name == "style_loss":
            painters = {"photo": "photo", **painters}
        if gatys and not (two and name == "content_loss"):
            painters["gatys"] = "Gatys"
        for who, heading in painters.items():
            columns.append(column(word, heading, who=who, value=loss(name)))
    if two:
        columns.append(["B against A,", "total loss", *map(against, results.values())])
        columns[-1] += [""] if shared else []
    else:
        for name, word in (("paper_content_loss", "content"), ("paper_style_loss", "style")):
            columns.append(column("paper's", word, who="A", value=loss(name), form=",.0f"))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for name, *cells in zip(*columns, strict=True):
        numbers = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join([f"{name:<{widths[0]}}", *numbers]).rstrip())
    return "\n".join(lines)


def against(judged: Mapping[str, Judged]) -> str:
    """How B compares with A in one style, in few words."""
    if "A" not in judged or "B" not in judged:
        return ""
    if judged["B"].identical:
        return "identical"
    difference, error = paired_difference(judged["A"].losses["loss"], judged["B"].losses["loss"])
    if math.isnan(error):
        return f"{difference:+.1%}"
    return f"{100 * difference:+.1f} ±{100 * error:.1f}% {verdict(difference, error):>7}"


def answers(results: Results) -> list[str]:
    """What the table says, in sentences."""
    labels = [label for label in ("A", "B") if any(label in each for each in results.values())]
    gatys = "gatys" in next(iter(results.values()))
    lines = []
    for label in labels:
        whose = f"{label}'s " if len(labels) == 2 else "The "
        reached = {name: each[label].way for name, each in results.items() if label in each}
        last, middle = min(reached, key=reached.__getitem__), median(reached.values())
        lines.append(
            f"{whose}least {'trained' if gatys else 'changed'} style is {last}: "
            f"{reached[last]:.0%} of the way, where the median style has come {middle:.0%}."
        )
        if not gatys:
            lines[-1] += " How far pixels can come in each is not known without --gatys-steps."
        elif reached[last] < middle - LAG:
            lines[-1] += f" Train longer, or weigh it more: loss.style_coefficients={{{last}:2}}."
        else:
            lines[-1] += " No style lags behind."
    if any(each[label].way > 1 for each in results.values() for label in labels if label in each):
        lines.append("Over 100%: the pixels are not yet optimal, which takes more --gatys-steps.")
    both = [each for each in results.values() if "A" in each and "B" in each]
    if not both:
        return lines if len(labels) == 1 else [*lines, "A and B have no style in common."]
    identical = sum(each["B"].identical for each in both)
    if identical:
        lines.append(
            f"B paints {identical} of the {len(both)} styles that both have exactly as A does, "
            "bit for bit: whatever sets B apart cost them nothing."
        )
    if identical == len(both):
        return lines
    for prefix, definition in (("", "B's total loss"), ("paper_", "As the paper defines it, it")):
        a, b = (
            sum(each[label].losses[f"{prefix}loss"] for each in both) / len(both)
            for label in ("A", "B")
        )
        difference, error = paired_difference(a, b)
        line = f"{definition} is {abs(difference):.1%} {'lower' if difference < 0 else 'higher'}"
        line += f" than A's over the {len(both)} styles that both have" if not prefix else ""
        if math.isnan(error):
            lines.append(f"{line}. With so few photos, that may be chance.")
            continue
        line += f" (standard error {error:.1%}, over {len(a)} photos): "
        said = verdict(difference, error)
        lines.append(
            line
            + ("within" if said == "unclear" else f"B is {said}, beyond")
            + " the spread over photos."
        )
    return lines


def write_csv(path: Path, results: Results, models: Mapping[str, Path | None]) -> None:
    """A row for each style and painter: the networks, the photo itself and the optimised pixels."""
    losses = [prefix + name for prefix in ("", "paper_") for name in LOSSES]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        comparison = ["difference_from_a", "standard_error", "identical_to_a"]
        writer.writerow(["style", "painter", "model", "photos", *losses, "way", *comparison])
        for name, judged in results.items():
            for label in ("A", "B", "photo", "gatys"):
                if label not in judged:
                    continue
                each = judged[label]
                row = [name, label, models.get(label), len(each.losses["loss"])]
                row += [f"{each.mean(loss):.6g}" for loss in losses]
                row.append(f"{each.way:.6g}" if label in models else "")
                if label == "B" and "A" in judged:
                    a, b = judged["A"].losses["loss"], each.losses["loss"]
                    row += [f"{value:.6g}" for value in paired_difference(a, b)]
                    row.append(each.identical)
                else:
                    row += [""] * len(comparison)
                writer.writerow(row)


def sheet(results: Results, photo: "Tensor", paintings: "Mapping[str, Tensor]") -> "Image.Image":
    """A row for each style: its painting, the first photo, what each network makes of that, and
    the optimised pixels."""
    from PIL import Image
    from torchvision.transforms.v2.functional import to_pil_image

    from polystyle.contact_sheet import contact_sheet

    labels = list(dict.fromkeys(label for each in results.values() for label in each))
    columns = [label for label in ("A", "B", "gatys") if label in labels]
    pictures, captions = [], []
    for name, judged in results.items():
        pictures += [to_pil_image(paintings[name]), to_pil_image(photo)]
        captions += [name, "photo"]
        for label in columns:
            if label not in judged:
                pictures.append(Image.new("RGB", photo.shape[:0:-1], "white"))
                captions.append("")
                continue
            pictures.append(to_pil_image(judged[label].picture))
            who = label if "B" in columns else "network"
            captions.append("Gatys" if label == "gatys" else f"{who}: {judged[label].way:.0%}")
    return contact_sheet(pictures, captions, len(columns) + 2, cell=photo.shape[-1])


if __name__ == "__main__":
    main()
