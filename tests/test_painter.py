"""`Painter`: pictures and tensors, blends, strength, scale, colours and masks."""

import io
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from profiles import PROPHOTO, gamma, rgb_profile
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image
from tqdm import tqdm

import polystyle
import polystyle.painting.painter
import polystyle.painting.tiles
from polystyle.data.images import load_image, to_rgb
from polystyle.networks.conditional_instance_norm import ConditionalInstanceNorm2d
from polystyle.networks.model_file import Model, save_model
from polystyle.networks.style_rows import rows_of, with_rows
from polystyle.networks.transformer_net import TransformerNet
from polystyle.painting import stroke_pyramid
from polystyle.painting.masks import region_map
from polystyle.painting.painter import Painter
from polystyle.painting.picture_tensors import resized
from polystyle.painting.smoothing import smoothed_statistics
from polystyle.painting.stroke_pyramid import paint_pyramid, with_area_colors

NAMES = ["wave", "candy", "mosaic", "photo"]


def make_model(style_names: list[str] = NAMES) -> Model:
    """A small network of random weights, in which the styles differ."""
    torch.manual_seed(0)
    net = TransformerNet(len(style_names), width=0.125).eval()
    for name, table in rows_of(net).items():
        torch.nn.init.normal_(table, mean=float(name.endswith("gamma")), std=0.5)
    return Model(net, style_names)


class OneLayerNet(nn.Module):
    """A network of a user's own: one CIN layer between two convolutions."""

    def __init__(self, num_styles: int, channels: int = 8) -> None:
        super().__init__()
        self.arguments = {"channels": channels}
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.norm = ConditionalInstanceNorm2d(channels, num_styles)
        self.paint = nn.Conv2d(channels, 3, 1)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        return torch.sigmoid(self.paint(F.relu(self.norm(self.conv(content), style))))


def make_own_model() -> Model:
    """A `OneLayerNet` of random weights, in which the styles differ."""
    torch.manual_seed(0)
    net = OneLayerNet(len(NAMES), channels=6).eval()
    for table in rows_of(net).values():
        torch.nn.init.normal_(table)
    return Model(net, NAMES)


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter(make_model(), "cpu")


