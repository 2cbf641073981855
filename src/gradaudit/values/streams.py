"""Standard output, kept for our own words."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

OUT, ERR = 1, 2  # file descriptors


@contextmanager
def stdout_kept(wanted: bool = True) -> Iterator[None]:
    """Send to standard error whatever is printed inside, by Python or by a C library; `wanted` false changes nothing.

    Where a command promises one JSON document, the user's own model and attack run inside.
    """
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(OUT)
    try:
        os.dup2(ERR, OUT)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, OUT)
        os.close(kept)
