"""Folders to write to: refused starts leave none behind, and what stands in the way is named."""

import sys
from pathlib import Path

import pytest
from training import make_folders, run, train_command

from polystyle.files.new_folder import check_can_be_folder, made_folder
from polystyle.training.unused_folder import OwnFolder, remove_unused_folders


def test_a_folder_that_stays_empty_is_removed_with_its_parents(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with pytest.raises(OSError, match="full"), made_folder(tmp_path / "old" / "new" / "inner"):
        assert (tmp_path / "old" / "new" / "inner").is_dir()
        raise OSError("full")
    assert list(tmp_path.rglob("*")) == [tmp_path / "old"]
    with made_folder(tmp_path / "old"):
        pass
    assert (tmp_path / "old").is_dir()


def test_a_folder_that_is_used_stays(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), made_folder(tmp_path / "new" / "inner"):
        (tmp_path / "new" / "inner" / "picture").touch()
        raise OSError("full")
    assert (tmp_path / "new" / "inner" / "picture").exists()


@pytest.mark.parametrize("below", ["", "below", "below/more"])
def test_a_file_where_a_folder_is_to_be_made_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "notes.txt").write_text("Buy milk.\n")
    with (
        pytest.raises(NotADirectoryError, match=r"notes\.txt is a text file, not a folder"),
        made_folder(tmp_path / "notes.txt" / below),
    ):
        pass


def test_a_broken_link_where_a_folder_is_to_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match="link is a broken link, not a folder"):
        check_can_be_folder(tmp_path / "link" / "below")


# ---- Runs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "is_removed"),
    [
        (["train.log"], True),
        (["train.log", "run.lock", "run.json", ".hydra/config.yaml"], True),
        (["tensorboard/events.out.tfevents.1.host"], True),
        ([], True),
        (["train.log", "traceback.txt"], False),
        (["run.json", "checkpoints/last.ckpt"], False),
        (["model.safetensors"], False),
        (["notes.txt"], False),
    ],
)
def test_a_run_that_did_not_begin_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: list[str], is_removed: bool
) -> None:
    folder = tmp_path / "outputs" / "run"
    start = OwnFolder()
    start.remember(folder)
    monkeypatch.setattr("polystyle.training.unused_folder.own", start)
    (folder / "checkpoints").mkdir(parents=True)
    for name in kept:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    remove_unused_folders(refused=folder)
    assert folder.parent.exists() is not is_removed
    assert all((folder / name).exists() is not is_removed for name in kept)


def test_what_a_run_has_put_on_record_stays_unless_it_was_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = OwnFolder()
    start.remember(tmp_path / "run")
    monkeypatch.setattr("polystyle.training.unused_folder.own", start)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").touch()
    remove_unused_folders()
    assert (tmp_path / "run" / "run.json").exists()


def test_nothing_is_removed_from_a_folder_that_was_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = OwnFolder()
    (tmp_path / "train.log").touch()
    start.remember(tmp_path)
    monkeypatch.setattr("polystyle.training.unused_folder.own", start)
    remove_unused_folders(refused=tmp_path)
    assert (tmp_path / "train.log").exists()


def test_a_refused_run_of_a_sweep_leaves_the_records_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = OwnFolder()
    start.remember(tmp_path / "sweep")
    monkeypatch.setattr("polystyle.training.unused_folder.own", start)
    for number in "01":
        (tmp_path / "sweep" / number).mkdir(parents=True)
        (tmp_path / "sweep" / number / "run.json").touch()
    (tmp_path / "sweep" / "multirun.yaml").touch()
    remove_unused_folders(refused=tmp_path / "sweep" / "1")
    assert (tmp_path / "sweep" / "0" / "run.json").exists()
    assert not (tmp_path / "sweep" / "1").exists()


@pytest.mark.slow
def test_a_refused_training_leaves_no_folder(tmp_path: Path) -> None:
    make_folders(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "paintings" / "broken.png").write_bytes(b"broken")
    before = {path for path in tmp_path.rglob("*")}
    for override in (
        "data.content_dir=nowhere",  # refused where the data is built
        "hydra.run.dir=a/b/c",  # refused in Lightning's fit: a painting can't be read
        "hydra.run.dir=mine",  # an empty folder that was there stays, empty
        "hydra.run.dir=photos/photo0.png/x",
    ):
        result = run(train_command(tmp_path, "trainer.max_steps=1", override), tmp_path)
        assert result.returncode == 1, result.stdout
        left = {path for path in tmp_path.rglob("*")} - before
        assert not left, override
    assert "photos/photo0.png is a picture, not a folder" in result.stderr


@pytest.mark.slow
def test_a_refused_run_of_a_sweep_leaves_no_folder(tmp_path: Path) -> None:
    make_folders(tmp_path)
    overrides = ["trainer.max_steps=1", "data.batch_size=-1,0", "hydra.sweep.dir=all"]
    command = train_command(tmp_path, *overrides)
    command.insert(3, "-m")
    result = run(command, tmp_path)
    assert result.returncode == 1
    assert not (tmp_path / "all").exists()


@pytest.mark.slow
def test_a_dry_run_beside_a_run_writes_nothing(tmp_path: Path) -> None:
    make_folders(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").touch()
    result = run(
        train_command(tmp_path, "trainer.fast_dev_run=true", "hydra.run.dir=run"), tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "nothing is written" in result.stdout
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("stylize photos/photo0.png --style nothing --output a/b", "there is no style"),
        ("stylize photos/nothing.png --style udnie --output a/b", "nothing.png"),
        ("stylize photos/photo0.png --style all --output photos/photo1.png", "is a picture, not a"),
        ("prepare photos/photo0.png --output a/b", "is a picture, not a folder of pictures"),
        ("prepare notes --output a/b", "there is no picture in"),
        ("prepare broken --output a/b", "can be read"),
        ("prepare photos --output photos/photo0.png/x", "is a picture, not a folder"),
        ("styles extract pretrained nothing --output a/b", "there is no style"),
        ("styles remove pretrained nothing --output a/b/c", "there is no style"),
        ("styles extract pretrained all --output photos/photo0.png", "is a picture, not a folder"),
        ("styles remove pretrained x --output photos/photo0.png/x", ""),
        ("export nothing --output a/b/c.onnx", "there is no model file"),
        ("export pretrained --output photos/photo0.png/c.onnx", "is a picture, not a folder"),
        ("evaluate pretrained --content-dir photos --style-dir paintings --output a/b", "painting"),
        (
            "evaluate pretrained --content-dir photos --style-dir paintings "
            "--output photos/photo0.png",
            "is a picture, not a folder",
        ),
    ],
)
def test_a_refused_command_leaves_no_folder(tmp_path: Path, command: str, message: str) -> None:
    make_folders(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "photo.png").write_bytes(b"broken")
    before = sorted(tmp_path.rglob("*"))
    name, *arguments = command.split()
    result = run([sys.executable, "-m", f"polystyle.{name}", *arguments], tmp_path)
    assert result.returncode == 1, result.stdout
    assert message in result.stderr
    assert sorted(tmp_path.rglob("*")) == before
