"""Lists the pictures of a folder, and counts the files that are not read. Imports no torch."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from polystyle.data.images import HEIF_REMEDY, HEIF_SUFFIXES, RAW_SUFFIXES, suffixes
from polystyle.files.path_kind import PICTURE_FOLDER, check_kind
from polystyle.files.terminal_text import sanitized

VIDEO_SUFFIXES = (
    *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".h264", ".h265", ".hevc"),
    *(".m1v", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mod", ".mov", ".mp4", ".mpeg"),
    *(".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm"),
    *(".wmv", ".y4m"),
)
# Pictures that are not read, but that other programs convert.
OTHER_PICTURES = (
    *RAW_SUFFIXES,
    *(".ai", ".cdr", ".eps", ".exr", ".hdr", ".jxl", ".jxr", ".kra", ".pdf", ".ps", ".svg"),
    *(".svgz", ".xcf"),
)
# The most kinds of unread files that a message names.
MOST_KINDS = 8

NO_EXTENSION = "without an extension"
FOLDERS, LINKS = "subfolder", "link to a folder"


@dataclass(frozen=True)
class PictureFolder:
    """The contents of a folder.

    Attributes:
        pictures: the paths that have a picture's extension, sorted.
        unread: the number of other files by extension, and of subfolders that were not looked
            into.
    """

    pictures: list[Path]
    unread: Counter[str]


def list_images(folder: Path, deep: bool) -> list[Path]:
    """The paths in a folder that have a picture's extension, sorted; see `look_into`.

    Raises:
        FileNotFoundError: the folder is missing.
        PermissionError: the folder can't be listed.
        ValueError: the folder has no picture. The message names the files that it has.
    """
    found = look_into(folder, deep)
    if not found.pictures:
        check_kind(folder, PICTURE_FOLDER)
        unread = f": it has {unread_kinds(found.unread)}" if found.unread else ""
        raise ValueError(f"there is no picture in {folder}{unread}")
    return found.pictures


def unread_line(folder: Path, deep: bool) -> str | None:
    """One line about the files that `list_images` leaves out: how many of each extension, and the
    remedy. None if there are none, or the folder can't be listed."""
    if not folder.is_dir():
        return None
    try:
        unread = look_into(folder, deep).unread
    except OSError:
        return None
    return sanitized(f"Not read in {folder}: {unread_kinds(unread)}") if unread else None


def look_into(folder: Path, deep: bool) -> PictureFolder:
    """Sorts a folder's files into pictures and others. Hidden files and folders (.thumbnails/) are
    ignored; links to folders are not followed.

    A picture's path may also be a folder, a broken link or a pipe; opening it raises a
    `PictureError` that says so. For the same reason subfolders that can't be listed are among the
    pictures.

    Args:
        folder: where to look.
        deep: look into subfolders, too.

    Raises:
        FileNotFoundError: the folder is missing.
        PermissionError: the folder can't be listed.
    """
    if not folder.is_dir():
        check_kind(folder, PICTURE_FOLDER)
        raise FileNotFoundError(f"there is no folder {folder}")
    pictures: set[Path] = set()
    unread: Counter[str] = Counter()

    def add_closed_folder(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise PermissionError(f"{folder} can't be listed: {error.strerror}") from error
        pictures.add(Path(error.filename))

    for parent, folders, files in os.walk(folder, onerror=add_closed_folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in (name for name in files if not name.startswith(".")):
            suffix = Path(name).suffix.lower()
            if suffix in suffixes():
                pictures.add(Path(parent, name))
            else:
                unread[suffix or NO_EXTENSION] += 1
        for name in folders:
            path = Path(parent, name)
            if path.suffix.lower() in suffixes():
                pictures.add(path)
            elif path.is_symlink():
                unread[LINKS] += 1
            elif not deep:
                unread[FOLDERS] += 1
        if not deep:
            break
    return PictureFolder(sorted(pictures), unread)


def unread_kinds(unread: Counter[str]) -> str:
    """Such as "12 .heic (to read them: ...), 3 .mp4 (videos), 1 subfolder"."""
    kinds = unread.most_common()
    texts = [f"{count} {kind_in_words(kind, count)}" for kind, count in kinds[:MOST_KINDS]]
    others = sum(count for _, count in kinds[MOST_KINDS:])
    return ", ".join([*texts, f"{others} others"] if others else texts)


def kind_in_words(kind: str, count: int) -> str:
    if kind in (FOLDERS, LINKS):
        plural = "links to folders" if kind == LINKS else f"{kind}s"
        return kind if count == 1 else plural
    if kind in HEIF_SUFFIXES:
        return f"{kind} (to read them: {HEIF_REMEDY})"
    if kind in OTHER_PICTURES:
        return f"{kind} (convert them to JPEG or PNG)"
    return f"{kind} (videos)" if kind in VIDEO_SUFFIXES else kind
