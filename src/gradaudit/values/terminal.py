"""Terminal output without control characters, bidirectional marks or markup from untrusted text."""

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

WIDTH = 200  # columns if the output is not a terminal
PIPE_CLOSED = 141  # exit code that a shell reports for SIGPIPE


def as_text(text: str, style: str = "") -> Text:
    """Return untrusted text for a `Screen` with a style; unstyled strings can be printed directly."""
    return Text(visible(text), style=style)


class Screen(Console):
    """A console that prints strings literally: without markup, and with invisible characters as escapes.

    Args:
        err: Whether to write to standard error instead of standard output.
        width: Number of columns; by default that of the terminal, or 200.
        file: Another file to write to.
    """

    def __init__(self, *, err: bool = False, width: int | None = None, file: IO[str] | None = None) -> None:
        super().__init__(stderr=err, file=file, width=width, highlight=False, markup=False, emoji=False)
        if width is None and not self.is_terminal:
            self.width = WIDTH

    def render_str(self, text: str, *, style: Any = "", justify: Any = None, overflow: Any = None, **_: Any) -> Text:
        """Return the text that is shown for a string."""
        return Text(visible(text), style=style, justify=justify, overflow=overflow)

    def on_broken_pipe(self) -> None:
        """Exit without a message, because the pipe was closed."""
        _end_quietly(self.file)


def echo(text: str, *, err: bool = False) -> None:
    """Print one line."""
    try:
        typer.echo(visible(text), err=err)
    except BrokenPipeError:
        _end_quietly(sys.stderr if err else sys.stdout)


@contextmanager
def attended() -> Iterator[None]:
    """While a command runs, treat SIGTERM as Ctrl-C, print warnings on one line, and tolerate any encoding."""
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
    """Print typer's usage errors with invisible characters escaped, and exit with typer's exit code."""
    try:
        yield
    except Exception as error:
        show = getattr(error, "show", None)
        if show is None:  # not a usage error of typer
            raise
        said = io.StringIO()
        show(file=said)
        typer.echo(visible(said.getvalue().rstrip(), lines=True), err=True)
        raise SystemExit(getattr(error, "exit_code", 2)) from None


def show_warnings() -> None:
    """Print warnings on standard error: those of gradaudit on one line, others in Python's format."""
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


def duration(seconds: float) -> str:
    """Return a duration in one unit or two, such as `40 s`, `12 min` or `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _end_quietly(stream: IO[str]) -> NoReturn:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())  # discard buffered output without an error at exit
    raise SystemExit(PIPE_CLOSED)
