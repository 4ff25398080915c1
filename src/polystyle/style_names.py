"""Names of styles: which are allowed, the identity style's, and finding a style by its name."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import PureWindowsPath

from polystyle.files.terminal_text import GARBLING

# The style that paints the photo itself, in networks trained with data.identity_style=true.
IDENTITY_STYLE = "photo"

# Words that mean something else where polystyle-stylize asks for a style: every style, and the area
# that no mask covers.
RESERVED = ("all", "rest")

# The longest name, in bytes. A file's name may have 255 and contains more than its style's.
MAX_NAME = 200


def find_style(name: str, style_names: Sequence[str]) -> int:
    """The index of a style in `style_names`.

    Raises:
        ValueError: there is no such style; suggests similar names.
    """
    if name in style_names:
        return list(style_names).index(name)
    similar = get_close_matches(name, style_names)
    hint = f"did you mean {' or '.join(similar)}?" if similar else ", ".join(style_names)
    raise ValueError(f"there is no style {name!r}: {hint}")


def check_style_name(name: str) -> None:
    """Checks that a name can be part of a file's name: files are named after styles, and style
    packs and networks may come from untrusted sources.

    Raises:
        ValueError: it can't, or is longer than `MAX_NAME`.
    """
    # A plain name on Windows, whose paths have both slashes and drives, is plain everywhere.
    is_plain = name and not GARBLING.search(name) and PureWindowsPath(name).name == name
    if not is_plain or name.startswith("."):
        raise ValueError(f"the style name {name[:MAX_NAME]!r} is not fit for a file's name")
    if len(name.encode()) > MAX_NAME:
        raise ValueError(
            f"the style name {name[:50]}… has {len(name.encode())} bytes; the limit is {MAX_NAME}"
        )


def check_new_style_name(name: str) -> None:
    """Checks a name that is about to be given: besides `check_style_name`, that a command line can
    name the style. Networks and style packs that have such a name already can still be read, and
    polystyle-styles rename gives them another.

    Raises:
        ValueError: it can't.
    """
    check_style_name(name)
    if name in RESERVED:
        raise ValueError(f"a style can't be named {name!r}, a word of polystyle-stylize's flags")
    if name.startswith("-"):
        raise ValueError(f"a style can't be named {name!r}, which a command takes for a flag")
    if "=" in name:
        raise ValueError(
            f"a style can't be named {name!r}: the = separates file and style in --mask FILE=STYLE"
        )


def file_label(name: str) -> str:
    """A style's name, or that of a blend, within the name of a file. Characters that Windows
    forbids there are replaced."""
    return re.sub(r'[/\\:*?"<>|]', "_", name)


def check_file_labels(names: Iterable[str]) -> None:
    """Raises ValueError for two styles whose pictures would have the same file name."""
    known: dict[str, str] = {}
    for name in names:
        label = file_label(name)
        if label in known:
            raise ValueError(
                f"the styles {known[label]!r} and {name!r} would paint to files of the same name, "
                f"in which both are {label!r}: rename one"
            )
        known[label] = name
