"""One self-contained HTML page from findings and their pictures: no script, no network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from ..errors import AuditError
from ..finding import Finding, Run
from .pictures import Album
from .view import view

__all__ = ["render", "write"]

PAGE = "report.html"


def render(findings: Sequence[Finding], run: Run, folder: Path) -> str:
    """The page as HTML, complete in itself.

    Args:
        findings: What the run found so far, none or more.
        run: What holds for all of them.
        folder: The run's folder, to which the paths of the findings' pictures are relative.

    Raises:
        AuditError: A picture is missing, lies outside the folder or is no PNG.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_own("page.html"))
    return template.render(page=view(findings, run, Album(Path(folder))), style=Markup(_own("page.css")))


def write(findings: Sequence[Finding], run: Run, folder: Path) -> Path:
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
    page = folder / PAGE
    unfinished = folder / f".{PAGE}.{os.getpid()}"
    try:
        unfinished.write_text(render(findings, run, folder), encoding="utf-8")
        os.replace(unfinished, page)
    finally:
        unfinished.unlink(missing_ok=True)
    return page


def _own(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
