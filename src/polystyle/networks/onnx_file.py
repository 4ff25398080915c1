"""Exports a network to ONNX, and compares onnxruntime's pictures with torch's."""

import copy
import json
import warnings
from collections.abc import Iterator

import onnx
import onnxruntime
import onnxscript  # noqa: F401  (torch's exporter needs it: a missing package is reported here)
import torch
from torch import Tensor, nn
from torch.export import Dim

from polystyle.networks.model_file import FORMAT, Model, fingerprint
from polystyle.networks.onnx_usage import USAGE
from polystyle.networks.style_rows import rows_of
from polystyle.networks.transformer_net import MIN_SIDE

RUNTIME_VERSION: str = onnxruntime.__version__


class HalfPrecision(nn.Module):
    """A copy of a network whose convolutions compute in float16. CIN layers compute in float32 and
    return the dtype of their input.

    Args:
        net: the network; it is not changed.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = copy.deepcopy(net)
        for module in self.net.modules():
            if isinstance(module, nn.Conv2d):
                module.half()

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """Paints content, float32 ``[B, 3, H, W]`` in [0, 1], as float32 of the same shape."""
        return self.net(content.half(), style).float()


def to_onnx(model: Model, precision: str = "float32") -> onnx.ModelProto:
    """A network as ONNX, with dynamic batch, height and width, and the style as an input.

    Inputs are ``content`` ``[B, 3, H, W]`` and ``style_mix`` ``[B, N]``, the output is ``stylized``
    ``[B, 3, H, W]``: all float32, in the ranges of `TransformerNet.forward`. The metadata holds
    ``style_names`` (a JSON list), ``fingerprint``, ``format``, ``precision`` and ``usage``.

    Args:
        model: the network, on the CPU, and its style names. It is not changed.
        precision: "float32", or "float16" for the convolutions' weights and all feature maps;
            statistics, gamma and beta stay in float32.
    """
    net = model.net if precision == "float32" else HalfPrecision(model.net)
    batch, height, width = Dim("batch"), Dim("height", min=MIN_SIDE), Dim("width", min=MIN_SIDE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            net,
            # The exporter would take special sizes for constants, so no side of the example is a
            # multiple of 4, and no two sides are equal.
            (torch.rand(2, 3, 37, 50), torch.rand(2, len(model.style_names))),
            dynamo=True,
            verbose=False,
            input_names=["content", "style_mix"],
            output_names=["stylized"],
            dynamic_shapes=({0: batch, 2: height, 3: width}, {0: batch}),
        )
    assert program is not None  # with dynamo=True
    proto = program.model_proto
    clear_exporter_notes(proto.graph)
    name_output_sides(proto.graph)
    metadata = {
        "format": FORMAT,
        "style_names": json.dumps(model.style_names),
        "fingerprint": fingerprint(model.net),
        "precision": precision,
        "usage": USAGE,
    }
    onnx.helper.set_model_props(proto, metadata)
    return proto


def clear_exporter_notes(graph: onnx.GraphProto) -> None:
    """Removes the exporter's notes: lines of code with this machine's paths, and the shapes of all
    feature maps as long formulas."""
    graph.ClearField("value_info")
    graph.ClearField("metadata_props")
    for node in graph.node:
        node.ClearField("metadata_props")


def name_output_sides(graph: onnx.GraphProto) -> None:
    """Names the output's sides like the input's, in place of formulas that compute them."""
    dimensions = graph.output[0].type.tensor_type.shape.dim
    for dimension, name in zip(dimensions, ("batch", None, "height", "width"), strict=True):
        if name:
            dimension.dim_param = name


def compare(data: bytes, net: nn.Module) -> Iterator[tuple[str, str, float]]:
    """Compares onnxruntime with torch: every style, and blends, at three sizes that are no multiple
    of 4 on both sides.

    Args:
        data: the ONNX file.
        net: the network that was exported, on the CPU.

    Yields:
        The shape of a batch, how its styles are mixed, and the largest difference between the two
        pictures in levels of 0..255; NaN if either picture has a NaN.
    """
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    num_styles = len(next(iter(rows_of(net).values())))
    random = torch.rand(3, num_styles, generator=generator)
    for mixes, style_mix, size in (
        ("every style", torch.eye(num_styles), (35, 50)),
        ("an even blend", torch.full((1, num_styles), 1 / num_styles), (61, 47)),
        ("random blends", random / random.sum(dim=1, keepdim=True), (16, 101)),
    ):
        content = torch.rand(len(style_mix), 3, *size, generator=generator)
        inputs = {"content": content.numpy(), "style_mix": style_mix.numpy()}
        [stylized] = session.run(None, inputs)
        with torch.inference_mode():
            expected = net(content, style_mix)
        difference = 255 * (torch.from_numpy(stylized) - expected).abs().max().item()
        yield " x ".join(map(str, content.shape)), mixes, difference
