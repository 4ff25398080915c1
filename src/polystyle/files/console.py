"""The console that a command writes to, which may be closed or vanish at any time.

Nothing that a command makes depends on what it prints, so a console that is gone never ends it.
Imports no torch.
"""

import io
import os
import signal
import sys
from types import FrameType
from typing import Any

STANDARD_DESCRIPTORS = (0, 1, 2)


class Console(io.RawIOBase):
    """A console's raw stream. A write that fails is dropped: a pipe that nobody reads any more, a
    terminal that is gone, a full disk that the output is redirected to.

    Args:
        raw: Python's own raw stream of the console.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        self.raw = raw

    def write(self, data: Any, /) -> int:
        try:
            count = self.raw.write(data)
        except (OSError, ValueError):  # ValueError: the stream is closed
            count = None
        # A full pipe that doesn't block gives None. A count of less than everything would have
        # Python try the rest again.
        return len(data) if count is None else count

    @property
    def name(self) -> Any:
        return getattr(self.raw, "name", None)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.raw.fileno()

    def isatty(self) -> bool:
        return self.raw.isatty()


def tolerate_lost_console() -> None:
    """Let no failed write to the standard output or error end this process, or change its exit
    status. A command calls this first.

    A letter that the console's encoding lacks is written as an escape.
    """
    fill_closed_descriptors()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # A stream that somebody has put in place of Python's own, such as a test runner, stays.
        if stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, tolerant(stream))


def tolerant(stream: io.TextIOWrapper | None) -> io.TextIOWrapper:
    """Python's own text stream, writing through a `Console`; for a closed one, of None, the null
    device."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123
    raw: Any = getattr(stream.buffer, "raw", stream.buffer)  # without a buffer under python -u
    console = Console(raw)
    return io.TextIOWrapper(
        console if raw is stream.buffer else io.BufferedWriter(console),
        encoding=stream.encoding,
        errors="backslashreplace" if stream.errors == "strict" else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def fill_closed_descriptors() -> None:
    """Open the null device in place of the standard descriptors that are closed, as after ``>&-``:
    the next file that is opened would take the number, and get what libraries and child processes
    print."""
    for descriptor in STANDARD_DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            os.set_inheritable(opened, True)


def exit_on_signals() -> None:
    """Have SIGTERM, and SIGHUP of a terminal that vanishes, end this process as an exception does,
    so that it removes what it has begun to write. The exit status is 128 + the signal."""
    for number in (signal.SIGTERM, *hangup_signals()):
        signal.signal(number, exit_as_signalled)


def exit_as_signalled(number: int, frame: FrameType | None) -> None:
    # A terminal that vanishes sends SIGHUP twice: the kernel does, and the shell. The second one
    # must not interrupt the cleaning up.
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def hangup_signals() -> list[signal.Signals]:
    """SIGHUP, unless it was ignored when this process started, as under nohup; Windows has none."""
    number = getattr(signal, "SIGHUP", None)
    if number is None or signal.getsignal(number) == signal.SIG_IGN:
        return []
    return [number]
