"""The configurations: each composes, each experiment trains a step, and errors name near misses."""

import inspect
from pathlib import Path

import hydra
import pytest
from hydra.errors import ConfigCompositionException
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from training import TINY, make_folders

from polystyle.networks.model_file import Model, save_model
from polystyle.networks.transformer_net import TransformerNet
from polystyle.training.build_run import train
from polystyle.training.config_check import explain

CONFIGS = Path(__file__).parents[1] / "configs"
EXPERIMENTS = sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))
# Every choice of every group, as group=choice.
CHOICES = sorted(
    f"{path.parent.relative_to(CONFIGS).as_posix()}={path.stem}"
    for path in CONFIGS.glob("*/**/*.yaml")
)


def compose(*overrides: str) -> DictConfig:
    with hydra.initialize_config_module("polystyle.configs", version_base="1.3"):
        return hydra.compose("train", overrides=list(overrides))


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes(choice: str) -> None:
    if choice == "hydra/launcher=slurm":
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    cfg = compose(choice, "run_dir=somewhere", "data.content_dir=a", "data.style_dir=b")
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


def test_slurm_gets_a_task_for_each_device() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    overrides = ["hydra/launcher=slurm", "trainer=ddp", "trainer.num_nodes=4", "trainer.devices=8"]
    with hydra.initialize_config_module("polystyle.configs", version_base="1.3"):
        launcher = hydra.compose("train", overrides, return_hydra_config=True).hydra.launcher
    assert (launcher.nodes, launcher.tasks_per_node, launcher.gpus_per_node) == (4, 8, 8)


def test_slurm_without_its_plugin_names_it() -> None:
    error = ConfigCompositionException("Could not load 'hydra/launcher/submitit_slurm'.")
    assert "pip install 'polystyle[slurm]'" in explain(error)


@pytest.mark.parametrize(
    "group", ["data", "network", "objective", "loss", "loss.vgg", "model", "trainer"]
)
def test_keys_are_the_constructors_arguments(group: str) -> None:
    config = OmegaConf.select(compose(), group)
    arguments = inspect.signature(get_class(config._target_).__init__).parameters
    unknown = set(config) - {"_target_"} - set(arguments)
    assert not unknown
    if group != "trainer":
        # What train.py fills in; everything else is written out for people to find.
        filled_in = {"self", "num_styles", "conditions", "network", "objective", "base"}
        assert set(arguments) - set(config) - filled_in == set()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.filterwarnings("ignore")
def test_every_experiment_trains_a_step(experiment: str, tmp_path: Path) -> None:
    photos, paintings = make_folders(tmp_path)
    network = Model(TransformerNet(1, width=0.125), ["sky"])
    save_model(tmp_path / "sky.safetensors", network)
    model_file = tmp_path / "sky.safetensors" if experiment == "add_styles" else "null"
    cfg = compose(
        f"experiment={experiment}",
        *TINY,
        f"model_file={model_file}",
        f"run_dir={tmp_path / 'run'}",
        f"data.content_dir={photos}",
        f"data.style_dir={paintings}",
        "trainer.fast_dev_run=true",
        "data.num_workers=0",
    )
    train(cfg)
    assert not (tmp_path / "run").exists()


def test_an_experiment_wins_over_the_groups() -> None:
    assert compose().data.batch_size == 4
    cfg = compose("experiment=dumoulin2017")
    assert (cfg.data.batch_size, cfg.data.image_size, cfg.trainer.max_steps) == (16, 256, 40000)
    assert (cfg.loss.relative, cfg.loss.vgg.pooling, cfg.network.init_std) == (
        False,
        "average",
        0.01,
    )
    assert set(cfg.loss.style_weights.values()) == {1e-4}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("data.batchsize=4", "data.batch_size"),
        ("batch_size=4", "data.batch_size"),
        ("trainer.max_step=10", "trainer.max_steps"),
        ("loss.styleweight=10", "loss.style_weight"),
    ],
)
def test_a_typo_in_a_key_names_what_was_meant(typed: str, meant: str) -> None:
    with pytest.raises(ConfigCompositionException) as error:
        compose(typed)
    message = explain(error.value)
    assert f"there is no {typed.split('=')[0]} in the configuration" in message
    assert meant in message
    assert "\n" not in message
