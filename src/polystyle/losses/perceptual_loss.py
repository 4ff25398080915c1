"""The perceptual loss: distances of an image from a photo's content and from a painting's style."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from polystyle.losses.vgg import VGG16, check_layers

# Pixels of the paintings of one size that go through VGG in one batch, by device type: on CUDA
# these are two gigabytes of features. Elsewhere paintings go one at a time, which is as fast, and
# no painting's result depends on the others in the last bits.
PIXELS_AT_ONCE = {"cuda": 2**20}

# Prevents a division by zero for a blank picture's features.
TINY = 1e-8


def gram_matrix(features: Tensor) -> Tensor:
    """The Gram matrix: correlations of features (Gatys, Ecker & Bethge 2016, eq. 3).

    Args:
        features: ``[B, C, H, W]``, of any floating dtype.

    Returns:
        ``[B, C, C]``: products of channels, averaged over the H W positions. In float32 (float64
        for float64), also under autocast: a float16 Gram overflows.
    """
    return _GramMatrix.apply(features)


class _GramMatrix(torch.autograd.Function):
    """Computes the gradient with one matrix product, in bfloat16 for bfloat16 features; autograd
    would take two, in float32."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        # Training keeps feature maps in channels-last format, so that this moves no memory.
        flat = features.permute(0, 2, 3, 1).flatten(1, 2)
        ctx.save_for_backward(flat)
        ctx.size = features.shape[-2:]
        wide = flat.to(torch.promote_types(flat.dtype, torch.float32))
        with torch.autocast(features.device.type, enabled=False):
            return wide.mT @ wide / flat.shape[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (flat,) = ctx.saved_tensors
        # bfloat16 has the range of float32, and the product is rounded to bfloat16 anyway. float16
        # would overflow.
        dtype = torch.promote_types(flat.dtype, torch.float32)
        if flat.dtype == torch.bfloat16:
            dtype = torch.bfloat16
        symmetric = ((gradient + gradient.mT) / flat.shape[1]).to(dtype)
        with torch.autocast(gradient.device.type, enabled=False):
            product = flat.to(dtype) @ symmetric
        return product.unflatten(1, ctx.size).permute(0, 3, 1, 2).to(flat.dtype)


def difference(values: Tensor, targets: Tensor, relative: bool) -> Tensor:
    """The squared difference of each image's values from the targets, in at least float32.

    Args:
        values, targets: ``[B, ...]``.
        relative: divide the sum of squares by that of the target, which makes the loss independent
            of scale; otherwise return the mean over the elements, as the papers do.

    Returns:
        ``[B]``, at least 0.
    """
    dtype = torch.promote_types(values.dtype, torch.float32)
    targets = targets.to(dtype).flatten(1)
    squares = (values.to(dtype).flatten(1) - targets).square()
    if relative:
        return squares.sum(1) / targets.square().sum(1).clamp_min(TINY)
    return squares.mean(1)


def content_loss(features: Tensor, content_features: Tensor, relative: bool = True) -> Tensor:
    """The distance of features from the photo's (Johnson et al. 2016, section 3.2, eq. 2): ``[B]``.

    Args:
        features, content_features: ``[B, C, H, W]``.
        relative: see `difference`.
    """
    return difference(features, content_features, relative)


def style_loss(features: Tensor, style_grams: Tensor, relative: bool = True) -> Tensor:
    """The distance of Gram matrices from the paintings' (Johnson et al. 2016, eq. 4): ``[B]``.

    Args:
        features: ``[B, C, H, W]``.
        style_grams: ``[B, C, C]``.
        relative: see `difference`.
    """
    return difference(gram_matrix(features), style_grams, relative)


def total_variation_loss(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, down plus across (Rudin et al. 1992).

    Args:
        images: ``[B, C, H, W]``.

    Returns:
        ``[B]``, 0 for a flat image.
    """
    down = (images[:, :, 1:] - images[:, :, :-1]).abs().flatten(1).mean(1)
    across = (images[:, :, :, 1:] - images[:, :, :, :-1]).abs().flatten(1).mean(1)
    return down + across


def sum_of(losses: Iterable[Tensor]) -> Tensor:
    """The sum of at least one loss. (The type of Python's `sum` may be int, that of nothing.)"""
    return reduce(torch.add, losses)


class PerceptualLoss(nn.Module):
    """The weighted sum of content, style and total-variation loss, per image.

    Args:
        vgg: the frozen network that computes features.
        content_weight, style_weight, tv_weight: weights of the three losses in the total.
        content_weights, style_weights: weight of each VGG layer, by name, within content and style
            loss; 0 leaves a layer out.
        relative: scale-free differences (see `difference`), so that a weight means the same for
            every painting and layer; False takes the papers' mean squared differences.
        style_coefficients: multiplies the style loss of single styles, by name; 1 where not given.
        progressive_style_weight: the style weight in the steps of progressive resizing; None is
            `style_weight`.

    Raises:
        ValueError: VGG-16 has no such layer, or all weights of a loss are 0.
    """

    coefficients: Tensor

    def __init__(
        self,
        vgg: VGG16,
        content_weight: float = 1.0,
        style_weight: float = 10.0,
        tv_weight: float = 0.0,
        content_weights: Mapping[str, float] | None = None,
        style_weights: Mapping[str, float] | None = None,
        relative: bool = True,
        style_coefficients: Mapping[str, float] | None = None,
        progressive_style_weight: float | None = None,
    ) -> None:
        super().__init__()
        self.vgg = vgg
        self.content_weight = content_weight
        self.style_weight = style_weight
        self.progressive_style_weight = (
            style_weight if progressive_style_weight is None else progressive_style_weight
        )
        self.tv_weight = tv_weight
        if content_weights is None:
            content_weights = {"relu3_3": 1.0}
        if style_weights is None:
            style_weights = dict.fromkeys(("relu1_2", "relu2_2", "relu3_3", "relu4_3"), 0.25)
        self.content_weights = {name: w for name, w in content_weights.items() if w}
        self.style_weights = {name: w for name, w in style_weights.items() if w}
        check_layers([*self.content_weights, *self.style_weights])
        if not self.content_weights or not self.style_weights:
            raise ValueError("content_weights and style_weights each need a layer of weight over 0")
        self.relative = relative
        self.style_coefficients = dict(style_coefficients or {})

    @property
    def num_styles(self) -> int:
        """The number of styles, including the identity style."""
        return len(self.coefficients)

    @torch.no_grad()
    def set_style_images(
        self,
        style_images: Mapping[str, Sequence[Tensor]],
        progressive_style_images: Mapping[str, Sequence[Tensor]] | None = None,
    ) -> None:
        """Computes the Gram matrices of all styles, which are constants of the training. The Gram
        matrix of a style with several paintings is the mean over the paintings.

        Args:
            style_images: RGB ``[3, h, w]`` in [0, 1]: the paintings of each style by its name, in
                the order of the styles. The identity style has none; see `forward`.
            progressive_style_images: the same paintings at another size, for the steps of
                progressive resizing; None if the size is the same.

        Raises:
            ValueError: a coefficient names an unknown style.
        """
        for name in self.style_coefficients:
            if name not in style_images:
                near = get_close_matches(name, style_images, n=1, cutoff=0.0)
                raise ValueError(f"style_coefficients: no style {name!r}; nearest is {near[0]!r}")
        device = self.vgg.pixel_mean.device
        self.set_grams("gram", style_images)
        self.progressive_grams = "gram"
        if progressive_style_images is not None:
            self.progressive_grams = "progressive_gram"
            self.set_grams(self.progressive_grams, progressive_style_images)
        coefficients = [float(self.style_coefficients.get(name, 1.0)) for name in style_images]
        self.register_buffer(
            "coefficients", torch.tensor(coefficients, device=device), persistent=False
        )
        unpainted = [index for index, images in enumerate(style_images.values()) if not images]
        self.photo_style = unpainted[0] if unpainted else None

    def set_grams(self, prefix: str, style_images: Mapping[str, Sequence[Tensor]]) -> None:
        """Registers the Gram matrices ``[N, C, C]`` of the styles as ``<prefix>_<layer>``."""
        device = self.vgg.pixel_mean.device
        # The identity style has no painting. Its Gram matrices are placeholders and never used.
        grams = self.style_grams(
            [images or [torch.ones(3, 16, 16)] for images in style_images.values()]
        )
        for layer in self.style_weights:
            # Not in the state dict, because they are computed from the paintings.
            stacked = torch.stack([by_layer[layer].to(device) for by_layer in grams])
            self.register_buffer(f"{prefix}_{layer}", stacked, persistent=False)

    def style_grams(self, styles: Sequence[Sequence[Tensor]]) -> list[dict[str, Tensor]]:
        """Gram matrices ``[C, C]`` by layer for each style: the mean over its paintings."""
        device = self.vgg.pixel_mean.device
        grams: list[dict[str, Tensor]] = [{} for _ in styles]
        images = [(style, image) for style, group in enumerate(styles) for image in group]
        by_shape: dict[torch.Size, list[int]] = {}
        for index, (_, image) in enumerate(images):
            by_shape.setdefault(image.shape, []).append(index)
        # In benchmark mode cuDNN would search for the fastest convolution for each painting's size.
        benchmark, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
        with tqdm(total=len(images), desc="Paintings", disable=None, leave=False) as progress:
            for (_, height, width), same_size in by_shape.items():
                count = max(1, PIXELS_AT_ONCE.get(device.type, 0) // (height * width))
                for start in range(0, len(same_size), count):
                    batch = same_size[start : start + count]
                    stacked = torch.stack([images[index][1] for index in batch]).to(device)
                    features = self.vgg(stacked, self.style_weights)
                    for layer, tapped in features.items():
                        shares = gram_matrix(tapped)
                        for share, index in zip(shares, batch, strict=True):
                            style = images[index][0]
                            mean = grams[style].get(layer, torch.zeros_like(share))
                            grams[style][layer] = mean + share / len(styles[style])
                    progress.update(len(batch))
        torch.backends.cudnn.benchmark = benchmark
        return grams

    def forward(
        self, content: Tensor, stylized: Tensor, style: Tensor, is_progressive: bool = False
    ) -> dict[str, Tensor]:
        """Compares stylized images with their photos and with the paintings of their styles.

        The style loss of the identity style is the distance to the photo's pixels.

        Args:
            content, stylized: RGB ``[B, 3, H, W]`` in [0, 1].
            style: the style's index for each stylized image, ``[B]``. If B is 1 and `style` is
                longer, the image is compared with each of these styles.
            is_progressive: whether this is a step of progressive resizing, with Gram matrices and a
                style weight of its own.

        Returns:
            ``"loss"``, the weighted total, and ``"content_loss"``, ``"style_loss"``, ``"tv_loss"``
            without the three outer weights, each ``[B]`` in float32.
        """
        grams, style_weight = "gram", self.style_weight
        if is_progressive:
            grams, style_weight = self.progressive_grams, self.progressive_style_weight
        with torch.no_grad():
            targets = self.vgg(content, self.content_weights)
        features = self.vgg(stylized, {**self.content_weights, **self.style_weights})
        content_term = sum_of(
            weight * content_loss(features[layer], targets[layer], self.relative)
            for layer, weight in self.content_weights.items()
        )
        style_term = sum_of(
            weight
            * style_loss(features[layer], getattr(self, f"{grams}_{layer}")[style], self.relative)
            for layer, weight in self.style_weights.items()
        )
        if self.photo_style is not None:
            # Not relative: pixels have a fixed scale, and a dark photo would outweigh all others.
            pixels = difference(stylized, content, relative=False)
            style_term = torch.where(style == self.photo_style, pixels, style_term)
        style_term = self.coefficients[style] * style_term
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.tv_weight != 0):
            tv_term = total_variation_loss(stylized.float())
        total = (
            self.content_weight * content_term
            + style_weight * style_term
            + self.tv_weight * tv_term
        )
        return {
            "loss": total,
            "content_loss": content_term,
            "style_loss": style_term,
            "tv_loss": tv_term,
        }
