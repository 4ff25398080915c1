"""Instance statistics averaged over the frames of a video, which reduces flicker."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from polystyle.networks.conditional_instance_norm import ConditionalInstanceNorm2d


class RunningStatistics:
    """Each layer's statistics, averaged over the frames so far; see `smoothed_statistics`."""

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum
        # By layer and number of the pass: the shape of its input, mean and variance.
        self.running: dict[tuple[nn.Module, int], tuple[torch.Size, Tensor, Tensor]] = {}
        self.passes: Counter[nn.Module] = Counter()

    def next_frame(self) -> None:
        """Call this before each frame is painted."""
        self.passes.clear()

    def reset(self) -> None:
        """Forget the frames so far, as where a new scene begins."""
        self.running.clear()

    def update(
        self, layer: nn.Module, statistics: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A layer's averaged mean and variance, with those of its input x included.

        Args:
            layer: the layer.
            statistics: the layer's own method.
            x: its input ``[B, C, H, W]``.

        Returns:
            Two tensors ``[B, C, 1, 1]``.
        """
        mean, variance = (statistic.detach() for statistic in statistics(x))
        key = layer, self.passes[layer]
        self.passes[layer] += 1
        if key in self.running and self.running[key][0] == x.shape:
            _, running_mean, running_variance = self.running[key]
            mean = self.momentum * running_mean + (1 - self.momentum) * mean
            variance = self.momentum * running_variance + (1 - self.momentum) * variance
        self.running[key] = x.shape, mean, variance
        return mean, variance


@contextmanager
def smoothed_statistics(net: nn.Module, momentum: float) -> Iterator[RunningStatistics]:
    """Within the block, all CIN layers but the first average their statistics over frames.

    ``running = momentum * running + (1 - momentum) * frame's``, for the mean and the variance of
    each channel of each image; the first frame's average is its own. Where a frame takes several
    passes through the network, each pass is averaged with the same pass of earlier frames. Images
    of another number or size start a new average.

    The first layer keeps its own statistics. They cancel every change of exposure, which an average
    would let through: as flicker, and as a lag after a change of light.

    Args:
        net: a network with `ConditionalInstanceNorm2d` layers.
        momentum: in [0, 1). 0 changes nothing, bit for bit; m averages over 1 / (1 - m) frames.

    Yields:
        The averages: call `next_frame` before each frame, and `reset` where a new scene begins.

    Raises:
        ValueError: momentum is not in [0, 1).
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"the statistics' momentum must be at least 0 and under 1, not {momentum}")
    running = RunningStatistics(momentum)
    layers = [layer for layer in net.modules() if isinstance(layer, ConditionalInstanceNorm2d)][1:]
    for layer in layers:
        layer.statistics = partial(running.update, layer, layer.statistics)
    try:
        yield running
    finally:
        for layer in layers:
            del layer.statistics  # the attribute, which hides the class's method
