"""What the detectors found in a received model as text on the terminal."""

from __future__ import annotations

from rich.console import Console

from ..client.model_check import ModelCheck
from ..values.terminal import Screen
from . import received_lines as lines
from .inspection_screen import WIDTH, bullets, paragraphs, section


def show(found: ModelCheck, console: Console | None = None) -> None:
    """Print every detector, alarms first, to `console`, by default to standard output with at most 110 columns."""
    if console is None:
        console = Screen()
        console.width = min(console.width, WIDTH)
    section(console, lines.TITLE)
    verdict, *exact = lines.lead(found)
    paragraphs(console, (verdict,), style="bold red" if found.alarms else "bold")
    paragraphs(console, tuple(exact))
    bullets(console, tuple(_line(row) for row in lines.detector_rows(found)))
    paragraphs(console, lines.remarks(found), style="dim")


def _line(row: lines.FactRow) -> str:
    result, values, meaning = row.cells
    return f"{row.name}: {result}: {values}. {meaning}" if values else f"{row.name}: {meaning}"
