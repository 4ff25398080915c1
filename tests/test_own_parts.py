"""Networks, losses and tasks of one's own, as README.md and docs/training.md show them: what stands
there trains, resumes and loads again."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import fork_server
import pytest
import torch
from training import TINY, load_checkpoint, make_folders

from polystyle.networks.model_file import load_model

ROOT = Path(__file__).parents[1]
SECTION = "".join(
    (ROOT / page).read_text().split(heading)[1].split("\n## ")[0]
    for page, heading in (
        ("README.md", "## Your own network, loss or task"),
        ("docs/training.md", "## A task of your own"),
    )
)
FILES = {
    name: code for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", SECTION, re.DOTALL)
}
COMMANDS = re.findall(r"^    (polystyle-train .*)$", SECTION, re.MULTILINE)
SMALL = [text for text in TINY if not text.startswith(("network.", "loss.", "data."))]
SMALL_STYLE_TRANSFER = [text for text in TINY if not text.startswith("network.")]
STEPS = ("trainer.val_check_interval=2", "ckpt_path=last")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own")
    make_folders(root)
    for name, code in FILES.items():
        (root / name).write_text(code)
    return root


def train(root: Path, command: str, run: str, max_steps: int) -> subprocess.CompletedProcess:
    """A command of those pages, on small data, until a step."""
    command = command.replace("PHOTOS", "photos").replace("PAINTINGS", "paintings")
    arguments = shlex.split(command)[1:]
    small = SMALL if "data._target_" in command else SMALL_STYLE_TRANSFER
    if "objective._target_" in command:
        small = [text for text in small if not text.startswith("loss.")]
    run_line = (*STEPS, f"hydra.run.dir={run}", f"trainer.max_steps={max_steps}")
    command = [sys.executable, "-m", "polystyle.train", *small, *arguments, *run_line]
    return fork_server.run(command, root)


def module_of(root: Path, name: str) -> ModuleType:
    """A file of the section as a module."""
    module = ModuleType(name)
    exec(FILES[f"{name}.py"], module.__dict__)
    return module


def test_the_section_has_three_parts() -> None:
    assert list(FILES) == ["my_net.py", "my_loss.py", "my_task.py"]
    assert len(COMMANDS) == 3


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, 2], ids=["network", "loss", "task"])
def test_it_stops_resumes_bit_for_bit_and_loads_again(root: Path, number: int) -> None:
    for run, stops in ((f"whole{number}", [4]), (f"halves{number}", [2, 4])):
        for max_steps in stops:
            result = train(root, COMMANDS[number], run, max_steps)
            assert result.returncode == 0, result.stdout + result.stderr
    assert f"Going on from halves{number}/checkpoints/last.ckpt, step 2" in result.stdout
    whole, halves = (
        load_checkpoint(root / f"{run}{number}/checkpoints/last.ckpt")
        for run in ("whole", "halves")
    )
    assert whole["global_step"] == halves["global_step"] == 4
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(tensor, halves["state_dict"][name]), name
    network = module_of(root, "my_net").MyNet if number == 0 else None
    model = load_model(root / f"halves{number}", network=network)
    conditions = ["slight", "strong"] if number == 2 else ["dots", "haze", "rust"]
    assert model.style_names == conditions
    for name, tensor in model.net.state_dict().items():
        assert torch.equal(tensor, whole["state_dict"][f"net.{name}"]), name
    if number == 0:
        assert model.net.arguments == {"channels": 16}
        with pytest.raises(ValueError, match="holds a MyNet, which is not one of polystyle's"):
            load_model(root / f"halves{number}")


def test_what_ones_own_part_does_not_take_is_named(root: Path) -> None:
    line = f"{COMMANDS[0]} network.width=0.5 trainer.fast_dev_run=true"
    result = train(root, line, "wrong", 4)
    assert result.returncode == 1
    assert "unexpected keyword argument 'width'" in result.stderr
    assert result.stderr.count("\n") == 1
