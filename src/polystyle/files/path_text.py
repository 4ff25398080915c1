"""Paths as text: as people type them, and as they are printed to be pasted into a shell."""

import argparse
import os
import shlex
from pathlib import Path


def path_argument(text: str) -> Path:
    """The `type` of an argparse argument that is a path; ``~`` is expanded, which a shell does not
    do in ``--output=~/painted``.

    Raises:
        ArgumentTypeError: the text is empty, as an unset variable of the shell leaves it. `Path`
            would take it for the current folder.
    """
    return Path(path_pattern(text))


def path_pattern(text: str) -> str:
    """`path_argument` for an argument that may be a glob pattern, which stays text."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty: is a variable of the shell not set?")
    return os.path.expanduser(text)  # noqa: PTH111 (Path's raises an error for an unknown user)


def typed_path(path: Path | str) -> str:
    """A path as an argument of a command: one that begins like a flag or a home folder begins with
    ``./`` instead."""
    text = str(path)
    return f"./{text}" if text.startswith(("-", "~")) else text


def shell_path(path: Path | str) -> str:
    """A path to be pasted into a shell as an argument of a command."""
    return shlex.quote(typed_path(path))
