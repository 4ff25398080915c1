"""Painting photos with a trained network: the command, and what it does."""

import io
import shlex
import struct
import subprocess
import sys
from pathlib import Path

import fork_server
import numpy as np
import pytest
import torch
from drawing import noise, photo_like, plain, touch
from make_damaged_images import encoded
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base
from profiles import PROPHOTO
from test_color_profiles import WIDE, same_look
from test_video import read_frames, read_sounds, write_clip

from polystyle.data.color_profiles import srgb_profile
from polystyle.data.images import formats, load_image
from polystyle.data.samples import to_float
from polystyle.networks.model_file import PRETRAINED_FILE, Model, load_model, save_model
from polystyle.networks.style_pack import extract_style, save_style_pack
from polystyle.networks.transformer_net import TransformerNet
from polystyle.painting import video
from polystyle.painting.painter import Painter
from polystyle.painting.video import is_video
from polystyle.stylize import main

STYLE_NAMES = ["wave", "starry_night", "candy", "photo"]
PAINTED = STYLE_NAMES[:3]


@pytest.fixture(scope="module")
def net() -> TransformerNet:
    """A small network of random weights, in which the styles differ."""
    torch.manual_seed(0)
    net = TransformerNet(4, width=0.125).eval()
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


def run(model: Path, *arguments: str | Path) -> subprocess.CompletedProcess:
    """The command with a network, in a process of its own."""
    command = [sys.executable, "-m", "polystyle.stylize", *arguments, "--model", model]
    return fork_server.run(command)


def command(*arguments: str | Path) -> int | str:
    """The command, in this process: its exit status, or the message that it exits with."""
    sys.argv = ["polystyle-stylize", *map(str, arguments)]
    with pytest.raises(SystemExit) as leaving:
        main()
    return leaving.value.code


def stylize(model: Path, *arguments: str | Path) -> int | str:
    """As `command`, with a network."""
    return command(*arguments, "--model", model)


@pytest.fixture(autouse=True)
def arguments_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)


def one_line_of(model: Path, *arguments: str | Path) -> str:
    """The message with which the command, given a network, ends in exit status 1."""
    return checked_line(stylize(model, *arguments))


def checked_line(message: int | str) -> str:
    """One line of the command; `sys.exit` prints it and makes the exit status 1."""
    assert isinstance(message, str)
    assert message.startswith("polystyle-stylize: ")
    assert "\n" not in message
    return message


# ---- The command ----------------------------------------------------------------------------


def test_two_styles_whose_pictures_share_a_name_do_not_replace_each_other(
    net: TransformerNet, tmp_path: Path
) -> None:
    names = ["a?b", "a*b", *STYLE_NAMES[2:]]
    save_model(tmp_path / "model.safetensors", Model(net, names))
    photo = make_photo(tmp_path / "photo.png", 40, 32)
    for overwrite in ([], ["--overwrite"]):
        arguments = [photo, "--style", "a?b", "--style", "a*b", "--output", tmp_path / "out"]
        arguments += ["--scale", "native", *overwrite]
        assert stylize(tmp_path / "model.safetensors", *arguments) == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["photo-a_b-native.png"]
    with Image.open(tmp_path / "out/photo-a_b-native.png") as picture:
        difference = np.abs(np.asarray(picture) - expected(net, photo, STYLE_NAMES[0]))
    assert difference.mean() < 1


@pytest.mark.slow
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


