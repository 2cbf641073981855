"""The union of two or more folders of one configuration, such as the results of two machines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ..execution.journal import TRIALS, Failure, Journal
from ..execution.lock import NAME as LOCK
from ..execution.lock import locked
from ..execution.results import RUN, Results, difference, read_trainings
from ..studies._running import BENCH
from ..values.errors import AuditError
from ..values.files import PART, is_file, make_folder, write_whole
from ..values.finding import Finding
from .carrying import Carrier, carry_study_pictures, short_name
from .conflicts import Conflict, MergeConflict, conflict_of, measured_apart
from .folders import RunFolder, StudyTrial, open_folder, study_journal
from .united import united_record

Held = TypeVar("Held", Finding, StudyTrial)


@dataclass(frozen=True)
class Merged:
    """What `merge` wrote.

    Args:
        folder: The folder of the union.
        kind: `audit`, `sweep` or `study`.
        trials: Trials with a result in the union.
        added: Those of them that the folder did not hold before.
        failed: Trials that failed in some folder and are done in none.
    """

    folder: Path
    kind: str
    trials: int
    added: int
    failed: int


def merge(paths: Sequence[Path], out: Path) -> Merged:
    """Write the union of two or more folders to `out`; the folders themselves are only read.

    Args:
        paths: Folders of one audit, one sweep (the grids may differ) or studies on the same data and weights.
        out: A new or empty folder, or an earlier union of the same configuration, which then keeps its own trials.

    Raises:
        MergeConflict: A trial has different results in two folders. Nothing is written.
        AuditError: The folders do not belong together, one is no run, or a file is missing or cannot be written.
    """
    paths, out = [Path(path) for path in paths], Path(out)
    _refuse_places(paths, out)
    folders = [open_folder(path) for path in paths]
    if (earlier := _earlier(out)) is not None:
        folders = [earlier, *folders]
    for folder in folders:
        if folder.redacted:
            raise AuditError(
                f"{folder.path}: is a redacted copy of a run, which cannot be merged. Name the run itself."
            )
    kinds = dict.fromkeys(folder.kind for folder in folders)
    if len(kinds) > 1:
        described = ", ".join(f"{folder.path} is {_a(folder.kind)}" for folder in folders)
        raise AuditError(f"merge: the folders are of different kinds: {described}. Merge folders of one kind.")
    return (_merge_studies if folders[0].kind == "study" else _merge_runs)(folders, out, earlier)


def _refuse_places(paths: Sequence[Path], out: Path) -> None:
    if len(paths) < 2:
        raise AuditError("merge: name at least two folders.")
    places = [path.resolve() for path in paths]
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            raise AuditError(f"{path}: is given twice. Name each folder once.")
        if place == out.resolve():
            raise AuditError(f"--out {out}: is one of the folders that are merged. Choose another folder.")
        if out.resolve().is_relative_to(place) or place.is_relative_to(out.resolve()):
            raise AuditError(f"--out {out}: one of {path} and it is inside the other. Choose another folder.")


def _earlier(out: Path) -> RunFolder | None:
    """Return the union that `out` already holds, or `None` if it is missing or empty."""
    if out.exists() and not out.is_dir():
        raise AuditError(f"--out {out}: is a file. Choose another folder.")
    found = [path.name for path in out.iterdir()] if out.is_dir() else []
    found = [name for name in found if name != LOCK and not name.endswith(PART)]
    if not found:
        return None
    if not {RUN, BENCH} & set(found):
        raise AuditError(f"--out {out}: holds other files, such as {min(found)}. Choose a new or an empty folder.")
    return open_folder(out)


def _merge_runs(folders: Sequence[RunFolder], out: Path, earlier: RunFolder | None) -> Merged:
    """Write the union of audits or sweeps: the files first, then the findings that refer to them."""
    record = united_record(folders)
    homes = _united(folders, lambda folder: folder.findings, conflict_of)
    done = earlier.findings if earlier and is_file(out / TRIALS) else {}  # release 0.2 had no journal
    carrier = Carrier(out, done.values())
    new = [carrier.planned(trial, finding, home) for trial, (finding, home) in homes.items() if trial not in done]
    new = _with_own_keys(new, {finding.case for finding in done.values()})
    failures = _failures(folders, homes)
    results = Results(out, record)
    with locked(out):
        results.refresh()
        carrier.write()
        for finding in new:
            if (finding.trial or finding.case) not in results.done:
                results.append(finding)
        _carry_trainings(folders, results)
        _fail(results.journal, failures)
        results.export()
    return Merged(out, record.kind, len(homes), len(new), len(failures))


def _carry_trainings(folders: Sequence[RunFolder], results: Results) -> None:
    """Append the trainings of federations that the union lacks. Raise `AuditError` if two federations differ."""
    known = {json.dumps(dict(found.settings)) for found in results.federation.results.values()}
    for folder in folders:
        for found in read_trainings(folder.path, folder.record) if folder.record else ():
            known.add(json.dumps(dict(found.settings)))
            if len(known) > 1:
                raise AuditError(f"merge: {folder.path} trained another federation. Merge runs of equal federations.")
            if found.trial not in results.federation.results:
                results.federation.append(found.trial, found.to_json())


def _merge_studies(folders: Sequence[RunFolder], out: Path, earlier: RunFolder | None) -> Merged:
    first = folders[0]
    for other in folders[1:]:
        if changed := difference(first.bench, other.bench):
            raise AuditError(
                f"merge: {first.path} and {other.path} are of different data or weights: {changed}. Merge studies on "
                "the same data and weights."
            )
    homes = _united(folders, lambda folder: folder.trials, measured_apart)
    failures = _failures(folders, homes)
    make_folder(out, option="--out")
    with locked(out):
        write_whole(out / BENCH, json.dumps(first.bench, indent=1))
        journal = study_journal(out / TRIALS, first.bench)
        journal.read(mend=True)
        new = [(trial, found) for trial, (found, _) in homes.items() if trial not in journal.results]
        for trial, found in new:
            journal.append(trial, found.line)
        _fail(journal, failures)
        carry_study_pictures([folder.path for folder in folders if folder is not earlier], out)
    return Merged(out, "study", len(homes), len(new), len(failures))


def _united(
    folders: Sequence[RunFolder],
    of: Callable[[RunFolder], Mapping[str, Held]],
    compare: Callable[[Held, Held], tuple[str, tuple[tuple[str, str, str], ...]]],
) -> dict[str, tuple[Held, RunFolder]]:
    """Return every trial with its result and the first folder that has it. Raise `MergeConflict` for all conflicts."""
    homes: dict[str, tuple[Held, RunFolder]] = {}
    conflicts = []
    for folder in folders:
        for trial, found in of(folder).items():
            if trial not in homes:
                homes[trial] = found, folder
                continue
            before, home = homes[trial]
            title, differ = compare(before, found)
            if differ:
                conflicts.append(Conflict(trial, title, str(home.path), str(folder.path), differ))
    if conflicts:
        raise MergeConflict(tuple(conflicts))
    return homes


def _with_own_keys(findings: Iterable[Finding], taken: set[str]) -> list[Finding]:
    """Return the findings, with another key where theirs is taken: two grids count their cells in their own order."""
    result = []
    for finding in findings:
        key = finding.case if finding.case not in taken else f"{finding.case}-{short_name(finding.trial)}"
        taken.add(key)
        result.append(finding if key == finding.case else replace(finding, case=key))
    return result


def _failures(folders: Iterable[RunFolder], done: Mapping[str, Any]) -> dict[str, Failure]:
    """Return the last failure of each trial that no folder has done."""
    failed = {trial: failure for folder in folders for trial, failure in folder.failures.items()}
    return {trial: failure for trial, failure in failed.items() if trial not in done}


def _fail(journal: Journal[Any], failures: Mapping[str, Failure]) -> None:
    for trial, failure in failures.items():
        if trial not in journal.failures and trial not in journal.results:
            journal.fail(replace(failure, trial=trial))


def _a(kind: str) -> str:
    return f"an {kind}" if kind == "audit" else f"a {kind}"
