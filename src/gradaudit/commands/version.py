"""The option `gradaudit --version`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..values.terminal import echo
from ..values.versions import version_of


def add_to(app: typer.Typer) -> None:
    """Register the option with `app`, whose own help stays."""
    app.callback(help=app.info.help)(_options)


def _show(wanted: bool) -> None:
    if wanted:
        echo(f"gradaudit {version_of('gradaudit')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show, is_eager=True)
    ] = False,
) -> None: ...
