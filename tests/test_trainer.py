"""Every key of the Trainer's configuration works, or is refused by name."""

import inspect
import json
import logging
import logging.handlers
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import hydra
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from training import load_checkpoint, run, train_command

from polystyle.training import build_run
from polystyle.training.trainer import REFUSED, check_trainer

EARLY_STOPPING = "+callbacks.early._target_=lightning.pytorch.callbacks.EarlyStopping"

# What lives in a Trainer's configuration beside the refused keys; each does what Lightning says.
WORKING = {
    *("accelerator", "strategy", "devices", "num_nodes", "precision", "fast_dev_run", "max_steps"),
    *("min_steps", "max_time", "limit_val_batches", "val_check_interval", "num_sanity_val_steps"),
    *("log_every_n_steps", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"),
    *("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "deterministic"),
    *("benchmark", "inference_mode", "profiler", "detect_anomaly", "sync_batchnorm"),
    *("default_root_dir",),
}

Start = Callable[..., list[str]]


def configuration(root: Path, *overrides: str) -> DictConfig:
    """The configuration of a tiny run, as polystyle-train composes it."""
    line = train_command(root, "data.num_workers=0", *overrides)[3:]
    with hydra.initialize_config_module("polystyle.configs", version_base="1.3"):
        return hydra.compose("train", line)


@pytest.fixture
def start(folders: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Start:
    """Carries out a tiny run in ``tmp_path``, in this process, and returns what it says."""
    caplog.set_level(logging.INFO)

    def start(*overrides: str) -> list[str]:
        caplog.clear()
        build_run.train(configuration(folders, f"run_dir={tmp_path}", *overrides))
        return caplog.messages

    return start


def test_every_argument_of_the_trainer_is_known() -> None:
    arguments = inspect.signature(Trainer).parameters.keys()
    assert WORKING.isdisjoint(REFUSED)
    assert arguments == WORKING | REFUSED.keys()


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("trainer.max_epochs=1", "trainer.max_epochs can't be 1: .* set trainer.max_steps"),
        ("+trainer.min_epochs=1", "set trainer.min_steps"),
        ("+trainer.limit_train_batches=1", "trainer.limit_train_batches can't be 1: "),
        ("+trainer.limit_train_batches=0.5", "trainer.limit_train_batches can't be 0.5: "),
        ("+trainer.overfit_batches=1", "a folder of few photos in data.content_dir"),
        ("trainer.check_val_every_n_epoch=1", "set trainer.val_check_interval"),
        ("+trainer.reload_dataloaders_every_n_epochs=1", "there are no epochs"),
        ("trainer.use_distributed_sampler=true", "the data shares each batch"),
        ("+trainer.callbacks=[]", r"\+callbacks.NAME._target_=CLASS"),
        ("+trainer.logger=false", "logger=tensorboard, csv or none"),
        ("+trainer.plugins=[]", "checkpoints"),
        ("+trainer.barebones=true", "checkpoints"),
        ("+trainer.limit_test_batches=1", "trains and validates"),
        ("trainer.max_time=soon", "'soon'.* is not a valid duration"),
        ("+trainer.max_stepz=2", "unexpected keyword argument 'max_stepz'"),
    ],
)
def test_what_would_be_ignored_is_refused(start: Start, override: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        start(override)


def test_values_that_change_nothing_are_not_refused(folders: Path) -> None:
    check_trainer(configuration(folders, "trainer.max_epochs=null").trainer)
    check_trainer(configuration(folders, "+trainer.limit_train_batches=1.0").trainer)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_bar_checkpoints_and_curves_can_be_switched_off(
    start: Start, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    off = ("trainer.enable_progress_bar=false", "trainer.enable_checkpointing=false", "logger=none")
    messages = start("trainer.max_steps=2", *off)
    assert "Step" not in capfd.readouterr().err
    made = {path.name for path in tmp_path.iterdir()}
    assert made >= {"model.safetensors", "stylized"}
    assert made.isdisjoint({"checkpoints", "tensorboard", "csv"})
    assert not any("Curves" in message for message in messages)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_csv_has_the_curves_and_the_intervals_count_optimizer_steps(
    start: Start, tmp_path: Path
) -> None:
    intervals = ("trainer.accumulate_grad_batches=2", "trainer.val_check_interval=2")
    messages = start("logger=csv", "trainer.max_steps=4", *intervals)
    pictures = sorted(path.name for path in (tmp_path / "stylized").iterdir())
    assert pictures == ["step-000000.png", "step-000002.png", "step-000004.png"]
    folder = tmp_path / "csv/version_0"
    header, *rows = (folder / "metrics.csv").read_text().splitlines()
    place = header.split(",").index("val/loss")
    assert sum(row.split(",")[place] != "" for row in rows) == 2
    assert "train/loss" in header and "val_style_loss/dots" in header
    assert OmegaConf.load(folder / "hparams.yaml").trainer.max_steps == 4
    assert "Curves: " in messages[-1] and messages[-1].endswith("csv/version_0/metrics.csv")


class VanishingTerminal(Callback):
    """Sends SIGHUP twice within a step, as the kernel and the shell do, and once more where the
    last checkpoint is written."""

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 1:
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGHUP)

    def on_save_checkpoint(self, trainer: Trainer, *_: Any) -> None:
        if not trainer.training:
            signal.raise_signal(signal.SIGHUP)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_a_terminal_that_vanishes_stops_the_run_after_its_step(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unwanted: list[int] = []  # what would have killed the process
    before = signal.signal(signal.SIGHUP, lambda number, _: unwanted.append(number))
    try:
        with pytest.raises(SystemExit) as end:
            start("trainer.max_steps=5", "+callbacks.end._target_=test_trainer.VanishingTerminal")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert end.value.code == 128 + signal.SIGHUP
    assert not unwanted
    assert load_checkpoint(tmp_path / "checkpoints/last.ckpt")["global_step"] == 2
    assert caplog.messages[-1].startswith("Go on:  polystyle-train ")


class PictureLogger(Logger):
    """Takes pictures and hyperparameters as Lightning's WandbLogger does, and keeps them."""

    pictures: ClassVar[list[int]] = []
    numbers: ClassVar[set[str]] = set()
    hyperparameters: ClassVar[dict[str, Any]] = {}

    name = version = "kept"
    experiment = object()

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.numbers.update(metrics)

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        self.hyperparameters.update(params)

    def log_image(self, key: str, images: list[torch.Tensor], step: int | None = None) -> None:
        assert key == "stylized" and images[0].ndim == 3
        self.pictures.append(step)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_another_logger_gets_numbers_pictures_and_the_configuration(start: Start) -> None:
    start("trainer.max_steps=1", "logger=none", "logger={_target_:test_trainer.PictureLogger}")
    kept = hydra.utils.get_class("test_trainer.PictureLogger")
    assert kept.pictures == [0, 1]
    assert {"train/loss", "val/loss", "train/learning_rate"} <= kept.numbers
    assert kept.hyperparameters["trainer"]["max_steps"] == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_summary_and_the_profile_are_printed(start: Start) -> None:
    printed = logging.handlers.MemoryHandler(1000)
    logging.getLogger("lightning.pytorch").addHandler(printed)  # beside its own, of the console
    try:
        start("trainer.max_steps=1", "trainer.enable_model_summary=true")
        start("trainer.max_steps=2", "ckpt_path=last", "+trainer.profiler=simple")
    finally:
        logging.getLogger("lightning.pytorch").removeHandler(printed)
    summary, profile = (record.getMessage() for record in printed.buffer)
    assert "| TransformerNet |" in summary
    assert "FIT Profiler Report" in profile


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_time_limit_ends_a_run_with_a_reason_and_it_goes_on_to_the_same_bits(
    start: Start, folders: Path, tmp_path: Path
) -> None:
    same = ("trainer.accumulate_grad_batches=2", "model/scheduler=constant", "ckpt_path=last")
    messages = start(*same, "+trainer.min_steps=3", "trainer.max_time=00:00:00:00")
    assert "Stopped before step 1500: the time limit is reached (trainer.max_time)" in messages
    assert messages[-1].startswith("Go on:  polystyle-train ")
    assert load_checkpoint(tmp_path / "checkpoints/last.ckpt")["global_step"] == 3
    messages = start(*same, "trainer.max_steps=5", "trainer.max_time=00:01:00:00")
    assert any("checkpoints/last.ckpt, step 3" in message for message in messages)
    build_run.train(
        configuration(folders, f"run_dir={tmp_path / 'straight'}", *same, "trainer.max_steps=5")
    )
    model = "model.safetensors"
    assert (tmp_path / model).read_bytes() == (tmp_path / "straight" / model).read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_early_stopping_ends_each_start_with_a_reason(start: Start, tmp_path: Path) -> None:
    never_better = ("+callbacks.early.monitor=val/loss", "+callbacks.early.min_delta=100")
    line = (EARLY_STOPPING, *never_better, "+callbacks.early.patience=2", "ckpt_path=last")
    line += ("trainer.max_steps=20", "trainer.val_check_interval=1", "callbacks.stylized_grid=null")
    for step in (3, 5):  # the first validation is the best
        messages = start(*line)
        assert any("val/loss did not improve in the last 2 records" in m for m in messages)
        assert load_checkpoint(tmp_path / "checkpoints/last.ckpt")["global_step"] == step


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["callbacks.best_checkpoints.monitor=val/los"], "monitor=val/los, .* mean val/loss?"),
        ([EARLY_STOPPING, "+callbacks.early.monitor=train/los"], "did you mean train/loss?"),
        ([EARLY_STOPPING, "+callbacks.early.monitor=val_loss/dot"], "did you mean val_loss/dots?"),
        (
            [EARLY_STOPPING, "+callbacks.early.monitor=val/loss", "trainer.limit_val_batches=0"],
            "EarlyStopping has monitor=val/loss, which nothing logs",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_monitor_that_nothing_logs_is_found_before_the_first_step(
    start: Start, tmp_path: Path, overrides: list[str], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        start("trainer.max_steps=2", *overrides)
    assert not (tmp_path / "stylized").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_run_without_validation_says_what_it_lacks(start: Start, tmp_path: Path) -> None:
    # More steps to a logged one than there are: the last one is logged.
    line = ("trainer.max_steps=2", "trainer.limit_val_batches=0", "trainer.log_every_n_steps=100")
    messages = start(*line, "logger=csv")
    assert any("there is no best_checkpoints" in message for message in messages)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    assert "train/loss" in (tmp_path / "csv/version_0/metrics.csv").read_text()


def test_a_deterministic_run_does_not_search_for_fast_convolutions(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = configuration(folders, f"run_dir={folders}", "trainer.deterministic=true").trainer
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *_, **__: None)
    build_run.make_trainer(hydra.utils.instantiate(cfg, _partial_=True), cfg, [], False)
    assert not torch.backends.cudnn.benchmark


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_a_given_network_decides_is_not_typed_beside_it(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("trainer.max_steps=1", "callbacks.stylized_grid=null")
    (tmp_path / "model.safetensors").rename(tmp_path / "base.safetensors")
    typed = f"model_file={tmp_path / 'base.safetensors'}"
    for override, complaint in (
        ("network.width=0.5", "network.width=0.5: .* whose width is 0.125. Leave out"),
        ("init=scratch", "init and model_file"),
    ):
        monkeypatch.setattr(build_run, "typed_overrides", lambda override=override: [override])
        with pytest.raises(ValueError, match=complaint):
            start(typed, override)


@pytest.mark.slow
def test_a_sweep_trains_one_run_for_each_value_and_goes_on_after_one_that_fails(
    folders: Path,
) -> None:
    values = "data.batch_size=2,0,3"
    line = (values, "logger=null", "trainer.max_steps=1", "hydra.sweep.dir=sweep")
    result = run([*train_command(folders, *line, "data.num_workers=0"), "-m"], folders)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last == "polystyle-train: jobs of this sweep that failed: sweep/1"
    assert "polystyle-train: sweep/1 failed: " in result.stdout
    assert not (folders / "sweep/1").exists()
    for number, batch_size in ((0, 2), (2, 3)):
        assert (folders / f"sweep/{number}/model.safetensors").exists()
        assert not (folders / f"sweep/{number}/tensorboard").exists()
        configuration = OmegaConf.load(folders / f"sweep/{number}/.hydra/config.yaml")
        assert configuration.data.batch_size == batch_size


def test_hydra_is_not_told_to_change_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    told = SimpleNamespace(job=SimpleNamespace(chdir=True))
    monkeypatch.setattr(build_run.HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(build_run.HydraConfig, "get", lambda: told)
    with pytest.raises(ValueError, match=r"hydra\.job\.chdir=true: paths are relative"):
        build_run.check_working_directory()
    told.job.chdir = False
    build_run.check_working_directory()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_start_that_is_refused_adds_nothing_to_the_run_that_it_would_go_on_with(
    start: Start, tmp_path: Path
) -> None:
    line = ("ckpt_path=last", "callbacks.stylized_grid=null")
    start(*line, "trainer.max_steps=1")
    files = [tmp_path / "run.json", tmp_path / ".hydra/config.yaml"]
    before = [path.read_bytes() for path in files]
    with pytest.raises(ValueError, match="which nothing logs"):
        start(*line, "trainer.max_steps=2", "callbacks.best_checkpoints.monitor=val/los")
    assert [path.read_bytes() for path in files] == before
    start(*line, "trainer.max_steps=2")
    assert [s["step"] for s in json.loads(files[0].read_text())["starts"]] == [0, 1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_finished_run_of_one_cycle_names_the_way_to_train_on(
    start: Start, folders: Path, tmp_path: Path
) -> None:
    line = ("model/scheduler=one_cycle", "ckpt_path=last", "trainer.max_steps=2")
    start(*line, "callbacks.stylized_grid=null")
    messages = start(*line)
    (said,) = [message for message in messages if message.startswith("It is at step 2 already: ")]
    assert f" init={os.path.relpath(tmp_path)} hydra.run.dir=NEW_FOLDER, without " in said
    further = ("trainer.max_steps=1", f"init={tmp_path}", f"run_dir={tmp_path / 'further'}")
    assert f"Training starts from {tmp_path}, a network of 3 styles" in start(*further)
