"""The image transformation network of Johnson et al. 2016, with the changes of Dumoulin et al."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polystyle.networks.conditional_instance_norm import ConditionalInstanceNorm2d

# Two convolutions of stride 2: inside the network, sides are a quarter.
STRIDE = 4
MIN_SIDE = 16


def upsample_nearest(x: Tensor, factor: int) -> Tensor:
    """Nearest upsampling, as `F.interpolate` does it, by expanding: the gradient is a sum. The
    gradient of interpolate compiles to a scatter, which took a twelfth of a step."""
    batch, channels, height, width = x.shape
    x = x.permute(0, 2, 3, 1)[:, :, None, :, None]
    x = x.expand(-1, -1, factor, -1, factor, -1)
    return x.reshape(batch, factor * height, factor * width, channels).permute(0, 3, 1, 2)


class ConvNorm(nn.Module):
    """Nearest upsampling (if `upsample` is above 1), a convolution with reflect padding, and CIN.

    The convolution has no bias: CIN subtracts the mean, and beta takes the place of a bias.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        num_styles: int,
        stride: int = 1,
        upsample: int = 1,
    ) -> None:
        super().__init__()
        self.upsample = upsample
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            padding_mode="reflect",
            bias=False,
        )
        self.norm = ConditionalInstanceNorm2d(out_channels, num_styles)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        if self.upsample > 1:
            x = upsample_nearest(x, self.upsample)
        return self.norm(self.conv(x), style)


class ResidualBlock(nn.Module):
    """Two 3 x 3 ConvNorms around an identity; no ReLU after the sum."""

    def __init__(self, channels: int, num_styles: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels, 3, num_styles)
        self.second = ConvNorm(channels, channels, 3, num_styles)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x, style)), style)


class TransformerNet(nn.Module):
    """One feed-forward network that paints a photo in any of N styles, or any blend of them.

    The network of Dumoulin, Shlens & Kudlur 2017 (appendix, table 1), after Johnson, Alahi &
    Fei-Fei 2016: 1,674,432 convolution weights, shared, and 3,206 numbers per style at width 1.

    Args:
        num_styles: styles N.
        width: multiplies the channels of every layer (32, 64 and 128 at width 1).
        init_std: the standard deviation of the convolutions' initial weights, which are normal
            with mean 0 (0.01 in the paper). None keeps torch's initialisation.

    Attributes:
        arguments: the constructor's arguments for the model file's header: the width.
    """

    def __init__(self, num_styles: int, width: float = 1.0, init_std: float | None = None) -> None:
        super().__init__()
        if num_styles < 1:
            raise ValueError(f"num_styles must be at least 1, not {num_styles}")
        if width <= 0:
            raise ValueError(f"width must be over 0, not {width}")
        if init_std is not None and init_std < 0:
            raise ValueError(f"init_std must be at least 0, not {init_std}")
        self.arguments = {"width": width}
        narrow, middle, wide = (max(1, round(width * channels)) for channels in (32, 64, 128))
        self.down = nn.ModuleList(
            [
                ConvNorm(3, narrow, 9, num_styles),
                ConvNorm(narrow, middle, 3, num_styles, stride=2),
                ConvNorm(middle, wide, 3, num_styles, stride=2),
            ]
        )
        self.residual = nn.ModuleList(ResidualBlock(wide, num_styles) for _ in range(5))
        self.up = nn.ModuleList(
            ConvNorm(before, after, 3, num_styles, upsample=2)
            for before, after in pairwise((wide, middle, narrow))
        )
        self.paint = ConvNorm(narrow, 3, 9, num_styles)
        if init_std is not None:
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.normal_(module.weight, std=init_std)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """Stylizes images.

        Args:
            content: RGB images ``[B, 3, H, W]`` in [0, 1], H and W at least 16.
            style: index ``[B]``, mix ``[B, N]`` or map ``[B, N, h, w]``: see
                `ConditionalInstanceNorm2d.forward`.

        Returns:
            Stylized images ``[B, 3, H, W]`` in [0, 1], of exactly the same H and W.

        Raises:
            ValueError: content of another shape or too small, or a style that does not fit.
        """
        self.check_content(content)
        height, width = content.shape[-2:]
        # Sides that don't divide by the stride would come back up to three pixels longer.
        x = F.pad(content, (0, -width % STRIDE, 0, -height % STRIDE), mode="reflect")
        style = self.pad_map(style, content.shape[-2:])
        for layer in self.down:
            x = F.relu(layer(x, style))
        for block in self.residual:
            x = block(x, style)
        for layer in self.up:
            x = F.relu(layer(x, style))
        x = torch.sigmoid(self.paint(x, style))
        return x[..., :height, :width]

    @staticmethod
    def check_content(content: Tensor) -> None:
        """Raises ValueError for content of another shape, or too small."""
        if content.ndim != 4 or content.shape[1] != 3:
            raise ValueError(f"content must be [B, 3, H, W], not {list(content.shape)}")
        height, width = content.shape[-2:]
        if min(height, width) < MIN_SIDE:
            raise ValueError(
                f"a {width} x {height} image is too small: "
                f"both sides must be at least {MIN_SIDE} pixels"
            )

    @staticmethod
    def pad_map(style: Tensor, size: torch.Size) -> Tensor:
        """Pads a map of styles that has the photo's size like the photo. Returns any other style
        unchanged."""
        if style.ndim != 4 or style.shape[-2:] != size:
            return style
        height, width = size
        return F.pad(style, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
