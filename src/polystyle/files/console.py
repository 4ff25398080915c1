"""Standard output and error that may be closed or disconnected at any time.

The files that a command writes don't depend on what it prints, so a lost console never ends it.
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
    """The raw stream of a console. Failed writes are ignored: the reader of a pipe has exited, the
    terminal is disconnected, or output is redirected to a full disk.

    Args:
        raw: Python's own raw stream.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        self.raw = raw

    def write(self, data: Any, /) -> int:
        try:
            count = self.raw.write(data)
        except (OSError, ValueError):  # ValueError: the stream is closed
            count = None
        # A full non-blocking pipe returns None. If this returned less than the full count, Python
        # would retry the rest.
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
    """Makes failed writes to standard output and error harmless: they neither end this process nor
    change its exit status. Every command calls this first.

    Characters that the console's encoding lacks are written as escapes.
    """
    fill_closed_descriptors()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # Streams that another program has replaced, such as a test runner, stay as they are.
        if stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, tolerant(stream))


def tolerant(stream: io.TextIOWrapper | None) -> io.TextIOWrapper:
    """Wraps one of Python's own text streams in a `Console`. A closed stream, None, becomes the
    null device."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123
    raw: Any = getattr(stream.buffer, "raw", stream.buffer)  # python -u has no buffer
    console = Console(raw)
    return io.TextIOWrapper(
        console if raw is stream.buffer else io.BufferedWriter(console),
        encoding=stream.encoding,
        errors="backslashreplace" if stream.errors == "strict" else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def fill_closed_descriptors() -> None:
    """Opens the null device for every closed standard descriptor, as after ``>&-``. Otherwise the
    next opened file would get the descriptor's number, and with it all that libraries and child
    processes print."""
    for descriptor in STANDARD_DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number
            os.set_inheritable(opened, True)


def exit_on_signals() -> None:
    """Turns SIGTERM, and SIGHUP of a closed terminal, into SystemExit, so that unfinished files are
    removed. The exit status is 128 + the signal's number."""
    for number in (signal.SIGTERM, *hangup_signals()):
        signal.signal(number, exit_as_signalled)


def exit_as_signalled(number: int, frame: FrameType | None) -> None:
    # A closed terminal causes two SIGHUPs, from the kernel and from the shell. The second one must
    # not interrupt the clean-up.
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def hangup_signals() -> list[signal.Signals]:
    """SIGHUP, unless it is ignored, as under nohup. Empty on Windows, which has no SIGHUP."""
    number = getattr(signal, "SIGHUP", None)
    if number is None or signal.getsignal(number) == signal.SIG_IGN:
        return []
    return [number]
