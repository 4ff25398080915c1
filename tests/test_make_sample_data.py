"""The sample photos and paintings: all there, always the same, and unlike one another."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path

import make_sample_data
import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[1] / "scripts" / "make_sample_data.py"

pytest.importorskip("skimage")

pytestmark = pytest.mark.slow


def run(output: Path) -> str:
    """Run the script as a user does and return what it prints."""
    command = [sys.executable, str(SCRIPT), "--output", str(output)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One full run, shared by the tests, which only read it."""
    output = tmp_path_factory.mktemp("made") / "sample"
    printed = run(output)
    assert f"Made 6 photos and 8 paintings in {output}" in printed
    assert "polystyle-train experiment=quickstart" in printed
    return output


def read(path: Path, mode: str) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert(mode)


def colours(path: Path) -> np.ndarray:
    """Return how the pixels spread over 4 x 4 x 4 boxes of colour."""
    pixels = np.asarray(read(path, "RGB")).reshape(-1, 3) // 64
    boxes = pixels @ np.array([16, 4, 1])
    return np.bincount(boxes, minlength=64) / len(boxes)


def texture(path: Path) -> np.ndarray:
    """Return how strong the edges of the grey picture are, by direction (8) and by size (3)."""
    grey = read(path, "L")
    histograms = []
    for side in (512, 256, 128):
        small = np.asarray(grey.resize((side, side), Image.Resampling.BOX), dtype=float)
        down, across = np.gradient(small)
        direction = (np.arctan2(down, across) % np.pi) * 8 / np.pi
        edge = np.hypot(down, across).ravel() / 255
        box = np.minimum(direction.astype(int).ravel(), 7)
        histograms.append(np.bincount(box, weights=edge, minlength=8) / edge.size)
    return np.concatenate(histograms)


def test_photos_are_colour_jpegs_of_moderate_size(sample: Path) -> None:
    photos = files(sample / "photos")
    assert [path.stem for path in photos] == sorted(make_sample_data.PHOTOS)
    for path in photos:
        with Image.open(path) as photo:
            assert (photo.format, photo.mode) == ("JPEG", "RGB")
            assert 256 <= max(photo.size) <= 640
        # A grey picture saved as colour has three equal channels.
        assert np.ptp(np.asarray(read(path, "HSV"))[..., 1]) > 50


def test_paintings_are_eight_squares(sample: Path) -> None:
    paintings = files(sample / "paintings")
    assert [path.stem for path in paintings] == sorted(
        p.__name__ for p in make_sample_data.PAINTERS
    )
    assert len(paintings) == 8
    for path in paintings:
        with Image.open(path) as painting:
            assert (painting.format, painting.mode, painting.size) == ("JPEG", "RGB", (512, 512))


def test_paintings_have_no_large_empty_area(sample: Path) -> None:
    for path in files(sample / "paintings"):
        grey = np.asarray(read(path, "L"), dtype=float)
        tiles = grey.reshape(8, 64, 8, 64).std(axis=(1, 3))
        assert tiles.min() > 4, path.stem


def test_paintings_are_unlike_one_another(sample: Path) -> None:
    paintings = files(sample / "paintings")
    for one, other in combinations(paintings, 2):
        pair = f"{one.stem} and {other.stem}"
        # 0 for the same colours or the same texture, 1 for nothing in common.
        colour_gap = np.abs(colours(one) - colours(other)).sum() / 2
        edges, other_edges = texture(one), texture(other)
        texture_gap = np.abs(edges - other_edges).sum() / (edges + other_edges).sum()
        # A recoloured copy has no gap in texture; the closest two of the eight have 0.09.
        assert colour_gap > 0.2, pair
        assert texture_gap > 0.05, pair


def test_a_painting_is_the_same_each_time(sample: Path, tmp_path: Path) -> None:
    for painter in (make_sample_data.woodblock_waves, make_sample_data.paper_cutouts):
        again = tmp_path / f"{painter.__name__}.jpg"
        make_sample_data.paint(painter).save(again, quality=92)
        assert again.read_bytes() == (sample / "paintings" / again.name).read_bytes()


def test_the_global_random_state_changes_nothing() -> None:
    np.random.seed(1)  # noqa: NPY002
    first = make_sample_data.paint(make_sample_data.op_art)
    np.random.seed(2)  # noqa: NPY002
    assert first.tobytes() == make_sample_data.paint(make_sample_data.op_art).tobytes()


def test_a_second_run_overwrites_nothing(sample: Path, tmp_path: Path) -> None:
    output = tmp_path / "sample"
    for path in files(sample):
        mine = output / path.relative_to(sample)
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_bytes(b"mine")
    printed = run(output)
    assert "Everything is already in" in printed
    assert all(path.read_bytes() == b"mine" for path in files(output))
    assert len(files(output)) == 14


def test_only_what_is_missing_is_made(sample: Path, tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"mine")
    made = make_sample_data.fill(
        tmp_path, dict.fromkeys(("cat", "dog"), lambda: Image.new("RGB", (8, 8))), 90
    )
    assert made == 1
    assert (tmp_path / "cat.jpg").read_bytes() == b"mine"
    assert [path.name for path in files(tmp_path)] == ["cat.jpg", "dog.jpg"]


def test_without_scikit_image_it_says_what_to_install(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(make_sample_data, "find_spec", lambda name: None)
    assert make_sample_data.main(["--output", str(tmp_path / "sample")]) == 1
    error = capsys.readouterr().err
    assert 'pip install "polystyle[sample]"' in error
    assert error.count("\n") == 1
    assert not (tmp_path / "sample").exists()
