"""Reading pictures, whole or in part, and listing folders of them."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from drawing import noise, photo_like, plain, touch
from make_damaged_images import chunk, encoded, png
from PIL import Image
from PIL.Image import Resampling
from PIL.PngImagePlugin import PngInfo

from polystyle.data import images
from polystyle.data.images import load_image, load_resized, to_rgb, upright
from polystyle.data.picture_folder import list_images

COLOUR = (200, 100, 50)
WHITE = (255, 255, 255)


def png16(colours: int, *pixel: int) -> bytes:
    """A 16-bit PNG of 24 x 16 equal pixels, which Pillow reads but can't write."""
    row = b"\0" + struct.pack(f">{len(pixel)}H", *pixel) * 24
    data = chunk(b"IDAT", zlib.compress(row * 16))
    return png(data, size=(24, 16), bits=16, colours=colours)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010E] = "a description"
    tags[0x011A] = 72.0
    return tags


# ---- Reading a picture ----------------------------------------------------------------------


PALETTE = plain("RGB", COLOUR).quantize(4)
INDEX = PALETTE.getpixel((0, 0))
GREY16 = Image.fromarray(np.full((16, 24), 0x8080, dtype=np.uint16))
GREY = (128, 128, 128)

PICTURES = {
    "grey.png": (encoded(plain("L", 77), "PNG"), (77, 77, 77)),
    "grey.jpg": (encoded(plain("L", 77), "JPEG"), (77, 77, 77)),
    "black on white.png": (encoded(plain("1", 1), "PNG"), WHITE),
    "grey with alpha.png": (encoded(plain("LA", (77, 255)), "PNG"), (77, 77, 77)),
    "transparent grey with alpha.png": (encoded(plain("LA", (77, 0)), "PNG"), WHITE),
    "transparent grey level.png": (encoded(plain("L", 77), "PNG", transparency=77), WHITE),
    "palette.png": (encoded(PALETTE, "PNG"), COLOUR),
    "transparent palette.png": (encoded(PALETTE, "PNG", transparency=INDEX), WHITE),
    "half transparent palette.png": (
        encoded(PALETTE, "PNG", transparency=bytes([128] * 4)),
        (227, 177, 152),
    ),
    "rgb.png": (encoded(plain("RGB", COLOUR), "PNG"), COLOUR),
    "transparent colour.png": (encoded(plain("RGB", COLOUR), "PNG", transparency=COLOUR), WHITE),
    "rgba.png": (encoded(plain("RGBA", (*COLOUR, 255)), "PNG"), COLOUR),
    "transparent rgba.png": (encoded(plain("RGBA", (*COLOUR, 0)), "PNG"), WHITE),
    "half transparent rgba.png": (encoded(plain("RGBA", (0, 0, 0, 128)), "PNG"), (127, 127, 127)),
    "rgba.webp": (encoded(plain("RGBA", (*COLOUR, 255)), "WEBP"), COLOUR),
    "transparent rgba.webp": (encoded(plain("RGBA", (*COLOUR, 0)), "WEBP"), WHITE),
    "rgb.webp": (encoded(plain("RGB", COLOUR), "WEBP"), COLOUR),
    "rgb.jpg": (encoded(plain("RGB", COLOUR), "JPEG"), COLOUR),
    "cmyk.jpg": (encoded(plain("RGB", COLOUR).convert("CMYK"), "JPEG"), COLOUR),
    "cmyk.tif": (encoded(plain("RGB", COLOUR).convert("CMYK"), "TIFF"), COLOUR),
    "ycbcr.jpg": (encoded(plain("RGB", COLOUR).convert("YCbCr"), "JPEG"), COLOUR),
    "ycbcr.tif": (encoded(plain("RGB", COLOUR).convert("YCbCr"), "TIFF"), COLOUR),
    "16-bit grey.png": (encoded(GREY16, "PNG"), GREY),
    "16-bit grey.tif": (encoded(GREY16, "TIFF"), GREY),
    "16-bit grey, big-endian.tif": (
        encoded(Image.frombytes("I;16B", (24, 16), b"\x80\x00" * 24 * 16), "TIFF"),
        GREY,
    ),
    "16-bit grey.pgm": (b"P5 24 16 65535\n" + b"\x80\x00" * 24 * 16, GREY),
    "16-bit black.png": (encoded(plain("I;16", 0), "PNG"), (0, 0, 0)),
    "16-bit white.png": (encoded(plain("I;16", 65535), "PNG"), WHITE),
    "16-bit grey with alpha.png": (png16(4, 0x8080, 0xFFFF), GREY),
    "16-bit rgb.png": (png16(2, *(257 * part for part in COLOUR)), COLOUR),
    "16-bit rgba.png": (png16(6, *(257 * part for part in COLOUR), 0xFFFF), COLOUR),
    "16-bit transparent rgba.png": (png16(6, 0, 0, 0, 0), WHITE),
    "32-bit integer.tif": (encoded(plain("I", 0x8080), "TIFF"), GREY),
    "float.tif": (encoded(plain("F", 0.5), "TIFF"), GREY),
    "palette.gif": (encoded(PALETTE, "GIF"), COLOUR),
    "transparent palette.gif": (encoded(PALETTE, "GIF", transparency=INDEX), WHITE),
    "animated.gif": (
        encoded(
            PALETTE,
            "GIF",
            save_all=True,
            append_images=[plain("RGB", (0, 0, 255)).quantize(4)],
        ),
        COLOUR,
    ),
    "animated.webp": (
        encoded(
            plain("RGB", COLOUR),
            "WEBP",
            save_all=True,
            append_images=[plain("RGB", (0, 0, 255))],
        ),
        COLOUR,
    ),
    "rgb.bmp": (encoded(plain("RGB", COLOUR), "BMP"), COLOUR),
}


