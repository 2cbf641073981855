"""Running the cases of an audit one after another, in this process."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from platform import python_version
from typing import Protocol

from torch import Tensor

from ..audit.judge import Audited, Case, audit_together
from ..audit.schedule import Schedule
from ..inversion.attack import Watch
from ..inversion.run import keeper
from ..inversion.run.call import shares_passes
from ..values.files import make_folder, write_picture, write_whole
from ..values.finding import Finding, ImageFiles, RunRecord
from ..values.transcript import Transcript
from ..values.versions import version_of
from .lock import locked
from .results import Results

UNFINISHED = "unfinished"
SHARED = 16  # most updates in one pass, so that an interruption costs little


class Listener(Protocol):
    """A listener that a run calls with its progress.

    >>> class Bell:
    ...     def begin(self, case, number, total):
    ...         print(f"{number} of {total}: {case.attack_name}")
    ...
    ...     def end(self, finding, number, total):
    ...         print("done")
    >>> client = ga.Client(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 5)))
    >>> batch = ga.Batch(torch.rand(1, 1, 4, 4), torch.tensor([3]))
    >>> _ = ga.run(client, batch, "idlg", "priors", listener=Bell())
    1 of 1: idlg
    done
    """

    def begin(self, case: Case, number: int, total: int) -> Watch | None:
        """Handle the start of a case; the returned `Watch`, if any, is called with the steps of the attack."""
        ...

    def end(self, finding: Finding, number: int, total: int) -> None:
        """Handle the end of a case, whose finding is on disk."""
        ...


def describe_run(plans: Sequence[Schedule], title: str) -> RunRecord:
    """Return the record of a run: what its page says of the whole run, and what must be equal for it to resume."""
    many = len(plans) > 1
    identity = {f"{plan.number}: {k}" if many else k: v for plan in plans for k, v in plan.identity().items()}
    return RunRecord(
        title=title,
        configuration="---\n".join(filter(None, (plan.configuration for plan in plans))),
        source=plans[0].description,
        planned=sum(map(len, plans)),
        identity={**identity, "gradaudit": version_of("gradaudit")},
        attribution=plans[0].attribution,
        version=version_of("gradaudit"),
    )


def run(plans: Sequence[Schedule], results: Results, listener: Listener) -> None:
    """Audit every case of every plan that is not in `results` yet.

    Each finding is on disk before the next case starts, so that an interruption or an error loses at most one case, or
    half a minute of a long attack. On small networks, up to sixteen updates under one attack share a pass.

    Raises:
        AuditError: `audit` raises it (the message names the case), or another process writes to the folder.
    """
    with locked(results.folder):
        results.refresh()
        for plan in plans:
            for cases in in_passes(plan, results.done):
                _audit_pass(cases, results, listener)
        keeper.clear(results.folder / UNFINISHED)


def _audit_pass(cases: list[Case], results: Results, listener: Listener) -> None:
    """Audit cases that share a pass, and write their findings before the attack's checkpoints are deleted."""
    watch = listener.begin(cases[0], len(results.done) + 1, results.run.planned)
    keep = results.folder / UNFINISHED / cases[0].key
    found = audit_together(cases, watch, keep)
    for case, audited in zip(cases, found, strict=True):
        if case.key not in results.done:
            finding = _with_files(audited, results.folder)
            results.append(finding)
            listener.end(finding, len(results.done), results.run.planned)
    keeper.forget(keep)


def in_passes(plan: Schedule, done: Container[str]) -> Iterator[list[Case]]:
    """Yield the cases of a plan that are not done, grouped into those that share a pass.

    The groups do not depend on which cases are done, so that a resumed run gives the same numbers.
    """
    waiting: dict[int, list[Case]] = {}
    shares: dict[int, bool] = {}
    for case in plan.cases():
        kind = id(case.attack)
        if kind not in shares:
            shares[kind] = plan.repeats > 1 and _shares(case)
        waiting.setdefault(kind, []).append(case)
        if len(waiting[kind]) == (SHARED if shares[kind] else 1):
            yield from _unfinished(waiting.pop(kind), done)
    for cases in waiting.values():
        yield from _unfinished(cases, done)


def _unfinished(cases: list[Case], done: Container[str]) -> Iterator[list[Case]]:
    if not all(case.key in done for case in cases):
        yield cases


def _shares(case: Case) -> bool:
    """Return whether updates like this one can share a pass with others and are faster that way."""
    return shares_passes(case.attack, case.client.model, case.observe)


def _with_files(audited: Audited, folder: Path) -> Finding:
    """Save the examples and return the finding with their paths; no examples if the attack could not run."""
    if audited.reconstruction is None:
        return replace(audited.finding, versions=versions())
    if audited.transcript is not None:
        path = _save_transcript(audited.transcript, folder, audited.finding.case)
        return replace(audited.finding, transcript=path, versions=versions())
    pictures = ImageFiles(
        truth=_save(audited.truth, folder, f"{audited.finding.case}-truth"),
        reconstruction=_save(audited.reconstruction, folder, f"{audited.finding.case}-reconstruction"),
        control=_save(audited.control, folder, f"{audited.finding.case}-control"),
    )
    return replace(audited.finding, pictures=pictures, versions=versions())


def _save_transcript(transcript: Transcript, folder: Path, stem: str) -> str:
    make_folder(folder / "examples", above=False)
    name = f"examples/{stem}.json"
    write_whole(folder / name, json.dumps(transcript.to_json(), allow_nan=False))
    return name


def _save(pictures: Tensor, folder: Path, stem: str) -> tuple[str, ...]:
    names = tuple(f"images/{stem}-{number}.png" for number in range(len(pictures)))
    for name, picture in zip(names, pictures, strict=True):
        write_picture(folder / name, picture)
    return names


def versions() -> dict[str, str]:
    """Return the versions of Python and the packages that compute a finding."""
    return {"python": python_version(), **{name: version_of(name) for name in ("gradaudit", "torch", "torchvision")}}
