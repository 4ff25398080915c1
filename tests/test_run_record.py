"""What is on record of a run, and what differs when it goes on."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
import pytest
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from training import TINY, make_folders

from polystyle.data.datamodule import StyleTransferData
from polystyle.prepare import prepare
from polystyle.training.run_record import differences, write_record


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_folders(tmp_path)
    return tmp_path


def compose(root: Path, *overrides: str) -> DictConfig:
    folders = (f"data.content_dir={root / 'photos'}", f"data.style_dir={root / 'paintings'}")
    with hydra.initialize_config_module("polystyle.configs", version_base="1.3"):
        return hydra.compose("train", [*TINY, *folders, f"run_dir={root / 'run'}", *overrides])


def make_data(root: Path, photos: str = "photos") -> StyleTransferData:
    return StyleTransferData(str(root / photos), str(root / "paintings"), val_fraction=0.5)


def plain(root: Path, *overrides: str) -> dict[str, Any]:
    return OmegaConf.to_container(compose(root, *overrides))


def changed(root: Path, *overrides: str) -> list[str]:
    return differences(root / "run", plain(root, *overrides), make_data(root).fingerprint())


def record(root: Path, *overrides: str, step: int = 0, changes: Sequence[str] = ()) -> None:
    fingerprint = make_data(root).fingerprint()
    write_record(root / "run", plain(root, *overrides), fingerprint, step, list(changes))


def begin(root: Path, *overrides: str) -> None:
    (root / "run").mkdir()
    record(root, *overrides)


def test_the_record_tells_what_the_run_is(root: Path) -> None:
    begin(root, "seed=3")
    content = json.loads((root / "run/run.json").read_text())
    assert content["seed"] == 3
    assert {"python", "torch", "lightning", "polystyle"} <= content["starts"][0]["versions"].keys()
    assert sum(content["data"][f"{kind}"]["count"] for kind in list(content["data"])[:2]) == 10
    assert sorted(content["data"]["paintings"]) == ["dots", "haze", "rust"]


def test_each_start_is_on_record(root: Path) -> None:
    begin(root)
    record(root, "seed=4", step=8, changes=["seed was 0 and is 4"])
    starts = json.loads((root / "run/run.json").read_text())["starts"]
    assert [(each["step"], each["changes"]) for each in starts] == [
        (0, []),
        (8, ["seed was 0 and is 4"]),
    ]


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("trainer.max_steps=9", "trainer.val_check_interval=3", "ckpt_path=last"),
        ("data.num_workers=3", "callbacks.stylized_grid=null"),
        ("model.compile=true", "run_dir=elsewhere", "trainer.devices=1"),
    ],
)
def test_how_and_where_a_run_goes_on_is_free(root: Path, overrides: tuple[str, ...]) -> None:
    begin(root)
    assert changed(root, *overrides) == []


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("seed=1", "seed was 0 and is 1"),
        ("data.batch_size=6", "data.batch_size was 3 and is 6"),
        ("loss.style_weight=5", "loss.style_weight was 10.0 and is 5"),
        ("loss.style_weights.relu1_2=0.5", "loss.style_weights.relu1_2 was 0.25 and is 0.5"),
        ("model.learning_rate=0.1", "model.learning_rate was 0.001 and is 0.1"),
        ("trainer.precision=32-true", "trainer.precision was auto and is 32-true"),
        ("trainer.gradient_clip_val=1", "trainer.gradient_clip_val was None and is 1"),
        (
            "loss.style_coefficients={rust:2}",
            "loss.style_coefficients was None and is None, "
            "loss.style_coefficients.rust was None and is 2",
        ),
    ],
)
def test_another_configuration_is_told(root: Path, override: str, difference: str) -> None:
    begin(root)
    assert ", ".join(changed(root, override)) in (difference, difference.split(", ")[-1])


def test_how_long_matters_where_the_first_steps_are_on_small_crops(root: Path) -> None:
    begin(root, "data.progressive_share=0.5")
    assert changed(root, "data.progressive_share=0.5", "trainer.max_steps=9") == [
        "trainer.max_steps was 1500 and is 9"
    ]


def add_photo(root: Path) -> None:
    shutil.copy(root / "photos/photo1.png", root / "photos/photo10.png")


def enlarge_photos(root: Path) -> None:
    for path in (root / "photos").iterdir():
        path.write_bytes(path.read_bytes() + b"\0")


def repaint(root: Path) -> None:
    Image.new("RGB", (48, 40), "red").save(root / "paintings/rust.png")


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (add_photo, r"there were \d photos to train on and are \d|there were \d held-out photos"),
        (enlarge_photos, "of 8 photos to train on some have another name or size"),
        (repaint, "other paintings than before: rust"),
    ],
)
def test_other_data_is_told(root: Path, change: Callable[[Path], None], difference: str) -> None:
    begin(root)
    change(root)
    (told, *_) = changed(root)
    assert re.match(difference, told)


def test_data_may_move(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    begin(root)
    moved = tmp_path_factory.mktemp("moved")
    for name in ("photos", "paintings"):
        shutil.copytree(root / name, moved / name)
    assert differences(root / "run", plain(moved), make_data(moved).fingerprint()) == []


def test_a_prepared_set_has_a_fingerprint_too(root: Path) -> None:
    prepare(root / "photos", root / "prepared", size=32)
    fingerprint = make_data(root, "prepared").fingerprint()
    assert fingerprint == make_data(root, "prepared").fingerprint()
    assert fingerprint != make_data(root).fingerprint()


@pytest.mark.parametrize(
    "content", ["", "[]", '{"data": 3}', '{"data": {"paintings": []}}', "[" * 100_000]
)
def test_a_damaged_record_is_named(root: Path, content: str) -> None:
    begin(root)
    (root / "run/run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json is damaged: remove it to go on"):
        changed(root)
    with pytest.raises(ValueError, match=r"run\.json is damaged: remove it to go on"):
        record(root, step=8)


@pytest.mark.parametrize("name", ["configuration", "data"])
def test_a_record_of_half_a_run_is_damaged(root: Path, name: str) -> None:
    begin(root)
    content = json.loads((root / "run/run.json").read_text())
    del content[name]
    (root / "run/run.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"run\.json is damaged: remove it to go on"):
        changed(root)


def test_killed_while_it_writes_its_record_a_run_keeps_the_one_before(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(root)
    before = (root / "run/run.json").read_bytes()

    def replace(partial: Path, path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        record(root, "seed=7", step=8)
    assert (root / "run/run.json").read_bytes() == before


def as_of_0_1(root: Path) -> None:
    """Turn the record into one that polystyle 0.1 wrote."""
    path = root / "run/run.json"
    content = json.loads(path.read_text())
    del content["format_version"]
    config = content["configuration"]
    config["model"] |= {name: config["network"][name] for name in ("width", "init_std")}
    config["model"]["row_rate"] = config["model"].pop("style_lr_multiplier")
    config["data"]["small_share"] = config["data"].pop("progressive_share")
    config["data"]["photo_row"] = config["data"].pop("identity_style")
    config["data"]["cache"] = None
    for group, target in (
        ("data", "polystyle.data.StyleTransferData"),
        ("model", "polystyle.module.MultiStyleModule"),
        ("loss", "polystyle.losses.PerceptualLoss"),
    ):
        config[group]["_target_"] = target
    config["loss"]["vgg"]["_target_"] = "polystyle.vgg.VGG16"
    del config["network"], config["objective"]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("overrides", "differences"),
    [
        ((), []),
        (("network.width=0.25",), ["network.width was 0.125 and is 0.25"]),
        (("data.identity_style=true",), ["data.identity_style was False and is True"]),
        (("loss.style_coefficients={rust:2}",), ["loss.style_coefficients.rust was None and is 2"]),
    ],
)
def test_a_run_of_polystyle_0_1_goes_on(
    root: Path, overrides: tuple[str, ...], differences: list[str]
) -> None:
    begin(root)
    as_of_0_1(root)
    assert changed(root, *overrides) == differences


def test_a_run_without_a_record_goes_on(root: Path) -> None:
    differ: Any = changed(root)
    assert differ == []
