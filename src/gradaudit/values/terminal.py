"""What reaches a terminal: text with nothing in it that moves the cursor, hides or turns round what follows."""

from __future__ import annotations

import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from .characters import visible
from .errors import AuditWarning

WIDTH = 200  # columns where there is no terminal
PIPE_CLOSED = 141  # what a shell reports of a command that SIGPIPE ends


def as_text(text: str, style: str = "") -> Text:
    """Anybody's text for a `Screen`, in a style of ours; plain strings need no call."""
    return Text(visible(text), style=style)


class Screen(Console):
    """A console that shows strings as they are: no markup in them, and nothing that cannot be seen.

    Args:
        err: Standard error instead of standard output.
        width: Columns; by default those of the terminal, or 200.
        file: Another file than those two.
    """

    def __init__(self, *, err: bool = False, width: int | None = None, file: IO[str] | None = None) -> None:
        super().__init__(stderr=err, file=file, width=width, highlight=False, markup=False, emoji=False)
        if width is None and not self.is_terminal:
            self.width = WIDTH

    def render_str(self, text: str, *, style: Any = "", justify: Any = None, overflow: Any = None, **_: Any) -> Text:
        """What every string that is printed, or stands in a table, becomes."""
        return Text(visible(text), style=style, justify=justify, overflow=overflow)

    def on_broken_pipe(self) -> None:
        """Nobody reads any more: end quietly."""
        _end_quietly(self.file)


def echo(text: str, *, err: bool = False) -> None:
    """Print one line."""
    try:
        typer.echo(visible(text), err=err)
    except BrokenPipeError:
        _end_quietly(sys.stderr if err else sys.stdout)


@contextmanager
def attended() -> Iterator[None]:
    """While a command runs: SIGTERM is Ctrl-C, warnings are one line, and no encoding of the terminal stops it."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    before = signal.signal(signal.SIGTERM, _interrupt)
    with warnings.catch_warnings():
        show_warnings()
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def usage() -> Iterator[None]:
    """Print what typer says of a wrong command line, which repeats the words of that, and exit as typer would."""
    try:
        yield
    except Exception as error:
        show = getattr(error, "show", None)
        if show is None:  # none of typer's own
            raise
        said = io.StringIO()
        show(file=said)
        typer.echo(visible(said.getvalue().rstrip(), lines=True), err=True)
        raise SystemExit(getattr(error, "exit_code", 2)) from None


def show_warnings() -> None:
    """Print warnings on standard error: ours as one line each, others as Python words them."""
    warnings.simplefilter("always", AuditWarning)
    warnings.showwarning = _show_warning


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    if issubclass(category, AuditWarning):
        echo(f"note: {message}", err=True)
    else:
        whole = warnings.formatwarning(message, category, filename, lineno, line)
        typer.echo(visible(whole.rstrip(), lines=True), err=True)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _end_quietly(stream: IO[str]) -> NoReturn:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())  # what is still in its buffer goes nowhere, without a complaint at the end
    raise SystemExit(PIPE_CLOSED)
