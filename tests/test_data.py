"""StyleTransferData: batches that depend only on (seed, step), held-out photos, paintings."""

import logging
import random
import shutil
import signal
from collections import Counter
from io import BytesIO
from itertools import islice, product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from drawing import noise, photo_like, plain, touch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor

from polystyle.data.datamodule import StyleTransferData, init_worker
from polystyle.data.draws import RandomCrop, StepSampler, is_held_out
from polystyle.data.images import load_image, stored_box
from polystyle.data.paintings import mosaic
from polystyle.data.picture_folder import list_images
from polystyle.data.samples import TrainingImages
from polystyle.data.skipped_photos import SkippedPhotos

# torch warns if there are more workers than cores.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

COLOUR = (200, 100, 50)

Batch = dict[str, Tensor]


# ---- Folders to test with -------------------------------------------------------------------


def level(index: int) -> int:
    """The grey of photo number `index`, by which any crop of it is recognised."""
    return 10 + 20 * index


def photo_index(content: Tensor) -> int:
    index, rest = divmod(round(content.mean().item() * 255) - 10, 20)
    assert rest == 0
    return index


@pytest.fixture
def paintings(tmp_path: Path) -> Path:
    folder = tmp_path / "paintings"
    folder.mkdir()
    noise((60, 40), 1).save(folder / "wave.png")
    noise((40, 50), 2).save(folder / "candy.jpg")
    noise((30, 30), 3).save(folder / "starry_night.webp")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten photos of noise."""
    folder = tmp_path / "photos"
    for index in range(10):
        path = folder / f"{'far/' if index % 2 else ''}photo{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise((40 + index, 50 - index), index).save(path)
    return folder


@pytest.fixture
def greys(tmp_path: Path) -> Path:
    """Ten photos, each of one grey: see `level`."""
    folder = tmp_path / "greys"
    folder.mkdir()
    for index in range(10):
        plain("L", level(index)).save(folder / f"{index}.png")
    return folder


def make_data(photos: Path, paintings: Path, **changed: object) -> StyleTransferData:
    arguments = {
        "image_size": 16,
        "style_size": 16,
        "batch_size": 4,
        "num_workers": 0,
        "val_fraction": 0.3,
        "seed": 7,
    }
    return StyleTransferData(str(photos), str(paintings), **(arguments | changed))


def loader_batches(
    data: StyleTransferData, count: int, step: int = 0, accumulate: int = 1, **place: int
) -> list[Batch]:
    """The first batches of a run that starts, or goes on, at a step."""
    data.setup()
    place = {"global_rank": 0, "world_size": 1} | place
    data.trainer = SimpleNamespace(
        global_step=step,
        max_steps=10,
        accumulate_grad_batches=accumulate,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        **place,
    )
    batches = islice(data.train_dataloader(), count)
    return [data.on_after_batch_transfer(batch, 0) for batch in batches]


def equal(ones: list[Batch], others: list[Batch]) -> bool:
    return len(ones) == len(others) and all(
        torch.equal(one[key], other[key])
        for one, other in zip(ones, others, strict=True)
        for key in ("content", "style")
    )


def content(sample: dict[str, Tensor | int]) -> Tensor:
    """A sample's crop as the network gets it, ``[3, h, w]``."""
    return sample["pixels"].permute(2, 0, 1) / 255


def training_images(folder: Path, num_styles: int, seed: int = 0, size: int = 16) -> TrainingImages:
    return TrainingImages(
        list_images(folder, deep=False), num_styles, size, seed, SkippedPhotos(None)
    )


# ---- Batches are a pure function of (seed, step) --------------------------------------------


def test_batches_are_the_same_with_any_number_of_workers(photos: Path, paintings: Path) -> None:
    here = loader_batches(make_data(photos, paintings), 7)
    for num_workers in (1, 3):
        data = make_data(photos, paintings, num_workers=num_workers)
        assert equal(here, loader_batches(data, 7)), num_workers


@pytest.mark.parametrize("accumulate", [1, 2])
def test_progressive_resizing_begins_with_the_same_crops_at_half_the_size(
    photos: Path, paintings: Path, accumulate: int
) -> None:
    whole = loader_batches(make_data(photos, paintings, image_size=64), 10 * accumulate)
    data = make_data(photos, paintings, image_size=64, progressive_share=0.3)
    assert data.crop_sizes == [32, 64]
    grown = loader_batches(data, 10 * accumulate, accumulate=accumulate)
    small = 3 * accumulate
    assert [batch["content"].shape[-1] for batch in grown[: small + 1]] == [32] * small + [64]
    assert equal(grown[small:], whole[small:])
    for batch, large in zip(grown[:small], whole[:small], strict=True):
        shrunk = torch.nn.functional.avg_pool2d(large["content"], 2)
        assert (batch["content"] - shrunk).abs().mean() < 0.02
        assert torch.equal(batch["style"], large["style"])


