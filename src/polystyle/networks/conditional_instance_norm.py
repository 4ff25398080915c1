"""Conditional instance normalization: the one layer that knows about styles."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polystyle.files.terminal_text import counted


def is_eager_on_cpu(x: Tensor) -> bool:
    """Whether each operation on x is a pass over memory of its own, by a CPU."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


class ConditionalInstanceNorm2d(nn.Module):
    """Instance normalization whose gamma and beta are chosen, or mixed, by style.

    ``z = gamma_s (x - mu) / sigma + beta_s`` (Dumoulin, Shlens & Kudlur 2017, section 2.2, eq. 5)
    where mu and sigma are the mean and the (biased) standard deviation of each channel of each
    image over H and W. gamma and beta are ``[num_styles, num_features]``, one row per style.

    Args:
        num_features: channels C of the feature maps.
        num_styles: styles N.
        eps: added to the variance.
    """

    def __init__(self, num_features: int, num_styles: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(num_styles, num_features))
        self.beta = nn.Parameter(torch.zeros(num_styles, num_features))

    @property
    def num_styles(self) -> int:
        """N: the rows of gamma and beta."""
        return len(self.gamma)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Normalize each image and give it its style's gamma and beta.

        Args:
            x: feature maps ``[B, C, H, W]``, floating.
            style: which style each image gets: an index ``[B]`` (int64 or int32, 0 to N - 1), a mix
                ``[B, N]`` (floating), or a map of mixes ``[B, N, h, w]``, resampled to H x W.

        Returns:
            ``[B, C, H, W]`` in the dtype of x. The statistics and the affine step are computed in
            float32 (float64 for float64), also under autocast.

        Raises:
            ValueError: a shape or dtype that fits none of the above, or an index out of range
                (looked at on the CPU only: on a GPU it would stall every layer of every step).
        """
        self._check(x, style)
        if x.dtype == torch.bfloat16 and style.ndim < 4 and is_eager_on_cpu(x):
            return self._fused(x, style)
        return self.normalize(x, *self.statistics(x), style)

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance of each channel of each image, over H and W.

        Args:
            x: feature maps ``[B, C, H, W]``, floating.

        Returns:
            Two tensors ``[B, C, 1, 1]`` in float32 (float64 for float64).
        """
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        if is_eager_on_cpu(x):
            # In channels-last format, torch.var_mean takes three times as long there.
            mean = values.mean((2, 3), keepdim=True)
            return mean, (values - mean).square().mean((2, 3), keepdim=True)
        variance, mean = torch.var_mean(values, dim=(2, 3), correction=0, keepdim=True)
        return mean, variance

    def normalize(self, x: Tensor, mean: Tensor, variance: Tensor, style: Tensor) -> Tensor:
        """The affine step of `forward`, with statistics from elsewhere: of a larger picture that x
        is a part of, or of the frames before it.

        Args:
            x: feature maps ``[B, C, H, W]``.
            mean, variance: ``[B, C, 1, 1]``, as `statistics` returns them.
            style: see `forward`.
        """
        with torch.autocast(x.device.type, enabled=False):
            values = x.to(torch.promote_types(x.dtype, torch.float32))
            scale = self._rows(self.gamma, style, x.shape[-2:]) * torch.rsqrt(variance + self.eps)
            shift = self._rows(self.beta, style, x.shape[-2:])
            return torch.addcmul(shift - mean * scale, values, scale).to(x.dtype)

    def _fused(self, x: Tensor, style: Tensor) -> Tensor:
        """`forward` for bfloat16, in a ninth of the time: group normalization of C groups.

        The kernel sums squares in float32. A mean of twenty standard deviations would cost 6 % of
        the standard deviation, so that means above one of them are subtracted first. They need not
        be exact, and are taken of some thousand pixels.
        """
        with torch.autocast(x.device.type, enabled=False):
            with torch.no_grad():
                step = max(1, min(x.shape[-2:]) // 32)
                sample = x[:, :, ::step, ::step].float()
                variance, mean = torch.var_mean(sample, dim=(2, 3), correction=0, keepdim=True)
                offset = torch.where(mean.square() > variance, mean, 0).to(x.dtype)
            images = (x - offset).split(1)
            gammas, betas = (
                self._rows(table, style, x.shape[-2:])[:, :, 0, 0]
                for table in (self.gamma, self.beta)
            )
            outputs = [
                F.group_norm(image, self.num_features, gamma, beta, self.eps)
                for image, gamma, beta in zip(images, gammas, betas, strict=True)
            ]
            return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _rows(self, table: Tensor, style: Tensor, size: torch.Size) -> Tensor:
        """Each image's row of gamma or beta: ``[B, C, 1, 1]``, or ``[B, C, H, W]`` for a map."""
        if style.ndim == 1:
            # Looked up, not multiplied by a one-hot: rounding (TF32) must not touch a style's row.
            return F.embedding(style, table)[:, :, None, None]
        mix = style.to(table.dtype)
        if style.ndim == 2:
            mix = mix[:, :, None, None]
        elif style.shape[-2:] != size:
            mix = F.interpolate(mix, size=size, mode="bilinear", antialias=True)
        return torch.einsum("bnhw,nc->bchw", mix, table)

    def _check(self, x: Tensor, style: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.num_features:
            raise ValueError(f"x must be [B, {self.num_features}, H, W], not {list(x.shape)}")
        if style.ndim not in (1, 2, 4):
            raise ValueError(
                f"style must be an index [B], a mix [B, N] or a map [B, N, h, w], "
                f"not of shape {list(style.shape)}"
            )
        if style.shape[0] != x.shape[0]:
            raise ValueError(f"style is for {counted(style.shape[0], 'image')}, x has {x.shape[0]}")
        if style.ndim == 1:
            if style.dtype not in (torch.int64, torch.int32):
                raise ValueError(f"a style index must be int64 or int32, not {style.dtype}")
            if is_eager_on_cpu(style):
                low, high = style.min().item(), style.max().item()
                if low < 0 or high >= self.num_styles:
                    wrong = low if low < 0 else high
                    raise ValueError(f"style index {wrong} is not in 0..{self.num_styles - 1}")
        elif not style.is_floating_point():
            raise ValueError(f"a mix of styles must be floating, not {style.dtype}")
        elif style.shape[1] != self.num_styles:
            raise ValueError(
                f"a mix must have {counted(self.num_styles, 'style')}, not {style.shape[1]}"
            )

    def extra_repr(self) -> str:
        return f"{self.num_features}, num_styles={self.num_styles}, eps={self.eps}"
