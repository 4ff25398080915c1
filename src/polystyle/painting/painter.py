"""A trained network as people use it: a photo and a style in, a stylized photo out."""

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import pil_to_tensor, resize, to_pil_image
from tqdm import tqdm

from polystyle.data.images import to_rgb
from polystyle.files.terminal_text import sanitized
from polystyle.networks.model_file import Model
from polystyle.networks.style_rows import rows_of, with_rows
from polystyle.networks.transformer_net import MIN_SIDE, TransformerNet
from polystyle.painting.tiles import paint_in_tiles
from polystyle.style_names import IDENTITY_STYLE, find_style

# Strokes of scale 1 are painted as on a photo of so many pixels (516 x 387), whatever its own size.
STROKE_PIXELS = 200_000
SCALES = (0.25, 10.0)

# Of a raw blend more would overflow float16.
MAX_WEIGHT = 1000

# So many pixels are painted at once, at some 700 bytes each; a larger picture in bands of fewer.
WHOLE_PIXELS = 4_000_000
BAND_PIXELS = 1_000_000

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Luminance of RGB, as in JPEG's YCbCr (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)

# A style's name, or a blend: weights by name.
Style = str | Mapping[str, float]
Picture = TypeVar("Picture", Image.Image, Tensor)


class Painter:
    """A trained network, ready to paint.

    Args:
        model: the network, and the names of its styles.
        device: ``"cpu"``, ``"cuda:1"``, ...; ``"auto"`` takes a GPU if there is one.
        precision: of the convolutions: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        band: paint in bands of so many rows (see `paint_in_tiles`); 0 never does; None does it for
            pictures of over 4 megapixels.

    Raises:
        ValueError: no such device or precision.
    """

    def __init__(
        self,
        model: Model,
        device: str = "auto",
        precision: str = "float32",
        band: int | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be {', '.join(PRECISIONS)}, not {precision!r}")
        self.precision = PRECISIONS[precision]
        self.device = find_device(device)
        self.band = band
        self.style_names = model.style_names
        self.net = model.net.to(self.device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(
        self,
        content: Picture,
        style: Style | Sequence[Style],
        *,
        strength: float = 1.0,
        by_pixels: bool = False,
        scale: float | None = 1.0,
        keep_colors: bool = False,
        masks: Sequence[tuple[Image.Image, Style]] = (),
        raw: bool = False,
    ) -> Picture | list[Picture]:
        """Paint.

        Args:
            content: an image of Pillow's, of any mode, or RGB tensors ``[3, H, W]`` or
                ``[B, 3, H, W]``, floating in [0, 1] or uint8.
            style: a style's name, or a blend such as ``{"wave": 0.3, "candy": 0.7}``; or a list of
                those, to be painted in one batch.
            strength: from 0, the photo itself, to 1, the full style: a blend of the style's gamma
                and beta with those that paint the photo, which training with
                data.identity_style=true adds.
            by_pixels: blend the pixels of photo and stylized image instead: any network can.
            scale: size of the strokes relative to the picture, 0.25 to 10; the look is the same at
                every resolution. None paints the photo's pixels once, as they are.
            keep_colors: take luminance from the stylized image and chroma from the photo.
            masks: pictures of the photo's size, each with its style, white where that belongs, grey
                at soft edges. Where they overlap, the styles blend; `style` is for the rest.
            raw: do not normalize the weights of blends.

        Returns:
            The stylized image, of content's kind, size, dtype and transparency; for a list of
            styles, a list of them.

        Raises:
            ValueError: no such style, content or a mask of another shape, a value out of its
                range, or a strength without the network's identity style.
        """
        self.check(strength, by_pixels, scale)
        several = not isinstance(style, str | Mapping)
        if several and not (isinstance(style, Sequence) and len(style)):
            raise ValueError(f"style must be a name, a blend of names, or a list, not {style!r}")
        styles = list(style) if several else [style]
        if isinstance(content, Image.Image):
            photos = pil_to_tensor(to_rgb(content))[None]
        else:
            photos = content if content.ndim == 4 else content[None]
            check_photos(photos)
        if masks and max(len(photos), len(styles)) > 1:
            raise ValueError("masks are for one photo, with one style for what they leave")
        if len(photos) > 1 and several:
            raise ValueError("a list of styles is for one photo")

        mixes = torch.stack([self.style_mix(each, raw) for each in styles])
        regions = torch.stack([*(self.style_mix(each, raw) for _, each in masks), *mixes])
        by_rows = strength < 1 and not by_pixels
        if by_rows:
            identity_style = self.style_mix(IDENTITY_STYLE)
            regions = torch.lerp(identity_style, regions, strength)
        if masks:
            net = self.net_of(regions)
            chosen = region_map([mask for mask, _ in masks], photos.shape[-2:])
        else:
            net, chosen = self.net, regions
            if ((regions != 0).sum(1) == 1).all() and (regions.sum(1) == 1).all():
                chosen = regions.argmax(1)  # a single style's row is looked up, not computed
            chosen = chosen.expand(max(len(photos), len(chosen)), *chosen.shape[1:])

        stylized = self.paint_at_scale(net, photos.expand(len(chosen), -1, -1, -1), chosen, scale)
        if by_rows:
            row = identity_style.argmax().expand(len(photos))
            reconstructed = self.paint_at_scale(self.net, photos, row, scale)
            # Instance normalization forgets a photo's own brightness and contrast: what the
            # reconstruction lacks is added in proportion, and so strength 0 is the photo itself.
            stylized = combine(
                lambda s, c, r: s + (1 - strength) * (c - r), stylized, photos, reconstructed
            )
        elif strength < 1:
            stylized = combine(lambda s, c: torch.lerp(c, s, strength), stylized, photos)
        if keep_colors:
            # The same added to red, green and blue changes luminance alone.
            stylized = combine(lambda s, c: c + luminance(s - c), stylized, photos)

        if isinstance(content, Image.Image):
            pictures = [to_pil_image(each) for each in stylized]
            if content.has_transparency_data:
                alpha = content.convert("RGBA").getchannel("A")
                for picture in pictures:
                    picture.putalpha(alpha)
        elif content.ndim == 3:
            pictures = list(stylized)
        elif several:
            pictures = list(stylized.split(1))
        else:
            return stylized
        return pictures if several else pictures[0]

    def style_mix(self, style: Style, raw: bool = False) -> Tensor:
        """A blend's weights in the order of the network's styles, ``[N]`` float32, with sum 1.

        Raises:
            ValueError: no such style, or weights that can't be normalized; names the style.
        """
        weights = {style: 1.0} if isinstance(style, str) else style
        if not (isinstance(weights, Mapping) and all(isinstance(name, str) for name in weights)):
            raise ValueError(
                f"a style is a name, or a blend such as {{'wave': 0.3}}, not {style!r}"
            )
        mix = torch.zeros(len(self.style_names))
        for name, weight in weights.items():
            shown = f"the weight of {sanitized(name)}"
            if not (isinstance(weight, Real | Tensor) and abs(weight) <= MAX_WEIGHT):
                raise ValueError(f"{shown} must be a number up to {MAX_WEIGHT}, not {weight}")
            if weight < 0 and not raw:
                raise ValueError(f"{shown} is negative: raw weights may be")
            mix[find_style(name, self.style_names)] = weight
        if raw:
            return mix
        if not mix.sum() > 0:
            raise ValueError(f"the weights of {', '.join(map(sanitized, weights))} are all 0")
        return mix / mix.sum()

    def check(self, strength: float, by_pixels: bool, scale: float | None) -> None:
        """Raises ValueError for a value out of its range, or a strength that can't be had."""
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must be from 0 to 1, not {strength:g}")
        if scale is not None and not SCALES[0] <= scale <= SCALES[1]:
            raise ValueError(f"scale must be from {SCALES[0]:g} to {SCALES[1]:g}, not {scale:g}")
        if strength < 1 and not by_pixels and IDENTITY_STYLE not in self.style_names:
            raise ValueError(
                "this network has no identity style for strength to blend with. Add it in minutes: "
                "polystyle-train experiment=add_styles model_file=MODEL data.content_dir=PHOTOS "
                "data.style_dir=null data.identity_style=true; or blend pixels: "
                "--strength-by pixels"
            )

    def net_of(self, mixes: Tensor) -> TransformerNet:
        """The network with those blends, ``[M, N]``, as its styles."""
        mixes = mixes.to(self.device)
        return with_rows(
            self.net, {name: mixes @ table for name, table in rows_of(self.net).items()}
        )

    def paint_at_scale(
        self, net: TransformerNet, photos: Tensor, style: Tensor, scale: float | None
    ) -> Tensor:
        """Strokes of one size relative to the picture, with the detail of the photo's pixels."""
        height, width = photos.shape[-2:]
        if scale is None:
            return self.paint(net, photos, style)
        factor = math.sqrt(STROKE_PIXELS / (height * width)) / scale
        small = [max(MIN_SIDE, round(side * factor)) for side in (height, width)]
        its = style
        if style.ndim == 4:
            # A map of another size would be stretched over what the network pads the photo with.
            its = F.interpolate(style, small, mode="bilinear", antialias=True)
        coarse = resized(self.paint(net, resized(photos, small), its), [height, width])
        if factor >= 1 or min(height, width) < MIN_SIDE:
            return coarse
        # The strokes, enlarged, are blurred. What they lack is painted at the photo's own size: of
        # that picture, what enlarging would have lost.
        fine = self.paint(net, photos, style)
        lost = resized(resized(fine, small), [height, width])
        return combine(lambda c, f, b: c + f - b, coarse, fine, lost)

    def paint(self, net: TransformerNet, photos: Tensor, style: Tensor) -> Tensor:
        """What the network paints, whole in chunks that fit memory, or in bands: ``[B, 3, H, W]``,
        of the photos' dtype, on their device."""
        pixels = photos.shape[-2] * photos.shape[-1]
        style = style.to(self.device)
        painted = []
        mixed = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision, enabled=mixed):
            if self.band == 0 or (self.band is None and pixels <= WHOLE_PIXELS):
                size = max(1, WHOLE_PIXELS // pixels)
                for some, its in zip(photos.split(size), style.split(size), strict=True):
                    x = to_unit(some.to(self.device))
                    x = x.contiguous(memory_format=torch.channels_last)
                    painted.append(from_unit(net(x, its), photos))
            else:
                bar = "{l_bar}{bar}| {n:.1f}/{total:.1f} MP [{elapsed}<{remaining}, {rate_fmt}]"
                for number in range(len(photos)):
                    one = slice(number, number + 1)
                    with tqdm(
                        total=pixels / 1e6, unit=" MP", bar_format=bar, leave=False, disable=None
                    ) as progress:

                        def tell(share: float) -> None:
                            # The shares add up to 1 but for rounding, of which tqdm would complain.
                            left = progress.total - progress.n
                            progress.update(min(share * pixels / 1e6, left))

                        rows = self.band or max(1, BAND_PIXELS // photos.shape[-1])
                        painted.append(paint_in_tiles(net, photos[one], style[one], rows, tell))
        return torch.cat(painted)


def find_device(name: str) -> torch.device:
    """The device of that name; for ``"auto"`` the best there is.

    Raises:
        ValueError: there is none.
    """
    if name == "auto":
        name = (
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, ImportError) as error:
        # torch has one kind of error for a name it doesn't know, and others for one not built in.
        raise ValueError(f"there is no device {name!r} here") from error


def check_photos(photos: Tensor) -> None:
    """Raises ValueError for what is no RGB images ``[B, 3, H, W]``, floating or uint8, or has
    numbers that are infinite or NaN."""
    if photos.ndim != 4 or photos.shape[1] != 3 or not photos.numel():
        raise ValueError(f"content must be [3, H, W] or [B, 3, H, W], not {list(photos.shape)}")
    if not (photos.is_floating_point() or photos.dtype == torch.uint8):
        raise ValueError(f"content must be floating or uint8, not {photos.dtype}")
    if photos.is_floating_point() and not photos.isfinite().all():
        raise ValueError("content has numbers that are infinite or NaN")


def region_map(masks: Sequence[Image.Image], size: Sequence[int]) -> Tensor:
    """How much of each mask's style, and of the rest's, belongs to each pixel.

    Args:
        masks: greys; white is 1.
        size: the photo's height and width.

    Returns:
        ``[1, len(masks) + 1, H, W]``, which add up to 1 at every pixel; the last is the rest.

    Raises:
        ValueError: a mask of another size.
    """
    height, width = size
    for mask in masks:
        if mask.size != (width, height):
            raise ValueError(
                f"a mask is {mask.width} x {mask.height} pixels, and the photo {width} x {height}: "
                "make them one size"
            )
    weights = torch.stack([pil_to_tensor(grey(mask))[0] for mask in masks]) / 255
    weights = weights / weights.sum(0).clamp_min(1)
    rest = (1 - weights.sum(0)).clamp_min(0)
    return torch.cat([weights, rest[None]])[None]


def grey(mask: Image.Image) -> Image.Image:
    """A mask in 8-bit grey; what is transparent is black, as if nothing were drawn there."""
    if mask.has_transparency_data:
        mask = mask.convert("RGBA")
        mask = Image.alpha_composite(Image.new("RGBA", mask.size, "black"), mask)
    return to_rgb(mask).convert("L")


def resized(images: Tensor, size: Sequence[int]) -> Tensor:
    if list(size) == [1, 1]:  # of bytes in any other order torch 2.15 makes an error
        images = images.contiguous(memory_format=torch.channels_last)
    images = resize(images, list(size), interpolation=InterpolationMode.BICUBIC, antialias=True)
    return images.clamp(0, 1) if images.is_floating_point() else images


def luminance(images: Tensor) -> Tensor:
    """``[B, 3, H, W]`` to ``[B, 1, H, W]``."""
    return (images * torch.tensor(LUMA, device=images.device)[:, None, None]).sum(1, keepdim=True)


def to_unit(images: Tensor) -> Tensor:
    return images.float() if images.is_floating_point() else images / 255


def from_unit(images: Tensor, like: Tensor) -> Tensor:
    images = images.float().clamp(0, 1)
    return (images if like.is_floating_point() else images.mul(255).round()).to(like)


def combine(function: Callable[..., Tensor], *images: Tensor) -> Tensor:
    """A function of images in [0, 1], some rows at a time: as floats a large photo needs four times
    the memory."""
    results = []
    for rows in zip(*(each.split(256, dim=-2) for each in images), strict=True):
        results.append(from_unit(function(*map(to_unit, rows)), images[0]))
    return torch.cat(results, dim=-2)
