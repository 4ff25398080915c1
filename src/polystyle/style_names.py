"""What a style may be called, the name of the identity style, and finding a style by its name."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import PureWindowsPath

from polystyle.files.terminal_text import GARBLING

# The style that paints the photo itself, in networks trained with data.identity_style=true.
IDENTITY_STYLE = "photo"

# Models may come from anywhere: how long a name may be, at the most.
MAX_NAME = 200  # bytes: a file's name has 255, and is more than its style's


def find_style(name: str, style_names: Sequence[str]) -> int:
    """A style's index.

    Raises:
        ValueError: it isn't there; names the nearest.
    """
    if name in style_names:
        return list(style_names).index(name)
    near = get_close_matches(name, style_names)
    hint = f"did you mean {' or '.join(near)}?" if near else ", ".join(style_names)
    raise ValueError(f"there is no style {name!r}: {hint}")


def check_style_name(name: str) -> None:
    """Raises ValueError for a name that can't be part of a file's name: files are named after
    styles, and packs and networks may come from anywhere."""
    # Windows' paths know both slashes and drives: what is a plain name there is one everywhere.
    plain = name and not GARBLING.search(name) and PureWindowsPath(name).name == name
    if not plain or name.startswith("."):
        raise ValueError(f"the style name {name[:MAX_NAME]!r} is not fit for a file's name")
    if len(name.encode()) > MAX_NAME:
        raise ValueError(
            f"the style name {name[:50]}… has {len(name.encode())} bytes, and {MAX_NAME} are the "
            "most"
        )
