"""The report: one self-contained HTML page from findings and their images, without scripts or network access."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..execution.results import read_trainings
from ..values.errors import AuditError
from ..values.files import write_whole
from ..values.finding import Finding, RunRecord
from .album import Album
from .cases import setting_labels
from .cost_section import client_costs, cost_lines
from .determined import determined_view, read_determined
from .feasibility import feasibility_entries, feasibility_of, prior_gains, read_assessments
from .template import fill
from .verdict import Severity, Verdict, in_words, naive
from .view import judged_groups, view

__all__ = ["in_lines", "notebook", "render", "verdicts", "write"]

PAGE = "report.html"


def render(findings: Sequence[Finding], run: RunRecord, folder: Path) -> str:
    """Return the page as self-contained HTML.

    Args:
        findings: The findings of the run so far, none or more.
        run: What all of them share.
        folder: The folder of the run, to which the paths of the images are relative.

    Raises:
        AuditError: An image is missing, outside the folder, or not a PNG, or `feasibility.json` or
            `recoverability.json` is damaged.
    """
    place = Path(folder)
    assessed, trained = read_assessments(place), read_trainings(place, run)
    album = Album(place)
    page = view(findings, run, album, prior_gains(assessed), client_costs(trained))
    costs = cost_lines(trained, len(run.trainings))
    determined = determined_view(read_determined(place), album)
    return fill("page.html", page=page, feasibility=feasibility_entries(assessed), costs=costs, determined=determined)


def notebook(findings: Sequence[Finding], run: RunRecord, folder: Path) -> str:
    """Return the verdicts and the examples side by side as a piece of HTML, without script or style sheet.

    Args and errors are those of `render`.
    """
    return fill("notebook.html", page=view(findings, run, Album(Path(folder))))


def verdicts(findings: Sequence[Finding], folder: Path) -> tuple[Verdict, ...]:
    """Return the verdict on each configuration of the client, the worst first, without making a page.

    Arguments are those of `render`. Raise `AuditError` if an image of the ground truth is missing or not a PNG.
    """
    found = judged_groups(findings, Album(Path(folder)), setting_labels(findings))
    return tuple(judgement for judgement, _ in found)


def in_lines(findings: Sequence[Finding], folder: Path) -> tuple[str, ...]:
    """Return the verdicts as lines of a terminal, and the self-check of a captured update.

    Where nothing recognisable came back and no attack knew the defense, a line says so after the verdict.
    If nothing recognisable came back from it, a line also says whether the attacks could have worked. Arguments are
    those of `render`, and errors those of `verdicts` and of a damaged `feasibility.json`.
    """
    judged = verdicts(findings, folder)
    told = [line for one in judged for line in filter(None, (in_words(one), naive(one)))]
    recovered = {one.setting for one in judged if one.level is Severity.RECOGNISABLE}
    for entry in feasibility_of(Path(folder)):
        if entry.client not in recovered:
            told.append(f"Could this attack have worked here? {entry.headline}")
        told += [*entry.lines, *entry.fixes]
    return tuple(told)


def write(findings: Sequence[Finding], run: RunRecord, folder: Path) -> Path:
    """Write the page to `report.html` in the folder of the run, atomically, and return its path.

    Args:
        findings: As for `render`.
        run: As for `render`.
        folder: As for `render`; it must exist.

    Raises:
        AuditError: The folder does not exist, or an image is missing, outside it, or not a PNG.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AuditError(f"report: no folder at {folder}. Give the folder of a finished or unfinished run.")
    return write_whole(folder / PAGE, render(findings, run, folder))
