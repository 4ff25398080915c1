"""Where training begins: init=pretrained, init=FILE_OR_RUN, init=scratch."""

from pathlib import Path

import pytest
import torch
from test_add_styles import make_network
from training import make_folders, run, train_command

from polystyle.networks.model_file import load_model
from polystyle.networks.style_rows import rows_of
from polystyle.networks.transformer_net import TransformerNet
from polystyle.training.module import MultiStyleModule
from polystyle.training.starting_network import begin_from

SHORT = ("trainer.max_steps=1", "trainer.val_check_interval=1", "data.num_workers=0")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    make_folders(root)
    make_network(root / "old.safetensors", "sky", "sea")
    return root


def module_of(net: TransformerNet, *names: str) -> MultiStyleModule:
    return MultiStyleModule(list(names), lambda count: net, objective=None)


def test_shared_tensors_are_copied_and_all_of_the_network_is_trained(root: Path) -> None:
    old = load_model(root / "old.safetensors").net.state_dict()
    module = module_of(TransformerNet(3, width=0.125), "dots", "haze", "rust")
    begin_from(module, str(root / "old.safetensors"))
    rows = rows_of(module.net)
    for name, tensor in module.net.state_dict().items():
        if name not in rows:
            assert torch.equal(tensor, old[name]), name
    assert all(parameter.requires_grad for parameter in module.net.parameters())
    assert module.trained().style_names == ["dots", "haze", "rust"]


def test_scratch_changes_nothing() -> None:
    module = module_of(TransformerNet(1, width=0.125), "dots")
    before = {name: tensor.clone() for name, tensor in module.net.state_dict().items()}
    begin_from(module, "scratch")
    assert module.origin is None
    for name, tensor in module.net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_another_width_than_the_shipped_networks_starts_from_scratch_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    module = module_of(TransformerNet(1, width=0.125), "dots")
    with caplog.at_level("INFO"):
        begin_from(module, "pretrained")
    assert module.origin is None
    assert (
        "Training starts from scratch: the trained network is a TransformerNet(width=1.0), and "
        "this one a TransformerNet(width=0.125)" in caplog.text
    )


def test_a_file_of_another_kind_is_refused(root: Path) -> None:
    module = module_of(TransformerNet(1, width=0.25), "dots")
    with pytest.raises(ValueError, match=r"init=.*old.safetensors: the trained network is a Trans"):
        begin_from(module, str(root / "old.safetensors"))


def test_a_file_that_is_not_there_is_named(root: Path) -> None:
    module = module_of(TransformerNet(1, width=0.125), "dots")
    with pytest.raises(FileNotFoundError, match="there is no model file nowhere"):
        begin_from(module, "nowhere.safetensors")


def test_each_style_begins_as_the_nearest_one(root: Path) -> None:
    """At a learning rate of 0 the rows stay what they began as."""
    frozen = ("model.learning_rate=0", "init=old.safetensors", "hydra.run.dir=frozen")
    result = run(train_command(root, *SHORT, *frozen), root)
    assert result.returncode == 0, result.stderr
    assert "Training starts from old.safetensors, a network of 2 styles" in result.stdout
    assert "Each style begins as the nearest one: dots as s" in result.stdout
    old, new = load_model(root / "old.safetensors"), load_model(root / "frozen/model.safetensors")
    for name, table in rows_of(old.net).items():
        for row in rows_of(new.net)[name]:
            assert (row == table).all(1).any(), name


def test_a_resumed_run_needs_the_starting_network_no_more(root: Path) -> None:
    make_network(root / "gone.safetensors", "sky")
    whole = ("init=gone.safetensors", "hydra.run.dir=whole", "trainer.max_steps=2")
    assert run(train_command(root, *SHORT, *whole), root).returncode == 0
    half = ("init=gone.safetensors", "hydra.run.dir=half")
    assert run(train_command(root, *SHORT, *half), root).returncode == 0
    (root / "gone.safetensors").unlink()
    result = run(train_command(root, *SHORT, *half, "trainer.max_steps=2", "ckpt_path=last"), root)
    assert result.returncode == 0, result.stderr
    expected = load_model(root / "whole/model.safetensors").net.state_dict()
    for name, tensor in load_model(root / "half/model.safetensors").net.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
