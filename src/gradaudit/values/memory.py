"""The memory of this machine, checked before large allocations."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import AuditError

LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
UNKNOWN = 64 * 2**30  # bytes assumed if the system does not report its memory
UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def memory_here() -> int:
    """Return the memory of this machine, or of the container of this process, in bytes."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not available on every system
        total = UNKNOWN
    for path in LIMITS:
        try:
            total = min(total, int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such limit, or "max"
            continue
    return total


def require_memory(needed: int, what: str, fix: str) -> None:
    """Raise `AuditError` if `needed` bytes are more than this machine has.

    Args:
        needed: Lower bound of the required bytes.
        what: Subject of the error message, such as `images in x.npz`.
        fix: A sentence that says what to do instead.
    """
    here = memory_here()
    if needed > here:
        raise AuditError(f"{what} would need {in_units(needed)} of memory, and there are {in_units(here)}. {fix}")


def in_units(count: int) -> str:
    """Return a number of bytes in readable units, such as `16 GB`."""
    power = min((len(str(count)) - 1) // 3, len(UNITS) - 1)
    return f"{count // 1000**power} {UNITS[power]}"
