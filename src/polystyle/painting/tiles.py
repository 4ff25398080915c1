"""Photos too large for memory, painted band by band with one set of instance statistics."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from polystyle.networks.transformer_net import STRIDE, ConvNorm, TransformerNet

# Gives rows of a map: (first, end) -> [1, C, end - first, W].
Rows = Callable[[int, int], Tensor]

# The maps that are kept between layers: 3.2 GB at 100 megapixels. Rounding them to float16 moves
# what a trained network paints by a hundredth of a level on average, and by 0.2 at most.
KEPT = torch.float16


@torch.inference_mode()
def paint_in_tiles(
    net: TransformerNet,
    content: Tensor,
    style: Tensor,
    band: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Tensor:
    """What the network paints, in memory for one band and for two maps of a quarter of the size.

    A band is as wide as the picture. The network is walked layer by layer, each over all bands,
    since a layer normalizes with the mean and variance of the whole picture. So there are no seams,
    and nothing differs from what the network paints at once, but for rounding (see `KEPT`). Maps of
    full and half size are computed again rather than kept: that is half as much work again.

    Args:
        net: the network.
        content: ``[1, 3, H, W]``, uint8 or floating in [0, 1], on any device.
        style: index ``[1]``, mix ``[1, N]`` or map ``[1, N, h, w]``, on the network's device.
        band: rows of the picture in a band.
        progress: called with the share of the work that was done since its last call.

    Returns:
        ``[1, 3, H, W]``, of content's dtype and device.

    Raises:
        ValueError: content of another shape, or too small.
    """
    net.check_content(content)
    return Tiles(net, content, style, band, progress).paint()


class Tiles:
    """One picture's way through `paint_in_tiles`."""

    def __init__(
        self,
        net: TransformerNet,
        content: Tensor,
        style: Tensor,
        band: int,
        progress: Callable[[float], None],
    ) -> None:
        self.net = net
        self.content = content
        self.band = band
        self.progress = progress
        self.weight = net.paint.conv.weight  # for its device and dtype
        self.height, self.width = (-(-side // STRIDE) * STRIDE for side in content.shape[-2:])
        self.statistics: dict[ConvNorm, tuple[Tensor, Tensor]] = {}

        down, up = list(net.down), [*net.up, net.paint]
        residual = [layer for block in net.residual for layer in (block.first, block.second)]
        self.heights: dict[ConvNorm, tuple[int, int]] = {}  # of a layer's input and output
        height = self.height
        for layer in (*down, *residual, *up):
            after = height * layer.upsample // layer.conv.stride[0]
            self.heights[layer] = (height, after)
            height = after
        # What each pass over the picture computes.
        passes = [layers[:end] for layers in (down, up) for end in range(1, len(layers) + 1)]
        passes += [[layer] for layer in residual]
        self.work = sum(self.cost(layers) for layers in passes)

        self.styles = {height: style for _, height in self.heights.values()}
        if style.ndim == 4:
            style = net.pad_map(style, content.shape[-2:])
            for height in self.styles:
                size = (height, self.width * height // self.height)
                self.styles[height] = F.interpolate(
                    style, size=size, mode="bilinear", antialias=True
                )

    def paint(self) -> Tensor:
        down, up = list(self.net.down), [*self.net.up, self.net.paint]
        x, between = self.empty_map(down[-1]), self.empty_map(down[-1])
        self.walk(down, self.content_rows, keep=x)
        for first, end in self.bands(x.shape[2]):
            x[:, :, first:end] = F.relu(self.normalize(down[-1], self.kept(x), first, end))
        for block in self.net.residual:
            self.walk([block.first], self.kept(x), keep=between)
            self.walk([block.second], self.activated(block.first, self.kept(between)), keep=between)
            for first, end in self.bands(x.shape[2]):
                x[:, :, first:end] += self.normalize(
                    block.second, self.kept(between), first, end
                ).to(x)
        del between
        painted = self.empty_map(up[-1])
        self.walk(up, self.kept(x), keep=painted)
        del x

        stylized = torch.empty_like(self.content)
        height, width = stylized.shape[-2:]
        for first, end in self.bands(height):
            rows = torch.sigmoid(self.normalize(up[-1], self.kept(painted), first, end))
            if not stylized.is_floating_point():
                rows = rows.mul(255).round()
            stylized[:, :, first:end] = rows[..., :width].to(stylized)
        return stylized

    def walk(self, layers: Sequence[ConvNorm], source: Rows, keep: Tensor) -> None:
        """Measure each layer's statistics in turn; what the last one's convolution gives is kept.

        `keep` may be the map that source reads: a band is written after the next one was read.
        """
        for number, layer in enumerate(layers, start=1):
            convolved = partial(self.convolve, layer, source)
            work = self.cost(layers[:number]) / self.work
            count, mean, squares, pending = 0, 0.0, 0.0, None
            height = self.heights[layer][1]
            for first, end in self.bands(height):
                rows = convolved(first, end)
                # Tiles are merged as Chan, Golub & LeVeque 1983 do it, in float64 on the CPU: MPS
                # has none.
                band_mean, band_variance = (
                    each.cpu().double() for each in layer.norm.statistics(rows)
                )
                size = rows.shape[2] * rows.shape[3]
                shift = band_mean - mean
                squares += size * (band_variance + shift**2 * count / (count + size))
                mean += shift * size / (count + size)
                count += size
                if number == len(layers):
                    if pending:
                        keep[:, :, slice(*pending[:2])] = pending[2]
                    pending = (first, end, rows.to(keep))
                self.progress(work * (end - first) / height)
            if pending:
                keep[:, :, slice(*pending[:2])] = pending[2]
            self.statistics[layer] = (mean.to(self.weight), (squares / count).to(self.weight))
            source = self.activated(layer, convolved)

    def convolve(self, layer: ConvNorm, source: Rows, first: int, end: int) -> Tensor:
        """Rows of what the layer's convolution makes of source, reflected beyond its edges."""
        kernel, stride, pad = (
            each[0] for each in (layer.conv.kernel_size, layer.conv.stride, layer.conv.padding)
        )
        rows = torch.arange(first * stride - pad, (end - 1) * stride - pad + kernel)
        last = self.heights[layer][0] * layer.upsample - 1
        rows = last - (last - rows.abs()).abs()
        rows = rows // layer.upsample
        low = int(rows.min())
        x = source(low, int(rows.max()) + 1)
        x = x[:, :, (rows - low).to(x.device)]
        x = x.repeat_interleave(layer.upsample, dim=3)
        x = F.pad(x, (pad, pad, 0, 0), mode="reflect")
        return F.conv2d(x, layer.conv.weight, stride=stride)

    def normalize(self, layer: ConvNorm, convolved: Rows, first: int, end: int) -> Tensor:
        style = self.styles[self.heights[layer][1]]
        if style.ndim == 4:
            style = style[:, :, first:end]
        return layer.norm.normalize(convolved(first, end), *self.statistics[layer], style)

    def activated(self, layer: ConvNorm, convolved: Rows) -> Rows:
        return lambda first, end: F.relu(self.normalize(layer, convolved, first, end))

    def content_rows(self, first: int, end: int) -> Tensor:
        """Rows of the photo, reflected beyond its edges as in `TransformerNet.forward`."""
        height, width = self.content.shape[-2:]
        rows = height - 1 - (height - 1 - torch.arange(first, end)).abs()
        x = self.content[:, :, rows.to(self.content.device)].to(self.weight)
        if not self.content.is_floating_point():
            x = x / 255
        return F.pad(x, (0, self.width - width, 0, 0), mode="reflect")

    def kept(self, features: Tensor) -> Rows:
        return lambda first, end: features[:, :, first:end].to(self.weight)

    def empty_map(self, layer: ConvNorm) -> Tensor:
        """Memory for a layer's map, on the CPU, which has more of it."""
        height = self.heights[layer][1]
        width = self.width * height // self.height
        return torch.empty(1, layer.conv.out_channels, height, width, dtype=KEPT)

    def bands(self, height: int) -> Iterator[tuple[int, int]]:
        """The bands of a map of that height: first row, and the row after the last."""
        rows = max(1, self.band * height // self.height)
        for first in range(0, height, rows):
            yield first, min(first + rows, height)

    def cost(self, layers: Sequence[ConvNorm]) -> int:
        """Of computing the layers once over the picture; in no unit."""
        return sum(each.conv.weight.numel() * self.heights[each][1] ** 2 for each in layers)
