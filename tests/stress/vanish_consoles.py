"""Take the console from every command, and check that it does its work all the same.

    python tests/stress/vanish_consoles.py

Each command runs with its standard output or error closed, on a full disk, and in a pipe that
nobody reads; polystyle-train and polystyle-stylize also in a terminal that vanishes. The exit
status must be that of the same command with a console, and what it makes must be there, with no
unfinished file beside it. The last line counts the attempts; the exit status is 1 if one failed.

Takes about three minutes, on one core. Linux and macOS.
"""

import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from kill_training import LostError, make_folders, scratch_folder
from tqdm import tqdm

from polystyle.files.atomic_file import UNFINISHED

# What a shell appends to the command. The status is that of the command, and not of `head`.
WAYS = {
    "stdout closed": ">&-",
    "stderr closed": "2>&-",
    "both closed": ">&- 2>&-",
    "full disk": ">/dev/full 2>&1",
    "nobody reads": "2>&1 | head -c 0",
}

TRAIN = (
    *("data.content_dir=photos", "data.style_dir=paintings", "data.image_size=32"),
    *("data.style_size=32", "data.batch_size=3", "data.num_val_photos=2", "data.val_fraction=0.3"),
    *("data.num_workers=1", "model.compile=false", "loss.vgg.weights=random", "init=scratch"),
    *("network.width=0.125", "trainer.accelerator=cpu"),
)

# The arguments of each command, which makes something in the folder ``made``, and one file of it.
COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {
    "train": ((*TRAIN, "trainer.max_steps=2", "hydra.run.dir=made"), "checkpoints/last.ckpt"),
    "stylize": (
        ("photos", "--style", "dots", "--model", "run", "--output", "made"),
        "photo29-dots.png",
    ),
    "prepare": (("photos", "--output", "made"), "photos-000000.tar"),
    "evaluate": (
        ("run", "--photos", "1", "--gatys-steps", "1", "--output", "made"),
        "table.csv",
    ),
    "styles": (("remove", "run", "haze", "--output", "made/new.safetensors"), "new.safetensors"),
    "export": (("run", "--output", "made/new.onnx"), "new.onnx"),
}

# What each command does in a terminal until that vanishes, and the file that it has written then.
LONG_COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {
    "train": (
        (*TRAIN, "trainer.max_steps=100000", "hydra.run.dir=made"),
        "stylized/step-000000.png",
    ),
    "stylize": (
        ("photos", "--style", "all", "--model", "run", "--output", "made"),
        "photo02-dots.png",
    ),
}


def command_line(command: str, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", f"polystyle.{command}", *arguments]


def one_thread() -> dict[str, str]:
    """The environment. Small tensors on several threads spend their time waiting."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def make_inputs(root: Path) -> None:
    """Photos and paintings, and a trained network in ``run``."""
    make_folders(root)
    arguments = (*TRAIN, "trainer.max_steps=1", "hydra.run.dir=run")
    command = command_line("train", arguments)
    subprocess.run(command, cwd=root, env=one_thread(), check=True, capture_output=True)


def lose_console(command: Sequence[str], way: str, folder: Path) -> int:
    """Run a command whose console is lost in one of `WAYS`; returns its exit status."""
    script = f"{shlex.join(command)} {WAYS[way]}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=one_thread(),
        capture_output=True,
        timeout=900,
        check=False,
    )
    return done.returncode


def lose_terminal(command: Sequence[str], folder: Path, written: Path) -> int:
    """Run a command in a terminal that vanishes once a file is there; returns its exit status."""
    child, terminal = pty.fork()
    if not child:
        os.chdir(folder)
        os.execve(command[0], command, one_thread())
    deadline = time.monotonic() + 900
    while not written.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def check(status: int, expected: int, written: Path) -> None:
    """Raises LostError for another exit status, a missing file, or an unfinished one."""
    if status != expected:
        raise LostError(f"the exit status is {status}, not {expected}")
    if not written.is_file():
        raise LostError(f"there is no {written}")
    if unfinished := list(written.parent.rglob(f".*{UNFINISHED}")):
        raise LostError(f"{unfinished[0]} is left")


def attempt(root: Path, command: str, way: str | None) -> None:
    """Run a command that loses its console, and check what it did.

    Args:
        root: a folder that `make_inputs` filled.
        command: a key of `COMMANDS`, or of `LONG_COMMANDS`.
        way: a key of `WAYS`; None for a terminal that vanishes.

    Raises:
        LostError: the command did not do its work, or has another exit status.
    """
    made = root / "made"
    shutil.rmtree(made, ignore_errors=True)
    try:
        if way:
            arguments, written = COMMANDS[command]
            check(lose_console(command_line(command, arguments), way, root), 0, made / written)
            return
        arguments, written = LONG_COMMANDS[command]
        status = lose_terminal(command_line(command, arguments), root, made / written)
        last = made / "checkpoints/last.ckpt" if command == "train" else made / written
        check(status, 128 + signal.SIGHUP, last)
    except LostError as error:
        raise LostError(f"{command}, {way or 'the terminal vanishes'}: {error}") from error


def main() -> None:
    """The command."""
    attempts = [(command, way) for command in COMMANDS for way in WAYS]
    attempts += [(command, None) for command in LONG_COMMANDS]
    try:
        with scratch_folder() as root:
            make_inputs(root)
            for command, way in tqdm(attempts, unit="console"):
                attempt(root, command, way)
    except LostError as error:
        sys.exit(f"vanish_consoles.py: {error}")
    print(f"{len(attempts)} consoles lost, and no work")


if __name__ == "__main__":
    main()
