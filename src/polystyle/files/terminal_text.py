"""Text from somewhere else, such as the names of files and styles, made fit for a terminal."""

import re

MAX_SHOWN = 1000  # characters

# What no terminal should be sent: control characters, ends of lines, turns of the direction to
# read in, and bytes of a file's name that are no text. (str.isprintable also minds the spaces
# in the names of macOS' screenshots, and joiners that Hindi and Persian need.)
GARBLING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def counted(number: int, noun: str) -> str:
    """A number of things in words: "1 style", "2 styles"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def sanitized(text: object) -> str:
    """A text in one line and not endless, with escapes for what would garble the terminal."""
    shown = str(text)
    shown = shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}…"
    return GARBLING.sub(lambda found: ascii(found[0])[1:-1], shown)