@pytest.fixture(autouse=True)
def small_strokes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strokes of scale 1 are painted on 24 x 32 pixels, which saves time."""
    monkeypatch.setattr(stroke_pyramid, "STROKE_PIXELS", 24 * 32)


def make_photo(height: int = 48, width: int = 64) -> Tensor:
    """A smooth picture ``[3, H, W]``, like a photo."""
    noise = torch.rand(1, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(1))
    return F.interpolate(noise, size=(height, width), mode="bilinear")[0]


def by_net(painter: Painter, photo: Tensor, style: Tensor) -> Tensor:
    """What the network itself paints from a photo ``[3, H, W]``."""
    with torch.inference_mode():
        return painter.net(photo[None], style)[0]


def same(stylized: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(stylized, expected, atol=atol, rtol=0)


def levels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def grey(values: Tensor) -> Image.Image:
    return Image.fromarray((values * 255).round().to(torch.uint8).numpy())


def left_half(height: int = 48, width: int = 64) -> Tensor:
    mask = torch.zeros(height, width)
    mask[:, : width // 2] = 1
    return mask


def test_five_lines_are_all_it_takes(tmp_path: Path) -> None:
    save_model(tmp_path / "model.safetensors", make_model())
    to_pil_image(make_photo()).save(tmp_path / "photo.png")

    painter = polystyle.load(tmp_path / "model.safetensors")
    photo = Image.open(tmp_path / "photo.png")
    painter(photo, "wave").save(tmp_path / "wave.png")
    painter(photo, {"wave": 0.3, "candy": 0.7}).save(tmp_path / "blend.png")
    painter(photo, "candy", strength=0.5, keep_colors=True).save(tmp_path / "half.png")

    written = [load_image(tmp_path / f"{name}.png") for name in ("photo", "wave", "blend", "half")]
    assert {picture.size for picture in written} == {(64, 48)}
    assert len({picture.tobytes() for picture in written}) == 4


def test_photos_and_masks_are_turned_upright_and_their_profiles_are_applied(
    painter: Painter, tmp_path: Path
) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    wide = rgb_profile(PROPHOTO, gamma(1.8))
    to_pil_image(make_photo()).save(tmp_path / "photo.png", exif=tags, icc_profile=wide)
    grey(left_half()).save(tmp_path / "mask.png", exif=tags)
    read = load_image(tmp_path / "photo.png")
    assert read.size == (48, 64)
    mask = load_image(tmp_path / "mask.png")
    expected = painter(read, "wave", masks=[(mask, "candy")])
    with Image.open(tmp_path / "photo.png") as photo, Image.open(tmp_path / "mask.png") as mask:
        painted = painter(photo, "wave", masks=[(mask, "candy")])
    assert painted.size == (48, 64)
    assert painted.tobytes() == expected.tobytes()
    # A photo that is upright already is turned no further.
    stored = load_image(tmp_path / "photo.png", as_rgb=False)
    assert painter(stored, "wave", masks=[(mask, "candy")]).tobytes() == expected.tobytes()


def test_load_takes_text_device_and_precision(tmp_path: Path) -> None:
    save_model(tmp_path / "model.safetensors", make_model())
    painter = polystyle.load(f"{tmp_path}/model.safetensors", "cpu", "bfloat16")
    assert painter.device == torch.device("cpu")
    assert painter.precision == torch.bfloat16
    assert painter.style_names == NAMES
    with pytest.raises(FileNotFoundError, match=r"there is no model file .*nowhere"):
        polystyle.load(tmp_path / "nowhere")


def test_load_takes_a_runs_folder_and_a_network_of_ones_own(tmp_path: Path) -> None:
    model = make_own_model()
    save_model(tmp_path / "run/model.safetensors", model)
    for path in (tmp_path / "run", tmp_path / "run/model.safetensors"):
        painter = polystyle.load(path, "cpu", network=OneLayerNet)
        assert isinstance(painter.net, OneLayerNet)
        stylized = painter(make_photo(), "mosaic", scale=None)
        assert torch.equal(stylized, by_net(Painter(model, "cpu"), make_photo(), torch.tensor([2])))
    with pytest.raises(ValueError, match="holds a OneLayerNet, which is not one of polystyle's"):
        polystyle.load(tmp_path / "run")


def test_importing_polystyle_imports_no_torch() -> None:
    code = "import polystyle, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("nonsense", "float32", "there is no device 'nonsense' here"),
        ("cuda:99", "float32", "there is no device 'cuda:99' here"),
        ("hpu", "float32", "there is no device 'hpu' here"),
        ("cpu", "float8", "precision must be float32, bfloat16, float16, not 'float8'"),
    ],
)
def test_unknown_device_or_precision_is_refused(device: str, precision: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Painter(make_model(), device, precision)


# Kinds of content.


@pytest.mark.parametrize(
    ("dtype", "atol"),
    [(torch.float32, 0), (torch.float64, 1e-6), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)],
)
@pytest.mark.parametrize("tile", [0, 8])
def test_floating_tensors_come_back_in_their_own_dtype(
    dtype: torch.dtype, atol: float, tile: int
) -> None:
    painter = Painter(make_model(), "cpu", tile=tile)
    photo = make_photo().to(dtype)
    stylized = painter(photo, "candy", scale=None)
    assert stylized.dtype == dtype
    expected = by_net(painter, photo.float(), torch.tensor([1]))
    same(stylized.float(), expected, atol=max(atol, 5e-3 * bool(tile)))
    for options in ({"strength": 0.5}, {"keep_colors": True}, {"scale": 2.0}):
        assert painter(photo, "candy", **options).dtype == dtype


def test_8_bit_tensors_and_pictures_are_what_floats_are_rounded(painter: Painter) -> None:
    photo = (make_photo() * 255).round().to(torch.uint8)
    stylized = painter(photo, "wave", scale=None)
    expected = by_net(painter, photo / 255, torch.tensor([0])) * 255
    assert stylized.dtype == torch.uint8
    assert torch.equal(stylized, expected.round().to(torch.uint8))
    picture = painter(to_pil_image(photo), "wave", scale=None)
    assert (picture.mode, picture.size) == ("RGB", (64, 48))
    assert torch.equal(pil_to_tensor(picture), stylized)


@pytest.mark.parametrize("scale", [None, 3.0])
def test_batch_is_painted_as_its_photos_are_one_by_one(
    painter: Painter, scale: float | None
) -> None:
    photos = torch.stack([make_photo(), 1 - make_photo(), make_photo().flip(-1)])
    for style in ("wave", {"wave": 0.5, "mosaic": 0.5}):
        stylized = painter(photos, style, scale=scale)
        assert stylized.shape == photos.shape
        one_by_one = [painter(photo, style, scale=scale) for photo in photos]
        same(stylized, torch.stack(one_by_one))


@pytest.mark.parametrize("scale", [None, 3.0])
def test_list_of_styles_is_painted_as_they_are_one_by_one(
    painter: Painter, scale: float | None
) -> None:
    photo = make_photo()
    for styles in (["mosaic", "wave"], ("candy", {"wave": 0.2, "candy": 0.8}, "wave")):
        pictures = painter(photo, styles, scale=scale)
        assert len(pictures) == len(styles)
        for picture, style in zip(pictures, styles, strict=True):
            same(picture, painter(photo, style, scale=scale))
    # Each picture has the photo's type and shape.
    assert [batch.shape for batch in painter(photo[None], ["wave"])] == [(1, 3, 48, 64)]
    (picture,) = painter(to_pil_image(photo), ["wave"])
    assert levels(picture).tolist() == levels(painter(to_pil_image(photo), "wave")).tolist()


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "YCbCr", "HSV", "I", "I;16", "F"])
def test_pictures_of_any_mode_are_painted_as_rgb(painter: Painter, mode: str) -> None:
    if mode.startswith("I"):
        values = make_photo()[0].numpy() * 65535
        content = Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.int32))
    elif mode == "F":
        content = Image.fromarray(make_photo()[0].numpy())
    else:
        content = to_pil_image(make_photo()).convert(mode)
    assert content.mode == mode
    before = content.tobytes()
    stylized = painter(content, "wave")
    assert (stylized.mode, stylized.size) == ("RGB", (64, 48))
    assert stylized.tobytes() == painter(to_rgb(content), "wave").tobytes()
    assert content.tobytes() == before


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "L", "RGB"])
def test_transparency_is_kept_and_what_lies_under_it_is_white(painter: Painter, mode: str) -> None:
    rgb = to_pil_image(make_photo())
    content = rgb.convert("L" if mode == "PA" else mode)
    if mode in ("RGBA", "LA", "PA"):
        content = content.convert(mode)
        content.putalpha(grey(make_photo()[1]))
    else:
        content.info["transparency"] = content.getpixel((5, 5))
    alpha = content.convert("RGBA").getchannel("A")
    assert len(set(alpha.tobytes())) > 1
    for picture in (painter(content, "candy"), *painter(content, ["wave", "candy"])):
        assert picture.mode == "RGBA"
        assert picture.getchannel("A").tobytes() == alpha.tobytes()
    on_white = Image.new("RGBA", rgb.size, "white")
    on_white.alpha_composite(content.convert("RGBA"))
    expected = painter(on_white.convert("RGB"), "candy")
    assert painter(content, "candy").convert("RGB").tobytes() == expected.tobytes()


# Blends.


def test_blend_is_the_same_blend_of_gammas_and_betas(painter: Painter) -> None:
    rows = rows_of(painter.net)
    photo = make_photo()
    for weights, raw, shares in (
        ({"wave": 0.25, "mosaic": 0.75}, False, (0.25, 0, 0.75)),
        ({"wave": 1, "candy": 1, "mosaic": 2}, False, (0.25, 0.25, 0.5)),
        ({"wave": 1, "candy": 1}, True, (1, 1, 0)),
        ({"wave": 1.5, "candy": -0.5}, True, (1.5, -0.5, 0)),
        ({"candy": 0.5}, True, (0, 0.5, 0)),
        ({}, True, (0, 0, 0)),
    ):
        blended = {
            name: sum(share * table[[row]] for row, share in enumerate(shares))
            for name, table in rows.items()
        }
        with torch.inference_mode():
            expected = with_rows(painter.net, blended)(photo[None], torch.tensor([0]))[0]
        same(painter(photo, weights, raw=raw, scale=None), expected)


def test_any_network_with_rows_paints_styles_blends_masks_and_strengths() -> None:
    painter = Painter(make_own_model(), "cpu")
    photo = make_photo()
    blend = torch.tensor([[0.25, 0, 0.75, 0]])
    mask = left_half()
    shares = torch.stack([mask, 1 - mask, 0 * mask, 0 * mask])[None]
    for style, masks, expected in (
        ("mosaic", [], torch.tensor([2])),
        ({"wave": 1, "mosaic": 3}, [], blend),
        ("candy", [(grey(mask), "wave")], shares),
    ):
        same(painter(photo, style, masks=masks, scale=None), by_net(painter, photo, expected))
    same(painter(photo, "wave", strength=0), photo)
    assert [picture.shape for picture in painter(photo, ["wave", "candy"])] == [photo.shape] * 2


@pytest.mark.parametrize("tile", [None, 0])
def test_another_network_paints_large_pictures_whole(
    monkeypatch: pytest.MonkeyPatch, tile: int | None
) -> None:
    monkeypatch.setattr(polystyle.painting.painter, "WHOLE_PIXELS", 48 * 64 - 1)
    painter = Painter(make_own_model(), "cpu", tile=tile)
    whole = by_net(painter, make_photo(), torch.tensor([0]))
    assert torch.equal(painter(make_photo(), "wave", scale=None), whole)


def test_tiles_of_another_network_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    painter = Painter(make_own_model(), "cpu", tile=8)
    painter(make_photo(), "wave", scale=None)  # small enough to be painted whole
    monkeypatch.setattr(polystyle.painting.painter, "WHOLE_PIXELS", 48 * 64 - 1)
    with pytest.raises(ValueError, match="tile is for a TransformerNet: a OneLayerNet paints"):
        painter(make_photo(), "wave", scale=None)


def test_blend_of_one_style_is_that_style_to_the_bit(painter: Painter) -> None:
    photo = make_photo()
    alone = by_net(painter, photo, torch.tensor([2]))
    for style in ("mosaic", {"mosaic": 0.3}, {"mosaic": 7, "wave": 0}):
        assert torch.equal(painter(photo, style, scale=None), alone)


def test_single_styles_rows_are_looked_up_which_no_gpus_rounding_touches() -> None:
    painter = Painter(make_model(), "cpu")
    styles: list[list[float]] = []
    painter.net.register_forward_pre_hook(lambda _, inputs: styles.append(inputs[1].tolist()))
    painter(make_photo(), ["mosaic", {"wave": 3}], scale=None)
    painter(make_photo(), {"wave": 1, "mosaic": 3}, scale=None)
    painter(make_photo(), {"wave": 3}, raw=True, scale=None)
    assert styles == [[2, 0], [[0.25, 0, 0.75, 0]], [[3, 0, 0, 0]]]


numbers = st.floats(-2000, 2000) | st.sampled_from([0.0, math.nan, math.inf, -math.inf])


@given(st.dictionaries(st.sampled_from(NAMES), numbers), st.booleans())
def test_style_mix_is_normalized_or_raw_or_refused(
    painter: Painter, weights: Mapping[str, float], raw: bool
) -> None:
    values = [weights.get(name, 0.0) for name in NAMES]
    wrong = {name for name, weight in weights.items() if not -1000 <= weight <= 1000}
    negative = {name for name, weight in weights.items() if weight < 0 and not raw}
    if wrong or negative:
        with pytest.raises(ValueError, match="the weight of ") as error:
            painter.style_mix(weights, raw)
        assert str(error.value).split()[3] in wrong | negative
    elif raw:
        assert torch.equal(painter.style_mix(weights, raw), torch.tensor(values))
    elif sum(values) < 1e-30:
        if sum(values) == 0:
            with pytest.raises(ValueError, match="are all 0"):
                painter.style_mix(weights)
    else:
        mix = painter.style_mix(weights)
        assert mix.shape == (4,)
        assert mix.dtype == torch.float32
        same(mix, torch.tensor([value / sum(values) for value in values]), atol=1e-6)


def test_largest_raw_weights_overflow_nothing() -> None:
    for tile in (0, 8):
        painter = Painter(make_model(), "cpu", "float16", tile)
        for weights in ({"wave": 1000}, {"wave": -1000, "candy": 1000, "mosaic": 1000}):
            assert painter(make_photo(), weights, raw=True).isfinite().all()


# Strength.


@pytest.mark.parametrize("by_pixels", [False, True])
@pytest.mark.parametrize(
    ("scale", "tile"), [(None, 0), (0.7, 0), (1.0, 0), (3.0, 0), (None, 12), (1.0, 12)]
)
def test_strength_0_is_the_photo_and_1_the_style(
    by_pixels: bool, scale: float | None, tile: int
) -> None:
    painter = Painter(make_model(), "cpu", tile=tile)
    options = {"by_pixels": by_pixels, "scale": scale}
    photo = make_photo()
    picture = to_pil_image(photo)
    for style in ("candy", {"wave": 0.5, "candy": 0.5}):
        same(painter(photo, style, strength=0, **options), photo, atol=1e-6)
        assert painter(picture, style, strength=0, **options).tobytes() == picture.tobytes()
        full = painter(photo, style, strength=1, **options)
        assert torch.equal(full, painter(photo, style, scale=scale))


@pytest.mark.parametrize("by_pixels", [False, True])
def test_more_strength_leads_further_from_the_photo(painter: Painter, by_pixels: bool) -> None:
    photo = make_photo()
    for style in ("wave", "candy", "mosaic"):
        away = [
            (painter(photo, style, strength=strength, by_pixels=by_pixels) - photo).abs().mean()
            for strength in (0, 0.1, 0.3, 0.6, 1)
        ]
        assert away == sorted(away)
        assert len(set(away)) == 5


def test_strength_blends_rows_and_adds_what_the_reconstruction_lacks(painter: Painter) -> None:
    photo = make_photo()
    half = by_net(painter, photo, torch.tensor([[0.3, 0, 0, 0.7]]))
    reconstruction = by_net(painter, photo, torch.tensor([3]))
    expected = (half + 0.7 * (photo - reconstruction)).clamp(0, 1)
    same(painter(photo, "wave", strength=0.3, scale=None), expected)


def test_strength_by_pixels_is_a_blend_of_pixels_and_needs_no_identity_style() -> None:
    painter = Painter(make_model(["wave", "candy"]), "cpu")
    photo = make_photo(600, 24)  # more rows than are blended at a time
    expected = 0.4 * painter(photo, "wave") + 0.6 * photo
    same(painter(photo, "wave", strength=0.4, by_pixels=True), expected)


def test_strength_without_identity_style_is_refused_and_says_how_to_add_it() -> None:
    painter = Painter(make_model(["wave", "candy"]), "cpu")
    with pytest.raises(ValueError, match="this network has no identity style") as error:
        painter(make_photo(), "wave", strength=0.5)
    message = str(error.value)
    assert "\n" not in message
    assert "polystyle-train experiment=add_styles" in message
    assert "data.identity_style=true" in message
    assert "--strength-by pixels" in message
    painter(make_photo(), "wave", strength=1)


# Scale.


@pytest.mark.parametrize("size", [(48, 64), (49, 61), (16, 90)])
def test_scale_none_paints_what_the_network_paints(painter: Painter, size: tuple[int, int]) -> None:
    photo = torch.rand(3, *size)
    assert torch.equal(
        painter(photo, "wave", scale=None), by_net(painter, photo, torch.tensor([0]))
    )


def test_scale_1_of_a_photo_of_the_strokes_own_size_changes_nothing(painter: Painter) -> None:
    photo = make_photo(24, 32)
    same(painter(photo, "wave"), painter(photo, "wave", scale=None))


def test_photo_is_painted_alike_at_two_resolutions() -> None:
    # The network that ships: one of random weights paints no picture twice that looks like it.
    painter = polystyle.load("pretrained", "cpu")
    large = make_photo(96, 128)
    small = resized(large, (48, 64))
    differences = {1.0: 0.0, None: 0.0}
    for style in ("wave", "woodcut"):
        for scale in differences:
            pictures = [painter(photo, style, scale=scale) for photo in (large, small)]
            # Compared at one small size, as a viewer sees them.
            shrunk = [resized(picture, (24, 32)) for picture in pictures]
            differences[scale] += (shrunk[0] - shrunk[1]).abs().mean().item()
    assert differences[1.0] < 0.6 * differences[None]


@pytest.mark.parametrize("masked", [False, True])
def test_enlarged_painting_with_a_third_of_the_photo_is_painted_again(
    painter: Painter, masked: bool
) -> None:
    photo = make_photo(47, 62)
    mask = left_half(47, 62)
    masks = [(grey(mask), "wave")] if masked else []
    stylized = painter(photo, "candy", masks=masks)

    small = (24, 32)
    shares = torch.stack([mask, 1 - mask, 0 * mask, 0 * mask])[None]
    small_shares = F.interpolate(shares, small, mode="bilinear", antialias=True)
    strokes = by_net(painter, resized(photo, small), small_shares if masked else torch.tensor([1]))
    content = 2 / 3 * resized(strokes, (47, 62)) + 1 / 3 * photo
    again = by_net(painter, content, shares if masked else torch.tensor([1]))
    same(stylized, with_area_colors(again[None], strokes[None])[0])


def test_scale_under_that_of_the_pixels_enlarges_the_photo_first(painter: Painter) -> None:
    photo = make_photo()
    stylized = painter(photo, "wave", scale=0.25)
    enlarged = by_net(painter, resized(photo[None], [96, 128])[0], torch.tensor([0]))
    same(stylized, resized(enlarged[None], [48, 64])[0])


def test_each_level_of_a_frame_is_smoothed_with_the_same_level_of_earlier_frames() -> None:
    painter = Painter(make_model(), "cpu")
    # A painter for each of the three levels, whose statistics are smoothed on their own.
    level_painters = [Painter(make_model(), "cpu") for _ in range(3)]
    with ExitStack() as stack:
        running = [
            stack.enter_context(smoothed_statistics(smoothed.net, 0.8))
            for smoothed in (painter, *level_painters)
        ]
        for frame in torch.rand(3, 3, 48, 64):
            for statistics in running:
                statistics.next_frame()
            levels = iter(level_painters)
            with torch.no_grad():
                expected = paint_pyramid(
                    lambda content, style, levels=levels: next(levels).net(content, style),
                    frame[None],
                    torch.tensor([0]),
                    scale=3.0,
                )
            assert next(levels, None) is None
            same(painter(frame, "wave", scale=3.0), expected[0])


@pytest.mark.parametrize("size", [(1, 1), (7, 15), (3, 300), (400, 2)])
def test_photos_too_small_for_the_network_are_painted_but_not_as_they_are(
    painter: Painter, size: tuple[int, int]
) -> None:
    photo = torch.rand(3, *size)
    assert painter(photo, "wave").shape == photo.shape
    with pytest.raises(ValueError, match="both sides must be at least 16 pixels"):
        painter(photo, "wave", scale=None)


# Colours.


@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_keep_colors_takes_luminance_from_the_style_and_chroma_from_the_photo(
    painter: Painter, strength: float
) -> None:
    photo = to_pil_image(0.35 + 0.3 * make_photo())
    options = {"strength": strength, "by_pixels": True}
    stylized = levels(painter(photo, "candy", **options).convert("YCbCr"))
    kept = painter(photo, "candy", keep_colors=True, **options)
    clipped = ((levels(kept) == 0) | (levels(kept) == 255)).any(-1)
    assert clipped.mean() < 0.4
    kept, original = levels(kept.convert("YCbCr")), levels(photo.convert("YCbCr"))
    # Pillow rounds in both conversions.
    assert abs(kept - stylized)[~clipped][:, 0].max() <= 2
    assert abs(kept - original)[~clipped][:, 1:].max() <= 2
    assert abs(stylized - original)[~clipped].mean(0).min() > 5


# Masks.


def test_white_mask_is_its_style_and_a_black_one_leaves_the_rest(painter: Painter) -> None:
    photo = make_photo()
    for scale in (None, 1.0, 3.0):
        for value, style in ((1, "wave"), (0, "candy")):
            masks = [(grey(torch.full((48, 64), float(value))), "wave")]
            stylized = painter(photo, "candy", masks=masks, scale=scale)
            # Each level amplifies the rounding of the level before it.
            same(stylized, painter(photo, style, scale=scale), atol=1e-5 if scale is None else 1e-3)


def test_masks_blend_where_they_overlap_and_where_they_are_grey(painter: Painter) -> None:
    photo = make_photo()
    white, grey_40 = grey(torch.ones(48, 64)), grey(torch.full((48, 64), 0.4))
    for masks, blend in (
        ([(white, "wave"), (white, "mosaic")], {"wave": 1, "mosaic": 1}),
        ([(grey_40, "wave")], {"wave": 0.4, "candy": 0.6}),
        ([(grey_40, "wave"), (grey_40, "mosaic")], {"wave": 2, "mosaic": 2, "candy": 1}),
        (
            [(white, "wave"), (grey_40, {"candy": 1, "mosaic": 3})],
            {"wave": 10, "candy": 1, "mosaic": 3},
        ),
    ):
        same(painter(photo, "candy", masks=masks), painter(photo, blend), atol=1e-4)


def test_mask_and_its_negative_say_the_same_of_the_other_style(painter: Painter) -> None:
    photo = make_photo()
    for mask in (left_half(), make_photo()[2]):
        first = painter(photo, "candy", masks=[(grey(mask), "wave")])
        second = painter(photo, "wave", masks=[(grey(1 - mask), "candy")])
        # An 8-bit grey and its negative add up to 255.
        same(first, second, atol=1e-4)


def test_masked_regions_look_as_their_styles_do(painter: Painter) -> None:
    photo = make_photo()
    stylized = painter(photo, "candy", masks=[(grey(left_half()), "wave")], scale=None)
    # Both regions share the picture's statistics, so neither is exactly what its style paints.
    left, right = (
        [(stylized - by_net(painter, photo, torch.tensor([row])))[..., columns].abs().mean()
         for row in (0, 1)]
        for columns in (slice(0, 24), slice(40, 64))
    )  # fmt: skip
    assert left[0] < 0.8 * left[1]
    assert right[1] < 0.9 * right[0]


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_strength_and_raw_blends_work_under_masks(painter: Painter, strength: float) -> None:
    photo = make_photo()
    masks = [(grey(torch.ones(48, 64)), {"wave": 1.5, "candy": -0.5})]
    stylized = painter(photo, "mosaic", masks=masks, strength=strength, raw=True)
    expected = painter(photo, {"wave": 1.5, "candy": -0.5}, strength=strength, raw=True)
    same(stylized, expected, atol=1e-4)


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "P", "RGBA"])
def test_masks_are_pictures_of_any_mode(painter: Painter, mode: str) -> None:
    mask = grey(left_half())
    expected = painter(make_photo(), "candy", masks=[(mask, "wave")])
    same(painter(make_photo(), "candy", masks=[(mask.convert(mode), "wave")]), expected)


@given(
    st.integers(1, 4).flatmap(
        lambda count: st.lists(
            st.lists(st.integers(0, 255), min_size=6, max_size=6), min_size=count, max_size=count
        )
    )
)
def test_shares_of_masks_add_up_to_1(values: list[list[int]]) -> None:
    masks = [Image.fromarray(np.array(mask, np.uint8).reshape(2, 3)) for mask in values]
    shares = region_map(masks, (2, 3))
    assert shares.shape == (1, len(masks) + 1, 2, 3)
    for place in range(6):
        whites = [mask[place] / 255 for mask in values]
        total = max(1, sum(whites))
        expected = [*(white / total for white in whites), 1 - sum(whites) / total]
        same(shares.flatten(2)[0, :, place], torch.tensor(expected), atol=1e-6)
    assert shares.min() >= 0


# What is refused.


@pytest.mark.parametrize(
    ("style", "options", "message"),
    [
        ("wav", {}, r"there is no style 'wav': did you mean wave\?"),
        (["wave", "cand"], {}, r"there is no style 'cand': did you mean candy\?"),
        ({"wave": 1, "x": 1}, {}, "there is no style 'x': wave, candy, mosaic, photo"),
        ({"wave": 0, "candy": 0}, {}, "the weights of wave, candy are all 0"),
        ({"wave": 2, "candy": -1}, {}, "weight of candy is negative: only raw weights may be"),
        ({"wave": math.nan}, {}, "the weight of wave must be a number up to 1000, not nan"),
        ({"wave": -2e3}, {"raw": True}, "weight of wave must be a number up to 1000, not -2000"),
        ("wave", {"strength": 1.1}, "strength must be from 0 to 1, not 1.1"),
        ("wave", {"strength": -0.1, "by_pixels": True}, "strength must be from 0 to 1, not -0.1"),
        ("wave", {"strength": math.nan}, "strength must be from 0 to 1, not nan"),
        ("wave", {"scale": 0}, "scale must be from 0.25 to 4, not 0"),
        ("wave", {"scale": 4.1}, "scale must be from 0.25 to 4, not 4.1"),
        ("wave", {"scale": math.nan}, "scale must be from 0.25 to 4, not nan"),
        (
            "wave",
            {"masks": [(Image.new("L", (64, 48)), "wave"), (Image.new("L", (48, 64)), "wave")]},
            "a mask is 48 x 64 pixels, and the photo 64 x 48: make them one size",
        ),
        ("wave", {"masks": [(Image.new("L", (64, 48)), "x")]}, "there is no style 'x'"),
        (
            ["wave", "candy"],
            {"masks": [(Image.new("L", (64, 48)), "wave")]},
            "masks are for one photo, with one style for the remaining area",
        ),
    ],
)
def test_invalid_arguments_are_refused_in_one_line(
    painter: Painter, style: object, options: dict, message: str
) -> None:
    for content in (make_photo(), to_pil_image(make_photo())):
        with pytest.raises(ValueError, match=message) as error:
            painter(content, style, **options)
        assert "\n" not in str(error.value)


def test_several_photos_take_neither_several_styles_nor_masks(painter: Painter) -> None:
    photos = torch.rand(2, 3, 48, 64)
    with pytest.raises(ValueError, match="a list of styles is for one photo"):
        painter(photos, ["wave", "candy"])
    with pytest.raises(ValueError, match="masks are for one photo"):
        painter(photos, "wave", masks=[(Image.new("L", (64, 48)), "wave")])


# Precision and memory.


@pytest.mark.parametrize("tile", [0, 8])
@pytest.mark.parametrize(("precision", "mean"), [("bfloat16", 3), ("float16", 0.5)])
def test_half_precisions_come_close(
    painter: Painter, precision: str, mean: float, tile: int
) -> None:
    half = Painter(make_model(), "cpu", precision, tile)
    mask = [(grey(left_half()), "candy")]
    for options in ({}, {"masks": mask}):
        stylized = half(make_photo(), "wave", scale=None, **options)
        assert stylized.dtype == torch.float32
        exact = painter(make_photo(), "wave", scale=None, **options)
        difference = 255 * (stylized - exact).abs()
        assert 0.01 < difference.mean() < mean


@pytest.mark.parametrize(
    ("tile", "pixels", "in_tiles"),
    [
        (None, 48 * 64, False),
        (None, 3 * 48 * 64, False),
        (None, 48 * 64 - 1, True),
        (0, 1, False),
        (4, 10**6, True),
    ],
)
def test_large_photos_are_painted_in_tiles_and_batches_in_chunks(
    painter: Painter, monkeypatch: pytest.MonkeyPatch, tile: int | None, pixels: int, in_tiles: bool
) -> None:
    photo = make_photo()
    styles = ["wave", "candy", {"wave": 1, "mosaic": 1}, "mosaic"]
    mask = [(grey(left_half()), "wave")]
    expected = [*painter(photo, styles), painter(photo, "candy", masks=mask, strength=0.6)]
    calls: list[int] = []
    real = polystyle.painting.painter.paint_in_tiles
    monkeypatch.setattr(
        polystyle.painting.painter,
        "paint_in_tiles",
        lambda *args: calls.append(args[3]) or real(*args),
    )
    monkeypatch.setattr(polystyle.painting.painter, "WHOLE_PIXELS", pixels)
    frugal = Painter(make_model(), "cpu", tile=tile)
    pictures = [*frugal(photo, styles), frugal(photo, "candy", masks=mask, strength=0.6)]
    assert bool(calls) == in_tiles
    assert set(calls) <= {tile or polystyle.painting.painter.TILE_PIXELS // photo.shape[-1]}
    for picture, exact in zip(pictures, expected, strict=True):
        # Tiles keep maps in float16.
        same(picture, exact, atol=0.02 if in_tiles else 1e-5)


def test_transparent_pixels_of_a_mask_are_not_selected() -> None:
    drawn = Image.new("RGBA", (48, 36), (255, 255, 255, 0))
    drawn.paste((255, 255, 255, 255), (0, 0, 24, 36))
    weights = region_map([drawn], (36, 48))
    assert weights[0, 0, :, :24].min() == 1
    assert weights[0, 0, :, 24:].max() == 0


def test_the_photo_is_reconstructed_once_for_all_styles() -> None:
    painter = Painter(make_model(), "cpu")
    sizes: list[int] = []
    painter.net.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    painter(torch.rand(3, 48, 64), ["wave", "candy", "mosaic"], strength=0.5, scale=None)
    assert sizes == [3, 1]


def test_the_bar_of_a_large_photo_ends_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()

    def on_a_terminal(**options: object) -> tqdm:
        return tqdm(**{**options, "disable": False, "file": screen, "mininterval": 0})

    def rounded_up(
        net: object, content: Tensor, style: Tensor, tile: int, tell: Callable
    ) -> Tensor:
        for share in (0.5, 0.500001):
            tell(share)
        return content

    monkeypatch.setattr(polystyle.painting.tiles, "tqdm", on_a_terminal)
    monkeypatch.setattr(polystyle.painting.painter, "paint_in_tiles", rounded_up)
    # tqdm warns of a bar beyond its total, and pytest makes warnings errors.
    Painter(make_model(), "cpu", tile=8)(make_photo(), "wave", scale=None)
    assert "100%" in screen.getvalue()


def test_whole_photos_of_a_batch_are_painted_in_chunks_that_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    painter = Painter(make_model(), "cpu")
    sizes: list[int] = []
    painter.net.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    monkeypatch.setattr(polystyle.painting.painter, "WHOLE_PIXELS", 3 * 48 * 64)
    painter(torch.rand(7, 3, 48, 64), "wave", scale=None)
    assert sizes == [3, 3, 1]
