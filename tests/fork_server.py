"""Commands in processes that start with everything imported.

Importing torch, Lightning and Hydra takes 3.5 seconds, and the tests run some two hundred commands.
A process of multiprocessing's fork server does without it. Arguments, folder, output
and exit status are the command's own, as in a process that starts an interpreter; tests of signals,
of consoles, of packages that are missing and of the imports themselves start one.
"""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

FORK_SERVER = multiprocessing.get_context("forkserver")
FORK_SERVER.set_forkserver_preload(
    [
        "polystyle.training.build_run",
        "polystyle.painting.paint_job",
        "polystyle.evaluation.evaluate",
        "polystyle.networks.onnx_file",
        "polystyle.networks.style_commands",
        "polystyle.data.prepare_set",
    ]
)


def run(
    command: list[str | Path], cwd: str | Path = ".", timeout: float = 300
) -> subprocess.CompletedProcess:
    """Run ``python -m MODULE ARGUMENT...`` as `subprocess.run` does, and return its output as text.

    Raises:
        subprocess.TimeoutExpired: the command was not done after `timeout` seconds.
    """
    python, dash_m, module, *arguments = map(str, command)
    assert (python, dash_m) == (sys.executable, "-m")
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, "stdout"), Path(folder, "stderr")]
        process = FORK_SERVER.Process(
            target=run_module, args=(module, arguments, str(cwd), list(map(str, outputs)))
        )
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(command, timeout)
        stdout, stderr = (path.read_text() for path in outputs)
    return subprocess.CompletedProcess(command, process.exitcode, stdout, stderr)


def run_module(module: str, arguments: list[str], cwd: str, outputs: list[str]) -> None:
    """What the process does: it becomes ``python -m module`` and ends as an interpreter does."""
    for number, path in enumerate(outputs, start=1):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(cwd)
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()
