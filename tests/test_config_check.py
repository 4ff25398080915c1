"""Values of the configuration are of the types that constructors ask for."""

from typing import Any, Literal

import hydra
import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from polystyle.training.config_check import (
    check_config,
    check_types,
    drop_unused,
    explain,
    in_words,
)
from polystyle.training.run_record import RENAMED


def compose(*overrides: str) -> DictConfig:
    needed = ("data.content_dir=a", "data.style_dir=b", "run_dir=c")
    with hydra.initialize_config_module("polystyle.configs", version_base="1.3"):
        return hydra.compose("train", [*needed, *overrides])


def check(*overrides: str) -> None:
    check_types(OmegaConf.to_container(compose(*overrides), resolve=True))


@pytest.mark.parametrize("experiment", ["quickstart", "fast", "dumoulin2017", "add_styles"])
def test_our_own_values_pass(experiment: str) -> None:
    check(f"experiment={experiment}")
    check(f"experiment={experiment}", "trainer=ddp")


@pytest.mark.parametrize(
    "override",
    [
        "model.learning_rate=1",
        "trainer.max_time=00:01:00:00",
        "trainer.limit_val_batches=2",
        "trainer.fast_dev_run=3",
        "trainer.devices=[0,1]",
        "data.num_workers=2",
        "callbacks.stylized_grid=null",
        "+trainer.overfit_batches=0.5",
        "loss.style_coefficients={wave:2}",
    ],
)
def test_what_is_asked_for_passes(override: str) -> None:
    check(override)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("model.learning_rate=fast", "model.learning_rate must be float, not 'fast'"),
        ("model.compile=1.5", "model.compile must be bool, not 1.5"),
        ("model.scheduler.total_steps=no", "model.scheduler.total_steps must be int or null"),
        ("data.batch_size=2.5", "data.batch_size must be int, not 2.5"),
        ("data.content_dir=[1]", "data.content_dir must be str, not [1]"),
        ("loss.style_weights.relu1_2=x", "loss.style_weights must be"),
        ("loss.vgg=3", "loss.vgg must be"),
        ("trainer.accumulate_grad_batches=null", "trainer.accumulate_grad_batches must be int"),
        ("trainer.val_check_interval=0.5", "trainer.val_check_interval must be int, not 0.5"),
        ("callbacks.stylized_grid.max_photos=x", "callbacks.stylized_grid.max_photos must be int"),
        ("model.learning_rate=nan", "model.learning_rate must be a finite number, not nan"),
        ("network.width=.inf", "network.width must be float"),
        ("loss.tv_weight=1e22", "loss.tv_weight must be a finite number"),
        ("loss.style_weights.relu1_2=1e22", "loss.style_weights.relu1_2 must be a finite number"),
        ("data.batch_size=true", "data.batch_size must be int, not True"),
        ("loss.vgg._target_=cuda", "_target_ must name a class or function, not 'cuda'"),
        ("logger._target_=''", "_target_ must name a class or function, not ''"),
        (
            "trainer.precision=64-true",
            "trainer.precision must be auto or 32-true or bf16-mixed or 16-mixed, not '64-true'",
        ),
        ("seed=x", "seed must be int, not 'x'"),
        ("model.scheduler=one_cycle", "model.scheduler takes no name: choose model/scheduler=one"),
        ("ckpt_path=3", "ckpt_path must be str or null, not 3"),
        ("allow_changes=3", "allow_changes must be bool, not 3"),
    ],
)
def test_another_type_is_named(override: str, complaint: str) -> None:
    with pytest.raises(ValueError) as error:
        check(override)
    assert str(error.value).startswith(complaint)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (float, "float"),
        (str | None, "str or null"),
        (Literal["max", "average"], "max or average"),
        (dict[str, float] | None, "dict[str, float] or null"),
        (Any, "Any"),
    ],
)
def test_in_words(annotation: Any, words: str) -> None:
    assert in_words(annotation) == words


@pytest.mark.parametrize("key", RENAMED)
def test_a_key_of_polystyle_0_1_is_refused_with_its_new_name(key: str) -> None:
    """Typed on the command line, and in a configuration of one's own."""
    said = f"{key} is called {RENAMED[key]} now" if RENAMED[key] else f"there is no {key} any more"
    with pytest.raises(ConfigCompositionException) as error:
        compose(f"{key}=1")
    assert said in explain(error.value)
    cfg = compose(f"+{key}=1")
    with pytest.raises(ValueError, match=said):
        check_config(cfg)


def test_arguments_that_ones_own_part_does_not_take_are_left_out() -> None:
    cfg = compose("objective._target_=collections.Counter", "network._target_=uuid.UUID")
    before = OmegaConf.to_container(cfg)
    assert drop_unused(cfg, ["network.width=0.5"]) == [
        "uuid.UUID takes no init_std: left out of network",
    ]
    after = OmegaConf.to_container(cfg)
    assert after["network"].keys() == {"_target_", "width"}
    del before["network"], after["network"]
    assert after == before
