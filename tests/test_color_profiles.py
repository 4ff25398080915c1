"""Pictures with a colour profile are read as they look, in sRGB."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from drawing import photo_like, plain
from PIL import Image, ImageCms
from profiles import (
    DISPLAY_P3,
    PROPHOTO,
    SRGB,
    cmyk_profile,
    gamma,
    grey_profile,
    profile,
    rgb_profile,
    srgb_curve,
    xyz,
)

from polystyle.data.color_profiles import srgb_conversion, srgb_profile
from polystyle.data.images import load_image, load_resized, to_rgb
from polystyle.data.paintings import load_painting
from polystyle.data.prepare_set import encode_photo
from polystyle.data.samples import load_square, middle_square

P3 = rgb_profile(DISPLAY_P3, srgb_curve())
WIDE = rgb_profile(PROPHOTO, gamma(1.8))
LINEAR = rgb_profile(SRGB, gamma(1))


def light(levels: np.ndarray) -> np.ndarray:
    """Levels of sRGB from 0 to 255 to linear light from 0 to 1."""
    levels = levels / 255
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def levels(light: np.ndarray) -> np.ndarray:
    light = light.clip(0, 1)
    return 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def same_look(picture: Image.Image, primaries: tuple, exponent: float | None) -> Image.Image:
    """A picture in sRGB, encoded for other primaries and another transfer function by numpy."""
    to_other = np.linalg.inv(np.array(primaries).T) @ np.array(SRGB).T
    other = (light(np.asarray(picture, dtype=float)) @ to_other.T).clip(0, 1)
    encoded = levels(other) if exponent is None else 255 * other ** (1 / exponent)
    return Image.fromarray(encoded.round().astype(np.uint8))


def difference(one: Image.Image | np.ndarray, other: Image.Image | np.ndarray) -> float:
    return abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean()


@pytest.fixture
def twin() -> Image.Image:
    """Without fine detail, of which JPEG and WebP lose some."""
    return photo_like(15, 12).resize((120, 90), Image.Resampling.BICUBIC)


# The same look in three encodings.
ENCODINGS = {
    "p3": (P3, DISPLAY_P3, None),
    "wide": (WIDE, PROPHOTO, 1.8),
    "linear": (LINEAR, SRGB, 1.0),
}

READERS: dict[str, Callable[[Path], Image.Image | np.ndarray]] = {
    "to be painted": lambda path: load_image(path),
    "as it is stored": lambda path: to_rgb(load_image(path, as_rgb=False)),
    "in part": lambda path: load_resized(path, lambda w, h: ((0, 0, w, h), (60, 45)), spare=2),
    "to train on": lambda path: load_square(path, middle_square, 48),
    "a painting": lambda path: 255 * load_painting(path, 45).permute(1, 2, 0).numpy(),
    "prepared": lambda path: Image.open(BytesIO(encode_photo(("a", path), 90).jpeg)),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_picture_looks_like_its_twin_in_srgb_wherever_it_is_read(
    encoding: str, reader: str, twin: Image.Image, tmp_path: Path
) -> None:
    embedded, primaries, exponent = ENCODINGS[encoding]
    encoded = same_look(twin, primaries, exponent)
    encoded.save(tmp_path / "photo.png", icc_profile=embedded)
    encoded.save(tmp_path / "untagged.png")
    twin.save(tmp_path / "twin.png")
    read = READERS[reader]
    expected = read(tmp_path / "twin.png")
    assert difference(read(tmp_path / "photo.png"), expected) < 1.5
    assert difference(read(tmp_path / "untagged.png"), expected) > 4


@pytest.mark.parametrize("kind", ["jpg", "webp", "tif", "png"])
def test_every_format_that_holds_a_profile_is_converted(
    kind: str, twin: Image.Image, tmp_path: Path
) -> None:
    path = tmp_path / f"photo.{kind}"
    same_look(twin, DISPLAY_P3, None).save(path, icc_profile=P3, quality=95)
    assert difference(load_image(path), twin) < 3


def test_pictures_in_srgb_are_untouched_with_their_profile_or_without(
    twin: Image.Image, tmp_path: Path
) -> None:
    for number, embedded in enumerate(
        (
            None,
            srgb_profile(),
            rgb_profile(SRGB, srgb_curve()),
            # Damaged ones, and those of other pixels, are ignored.
            b"no profile",
            P3[:200],
            P3[:128] + bytes(4),
            b"",
            grey_profile(1.0),
            cmyk_profile(),
            ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
            profile(b"RGB ", {b"rXYZ": xyz(DISPLAY_P3[0])}),
        )
    ):
        twin.save(tmp_path / f"{number}.png", icc_profile=embedded)
        with Image.open(tmp_path / f"{number}.png") as image:
            assert srgb_conversion(image) is None
            assert to_rgb(image) is image
        assert load_image(tmp_path / f"{number}.png").tobytes() == twin.tobytes()


def test_transparent_pictures_are_converted_under_their_alpha(
    twin: Image.Image, tmp_path: Path
) -> None:
    alpha = Image.linear_gradient("L").resize(twin.size)
    encoded = same_look(twin, PROPHOTO, 1.8)
    for picture in (encoded, twin):
        picture.putalpha(alpha)
    encoded.save(tmp_path / "photo.png", icc_profile=WIDE)
    assert difference(load_image(tmp_path / "photo.png"), to_rgb(twin)) < 1.5


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_greys_are_converted_by_a_profile_of_grey(mode: str, tmp_path: Path) -> None:
    grey = {"L": 128, "LA": (128, 255), "I;16": 128 * 257}[mode]
    picture = Image.new(mode, (24, 16), grey)
    picture.save(tmp_path / "photo.png", icc_profile=grey_profile(1.0))
    expected = levels(np.array(128 / 255))
    assert difference(load_image(tmp_path / "photo.png"), expected) < 1.5


def test_greys_and_palettes_are_converted_by_a_profile_of_rgb(tmp_path: Path) -> None:
    expected = levels(np.array(128 / 255))
    palette = plain("RGB", (128, 128, 128)).quantize(4)
    for number, picture in enumerate((plain("L", 128), palette)):
        picture.save(tmp_path / f"{number}.png", icc_profile=LINEAR)
        assert difference(load_image(tmp_path / f"{number}.png"), expected) < 1.5


@pytest.mark.parametrize("kind", ["jpg", "tif"])
def test_cmyk_is_converted_by_its_profile(kind: str, tmp_path: Path) -> None:
    # Of cyan ink the profile says that it can't be seen, and of K that it is L* itself.
    picture = plain("CMYK", (255, 0, 0, 128))
    picture.save(tmp_path / f"photo.{kind}", icc_profile=cmyk_profile(), quality=95)
    lab_grey = 255 - 128  # the byte of L*
    luminance = ((lab_grey / 2.55 + 16) / 116) ** 3
    expected = levels(np.array(luminance))
    assert difference(load_image(tmp_path / f"photo.{kind}"), expected) < 3


def test_a_profile_of_rgb_is_ignored_for_cmyk(tmp_path: Path) -> None:
    picture = plain("CMYK", (200, 100, 50, 30))
    for name, embedded in (("tagged", LINEAR), ("untagged", None)):
        picture.save(tmp_path / f"{name}.tif", icc_profile=embedded)
    tagged, untagged = (load_image(tmp_path / f"{name}.tif") for name in ("tagged", "untagged"))
    assert tagged.tobytes() == untagged.tobytes()


def test_cie_lab_is_read(twin: Image.Image, tmp_path: Path) -> None:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    picture = ImageCms.profileToProfile(twin, srgb, lab, outputMode="LAB")
    picture.save(tmp_path / "photo.tif")
    assert difference(load_image(tmp_path / "photo.tif"), twin) < 2
