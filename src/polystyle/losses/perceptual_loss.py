"""The perceptual loss: how far an image is from a photo's content and a painting's style."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from polystyle.losses.vgg import VGG16, check_layers

# Of paintings of one size that go through VGG together: two gigabytes of features. One painting at
# a time elsewhere: it is as fast there, and no painting's last bits depend on the others.
PIXELS_AT_ONCE = {"cuda": 2**20}

# Keeps a blank picture's features from dividing by zero.
TINY = 1e-8


def gram_matrix(features: Tensor) -> Tensor:
    """Which features occur together, wherever they do (Gatys, Ecker & Bethge 2016, eq. 3).

    Args:
        features: ``[B, C, H, W]``, of any floating dtype.

    Returns:
        ``[B, C, C]``: products of channels, averaged over the H W positions. In float32 (float64
        for float64), also under autocast: a float16 Gram overflows.
    """
    return _GramMatrix.apply(features)


class _GramMatrix(torch.autograd.Function):
    """The gradient needs one product; autograd's own takes two, and bfloat16's in float32."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        # Channels last is how training keeps its feature maps: nothing is transposed here.
        flat = features.permute(0, 2, 3, 1).flatten(1, 2)
        ctx.save_for_backward(flat)
        ctx.size = features.shape[-2:]
        wide = flat.to(torch.promote_types(flat.dtype, torch.float32))
        with torch.autocast(features.device.type, enabled=False):
            return wide.mT @ wide / flat.shape[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (flat,) = ctx.saved_tensors
        # bfloat16 has float32's range, and the product is rounded to it in any case; float16 is
        # too narrow for these numbers.
        dtype = torch.promote_types(flat.dtype, torch.float32)
        if flat.dtype == torch.bfloat16:
            dtype = torch.bfloat16
        symmetric = ((gradient + gradient.mT) / flat.shape[1]).to(dtype)
        with torch.autocast(gradient.device.type, enabled=False):
            product = flat.to(dtype) @ symmetric
        return product.unflatten(1, ctx.size).permute(0, 3, 1, 2).to(flat.dtype)


def difference(values: Tensor, targets: Tensor, relative: bool) -> Tensor:
    """Squared difference of each image's values from its targets, in float32 or better.

    Args:
        values, targets: ``[B, ...]``.
        relative: divide by the squared size of the target, which makes it free of scale; else take
            the mean over the elements, as the papers do.

    Returns:
        ``[B]``, 0 and up.
    """
    dtype = torch.promote_types(values.dtype, torch.float32)
    targets = targets.to(dtype).flatten(1)
    squares = (values.to(dtype).flatten(1) - targets).square()
    if relative:
        return squares.sum(1) / targets.square().sum(1).clamp_min(TINY)
    return squares.mean(1)


def content_loss(features: Tensor, content_features: Tensor, relative: bool = True) -> Tensor:
    """How far the features are from the photo's (Johnson et al. 2016, section 3.2, eq. 2): ``[B]``.

    Args:
        features, content_features: ``[B, C, H, W]``.
        relative: see `difference`.
    """
    return difference(features, content_features, relative)


def style_loss(features: Tensor, style_grams: Tensor, relative: bool = True) -> Tensor:
    """How far the Gram matrices are from the paintings' (Johnson et al. 2016, eq. 4): ``[B]``.

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
        vgg: the frozen features.
        content_weight, style_weight, tv_weight: weights of the three losses in the total.
        content_weights, style_weights: weight of each VGG layer, by name, within content and style
            loss; 0 leaves a layer out.
        relative: scale-free differences (see `difference`), so that a weight means the same for
            every painting and layer; False takes the papers' mean squared differences.
        style_coefficients: multiplies the style loss of single styles, by name; 1 where not given.
        progressive_style_weight: the style weight in the steps of progressive resizing; None is
            `style_weight`.

    Raises:
        ValueError: a layer that VGG-16 doesn't have, or no layer left.
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
        """How many paintings there are, with the style that paints the photo itself."""
        return len(self.coefficients)

    @torch.no_grad()
    def set_style_images(
        self,
        style_images: Mapping[str, Sequence[Tensor]],
        progressive_style_images: Mapping[str, Sequence[Tensor]] | None = None,
    ) -> None:
        """Compute the Gram matrices of all styles, once: they are constants. Those of a style of
        several paintings are the mean over them.

        Args:
            style_images: RGB ``[3, h, w]`` in [0, 1], those of each style by its name; their order
                numbers the styles. A style without any paints the photo itself: see `forward`.
            progressive_style_images: the same paintings at another size, for the steps of
                progressive resizing; None if their size is the same.

        Raises:
            ValueError: a coefficient for a style that isn't there.
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
        """Register the Gram matrices ``[N, C, C]`` of the styles as ``<prefix>_<layer>``."""
        device = self.vgg.pixel_mean.device
        # The photo style has none: some Gram matrices keep its place, and are not used.
        grams = self.style_grams(
            [images or [torch.ones(3, 16, 16)] for images in style_images.values()]
        )
        for layer in self.style_weights:
            # Not in the state dict: they follow from the paintings.
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
        # cuDNN would search for its fastest convolutions anew for each size of painting.
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
        """Compare stylized images with their photos and with their styles' paintings.

        In the style without a painting, the style loss is the distance to the photo's pixels.

        Args:
            content, stylized: RGB ``[B, 3, H, W]`` in [0, 1].
            style: index ``[B]`` of the painting that each stylized image should look like. One
                image is compared with several paintings if B is 1 and `style` is longer.
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
            # Not relative: pixels have a scale, and a dark photo would outweigh all others.
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
