"""Paths as text: parsed from arguments, and quoted for commands that users paste into a shell."""

import argparse
import os
import shlex
from pathlib import Path


def path_argument(text: str) -> Path:
    """The `type` of an argparse argument that is a path. Expands ``~``, which a shell does not
    expand in ``--output=~/painted``.

    Raises:
        ArgumentTypeError: the text is empty, for example because of an unset shell variable. `Path`
            would interpret it as the current folder.
    """
    return Path(path_pattern(text))


def path_pattern(text: str) -> str:
    """Like `path_argument`, for an argument that may be a glob pattern: returns text."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty: is a variable of the shell not set?")
    return os.path.expanduser(text)  # noqa: PTH111 (Path's raises an error for an unknown user)


def typed_path(path: Path | str) -> str:
    """A path as an argument of a command. ``./`` is put before a path that begins with ``-`` or
    ``~``."""
    text = str(path)
    return f"./{text}" if text.startswith(("-", "~")) else text


def shell_path(path: Path | str) -> str:
    """A path, quoted as an argument of a command that users paste into a shell."""
    return shlex.quote(typed_path(path))
