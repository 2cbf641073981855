"""Standard output, reserved for the output of gradaudit."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

OUT, ERR = 1, 2  # file descriptors


@contextmanager
def stdout_kept(wanted: bool = True) -> Iterator[None]:
    """Redirect everything printed inside the block, by Python or C code, to standard error; do nothing if not `wanted`.

    Commands that print one JSON document run the user's model and attack inside this block.
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