@pytest.mark.slow
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
    help_command = [sys.executable, "-X", "importtime", "-m", "polystyle.stylize", "--help"]
    result = subprocess.run(help_command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {"torch", "torchvision", "numpy", "PIL", "lightning"}
    example = "polystyle-stylize photo.jpg --style starry_night\n"
    assert example in result.stdout
    assert "--style all" in result.stdout


def test_a_missing_file_or_style_is_one_line(model: Path, tmp_path: Path) -> None:
    photo = make_photo(tmp_path / "photo.png", 20, 20)
    rest = (photo, "--style", "wave", "--output", tmp_path / "painted")
    missing = tmp_path / "missing.safetensors"
    assert one_line_of(missing, *rest).endswith(f"there is no model file {missing}")
    assert "photo.png is a picture, not a network: name the folder of a run" in one_line_of(
        photo, *rest
    )
    message = one_line_of(model, photo, "--style", "zzz", "--output", tmp_path)
    assert message.endswith("there is no style 'zzz': wave, starry_night, candy, photo")
    message = one_line_of(model, photo, "--style", "wave", "--output", photo)
    assert str(photo) in message
    assert not (tmp_path / "painted").exists()


def test_photos_stand_anywhere_among_the_flags(model: Path, tmp_path: Path) -> None:
    first, second, third = (make_photo(tmp_path / f"{name}.png", 20, 20) for name in "abc")
    output = tmp_path / "painted"
    arguments = (first, "--model", model, "--style", "wave", second, "--output", output)
    assert command(*arguments, "--style", "candy", third, "--raw") == 0
    names = {f"{name}-{style}.png" for name in "abc" for style in ("wave", "candy")}
    assert set(painted(output)) == names


def test_a_runs_folder_does_for_a_model_file(model: Path, tmp_path: Path) -> None:
    photo = make_photo(tmp_path / "photo.png", 20, 20)
    for number, network in enumerate((model, model.parent)):
        arguments = (photo, "--style", "wave", "--output", tmp_path / str(number))
        assert stylize(network, *arguments) == 0
    by_file, by_folder = (pixels(tmp_path / name / "photo-wave.png") for name in "01")
    assert np.array_equal(by_file, by_folder)
    message = one_line_of(tmp_path / "0", photo, "--style", "wave")
    assert f"{tmp_path / '0'} is a folder of pictures, not a network: name the folder" in message


def test_a_network_among_the_photos_is_named_in_one_line(model: Path, tmp_path: Path) -> None:
    photo = make_photo(tmp_path / "my photos" / "photo.png", 20, 20)
    pack = photo.with_name("my wave.safetensors")
    save_style_pack(pack, extract_style(load_model(model), "wave"))
    for arguments, network in (
        # The model first was the order of polystyle 0.1.
        ((model, photo), model),
        ((photo, model, "--model", model), model),
        ((photo, model.parent), model.parent),
        ((photo, pack, "--model", model), pack),
    ):
        output = tmp_path / "painted"
        message = checked_line(command(*arguments, "--style", "wave", "--output", output))
        kinds = {model: "a network", model.parent: "the folder of a run", pack: "a style pack"}
        hint = f"name it with --model {shlex.quote(str(network))}"
        if network == pack:
            hint = "polystyle-styles merge adds it to its network"
        kind = kinds[network]
        assert message == f"polystyle-stylize: {network} is {kind}, not a picture: {hint}"
        assert not output.exists()


def test_without_a_network_it_paints_with_the_one_that_ships(tmp_path: Path) -> None:
    photo = make_photo(tmp_path / "photo.png", 40, 30)
    assert command(photo, "--style", "starry_night", "--output", tmp_path / "painted") == 0
    painted = Painter(load_model(PRETRAINED_FILE))(Image.open(photo), "starry_night")
    with Image.open(tmp_path / "painted/photo-starry_night.png") as picture:
        assert picture.tobytes() == painted.tobytes()


def test_exit_status_is_0_when_every_photo_was_painted(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = make_photo(tmp_path / "photo.png", 20, 20)
    assert stylize(model, photo, "--style", "wave", "--output", tmp_path / "painted") == 0
    assert capsys.readouterr().err == ""
    assert painted(tmp_path / "painted") == {"photo-wave.png": (20, 20)}


# ---- What is painted ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(333, 500), (16, 17), (101, 57), (64, 64)])
def test_pictures_are_what_the_network_paints(
    size: tuple[int, int], net: TransformerNet, model: Path, tmp_path: Path
) -> None:
    photo = make_photo(tmp_path / "photo.png", *size)
    output = tmp_path / "painted"
    assert stylize(model, photo, "--style", "all", "--scale", "native", "--output", output) == 0
    wholes = {name: expected(net, photo, name) for name in PAINTED}
    for name, whole in wholes.items():
        # The styles differ by enough to tell them apart.
        assert all(
            abs(whole - other).mean() > 5 for style, other in wholes.items() if style != name
        )
        with Image.open(output / f"photo-{name}-native.png") as image:
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
    output = tmp_path / "painted"
    assert stylize(model, photo, "--style", "candy", "--scale", "native", "--output", output) == 0
    with Image.open(output / f"photo-candy-native{extension}") as image:
        # JPEG and WebP keep the mean of a block of pixels.
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
    assert stylize(model, *photos, "--style", "all", "--output", tmp_path / "painted") == 0
    sizes = painted(tmp_path / "painted")
    # The labelled sheet of each photo.
    assert sizes.pop("a-all.png")[0] > 2 * 21
    assert sizes.pop("b-all.png")[0] > 2 * 40
    assert sizes == {f"a-{name}.png": (21, 34) for name in PAINTED} | {
        f"b-{name}.png": (40, 60) for name in PAINTED
    }
    # The stylized picture has no tag that would turn it again.
    with Image.open(tmp_path / "painted" / "b-wave.png") as image:
        assert 0x0112 not in image.getexif()


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "CMYK"])
def test_photos_of_every_mode_are_painted(mode: str, model: Path, tmp_path: Path) -> None:
    name = "photo.tif" if mode == "CMYK" else "photo.png"
    Image.new(mode, (20, 18), 1).save(tmp_path / name)
    output = tmp_path / "painted"
    assert stylize(model, tmp_path / name, "--style", "wave", "--output", output) == 0
    assert painted(output) == {f"photo-wave{Path(name).suffix}": (20, 18)}


@pytest.mark.parametrize("extension", [".png", ".webp", ".tif"])
def test_transparency_is_kept(extension: str, model: Path, tmp_path: Path) -> None:
    photo = Image.new("RGBA", (40, 32), "orange")
    alpha = Image.linear_gradient("L").resize((40, 32))
    photo.putalpha(alpha)
    photo.save(tmp_path / f"photo{extension}", lossless=True)
    output = tmp_path / "painted"
    assert (
        stylize(model, tmp_path / f"photo{extension}", "--style", "wave", "--output", output) == 0
    )
    with Image.open(output / f"photo-wave{extension}") as image:
        assert image.mode == "RGBA"
        kept = np.asarray(image.getchannel("A"), dtype=int)
    assert abs(kept - np.asarray(alpha, dtype=int)).max() <= 1


def save_like_its_twin(path: Path, **options: object) -> Path:
    """A photo in a wide profile's encoding, which looks like ``twin.png`` beside it in sRGB."""
    twin = photo_like(6, 6).resize((48, 48), Image.Resampling.BICUBIC)
    twin.save(path.with_name("twin.png"))
    same_look(twin, PROPHOTO, 1.8).save(path, icc_profile=WIDE, **options)
    return path


