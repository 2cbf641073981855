"""The files of a page: its blocks are written to the files that they name, and its changes are made in these files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

TUTORIAL = Path(__file__).resolve().parents[1] / "docs/flower-tutorial.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = ("toml", "python", "yaml")  # kinds of blocks that are whole files, named in their first line
Block = tuple[str, str]


def blocks_of(page: Path = TUTORIAL) -> list[Block]:
    """Return the kind and the text of each block, in the order of the page."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def apply(blocks: Iterable[Block], folder: Path) -> None:
    """Write the files of some blocks into a folder, and make the changes of those of the kind `diff`.

    Raises:
        ValueError: A block names no file, or the lines that it changes are not in its file exactly once.
    """
    for kind, text in blocks:
        if kind in FILES:
            named = re.match(r"# (\S+)\n", text)
            if named is None:
                raise ValueError(f"The first line of this block should name its file: {text}")
            path = folder / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif kind == "diff":
            change(text, folder)


def change(text: str, folder: Path) -> None:
    """Make one change: `--- FILE`, then lines that begin with a blank (kept), `-` (removed) or `+` (added)."""
    head, *lines = text.splitlines()
    path = folder / head.removeprefix("--- ")
    old = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
    new = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
    before = path.read_text(encoding="utf-8")
    if before.count(old) != 1:
        raise ValueError(f"{path.name} should contain these lines once: {old}")
    path.write_text(before.replace(old, new), encoding="utf-8")
