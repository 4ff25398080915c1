"""Painting at full size, by the very command that the page shows. It runs in a process of its own:
it can be stopped at any time, and a photo too large for the memory ends it and not the page.
Imports no Gradio."""

import os
import re
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from polystyle.files.atomic_file import UNFINISHED

try:
    import pty
except ImportError:  # Windows
    pty = None

PROGRAM = "polystyle-stylize: "
# What the progress bar of a photo that is painted in tiles shows.
MEGAPIXELS = re.compile(r"([\d.]+)/([\d.]+) MP")
# Seconds between two looks at the process, and until one that was asked to end is killed.
INTERVAL, PATIENCE = 0.25, 10.0
MOST_OUTPUT = 2**20  # bytes that are kept of what the process says


class FullSizePainting:
    """A polystyle-stylize under way.

    Args:
        arguments: its arguments, with absolute paths.
        output: an empty folder that it paints to, and works in.
    """

    def __init__(self, arguments: Sequence[str], output: Path) -> None:
        self.output = output
        self.said = b""
        self.is_stopped = False
        if pty:
            # A progress bar is shown on terminals alone.
            self.source, target = pty.openpty()
        else:
            target, log = tempfile.mkstemp(dir=output.parent)
            self.source = os.open(log, os.O_RDONLY)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "polystyle.stylize", *arguments, "--output", str(output)],
                cwd=output,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=target,
            )
        finally:
            os.close(target)

    def progress(self) -> Iterator[tuple[float, float] | None]:
        """Megapixels painted and in all, four times a second until the process has ended; None
        where that is not known."""
        while self.process.poll() is None:
            self.read()
            found = MEGAPIXELS.findall(self.said[-1000:].decode(errors="replace"))
            yield (float(found[-1][0]), float(found[-1][1])) if found else None
            if not pty:
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(INTERVAL)
        self.read()

    def read(self) -> None:
        """Take what the process has said."""
        with suppress(OSError):  # a terminal whose process has ended
            while not pty or select.select([self.source], [], [], INTERVAL)[0]:
                chunk = os.read(self.source, 2**16)
                self.said = (self.said + chunk)[-MOST_OUTPUT:]
                if not chunk or self.process.poll() is None:
                    return

    def messages(self) -> list[str]:
        """The lines that the command has printed besides its progress."""
        lines = re.split(r"[\r\n]+", self.said.decode(errors="replace"))
        return [line.removeprefix(PROGRAM) for line in lines if line.startswith(PROGRAM)]

    def result(self) -> Path:
        """The painting.

        Raises:
            ValueError: there is none; says why in one line.
        """
        files = [path for path in self.output.iterdir() if not path.name.endswith(UNFINISHED)]
        if self.process.returncode == 0 and len(files) == 1:
            return files[0]
        code = self.process.returncode
        reason = f"polystyle-stylize ended with exit status {code}"
        if code == -9:
            reason = "polystyle-stylize was killed, perhaps because it took too much memory"
        raise ValueError((self.messages() or [reason])[-1])

    def stop(self) -> None:
        """End the process, which removes what it has begun to write."""
        if self.process.poll() is not None:
            return
        self.is_stopped = True
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """Stop, and let go of the console."""
        self.stop()
        with suppress(OSError):
            os.close(self.source)