def test_a_photo_with_a_profile_is_painted_as_its_twin_in_srgb(model: Path, tmp_path: Path) -> None:
    photo = save_like_its_twin(tmp_path / "photo.png")
    untagged = tmp_path / "untagged.png"
    with Image.open(photo) as image:
        Image.fromarray(np.asarray(image)).save(untagged)
    photos = (photo, tmp_path / "twin.png", untagged)
    # Of strength 0, which is the photo.
    options = ("--style", "wave", "--strength", "0", "--output", tmp_path / "painted")
    assert stylize(model, *photos, *options) == 0
    tagged, twin, other = (
        pixels(tmp_path / "painted" / f"{path.stem}-wave-strength0.png") for path in photos
    )
    assert abs(tagged - twin).mean() < 1.5
    assert abs(other - twin).mean() > 6


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_results_are_tagged_as_srgb_whatever_the_photo_says(
    suffix: str, model: Path, tmp_path: Path
) -> None:
    photos = [
        make_photo(tmp_path / f"none{suffix}", 20, 20),
        make_photo(tmp_path / f"wide{suffix}", 20, 20, icc_profile=WIDE),
        make_photo(tmp_path / f"broken{suffix}", 20, 20, icc_profile=b"no profile"),
    ]
    assert stylize(model, *photos, "--style", "wave", "--output", tmp_path / "painted") == 0
    for photo in photos:
        with Image.open(tmp_path / "painted" / f"{photo.stem}-wave{suffix}") as image:
            tag = image.info["icc_profile"]
            assert tag == srgb_profile()
            assert len(tag) < 1000
            profile = ImageCms.ImageCmsProfile(io.BytesIO(tag))
            assert "sRGB" in ImageCms.getProfileDescription(profile)


def photo_tags() -> Image.Exif:
    tags = Image.Exif()
    tags[Base.Orientation] = 6
    tags[Base.Copyright] = "(c) Berthe Morisot"
    tags[Base.Make] = "Camera & Sons"
    tags[IFD.Exif] = {Base.DateTimeOriginal: "2024:05:06 07:08:09", Base.ColorSpace: 65535}
    tags[IFD.GPSInfo] = {1: "N", 2: (48.0, 51.0, 30.0)}
    return tags


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_exif_and_dpi_travel_to_the_painting_without_orientation(
    suffix: str, model: Path, tmp_path: Path
) -> None:
    photo = make_photo(
        tmp_path / f"photo{suffix}", 30, 20, exif=photo_tags().tobytes(), dpi=(300, 300)
    )
    options = ("--style", "wave", "--style", "candy", "--output", tmp_path / "painted")
    assert stylize(model, photo, *options) == 0
    for style in ("wave", "candy"):
        with Image.open(tmp_path / "painted" / f"photo-{style}{suffix}") as image:
            assert image.size == (20, 30)
            tags = image.getexif()
            assert Base.Orientation not in tags
            assert tags[Base.Copyright] == "(c) Berthe Morisot"
            assert tags[Base.Make] == "Camera & Sons"
            exposure = tags.get_ifd(IFD.Exif)
            assert exposure[Base.DateTimeOriginal] == "2024:05:06 07:08:09"
            assert exposure[Base.ColorSpace] == 1
            assert tags.get_ifd(IFD.GPSInfo)[2] == (48.0, 51.0, 30.0)
            if suffix != ".webp":  # which has no place for it
                assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_an_embedded_thumbnail_and_damaged_metadata_stay_behind(
    model: Path, tmp_path: Path
) -> None:
    thumbnail = encoded(Image.new("RGB", (16, 16), "red"), "JPEG")
    ifd1 = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 56, 0x0202, 4, 1, len(thumbnail), 0)
    ifd0 = struct.pack("<HHHIII", 1, 0x0112, 3, 1, 6, 26)
    tags = b"Exif\0\0II*\0\x08\0\0\0" + ifd0 + ifd1 + thumbnail
    with_thumbnail = make_photo(tmp_path / "a.jpg", 30, 20, exif=tags)
    assert thumbnail in with_thumbnail.read_bytes()
    damaged = make_photo(tmp_path / "b.jpg", 30, 20, exif=b"Exif\0\0II*\0\xff\xff\0\0")
    odd_dpi = make_photo(tmp_path / "c.bmp", 30, 20, dpi=(1e7, 0))
    photos = (with_thumbnail, damaged, odd_dpi)
    options = ("--style", "wave", "--format", "jpg", "--output", tmp_path / "painted")
    assert stylize(model, *photos, *options) == 0
    assert painted(tmp_path / "painted") == {
        "a-wave.jpg": (20, 30),
        "b-wave.jpg": (30, 20),
        "c-wave.jpg": (30, 20),
    }
    assert thumbnail not in (tmp_path / "painted" / "a-wave.jpg").read_bytes()
    with Image.open(tmp_path / "painted" / "c-wave.jpg") as image:
        assert "dpi" not in image.info


def test_folders_and_patterns_are_looked_into(model: Path, tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "c.webp"):
        make_photo(tmp_path / "photos" / name, 16, 16)
    (tmp_path / "photos" / "notes.txt").write_text("not a picture")
    output = tmp_path / "painted"
    assert stylize(model, tmp_path / "photos", "--style", "wave", "--output", output) == 0
    assert set(painted(output)) == {"a-wave.jpg", "b-wave.png", "c-wave.webp"}
    pattern = tmp_path / "photos" / "[ab].*"
    assert stylize(model, pattern, "--style", "candy", "--output", tmp_path / "more") == 0
    assert set(painted(tmp_path / "more")) == {"a-candy.jpg", "b-candy.png"}
    assert "nothing matches" in one_line_of(model, tmp_path / "*.gif", "--style", "wave")
    (tmp_path / "empty").mkdir()
    message = one_line_of(model, tmp_path / "empty", "--style", "wave")
    assert message.endswith(f"there is no picture in {tmp_path / 'empty'}")


