"""Other people's exceptions, short enough for one line."""

from __future__ import annotations


def in_one_line(error: BaseException) -> str:
    """Kind and first line of `error`, at most 200 characters, ending in a full stop."""
    lines = str(error).strip().splitlines()
    message = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    return message[:200].rstrip(".") + "."
