"""`gradaudit merge`: the union of the folders of one configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..values.errors import AuditError
from ..values.terminal import echo


def add_to(app: typer.Typer) -> None:
    """Register the command with `app`."""
    app.command("merge")(merge)


def merge(
    folders: Annotated[
        list[Path], typer.Argument(metavar="A B...", help="Output folders of one audit, one sweep or one study.")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the union: new, empty, or an earlier union of the same runs.")
    ],
) -> None:
    """Unite the results of several machines: every finished trial once, with its images and transcripts.

    The folders must be of the same configuration; the grids of sweeps are united. A trial that failed in one folder and
    is done in another is done. If a trial has different results, all such trials are named, the exit code is 2, and
    nothing is written.
    """
    from ..comparison import MergeConflict
    from ..comparison import merge as unite

    try:
        merged = unite(folders, out)
    except MergeConflict as conflict:
        for one in conflict.conflicts:
            echo(f"conflict: {one.line}", err=True)
        raise AuditError(conflict.advice) from None
    failed = f", {merged.failed} failed in every folder" if merged.failed else ""
    echo(f"{merged.folder.resolve()}: {merged.trials} trials, {merged.added} of them new{failed}.")
    if merged.kind == "study":
        echo(f"The page of a study is written by its own command, run again with --out {out}.")
    else:
        _report(merged.folder, swept=merged.kind == "sweep")


def _report(folder: Path, *, swept: bool) -> None:
    from .. import report
    from ..execution import read_folder
    from ..report.sweep_page import write_sweep

    path = (write_sweep if swept else report.write)(*read_folder(folder), folder)
    echo(f"Report: {path.resolve()}")
