"""A console that is gone ends no command; SIGTERM and SIGHUP end one as an exception does."""

import io
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kill_training import make_folders
from vanish_consoles import COMMANDS, attempt, command_line, lose_console

from polystyle.files.console import tolerant

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such consoles")


def test_text_arrives_while_somebody_reads_and_is_dropped_after() -> None:
    reader, writer = os.pipe()
    own = os.fdopen(writer, "w", encoding="utf-8")
    stream = tolerant(own)
    print("read", file=stream, flush=True)
    assert os.read(reader, 100) == b"read\n"
    os.close(reader)
    for _ in range(3):
        print("lost", file=stream, flush=True)
    own.close()
    print("lost", file=stream, flush=True)


def test_a_full_pipe_that_does_not_block_drops_text() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(writer, "w", encoding="utf-8") as own:
        stream = tolerant(own)
        for _ in range(100):
            print("x" * 10_000, file=stream, flush=True)
    os.close(reader)


def test_unbuffered_text_arrives_at_once() -> None:
    reader, writer = os.pipe()
    with io.TextIOWrapper(io.FileIO(writer, "w"), encoding="utf-8", write_through=True) as own:
        print("read", file=tolerant(own))
        assert os.read(reader, 100) == b"read\n"
    os.close(reader)


def test_letters_that_the_console_lacks_are_escaped() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="ascii") as own:
        print("café", file=tolerant(own), flush=True)
        assert os.read(reader, 100) == b"caf\\xe9\n"
    os.close(reader)


def run_program(program: str, redirection: str, folder: Path) -> subprocess.CompletedProcess:
    command = shlex.join([sys.executable, "-c", program])
    return subprocess.run(
        ["bash", "-c", f"{command} {redirection}"], cwd=folder, capture_output=True, timeout=300
    )


def test_the_next_file_does_not_get_the_number_of_a_closed_console(tmp_path: Path) -> None:
    program = (
        "import os, subprocess, sys\n"
        "from polystyle.files.console import tolerate_lost_console\n"
        "tolerate_lost_console()\n"
        "with open('file', 'w') as file:\n"
        "    os.write(1, b'a library'); subprocess.run(['echo', 'a child process'])\n"
        "    print('this program'); file.write('the content')\n"
    )
    result = run_program(program, ">&- 2>&-", tmp_path)
    assert (result.returncode, (tmp_path / "file").read_text()) == (0, "the content")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_command_as_an_exception_does(name: str, tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from polystyle.files.console import exit_on_signals\n"
        "exit_on_signals()\n"
        "try:\n"
        f"    os.kill(os.getpid(), signal.{name})\n"
        "finally:\n"
        f"    os.kill(os.getpid(), signal.{name})\n"
        "    open('cleaned', 'w').close()\n"
    )
    result = run_program(program, "", tmp_path)
    assert result.returncode == 128 + signal.Signals[name]
    assert (tmp_path / "cleaned").exists()


def test_a_sighup_that_was_ignored_stays_ignored(tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from polystyle.files.console import exit_on_signals\n"
        "exit_on_signals(); os.kill(os.getpid(), signal.SIGHUP); open('went_on', 'w').close()\n"
    )
    command = shlex.join([sys.executable, "-c", program])
    subprocess.run(["bash", "-c", f"trap '' HUP; {command}"], cwd=tmp_path, check=True, timeout=300)
    assert (tmp_path / "went_on").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_survives_the_loss_of_its_console(command: str, tmp_path: Path) -> None:
    for way in ("both closed", "nobody reads"):
        assert lose_console(command_line(command, ["--help"]), way, tmp_path) == 0, way


@pytest.mark.slow
def test_work_is_done_without_a_console(tmp_path: Path) -> None:
    make_folders(tmp_path)
    attempt(tmp_path, "train", "nobody reads")
    (tmp_path / "made").rename(tmp_path / "run")
    attempt(tmp_path, "stylize", "both closed")
    attempt(tmp_path, "train", None)
