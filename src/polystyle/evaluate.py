"""polystyle-evaluate: how well a network paints its styles, and whether another paints better."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from polystyle.evaluation.measure import judge
from polystyle.evaluation.report import answers, sheet, table, write_csv
from polystyle.evaluation.settings import read_settings

if TYPE_CHECKING:
    pass

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
    from polystyle.painting.painter import find_device

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


if __name__ == "__main__":
    main()
