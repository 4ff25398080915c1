"""polystyle-evaluate: how well a network paints its styles, and whether another paints better."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polystyle.evaluation_report import LOSSES, Judged, Results, answers, sheet, table, write_csv

if TYPE_CHECKING:
    from torch import Tensor
    from tqdm import tqdm

    from polystyle.losses.perceptual_loss import PerceptualLoss
    from polystyle.networks.model_file import Model
    from polystyle.networks.transformer_net import TransformerNet

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
        model: a file that `polystyle.networks.model_file.save_model` wrote.
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

    from polystyle.data.datamodule import StyleTransferData
    from polystyle.losses.perceptual_loss import PerceptualLoss
    from polystyle.losses.vgg import VGG16
    from polystyle.networks.model_file import load_model
    from polystyle.painter import find_device

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

    from polystyle.files.terminal_text import sanitized

    # Not the folders: a network may come from anybody.
    numbers = [name for name, (_, default) in SETTINGS.items() if default != ""]
    found = {name: header[name] for name in numbers if header.get(name) is not None}
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
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"{model}: its run's {name} is {sanitized(repr(found[name]))}"
            ) from error
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


if __name__ == "__main__":
    main()
