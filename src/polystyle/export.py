"""polystyle-export: a trained network as one ONNX file, for all its styles and their blends."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from polystyle.files.atomic_file import atomic_write

if TYPE_CHECKING:
    import onnx

    from polystyle.networks.model_file import Model
    from polystyle.networks.transformer_net import TransformerNet

USAGE = """\
inputs:
  content    float32 [batch, 3, height, width]: RGB in [0, 1], both sides at least 16 pixels
  style_mix  float32 [batch, styles]: how much of each style, in the order of style_names;
             one 1 and else 0 paints a style, weights that sum to 1 blend several
output:
  stylized   float32 [batch, 3, height, width]: RGB in [0, 1], of exactly the same size"""
DESCRIPTION = f"""\
Write a trained network as one ONNX file, checked in onnxruntime against torch.

{USAGE}

The file carries the names of the styles. In float16 it is half as large, and used the same way."""
EPILOG = """examples:
  polystyle-export outputs/monet/model.safetensors
  polystyle-export outputs/monet/model.safetensors --precision float16 --output phone/monet.onnx
"""

# The largest difference from torch, in levels of 0..255, that an exported file may have. Trained
# networks had 0.0002 in float32. In float16 they had 0.1 in onnxruntime, whose x86 kernels compute
# it in float32, and 0.25 in torch's own float16.
TOLERANCE = {"float32": 0.1, "float16": 2.0}


def main() -> None:
    """The command. Exit status 0, or 1 if nothing was exported."""
    parser = argparse.ArgumentParser(
        prog="polystyle-export",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, help="model.safetensors of a run")
    parser.add_argument(
        "--output", type=Path, help="file to write; by default model.onnx beside the model"
    )
    parser.add_argument(
        "--precision", choices=TOLERANCE, default="float32", help="of the convolutions"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file already there")
    args = parser.parse_args()
    try:
        export(args.model, args.output, args.precision, args.overwrite)
    except (ValueError, OSError) as error:
        sys.exit(f"polystyle-export: {error}")


def export(
    model: Path, output: Path | None = None, precision: str = "float32", overwrite: bool = False
) -> None:
    """Write a network to an ONNX file, if it paints there as in torch.

    Args:
        model: a file that `polystyle.networks.model_file.save_model` wrote.
        output: the file; its folder is made. By default beside the model, named after it.
        precision: ``"float32"`` or ``"float16"``: see `to_onnx`.
        overwrite: replace a file that is there.

    Raises:
        FileNotFoundError, FileExistsError: no model there, or a file in the way.
        ValueError: not a model, a name that doesn't end in .onnx, packages that aren't installed,
            or a picture over `TOLERANCE` away from torch's; nothing is written then.
    """
    if output is None:
        end = "" if precision == "float32" else f"-{precision}"
        output = model.with_name(f"{model.stem}{end}.onnx")
    if output.suffix != ".onnx":
        raise ValueError(f"--output must be a file that ends in .onnx, not {output}")
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as error:
        raise ValueError(
            f"{error.name} is not installed: pip install 'polystyle[export]'"
        ) from error

    from polystyle.networks.model_file import load_model

    trained = load_model(model)
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} is there already: --overwrite replaces it")
    print(f"Exporting {model} in {precision}: about ten seconds", flush=True)
    proto = to_onnx(trained, precision)
    data = proto.SerializeToString()

    print(f"onnxruntime {onnxruntime.__version__} against torch, in levels of 0..255:")
    for shape, mixes, difference in compare(data, trained.net):
        print(f"  {mixes:16} {shape:18} largest difference {difference:.4f}", flush=True)
        if not difference <= TOLERANCE[precision]:  # also when it is NaN
            raise ValueError(
                f"nothing is written: {output} would paint {mixes} up to {difference:.4f} levels "
                f"away from {model}, and {TOLERANCE[precision]} are allowed in {precision}"
            )

    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as partial:
        partial.write_bytes(data)
    count = len(trained.style_names)
    print(
        f"Exported {output}: {len(data) / 1e6:.1f} MB, {precision}, "
        f"opset {proto.opset_import[0].version}, "
        f"{count} {'style' if count == 1 else 'styles'}: {', '.join(trained.style_names)}\n"
        f"Next, with content a float32 array [1, 3, height, width] of RGB in [0, 1]:\n"
        f"  session = onnxruntime.InferenceSession({str(output)!r})\n"
        f"  style_mix = numpy.eye({count}, dtype='float32')[[0]]  # {trained.style_names[0]}\n"
        f"  [stylized] = session.run(None, {{'content': content, 'style_mix': style_mix}})"
    )


def to_onnx(model: Model, precision: str = "float32") -> onnx.ModelProto:
    """A network as ONNX, with dynamic batch, height and width, and the style as an input.

    Inputs are ``content`` ``[B, 3, H, W]`` and ``style_mix`` ``[B, N]``, the output ``stylized``
    ``[B, 3, H, W]``: all float32, with ranges as in `TransformerNet.forward`. The metadata is
    ``style_names`` (a JSON list), ``fingerprint`` of the convolutions, ``format``, ``precision``
    and ``usage``.

    Args:
        model: the network and its style names; left as it is.
        precision: ``"float32"``, or ``"float16"`` for the convolutions' weights and all feature
            maps; statistics, gamma and beta stay in float32.
    """
    import copy

    import onnx
    import torch
    from torch import Tensor, nn
    from torch.export import Dim

    from polystyle.networks.model_file import FORMAT, fingerprint

    class InFloat16(nn.Module):
        """CIN computes in float32 by itself, and returns what it was given."""

        def __init__(self, net: TransformerNet) -> None:
            super().__init__()
            self.net = copy.deepcopy(net)
            for module in self.net.modules():
                if isinstance(module, nn.Conv2d):
                    module.half()

        def forward(self, content: Tensor, style: Tensor) -> Tensor:
            return self.net(content.half(), style).float()

    batch, height, width = Dim("batch"), Dim("height", min=16), Dim("width", min=16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proto = torch.onnx.export(
            model.net if precision == "float32" else InFloat16(model.net),
            # An example that no size is special in: no side divides by 4, none is like another.
            (torch.rand(2, 3, 37, 50), torch.rand(2, len(model.style_names))),
            dynamo=True,
            verbose=False,
            input_names=["content", "style_mix"],
            output_names=["stylized"],
            dynamic_shapes=({0: batch, 2: height, 3: width}, {0: batch}),
        ).model_proto

    # The exporter's notes: lines of source with this machine's paths, and sizes as long formulas.
    graph = proto.graph
    graph.ClearField("value_info")
    graph.ClearField("metadata_props")
    for node in graph.node:
        node.ClearField("metadata_props")
    for dimension, name in zip(
        graph.output[0].type.tensor_type.shape.dim, ("batch", None, "height", "width"), strict=True
    ):
        if name:
            dimension.dim_param = name
    onnx.helper.set_model_props(
        proto,
        {
            "format": FORMAT,
            "style_names": json.dumps(model.style_names),
            "fingerprint": fingerprint(model.net),
            "precision": precision,
            "usage": USAGE,
        },
    )
    return proto


def compare(data: bytes, net: TransformerNet) -> Iterator[tuple[str, str, float]]:
    """Paint in onnxruntime and in torch: every style, and blends, at three odd sizes.

    Args:
        data: the ONNX file.
        net: the network it came from, on the CPU.

    Yields:
        The shape of a batch, how its styles are mixed, and the largest difference between the two
        in levels of 0..255; NaN if either paints NaN.
    """
    import onnxruntime
    import torch

    from polystyle.networks.style_rows import rows_of

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    styles = len(next(iter(rows_of(net).values())))
    random = torch.rand(3, styles, generator=generator)
    for mixes, style_mix, size in (
        ("every style", torch.eye(styles), (35, 50)),
        ("an even blend", torch.full((1, styles), 1 / styles), (61, 47)),
        ("random blends", random / random.sum(dim=1, keepdim=True), (16, 101)),
    ):
        content = torch.rand(len(style_mix), 3, *size, generator=generator)
        inputs = {"content": content.numpy(), "style_mix": style_mix.numpy()}
        [stylized] = session.run(None, inputs)
        with torch.inference_mode():
            expected = net(content, style_mix)
        difference = 255 * (torch.from_numpy(stylized) - expected).abs().max().item()
        yield " x ".join(map(str, content.shape)), mixes, difference


if __name__ == "__main__":
    main()
