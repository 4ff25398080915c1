"""polystyle-evaluate: how well a network paints its styles, and whether another paints better."""

import argparse
import sys
from pathlib import Path

from polystyle import __version__
from polystyle.files.console import exit_on_signals, tolerate_lost_console
from polystyle.files.path_text import path_argument

DESCRIPTION = """Evaluate a network, style by style, on photos that training held out: content loss,
style loss, and the share that it has closed of the gap between the untouched photo (0 %) and
pixels that are optimised one by one (100 %). With a second network: which of the two is better."""
EPILOG = """A network in the folder of its run needs no flag: its photos and paintings are known.

examples:
  polystyle-evaluate outputs/monet
  polystyle-evaluate outputs/monet outputs/longer
  polystyle-evaluate pretrained --content-dir photos/ --style-dir paintings/
"""


def main() -> None:
    """Runs the command. Exit status 0; 1 after an error, 130 after Ctrl-C."""
    tolerate_lost_console()
    exit_on_signals()
    # Intermixed: flags may stand between the two networks.
    args = make_parser().parse_intermixed_args()
    try:
        # The only import of torch, here so that --help answers at once.
        from polystyle.evaluation.evaluate import evaluate

        evaluate(**vars(args))
    except (ValueError, OSError) as error:
        sys.exit(f"polystyle-evaluate: {error}")
    except KeyboardInterrupt:
        print("polystyle-evaluate: interrupted, nothing is written", file=sys.stderr)
        sys.exit(130)


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments, under the names of those of `evaluation.evaluate.evaluate`."""
    parser = argparse.ArgumentParser(
        prog="polystyle-evaluate",
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
        "model_b",
        type=path_argument,
        nargs="?",
        metavar="MODEL_B",
        help="a second one, to compare with",
    )
    parser.add_argument(
        "--content-dir",
        type=path_argument,
        metavar="PHOTOS",
        help="folder of photos, of which those that training holds out are used "
        "(default: that of MODEL's run)",
    )
    parser.add_argument(
        "--style-dir",
        type=path_argument,
        metavar="PAINTINGS",
        help="folder of paintings, named like their styles (default: that of MODEL's run)",
    )
    parser.add_argument(
        "--output",
        type=path_argument,
        metavar="DIR",
        help="folder to write to (default: evaluation, or evaluation-vs-<MODEL_B's run>, "
        "beside the model file)",
    )
    parser.add_argument(
        "--photos", type=int, default=16, metavar="K", help="number of photos, at most (16)"
    )
    parser.add_argument(
        "--gatys-photos",
        type=int,
        default=2,
        metavar="K",
        help="number of photos whose pixels are optimised (2)",
    )
    parser.add_argument(
        "--gatys-steps",
        type=int,
        default=100,
        metavar="N",
        help="steps of this optimisation, which takes most of the time (100); 0 leaves it out",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps, ... (auto)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier evaluation")
    return parser


if __name__ == "__main__":
    main()
