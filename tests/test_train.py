"""polystyle-train as a user types it: runs, resuming, stopping, and what it says when it can't."""

import os
import signal
import subprocess
import time
from pathlib import Path

import hydra
import pytest
import torch
from hydra.errors import InstantiationException
from training import ONE_THREAD, load_checkpoint, make_folders, run, train_command

from polystyle.networks.model_file import load_model
from polystyle.training.build_run import train
from polystyle.training.trainer import best_precision

STEPS = ("trainer.max_steps=8", "trainer.val_check_interval=4", "data.num_workers=2")


@pytest.fixture(scope="module")
def whole_run(folders: Path) -> Path:
    """Eight steps without a break, shared by the tests, which only read it."""
    result = run(train_command(folders, *STEPS, "hydra.run.dir=whole"), folders)
    assert result.returncode == 0, result.stderr
    assert "polystyle-stylize PHOTO --model whole --style all" in result.stdout
    assert "whole/stylized/step-000008.png" in result.stdout
    assert "tensorboard --logdir whole" in result.stdout
    return folders / "whole"


def assert_same_state(one: Path, other: Path) -> None:
    """Same step, weights and optimizer state, bit for bit."""
    one, other = load_checkpoint(one), load_checkpoint(other)
    assert one["global_step"] == other["global_step"]
    for name, tensor in one["state_dict"].items():
        assert torch.equal(tensor, other["state_dict"][name]), name
    for optimizer, same in zip(one["optimizer_states"], other["optimizer_states"], strict=True):
        for index, state in optimizer["state"].items():
            for name, tensor in state.items():
                assert torch.equal(tensor, same["state"][index][name]), f"{index} {name}"
        assert optimizer["param_groups"] == same["param_groups"]


@pytest.mark.slow
def test_a_run_lives_in_one_folder(whole_run: Path) -> None:
    made = {path.relative_to(whole_run).as_posix() for path in whole_run.rglob("*")}
    assert {
        ".hydra/config.yaml",
        "checkpoints/last.ckpt",
        "checkpoints/step-000004.ckpt",
        "checkpoints/step-000008.ckpt",
        "model.safetensors",
        "stylized/step-000000.png",
        "stylized/step-000004.png",
        "stylized/step-000008.png",
    } <= made
    assert len(list((whole_run / "tensorboard").glob("events.*"))) == 1


@pytest.mark.slow
def test_the_model_file_holds_the_trained_weights(whole_run: Path) -> None:
    model = load_model(whole_run / "model.safetensors")
    net, style_names = model.net, model.style_names
    assert style_names == ["dots", "haze", "rust"]
    trained = load_checkpoint(whole_run / "checkpoints/last.ckpt")["state_dict"]
    assert {f"net.{name}" for name in net.state_dict()} == set(trained)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, trained[f"net.{name}"]), name


@pytest.mark.slow
def test_a_style_of_several_paintings_is_trained_and_its_folder_may_not_change(
    tmp_path: Path,
) -> None:
    _, paintings = make_folders(tmp_path)
    (paintings / "earth").mkdir()
    for name in ("dots", "rust"):
        (paintings / f"{name}.png").rename(paintings / f"earth/{name}.png")
    line = ("hydra.run.dir=series", "ckpt_path=last", "trainer.val_check_interval=2")
    line += ("loss=dumoulin2017", "loss.vgg.pooling=average", "data.num_workers=0")
    result = run(train_command(tmp_path, *line, "trainer.max_steps=2"), tmp_path)
    assert result.returncode == 0, result.stderr
    assert "2 styles: earth (2 paintings), haze" in result.stdout
    model = load_model(tmp_path / "series/model.safetensors")
    assert model.style_names == ["earth", "haze"]
    assert model.thumbnails.keys() == {"earth", "haze"}

    (paintings / "earth/dots.png").unlink()
    result = run(train_command(tmp_path, *line, "trainer.max_steps=4"), tmp_path)
    assert result.returncode == 1
    assert "other paintings than before: earth" in result.stderr


