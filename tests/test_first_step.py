"""What is found out before the first step."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training import ONE_THREAD, run, train_command

from polystyle.training import memory
from polystyle.training.memory import capped_at_free_memory, is_out_of_memory

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux' own")


@pytest.mark.slow
def test_a_dry_run_says_what_a_run_would_be_and_writes_nothing(folders: Path) -> None:
    long = ("trainer.fast_dev_run=true", "trainer.max_steps=4000", "hydra.run.dir=dry")
    command = train_command(folders, *long)
    result = run([*command, "model.compile=true", "data.num_workers=1"], folders)
    assert result.returncode == 0, result.stderr
    for said in (
        "3 styles: dots, haze, rust",
        "8 photos to train on, 2 held out",
        "4000 steps of 3 images, ",
        "on cpu",
        "A dry run, trainer.fast_dev_run: one step or a few, and nothing is written",
        "Tried a step: ",
        " in all",
        "All is well, as far as one step tells",
    ):
        assert said in result.stdout, said
    assert "a minute in all" not in result.stdout  # for it is of 4,000 steps
    assert "Compiling" not in result.stdout  # it takes longer than that
    assert "Writing to" not in result.stdout
    assert not (folders / "dry").exists()


@pytest.mark.slow
@LINUX
def test_the_batch_that_fits_is_named_before_the_first_step(folders: Path) -> None:
    # 1.5 GB beyond what is there for imports: room for a few photos, and not for 64.
    limited = (
        "import resource, runpy, sys, torch, lightning.pytorch, torchvision\n"
        "from pathlib import Path\n"
        "status = Path('/proc/self/status').read_text().split('VmData:')[1]\n"
        "most = int(status.split()[0]) * 1024 + 1_500_000_000\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (most, most))\n"
        "runpy.run_module('polystyle.train', run_name='__main__')"
    )
    overrides = train_command(folders, "data.image_size=128", "data.batch_size=64")[3:]
    result = subprocess.run(
        [sys.executable, "-c", limited, *overrides, "hydra.run.dir=large"],
        cwd=folders,
        # What a failed try gives back is the system's again at once, as on a GPU.
        env={**ONE_THREAD, "MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert "data.batch_size=64 does not fit into the memory of cpu" in result.stderr
    fits = int(result.stderr.rpartition("data.batch_size=")[2].split()[0])
    assert fits in (4, 8, 16, 32)
    assert not (folders / "large").exists()


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_met_before_the_first_step(folders: Path) -> None:
    weights = ("loss.style_weight=9e18", "loss.style_weights.relu1_2=9e18")
    coefficient = "loss.style_coefficients={dots:9e18}"
    result = run(train_command(folders, *weights, coefficient, "hydra.run.dir=inf"), folders)
    assert result.returncode == 1
    assert "the loss is inf before the first step: see the weights of the losses" in result.stderr
    assert result.stderr.count("\n") == 1, result.stderr


@LINUX
def test_more_than_is_free_is_refused_and_then_all_is_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 10**8)
    with pytest.raises(RuntimeError) as error, capped_at_free_memory():
        torch.zeros(10**8)  # four times that
    assert is_out_of_memory(error.value)
    assert torch.zeros(10**8).numel() == 10**8


@LINUX
def test_available_memory_is_some_of_the_machines() -> None:
    total = int(Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0]) * 1024
    assert 0 < memory.available_memory() < total


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("[enforce fail] . not enough memory: you tried"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_which_errors_are_of_memory(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) == is_one


@pytest.mark.slow
def test_a_run_writes_about_what_it_says(folders: Path) -> None:
    # Wide enough for weights to count beside pictures.
    overrides = ("network.width=0.5", "trainer.max_steps=4", "trainer.val_check_interval=1")
    result = run(train_command(folders, *overrides, "hydra.run.dir=written"), folders)
    assert result.returncode == 0, result.stderr
    said = float(result.stdout.split("Writing to written, some ")[1].split(" MB")[0]) * 1e6
    files = [path.stat().st_size for path in (folders / "written").rglob("*") if path.is_file()]
    assert sum(files) < said < 3 * sum(files)
