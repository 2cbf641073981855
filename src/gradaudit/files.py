"""Writing files so that they are never seen half."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> Path:
    """Write `text` to `path` whole or not at all, and return `path`."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path