@pytest.mark.parametrize("name", PICTURES)
def test_every_kind_of_picture_becomes_rgb_with_the_same_colour(name: str, tmp_path: Path) -> None:
    content, colour = PICTURES[name]
    (tmp_path / name).write_bytes(content)
    image = load_image(tmp_path / name)
    assert image.mode == "RGB"
    assert image.size == (24, 16)
    assert abs(np.asarray(image, dtype=int) - colour).max() <= 3


# The pixels that a file stores for an upright picture, by EXIF orientation, from the definitions in
# the EXIF standard ("the 0th row is at the visual left").
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright[:, ::-1].swapaxes(0, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: upright[::-1].swapaxes(0, 1),
}


def four_colours() -> np.ndarray:
    """A landscape format picture with a red, a green, a blue and a yellow quarter."""
    upright = np.zeros((32, 64, 3), dtype=np.uint8)
    upright[:16, :32] = (220, 30, 30)
    upright[:16, 32:] = (30, 220, 30)
    upright[16:, :32] = (30, 30, 220)
    upright[16:, 32:] = (220, 220, 30)
    return upright


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_pictures_are_upright(orientation: int, kind: str, tmp_path: Path) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](four_colours())))
    path = tmp_path / "photo"
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    options |= {"lossless": True} if kind == "WEBP" else {}
    path.write_bytes(encoded(stored, kind, exif=exif(orientation), **options))
    image = load_image(path)
    assert image.size == (64, 32)
    assert abs(np.asarray(image, dtype=int) - four_colours()).max() <= 12


@pytest.mark.parametrize("orientation", STORED)
def test_16_bit_pictures_are_upright(orientation: int, tmp_path: Path) -> None:
    upright = np.zeros((16, 24), dtype=np.uint16)
    upright[:4, :4] = 65535
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    stored.save(tmp_path / "photo.png", exif=exif(orientation))
    image = np.asarray(load_image(tmp_path / "photo.png"))
    assert np.array_equal(image[..., 0], upright >> 8)


