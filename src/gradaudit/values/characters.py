"""Escaping of invisible characters."""

from __future__ import annotations

import re
import unicodedata

HIDDEN = {"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"}  # control, format (bidirectional, zero width), unassigned, line ends
BLANK = set("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")  # letters and marks without a glyph
DOUBTFUL = re.compile(r"[^ -~]")


def visible(text: str, *, lines: bool = False) -> str:
    r"""Return the text with every invisible character as an escape, such as `\x1b` or `\u202e`.

    Args:
        text: Untrusted text, for example from a file, a name or an exception.
        lines: Whether line ends are kept.
    """
    if lines:
        return "\n".join(map(visible, text.split("\n")))
    return DOUBTFUL.sub(lambda found: _written_out(found.group()), text)


def shortened(text: str, most: int) -> str:
    """Return the text, cut to at most so many characters, the last three of them dots where it was longer."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _written_out(character: str) -> str:
    selector = "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    if selector or character in BLANK or unicodedata.category(character) in HIDDEN:
        return character.encode("unicode_escape").decode("ascii")
    return character
