"""Text that is safe to print on a terminal, such as names of files and styles."""

import re

MAX_SHOWN = 1000  # characters

# Characters that garble a terminal: control characters, line breaks, changes of the reading
# direction, and undecodable bytes of a file's name. (str.isprintable would also reject the spaces
# in the names of macOS' screenshots, and the joiners of Hindi and Persian.)
GARBLING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 style", "2 styles"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def sanitized(text: object) -> str:
    """A text in one line of at most 1,000 characters, with escapes for `GARBLING` characters."""
    shown = str(text)
    shown = shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}…"
    return GARBLING.sub(lambda found: ascii(found[0])[1:-1], shown)
