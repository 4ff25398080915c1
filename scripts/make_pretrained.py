"""Make the network that comes with polystyle: structure first, paint second, then float16.

    python scripts/make_pretrained.py --content-dir PHOTOS --style-dir PAINTINGS

Each phase is one polystyle-train run. Stopped and typed again, the script goes on where it was.
"""

import argparse
import subprocess
import sys
from pathlib import Path

# Structure: small crops and paintings, half the style weight. Faces stay, where large strokes from
# the start would lose them. 20,000 steps took three hours of two CPU cores.
STRUCTURE = (
    "experiment=fast",
    *("data.image_size=128", "data.style_size=256", "data.progressive_share=0"),
    *("loss.style_weight=5", "trainer.max_steps=20000", "trainer.val_check_interval=2000"),
)
# Paint: the default settings, from there.
PAINT = ("trainer.max_steps=10000", "trainer.val_check_interval=1000")


def main() -> None:
    """The command. Exit status 0, or that of the run that failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--content-dir", type=Path, required=True, help="folder of photos")
    parser.add_argument("--style-dir", type=Path, required=True, help="folder of paintings")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("outputs/pretrained"),
        help="folder of both runs and of paintings.safetensors (default: %(default)s)",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="for both runs: trainer.max_steps=10"
    )
    args = parser.parse_args()
    structure, paint = args.output / "structure", args.output / "paint"
    common = (
        f"data.content_dir={args.content_dir}",
        f"data.style_dir={args.style_dir}",
        "data.identity_style=true",
        "ckpt_path=last",
    )
    train(*STRUCTURE, *common, f"hydra.run.dir={structure}", *args.overrides)
    train(*PAINT, *common, f"init={structure}", f"hydra.run.dir={paint}", *args.overrides)

    # Imported here, so that --help answers at once.
    import torch

    from polystyle.networks.model_file import load_model, save_model

    path = args.output / "paintings.safetensors"
    save_model(path, load_model(paint), torch.float16)
    print(f"Made {path}: {path.stat().st_size / 1e6:.1f} MB")
    print(
        f"Judge: polystyle-evaluate {path} --content-dir {args.content_dir} "
        f"--style-dir {args.style_dir}"
    )


def train(*overrides: str) -> None:
    """Run polystyle-train to its last step.

    Raises:
        SystemExit: the run failed or was stopped; with its exit status.
    """
    status = subprocess.run([sys.executable, "-m", "polystyle.train", *overrides]).returncode
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