@pytest.mark.slow
def test_stopping_and_resuming_equals_not_stopping(whole_run: Path) -> None:
    root = whole_run.parent
    # The same line both times, as the README promises, but for how far to go.
    line = ("hydra.run.dir=halves", "ckpt_path=last", "data.num_workers=2")
    every = "trainer.val_check_interval=4"
    for max_steps in (4, 8):
        result = run(train_command(root, *line, every, f"trainer.max_steps={max_steps}"), root)
        assert result.returncode == 0, result.stderr
    assert "Going on from halves/checkpoints/last.ckpt, step 4" in result.stdout
    assert "Step: 100%" in result.stdout and " 8/8 [" in result.stdout  # the bar is the whole run's
    assert_same_state(root / "halves/checkpoints/last.ckpt", whole_run / "checkpoints/last.ckpt")
    # Typed once more, it has nothing to do, and says so.
    before = (root / "halves/checkpoints/last.ckpt").read_bytes()
    result = run(train_command(root, *line, every, "trainer.max_steps=8"), root)
    assert result.returncode == 0, result.stderr
    assert "It is at step 8 already: raise trainer.max_steps to train on" in result.stdout
    assert (root / "halves/checkpoints/last.ckpt").read_bytes() == before
    # One folder of curves, in which the steps go on where they were.
    assert [path.name for path in (root / "halves").iterdir() if "tensorboard" in path.name] == [
        "tensorboard"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_whole_run_that_goes_on(folders: Path, number: signal.Signals) -> None:
    name, every = number.name, "trainer.val_check_interval=4"
    line = (f"hydra.run.dir={name}", "ckpt_path=last", "data.num_workers=2", every)
    # In a session of its own: a terminal sends Ctrl-C to the whole group, workers included.
    process = subprocess.Popen(
        train_command(folders, *line, "trainer.max_steps=100000"),
        cwd=folders,
        env=ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (folders / name / "stylized/step-000000.png").exists():
            assert time.monotonic() < deadline and process.poll() is None, process.stdout.read()
            time.sleep(0.05)
        time.sleep(0.5)
        os.killpg(process.pid, number)
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    output = output.decode()
    assert process.returncode == 128 + number, output
    assert "Traceback" not in output
    assert f"hydra.run.dir={name} ckpt_path=last" in output
    reached = load_checkpoint(folders / name / "checkpoints/last.ckpt")["global_step"]
    assert f"Step {reached} of 100000" in output
    load_model(folders / name / "model.safetensors")
    # Where it stopped is chance: it must equal a run that goes two steps further without a break.
    further = f"trainer.max_steps={reached + 2}"
    straight = train_command(folders, f"hydra.run.dir=straight_{name}", every, further)
    for command in (train_command(folders, *line, further), straight):
        result = run(command, folders)
        assert result.returncode == 0, result.stderr
    assert_same_state(
        folders / name / "checkpoints/last.ckpt",
        folders / f"straight_{name}" / "checkpoints/last.ckpt",
    )


@pytest.mark.slow
def test_a_finished_run_is_not_overwritten(whole_run: Path) -> None:
    before = (whole_run / "checkpoints/last.ckpt").read_bytes()
    result = run(train_command(whole_run.parent, *STEPS, "hydra.run.dir=whole"), whole_run.parent)
    assert result.returncode == 1
    assert result.stderr.strip() == (
        "polystyle-train: whole holds a run already: add ckpt_path=last to go on with it, "
        "or choose another hydra.run.dir"
    )
    assert (whole_run / "checkpoints/last.ckpt").read_bytes() == before


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("ckpt_path=nothing.ckpt", "ckpt_path: there is no file nothing.ckpt"),
        ("loss.vgg.weights=nothing.pth", "no file of VGG-16 weights at nothing.pth"),
        ("loss.vgg.pooling=sum", "loss.vgg.pooling must be max or average, not 'sum'"),
        ("loss.style_coefficients={rusty:2}", "no style 'rusty'; nearest is 'rust'"),
        ("network.width=0", "width must be over 0, not 0"),
        ("trainer.max_steps=-1", "trainer.max_steps must be at least 1, not -1"),
    ],
)
def test_a_wrong_value_is_named(
    folders: Path, tmp_path: Path, override: str, complaint: str
) -> None:
    overrides = train_command(folders, *STEPS, f"run_dir={tmp_path}", "data.num_workers=0")[3:]
    with hydra.initialize_config_module("polystyle.configs", version_base="1.3"):
        cfg = hydra.compose("train", [*overrides, override])
    with pytest.raises((ValueError, OSError, InstantiationException)) as error:
        train(cfg)
    assert complaint in str(error.value.__cause__ or error.value)


@pytest.mark.slow
def test_other_paintings_do_not_resume(whole_run: Path, tmp_path: Path) -> None:
    make_folders(tmp_path)
    (tmp_path / "paintings/rust.png").rename(tmp_path / "paintings/sand.png")
    last = f"ckpt_path={whole_run / 'checkpoints/last.ckpt'}"
    result = run(train_command(tmp_path, *STEPS, last), tmp_path)
    assert result.returncode == 1
    assert "trained on the styles dots, haze, rust; the paintings now are dots, haze, sand" in (
        result.stderr
    )
    assert f"experiment=add_styles model_file={whole_run}" in result.stderr
    assert f"init={whole_run}" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("data.content_dir=nowhere", "there is no folder nowhere"),
        ("data.batchsize=4", "there is no data.batchsize in the configuration: did you mean "),
        (
            "experiment=quickstar",
            "there is no experiment=quickstar: did you mean",
        ),
        ("trainer.accelerator=abacus", "abacus"),
    ],
)
def test_an_error_is_one_line(folders: Path, override: str, complaint: str) -> None:
    result = run(train_command(folders, *STEPS, override), folders)
    assert result.returncode == 1
    assert complaint in result.stderr
    assert result.stderr.startswith("polystyle-train: ")
    assert result.stderr.count("\n") == 1, result.stderr


def test_precision_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert best_precision("cpu") == "bf16-mixed"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert best_precision("cpu") == "32-true"
