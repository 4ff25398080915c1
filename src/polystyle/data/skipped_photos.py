"""The photos that a run can't use, and why: logged, counted and listed in a file."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from polystyle.data.images import PictureError
from polystyle.files.terminal_text import sanitized

log = logging.getLogger(__name__)

# Photos that are named in the log or in an error, at most.
MOST_NAMED = 5

# The first line of the list, by which polystyle knows a file that it may delete.
HEADING = "# polystyle: photos that could not be used, and why"
# The list's usual name. Earlier versions wrote it without a heading.
USUAL_NAME = "skipped_photos.txt"


def first_errors(errors: Sequence[PictureError]) -> str:
    """The first few errors in one line, and how many more there are."""
    named = "; ".join(map(str, errors[:MOST_NAMED]))
    more = len(errors) - MOST_NAMED
    return f"{named}; and {more} more" if more > 0 else named


class SkippedPhotos:
    """A list that all processes of a run add to: the loaders' workers, the other devices' processes
    and later starts of the same run. Each photo is listed once, except that two processes that meet
    it at the same moment may both list it.

    The first few photos are also logged.

    Args:
        path: the file, with a line for each photo: its path, a tab, and the reason. With None, or
            if the file can't be written, each process knows only its own photos.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.known: set[str] = set()
        self.length_read = 0

    def begin_anew(self) -> set[str]:
        """Empties the list; returns the photos that were on it.

        Raises:
            ValueError: see `check_is_own`.
        """
        self.check_is_own()
        self.read_additions()
        listed, self.known, self.length_read = self.known, set(), 0
        if self.path:
            with suppress(OSError):  # as in `append`
                self.path.unlink()
        return listed

    def check_is_own(self) -> None:
        """Raises ValueError if the path is a file that polystyle did not write: a list of photos to
        skip, as somebody may take it for, would be deleted."""
        if self.path is None or not self.path.exists():
            return
        if not is_list_of_polystyle(self.path):
            raise ValueError(
                f"data.skipped_photos={self.path} is not a list that polystyle wrote, and would be "
                "replaced: name a new file, to which photos that can't be used are written"
            )

    def add(self, error: PictureError) -> None:
        """Lists a photo, unless any process has listed it already."""
        photo, reason = sanitized(error.photo), sanitized(error.reason)
        if photo in self.known:
            return
        self.read_additions()
        if photo in self.known:
            return
        self.known.add(photo)
        is_listed = self.append(f"{photo}\t{reason}\n")
        if len(self.known) <= MOST_NAMED:
            log.warning(f"Skipped: {photo} {reason}")
        elif len(self.known) == MOST_NAMED + 1:
            where = f"all are listed in {self.path}" if is_listed else "they are not named"
            log.warning(f"Skipped: more photos; {where}")

    def append(self, line: str) -> bool:
        """Whether the line could be written. A missing folder or a full disk must not end the run
        for the sake of this list."""
        if self.path is None:
            return False
        try:
            with self.path.open("a", encoding="utf-8") as file:
                # Two processes that begin the list at the same moment both write the heading.
                file.write(line if file.tell() else f"{HEADING}\n{line}")
        except OSError:
            return False
        return True

    def count(self) -> int:
        """The number of photos that any process has listed so far."""
        self.read_additions()
        return len(self.known)

    def read_additions(self) -> None:
        """Reads the lines that other processes have added since the last time."""
        if self.path is None or not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(self.length_read)
            lines = file.read().decode(errors="replace").splitlines()
            self.length_read = file.tell()
        self.known.update(line.partition("\t")[0] for line in lines if line != HEADING)


def is_list_of_polystyle(path: Path) -> bool:
    """Whether a file begins with the list's heading, or is a list of an earlier version. An empty
    file has nothing to lose."""
    try:
        with path.open("rb") as file:
            first_line = file.readline().decode(errors="replace").rstrip()
    except OSError:  # a folder, for example
        return False
    is_earlier = path.name == USUAL_NAME and "\t" in first_line
    return first_line in ("", HEADING) or is_earlier
