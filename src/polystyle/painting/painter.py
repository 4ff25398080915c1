"""A trained network as people use it: a photo and a style in, a stylized photo out."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from numbers import Real
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from polystyle.data.images import upright
from polystyle.files.terminal_text import sanitized
from polystyle.networks.model_file import Model
from polystyle.networks.style_rows import rows_of, with_rows
from polystyle.networks.transformer_net import TransformerNet
from polystyle.painting.api_inputs import takes_any_picture
from polystyle.painting.masks import region_map
from polystyle.painting.picture_tensors import (
    combine,
    from_unit,
    to_batch,
    to_pictures,
    to_unit,
    with_chroma,
)
from polystyle.painting.stroke_pyramid import check_scale, paint_pyramid
from polystyle.painting.tiles import megapixel_bar, paint_in_tiles
from polystyle.style_names import IDENTITY_STYLE, find_style

# A raw blend with a larger weight would overflow float16.
MAX_WEIGHT = 1000

# Up to WHOLE_PIXELS are painted at once, which takes about 700 bytes a pixel. A larger picture is
# painted in tiles of TILE_PIXELS.
WHOLE_PIXELS = 4_000_000
TILE_PIXELS = 1_000_000

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# A style's name, or a blend: weights by name.
Style = str | Mapping[str, float]
Picture = TypeVar("Picture", Image.Image, Tensor)


class Painter:
    """A trained network that paints pictures of any size, in its styles and their blends.

    The network may be any with `ConditionalInstanceNorm2d` layers that takes (content, style) as
    `TransformerNet.forward` does. Painting in tiles walks `TransformerNet`'s layers; any other
    network paints every picture whole.

    Args:
        model: the network, and the names of its styles.
        device: ``"cpu"``, ``"cuda:1"``, ...; ``"auto"`` takes a GPU if there is one.
        precision: of the convolutions: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        tile: paint in tiles of this many rows (see `paint_in_tiles`); 0 never does; None does it
            for pictures of over 4 megapixels.

    Raises:
        ValueError: there is no such device or precision.
    """

    def __init__(
        self,
        model: Model,
        device: str = "auto",
        precision: str = "float32",
        tile: int | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be {', '.join(PRECISIONS)}, not {precision!r}")
        self.precision = PRECISIONS[precision]
        self.device = find_device(device)
        self.tile = tile
        self.style_names = model.style_names
        self.net = model.net.to(self.device, memory_format=torch.channels_last)

    @takes_any_picture
    @torch.no_grad()  # and not inference_mode, whose tensors no gradient can be taken of later
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
            content: a Pillow image of any mode, which is turned upright by its EXIF orientation and
                converted to sRGB by its colour profile; a path; RGB tensors ``[3, H, W]`` or
                ``[B, 3, H, W]``, or arrays ``[H, W, 3]`` or ``[B, H, W, 3]``, floating in [0, 1] or
                uint8; or a list of those. See `api_inputs.as_content`.
            style: a style's name, or a blend such as ``{"wave": 0.3, "candy": 0.7}``; or a list of
                those, painted in one batch.
            strength: from 0, the photo itself, to 1, the full style: a blend of the style's gamma
                and beta with those of the identity style, which training adds with
                data.identity_style=true.
            by_pixels: blend the pixels of photo and stylized image instead, which works with any
                network.
            scale: size of the strokes relative to the picture, 0.25 to 4; the look is the same at
                every resolution (see `stroke_pyramid`). None paints the photo's pixels once, as
                they are.
            keep_colors: take luminance from the stylized image and chroma from the photo.
            masks: pictures of the photo's size, each with a style: white where the style belongs,
                grey at soft edges. Where masks overlap, their styles blend; `style` is for the
                remaining area. See `api_inputs.as_mask` for what else may be a mask.
            raw: do not normalize the weights of blends.

        Returns:
            The stylized image, of content's type, size, dtype and transparency; a Pillow image for
            a path; for a list of styles, a list of them; for a list of pictures, a list of that.

        Raises:
            ValueError: no such style, content or a mask of another shape, a value out of its
                range, a strength without the network's identity style, or a large picture and
                `tile` for a network that can't be painted in tiles.
        """
        self.check(strength, by_pixels, scale)
        is_list = not isinstance(style, str | Mapping)
        styles = list_of_styles(style) if is_list else [style]
        if isinstance(content, Image.Image):
            content = upright(content)
        masks = [(upright(mask), mask_style) for mask, mask_style in masks]
        photos = to_batch(content)
        check_counts(len(photos), len(styles), is_list, has_masks=bool(masks))

        net, choice = self.choose(
            styles, masks, 1.0 if by_pixels else strength, raw, photos.shape[-2:]
        )
        count = max(len(photos), len(choice))
        stylized = self.paint_at_scale(
            net, photos.expand(count, -1, -1, -1), choice.expand(count, *choice.shape[1:]), scale
        )
        if strength < 1:
            if by_pixels:
                stylized = combine(
                    lambda painted, photo: torch.lerp(photo, painted, strength), stylized, photos
                )
            else:
                stylized = self.restore_photo(stylized, photos, strength, scale)
        if keep_colors:
            stylized = with_chroma(stylized, photos)
        pictures = to_pictures(stylized, content, is_list)
        return pictures if is_list else pictures[0]

    def check(self, strength: float, by_pixels: bool, scale: float | None) -> None:
        """Raises ValueError for a value out of its range, or a strength without identity style."""
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must be from 0 to 1, not {strength:g}")
        if scale is not None:
            check_scale(scale)
        if strength < 1 and not by_pixels and IDENTITY_STYLE not in self.style_names:
            raise ValueError(
                "this network has no identity style for strength to blend with. Add it in minutes: "
                "polystyle-train experiment=add_styles model_file=MODEL data.content_dir=PHOTOS "
                "data.style_dir=null data.identity_style=true; or blend pixels: --strength-by "
                "pixels (in Python, by_pixels=True)"
            )

    def style_mix(self, style: Style, raw: bool = False) -> Tensor:
        """A blend's weights in the order of the network's styles.

        Args:
            style: a style's name, or weights by name.
            raw: take the weights as they are: they may be negative and add up to anything.

        Returns:
            ``[N]`` float32; unless raw, none is negative and their sum is 1.

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
            subject = f"the weight of {sanitized(name)}"
            if not (isinstance(weight, Real | Tensor) and abs(weight) <= MAX_WEIGHT):
                raise ValueError(f"{subject} must be a number up to {MAX_WEIGHT}, not {weight}")
            if weight < 0 and not raw:
                raise ValueError(f"{subject} is negative: only raw weights may be")
            mix[find_style(name, self.style_names)] = weight
        if raw:
            return mix
        if not mix.sum() > 0:
            raise ValueError(f"the weights of {', '.join(map(sanitized, weights))} are all 0")
        return mix / mix.sum()

    def choose(
        self,
        styles: Sequence[Style],
        masks: Sequence[tuple[Image.Image, Style]],
        strength: float,
        raw: bool,
        size: torch.Size,
    ) -> tuple[nn.Module, Tensor]:
        """The network to paint with, and the style to hand to it.

        Args:
            styles: S styles; with masks, the one of the remaining area.
            masks: M - 1 masks of the photo's size, each with its style.
            strength: the styles' share in a blend with the identity style.
            raw: do not normalize the weights of blends.
            size: the photo's height and width.

        Returns:
            The painter's network and an index ``[S]`` or a mix ``[S, N]``; for masks, a network
            whose rows are the M styles, and a map ``[1, M, H, W]``.

        Raises:
            ValueError: no such style, or a mask of another size.
        """
        mixes = torch.stack(
            [self.style_mix(style, raw) for style in (*(style for _, style in masks), *styles)]
        )
        if strength < 1:
            mixes = torch.lerp(self.style_mix(IDENTITY_STYLE), mixes, strength)
        if masks:
            return self.net_of(mixes), region_map([mask for mask, _ in masks], size)
        are_single = ((mixes != 0).sum(1) == 1).all() and (mixes.sum(1) == 1).all()
        # The row of a single style is looked up, not computed, so that no rounding touches it.
        return self.net, mixes.argmax(1) if are_single else mixes

    def net_of(self, mixes: Tensor) -> nn.Module:
        """The network with blends ``[M, N]`` as its styles."""
        mixes = mixes.to(self.device)
        return with_rows(
            self.net, {name: mixes @ table for name, table in rows_of(self.net).items()}
        )

    def restore_photo(
        self, stylized: Tensor, photos: Tensor, strength: float, scale: float | None
    ) -> Tensor:
        """Add what the identity style loses of the photo, in proportion to 1 - strength.

        Instance normalization forgets a photo's brightness and contrast, so that the identity style
        reconstructs the photo only roughly. With its error added, strength 0 is the photo itself.
        """
        identity = torch.tensor(self.style_names.index(IDENTITY_STYLE)).expand(len(photos))
        reconstructed = self.paint_at_scale(self.net, photos, identity, scale)
        return combine(
            lambda painted, photo, copy: painted + (1 - strength) * (photo - copy),
            stylized,
            photos,
            reconstructed,
        )

    def paint_at_scale(
        self, net: nn.Module, photos: Tensor, style: Tensor, scale: float | None
    ) -> Tensor:
        """What the network paints, with strokes of one size relative to the picture.

        Args:
            net: the network.
            photos: ``[B, 3, H, W]``, floating in [0, 1] or uint8.
            style: index ``[B]``, mix ``[B, N]`` or map ``[B, N, H, W]``.
            scale: size of the strokes; None paints the photo's pixels as they are.

        Returns:
            ``[B, 3, H, W]``, of the photos' dtype.
        """
        if scale is None:
            return self.paint(net, photos, style)
        return paint_pyramid(partial(self.paint, net), photos, style, scale)

    def paint(self, net: nn.Module, photos: Tensor, style: Tensor) -> Tensor:
        """What the network paints, of the photos' shape ``[B, 3, H, W]``, dtype and device."""
        paint = self.paint_tiled if self.needs_tiles(photos) else self.paint_whole
        is_mixed = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision, enabled=is_mixed):
            chunks = list(paint(net, photos, style.to(self.device)))
        return torch.cat(chunks)

    def needs_tiles(self, photos: Tensor) -> bool:
        """Whether photos ``[B, 3, H, W]`` are painted in tiles.

        Raises:
            ValueError: the photos are large and tiles are asked for, but the network has none.
        """
        is_large = photos.shape[-2] * photos.shape[-1] > WHOLE_PIXELS
        if type(self.net) is TransformerNet:  # a subclass may have another forward
            return is_large if self.tile is None else self.tile > 0
        if is_large and self.tile:
            raise ValueError(
                f"tile is for a TransformerNet: a {type(self.net).__name__} paints every picture "
                "whole"
            )
        return False

    def paint_whole(self, net: nn.Module, photos: Tensor, style: Tensor) -> Iterator[Tensor]:
        """Paint photos whole, in chunks that fit memory."""
        size = max(1, WHOLE_PIXELS // (photos.shape[-2] * photos.shape[-1]))
        for chunk, styles in zip(photos.split(size), style.split(size), strict=True):
            content = to_unit(chunk.to(self.device))
            content = content.contiguous(memory_format=torch.channels_last)
            yield from_unit(net(content, styles), photos)

    def paint_tiled(self, net: TransformerNet, photos: Tensor, style: Tensor) -> Iterator[Tensor]:
        """Paint photos in tiles, one photo after the other."""
        height, width = photos.shape[-2:]
        tile = self.tile or max(1, TILE_PIXELS // width)
        for photo, styles in zip(photos.split(1), style.split(1), strict=True):
            with megapixel_bar(height * width) as update:
                painted = paint_in_tiles(net, photo, styles, tile, update)
            yield painted


def find_device(name: str) -> torch.device:
    """The device of that name; for ``"auto"`` the best there is.

    Raises:
        ValueError: there is no such device.
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
        # torch raises one type of error for an unknown name, and others for a device that it was
        # built without.
        raise ValueError(f"there is no device {name!r} here") from error


def list_of_styles(styles: Sequence[Style]) -> list[Style]:
    """Raises ValueError for what is no list of styles, or an empty one."""
    if not (isinstance(styles, Sequence) and len(styles)):
        raise ValueError(f"style must be a name, a blend of names, or a list, not {styles!r}")
    return list(styles)


def check_counts(num_photos: int, num_styles: int, is_list: bool, has_masks: bool) -> None:
    """Raises ValueError for several photos with several styles, or several of either with masks."""
    if has_masks and max(num_photos, num_styles) > 1:
        raise ValueError("masks are for one photo, with one style for the remaining area")
    if num_photos > 1 and is_list:
        raise ValueError("a list of styles is for one photo")
