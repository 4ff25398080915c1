"""Photos too large for memory, painted in tiles with one set of instance statistics."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from polystyle.networks.transformer_net import STRIDE, ConvNorm, TransformerNet

# Gives rows of a map: (first, end) -> [1, C, end - first, W].
Rows = Callable[[int, int], Tensor]

# The dtype of the maps kept between layers: 3.2 GB at 100 megapixels. Rounding them to float16
# changes what a trained network paints by 0.01 levels of 255 on average, and by 0.2 at most.
KEPT = torch.float16


@torch.inference_mode()
def paint_in_tiles(
    net: TransformerNet,
    content: Tensor,
    style: Tensor,
    tile: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Tensor:
    """What the network paints, in memory for one tile and for two maps of a quarter of the size.

    A tile is a band of rows as wide as the picture. A layer normalizes with the mean and variance
    of the whole picture; so the network is walked layer by layer, each over all tiles. There are no
    seams, and only rounding (see `KEPT`) differs from painting the picture whole. Maps of full and
    half size are computed again rather than kept, which adds half as much work.

    Args:
        net: the network.
        content: ``[1, 3, H, W]``, uint8 or floating in [0, 1], on any device.
        style: index ``[1]``, mix ``[1, N]`` or map ``[1, N, h, w]``, on the network's device.
        tile: rows of the picture in a tile, at least 1.
        progress: called with the share of the work that was done since its last call.

    Returns:
        ``[1, 3, H, W]``, of content's dtype and device.

    Raises:
        ValueError: content of another shape, or too small.
    """
    net.check_content(content)
    return Tiles(net, content, style, tile, progress).paint()


class Tiles:
    """The state of one `paint_in_tiles`; see there for the arguments."""

    def __init__(
        self,
        net: TransformerNet,
        content: Tensor,
        style: Tensor,
        tile: int,
        progress: Callable[[float], None],
    ) -> None:
        self.net = net
        self.content = content
        self.tile = tile
        self.progress = progress
        self.weight = net.paint.conv.weight  # for its device and dtype
        self.height, self.width = (-(-side // STRIDE) * STRIDE for side in content.shape[-2:])
        self.statistics: dict[ConvNorm, tuple[Tensor, Tensor]] = {}
        self.down, self.up = list(net.down), [*net.up, net.paint]
        self.residual = [layer for block in net.residual for layer in (block.first, block.second)]
        self.heights = self.layer_heights()
        self.work = self.total_work()
        self.styles = self.style_by_height(style)

    def layer_heights(self) -> dict[ConvNorm, tuple[int, int]]:
        """The heights of each layer's input and output."""
        heights = {}
        height = self.height
        for layer in (*self.down, *self.residual, *self.up):
            output_height = height * layer.upsample // layer.conv.stride[0]
            heights[layer] = (height, output_height)
            height = output_height
        return heights

    def total_work(self) -> int:
        """The cost of all passes over the picture.

        The way down and the way up are computed again from their beginning for each of their
        layers; each residual layer is one pass.
        """
        passes = [
            layers[:end] for layers in (self.down, self.up) for end in range(1, len(layers) + 1)
        ]
        passes += [[layer] for layer in self.residual]
        return sum(self.cost(layers) for layers in passes)

    def style_by_height(self, style: Tensor) -> dict[int, Tensor]:
        """The style for maps of each height: itself, or a map of styles resampled to their size."""
        heights = {height for _, height in self.heights.values()}
        if style.ndim != 4:
            return dict.fromkeys(heights, style)
        style = self.net.pad_map(style, self.content.shape[-2:])
        return {
            height: F.interpolate(
                style, size=(height, self.map_width(height)), mode="bilinear", antialias=True
            )
            for height in heights
        }

    def paint(self) -> Tensor:
        x = self.paint_down()
        self.add_residuals(x)
        painted = self.empty_map(self.up[-1])
        self.walk(self.up, self.rows_of_map(x), keep=painted)
        del x
        return self.to_picture(painted)

    def paint_down(self) -> Tensor:
        """What the residual blocks start from: a map of a quarter of the size."""
        last = self.down[-1]
        x = self.empty_map(last)
        self.walk(self.down, self.content_rows, keep=x)
        for first, end in self.tiles(x.shape[2]):
            x[:, :, first:end] = F.relu(self.normalize(last, self.rows_of_map(x), first, end))
        return x

    def add_residuals(self, x: Tensor) -> None:
        """Apply the residual blocks to a map, in place."""
        between = self.empty_map(self.down[-1])
        rows = self.rows_of_map(between)
        for block in self.net.residual:
            self.walk([block.first], self.rows_of_map(x), keep=between)
            self.walk([block.second], self.activated(block.first, rows), keep=between)
            for first, end in self.tiles(x.shape[2]):
                x[:, :, first:end] += self.normalize(block.second, rows, first, end).to(x)

    def to_picture(self, painted: Tensor) -> Tensor:
        """The picture, of content's dtype and device, from what the last convolution gives."""
        stylized = torch.empty_like(self.content)
        height, width = stylized.shape[-2:]
        for first, end in self.tiles(height):
            normalized = self.normalize(self.up[-1], self.rows_of_map(painted), first, end)
            rows = torch.sigmoid(normalized)
            if not stylized.is_floating_point():
                rows = rows.mul(255).round()
            stylized[:, :, first:end] = rows[..., :width].to(stylized)
        return stylized

    def walk(self, layers: Sequence[ConvNorm], source: Rows, keep: Tensor) -> None:
        """Measure the statistics of each layer in turn, and keep the last convolution's output.

        Args:
            layers: consecutive layers.
            source: the rows that the first layer reads.
            keep: the map to write to. It may be the map that source reads: a tile is written after
                the next one is read.
        """
        for number, layer in enumerate(layers, start=1):
            convolved = partial(self.convolve, layer, source)
            work = self.cost(layers[:number]) / self.work
            self.measure(layer, convolved, work, keep if number == len(layers) else None)
            source = self.activated(layer, convolved)

    def measure(self, layer: ConvNorm, convolved: Rows, work: float, keep: Tensor | None) -> None:
        """Measure one layer's statistics over all tiles.

        Args:
            layer: the layer.
            convolved: the output of its convolution.
            work: the share of the whole work that computing the output is.
            keep: a map to keep the output in.
        """
        count, mean, squares, pending = 0, 0.0, 0.0, None
        height = self.heights[layer][1]
        for first, end in self.tiles(height):
            rows = convolved(first, end)
            # The tiles' statistics are merged as in Chan, Golub & LeVeque 1983, in float64 on the
            # CPU, because MPS has no float64.
            tile_mean, tile_variance = (
                statistic.cpu().double() for statistic in layer.norm.statistics(rows)
            )
            size = rows.shape[2] * rows.shape[3]
            shift = tile_mean - mean
            squares += size * (tile_variance + shift**2 * count / (count + size))
            mean += shift * size / (count + size)
            count += size
            if keep is not None:
                if pending:
                    keep[:, :, slice(*pending[:2])] = pending[2]
                pending = (first, end, rows.to(keep))
            self.progress(work * (end - first) / height)
        if pending:
            keep[:, :, slice(*pending[:2])] = pending[2]
        self.statistics[layer] = (mean.to(self.weight), (squares / count).to(self.weight))

    def convolve(self, layer: ConvNorm, source: Rows, first: int, end: int) -> Tensor:
        """Rows of the layer's convolution of source, which is reflected beyond its edges."""
        conv = layer.conv
        kernel, stride, pad = conv.kernel_size[0], conv.stride[0], conv.padding[0]
        rows = torch.arange(first * stride - pad, (end - 1) * stride - pad + kernel)
        last = self.heights[layer][0] * layer.upsample - 1
        rows = last - (last - rows.abs()).abs()
        rows = rows // layer.upsample
        low = int(rows.min())
        x = source(low, int(rows.max()) + 1)
        x = x[:, :, (rows - low).to(x.device)]
        x = x.repeat_interleave(layer.upsample, dim=3)
        x = F.pad(x, (pad, pad, 0, 0), mode="reflect")
        return F.conv2d(x, conv.weight, stride=stride)

    def normalize(self, layer: ConvNorm, convolved: Rows, first: int, end: int) -> Tensor:
        """Rows of the layer's output, before its ReLU; its statistics must be measured."""
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

    def rows_of_map(self, features: Tensor) -> Rows:
        """Rows of a kept map, in the network's dtype and on its device."""
        return lambda first, end: features[:, :, first:end].to(self.weight)

    def empty_map(self, layer: ConvNorm) -> Tensor:
        """Memory for a layer's output: on the CPU, which has more of it."""
        height = self.heights[layer][1]
        return torch.empty(1, layer.conv.out_channels, height, self.map_width(height), dtype=KEPT)

    def map_width(self, height: int) -> int:
        """The width of maps of that height."""
        return self.width * height // self.height

    def tiles(self, height: int) -> Iterator[tuple[int, int]]:
        """The tiles of a map of that height: first row, and the row after the last."""
        rows = max(1, self.tile * height // self.height)
        for first in range(0, height, rows):
            yield first, min(first + rows, height)

    def cost(self, layers: Sequence[ConvNorm]) -> int:
        """The cost of computing the layers once over the picture, in arbitrary units."""
        return sum(layer.conv.weight.numel() * self.heights[layer][1] ** 2 for layer in layers)


@contextmanager
def megapixel_bar(pixels: int) -> Iterator[Callable[[float], None]]:
    """A progress bar for a large picture.

    Yields:
        A function to call with the share of the work that was done since its last call.
    """
    total = pixels / 1e6
    layout = "{l_bar}{bar}| {n:.1f}/{total:.1f} MP [{elapsed}<{remaining}, {rate_fmt}]"
    with tqdm(total=total, unit=" MP", bar_format=layout, leave=False, disable=None) as progress:

        def update(share: float) -> None:
            # Rounded shares may add up to a little over 1, and tqdm warns of more than its total.
            progress.update(min(share * total, progress.total - progress.n))

        yield update
