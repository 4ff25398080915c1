"""The commands from the outside: help, running from anywhere, and the scripts."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from training import ONE_THREAD, make_folders, train_command

import polystyle

ROOT = Path(__file__).parents[1]
TARGETS = (
    "quickstart",
    "setup",
    "train",
    "studio",
    "test",
    "test-fast",
    "lint",
    "format",
    "tensorboard",
)
COMMANDS = ("train", "prepare", "stylize", "styles", "evaluate", "export", "studio")


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_how_to_use_it_from_anywhere(name: str, tmp_path: Path) -> None:
    command = Path(sys.executable).with_name(f"polystyle-{name}")
    result = run(str(command), "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert f"polystyle-{name} " in result.stdout
    assert run(sys.executable, "-m", f"polystyle.{name}", "--help", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_its_version_without_loading_torch(name: str, tmp_path: Path) -> None:
    program = (
        f"import sys; from polystyle.{name} import main; sys.argv = ['x', '--version']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules"
    )
    result = run(sys.executable, "-c", program, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"polystyle-{name} {version('polystyle')}\n"
    assert polystyle.__version__ == version("polystyle")


def test_the_configuration_is_shown_without_loading_torch(tmp_path: Path) -> None:
    program = "import sys; from polystyle.train import main; sys.argv[1:] = ['--cfg', 'job']\n"
    program += "main(); assert 'torch' not in sys.modules"
    result = run(sys.executable, "-c", program, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "content_dir: ???" in result.stdout


def test_training_without_folders_says_what_is_missing(tmp_path: Path) -> None:
    result = run(sys.executable, "-m", "polystyle.train", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.strip() == (
        "polystyle-train: data.content_dir is not set: the folder of photos. "
        "See polystyle-train --help"
    )


def test_the_configurations_travel_in_the_wheel() -> None:
    import polystyle.configs

    assert (Path(polystyle.configs.__path__[0]) / "experiment/quickstart.yaml").is_file()


def test_fetch_vgg16_says_where_the_weights_are(tmp_path: Path) -> None:
    result = run(sys.executable, str(ROOT / "scripts/fetch_vgg16.py"), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "7,635,264 numbers, checked" in result.stdout
    assert "Next: polystyle-train" in result.stdout


def test_make_help_lists_every_target(tmp_path: Path) -> None:
    result = run("make", "-C", str(ROOT), cwd=tmp_path)
    assert result.returncode == 0
    for target in TARGETS:
        assert f"  make {target} " in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_that_cannot_show_a_name_ends_no_command(tmp_path: Path, encoding: str) -> None:
    make_folders(tmp_path)
    (tmp_path / "paintings" / "dots.png").rename(tmp_path / "paintings" / "日本.png")
    (tmp_path / "photos" / "photo0.png").rename(tmp_path / "photos" / "Grüße_日本.png")
    escaped = "\\u65e5\\u672c"
    for command, said in (
        ((*train_command(tmp_path, "trainer.max_steps=1", "hydra.run.dir=run")[1:],), escaped),
        (("-m", "polystyle.styles", "list", "run"), escaped),
        (
            (
                "-m",
                "polystyle.stylize",
                "photos/Grüße_日本.png",
                "--model",
                "run",
                "--style",
                "日本",
            ),
            escaped,
        ),
        (("-m", "polystyle.prepare", "photos", "--output", "準備"), "\\u6e96"),
        (("-m", "polystyle.stylize", "日本.jpg", "--style", "nothing"), ""),
    ):
        result = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={**ONE_THREAD, "PYTHONIOENCODING": encoding},
            capture_output=True,
            timeout=300,
        )
        is_refused = "nothing" in command
        assert result.returncode == is_refused, result.stderr
        assert said.encode() in result.stdout + result.stderr
        assert b"codec can't" not in result.stderr
    assert (tmp_path / "run" / "train.log").read_text(encoding="utf-8").count("日本")
