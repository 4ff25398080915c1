"""The work of polystyle-evaluate: from the model files to the report. Errors name its flags."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from polystyle.data.datamodule import StyleTransferData
from polystyle.evaluation.measure import score_styles
from polystyle.evaluation.references import make_references
from polystyle.evaluation.report import picture_sheet, summarise, table, write_csv
from polystyle.evaluation.scores import Results
from polystyle.evaluation.settings import Settings, read_settings
from polystyle.files.new_folder import check_can_be_folder, made_folder
from polystyle.files.terminal_text import counted
from polystyle.networks.model_file import Model, folder_of, load_model, model_path
from polystyle.painting.painter import find_device


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
    """Evaluates one network or two: prints a table and a summary, writes ``table.csv`` and
    ``sheet.jpg``.

    Args:
        model: a model file, or the folder of a run.
        model_b: a second one, evaluated with the sizes and weights of the first one's run.
        content_dir, style_dir: folders of photos and paintings; None takes those of the first
            network's run. Styles without a painting are named and skipped.
        output: a folder, created if missing; None is one beside the first model file.
        photos: the number of held-out photos, at most.
        gatys_photos: the pixels of so many of the photos are optimised.
        gatys_steps: evaluations of the loss for each of these; 0 optimises no pixels.
        device: torch's name of a device, or "auto".
        overwrite: replace the files of an earlier evaluation.

    Raises:
        OSError, ValueError: an error that a user can correct, in one line.
    """
    check_counts(photos, gatys_photos, gatys_steps)
    paths = {"A": model_path(model)}
    if model_b is not None:
        paths["B"] = model_path(model_b)
    models = {label: load_model(path) for label, path in paths.items()}
    output = output or default_output(paths)
    csv_path, sheet_path = output / "table.csv", output / "sheet.jpg"
    check_can_be_folder(output)
    check_free([csv_path, sheet_path], overwrite)
    settings = read_settings(paths["A"], models["A"].training, content_dir, style_dir)
    torch_device = find_device(device)
    torch.backends.cudnn.deterministic = True
    torch.manual_seed(0)  # for a VGG-16 of random weights

    data = load_data(settings, photos)
    paintings = find_paintings(models, data.paintings, settings.style_dir)
    references = make_references(settings, paintings, torch_device)
    for network in models.values():
        network.net.to(torch_device).to(memory_format=torch.channels_last)
    content = data.val_photos.to(torch_device)
    with made_folder(output):  # before the work: the folder may not be writable
        results = lowest_first(
            score_styles(models, references, list(paintings), content, gatys_photos, gatys_steps)
        )
        num_optimised = min(gatys_photos, len(content)) if gatys_steps else 0
        print_conditions(paths, settings, data, num_optimised)
        print_exceptions(models, settings, paintings)
        print(f"\n{table(results)}\n", *summarise(results), sep="\n")
        write_csv(csv_path, results, paths)
        picture_sheet(results, data.val_photos[0], paintings).save(sheet_path, quality=92)
    print(f"\nLook:  {sheet_path}\nTable: {csv_path}")


def check_counts(photos: int, gatys_photos: int, gatys_steps: int) -> None:
    """Raises ValueError for a number that is too small."""
    for flag, value, least in (
        ("--photos", photos, 1),
        ("--gatys-photos", gatys_photos, 1),
        ("--gatys-steps", gatys_steps, 0),
    ):
        if value < least:
            raise ValueError(f"{flag} must be at least {least}, not {value}")


def default_output(paths: Mapping[str, Path]) -> Path:
    """The folder for an evaluation: beside A's model file, named after B's run if there is one.
    The network that comes with polystyle is evaluated in the current folder."""
    name = f"evaluation-vs-{run_name(paths['B'])}" if "B" in paths else "evaluation"
    return folder_of(paths["A"]) / name


def run_name(model_file: Path) -> str:
    """A name for a model file: its stem, or its folder's name if the stem is just "model"."""
    return model_file.resolve().parent.name if model_file.stem == "model" else model_file.stem


def check_free(paths: Iterable[Path], overwrite: bool) -> None:
    """Raises FileExistsError for a file that exists and must not be overwritten."""
    for path in paths:
        if path.exists() and not overwrite:
            raise FileExistsError(
                f"{path} exists already: --overwrite replaces it, --output writes elsewhere"
            )


def load_data(settings: Settings, num_photos: int) -> StyleTransferData:
    """The paintings and held-out photos, cropped as training's validation crops them."""
    data = StyleTransferData(
        content_dir=str(settings.content_dir),
        style_dir=str(settings.style_dir),
        image_size=settings.image_size,
        style_size=settings.style_size,
        val_fraction=settings.val_fraction,
        num_val_photos=num_photos,
    )
    data.setup()
    return data


def style_names_of(models: Mapping[str, Model]) -> list[str]:
    """The names of all networks' painted styles, each once."""
    return list(dict.fromkeys(name for model in models.values() for name in model.painted_names))


def find_paintings(
    models: Mapping[str, Model], paintings: Mapping[str, Sequence[Tensor]], style_dir: Path
) -> dict[str, Sequence[Tensor]]:
    """The paintings of the networks' styles; those styles that have none are left out.

    Raises:
        ValueError: a network has no style with a painting.
    """
    found = {name: paintings[name] for name in style_names_of(models) if name in paintings}
    for label, model in models.items():
        if not found.keys() & model.painted_names:
            raise ValueError(
                f"{style_dir} has no painting of any style of network {label} "
                f"({', '.join(model.painted_names)}): --style-dir names another folder"
            )
    return found


def lowest_first(results: Results) -> Results:
    """The results by the share of the gap that the networks have closed, the lower of the two."""

    def closed(name: str) -> float:
        return min(results[name][label].gap_closed for label in "AB" if label in results[name])

    return {name: results[name] for name in sorted(results, key=closed)}


def print_conditions(
    paths: Mapping[str, Path], settings: Settings, data: StyleTransferData, num_optimised: int
) -> None:
    """Prints what was evaluated, on which pictures, and what the numbers mean."""
    if len(paths) == 1:
        print(paths["A"])
    else:
        print(*(f"{label}: {path}" for label, path in paths.items()), sep="\n")
    held_out = "held out of training" if data.val_paths is not data.train_paths else "not held out"
    photos = counted(num_optimised, "photo")
    optimum = f"that of optimised pixels (Gatys, {photos})" if num_optimised else "0"
    print(
        f"Photos: {len(data.val_photos)}, {held_out}, of {settings.content_dir}, "
        f"at {settings.image_size} pixels\n"
        f"Paintings: of {settings.style_dir}, at {settings.style_size} pixels\n"
        f"Total loss: {settings.content_weight:g} x content + {settings.style_weight:g} x style\n"
        f"Gap closed: share of the gap between the photo's total loss and {optimum}"
    )


def print_exceptions(
    models: Mapping[str, Model], settings: Settings, paintings: Mapping[str, Sequence[Tensor]]
) -> None:
    """Prints where B was trained at another size, and which styles are skipped."""
    for key in ("image_size", "style_size"):
        own = models["B"].training.get(key) if "B" in models else None
        used = getattr(settings, key)
        if own not in (None, used):
            print(f"B was trained with data.{key}={own}, but is evaluated at A's {used}")
    if skipped := [name for name in style_names_of(models) if name not in paintings]:
        print(f"Skipped, for lack of a painting: {', '.join(skipped)}")