def test_the_steps_of_progressive_resizing_have_paintings_of_their_own_size(
    photos: Path, paintings: Path
) -> None:
    options = {"style_size": 32, "progressive_style_size": 24, "identity_style": True}
    data = make_data(photos, paintings, image_size=32, progressive_share=0.5, **options)
    data.setup()
    assert data.progressive_paintings.keys() == data.paintings.keys()
    for name, painting in data.progressive_paintings.items():
        assert [min(p.shape[1:]) for p in painting] == ([] if name == "photo" else [24]), name
    for unused in ({"progressive_share": 0.0}, {"progressive_style_size": None}):
        data = make_data(
            photos, paintings, image_size=32, **{"progressive_share": 0.5, **options, **unused}
        )
        data.setup()
        assert data.progressive_paintings is None


def test_a_resumed_run_goes_on_with_the_next_batch(photos: Path, paintings: Path) -> None:
    whole = loader_batches(make_data(photos, paintings), 8)
    for earlier, later in product(range(8), range(8)):
        assert equal([whole[earlier]], [whole[later]]) == (earlier == later)
    for step, num_workers in ((1, 0), (5, 0), (3, 2)):
        resumed = make_data(photos, paintings, num_workers=num_workers)
        assert equal(loader_batches(resumed, 8 - step, step), whole[step:]), step


def test_a_step_with_accumulated_gradients_takes_several_batches(
    photos: Path, paintings: Path
) -> None:
    data = make_data(photos, paintings)
    whole = loader_batches(data, 8)
    assert equal(loader_batches(data, 2, step=2, accumulate=3), whole[6:])


