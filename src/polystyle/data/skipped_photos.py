"""The photos that a run can't use, and why: named, counted and listed."""

import logging
from contextlib import suppress
from pathlib import Path

from polystyle.data.images import PictureError
from polystyle.files.terminal_text import sanitized

log = logging.getLogger(__name__)

MOST_NAMED = 5


class SkippedPhotos:
    """A list that all processes of a run add to: its loaders' workers, the other devices', and
    those that go on with the run later. Each photo is listed once; only if two processes meet it
    in the same moment, twice.

    The first few are named in the log, too.

    Args:
        path: the list, one line for each photo: which, a tab, and why. None lists nowhere, and nor
            does a path in a folder that isn't there; then each process knows of its own.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.known: set[str] = set()
        self.length_read = 0

    def begin_anew(self) -> set[str]:
        """Empty the list; gives back the photos that were on it."""
        self.read_news()
        listed, self.known, self.length_read = self.known, set(), 0
        if self.path:
            with suppress(OSError):  # as `add`
                self.path.unlink()
        return listed

    def add(self, error: PictureError) -> None:
        photo, reason = sanitized(error.photo), sanitized(error.reason)
        if photo in self.known:
            return
        self.read_news()
        if photo in self.known:
            return
        self.known.add(photo)
        listed = self.path is not None
        if listed:
            try:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(f"{photo}\t{reason}\n")
            except OSError:
                listed = False  # no such folder; or the disk is full, which ends no run for a line
        if len(self.known) <= MOST_NAMED:
            log.warning(f"Skipped: {photo} {reason}")
        elif len(self.known) == MOST_NAMED + 1:
            where = f"all are listed in {self.path}" if listed else "they are not named"
            log.warning(f"Skipped: more photos; {where}")

    def count(self) -> int:
        """How many there are by now, in all processes."""
        self.read_news()
        return len(self.known)

    def read_news(self) -> None:
        """Get to know what other processes have listed since."""
        if self.path is None or not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(self.length_read)
            lines = file.read().decode(errors="replace").splitlines()
            self.length_read = file.tell()
        self.known.update(line.partition("\t")[0] for line in lines)
