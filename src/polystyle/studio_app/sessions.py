"""The browsers that have the page open: each has a folder of its own, which is deleted when its tab
is closed. Imports no Gradio."""

import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path, PureWindowsPath

from PIL import Image

from polystyle.data.images import load_resized
from polystyle.data.picture_folder import VIDEO_SUFFIXES
from polystyle.studio_app.full_size import FullSizePainting
from polystyle.studio_app.networks import Network

# Pixels of the photo that previews are painted from: as many as the strokes are painted on, or two
# cores would need more than a second.
PREVIEW_PIXELS = 160_000

# The longest name that an uploaded file keeps, in bytes.
MAX_NAME = 200

# The sample photos: those of scikit-image that are free, see scripts/make_sample_data.py.
SAMPLES = {
    "coffee": "coffee.png",
    "cat": "chelsea.png",
    "astronaut": "astronaut.png",
    "rocket": "rocket.jpg",
}


@dataclass(frozen=True)
class Photo:
    """A photo to paint.

    Attributes:
        path: the file.
        typed: how a command line names it.
        sample: its name if it is a sample.
        size: width and height, upright.
        preview: a small RGB copy.
    """

    path: Path
    typed: str
    sample: str | None
    size: tuple[int, int]
    preview: Image.Image


@dataclass
class Session:
    """One open page.

    Attributes:
        folder: everything of this page on the disk.
        photo: the photo to paint; None before there is one.
        closed: set when the tab is closed.
        painting: the painting at full size that is under way.
        drawing: what is brushed over the photo: RGBA.
        full_size_of: the command line, softness and drawing last painted at full size.
        uploads: folders where Gradio has put what this page has uploaded.
        shown: the network whose styles the page shows.
    """

    folder: Path
    photo: Photo | None = None
    closed: threading.Event = field(default_factory=threading.Event)
    painting: FullSizePainting | None = None
    drawing: Image.Image | None = None
    full_size_of: tuple[str, float, Image.Image | None] | None = None
    uploads: set[Path] = field(default_factory=set)
    shown: Network | None = None

    def stop(self) -> None:
        """End the painting at full size that is under way."""
        if self.painting is not None:
            self.painting.stop()

    def new_folder(self) -> Path:
        """An empty folder, named so that no other page can guess it."""
        folder = self.folder / secrets.token_urlsafe(8)
        folder.mkdir(parents=True)
        return folder


class Sessions:
    """The open pages by Gradio's session hash.

    Args:
        root: the folder for all of them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.open: dict[str, Session] = {}
        self.lock = threading.Lock()

    def get(self, session_hash: str) -> Session:
        """The session of a page; a new one for a page that has none yet."""
        with self.lock:
            if session_hash not in self.open:
                self.open[session_hash] = Session(self.root / secrets.token_urlsafe(16))
            return self.open[session_hash]

    def close(self, session_hash: str) -> None:
        """Stop what a page has asked for, and delete its files."""
        with self.lock:
            session = self.open.pop(session_hash, None)
        if session is not None:
            session.closed.set()
            session.stop()
            for folder in (*session.uploads, session.folder):
                shutil.rmtree(folder, ignore_errors=True)

    def close_all(self) -> None:
        """Close all sessions, at the end of the server."""
        for session_hash in list(self.open):
            self.close(session_hash)


def sample_files() -> dict[str, Path]:
    """The sample photos that are installed, by name."""
    package = find_spec("skimage")
    if package is None or package.origin is None:
        return {}
    folder = Path(package.origin).parent / "data"
    files = {name: folder / file for name, file in SAMPLES.items()}
    return {name: path for name, path in files.items() if path.is_file()}


def sample_photo(name: str) -> Photo:
    """A sample photo, which a command line names by its full path.

    Raises:
        ValueError: there is no such sample.
    """
    files = sample_files()
    if name not in files:
        raise ValueError(f"there is no sample photo {name!r} here")
    return read_photo(files[name], str(files[name]), name)


def uploaded_photo(session: Session, upload: Path, name: str) -> Photo:
    """Copy an uploaded file into a session's folder.

    The upload itself is deleted with the session: the page still shows it for a moment, and another
    page that uploads the same bytes shares it.

    Args:
        session: whose photo it is.
        upload: the file.
        name: what the file is called on the user's machine.

    Raises:
        ValueError: it can't be read as a photo.
    """
    name = file_name(name)
    session.uploads.add(upload.parent)
    folder = session.new_folder()
    try:
        with named(name):
            if Path(name).suffix.lower() in VIDEO_SUFFIXES:
                raise ValueError("it is a video: polystyle-stylize paints those")
            shutil.copyfile(upload, folder / name)
            return read_photo(folder / name, name)
    except ValueError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def file_name(name: str) -> str:
    """A name that a browser tells, as the name of a file on this machine."""
    plain = PureWindowsPath(name).name.replace("\0", "")
    plain = plain.encode(errors="ignore").decode()
    if len(plain.encode()) > MAX_NAME:
        return f"photo{Path(plain).suffix[:10]}"
    return plain if plain.strip(".") else "photo"


@contextmanager
def named(name: str) -> Iterator[None]:
    """Errors of the block under the name that the file has on the user's machine."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ValueError(f"{name}: {getattr(error, 'reason', None) or error}") from error


def read_photo(path: Path, typed: str, sample: str | None = None) -> Photo:
    """A photo with its preview.

    Raises:
        OSError: it can't be read as a picture.
    """
    sizes = []

    def preview_size(width: int, height: int) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
        sizes.append((width, height))
        factor = min(1.0, (PREVIEW_PIXELS / (width * height)) ** 0.5)
        return (0, 0, width, height), (
            max(1, round(width * factor)),
            max(1, round(height * factor)),
        )

    preview = load_resized(path, preview_size, spare=2)
    return Photo(path, typed, sample, sizes[0], preview)
