"""What polystyle.load(...) paints besides Pillow images and tensors, and what it returns."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from polystyle.networks.model_file import Model
from polystyle.networks.transformer_net import TransformerNet
from polystyle.painting.api_inputs import as_mask
from polystyle.painting.painter import Painter


@pytest.fixture(scope="module")
def painter() -> Painter:
    torch.manual_seed(0)
    net = TransformerNet(3, width=0.125)
    for parameter in net.parameters():  # styles that differ
        torch.nn.init.normal_(parameter, std=0.5)
    return Painter(Model(net.eval(), ["wave", "candy", "photo"]), device="cpu")


@pytest.fixture
def photo() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_path_is_painted_as_a_pillow_image(
    painter: Painter, photo: Image.Image, tmp_path: Path, as_path: Callable[[Path], Any]
) -> None:
    photo.save(tmp_path / "photo.png")
    painted = painter(as_path(tmp_path / "photo.png"), "wave")
    assert isinstance(painted, Image.Image)
    assert np.array_equal(painted, painter(photo, "wave"))


def test_a_path_that_is_no_picture_is_named(painter: Painter, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"nowhere\.jpg"):
        painter(tmp_path / "nowhere.jpg", "wave")


def test_an_array_is_painted_as_an_image(painter: Painter, photo: Image.Image) -> None:
    array = np.asarray(photo)
    expected = np.asarray(painter(photo, "wave"))
    painted = painter(array, "wave")
    assert isinstance(painted, np.ndarray)
    assert painted.dtype == np.uint8
    assert np.array_equal(painted, expected)
    painted[:] = 0  # it can be written to


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_an_array_of_floats_is_painted_as_the_tensor(
    painter: Painter, photo: Image.Image, dtype: Any
) -> None:
    array = (np.asarray(photo) / 255).astype(dtype)
    painted = painter(array, "wave")
    assert painted.shape == array.shape
    assert painted.dtype == np.dtype(dtype).newbyteorder("=")
    tensor = torch.from_numpy(array.astype(np.dtype(dtype).newbyteorder("="))).permute(2, 0, 1)
    assert np.array_equal(painted, painter(tensor, "wave").permute(1, 2, 0).numpy())


def test_arrays_with_any_strides_are_painted(painter: Painter, photo: Image.Image) -> None:
    bgr = np.asarray(photo)[..., ::-1]
    assert np.array_equal(painter(bgr, "wave"), painter(np.ascontiguousarray(bgr), "wave"))


def test_grey_transparent_and_batched_arrays_are_painted(
    painter: Painter, photo: Image.Image
) -> None:
    grey = np.asarray(photo.convert("L"))
    expected = np.asarray(painter(photo.convert("L"), "wave"))
    assert np.array_equal(painter(grey, "wave"), expected)
    assert np.array_equal(painter(grey[..., None], "wave"), expected)
    photo.putalpha(100)
    painted = painter(np.asarray(photo), "wave")
    assert painted.shape == (24, 32, 4)
    assert (painted[..., 3] == 100).all()
    batch = np.stack([np.asarray(photo)[..., :3], 255 - np.asarray(photo)[..., :3]])
    assert np.array_equal(painter(batch, "wave")[1], painter(batch[1], "wave"))


def test_a_list_of_pictures_gives_a_list(
    painter: Painter, photo: Image.Image, tmp_path: Path
) -> None:
    photo.save(tmp_path / "photo.png")
    small = photo.resize((20, 18))
    array = np.asarray(photo)
    expected = painter(photo, "wave")
    painted = painter([photo, small, array, tmp_path / "photo.png"], "wave")
    assert [type(picture) for picture in painted] == [
        *(Image.Image, Image.Image, np.ndarray, Image.Image)
    ]
    assert painted[1].size == (20, 18)
    assert all(np.array_equal(painted[index], expected) for index in (0, 2, 3))
    (by_pattern,) = painter(tmp_path.glob("*.png"), "wave")
    assert np.array_equal(by_pattern, expected)
    both = painter((photo, small), ["wave", "candy"])
    assert [len(pictures) for pictures in both] == [2, 2]
    assert painter([], "wave") == []


@pytest.mark.parametrize("tile", [0, 8])
def test_results_are_ordinary_tensors(
    painter: Painter, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painter, "tile", tile)
    content = torch.rand(3, 24, 32)
    for painted in (
        painter(content, "wave"),
        painter(content, "wave", scale=None),
        painter(content, "wave", strength=0.5),
        *painter(content, ["wave", "candy"]),
    ):
        assert not painted.is_inference()
        assert not painted.requires_grad
        weight = torch.ones((), requires_grad=True)
        (painted * weight).square().sum().backward()
        assert weight.grad > 0
        painted += 1  # in place


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (255.0, "must be in [0, 1], and is from 0.5 to 255: divide by 255"),
        (1.01, "must be in [0, 1], and is from 0.5 to 1.01"),
        (-1.0, "must be in [0, 1], and is from -1 to 0.5"),
        (np.nan, "infinite or NaN"),
        (np.inf, "infinite or NaN"),
    ],
)
def test_floats_beyond_the_range_are_refused(
    painter: Painter, kind: Callable[[Any], Any], value: float, message: str
) -> None:
    pixels = np.full((24, 32, 3), 0.5, dtype=np.float32)
    pixels[0, 0, 0] = value
    content = torch.from_numpy(pixels).permute(2, 0, 1) if kind is torch.tensor else pixels
    with pytest.raises(ValueError) as error:
        painter(content, "wave")
    assert message in str(error.value)


def test_a_rounding_beyond_the_range_is_taken(painter: Painter) -> None:
    content = torch.full((3, 24, 32), 1.00001)
    assert painter(content, "wave").max() <= 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((3, 24, 32), np.uint8), "moveaxis(content, -3, -1)"),
        (np.zeros((24, 32, 4), np.float32), "leaves out the alpha channel"),
        (np.zeros((24, 32, 5), np.uint8), "not [24, 32, 5]"),
        (np.zeros((0, 32, 3), np.uint8), "not [0, 32, 3]"),
        (np.zeros((24, 32, 3), np.int64), "not int64"),
        (np.array("photo.jpg"), "uint8, or floating"),
        (None, "not NoneType"),
        (b"photo.jpg", "not bytes"),
        ({"photo": 1}, "not dict"),
        ([[0.1, 0.2]], "not float"),
    ],
)
def test_what_is_no_picture_is_refused(painter: Painter, content: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        painter(content, "wave")
    assert message in str(error.value)


@pytest.mark.parametrize(
    "number", [np.float32, np.float64, np.float16, np.array, torch.tensor, lambda w: np.array([w])]
)
def test_numbers_of_numpy_and_torch_are_weights(
    painter: Painter, photo: Image.Image, number: Callable[[float], Any]
) -> None:
    expected = painter(photo, {"wave": 0.25, "candy": 0.75})
    painted = painter(photo, {"wave": number(0.25), np.str_("candy"): number(0.75)})
    assert np.array_equal(painted, expected)
    assert np.array_equal(painter(photo, {"wave": np.int64(1)}), painter(photo, "wave"))


@pytest.mark.parametrize("weight", [np.array([0.1, 0.2]), torch.zeros(2), np.float32("nan"), "1"])
def test_what_is_no_number_is_no_weight(painter: Painter, photo: Image.Image, weight: Any) -> None:
    with pytest.raises(ValueError, match="the weight of wave must be a number"):
        painter(photo, {"wave": weight})


def test_strings_of_numpy_are_names(painter: Painter, photo: Image.Image) -> None:
    expected = painter(photo, ["wave", "candy"])
    names = np.array(["wave", "candy"])
    assert np.array_equal(painter(photo, names[0]), expected[0])
    for styles in (names, list(names), tuple(names)):
        assert all(map(np.array_equal, painter(photo, styles), expected))


@pytest.mark.parametrize(
    "form", ["path", "bool", "uint8", "float", "tensor", "tensor of one channel"]
)
def test_masks_are_taken_in_every_form(
    painter: Painter, photo: Image.Image, tmp_path: Path, form: str
) -> None:
    white = np.zeros((24, 32), bool)
    white[:, :16] = True
    image = Image.fromarray(white.astype(np.uint8) * 255)
    image.save(tmp_path / "mask.png")
    mask = {
        "path": str(tmp_path / "mask.png"),
        "bool": white,
        "uint8": np.asarray(image),
        "float": white.astype(np.float32),
        "tensor": torch.from_numpy(white),
        "tensor of one channel": torch.from_numpy(white)[None].float(),
    }[form]
    expected = painter(photo, "candy", masks=[(image, "wave")])
    assert np.array_equal(painter(photo, "candy", masks=[(mask, np.str_("wave"))]), expected)
    assert not np.array_equal(expected, painter(photo, "candy"))


@pytest.mark.parametrize(
    "mask", [None, np.zeros((24, 32), int), np.zeros((24, 32, 3)), torch.full((24, 32), 255.0)]
)
def test_what_is_no_mask_is_refused(mask: Any) -> None:
    with pytest.raises(ValueError, match=r"mask must|must be in \[0, 1\]"):
        as_mask(mask)


def test_no_input_is_changed(painter: Painter) -> None:
    array, tensor = np.full((24, 32, 3), 0.5), torch.full((3, 24, 32), 0.5)
    for content in (array, tensor):
        painted: np.ndarray | Tensor = painter(content, "wave", strength=0.0, by_pixels=True)
        painted[:] = 0
        assert (content == 0.5).all()
