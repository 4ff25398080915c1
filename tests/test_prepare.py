"""polystyle-prepare, prepared sets, and training on them."""

import io
import json
import os
import subprocess
import sys
import tarfile
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import fork_server
import numpy as np
import pytest
import torch
from drawing import touch
from PIL import Image
from torch import Tensor

from polystyle.data import prepared_set
from polystyle.data.datamodule import StyleTransferData
from polystyle.data.images import load_image
from polystyle.data.prepare_set import encode_photo, prepare_set
from polystyle.data.prepared_set import INDEX, find_photos, is_prepared, read_prepared
from polystyle.prepare import main

COLOUR = (200, 100, 50)


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Large areas of colour, which a JPEG changes little."""
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty photos, portraits and landscapes, some of them in a subfolder."""
    folder = tmp_path / "photos"
    (folder / "far").mkdir(parents=True)
    for index in range(20):
        size = (72, 48) if index % 2 else (50, 80)
        picture(*size, index).save(folder / f"{'far/' if index % 3 else ''}{index}.jpg", quality=95)
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "prepared"


def run(*arguments: object) -> subprocess.CompletedProcess:
    return fork_server.run([sys.executable, "-m", "polystyle.prepare", *arguments])


def refusal(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    """The one line with which the command fails."""
    monkeypatch.setattr(sys, "argv", ["polystyle-prepare", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert "\n" not in stop.value.code
    return stop.value.code.removeprefix("polystyle-prepare: ")


# ---- Making a prepared set ------------------------------------------------------------------


def test_the_command_prints_what_it_made_and_how_to_train_on_it(photos: Path, output: Path) -> None:
    (photos / "far" / "broken.jpg").write_bytes(b"broken")
    result = run(photos, "--output", output, "--size", 32)
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert first.startswith(f"Made {output}: 20 photos (1 skipped) in 1 shard, 0.1 MB, ")
    assert second == f"Train: polystyle-train data.content_dir={output} data.style_dir=PAINTINGS"
    skipped = f"Skipped: {photos}/far/broken.jpg can't be read: it is no picture that Pillow knows"
    assert skipped in result.stderr.splitlines()
    assert sorted(path.name for path in output.iterdir()) == ["photos-000000.tar", INDEX]
    assert not list(output.parent.glob("*.part"))


def test_what_the_folder_holds_and_is_not_read_is_told(photos: Path, output: Path) -> None:
    touch(photos, "IMG_1.HEIC", "clip.mov", "far/notes.txt")
    frames = [picture(40, 40, seed) for seed in range(3)]
    frames[0].save(photos / "clip.gif", save_all=True, append_images=frames[1:])
    result = run(photos, "--output", output, "--size", 32)
    assert result.returncode == 0
    unread, moving = result.stderr.splitlines()
    assert unread.startswith(f"Not read in {photos}: 1 .heic")
    assert "1 .mov (videos), 1 .txt" in unread
    assert moving == "Animations and pages of which only the first picture is used: 1"
    assert "21 photos in" in result.stdout
    # A prepared set's own files are no such files.
    assert run(output, "--output", output.with_name("again")).stderr == ""


def test_the_command_needs_no_torch(photos: Path, output: Path) -> None:
    program = "import sys; from polystyle.prepare import main; main()\n"
    program += "assert 'torch' not in sys.modules"
    command = [sys.executable, "-c", program, str(photos), "--output", str(output)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


@pytest.mark.filterwarnings("ignore")
def test_photos_are_uncropped_upright_rgb_and_never_enlarged(tmp_path: Path, output: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = {
        "turned.jpg": (Image.new("RGB", (90, 60), COLOUR), {"exif": exif}, (32, 48), COLOUR),
        "grey.png": (Image.new("L", (64, 96), 77), {}, (32, 48), (77,) * 3),
        "cmyk.jpg": (Image.new("RGB", (64, 96), COLOUR).convert("CMYK"), {}, (32, 48), COLOUR),
        "clear.png": (Image.new("RGBA", (64, 64), (*COLOUR, 0)), {}, (32, 32), (255,) * 3),
        "deep.png": (Image.new("I;16", (320, 32), 0x8080), {}, (320, 32), (128,) * 3),
        "tiny.png": (Image.new("RGB", (17, 16), COLOUR), {}, (17, 16), COLOUR),
        "dot.gif": (Image.new("RGB", (16, 16), "red").quantize(2), {}, (16, 16), (254, 0, 0)),
        "large.jpg": (Image.new("RGB", (1000, 801), COLOUR), {}, (40, 32), COLOUR),
    }
    for name, (image, options, _, _) in kinds.items():
        image.save(folder / name, **options)
    prepare_set(folder, output, 32)
    found = find_photos(output)
    assert list(found) == sorted(kinds)
    for name, photo in found.items():
        _, _, size, colour = kinds[name]
        image = load_image(photo)
        assert image.size == (photo.width, photo.height) == size, name
        assert abs(np.asarray(image, dtype=int) - colour).max() <= 4, name
        with Image.open(photo.open()) as stored:
            assert stored.format == "JPEG"
            assert not stored.getexif()


def test_a_prepared_photo_looks_like_the_resized_photo(tmp_path: Path, output: Path) -> None:
    (tmp_path / "one").mkdir()
    picture(300, 200, 0).save(tmp_path / "one" / "photo.png")
    prepare_set(tmp_path / "one", output, 100)
    (photo,) = read_prepared(output)
    expected = np.asarray(picture(300, 200, 0).resize((150, 100), Image.Resampling.BILINEAR))
    assert abs(np.asarray(load_image(photo), dtype=int) - expected).mean() < 2


def test_photos_with_any_name_are_stored(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [
        *("a/x.jpg", "b/x.jpg", "x.jpg", "x.png", "x.jpg.png", "x%2Ejpg.png", "a.b/c.d.e.png"),
        *("my photo.png", "Grüße aus Köln.png", "写真/花.png", "#1?.png", "-rf.png", "%.png"),
        f"{'long ' * 40}.png",
    ]
    if sys.platform == "linux":
        names.append("caf\udce9.png")  # Latin-1 on a UTF-8 system
    for index, name in enumerate(names):
        path = tmp_path / "names" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (10 * index, 0, 0)).save(path)
    monkeypatch.setattr(prepared_set, "PHOTOS_PER_SHARD", 4)
    prepare_set(tmp_path / "names", output, 16)
    assert len(list(output.glob("*.tar"))) == 4
    found = find_photos(output)
    # The same names in the same order as in the folder.
    assert list(found) == list(find_photos(tmp_path / "names"))
    assert sorted(found) == sorted(names)
    for index, name in enumerate(names):
        assert load_image(found[name]).getpixel((8, 8))[0] == pytest.approx(10 * index, abs=3)
    # WebDataset groups a shard's members by the part of the file's name before the first dot.
    keys = []
    for shard in sorted(output.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                folder, _, file = member.name.rpartition("/")
                key, _, extension = file.partition(".")
                assert extension == "jpg"
                Image.open(io.BytesIO(tar.extractfile(member).read())).verify()
                keys.append((folder, key))
    assert len(set(keys)) == len(names)


def test_the_index_can_be_read_by_wids(photos: Path, output: Path) -> None:
    prepare_set(photos, output, 32)
    index = json.loads((output / INDEX).read_text())
    assert index["__kind__"] == "wids-shard-index-v1"
    (shard,) = index["shardlist"]
    assert shard["nsamples"] == 20
    assert shard["filesize"] == (output / shard["url"]).stat().st_size


def test_the_same_photos_give_the_same_bytes(photos: Path, output: Path) -> None:
    prepare_set(photos, output, 32)
    for path in photos.rglob("*.jpg"):
        os.utime(path, (0, 0))
    again = output.with_name("again")
    prepare_set(photos, again, 32)
    for path in output.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_a_prepared_set_can_be_prepared_again_at_a_smaller_size(photos: Path, output: Path) -> None:
    prepare_set(photos, output, 40)
    prepare_set(output, output.with_name("smaller"), 20)
    found = find_photos(output.with_name("smaller"))
    assert list(found) == list(find_photos(photos))
    assert {min(photo.width, photo.height) for photo in found.values()} == {20}


# ---- Errors ---------------------------------------------------------------------------------


def test_errors_are_one_line(
    photos: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, all_bad = tmp_path / "empty", tmp_path / "bad"
    for folder in (empty, all_bad):
        folder.mkdir()
    for name in "abc":
        (all_bad / f"{name}.jpg").write_bytes(b"broken")
    file = tmp_path / "file"
    file.touch()
    to = ("--output", output)
    cases = [
        ((tmp_path / "nowhere", *to), f"there is no folder {tmp_path}/nowhere"),
        (
            (file, *to),
            f"{file} is an empty file, not a folder of pictures: copy or download it again",
        ),
        ((empty, *to), f"there is no picture in {empty}"),
        ((all_bad, *to), f"none of the 3 photos in {all_bad} can be read"),
        ((photos, *to, "--size", 15), "--size must be at least 16, not 15"),
        (
            (photos, "--output", photos),
            f"{photos} exists already: remove it or choose another output folder",
        ),
        (
            (photos, "--output", file),
            f"{file} exists already: remove it or choose another output folder",
        ),
    ]
    for arguments, message in cases:
        assert refusal(monkeypatch, *arguments) == message
        assert not output.exists()
    assert not list(tmp_path.glob("*.part"))


def test_an_empty_output_folder_is_used_and_missing_parents_are_made(
    photos: Path, output: Path
) -> None:
    output.mkdir()
    prepare_set(photos, output, 16)
    assert is_prepared(output)
    prepare_set(photos, output / "not" / "yet", 16)
    assert is_prepared(output / "not" / "yet")


def test_an_interrupted_run_leaves_no_files(
    photos: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared_set, "PHOTOS_PER_SHARD", 4)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepared_set.json, "dumps", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare_set(photos, output, 16)
    assert sorted(path.name for path in output.parent.iterdir()) == ["photos"]


def test_the_folder_of_a_killed_run_is_refused_and_is_no_prepared_set(
    photos: Path, output: Path
) -> None:
    unfinished = output.with_name("prepared.part")
    unfinished.mkdir()
    (unfinished / "photos-000000.tar").touch()
    with pytest.raises(FileExistsError, match=r"prepared\.part exists already, from a run"):
        prepare_set(photos, output, 16)
    assert (unfinished / "photos-000000.tar").exists()
    with pytest.raises(ValueError, match="there is no picture"):
        find_photos(unfinished)


def test_a_photo_too_wide_for_a_jpeg_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "line.png"
    Image.new("L", (70_000, 16)).save(path)
    assert encode_photo(("line.png", path), 16) == (
        f"{path} is 70000 x 16 pixels, which is too long for a JPEG"
    )


@pytest.mark.parametrize("size", [(1, 1), (15, 300), (300, 15)])
def test_a_photo_too_small_to_train_on_is_left_out(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "small.png"
    Image.new("L", size).save(path)
    reason = f"is {size[0]} x {size[1]} pixels: 16 a side is the least"
    assert encode_photo(("small.png", path), 16) == f"{path} {reason}"


def test_a_hostile_index_is_refused(photos: Path, output: Path) -> None:
    prepare_set(photos, output, 16)
    (output.parent / "outside.tar").write_bytes((output / "photos-000000.tar").read_bytes())
    whole = (output / INDEX).read_text()
    size = json.loads(whole)["shardlist"][0]["filesize"]

    def assert_refused(change: object) -> None:
        index = json.loads(whole)
        change(index)
        (output / INDEX).write_text(json.dumps(index))
        with pytest.raises(ValueError, match=r"prepared\.json is damaged: make it again") as error:
            read_prepared(output)
        assert "\n" not in str(error.value)

    outside = str(output.parent / "outside.tar")
    for url in ("../outside.tar", outside, "a/b.tar", "..", "", "a\0.tar", "a.tar\n", 7, None, []):
        assert_refused(lambda index, url=url: index["shardlist"][0].update(url=url))
    for place, values in {
        0: (None, 7, ["name"]),
        1: (-1, size, 2**70, 0.5, "0", None, True, float("nan")),
        2: (-1, size + 1, 2**70, 9.0, None),
        3: (-16, 0, 15, 10**9, 2**64, "16", 16.0),
        4: (-16, 0, 15, 10**9, float("inf"), [16]),
    }.items():
        for value in values:
            assert_refused(
                lambda index, place=place, value=value: index["photos"][7].__setitem__(place, value)
            )
    for count in (-1, 21, 10**30, "20", None, 1.5):
        assert_refused(lambda index, count=count: index["shardlist"][0].update(nsamples=count))
    for key, values in {
        "photos": (None, 7, "text", [[]], [None] * 20, [{}] * 20),
        "shardlist": (None, 7, "text", [[]], [None], {"a": 1}),
    }.items():
        for value in values:
            assert_refused(lambda index, key=key, value=value: index.update({key: value}))
    (output / INDEX).write_text("[" * 100_000)
    with pytest.raises(ValueError, match="is damaged"):
        read_prepared(output)


def test_a_damaged_file_is_named(photos: Path, output: Path) -> None:
    prepare_set(photos, output, 16)
    shard = output / "photos-000000.tar"
    content, index = shard.read_bytes(), (output / INDEX).read_text()
    shard.write_bytes(content[:-512])
    with pytest.raises(ValueError, match=r"000000\.tar has \d+ bytes instead of \d+: make"):
        find_photos(output)
    shard.unlink()
    with pytest.raises(ValueError, match=r"000000\.tar is missing from the prepared set"):
        find_photos(output)
    for damaged in (index[:-9], "", "[]", "{}", '{"shardlist": [{}], "photos": []}'):
        (output / INDEX).write_text(damaged)
        with pytest.raises(ValueError, match=r"prepared\.json is damaged: make it again"):
            find_photos(output)


# ---- Training on a prepared set -------------------------------------------------------------


def make_data(folder: Path, **changed: object) -> StyleTransferData:
    arguments = {"image_size": 24, "batch_size": 4, "num_workers": 0, "val_fraction": 0.3}
    return StyleTransferData(str(folder), None, identity_style=True, **(arguments | changed))


def batches(
    data: StyleTransferData, count: int, step: int = 0, rank: int = 0, world_size: int = 1
) -> list[dict[str, Tensor]]:
    data.setup()
    data.trainer = SimpleNamespace(
        global_step=step,
        max_steps=6,
        accumulate_grad_batches=1,
        global_rank=rank,
        world_size=world_size,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    loaded = islice(data.train_dataloader(), count)
    return [data.on_after_batch_transfer(batch, 0) for batch in loaded]


def differences(ones: list[dict[str, Tensor]], others: list[dict[str, Tensor]]) -> Tensor:
    """The differences between the pixels of two lists of batches, in levels of 255. Their styles
    must be equal."""
    contents = [torch.cat([batch["content"] for batch in batches]) for batches in (ones, others)]
    styles = [torch.cat([batch["style"] for batch in batches]) for batches in (ones, others)]
    assert torch.equal(*styles)
    return (contents[0] - contents[1]).abs() * 255


def test_a_prepared_set_holds_out_the_same_photos_and_gives_the_same_crops(
    photos: Path, output: Path
) -> None:
    prepare_set(photos, output, 40)
    folder, small = make_data(photos), make_data(output)
    held_out = [path.relative_to(photos).as_posix() for path in folder.val_paths]
    assert 2 <= len(held_out) < 18
    assert [photo.name for photo in small.val_paths] == held_out
    difference = differences(batches(folder, 6), batches(small, 6))
    assert difference.mean() < 3
    assert (folder.val_photos - small.val_photos).abs().mean() * 255 < 3


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(
    "changed", [{"num_workers": 2}, {"image_size": 32, "progressive_share": 0.4}]
)
def test_batches_are_functions_of_seed_and_step(
    changed: dict[str, object], photos: Path, output: Path
) -> None:
    prepare_set(photos, output, 32)
    whole = batches(make_data(output, **changed), 6)
    for start in (0, 3):
        again = batches(make_data(output, **changed), 6 - start, step=start)
        for ours, theirs in zip(whole[start:], again, strict=True):
            assert differences([ours], [theirs]).max() == 0
    ranks = [batches(make_data(output, **changed), 6, rank=rank, world_size=2) for rank in (0, 1)]
    for batch, *parts in zip(whole, *ranks, strict=True):
        content = torch.cat([part["content"] for part in parts])
        assert torch.equal(content, batch["content"])
    loaded = make_data(output, **changed | {"num_workers": 0})
    for ours, theirs in zip(whole, batches(loaded, 6), strict=True):
        assert differences([ours], [theirs]).max() == 0


def test_validation_batches_are_not_converted(photos: Path, output: Path) -> None:
    prepare_set(photos, output, 32)
    data = make_data(output)
    data.setup()
    (batch,) = data.val_dataloader()
    assert data.on_after_batch_transfer(batch, 0) is batch
