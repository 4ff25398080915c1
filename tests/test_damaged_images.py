"""Damaged, odd and hostile pictures: as photos skipped and listed, as paintings refused by name."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import make_damaged_images as script
import numpy as np
import pytest
from PIL import Image
from training import make_folders, run, train_command

from polystyle.data.datamodule import StyleTransferData
from polystyle.data.images import PictureError, load_image, suffixes, to_rgb
from polystyle.data.paintings import load_painting
from polystyle.data.picture_folder import list_images
from polystyle.data.samples import load_square, middle_square
from polystyle.data.skipped_photos import HEADING, MOST_NAMED, SkippedPhotos
from polystyle.files.terminal_text import GARBLING

SCRIPT = Path(__file__).parent / "stress/make_damaged_images.py"

# The pictures are meant to be odd.
pytestmark = pytest.mark.filterwarnings("ignore")

# Every kind of fault in as few files as that takes.
SHORT = 7


@pytest.fixture(scope="module")
def files() -> list:
    """The whole corpus, not written yet."""
    return script.corpus(1000, seed=0)


@pytest.fixture(scope="module")
def corpus(files: list, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole corpus, shared by the tests, which only read it."""
    folder = tmp_path_factory.mktemp("made") / "corpus"
    script.write(folder, files)
    script.make_oddities(folder)
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return make_folders(tmp_path)


def usable(path: Path) -> bool:
    try:
        load_square(path, middle_square, 32)
    except PictureError:
        return False
    return True


def listed(run_dir: Path) -> dict[str, str]:
    """The list's lines: the reason for each photo."""
    heading, *lines = (run_dir / "skipped_photos.txt").read_text().splitlines()
    assert heading == HEADING
    return dict(line.split("\t") for line in lines)


# ---- The corpus -------------------------------------------------------------------------------


def test_the_corpus_is_large_and_the_same_for_the_same_seed(files: list) -> None:
    assert len(files) >= 1000
    assert script.corpus(1000, seed=0) == files
    kinds = {kind.split(",")[0] for kind, _, _ in files}
    for kind in (
        *("cut", "flip", "wrong extension", "zero bytes", "animated", "1 x 1", "60000 x 1"),
        *("16 bits a sample", "sound JPEG", "palette with alpha", "EXIF: garbage", "no bytes"),
        *("bomb: blank PNG of 30000 x 30000", "TIFF tag 256 absurd", "PNG with a text of 100 MB"),
    ):
        assert kind in kinds