@pytest.mark.parametrize("world_size", [2, 4])
def test_devices_share_the_batches_that_one_device_gets(
    photos: Path, paintings: Path, world_size: int
) -> None:
    data = make_data(photos, paintings)
    alone = loader_batches(data, 4, step=3)
    ranks = [
        loader_batches(data, 4, step=3, global_rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    together = [
        {key: torch.cat([part[key] for part in parts]) for key in ("content", "style")}
        for parts in zip(*ranks, strict=True)
    ]
    assert ranks[0][0]["content"].shape == (4 // world_size, 3, 16, 16)
    assert equal(together, alone)


def test_a_batch_that_devices_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.batch_size=4 .* divisible by their number, 3"):
        StepSampler(4, world_size=3)


@settings(max_examples=50)
@given(
    share=st.integers(1, 5),
    world_size=st.integers(1, 4),
    start=st.integers(0, 10**6),
    steps=st.integers(1, 4),
)
def test_every_sample_goes_to_one_device(
    share: int, world_size: int, start: int, steps: int
) -> None:
    batch_size = share * world_size
    taken = [
        sample
        for rank in range(world_size)
        for sample in islice(StepSampler(batch_size, start, rank, world_size), share * steps)
    ]
    assert sorted(taken) == list(range(start * batch_size, (start + steps) * batch_size))


def test_other_seeds_give_other_batches(photos: Path, paintings: Path) -> None:
    runs = [loader_batches(make_data(photos, paintings, seed=seed), 3) for seed in (0, 1, 2)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        for step in range(3):
            assert not equal(runs[one][step : step + 1], runs[other][step : step + 1])


def test_other_seeds_crop_the_same_photo_differently(tmp_path: Path) -> None:
    noise((40, 30), 0).save(tmp_path / "photo.png")
    first, second = (training_images(tmp_path, 1, seed=seed) for seed in (0, 1))
    for sample in range(4):
        assert not torch.equal(content(first[sample]), content(second[sample]))


def test_the_same_folders_elsewhere_give_the_same_batches(
    photos: Path, paintings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = loader_batches(make_data(photos, paintings), 4)
    elsewhere = tmp_path / "another" / "place"
    shutil.copytree(photos, elsewhere / "p")
    shutil.copytree(paintings, elsewhere / "s")
    assert equal(loader_batches(make_data(elsewhere / "p", elsewhere / "s"), 4), here)
    monkeypatch.chdir(elsewhere)
    assert equal(loader_batches(make_data(Path("p"), Path("s")), 4), here)


def global_states() -> list[bytes]:
    states = torch.get_rng_state(), np.random.get_state()[1], random.getstate()[1]  # noqa: NPY002
    return [np.asarray(state).tobytes() for state in states]


def test_samples_neither_read_nor_change_the_global_random_numbers(greys: Path) -> None:
    images = training_images(greys, 3)
    images.photos = [images.photos[0]]
    noise((40, 30), 0).save(images.photos[0])
    first = [images[sample] for sample in range(6)]
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    random.seed(99)
    before = global_states()
    # In another order as well.
    second = [images[sample] for sample in reversed(range(6))][::-1]
    assert global_states() == before
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one["pixels"], other["pixels"])
        assert one["style"] == other["style"]


def test_loaders_neither_read_nor_change_the_global_random_numbers(
    photos: Path, paintings: Path
) -> None:
    data = make_data(photos, paintings)
    first = loader_batches(data, 3)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    random.seed(99)
    before = global_states()
    assert equal(loader_batches(data, 3), first)
    assert global_states() == before


# ---- Random crops ---------------------------------------------------------------------------


@given(
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    seed=st.integers(0, 99),
    sample=st.integers(0, 10**9),
    orientation=st.sampled_from(range(1, 9)),
)
def test_a_random_crop_is_a_square_of_the_right_size_inside_the_photo(
    width: int, height: int, seed: int, sample: int, orientation: int
) -> None:
    box = RandomCrop.draw(seed, sample).box(width, height)
    left, top, right, bottom = box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert right - left == pytest.approx(bottom - top, abs=1e-6)
    share = (right - left) * (bottom - top) / (width * height)
    largest = min(width, height) ** 2 / (width * height)
    assert min(0.25, largest) - 1e-9 <= share <= largest + 1e-9
    # Pillow refuses a box outside of the picture, even if only by a rounding error.
    stored = stored_box(box, (height, width) if orientation > 4 else (width, height), orientation)
    assert min(stored) >= 0


def test_random_crops_have_uniform_sizes_and_positions() -> None:
    boxes = np.array([RandomCrop.draw(0, sample).box(300, 200) for sample in range(4000)])
    left, top, right, bottom = boxes.T
    shares = (right - left) * (bottom - top) / 60_000
    # Uniform from a quarter to two thirds, the largest square.
    assert np.quantile(shares, [0.25, 0.5, 0.75]) == pytest.approx([0.354, 0.458, 0.563], abs=0.02)
    for place in (left / (300 - right + left), top / (200 - bottom + top).clip(1e-9)):
        assert np.quantile(place, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.03)


# ---- Content of the batches -----------------------------------------------------------------


def test_styles_and_photos_are_equally_frequent(greys: Path) -> None:
    images = training_images(greys, num_styles=4)
    samples = [images[sample] for sample in range(120)]
    styles = [sample["style"] for sample in samples]
    shown = [photo_index(content(sample)) for sample in samples]
    for drawn, size in ((styles, 4), (shown, 10)):
        shuffles = [drawn[first : first + size] for first in range(0, 120, size)]
        assert all(sorted(shuffle) == list(range(size)) for shuffle in shuffles)
        # In many different orders.
        assert len({tuple(shuffle) for shuffle in shuffles}) > 5


def test_every_photo_meets_every_style(greys: Path) -> None:
    images = training_images(greys, num_styles=10)
    pairs = Counter(
        (photo_index(content(images[sample])), images[sample]["style"]) for sample in range(1000)
    )
    assert len(pairs) == 100
    assert max(pairs.values()) < 30


def test_crops_are_a_quarter_to_all_of_the_photo_and_half_are_flipped(tmp_path: Path) -> None:
    # Red increases to the right and green downwards, by one per pixel.
    side = np.arange(200, dtype=np.uint8)
    pixels = np.stack([*np.meshgrid(side, side), np.zeros((200, 200), np.uint8)], axis=-1)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    images = training_images(tmp_path, num_styles=1, size=50)
    flipped, sides, centres = [], [], []
    for sample in range(200):
        across, down = content(images[sample])[:2].mul(255)
        slope = (across[25, 45] - across[25, 5]).item() / 40
        flipped.append(slope < 0)
        sides.append(abs(slope) * 50)
        assert down[45, 25] > down[5, 25]
        assert abs(slope) == pytest.approx((down[45, 25] - down[5, 25]).item() / 40, abs=0.1)
        centres.append((across[25, 25].item(), down[25, 25].item()))
    assert 0.4 < np.mean(flipped) < 0.6
    assert 95 < min(sides) < 115
    assert 185 < max(sides) < 205
    assert np.std(centres, axis=0).min() > 5


def test_batches_hold_floats_from_0_to_1_and_style_indices(photos: Path, paintings: Path) -> None:
    for num_workers in (0, 1):
        data = make_data(photos, paintings, image_size=24, num_workers=num_workers)
        (batch,) = loader_batches(data, 1)
        assert batch["content"].shape == (4, 3, 24, 24)
        assert batch["content"].dtype == torch.float32
        assert batch["content"].min() >= 0
        assert 0.5 < batch["content"].max() <= 1
        assert batch["style"].shape == (4,)
        assert batch["style"].dtype == torch.int64


def test_photos_of_16_pixels_are_trained_on_and_of_15_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain("RGB", COLOUR, (16, 16)).save(tmp_path / "small.png")
    plain("RGB", COLOUR, (300, 16)).save(tmp_path / "panorama.png")
    for name, size in {"dot": (1, 1), "square": (15, 15), "line": (15, 300)}.items():
        plain("RGB", COLOUR, size).save(tmp_path / f"{name}.png")
    images = training_images(tmp_path, 1)
    for sample in range(20):
        crop = content(images[sample])
        assert crop.shape == (3, 16, 16)
        assert crop[:, 8, 8].tolist() == pytest.approx([part / 255 for part in COLOUR], abs=0.01)
    assert f"Skipped: {tmp_path}/dot.png is 1 x 1 pixels: 16 a side is the least" in caplog.text
    assert images.skipped.count() == 3


# ---- Held-out photos ------------------------------------------------------------------------


def test_added_photos_move_no_other_photo_into_or_out_of_the_held_out_ones(
    photos: Path, paintings: Path
) -> None:
    before = make_data(photos, paintings)
    assert before.train_paths
    assert before.val_paths
    for index in range(40):
        noise((20, 20), index).save(photos / f"a new one {index}.png")
        noise((20, 20), index).save(photos / "far" / f"zz{index}.png")
    after = make_data(photos, paintings)
    assert len(after.train_paths) + len(after.val_paths) == 90
    assert set(before.train_paths) < set(after.train_paths)
    assert set(before.val_paths) < set(after.val_paths)
    assert not set(after.train_paths) & set(after.val_paths)


@pytest.mark.parametrize("fraction", [0.01, 0.05, 0.5, 0.9])
def test_about_the_given_share_is_held_out(fraction: float) -> None:
    held_out = sum(is_held_out(f"folder/photo{index}.jpg", fraction) for index in range(10_000))
    # Five standard deviations.
    assert abs(held_out - 10_000 * fraction) < 500 * (fraction * (1 - fraction)) ** 0.5
    assert not is_held_out("photo.jpg", 0)


def test_the_held_out_photos_are_the_same_in_every_run_and_release() -> None:
    held_out = [index for index in range(20) if is_held_out(f"far/photo{index}.jpg", 0.3)]
    assert held_out == [3, 4, 15, 16, 17, 18]


def test_a_larger_share_only_adds_to_the_held_out_photos() -> None:
    names = [f"photo{index}.jpg" for index in range(500)]
    smaller = {name for name in names if is_held_out(name, 0.1)}
    assert smaller < {name for name in names if is_held_out(name, 0.2)}


def test_photos_with_names_in_any_encoding_can_be_held_out() -> None:
    # What Python makes of a Latin-1 file name on a UTF-8 system.
    assert is_held_out("caf\udce9.jpg", 0.999999)


def test_the_held_out_photos_do_not_depend_on_the_folders_path(
    photos: Path, paintings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held_out(folder: Path) -> list[str]:
        data = make_data(folder, paintings)
        return [path.relative_to(folder).as_posix() for path in data.val_paths]

    elsewhere = tmp_path / "a" / "b"
    shutil.copytree(photos, elsewhere)
    monkeypatch.chdir(tmp_path)
    assert held_out(photos) == held_out(elsewhere) == held_out(Path("a/b"))


@pytest.mark.parametrize("val_fraction", [0.0, 0.3, 0.999])
def test_a_single_photo_is_used_for_training_and_validation(
    val_fraction: float, paintings: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "one").mkdir()
    noise((20, 20), 0).save(tmp_path / "one" / "photo.png")
    data = make_data(tmp_path / "one", paintings, val_fraction=val_fraction)
    assert data.train_paths == data.val_paths == [tmp_path / "one" / "photo.png"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"data.val_fraction={val_fraction}" in caplog.text
    data.setup()
    assert data.val_photos.shape == (1, 3, 16, 16)
    assert len(loader_batches(data, 3)) == 3


# ---- Photos that can't be read --------------------------------------------------------------


def named(text: str, path: Path) -> int:
    return text.count(f"Skipped: {path} can't be read: ")


def test_an_unreadable_photo_is_named_once_and_the_next_one_takes_its_place(
    greys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = training_images(greys, 3)
    for index in (4, 5, 9):
        (greys / f"{index}.png").write_bytes(b"broken")
    broken = training_images(greys, 3)
    instead = {4: 6, 5: 6, 9: 0}
    for index in range(10):
        plain("L", level(index)).save(greys.parent / f"{index}.png")
    whole.photos = [greys.parent / path.name for path in whole.photos]
    for _ in range(2):
        for sample in range(30):
            shown = photo_index(content(whole[sample]))
            assert photo_index(content(broken[sample])) == instead.get(shown, shown)
            assert broken[sample]["style"] == whole[sample]["style"]
    for index in range(10):
        assert named(caplog.text, greys / f"{index}.png") == (index in instead)
    assert broken.skipped.count() == 3


def test_with_several_workers_a_photo_is_named_once_and_replaced_alike(
    photos: Path, paintings: Path, tmp_path: Path
) -> None:
    whole = make_data(photos, paintings)
    path = whole.train_paths[2]
    path.write_bytes(b"broken")
    # Workers log in their own processes, so the records go to a file.
    handler = logging.FileHandler(tmp_path / "log")
    log = logging.getLogger("polystyle.data.skipped_photos")
    log.addHandler(handler)
    listed = tmp_path / "skipped_photos.txt"
    try:
        data = make_data(photos, paintings, num_workers=2, batch_size=2, skipped_photos=str(listed))
        batches = loader_batches(data, 24)
    finally:
        log.removeHandler(handler)
        handler.close()
    # Each of two workers met it.
    assert 2 * 24 / len(data.train_paths) > 3
    assert named((tmp_path / "log").read_text(), path) == 1
    assert listed.read_text().splitlines()[1:] == [
        f"{path}\tcan't be read: it is no picture that Pillow knows"
    ]
    assert data.skipped.count() == 1
    assert equal(batches, loader_batches(make_data(photos, paintings, batch_size=2), 24))


def test_the_run_ends_if_no_photo_can_be_read(greys: Path, paintings: Path) -> None:
    data = make_data(greys, paintings)
    for path in data.train_paths:
        path.write_bytes(b"broken")
    with pytest.raises(ValueError, match="none of the photos can be used"):
        data.setup()
    with pytest.raises(ValueError, match="none of the photos can be used"):
        TrainingImages(data.train_paths, 3, 16, 0, data.skipped)[0]


def test_unreadable_held_out_photos_are_named_and_left_out(
    greys: Path, paintings: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = make_data(greys, paintings, val_fraction=0.7, num_val_photos=3)
    assert len(data.val_paths) > 4
    data.val_paths[1].write_bytes(b"broken")
    data.setup()
    shown = [photo_index(content) for content in data.val_photos]
    assert shown == [int(data.val_paths[index].stem) for index in (0, 2, 3)]
    assert named(caplog.text, data.val_paths[1]) == 1
    for path in data.val_paths:
        path.write_bytes(b"broken")
    with pytest.raises(ValueError, match="none of the held-out photos can be used"):
        data.setup()


# ---- Paintings ------------------------------------------------------------------------------


def test_conditions_are_the_sorted_stems_of_the_paintings(photos: Path, paintings: Path) -> None:
    # Sorted by file name, wave-2.png would precede wave.png.
    noise((20, 20), 0).save(paintings / "wave-2.png")
    touch(paintings, "notes.txt", ".hidden.png", "._wave.png", ".DS_Store", ".more/other.png")
    data = make_data(photos, paintings)
    assert data.conditions == ["candy", "starry_night", "wave", "wave-2"]
    data.setup()
    assert list(data.paintings) == data.conditions


def test_the_shorter_side_of_a_painting_is_style_size(photos: Path, paintings: Path) -> None:
    data = make_data(photos, paintings, style_size=20, image_size=32)
    data.setup()
    shapes = {name: tuple(painting.shape) for name, (painting,) in data.paintings.items()}
    assert shapes == {"wave": (3, 20, 30), "candy": (3, 25, 20), "starry_night": (3, 20, 20)}
    for (painting,) in data.paintings.values():
        assert painting.dtype == torch.float32
        assert painting.min() >= 0
        assert 0.5 < painting.max() <= 1


def test_a_painting_that_needs_no_resizing_is_unchanged(photos: Path, paintings: Path) -> None:
    data = make_data(photos, paintings, style_size=40)
    data.setup()
    expected = torch.from_numpy(np.asarray(noise((60, 40), 1)) / 255).permute(2, 0, 1).float()
    assert torch.allclose(data.paintings["wave"][0], expected, atol=1e-6)


def test_a_large_painting_loses_nothing_by_reduced_decoding(photos: Path, paintings: Path) -> None:
    photo_like(300, 401).save(paintings / "large.jpg", quality=95)
    data = make_data(photos, paintings, style_size=64)
    data.setup()
    full = load_image(paintings / "large.jpg").resize((64, 85), Resampling.BILINEAR)
    expected = torch.from_numpy(np.asarray(full) / 255).permute(2, 0, 1)
    (large,) = data.paintings["large"]
    assert large.shape == expected.shape
    assert (large - expected).abs().mean() < 1.5 / 255


def test_an_unreadable_painting_is_named(photos: Path, paintings: Path) -> None:
    (paintings / "candy.jpg").write_bytes(b"broken")
    data = make_data(photos, paintings)
    with pytest.raises(
        OSError, match=r"^1 of 3 paintings can't be used: .*candy\.jpg can't be read: .+$"
    ):
        data.setup()


def test_two_paintings_with_the_same_name_are_refused(photos: Path, paintings: Path) -> None:
    noise((20, 20), 0).save(paintings / "wave.jpg")
    with pytest.raises(ValueError, match=r"'wave': .*wave\.jpg and .*wave\.png$"):
        make_data(photos, paintings)


# ---- A style of several paintings ------------------------------------------------------------


def test_a_subfolder_is_one_style(photos: Path, paintings: Path) -> None:
    for number, name in enumerate(("a.png", "b.png", "deep/c.png")):
        path = paintings / "monet" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise((30, 20), 10 + number).save(path)
    touch(paintings, "monet/notes.txt", "monet/.hidden.png")
    data = make_data(photos, paintings, style_size=20, image_size=32)
    assert data.conditions == ["candy", "monet", "starry_night", "wave"]
    assert data.summary()[0] == "4 styles: candy, monet (3 paintings), starry_night, wave"
    data.setup()
    assert [painting.shape for painting in data.paintings["monet"]] == [(3, 20, 30)] * 3
    with Image.open(BytesIO(data.thumbnails()["monet"])) as thumbnail:
        assert thumbnail.size[0] == thumbnail.size[1]


def test_subfolders_alone_will_do(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "styles/monet").mkdir(parents=True)
    noise((30, 20), 0).save(tmp_path / "styles/monet/a.png")
    assert make_data(photos, tmp_path / "styles").conditions == ["monet"]


def test_a_subfolder_without_a_picture_is_named(photos: Path, paintings: Path) -> None:
    (paintings / "monet").mkdir()
    with pytest.raises(ValueError, match=r"there is no picture in .*monet"):
        make_data(photos, paintings)


def test_a_file_and_a_subfolder_of_one_name_are_refused(photos: Path, paintings: Path) -> None:
    (paintings / "wave").mkdir()
    noise((30, 20), 0).save(paintings / "wave/a.png")
    with pytest.raises(ValueError, match=r"two styles are named 'wave': .*wave and .*wave\.png$"):
        make_data(photos, paintings)


def test_the_fingerprint_of_a_subfolder_covers_every_painting(
    photos: Path, paintings: Path
) -> None:
    (paintings / "monet").mkdir()
    for name in "ab":
        noise((30, 20), 0).save(paintings / f"monet/{name}.png")
    before = make_data(photos, paintings).fingerprint()["paintings"]
    noise((30, 20), 1).save(paintings / "monet/b.png")
    after = make_data(photos, paintings).fingerprint()["paintings"]
    assert {name for name in before if before[name] != after[name]} == {"monet"}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_mosaic_shows_the_first_four_paintings(count: int) -> None:
    paintings = [torch.full((3, 20 + index, 30), index / 8) for index in range(count)]
    picture = mosaic(paintings)
    if count == 1:
        assert picture is paintings[0]
        return
    assert picture.shape == (3, 40, 40)
    shown = [picture[0, y, x].item() * 8 for y in (10, 30) for x in (10, 30)]
    assert shown == pytest.approx([index % min(count, 4) for index in range(4)])


# ---- The identity style, validation, arguments out of range ----------------------------------


@pytest.mark.parametrize("identity_style", [True, False])
def test_a_painting_named_photo_is_refused(
    photos: Path, paintings: Path, identity_style: bool
) -> None:
    shutil.copy(next(paintings.iterdir()), paintings / "photo.png")
    with pytest.raises(ValueError, match=r"photo\.png: a style can't be named 'photo'"):
        make_data(photos, paintings, identity_style=identity_style)


def test_the_identity_style_is_the_last_and_as_frequent_as_the_others(
    photos: Path, paintings: Path
) -> None:
    names = make_data(photos, paintings).conditions
    data = make_data(photos, paintings, identity_style=True)
    data.setup()
    assert data.conditions == list(data.paintings) == [*names, "photo"]
    assert [name for name, painting in data.paintings.items() if not painting] == ["photo"]
    drawn = Counter(data.training_images[i]["style"] for i in range(3 * len(data.conditions)))
    assert drawn == dict.fromkeys(range(len(names) + 1), 3)
    assert [batch["style"][0].item() for batch in data.val_dataloader()][-1] == len(names)


def test_without_paintings_only_the_identity_style_is_left(photos: Path) -> None:
    data = StyleTransferData(str(photos), None, image_size=16, identity_style=True)
    data.setup()
    assert data.paintings == {"photo": []}
    with pytest.raises(ValueError, match="there is no style"):
        StyleTransferData(str(photos), None)


def test_validation_paints_every_held_out_photo_in_every_style(
    photos: Path, paintings: Path
) -> None:
    data = make_data(photos, paintings, val_fraction=0.7, num_val_photos=3, image_size=24)
    assert len(data.val_paths) > 3
    data.setup()
    assert data.val_photos.shape == (3, 3, 24, 24)
    assert data.val_photos.dtype == torch.float32
    assert data.val_photos.min() >= 0
    assert 0.5 < data.val_photos.max() <= 1
    batches = list(data.val_dataloader())
    assert [batch["style"].tolist() for batch in batches] == [[0] * 3, [1] * 3, [2] * 3]
    for batch in batches:
        assert batch["style"].dtype == torch.int64
        assert torch.equal(batch["content"], data.val_photos)


def test_all_held_out_photos_are_used_if_there_are_too_few(photos: Path, paintings: Path) -> None:
    data = make_data(photos, paintings, num_val_photos=100)
    data.setup()
    assert len(data.val_photos) == len(data.val_paths) < 10


def test_held_out_photos_are_cropped_to_the_middle(tmp_path: Path, paintings: Path) -> None:
    (tmp_path / "wide").mkdir()
    pixels = np.zeros((32, 96, 3), dtype=np.uint8)
    pixels[:, 32:64] = COLOUR
    Image.fromarray(pixels).save(tmp_path / "wide" / "photo.png")
    data = make_data(tmp_path / "wide", paintings, image_size=32)
    data.setup()
    assert torch.allclose(
        data.val_photos[0], torch.tensor(COLOUR)[:, None, None].expand(3, 32, 32) / 255
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_size", 0),
        ("image_size", -256),
        ("style_size", 0),
        ("batch_size", 0),
        ("num_workers", -1),
        ("seed", -1),
        ("batch_size", -4),
        ("num_val_photos", 0),
        ("val_fraction", 1.5),
        ("val_fraction", -0.1),
        ("val_fraction", 1),
    ],
)
def test_arguments_out_of_range_are_named(
    name: str, value: float, photos: Path, paintings: Path
) -> None:
    with pytest.raises(ValueError, match=rf"^data\.{name} must be .*{value}$"):
        make_data(photos, paintings, **{name: value})


def test_missing_folders_are_named(photos: Path, paintings: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        make_data(tmp_path / "nowhere", paintings)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        make_data(photos, tmp_path / "nowhere")


# ---- What training asks of its data ---------------------------------------------------------


def test_an_example_has_every_style_of_the_first_photo_then_of_the_next(
    photos: Path, paintings: Path
) -> None:
    data = make_data(photos, paintings, num_val_photos=2, image_size=32, progressive_share=0.5)
    data.setup()
    example = data.example(8)
    (batch,) = loader_batches(make_data(photos, paintings, image_size=32), 1)
    assert example.keys() == batch.keys()
    assert {key: value.dtype for key, value in example.items()} == {
        key: value.dtype for key, value in batch.items()
    }
    assert example["style"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    shown = [0, 0, 0, 1, 1, 1, 0, 0]
    assert torch.equal(example["content"], data.val_photos[shown])
    assert example["content"].shape == (8, 3, 32, 32)
    assert not torch.equal(data.val_photos[0], data.val_photos[1])


def test_the_summary_counts_styles_and_photos(photos: Path, paintings: Path) -> None:
    data = make_data(photos, paintings)
    to_train_on, held_out = len(data.train_paths), len(data.val_paths)
    assert to_train_on > 1
    assert data.summary() == [
        "3 styles: candy, starry_night, wave",
        f"{to_train_on} photos to train on, {held_out} held out; crops of 16 pixels",
    ]
    data = StyleTransferData(str(photos), None, image_size=32, identity_style=True)
    assert data.summary()[0] == "1 style: photo"


def test_the_summary_names_what_the_folders_hold_and_is_not_read(
    photos: Path, paintings: Path
) -> None:
    others = ["IMG_1.HEIC", "far/IMG_2.heic", "far/clip.MP4", "a.cr2", "b.eps", "notes.txt"]
    touch(photos, *others, ".hidden.heic", ".thumbnails/a.heic")
    (photos / "link").symlink_to(paintings)
    touch(paintings, "scan.jxl")
    _, _, of_photos, of_paintings = make_data(photos, paintings).summary()
    assert of_photos.startswith(f"Not read in {photos}: 2 .heic")
    convert = "(convert them to JPEG or PNG)"
    for kind in (f"1 .cr2 {convert}", f"1 .eps {convert}", "1 .mp4 (videos)", "1 .txt"):
        assert kind in of_photos
    assert "1 link to a folder" in of_photos
    assert "subfolder" not in of_photos  # subfolders are looked into
    assert of_paintings == f"Not read in {paintings}: 1 .jxl {convert}"


def test_many_kinds_of_files_are_told_in_one_line(photos: Path, paintings: Path) -> None:
    touch(photos, *(f"a.x{number}" for number in range(20)), "b.x7")
    line = make_data(photos, paintings).summary()[2]
    assert line.startswith(f"Not read in {photos}: 2 .x7, ")
    assert line.endswith(", 12 others")


def test_photos_smaller_than_the_crops_and_animations_are_counted_once(
    photos: Path, paintings: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [noise((64, 64), number) for number in range(3)]
    frames[0].save(photos / "clip.gif", save_all=True, append_images=frames[1:])
    frames[0].save(photos / "pages.tif", save_all=True, append_images=frames[1:])
    frames[0].save(photos / "depth.mpo", save_all=True, append_images=frames[1:])
    frames[0].save(paintings / "moving.webp", save_all=True, append_images=frames[1:])
    # The shorter sides of the ten photos are 40, 41, 42, 43, 44, 45, 44, 43, 42 and 41.
    data = make_data(photos, paintings, image_size=43)
    data.prepare_data()
    data.setup()
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "5 of 13 photos are smaller than data.image_size=43 pixels: their crops are enlarged, and "
        "less sharp",
        "2 of 13 photos are animations or have pages: only the first picture of each is used",
        f"1 painting, {paintings / 'moving.webp'} for example: only the first picture of an "
        "animation or of pages is used",
    ]
    caplog.clear()
    data = make_data(photos, paintings, image_size=16)
    data.prepare_data()
    assert "smaller" not in caplog.text


def test_settings_are_those_of_the_model_files_header(photos: Path, paintings: Path) -> None:
    data = make_data(photos, paintings, image_size=32, style_size=24)
    assert data.settings == {"seed": 7, "image_size": 32, "style_size": 24, "batch_size": 4}


def test_the_fingerprint_is_the_same_in_every_release(tmp_path: Path) -> None:
    # run.json of older runs has these values. Photos count by name and size, paintings by content.
    for index in range(6):
        path = tmp_path / "photos" / f"{'far/' if index % 2 else ''}photo{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (index + 1))
    (tmp_path / "paintings").mkdir()
    (tmp_path / "paintings/wave.png").write_bytes(b"wave")
    data = make_data(tmp_path / "photos", tmp_path / "paintings", val_fraction=0.5)
    assert data.fingerprint() == {
        "photos to train on": {
            "count": 4,
            "bytes": 12,
            "sha256": "023fd51be7e627bcd743b847c73feb6b2ddb48193616f712154f90a0ca7eb641",
        },
        "held-out photos": {
            "count": 2,
            "bytes": 9,
            "sha256": "55808a3bbb8d961af954d8b2e1dbb3b86e52d3626f8c4a8f577062cb215532f2",
        },
        "paintings": {"wave": "4b125ec99a74470517f9f51ac1a70eafa3dbd1ddd4bae409fe59a98ed720a3a4"},
    }


def test_there_is_a_small_jpeg_of_each_painting_but_none_of_the_identity_style(
    photos: Path, paintings: Path
) -> None:
    data = make_data(photos, paintings, style_size=160, identity_style=True)
    data.setup()
    pictures = {name: Image.open(BytesIO(jpeg)) for name, jpeg in data.thumbnails().items()}
    assert {name: picture.size for name, picture in pictures.items()} == {
        "candy": (51, 64),
        "starry_night": (64, 64),
        "wave": (64, 43),
    }
    assert {picture.format for picture in pictures.values()} == {"JPEG"}


# ---- What Lightning calls -------------------------------------------------------------------


@pytest.mark.parametrize(("stage", "bad"), [("fit", 2), ("fit", 0), ("validate", 2)])
def test_the_end_of_training_reports_the_photos_that_cannot_be_used(
    stage: str, bad: int, greys: Path, paintings: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for index in range(bad):
        (greys / f"{index}.png").write_bytes(b"broken")
    listed = greys.parent / "skipped_photos.txt"
    data = make_data(greys, paintings, skipped_photos=str(listed))
    data.prepare_data()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        data.teardown(stage)
    reports = [f"Photos that can't be used: 2, listed in {listed}"]
    assert caplog.messages == (reports if bad and stage == "fit" else [])


def test_workers_ignore_the_signals_that_the_main_process_handles() -> None:
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGUSR1"):  # Windows has neither
        numbers += [signal.SIGHUP, signal.SIGUSR1]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        init_worker(0)
        assert {signal.getsignal(number) for number in numbers} == {signal.SIG_IGN}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_paintings_in_subfolders_alone_are_told_how_they_are_read(
    photos: Path, paintings: Path, tmp_path: Path
) -> None:
    said = "all in subfolders: each subfolder is one style"
    assert not any(said in line for line in make_data(photos, paintings).summary())
    deep = tmp_path / "museum"
    (deep / "monet").mkdir(parents=True)
    for path in list(paintings.iterdir())[:2]:
        shutil.copy(path, deep / "monet")
    assert f"{deep} holds 2 paintings, {said}" in make_data(photos, deep).summary()
