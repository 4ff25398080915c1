"""polystyle-stylize: paint photos with a trained network."""

import argparse
import sys
from difflib import get_close_matches
from pathlib import Path

DESCRIPTION = "Paint photos in the styles of a trained network, each at its own size."
EPILOG = """examples:
  polystyle-stylize outputs/monet/model.safetensors photo.jpg --style starry_night --output painted/
  polystyle-stylize outputs/monet/model.safetensors photos/*.jpg --style all --output painted/
"""


def main() -> None:
    """The command. Exit status 0, or 1 if a photo could not be painted."""
    parser = argparse.ArgumentParser(
        prog="polystyle-stylize",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, help="model.safetensors of a run")
    parser.add_argument("photos", type=Path, nargs="+", help="photos to paint")
    parser.add_argument(
        "--style", action="append", required=True, help='a style\'s name, or "all"; may be repeated'
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--overwrite", action="store_true", help="replace pictures already there")
    args = parser.parse_args()
    try:
        sys.exit(stylize(args.model, args.photos, args.style, args.output, args.overwrite))
    except (ValueError, OSError) as error:
        sys.exit(f"polystyle-stylize: {error}")


def stylize(
    model: Path, photos: list[Path], styles: list[str], output: Path, overwrite: bool = False
) -> int:
    """Paint each photo in each style: ``<output>/<photo stem>-<style name><photo's extension>``.

    A photo that can't be painted is reported at the end and stops nothing.

    Args:
        model: a file that `polystyle.model_file.save_model` wrote.
        photos: picture files.
        styles: names of styles, or ``"all"``.
        output: a folder, made if need be.
        overwrite: replace files that are there; else they are reported, and left.

    Returns:
        0, or 1 if any photo failed.

    Raises:
        FileNotFoundError, ValueError: no model there, or a style that it doesn't have.
    """
    # Here, so that --help answers at once.
    import torch
    from PIL import Image
    from torchvision.transforms.v2.functional import to_pil_image
    from tqdm import tqdm

    from polystyle.data import load_image, to_float
    from polystyle.model_file import load_model

    trained = load_model(model)
    net, style_names = trained.net, trained.style_names
    chosen = choose_styles(styles, style_names)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net.to(device, memory_format=torch.channels_last)
    output.mkdir(parents=True, exist_ok=True)

    failures = []
    written = []
    with tqdm(total=len(photos) * len(chosen), unit="picture", disable=None) as progress:
        for photo in photos:
            try:
                content = to_float(load_image(photo))[None].to(device)
                if Image.registered_extensions().get(photo.suffix.lower()) not in Image.SAVE:
                    raise OSError(f"{photo}: Pillow reads {photo.suffix}, but doesn't write it")
            except OSError as error:
                failures.append(str(error))
                progress.update(len(chosen))
                continue
            for name in chosen:
                progress.update()
                path = output / f"{photo.stem}-{name}{photo.suffix}"
                if path in written:
                    failures.append(f"{photo} in {name}: {path} is another photo's, of that name")
                    continue
                if path.exists() and not overwrite:
                    failures.append(f"{path} is there already: --overwrite replaces it")
                    continue
                style = torch.tensor([style_names.index(name)], device=device)
                try:
                    with torch.inference_mode():
                        stylized = net(content, style)[0].mul(255).round().byte()
                    to_pil_image(stylized.cpu()).save(path, quality=95)
                except (ValueError, OSError) as error:
                    failures.append(f"{photo} in {name}: {error}")
                    continue
                written.append(path)
    for failure in failures:
        print(f"polystyle-stylize: {failure}", file=sys.stderr)
    if len(written) == 1:
        print(f"Painted {written[0]}")
    elif written:
        print(f"Painted {len(written)} pictures, {written[0]} to {written[-1].name}")
    return 1 if failures else 0


def choose_styles(wanted: list[str], style_names: list[str]) -> list[str]:
    """The styles asked for, each once, in the order asked.

    Raises:
        ValueError: a style that isn't there; names the nearest.
    """
    chosen = []
    for name in wanted:
        if name == "all":
            chosen += style_names
        elif name in style_names:
            chosen.append(name)
        else:
            near = get_close_matches(name, style_names)
            raise ValueError(
                f"there is no style {name!r}: "
                + (f"did you mean {' or '.join(near)}?" if near else f"{', '.join(style_names)}")
            )
    return list(dict.fromkeys(chosen))


if __name__ == "__main__":
    main()
