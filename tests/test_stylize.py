"""Painting photos with a trained network: the command, and what it does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polystyle.data import load_image, to_float
from polystyle.model_file import Model, save_model
from polystyle.stylize import choose_styles, main, stylize
from polystyle.transformer_net import TransformerNet

STYLE_NAMES = ["wave", "starry_night", "candy"]


@pytest.fixture(scope="module")
def net() -> TransformerNet:
    """A small network of random weights, in which the styles differ."""
    torch.manual_seed(0)
    net = TransformerNet(3, width=0.125).eval()
    for name, parameter in net.named_parameters():
        if name.endswith(("gamma", "beta")):
            torch.nn.init.normal_(parameter)
    return net


@pytest.fixture(scope="module")
def model(net: TransformerNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, Model(net, STYLE_NAMES))
    return path


def make_photo(path: Path, width: int, height: int, **options: object) -> Path:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def painted(folder: Path) -> dict[str, tuple[int, int]]:
    """The sizes of the pictures in a folder, by name."""
    sizes = {}
    for path in folder.iterdir():
        with Image.open(path) as image:
            assert image.format == Image.registered_extensions()[path.suffix.lower()]
            sizes[path.name] = image.size
    return sizes


def expected(net: TransformerNet, photo: Path, style_name: str) -> np.ndarray:
    """What the network paints, in levels from 0 to 255."""
    content = to_float(load_image(photo))[None]
    with torch.inference_mode():
        stylized = net(content, torch.tensor([STYLE_NAMES.index(style_name)]))
    return stylized[0].permute(1, 2, 0).mul(255).numpy()


def run(*arguments: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "polystyle.stylize", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def one_line_of(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> str:
    """What the command says on its way out with exit status 1: `sys.exit` prints a text."""
    monkeypatch.setattr(sys, "argv", ["polystyle-stylize", *map(str, arguments)])
    with pytest.raises(SystemExit) as leaving:
        main()
    message = leaving.value.code
    assert isinstance(message, str)
    assert message.startswith("polystyle-stylize: ")
    assert "\n" not in message
    return message


# ---- The command ----------------------------------------------------------------------------


def test_photos_are_painted_at_their_own_size_and_a_bad_one_stops_nothing(
    model: Path, tmp_path: Path
) -> None:
    rotated = Image.Exif()
    rotated[0x0112] = 6
    photos = [
        make_photo(tmp_path / "portrait.jpg", 333, 500),
        make_photo(tmp_path / "small.png", 16, 17),
        tmp_path / "broken.jpg",
        make_photo(tmp_path / "wide.webp", 101, 57),
        make_photo(tmp_path / "rotated.JPG", 90, 50, exif=rotated),
    ]
    photos[2].write_bytes(b"I am not a picture.\n")
    output = tmp_path / "new" / "painted"
    result = run(model, *photos, "--style", "wave", "--style", "candy", "--output", output)
    assert result.returncode == 1
    (complaint,) = result.stderr.strip().splitlines()
    assert complaint.startswith(f"polystyle-stylize: {tmp_path / 'broken.jpg'} can't be read")
    assert result.stdout.startswith("Painted 8 pictures")
    assert painted(output) == {
        "portrait-wave.jpg": (333, 500),
        "portrait-candy.jpg": (333, 500),
        "small-wave.png": (16, 17),
        "small-candy.png": (16, 17),
        "wide-wave.webp": (101, 57),
        "wide-candy.webp": (101, 57),
        "rotated-wave.JPG": (50, 90),
        "rotated-candy.JPG": (50, 90),
    }


def test_an_unknown_style_is_one_line_with_the_near_names(model: Path, tmp_path: Path) -> None:
    photo = make_photo(tmp_path / "photo.png", 20, 20)
    result = run(model, photo, "--style", "stary_night", "--output", tmp_path / "painted")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        "polystyle-stylize: there is no style 'stary_night': did you mean starry_night?\n"
    )
    assert not (tmp_path / "painted").exists()


def test_help_answers_without_loading_torch_and_shows_examples() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "polystyle.stylize", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {"torch", "torchvision", "numpy", "PIL", "lightning"}
    assert "polystyle-stylize outputs/monet/model.safetensors photo.jpg --style" in result.stdout
    assert "--style all" in result.stdout


def test_what_is_missing_is_said_in_one_line(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = make_photo(tmp_path / "photo.png", 20, 20)
    rest = (photo, "--style", "wave", "--output", tmp_path / "painted")
    missing = tmp_path / "missing.safetensors"
    assert one_line_of(monkeypatch, missing, *rest).endswith(f"there is no model file {missing}")
    assert "photo.png is damaged, or not a safetensors" in one_line_of(monkeypatch, photo, *rest)
    message = one_line_of(monkeypatch, model, photo, "--style", "zzz", "--output", tmp_path)
    assert message.endswith("there is no style 'zzz': wave, starry_night, candy")
    message = one_line_of(monkeypatch, model, photo, "--style", "wave", "--output", photo)
    assert str(photo) in message
    assert not (tmp_path / "painted").exists()


def test_exit_status_is_0_when_every_photo_was_painted(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photo = make_photo(tmp_path / "photo.png", 20, 20)
    arguments = [model, photo, "--style", "wave", "--output", tmp_path / "painted"]
    monkeypatch.setattr(sys, "argv", ["polystyle-stylize", *map(str, arguments)])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code == 0
    assert capsys.readouterr().err == ""
    assert painted(tmp_path / "painted") == {"photo-wave.png": (20, 20)}


# ---- What is painted ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(333, 500), (16, 17), (101, 57), (64, 64)])
def test_pictures_are_what_the_network_paints(
    size: tuple[int, int], net: TransformerNet, model: Path, tmp_path: Path
) -> None:
    photo = make_photo(tmp_path / "photo.png", *size)
    assert stylize(model, [photo], ["all"], tmp_path / "painted") == 0
    wholes = {name: expected(net, photo, name) for name in STYLE_NAMES}
    for name, whole in wholes.items():
        # Far from one another, so that a mixed-up style would be seen.
        assert all(
            abs(whole - other).mean() > 5 for style, other in wholes.items() if style != name
        )
        with Image.open(tmp_path / "painted" / f"photo-{name}.png") as image:
            assert image.mode == "RGB"
            pixels = np.asarray(image, dtype=float)
        assert pixels.shape == (size[1], size[0], 3)
        assert abs(pixels - whole).max() <= 1.01


@pytest.mark.parametrize("extension", [".jpg", ".webp"])
def test_lossy_pictures_are_close_to_what_the_network_paints(
    extension: str, net: TransformerNet, model: Path, tmp_path: Path
) -> None:
    photo = tmp_path / f"photo{extension}"
    Image.linear_gradient("L").resize((160, 120)).convert("RGB").save(photo)
    assert stylize(model, [photo], ["candy"], tmp_path / "painted") == 0
    with Image.open(tmp_path / "painted" / f"photo-candy{extension}") as image:
        # What JPEG and WebP lose is within blocks of pixels.
        blocks = np.asarray(image.convert("RGB").reduce(8), dtype=float)
    whole = expected(net, photo, "candy").reshape(15, 8, 20, 8, 3).mean(axis=(1, 3))
    assert abs(blocks - whole).mean() < 3


def test_each_photo_is_painted_upright_in_every_style(model: Path, tmp_path: Path) -> None:
    rotated = Image.Exif()
    rotated[0x0112] = 8
    photos = [
        make_photo(tmp_path / "a.png", 21, 34),
        make_photo(tmp_path / "b.png", 60, 40, exif=rotated),
    ]
    assert stylize(model, photos, ["all"], tmp_path / "painted") == 0
    sizes = painted(tmp_path / "painted")
    assert sizes == {f"a-{name}.png": (21, 34) for name in STYLE_NAMES} | {
        f"b-{name}.png": (40, 60) for name in STYLE_NAMES
    }
    # Nor does the painting carry a tag that would turn it again.
    with Image.open(tmp_path / "painted" / "b-wave.png") as image:
        assert 0x0112 not in image.getexif()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_photos_of_every_mode_are_painted(mode: str, model: Path, tmp_path: Path) -> None:
    Image.new(mode, (20, 18), 1).save(tmp_path / "photo.png")
    assert stylize(model, [tmp_path / "photo.png"], ["wave"], tmp_path / "painted") == 0
    assert painted(tmp_path / "painted") == {"photo-wave.png": (20, 18)}


def test_photos_that_cannot_be_painted_are_reported(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [
        tmp_path / "missing.png",
        make_photo(tmp_path / "tiny.png", 15, 40),
        tmp_path / "folder.png",
        make_photo(tmp_path / "good.png", 16, 16),
    ]
    photos[2].mkdir()
    assert stylize(model, photos, ["wave"], tmp_path / "painted") == 1
    complaints = capsys.readouterr().err.strip().splitlines()
    assert len(complaints) == 3
    for name in ("missing.png", "tiny.png", "folder.png"):
        assert sum(str(tmp_path / name) in complaint for complaint in complaints) == 1
    assert painted(tmp_path / "painted") == {"good-wave.png": (16, 16)}


def test_nothing_is_overwritten_unless_asked_to(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = make_photo(tmp_path / "photo.png", 20, 20)
    output = tmp_path / "painted"
    output.mkdir()
    (output / "photo-wave.png").write_bytes(b"precious")
    assert stylize(model, [photo], ["wave", "candy"], output) == 1
    captured = capsys.readouterr()
    assert f"{output / 'photo-wave.png'} is there already" in captured.err
    assert "--overwrite" in captured.err
    assert f"Painted {output / 'photo-candy.png'}" in captured.out
    assert (output / "photo-wave.png").read_bytes() == b"precious"
    assert (output / "photo-candy.png").exists()
    assert stylize(model, [photo], ["wave", "candy"], output, overwrite=True) == 0
    assert set(painted(output)) == {"photo-wave.png", "photo-candy.png"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_photos_of_one_name_do_not_replace_each_other(
    overwrite: bool, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [
        make_photo(tmp_path / "monday" / "photo.png", 20, 20),
        make_photo(tmp_path / "tuesday" / "photo.png", 30, 30),
    ]
    assert stylize(model, photos, ["wave"], tmp_path / "painted", overwrite) == 1
    assert "photo-wave.png" in capsys.readouterr().err
    assert painted(tmp_path / "painted") == {"photo-wave.png": (20, 20)}


def test_styles_are_chosen_once_each_in_the_order_asked() -> None:
    assert choose_styles(["candy", "wave", "candy"], STYLE_NAMES) == ["candy", "wave"]
    assert choose_styles(["all"], STYLE_NAMES) == STYLE_NAMES
    assert choose_styles(["candy", "all"], STYLE_NAMES) == ["candy", "wave", "starry_night"]
    with pytest.raises(ValueError, match=r"'Wave': did you mean wave\?"):
        choose_styles(["candy", "Wave"], STYLE_NAMES)
