"""Run a command in a process of its own, and judge how it ended."""

import os
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from polystyle.files.terminal_text import GARBLING

SECONDS = 120  # the longest that an attempt may take
MEGABYTES = 1000  # beyond a process that imported everything and did nothing
ADDRESSES = 2**34  # bytes of address space: no command can fill the machine's memory


@dataclass
class Outcome:
    """How a command ended.

    Attributes:
        status: the exit status; a negative one is the signal that ended the command.
        output, errors: the standard output and the standard error.
        megabytes: the peak of memory, beyond that of a fork which does nothing.
    """

    status: int
    output: str
    errors: str
    megabytes: float


@dataclass
class Tally:
    """The results of one kind of attack."""

    outcomes: Counter = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    megabytes: float = 0.0


def attempt(command: str, arguments: Sequence[str], folder: Path, **environment: str) -> Outcome:
    """Run ``polystyle-<command>`` in a fork, which has everything imported already."""
    main = import_module(f"polystyle.{command}").main
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if not child:
            os.chdir(folder)
            os.environ.update(environment)
            os.dup2(output.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            # As Python sets them up; a test runner replaces them.
            sys.stdout = os.fdopen(1, "w")
            sys.stderr = os.fdopen(2, "w", errors="backslashreplace")
            warnings.resetwarnings()
            warnings.simplefilter("ignore")
            signal.alarm(SECONDS)
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
            sys.argv = [f"polystyle-{command}", *arguments]
            status = 99
            try:
                status = status_of(main)
            finally:  # even out of memory, the fork must not go on as its parent
                os._exit(status)
        _, status, usage = os.wait4(child, 0)
        output.seek(0)
        errors.seek(0)
        return Outcome(
            os.waitstatus_to_exitcode(status),
            output.read().decode(errors="replace"),
            errors.read().decode(errors="replace"),
            megabytes(usage) - idle_megabytes(),
        )


def megabytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def peak_megabytes() -> float:
    """The most memory that this process has had."""
    return megabytes(resource.getrusage(resource.RUSAGE_SELF))


def idle_megabytes() -> float:
    """The peak of memory of a fork that does nothing."""
    child = os.fork()
    if not child:
        os._exit(0)
    return megabytes(os.wait4(child, 0)[2])


def status_of(main: Callable[[], None]) -> int:
    """Call a command's main(), and return the exit status that Python would end with."""
    status = 0
    try:
        main()
    except SystemExit as leaving:
        status = leaving.code or 0
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:  # any error is the command's, and must not end this script
        traceback.print_exc()
        status = 99
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def fault(command: str, outcome: Outcome) -> str | None:
    """What is wrong with how a command ended; None if it succeeded, or refused in one line."""
    lines = [line for line in outcome.errors.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith(f"polystyle-{command}: ")]
    last = lines[-1] if lines else ""
    if outcome.status not in (0, 1, 2):
        return f"status {outcome.status}: {last}"
    if "Traceback" in outcome.errors or "(unexpected: " in outcome.errors:
        return f"unexpected: {last}"
    if outcome.status == 1 and ours != [last]:
        return f"status 1 and not one line: {last}"
    if outcome.status == 2 and not last.startswith(f"polystyle-{command}: error: "):
        return f"status 2 and no word of argparse: {last}"
    # Progress bars return to the beginning of their line, and go up one.
    printed = (outcome.output + outcome.errors).replace("\x1b[A", "").replace("\r", "\n")
    for line in printed.split("\n"):
        if GARBLING.search(line):
            return f"garbles the terminal: {line!r}"
    if outcome.megabytes > MEGABYTES:
        return f"{outcome.megabytes:.0f} MB"
    return None


def contents(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def import_all() -> None:
    """Import what the commands import, so that their forks need not."""
    for command in ("stylize", "styles", "evaluate", "export", "train", "prepare"):
        import_module(f"polystyle.{command}")
    for module in ("callbacks", "checkpoints", "first_step", "module"):
        import_module(f"polystyle.training.{module}")
    for module in ("lightning.pytorch.loggers", "torch.utils.tensorboard"):
        import_module(module)
    for module in ("polystyle.data.datamodule", "polystyle.losses.perceptual_loss"):
        import_module(module)


def record(tally: Tally, what: str, wrong: str | None, did: str, outcome: Outcome) -> str:
    """Count an attempt; returns the line to print for a violation, else an empty text."""
    tally.megabytes = max(tally.megabytes, outcome.megabytes)
    tally.outcomes["violations" if wrong else did] += 1
    if wrong:
        tally.violations.append(f"{what[:300]!r}: {wrong[:500]!r}")
        return f"VIOLATION {tally.violations[-1]}"
    return ""