def test_photos_that_cannot_be_painted_are_reported(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [
        tmp_path / "missing.png",
        make_photo(tmp_path / "tiny.png", 15, 40),
        make_photo(tmp_path / "good.png", 16, 16),
        make_photo(tmp_path / "cut.png", 17, 17),
    ]
    photos[3].write_bytes(photos[3].read_bytes()[:200])
    output = tmp_path / "painted"
    options = ("--style", "wave", "--scale", "native", "--output", output)
    assert stylize(model, *photos, *options) == 1
    complaints = capsys.readouterr().err.strip().splitlines()
    assert len(complaints) == 3
    for name in ("missing.png", "tiny.png", "cut.png"):
        assert sum(str(tmp_path / name) in complaint for complaint in complaints) == 1
    assert painted(output) == {"good-wave-native.png": (16, 16)}


def test_nothing_is_overwritten_unless_asked_to(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = make_photo(tmp_path / "photo.png", 20, 20)
    output = tmp_path / "painted"
    output.mkdir()
    (output / "photo-wave.png").write_bytes(b"precious")
    arguments = (model, photo, "--style", "wave", "--style", "candy", "--output", output)
    assert stylize(*arguments) == 1
    captured = capsys.readouterr()
    assert f"{output / 'photo-wave.png'} is there already" in captured.err
    assert "--overwrite" in captured.err
    assert f"Painted {output / 'photo-candy.png'}" in captured.out
    assert (output / "photo-wave.png").read_bytes() == b"precious"
    assert (output / "photo-candy.png").exists()
    assert stylize(*arguments, "--overwrite") == 0
    assert set(painted(output)) == {"photo-wave.png", "photo-candy.png"}


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_photos_of_one_name_do_not_replace_each_other(
    overwrite: list[str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [
        make_photo(tmp_path / "monday" / "photo.png", 20, 20),
        make_photo(tmp_path / "tuesday" / "photo.png", 30, 30),
    ]
    output = tmp_path / "painted"
    assert stylize(model, *photos, "--style", "wave", "--output", output, *overwrite) == 1
    assert "photo-wave.png" in capsys.readouterr().err
    assert painted(output) == {"photo-wave.png": (20, 20)}


def test_a_picture_that_cannot_be_written_leaves_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(self: Image.Image, path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    photo = make_photo(tmp_path / "photo.png", 20, 20)
    monkeypatch.setattr(Image.Image, "save", cut_short)
    assert stylize(model, photo, "--style", "wave", "--output", tmp_path / "painted") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


@pytest.mark.parametrize("name", ["../../x", "a/b", "C:\\x", "a\nb"])
def test_a_hostile_style_name_is_refused(net: TransformerNet, tmp_path: Path, name: str) -> None:
    save_model(tmp_path / "model.safetensors", Model(net, [name, "b", "c", "d"]))
    photo = make_photo(tmp_path / "photo.png", 20, 20)
    message = stylize(tmp_path / "model.safetensors", photo, "--style", "all")
    assert message.endswith(f"the style name {name!r} is not fit for a file's name")
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "photo.png"}


def test_characters_that_windows_forbids_become_underscores(
    net: TransformerNet, tmp_path: Path
) -> None:
    save_model(tmp_path / "model.safetensors", Model(net, ["Monet: Lilies", "who?", "c", "d"]))
    photo = make_photo(tmp_path / "photo.png", 20, 20)
    arguments = ("--style", "all", "--output", tmp_path / "painted")
    assert stylize(tmp_path / "model.safetensors", photo, *arguments) == 0
    assert set(painted(tmp_path / "painted")) == {
        f"photo-{name}.png" for name in ("Monet_ Lilies", "who_", "c", "d", "all")
    }


def test_no_folder_is_left_if_nothing_was_painted(model: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_text("no picture")
    output = tmp_path / "painted"
    assert stylize(model, tmp_path / "photo.png", "--style", "all", "--output", output) == 1
    assert not output.exists()


# ---- Photos that are not what they are called --------------------------------------------------


def test_the_result_has_a_format_that_can_hold_it(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clear = plain("RGBA", (200, 100, 50, 128))
    flic = struct.pack("<IHHHHHH", 128 + 16, 0xAF11, 1, 24, 16, 8, 0) + bytes(112)
    flic += struct.pack("<IHH8x", 16, 0xF1FA, 0)
    files = {
        # An alpha channel, which no JPEG and no BMP has.
        "alpha.jpg": (encoded(clear, "PNG"), "alpha-wave.png"),
        "alpha.bmp": (encoded(clear, "PNG"), "alpha-wave.png"),
        "clear.webp": (encoded(clear, "WEBP"), "clear-wave.webp"),
        # Another format than the name says.
        "opaque.jpg": (encoded(noise((24, 16), 1), "PNG"), "opaque-wave.jpg"),
        "UPPER.JPG": (encoded(noise((24, 16), 1), "JPEG"), "UPPER-wave.JPG"),
        # No extension, or none of a picture.
        "jpeg": (encoded(noise((24, 16), 1), "JPEG"), "jpeg-wave.jpg"),
        "png": (encoded(noise((24, 16), 1), "PNG"), "png-wave.png"),
        "scan 2024.05": (encoded(noise((24, 16), 1), "WEBP"), "scan 2024.05-wave.webp"),
        "depth.mpo": (encoded(noise((24, 16), 1), "MPO"), "depth-wave.jpg"),
        # Formats that Pillow doesn't write, or writes as icons.
        "clip.fli": (flic, "clip-wave.png"),
        "icon.ico": (encoded(noise((24, 16), 1), "ICO", sizes=[(24, 16)]), "icon-wave.png"),
        "old.xbm": (encoded(plain("1", 1), "XBM"), "old-wave.png"),
    }
    names = set()
    for name, (content, result) in files.items():
        (tmp_path / name).write_bytes(content)
        output = tmp_path / "painted" / name
        assert stylize(model, tmp_path / name, "--style", "wave", "--output", output) == 0, name
        assert painted(output) == {result: (24, 16)}, name
        names.add(name)
    assert capsys.readouterr().err == ""


def test_nothing_is_painted_that_cannot_be_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("painted before the format was known")

    photo = tmp_path / "wide.png"
    Image.new("RGB", (16400, 16)).save(photo)
    monkeypatch.setattr("polystyle.painting.painter.Painter.__call__", fail)
    options = ("--style", "wave", "--output", tmp_path / "painted")
    assert stylize(model, photo, *options, "--format", "webp") == 1


def test_format_and_quality_are_those_asked_for(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = make_photo(tmp_path / "photo.png", 60, 60)
    sizes = {}
    for quality in ("30", "90"):
        for kind in ("jpg", ".WEBP"):
            output = tmp_path / quality
            options = ("--format", kind, "--quality", quality, "--output", output)
            assert stylize(model, photo, "--style", "wave", *options) == 0
        assert painted(output) == {"photo-wave.jpg": (60, 60), "photo-wave.webp": (60, 60)}
        sizes[quality] = {path.name: path.stat().st_size for path in output.iterdir()}
    assert all(sizes["30"][name] < 0.7 * size for name, size in sizes["90"].items())
    assert capsys.readouterr().err == ""

    clear = tmp_path / "clear.png"
    plain("RGBA", (200, 100, 50, 0)).save(clear)
    options = ("--format", "jpg", "--output", tmp_path / "flat")
    assert stylize(model, clear, "--style", "wave", *options) == 0
    assert pixels(tmp_path / "flat" / "clear-wave.jpg").min() >= 253
    message = f"polystyle-stylize: {clear}: its transparent areas are white: a .jpg holds no"
    assert message in capsys.readouterr().err


def test_photos_whose_results_have_one_name_do_not_replace_each_other(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [make_photo(tmp_path / f"photo.{kind}", 20, 20) for kind in ("png", "webp", "bmp")]
    options = ("--style", "wave", "--format", "jpg", "--overwrite")
    assert stylize(model, *photos, *options, "--output", tmp_path / "painted") == 1
    failures = capsys.readouterr().err.splitlines()
    assert len(failures) == 2
    assert all("painted from another photo of the same name" in line for line in failures)


def test_the_same_photo_is_painted_once(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = make_photo(tmp_path / "photos" / "photo.png", 20, 20)
    monkeypatch.chdir(tmp_path)
    spellings = ("photos/photo.png", "photos", photo, "photos/../photos/photo.png", "photos/*.png")
    output = tmp_path / "painted"
    assert stylize(model, *spellings, "--style", "wave", "--output", output) == 0
    assert painted(output) == {"photo-wave.png": (20, 20)}


@pytest.mark.parametrize("letter", ["a", "é", "日"])
def test_long_names_are_shortened_and_stay_different(
    letter: str, model: Path, tmp_path: Path
) -> None:
    longest = letter * (250 // len(letter.encode()))
    photos = [make_photo(tmp_path / f"{longest[:-1]}{end}.png", 20, 20) for end in "xy"]
    output = tmp_path / "painted"
    options = ("--style", "wave", "--style", "candy", "--keep-colors", "--output", output)
    assert stylize(model, *photos, *options) == 0
    names = set(painted(output))
    assert len(names) == 4
    assert {name[-16:] for name in names} == {"-wave-colors.png", "candy-colors.png"}
    assert all(name.startswith(letter * 50) for name in names)
    # The same photo has the same name again.
    assert stylize(model, *photos, *options, "--overwrite") == 0
    assert set(painted(output)) == names


def test_what_a_folder_holds_and_is_not_painted_is_told_in_one_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_photo(tmp_path / "photos" / "photo.png", 20, 20)
    others = ["IMG_1.HEIC", "IMG_2.heic", "a.CR3", "b.jxl", "c.mov", "d.txt", "noext", ".hidden"]
    touch(tmp_path / "photos", *others, "trip/photo.png", "trip/more/photo.png")
    (tmp_path / "photos" / "link").symlink_to(tmp_path / "photos" / "trip")
    options = ("--style", "wave", "--output", tmp_path / "painted")
    assert stylize(model, tmp_path / "photos", *options) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"polystyle-stylize: Not read in {tmp_path / 'photos'}: 2 .heic")
    if "HEIF" not in formats():
        assert "2 .heic (to read them: pip install 'polystyle[heif]')" in line
    convert = "(convert them to JPEG or PNG)"
    for kind in (f"1 .cr3 {convert}", f"1 .jxl {convert}", "1 .mov (videos)", "1 .txt"):
        assert kind in line
    for kind in ("1 without an extension", "1 subfolder", "1 link to a folder"):
        assert kind in line

    pattern = tmp_path / "photos" / "*o*"  # photo.png, c.mov, noext and trip are left
    (tmp_path / "photos" / "c.mov").unlink()
    (tmp_path / "photos" / "noext").unlink()
    (tmp_path / "photos" / "trip").rename(tmp_path / "photos" / "tour")
    assert stylize(model, pattern, *options, "--overwrite") == 0
    assert "1 folder" in capsys.readouterr().err


def test_a_folder_with_nothing_to_read_says_what_it_holds(model: Path, tmp_path: Path) -> None:
    touch(tmp_path / "photos", "IMG_1.HEIC", "clip.mp4")
    message = one_line_of(model, tmp_path / "photos", "--style", "wave")
    assert "there is no picture in" in message
    assert "1 .mp4 (videos)" in message


def test_a_raw_file_is_refused_instead_of_its_preview(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = make_photo(tmp_path / "photo.tif", 20, 20).rename(tmp_path / "photo.NEF")
    heic = tmp_path / "photo.heic"
    heic.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    assert stylize(model, raw, heic, "--style", "wave", "--output", tmp_path / "painted") == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "camera's raw file: convert it" in first
    if "HEIF" not in formats():
        assert "HEIC needs the package pillow-heif: pip install 'polystyle[heif]'" in second


# ---- Animations and videos ---------------------------------------------------------------------


def write_animation(path: Path, mode: str = "RGB", **options: object) -> Path:
    frames = [photo_like(8, 6, seed).resize((48, 36)).convert(mode) for seed in range(4)]
    if mode == "RGBA":
        for number, frame in enumerate(frames):
            alpha = np.zeros((36, 48), dtype=np.uint8)
            alpha[:, number * 8 + 4 :] = 255
            frame.putalpha(Image.fromarray(alpha))
    first, *rest = frames
    durations = [100, 200, 300, 40]
    first.save(path, save_all=True, append_images=rest, duration=durations, loop=3, **options)
    return path


def read_animation(path: Path) -> tuple[list[Image.Image], list[float], int]:
    """The frames in RGBA, their durations, and the repetitions."""
    frames, durations = [], []
    with Image.open(path) as image:
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(image.convert("RGBA"))
            durations.append(image.info["duration"])
        return frames, durations, image.info["loop"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_are_painted_frame_by_frame(
    suffix: str, mode: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disposal = 2 if (suffix, mode) == (".gif", "RGBA") else 0
    source = write_animation(tmp_path / f"clip{suffix}", mode, lossless=True, disposal=disposal)
    output = tmp_path / "painted"
    options = ("--style", "wave", "--smoothing", "0", "--output", output)
    assert stylize(model, source, *options) == 0
    assert capsys.readouterr().err == ""
    frames, durations, loop = read_animation(output / f"clip-wave{suffix}")
    originals, *timing = read_animation(source)
    assert [durations, loop] == timing
    for number, (frame, original) in enumerate(zip(frames, originals, strict=True)):
        assert np.array_equal(frame.getchannel("A"), original.getchannel("A"))
        original.save(tmp_path / f"{number}.png")
        assert stylize(model, tmp_path / f"{number}.png", "--style", "wave", *options[2:]) == 0
        alone = pixels(output / f"{number}-wave.png")
        shown = np.asarray(original.getchannel("A")) > 0
        difference = abs(np.asarray(frame.convert("RGB"), dtype=float) - alone)[shown]
        assert difference.mean() < (12 if suffix == ".gif" else 8)  # a GIF has 256 colours


def test_of_pages_and_where_no_animation_is_wanted_the_first_is_painted_and_said(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = write_animation(tmp_path / "pages.tif")
    animation = write_animation(tmp_path / "clip.gif")
    output = tmp_path / "painted"
    assert stylize(model, pages, "--style", "wave", "--output", output) == 0
    said = "only the first of its pictures is painted"
    assert capsys.readouterr().err == f"polystyle-stylize: {pages}: {said}\n"
    options = ("--style", "wave", "--format", "jpg", "--overwrite", "--output", output)
    assert stylize(model, pages, animation, *options) == 0
    assert f"2 files, {pages} for example: {said}" in capsys.readouterr().err
    assert set(painted(output)) == {"pages-wave.tif", "pages-wave.jpg", "clip-wave.jpg"}
    assert stylize(model, animation, "--sweep", "wave", "candy", "--output", output) == 0
    assert said in capsys.readouterr().err
    # The depth map of a phone's photo is no second picture.
    depth = write_animation(tmp_path / "depth.mpo")
    assert stylize(model, depth, "--style", "wave", "--output", output) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["clip.mpg", "clip.ts", "clip.flv", "clip", "clip.jpg"])
def test_videos_are_known_by_their_content(name: str, model: Path, tmp_path: Path) -> None:
    suffix = Path(name).suffix if name not in ("clip", "clip.jpg") else ".mp4"
    kind = {".flv": "flv"}.get(suffix, "libx264")
    clip = write_clip(tmp_path / f"written{suffix}", encoder=kind, sounds=()).rename(
        tmp_path / name
    )
    output = tmp_path / "painted"
    assert stylize(model, clip, "--style", "wave", "--output", output) == 0
    assert [path.name for path in output.iterdir()] == ["clip-wave.mp4"]
    assert len(read_frames(output / "clip-wave.mp4")) == 8


def test_pictures_and_texts_are_no_videos(tmp_path: Path) -> None:
    write_animation(tmp_path / "a.gif")
    make_photo(tmp_path / "b.mp4.png", 20, 20).rename(tmp_path / "b.mp4")
    (tmp_path / "c.txt").write_text("a text\n" * 200)
    (tmp_path / "d.jpg").write_bytes(encoded(noise((24, 16), 0), "JPEG")[:300])
    (tmp_path / "e.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    names = [path for path in sorted(tmp_path.iterdir()) if is_video(path)]
    assert names == []
    assert not is_video(tmp_path / "missing.mp4")
    (tmp_path / "f.mp4").write_bytes(b"damaged")
    assert is_video(tmp_path / "f.mp4")


def test_a_video_without_pyav_names_what_to_install(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"a video")
    monkeypatch.setattr(video, "av", None)
    options = ("--style", "wave", "--output", tmp_path / "painted")
    assert stylize(model, tmp_path / "clip.mp4", *options) == 1
    assert "videos need PyAV: pip install 'polystyle[video]'" in capsys.readouterr().err


def test_a_videos_format_and_lost_transparency(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clear = [plain("RGBA", (200, 60, 30, 128), (48, 40))] * 3
    clip = write_clip(tmp_path / "clip.mov", clear, sounds=(), encoder="qtrle", pix_fmt="argb")
    options = ("--style", "wave", "--format", "mkv", "--output", tmp_path / "painted")
    photo = make_photo(tmp_path / "photo.png", 20, 20)
    assert stylize(model, clip, photo, *options) == 0
    assert f"{clip}: its transparency is lost" in capsys.readouterr().err
    names = {path.name for path in (tmp_path / "painted").iterdir()}
    assert names == {"clip-wave.mkv", "photo-wave.png"}


# ---- What is asked for ----------------------------------------------------------------------


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return make_photo(tmp_path / "photo.png", 48, 36)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=float)


def test_weights_make_a_blend(
    model: Path, net: TransformerNet, photo: Path, tmp_path: Path
) -> None:
    output = tmp_path / "painted"
    blend = ("--style", "starry_night:6", "--style", "wave:2", "--scale", "native")
    assert stylize(model, photo, *blend, "--output", output) == 0
    assert stylize(model, photo, *blend, "--raw", "--output", output, "--overwrite") == 0
    assert stylize(model, photo, *blend, "--output", output, "--overwrite") == 0
    content = to_float(load_image(photo))[None]
    with torch.inference_mode():
        whole = net(content, torch.tensor([[0.25, 0.75, 0.0, 0.0]]))[0].permute(1, 2, 0) * 255
    (path,) = output.iterdir()
    assert path.name == "photo-starry_night6+wave2-native.png"
    assert abs(pixels(path) - whole.numpy()).max() <= 1.01


def test_masks_paint_regions_and_the_rest(model: Path, photo: Path, tmp_path: Path) -> None:
    mask = tmp_path / "sky.png"
    Image.new("L", (48, 36), 255).save(mask)
    output = tmp_path / "painted"
    arguments = (model, photo, "--scale", "native", "--output", output)
    assert stylize(*arguments, "--mask", f"{mask}=wave", "--mask", "rest=candy") == 0
    assert stylize(*arguments, "--style", "wave") == 0
    everywhere = pixels(output / "photo-wave+candy-native.png")
    assert abs(everywhere - pixels(output / "photo-wave-native.png")).max() <= 1

    half = np.zeros((36, 48), dtype=np.uint8)
    half[:, :24] = 255
    Image.fromarray(half).save(mask)
    assert stylize(*arguments, "--mask", f"{mask}=wave", "--style", "candy", "--overwrite") == 0
    halved = pixels(output / "photo-wave+candy-native.png")
    assert abs(halved - everywhere).mean() > 1

    Image.new("L", (48, 37), 255).save(mask)
    assert stylize(*arguments, "--mask", f"{mask}=wave", "--style", "starry_night") == 1


def test_bad_masks_are_one_line(
    model: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = make_photo(tmp_path / "small.png", 20, 20)
    arguments = (model, photo, "--output", tmp_path / "painted")
    assert "FILE=STYLE" in one_line_of(*arguments, "--mask", "sky.png", "--style", "wave")
    assert "rest=NAME" in one_line_of(*arguments, "--mask", f"{mask}=wave")
    message = one_line_of(*arguments, "--mask", f"{tmp_path / 'no.png'}=wave", "--style", "candy")
    assert "no.png can't be read" in message
    message = one_line_of(*arguments, "--mask", f"{mask}=wavy", "--style", "candy")
    assert "did you mean wave?" in message
    capsys.readouterr()
    assert stylize(*arguments, "--mask", f"{mask}=wave", "--style", "candy") == 1
    (complaint,) = capsys.readouterr().err.strip().splitlines()
    assert "20 x 20 pixels, and the photo 48 x 36" in complaint


def test_a_sweep_and_a_grid_are_one_labelled_sheet(
    model: Path, photo: Path, tmp_path: Path
) -> None:
    output = tmp_path / "painted"
    arguments = (model, photo, "--output", output)
    assert stylize(*arguments, "--sweep", "wave", "candy", "--steps", "5") == 0
    assert stylize(*arguments, "--blend-grid", "wave", "candy", "starry_night", "--steps", "3") == 0
    sizes = painted(output)
    wide, high = sizes.pop("photo-wave-candy-sweep.png")
    assert wide > 5 * 48 and 36 < high < 2 * 36 + 40
    wide, high = sizes.pop("photo-wave-candy-starry_night-grid.png")
    assert 3 * 48 < wide < 4 * 48 and high > 3 * 36
    assert not sizes


def test_a_large_grid_is_painted_a_few_at_a_time(
    model: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def record(self: Painter, content: Image.Image, style: list, **_: object) -> list[Image.Image]:
        sizes.append(len(style))
        return [content] * len(style)

    monkeypatch.setattr("polystyle.painting.painter.Painter.__call__", record)
    arguments = (model, photo, "--blend-grid", "wave", "candy", "starry_night", "--steps", "7")
    assert stylize(*arguments, "--output", tmp_path / "painted") == 0
    assert sum(sizes) == 49
    assert max(sizes) <= 16


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "I;16", "CMYK"])
def test_photos_of_every_mode_have_sheets(mode: str, model: Path, tmp_path: Path) -> None:
    name = "photo.tif" if mode == "CMYK" else "photo.png"
    Image.new(mode, (500, 60), 1).save(tmp_path / name)
    arguments = (model, tmp_path / name, "--sweep", "wave", "candy", "--steps", "2")
    assert stylize(*arguments, "--output", tmp_path / "painted") == 0


def test_strength_colours_and_scale_are_in_the_name_and_in_the_picture(
    model: Path, photo: Path, tmp_path: Path
) -> None:
    output = tmp_path / "painted"
    arguments = (model, photo, "--style", "wave", "--output", output)
    for option in ([], ["--strength", "0.5"], ["--strength", "0"], ["--keep-colors"]):
        assert stylize(*arguments, *option) == 0
    assert stylize(*arguments, "--scale", "2", "--tile", "8") == 0
    assert stylize(*arguments, "--strength", "0.25", "--strength-by", "pixels") == 0
    names = {path.stem.removeprefix("photo-wave") for path in output.iterdir()}
    assert names == {"", "-strength0.5", "-strength0", "-strength0.25", "-colors", "-scale2"}
    assert np.array_equal(pixels(output / "photo-wave-strength0.png"), pixels(photo))
    full = pixels(output / "photo-wave.png")
    quarter = pixels(output / "photo-wave-strength0.25.png")
    assert abs(quarter - (0.75 * pixels(photo) + 0.25 * full)).max() <= 1.01


def test_strength_without_identity_style_says_how_to_add_it(photo: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "model.safetensors", Model(TransformerNet(1, 0.125), ["wave"]))
    arguments = (tmp_path / "model.safetensors", photo, "--style", "wave", "--strength", "0.5")
    message = one_line_of(*arguments, "--output", tmp_path / "painted")
    assert "experiment=add_styles" in message and "data.identity_style=true" in message
    assert "--strength-by pixels" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the styles are wave, starry_night, candy"),
        (["--style", "wave", "--sweep", "wave", "candy"], "one of --style, --mask, --sweep"),
        (["--style", "wave", "--style", "candy:0.5"], "give every --style a weight"),
        (["--style", "wave:much"], "'much' is not a number"),
        (["--style", "wave:nan"], "weight of wave"),
        (["--style", "wave:0"], "all 0"),
        (["--style", "wave:2", "--style", "candy:-1"], "negative"),
        (["--style", "wave", "--strength", "1.5"], "strength must be from 0 to 1"),
        (["--style", "wave", "--strength", "nan"], "strength must be from 0 to 1"),
        (["--style", "wave", "--scale", "0"], "scale must be from 0.25 to 4"),
        (["--style", "wave", "--device", "toaster"], "no device 'toaster'"),
        (["--style", "wave", "--precision", "int3"], "float32, bfloat16, float16"),
        (["--sweep", "wave", "cady"], "did you mean candy?"),
        (["--sweep", "wave", "candy", "--steps", "1"], "--steps must be from 2 to 50"),
        (["--blend-grid", "wave"], "two to four styles"),
        (["--style", "wave", "--format", "docx"], "--format must be jpg, png, webp"),
        (["--style", "wave", "--format", "pdf"], "--format must be jpg, png, webp"),
        (["--style", "wave", "--format", "ico"], "--format must be jpg, png, webp"),
        (["--style", "wave", "--format", ""], "--format must be jpg, png, webp"),
        (["--style", "wave", "--quality", "0"], "--quality must be from 1 to 100, not 0"),
        (["--style", "wave", "--quality", "101"], "--quality must be from 1 to 100, not 101"),
        (["--style", "wave", "--format", "png", "--quality", "80"], "--quality is for jpg"),
    ],
)
def test_invalid_flags_are_one_line(
    arguments: list[str], words: str, model: Path, photo: Path, tmp_path: Path
) -> None:
    output = tmp_path / "painted"
    assert words in one_line_of(model, photo, *arguments, "--output", output)
    assert not output.exists()


def test_a_video_is_painted_frame_by_frame_with_its_sound(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    arguments = (
        model,
        clip,
        "--style",
        "wave",
        "--strength",
        "0.5",
        "--output",
        tmp_path / "painted",
    )
    assert stylize(*arguments) == 0
    painted = tmp_path / "painted" / "clip-wave-strength0.5.mp4"
    assert f"Painted {painted}" in capsys.readouterr().out
    frames, originals = read_frames(painted), read_frames(clip)
    assert [frame.pts * frame.time_base for frame in frames] == [
        frame.pts * frame.time_base for frame in originals
    ]
    assert read_sounds(painted) == read_sounds(clip)
    colours = np.asarray(frames[3].to_image(), dtype=float)
    assert abs(colours - np.asarray(originals[3].to_image(), dtype=float)).mean() > 5
    assert stylize(*arguments) == 1
    assert "is there already" in capsys.readouterr().err


def test_smoothing_makes_a_frame_depend_on_those_before_it(model: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", sounds=())
    last = {}
    for smoothing in ("0", "0.9"):
        output = tmp_path / smoothing
        arguments = (model, clip, "--style", "wave", "--smoothing", smoothing)
        assert stylize(*arguments, "--output", output) == 0
        last[smoothing] = np.asarray(
            read_frames(output / "clip-wave.mkv")[-1].to_image(), dtype=float
        )
    # The clip grows brighter, which the statistics of single frames would cancel.
    assert abs(last["0"] - last["0.9"]).mean() > 2


def test_a_video_takes_no_sheets(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    assert stylize(model, clip, "--sweep", "wave", "candy", "--output", tmp_path / "painted") == 1
    assert "a video takes --style" in capsys.readouterr().err


def test_a_stopped_command_says_so(
    model: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("polystyle.painting.painter.Painter.__call__", interrupt)
    assert stylize(model, photo, "--style", "wave", "--output", tmp_path / "painted") == 130
