"""An inspection as text on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table

from ..inspection import Inspection
from ..values.terminal import Screen, as_text
from . import inspection_lines as lines
from . import received_lines as received

TONE = {"2": "bold red", "1": "bold yellow", "0": "bold", "unknown": "bold magenta"}
WIDTH = 110


def show(found: Inspection, console: Console | None = None) -> None:
    """Print the inspection to `console`, by default to standard output with at most 110 columns."""
    if console is None:
        console = Screen()
        console.width = min(console.width, WIDTH)
    console.print(as_text(f"{found.file} · {lines.summary(found)}", style="dim"))
    console.print(as_text(found.verdict, style=TONE[lines.tone(found)]))
    bullets(console, found.leaks)
    section(console, "Checks")
    bullets(console, found.looked_for)
    bullets(console, tuple(f"Not checked: {line}" for line in found.not_looked_for))
    section(console, "Contents of the update")
    console.print(Padding(_facts(lines.travels(found)), (0, 0, 0, 2)))
    section(console, "BatchNorm")
    paragraphs(console, lines.batch_norm(found))
    section(console, "Labels")
    paragraphs(console, (lines.label_lead(found),))
    _table(console, ("method", "labels", "kind", "confidence"), lines.label_rows(found))
    paragraphs(console, lines.label_refusals(found), style="dim")
    section(console, "Linear layers")
    _table(console, ("layer", "shape", "rank", "inputs"), lines.layer_rows(found))
    section(console, "Signs of a defense" + lines.no_defense(found))
    _table(console, ("", "", "confidence", "evidence"), lines.sign_rows(found))
    if found.received is not None:
        section(console, received.TITLE)
        paragraphs(console, (*received.lead(found.received), *received.remarks(found.received)))
        _table(console, received.HEADINGS, received.detector_rows(found.received))
    section(console, "What an attacker would still need")
    bullets(console, found.open)
    if found.notes:
        section(console, "How the file was interpreted")
        paragraphs(console, found.notes, style="dim")


def section(console: Console, title: str) -> None:
    """Print a heading with a rule."""
    console.print()
    console.print(Rule(as_text(title, style="bold"), align="left", style="dim", characters="─"))


def paragraphs(console: Console, texts: tuple[str, ...], style: str = "") -> None:
    """Print indented paragraphs."""
    for text in texts:
        console.print(Padding(as_text(text, style=style), (0, 0, 0, 2)))


def bullets(console: Console, texts: tuple[str, ...]) -> None:
    """Print a list, one text for each bullet."""
    grid = Table.grid(padding=(0, 1))
    for text in texts:
        grid.add_row("•", as_text(text))
    console.print(Padding(grid, (0, 0, 0, 2)))


def _facts(entries: tuple[tuple[str, str], ...]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, text in entries:
        grid.add_row(as_text(name, style="dim"), as_text(text))
    return grid


def _table(console: Console, headings: tuple[str, ...], rows: tuple[lines.FactRow, ...]) -> None:
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="dim", show_header=any(headings))
    for number, heading in enumerate(headings):
        table.add_column(heading, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(as_text(row.name, style="bold" if row.strong else ""), *map(as_text, row.cells))
    console.print(Padding(table, (0, 0, 0, 2)))