def check_read_or_refused(paths: list[Path], use: str) -> list[str | None]:
    """Read files in a process of its own, whose memory can be measured.

    Returns:
        For each file, why it is refused, or None for one that is read.
    """
    started = time.monotonic()
    names = [os.fsdecode(path) for path in paths]
    result = subprocess.run(
        [sys.executable, SCRIPT, "--read"],
        input=json.dumps([names, [use]]),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (result.returncode, result.stderr) == (0, "")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    answers = {name: row[use] for name, row in zip(names, rows, strict=True)}
    crashed = {name: why for name, why in answers.items() if why and why.startswith("CRASHED")}
    assert not crashed
    assert max(row["mb"] for row in rows) < 1000
    assert time.monotonic() - started < 100  # a tenth of that, if nobody else is at work
    return list(answers.values())


@pytest.mark.slow
def test_every_file_is_a_photo_or_refused_in_little_time_and_memory(corpus: Path) -> None:
    """The giants of --check take longer."""
    paths = sorted(corpus.iterdir())
    assert len(paths) >= 1000
    assert 300 < check_read_or_refused(paths, "photo").count(None) < 700


@pytest.mark.slow
def test_every_file_damaged_at_random_is_painted_or_refused(tmp_path: Path) -> None:
    rng = random.Random(1)
    sound = script.sound(rng)
    damaged = [
        script.Odd(damage.__name__, photo.suffix, damage(photo.content, rng))
        for photo in sound
        for damage in script.DAMAGES
        for _ in range(6 if photo.suffix in ("jpg", "png", "avif") else 1)
    ]
    paths = list(script.write(tmp_path / "damaged", damaged))
    assert len(paths) > 2000
    answers = check_read_or_refused(paths, "photo to be painted")
    assert 0.1 < answers.count(None) / len(paths) < 0.9


@pytest.mark.parametrize(
    "kind",
    [
        *(
            "sound TIFF, La",
            "sound TIFF, PA",
        ),
        *("premultiplied", "floats, not a number", "EXIF: garbage"),
        *("EXIF: orientation 65535", "a colour profile that is none"),
        *("wrong extension", "bomb: blank PNG of 12000 x 12000", "progressive"),
    ],
)
def test_what_is_odd_but_sound_is_used(kind: str, files: list, tmp_path: Path) -> None:
    chosen = [odd for odd in files if odd.kind == kind and odd.suffix not in ("mpo", "icns")]
    assert chosen or kind == "sound TIFF, La"  # which Pillow reads but does not write
    read = 0
    for number, (_, suffix, content) in enumerate(chosen):
        path = tmp_path / f"{number}.{suffix}"
        path.write_bytes(content)
        read += usable(path)
    # A wrong extension may be one of a program, or the content.
    assert read >= (0.8 * len(chosen) if kind == "wrong extension" else len(chosen))


# ---- Files that aren't plain ones -------------------------------------------------------------

ODDITIES = {
    "folder": "it is a folder",
    "link_to_a_folder": "it is a folder",
    "link_to_nothing": "No such file or directory",
    "link_to_itself": "Too many levels of symbolic links",
    "pipe": "it is a pipe or a device, not a file",
    "socket": "it is a pipe or a device, not a file",
    "device": "it is a pipe or a device, not a file",
    "huge": "it has 4.3 GB",
}


@pytest.mark.parametrize("name", ODDITIES)
@pytest.mark.parametrize("read", [load_image, lambda path: load_painting(path, 16)])
def test_what_is_no_plain_file_is_listed_and_refused_at_once(
    name: str, read: Callable, corpus: Path
) -> None:
    path = corpus / f"{name}.jpg"
    assert path in list_images(corpus, deep=True)

    def give_up(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(5)
    try:
        with pytest.raises(PictureError) as error:
            read(path)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert str(error.value) == f"{path} can't be read: {ODDITIES[name]}"


def test_what_we_have_no_permission_for_is_listed_and_refused(tmp_path: Path) -> None:
    (tmp_path / "photos/trip").mkdir(parents=True)
    for name in ("open.jpg", "private.jpg", "trip/one.jpg"):
        (tmp_path / "photos" / name).touch()
    for name, mode in (("", 0o755), ("trip", 0), ("private.jpg", 0)):
        (tmp_path / "photos" / name).chmod(mode)
    program = (
        "import os, sys; from pathlib import Path; from PIL import Image\n"
        "from polystyle.data.images import PictureError, load_image\n"
        "from polystyle.data.picture_folder import list_images\n"
        "Image.init()  # everything is imported\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)  # nobody\n"
        "os.chdir(sys.argv[1])\n"
        "for path in list_images(Path('photos'), deep=True):\n"
        "    try: load_image(path)\n"
        "    except PictureError as error: print(error)\n"
        "list_images(Path('photos/trip'), deep=True)"
    )
    # The folders above are nobody else's.
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o111)
    command = [sys.executable, "-c", program, tmp_path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.stdout.splitlines() == [
        "photos/open.jpg can't be read: it is an empty file: copy or download it again",
        "photos/private.jpg can't be read: Permission denied",
        "photos/trip can't be read: Permission denied",
    ]
    assert result.stderr.splitlines()[-1] == (
        "PermissionError: photos/trip can't be listed: Permission denied"
    )
    (tmp_path / "photos/trip").chmod(0o755)


def test_photos_in_a_folder_that_is_named_like_one_are_found(tmp_path: Path) -> None:
    (tmp_path / "trip.jpg").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "trip.jpg" / "one.png")
    photo = tmp_path / "trip.jpg" / "one.png"
    assert list_images(tmp_path, deep=True) == [tmp_path / "trip.jpg", photo]
    assert usable(photo)


def test_a_postscript_program_is_never_run(
    tmp_path: Path, files: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ghostscript(*_: object, **__: object) -> None:
        raise AssertionError("it was run")

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", ghostscript)
    chosen = [odd for odd in files if "PostScript" in odd.kind or "EPS" in odd.kind]
    assert len(chosen) > 3
    for number, (_, suffix, content) in enumerate(chosen):
        path = tmp_path / f"{number}.{suffix}"
        path.write_bytes(content)
        with pytest.raises(PictureError, match="it is a PostScript or PDF document"):
            load_image(path)


def test_a_reason_is_one_line_whatever_the_name(corpus: Path, tmp_path: Path) -> None:
    odd = [path for path in corpus.iterdir() if not path.name.isprintable()]
    assert len(odd) == 4
    skipped = SkippedPhotos(tmp_path / "skipped_photos.txt")
    for path in odd:
        with pytest.raises(PictureError) as error:
            load_image(path)
        assert str(error.value).isprintable()
        skipped.add(error.value)
    assert len(listed(tmp_path)) == SkippedPhotos(skipped.path).count() == 4


def test_formats_that_need_much_memory_may_have_fewer_pixels(
    files: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", script.WIDTH * script.HEIGHT - 1)
    for kind in ("sound PNG, RGB", "sound WEBP, RGB", "sound JPEG2000, RGB", "sound AVIF, RGB"):
        (odd,) = [file for file in files if file.kind == kind]
        path = tmp_path / f"photo.{odd.suffix}"
        path.write_bytes(odd.content)
        assert usable(path) == ("PNG" in kind)


@pytest.mark.parametrize("mode", ["LA", "P", "I;16", "F", "CMYK", "RGBA", "YCbCr"])
def test_a_picture_is_converted_in_bands(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = script.drawn(random.Random(0), mode)
    whole = to_rgb(image)
    monkeypatch.setattr("polystyle.data.images.BAND_PIXELS", 3 * image.width)
    assert to_rgb(image).tobytes() == whole.tobytes()
    assert np.ptp(np.asarray(whole)) > 50


# ---- The list of a run ------------------------------------------------------------------------


def test_each_photo_is_listed_once_and_a_few_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "skipped_photos.txt"
    processes = [SkippedPhotos(path) for _ in range(3)]
    for turn in range(3):
        for number in range(20):
            error = PictureError(Path(f"{number}.jpg"), f"is bad {number}")
            processes[(number + turn) % 3].add(error)
    assert listed(tmp_path) == {f"{number}.jpg": f"is bad {number}" for number in range(20)}
    assert len(path.read_text().splitlines()) == 21
    assert [skipped.count() for skipped in processes] == [20, 20, 20]
    named = [record.getMessage() for record in caplog.records]
    assert named[:MOST_NAMED] == [f"Skipped: {n}.jpg is bad {n}" for n in range(MOST_NAMED)]
    assert named[MOST_NAMED:] == [f"Skipped: more photos; all are listed in {path}"]
    # A run that goes on says nothing twice.
    SkippedPhotos(path).add(PictureError(Path("0.jpg"), "is bad 0"))
    assert len(path.read_text().splitlines()) == 21
    assert len(caplog.records) == MOST_NAMED + 1


def test_only_a_list_that_polystyle_wrote_is_deleted(tmp_path: Path) -> None:
    for name, content in (
        ("to_skip.txt", "1.jpg\n2.jpg\n"),
        ("captions.tsv", "1.jpg\ta cat\n"),
        ("skipped_photos.txt", "1.jpg\n"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=f"data.skipped_photos=.*{name} is not a list that"):
            SkippedPhotos(tmp_path / name).clear()
        assert (tmp_path / name).read_text() == content
    with pytest.raises(ValueError, match="is not a list that"):
        SkippedPhotos(tmp_path).clear()

    path = tmp_path / "skipped_photos.txt"
    path.write_text("1.jpg\tis bad\n")  # of a version that wrote no heading
    skipped = SkippedPhotos(path)
    assert skipped.clear() == {"1.jpg"}
    skipped.add(PictureError(Path("2.jpg"), "is bad"))
    own = path.rename(tmp_path / "own_name.txt")
    assert SkippedPhotos(own).clear() == {"2.jpg"}
    assert not own.exists()


@pytest.mark.parametrize("place", [None, "no/folder/skipped_photos.txt", "photo.jpg/list"])
def test_without_a_place_nothing_is_written(place: str | None, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    skipped = SkippedPhotos(place and tmp_path / place)
    for number in (1, 2, 1):
        skipped.add(PictureError(Path(f"{number}.jpg"), "is bad"))
    assert skipped.count() == 2
    assert [path.name for path in tmp_path.rglob("*")] == ["photo.jpg"]


# ---- Training ---------------------------------------------------------------------------------


def mixed(folder: Path, files: list) -> list[Path]:
    """Good photos, and bad ones of every kind."""
    script.write(folder / "odd", files[::SHORT])
    (folder / "called").mkdir()
    script.make_oddities(folder / "called")
    (folder / "called" / "no_permission.jpg").unlink()  # root may read it
    bad = list_images(folder, deep=True)
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    for number in range(len(bad) // 2):
        Image.fromarray(pixels).save(folder / f"good{number}.png")
    return bad


@pytest.mark.slow
def test_a_run_passes_over_what_it_cannot_use(
    folders: tuple[Path, Path], files: list, tmp_path: Path
) -> None:
    photos, _ = folders
    odd = mixed(photos, files)
    assert len(odd) > 150
    result = run(
        train_command(
            tmp_path,
            *("hydra.run.dir=run", "trainer.max_steps=4", "data.num_workers=2"),
            "data.val_fraction=0.1",
        ),
        cwd=tmp_path,
    )
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    assert "Traceback" not in said
    assert "Warning" not in said
    bad = {path for path in odd if not usable(path)}
    assert 60 < len(bad) < len(odd)
    expected = {str(PictureError(path, "is bad")).removesuffix(" is bad") for path in bad}
    assert set(listed(tmp_path / "run")) == expected
    assert said.count("Skipped: ") == MOST_NAMED + 1
    assert f"Skipped: more photos; all are listed in {tmp_path}/run/skipped_photos.txt" in said


def test_a_run_that_goes_on_tries_again_what_was_listed(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, paintings = folders
    for name in ("photo1", "photo2"):
        (photos / f"{name}.png").write_bytes(script.PAGE)

    def start() -> set[str]:
        data = StyleTransferData(
            str(photos), str(paintings), 32, 32, skipped_photos=str(tmp_path / "skipped_photos.txt")
        )
        data.prepare_data()
        return {Path(line).stem for line in listed(tmp_path)}

    assert start() == {"photo1", "photo2"}
    (photos / "photo1.png").write_bytes((photos / "photo3.png").read_bytes())
    # Also where a sample would not have met them.
    monkeypatch.setattr("polystyle.data.datamodule.MOST_TRIED", 0)
    assert start() == {"photo2"}


@pytest.mark.parametrize(("bad", "ends"), [(5, False), (6, True)])
def test_half_of_the_photos_may_be_bad(
    bad: int, ends: bool, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    photos, _ = folders
    for number in range(bad):
        (photos / f"photo{number}.png").write_bytes(b"")
    data = StyleTransferData(
        *(str(photos), None),
        image_size=16,
        identity_style=True,
        num_workers=0,
        skipped_photos=str(tmp_path / "skipped_photos.txt"),
    )
    if ends:
        start = f"6 of 10 photos in {photos} can't be used, more than half: {photos}/"
        with pytest.raises(ValueError, match=f"^{re.escape(start)}.*; and 1 more$"):
            data.prepare_data()
        assert len(listed(tmp_path)) == 6
    else:
        data.prepare_data()
    assert data.skipped.count() == bad


def test_of_many_photos_a_sample_is_tried_that_the_seed_draws(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, _ = folders
    for path in photos.iterdir():
        path.write_bytes(b"")
    monkeypatch.setattr("polystyle.data.datamodule.MOST_TRIED", 4)

    def tried(seed: int) -> set[str]:
        data = StyleTransferData(str(photos), None, image_size=16, identity_style=True, seed=seed)
        with pytest.raises(ValueError, match=r"^4 of 4 photos that were tried in "):
            data.prepare_data()
        return data.skipped.known

    assert len(tried(0)) == 4
    assert tried(0) == tried(0)
    assert len({frozenset(tried(seed)) for seed in range(4)}) > 1


# ---- Paintings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        *("zero bytes", "random bytes", "1 x 1", "60000 x 1", "60000 x 16", "15 x 40"),
        *("JPEG without end", "PNG with no pixels", "PNG with a text of 100 MB", "of a format"),
    ],
)
def test_a_painting_of_a_bad_kind_is_refused_by_name(
    kind: str, folders: tuple[Path, Path], files: list
) -> None:
    photos, paintings = folders
    odd = next(
        file for file in files if file.kind.startswith(kind) and f".{file.suffix}" in suffixes()
    )
    path = paintings / f"odd.{odd.suffix}"
    path.write_bytes(odd.content)
    data = StyleTransferData(str(photos), str(paintings), image_size=16)
    with pytest.raises(OSError, match=r"^1 of 4 paintings can't be used: ") as error:
        data.setup()
    assert f"{path} " in str(error.value)
    assert "\n" not in str(error.value)


def test_all_bad_paintings_are_named_at_once(folders: tuple[Path, Path]) -> None:
    photos, paintings = folders
    oddities = script.make_oddities(paintings)
    (paintings / "no_permission.jpg").unlink()
    (paintings / "folder.jpg").rmdir()  # a style without paintings, which is another error
    names_for_no_style = [path for path in paintings.iterdir() if GARBLING.search(path.name)]
    for path in names_for_no_style:
        path.unlink()
    data = StyleTransferData(str(photos), str(paintings), image_size=16)
    count = len(oddities) - 2 - len(names_for_no_style)
    with pytest.raises(
        OSError, match=rf"^{count} of {count + 3} paintings can't be used: "
    ) as error:
        data.setup()
    assert str(error.value).endswith(f"; and {count - MOST_NAMED} more")


# ---- Preparing --------------------------------------------------------------------------------


def test_preparing_leaves_out_what_training_would(files: list, tmp_path: Path) -> None:
    odd = mixed(tmp_path / "photos", files)
    command = [sys.executable, "-m", "polystyle.prepare", tmp_path / "photos", "--size", "32"]
    result = run([*map(str, command), "--output", str(tmp_path / "prepared")], cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    bad = sum(not usable(path) for path in odd)
    # A line of 60,000 pixels may be too long for a JPEG.
    assert result.stderr.count("Skipped: ") == bad
    told = ("Skipped: ", "Not read in ", "Animations ")
    assert all(line.startswith(told) for line in result.stderr.splitlines())
    assert f"({bad} skipped)" in result.stdout
