"""Names of styles: which are allowed, the identity style's, and finding a style by its name."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import PureWindowsPath

from polystyle.files.terminal_text import GARBLING

# The style that paints the photo itself, in networks trained with data.identity_style=true.
IDENTITY_STYLE = "photo"

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
