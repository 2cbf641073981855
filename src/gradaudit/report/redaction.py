"""A copy of the folder of a run that holds its figures and nothing private."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import asdict
from pathlib import Path

from .. import report
from ..comparison.folders import RunFolder, open_folder
from ..execution.journal import TRIALS, Failure
from ..execution.lock import NAME as LOCK
from ..execution.lock import locked
from ..execution.results import FEDERATION, RESULTS, RUN, in_order, read_folder, read_trainings
from ..studies._running import BENCH
from ..values.errors import AuditError
from ..values.files import PART, delete, is_file, make_folder, read_whole, write_whole
from ..values.records import content_name
from . import study_page, sweep_page
from .feasibility import FILE as FEASIBILITY
from .feasibility import read_assessments, write_assessments
from .redacted_values import REASON, REMOVED, Redactor

SUFFIX = "-redacted"
PAGES = (report.PAGE, sweep_page.PAGE, sweep_page.TABLE, study_page.MARKDOWN)
FILES = (RUN, TRIALS, FEDERATION, RESULTS, BENCH, FEASIBILITY, *PAGES)
"""Every file that a redacted copy can hold."""
SAID = (
    "**Redacted copy.** Images, names of data files and reasons of failed measurements were removed. The figures are "
    "those of the original study.\n\n"
)


def redact(folder: Path, out: Path | None = None) -> Path:
    """Write a copy of a run without private images, texts, cells, names and labels, and return its page or table.

    Scores, gains, ranks and counts stay. Reconstructions and controls are removed too: they show private examples. The
    copy can be read by `gradaudit report` and `gradaudit compare`, and cannot be resumed.

    Args:
        folder: The folder of an audit, a demo, a sweep or a study, which is only read.
        out: The folder of the copy: new, empty, or an earlier redacted copy, which is replaced; by default the name of
            `folder` with `-redacted`.

    Raises:
        AuditError: `folder` is no run, or is a redacted copy itself; `out` is the run, in it or around it, or holds
            anything but a redacted copy; or a file cannot be read or written.
    """
    folder = Path(folder)
    run = open_folder(folder)
    if run.redacted:
        raise AuditError(f"{folder}: is a redacted copy already. Name the run that it was made from.")
    target = Path(out) if out is not None else folder.resolve().with_name(f"{folder.resolve().name}{SUFFIX}")
    _require_apart(folder.resolve(), target)
    _require_free(target)
    make_folder(target, option="--out")
    with locked(target):
        for name in FILES:
            delete(target, name)
        return (_write_study if run.kind == "study" else _write_run)(run, target)


def _require_apart(folder: Path, target: Path) -> None:
    place = target.resolve()
    if place == folder or place.is_relative_to(folder) or folder.is_relative_to(place):
        raise AuditError(f"--out {target}: is the run itself, or one is inside the other. Choose another folder.")


def _require_free(target: Path) -> None:
    """Raise `AuditError` unless the folder is missing, empty or a redacted copy."""
    if target.exists() and not target.is_dir():
        raise AuditError(f"--out {target}: is a file. Choose another folder.")
    found = {path.name for path in target.iterdir()} if target.is_dir() else set()
    found = {name for name in found if name != LOCK and not name.endswith(PART)}
    if not found:
        return
    if not found & {RUN, BENCH} or not open_folder(target).redacted:
        raise AuditError(f"--out {target}: exists and is no redacted copy. Choose another folder.")
    if found - set(FILES):
        strange = min(found - set(FILES))
        raise AuditError(f"--out {target}: holds {strange}, which no redacted copy has. Choose another folder.")


def _write_run(run: RunFolder, target: Path) -> Path:
    """Write the copy of an audit or a sweep."""
    assert run.record is not None  # it is no study
    redactor = Redactor(run.record, tuple(run.findings.values()))
    record = redactor.record(run.record)
    found = [redactor.finding(finding) for finding in run.findings.values()]
    write_whole(target / RUN, json.dumps(asdict(record), indent=1, default=str))
    lines = [{"trial": finding.trial or finding.case, "result": finding.to_json()} for finding in found]
    failures = [redactor.failure(failure) for failure in run.failures.values()]
    write_whole(target / TRIALS, _lines([*lines, *map(_failed, failures)]))
    write_whole(target / RESULTS, _lines([finding.to_json() for finding in in_order(found)]))
    trained = [redactor.training(found) for found in read_trainings(run.path, run.record)]
    if trained:
        write_whole(target / FEDERATION, _lines([{"trial": one.trial, "result": one.to_json()} for one in trained]))
    if assessed := [redactor.assessed(one) for one in read_assessments(run.path)]:
        write_assessments(target, assessed)
    findings, whole = read_folder(target)
    return (sweep_page.write_sweep if whole.kind == "sweep" else report.write)(findings, whole, target)


def _write_study(run: RunFolder, target: Path) -> Path:
    """Write the copy of a study: its measurements, and its tables as Markdown if it has any."""
    key = json.dumps(dict(run.bench), sort_keys=True).encode()

    def keyed(text: str) -> str:
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:16]

    bench = {option: f"{REMOVED}, keyed {keyed(value)}" for option, value in run.bench.items()}
    write_whole(target / BENCH, json.dumps({**bench, REMOVED: "yes"}, indent=1))
    lines = []
    for trial in run.trials.values():
        figures = {"study": trial.study, "cell": trial.cell, "name": trial.name, "seed": trial.seed}
        result = {**figures, "data": keyed(trial.data), "values": dict(trial.values)}
        result |= {"seconds": trial.line["seconds"]} if isinstance(trial.line.get("seconds"), (int, float)) else {}
        lines.append({"trial": content_name(trial.cell, trial.seed, keyed(trial.data)), "result": result})
    failures = [Failure(keyed(failure.trial), "A measurement", REASON) for failure in run.failures.values()]
    path = write_whole(target / TRIALS, _lines([*lines, *map(_failed, failures)]))
    table = run.path / study_page.MARKDOWN
    if is_file(table):
        text = (read_whole(table) or b"").decode("utf-8", "replace")
        path = write_whole(target / study_page.MARKDOWN, SAID + text)
    return path


def _failed(failure: Failure) -> dict[str, str]:
    return {"trial": failure.trial, "title": failure.title, "error": failure.error}


def _lines(records: list[dict[str, object]] | list[dict[str, str]]) -> str:
    return "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
