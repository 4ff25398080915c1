"""The perceptual loss: how far an image is from a photo's content and a painting's style."""

from collections.abc import Mapping
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from polystyle.vgg import VGG16, check_layers

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
    batch, channels, height, width = features.shape
    dtype = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        flat = features.to(dtype).reshape(batch, channels, height * width)
        return flat @ flat.mT / (height * width)


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

    Raises:
        ValueError: a layer that VGG-16 doesn't have, or no layer left.
    """

    def __init__(
        self,
        vgg: VGG16,
        content_weight: float = 1.0,
        style_weight: float = 5.0,
        tv_weight: float = 0.0,
        content_weights: Mapping[str, float] | None = None,
        style_weights: Mapping[str, float] | None = None,
        relative: bool = True,
        style_coefficients: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.vgg = vgg
        self.content_weight = content_weight
        self.style_weight = style_weight
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

    @torch.no_grad()
    def set_style_images(self, style_images: Mapping[str, Tensor | None]) -> None:
        """Compute the Gram matrices of all paintings, once: they are constants.

        Args:
            style_images: RGB ``[3, h, w]`` in [0, 1] by style name; their order numbers the styles.
                None is the style that paints the photo itself: see `forward`.

        Raises:
            ValueError: a coefficient for a style that isn't there.
        """
        for name in self.style_coefficients:
            if name not in style_images:
                near = get_close_matches(name, style_images, n=1, cutoff=0.0)
                raise ValueError(f"style_coefficients: no style {name!r}; nearest is {near[0]!r}")
        device = self.vgg.pixel_mean.device
        grams: dict[str, list[Tensor]] = {layer: [] for layer in self.style_weights}
        for image in style_images.values():
            if image is None:
                image = torch.ones(3, 16, 16)  # its Gram matrices keep the place, and are not used
            features = self.vgg(image[None].to(device), self.style_weights)
            for layer in grams:
                grams[layer].append(gram_matrix(features[layer]))
        for layer, matrices in grams.items():
            # Not in the state dict: they follow from the paintings.
            self.register_buffer(f"gram_{layer}", torch.cat(matrices), persistent=False)
        coefficients = [float(self.style_coefficients.get(name, 1.0)) for name in style_images]
        self.register_buffer(
            "coefficients", torch.tensor(coefficients, device=device), persistent=False
        )
        unpainted = [index for index, image in enumerate(style_images.values()) if image is None]
        self.photo_style = unpainted[0] if unpainted else None

    def forward(self, content: Tensor, stylized: Tensor, style: Tensor) -> dict[str, Tensor]:
        """Compare stylized images with their photos and with their styles' paintings.

        In the style without a painting, the style loss is the distance to the photo's pixels.

        Args:
            content, stylized: RGB ``[B, 3, H, W]`` in [0, 1].
            style: index ``[B]`` of the painting that each stylized image should look like.

        Returns:
            ``"loss"``, the weighted total, and ``"content_loss"``, ``"style_loss"``, ``"tv_loss"``
            without the three outer weights, each ``[B]`` in float32.
        """
        with torch.no_grad():
            targets = self.vgg(content, self.content_weights)
        features = self.vgg(stylized, {**self.content_weights, **self.style_weights})
        content_term = sum(
            weight * content_loss(features[layer], targets[layer], self.relative)
            for layer, weight in self.content_weights.items()
        )
        style_term = sum(
            weight
            * style_loss(features[layer], getattr(self, f"gram_{layer}")[style], self.relative)
            for layer, weight in self.style_weights.items()
        )
        if self.photo_style is not None:
            # Not relative: pixels have a scale, and a dark photo would outweigh all others.
            pixels = difference(stylized, content, relative=False)
            style_term = torch.where(style == self.photo_style, pixels, style_term)
        style_term = self.coefficients[style] * style_term
        tv_term = total_variation_loss(stylized.float())
        total = (
            self.content_weight * content_term
            + self.style_weight * style_term
            + self.tv_weight * tv_term
        )
        return {
            "loss": total,
            "content_loss": content_term,
            "style_loss": style_term,
            "tv_loss": tv_term,
        }
