"""polystyle-export: a trained network as one ONNX file, for all its styles and their blends."""

import argparse
import sys
from pathlib import Path

from polystyle import __version__
from polystyle.files.atomic_file import atomic_write
from polystyle.files.console import exit_on_signals, tolerate_lost_console
from polystyle.files.new_folder import check_can_be_folder, made_folder
from polystyle.files.path_text import path_argument
from polystyle.files.terminal_text import counted
from polystyle.networks.onnx_usage import USAGE

DESCRIPTION = f"""\
Write a trained network as one ONNX file, and check in onnxruntime that it paints as in torch.

{USAGE}

The file holds the names of the styles. In float16 it is half as large, and is used the same way."""
EPILOG = """examples:
  polystyle-export
  polystyle-export outputs/monet
  polystyle-export outputs/monet --precision float16 --output phone/monet.onnx
"""

# The largest difference from torch, in levels of 0..255, that an exported file may have. Trained
# networks had 0.0002 in float32. In float16 they had 0.1 in onnxruntime, whose x86 kernels compute
# in float32, and 0.25 in torch's own float16.
TOLERANCE = {"float32": 0.1, "float16": 2.0}


def main() -> None:
    """Runs the command. Exit status 0, or 1 if nothing was exported."""
    tolerate_lost_console()
    exit_on_signals()
    parser = argparse.ArgumentParser(
        prog="polystyle-export",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "model",
        type=path_argument,
        nargs="?",
        default=Path("pretrained"),
        metavar="MODEL",
        help="folder of a run, or a model.safetensors (default: the network that comes with "
        "polystyle)",
    )
    parser.add_argument(
        "--output",
        type=path_argument,
        metavar="FILE",
        help="file to write (default: beside the model file, named after it, such as model.onnx; "
        "paintings.onnx here for the network that comes with polystyle)",
    )
    parser.add_argument(
        "--precision",
        choices=TOLERANCE,
        default="float32",
        help="of the convolutions (default: float32)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    args = parser.parse_args()
    try:
        export(args.model, args.output, args.precision, args.overwrite)
    except (ValueError, OSError) as error:
        sys.exit(f"polystyle-export: {error}")


def export(
    model: Path, output: Path | None = None, precision: str = "float32", overwrite: bool = False
) -> None:
    """Writes a network to an ONNX file, if onnxruntime paints with it as torch does.

    Args:
        model: a model file, or the folder of a run.
        output: the file; its folder is created. None writes it beside the model file, named after
            it.
        precision: "float32" or "float16": see `networks.onnx_file.to_onnx`.
        overwrite: replace an existing file.

    Raises:
        FileNotFoundError: there is no model.
        FileExistsError: the output exists.
        ValueError: `model` is not a model, `output` does not end in .onnx, a package is not
            installed, or a picture differs from torch's by more than `TOLERANCE`. Nothing is
            written then.
    """
    if output is not None and output.suffix != ".onnx":
        raise ValueError(f"--output must be a file that ends in .onnx, not {output}")
    try:
        # The only import of torch, here so that --help answers at once.
        from polystyle.networks import model_file, onnx_file
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{error.name} is not installed: pip install 'polystyle[export]'"
        ) from error

    model = model_file.model_path(model)
    trained = model_file.load_model(model)
    output = output or model_file.folder_of(model) / default_name(model, precision)
    check_can_be_folder(output.parent)
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists already: --overwrite replaces it")
    print(f"Exporting {model} in {precision}, which takes about ten seconds", flush=True)
    proto = onnx_file.to_onnx(trained, precision)
    data = proto.SerializeToString()

    print(f"onnxruntime {onnx_file.RUNTIME_VERSION} against torch, in levels of 0..255:")
    for shape, mixes, difference in onnx_file.compare(data, trained.net):
        print(f"  {mixes:16} {shape:18} largest difference {difference:.4f}", flush=True)
        if not difference <= TOLERANCE[precision]:  # also true for NaN
            raise ValueError(
                f"nothing is written: {output} would paint {mixes} up to {difference:.4f} levels "
                f"away from {model}, and {TOLERANCE[precision]} are allowed in {precision}"
            )

    with made_folder(output.parent), atomic_write(output) as partial:
        partial.write_bytes(data)
    opset = proto.opset_import[0].version
    print(f"Exported {output}: {len(data) / 1e6:.1f} MB, {precision}, opset {opset}", end=", ")
    print_usage(output, trained.style_names)


def default_name(model: Path, precision: str) -> str:
    """The name of a model file's ONNX file; float16 has one of its own."""
    ending = "" if precision == "float32" else f"-{precision}"
    return f"{model.stem}{ending}.onnx"


def print_usage(output: Path, style_names: list[str]) -> None:
    """Prints the styles, and lines of Python that paint the first of them."""
    count = len(style_names)
    print(
        f"{counted(count, 'style')}: {', '.join(style_names)}\n"
        "It paints the photo's pixels as they are, like polystyle-stylize --scale native\n"
        f"Next, with content a float32 array [1, 3, height, width] of RGB in [0, 1]:\n"
        f"  session = onnxruntime.InferenceSession({str(output)!r})\n"
        f"  style_mix = numpy.eye({count}, dtype='float32')[[0]]  # {style_names[0]}\n"
        f"  [stylized] = session.run(None, {{'content': content, 'style_mix': style_mix}})"
    )


if __name__ == "__main__":
    main()
