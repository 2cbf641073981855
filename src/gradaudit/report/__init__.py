"""One self-contained HTML page from findings and their pictures: no script, no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..values.errors import AuditError
from ..values.files import write_whole
from ..values.finding import Finding, RunRecord
from .album import Album
from .template import fill
from .verdict import Verdict
from .view import view

__all__ = ["notebook", "render", "verdicts", "write"]

PAGE = "report.html"


def render(findings: Sequence[Finding], run: RunRecord, folder: Path) -> str:
    """The page as HTML, complete in itself.

    Args:
        findings: What the run found so far, none or more.
        run: What holds for all of them.
        folder: The run's folder, to which the paths of the findings' pictures are relative.

    Raises:
        AuditError: A picture is missing, lies outside the folder or is no PNG.
    """
    return fill("page.html", page=view(findings, run, Album(Path(folder))))


def notebook(findings: Sequence[Finding], run: RunRecord, folder: Path) -> str:
    """Return the verdicts and the examples side by side as a piece of HTML, without script or style sheet.

    Args and errors are those of `render`.
    """
    return fill("notebook.html", page=view(findings, run, Album(Path(folder))))


def verdicts(findings: Sequence[Finding], run: RunRecord, folder: Path) -> tuple[Verdict, ...]:
    """Return the verdict on each configuration of the client, the worst first; arguments and errors as of `render`."""
    return view(findings, run, Album(Path(folder))).verdicts


def write(findings: Sequence[Finding], run: RunRecord, folder: Path) -> Path:
    """Put the page into the run's folder as `report.html`, whole or not at all, and return its path.

    Args:
        findings: As for `render`.
        run: As for `render`.
        folder: As for `render`; it exists.

    Raises:
        AuditError: There is no such folder, or a picture is missing, lies outside it or is no PNG.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AuditError(f"report: no folder at {folder} (give the folder of a finished or unfinished run).")
    return write_whole(folder / PAGE, render(findings, run, folder))