@pytest.mark.filterwarnings("ignore")
def test_a_good_picture_with_damaged_exif_is_read(tmp_path: Path) -> None:
    # An orientation, and a horizontal resolution that is a text instead of a number.
    entries = struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHI4s", 0x011A, 2, 3, b"72\0")
    tags = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + b"\0\0\0\0"
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](four_colours())))
    stored.save(tmp_path / "photo.jpg", exif=tags, quality=95)
    assert load_image(tmp_path / "photo.jpg").size == (64, 32)


JPEG = encoded(noise((24, 16), 0), "JPEG", exif=exif(6))
PNG = encoded(noise((24, 16), 0), "PNG", exif=exif(6))
DDS = encoded(noise((24, 16), 0), "DDS")

BROKEN = {
    "cut.jpg": JPEG[:-200],
    "cut.png": PNG[:-200],
    "empty.jpg": b"",
    "text.jpg": b"I am not a picture.\n",
    "page.png": b"<!DOCTYPE html><title>404 Not Found</title>",
    "enormous.png": png(chunk(b"IDAT", b""), size=(60_000, 60_000)),
    "nonsense.png": png(chunk(b"IDAT", zlib.compress(b"\0" * 400)[:9]), chunk(b"\1\2\3\4", b"")),
    # A texture with an unknown pixel format.
    "odd.dds": DDS[:80] + bytes(4) + DDS[84:],
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_unreadable(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(BROKEN[name])
    with pytest.raises(OSError):
        load_image(tmp_path / name)


# ---- Reading a part of a picture ------------------------------------------------------------


def difference(one: Image.Image, other: Image.Image) -> np.ndarray:
    """Of each pixel, in levels of 255."""
    assert one.size == other.size
    return abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_a_part_equals_the_part_of_the_fully_decoded_upright_picture(
    orientation: int, kind: str, tmp_path: Path
) -> None:
    upright = np.asarray(photo_like(150, 100))
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    (tmp_path / "photo").write_bytes(encoded(stored, kind, exif=exif(orientation)))
    box = (31.5, 12.0, 110.25, 90.75)

    def choose(width: int, height: int) -> tuple:
        assert (width, height) == (150, 100)
        return box, (60, 40)

    expected = load_image(tmp_path / "photo").resize((60, 40), Resampling.BILINEAR, box)
    assert difference(load_resized(tmp_path / "photo", choose), expected).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(("shrink", "orientation"), [(2, 1), (4, 6), (8, 3), (9, 8)])
def test_a_jpeg_decoded_at_reduced_scale_looks_the_same(
    mode: str, shrink: int, orientation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upright = np.asarray(photo_like(1501, 1103))
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright))).convert(mode)
    stored.save(tmp_path / "photo.jpg", exif=exif(orientation), quality=95)
    box = (100.0, 50.0, 100.0 + 64 * shrink, 50.0 + 64 * shrink)
    expected = load_image(tmp_path / "photo.jpg").resize((64, 64), Resampling.BILINEAR, box)
    decoded = []
    monkeypatch.setattr(images, "to_rgb", lambda image: decoded.append(image) or to_rgb(image))
    image = load_resized(tmp_path / "photo.jpg", lambda width, height: (box, (64, 64)))
    assert max(decoded[0].size) == -(-1501 // min(shrink, 8))
    assert difference(image, expected).mean() < 3
    assert difference(image, expected).max() < 30
    # With spare=2 the result is closer to that of a full decode.
    spared = load_resized(tmp_path / "photo.jpg", lambda width, height: (box, (64, 64)), spare=2)
    assert max(decoded[1].size) == -(-1501 // min(1 << (shrink // 2).bit_length() - 1, 8))
    assert difference(spared, expected).mean() < 1.5


@pytest.mark.parametrize("name", [*PICTURES, *BROKEN])
def test_a_part_of_every_kind_of_picture_is_read_or_unreadable(name: str, tmp_path: Path) -> None:
    def whole(width: int, height: int) -> tuple:
        return (0, 0, width, height), (9, 7)

    if name in BROKEN:
        (tmp_path / name).write_bytes(BROKEN[name])
        with pytest.raises(OSError, match=f"{name} can't be read: "):
            load_resized(tmp_path / name, whole)
    else:
        content, colour = PICTURES[name]
        (tmp_path / name).write_bytes(content)
        image = load_resized(tmp_path / name, whole)
        assert (image.mode, image.size) == ("RGB", (9, 7))
        assert abs(np.asarray(image, dtype=int) - colour).max() <= 3


# ---- Listing folders ------------------------------------------------------------------------


def test_pictures_in_all_subfolders_are_listed_sorted_without_hidden_files(
    tmp_path: Path,
) -> None:
    pictures = ["B.PNG", "a.jpg", "c.Jpeg", "deep/down/d.webp", "deep/e.tiff", "f.gif"]
    others = [".hidden.jpg", "deep/._d.webp", ".thumbnails/a.jpg", "deep/.trash/down/e.tiff"]
    others += ["notes.txt", "deep/.DS_Store", "noextension", "g.pdf"]
    touch(tmp_path, *reversed(pictures), *others)
    assert list_images(tmp_path, deep=True) == [tmp_path / name for name in pictures]
    flat = [name for name in pictures if "/" not in name]
    assert list_images(tmp_path, deep=False) == [tmp_path / name for name in flat]


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt", ".hidden.jpg", "photo.jpg")
    with pytest.raises(FileNotFoundError, match=r"^there is no folder .*elsewhere$"):
        list_images(tmp_path / "elsewhere", deep=False)
    with pytest.raises(ValueError, match=r"photo\.jpg is an empty file, not a folder of pictures"):
        list_images(tmp_path / "photo.jpg", deep=False)
    (tmp_path / "photo.jpg").unlink()
    reason = f"^there is no picture in .*{tmp_path.name}: it has 1 .txt$"
    with pytest.raises(ValueError, match=reason):
        list_images(tmp_path, deep=False)


HEIF_READER = """
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

def register_heif_opener():
    Image.register_open("HEIF", PngImageFile)
    Image.register_extensions("HEIF", [".heic"])
"""


def test_heic_is_read_where_its_reader_is_installed(tmp_path: Path) -> None:
    """With a stand-in for pillow-heif that takes HEIC for PNG."""
    (tmp_path / "photos").mkdir()
    plain("RGB", COLOUR).save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "a.png").rename(tmp_path / "photos" / "a.HEIC")
    program = (
        "from pathlib import Path\n"
        "from polystyle.data.images import formats, load_image\n"
        "from polystyle.data.picture_folder import list_images, unread_line\n"
        "(photo,) = list_images(Path('photos'), deep=True)\n"
        "print('HEIF' in formats(), load_image(photo).size, unread_line(Path('photos'), True))"
    )
    (tmp_path / "pillow_heif.py").write_text(HEIF_READER)
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.stdout == "True (24, 16) None\n", result.stderr


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_a_turned_picture_has_no_orientation_left(kind: str, tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(encoded(plain("RGB", COLOUR), kind, exif=exif(6)))
    turned = load_image(tmp_path / "photo", as_rgb=False)
    assert turned.size == (16, 24)
    assert upright(turned).size == (16, 24)
    assert turned.getexif()[0x010E] == "a description"


def test_a_picture_turned_by_xmp_is_turned_once(tmp_path: Path) -> None:
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="6"/>')
    plain("RGB", COLOUR).save(tmp_path / "photo.png", pnginfo=texts)
    turned = load_image(tmp_path / "photo.png", as_rgb=False)
    assert turned.size == (16, 24)
    assert upright(turned).size == (16, 24)


@pytest.mark.parametrize(
    ("declared", "kept"),
    [
        ((300, 299.5), (300, 299.5)),
        *(((dots, 300), None) for dots in (0, -1, 1e7, float("nan"), float("inf"), "many", None)),
        ((300,), None),
        (300, None),
        (None, None),
    ],
)
def test_an_impossible_resolution_is_left_out(declared: object, kept: object) -> None:
    """A TIFF may declare any pair of numbers, and no format could be written with them."""
    image = plain("RGB", COLOUR)
    image.info["dpi"] = declared
    assert upright(image).info["dpi"] == kept
