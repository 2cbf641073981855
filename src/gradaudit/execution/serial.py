"""One case after another, in this process."""

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
SHARED = 16  # updates in one pass at most, so that an interruption costs little


class Listener(Protocol):
    """Told of a run's progress.

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
        """A case starts; what comes back is told of its steps."""
        ...

    def end(self, finding: Finding, number: int, total: int) -> None:
        """A case is done and on disk."""
        ...


def describe_run(plans: Sequence[Schedule], title: str) -> RunRecord:
    """What the page says of the run as a whole, and what must stay equal for it to be continued."""
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
    """Audit every case of every plan that `results` does not hold yet.

    Each finding is on disk before the next case starts, so that an interruption or an error loses one case at most, and
    of a long attack half a minute. Only on small networks up to sixteen updates under one attack share a pass.

    Raises:
        AuditError: As `audit`, with the case named; or another process writes to the folder.
    """
    with locked(results.folder):
        results.refresh()
        for plan in plans:
            for cases in in_passes(plan, results.done):
                _audit_pass(cases, results, listener)
        keeper.clear(results.folder / UNFINISHED)


def _audit_pass(cases: list[Case], results: Results, listener: Listener) -> None:
    """Audit cases that share a pass, and put onto the disk what came of them before the kept run is given up."""
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
    """The cases of a plan that are not done, those together that share a pass.

    Which share one does not depend on what is done, so that a run that goes on gives the same numbers.
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
    """Whether updates like this one can share a pass with others, and gain by it."""
    return shares_passes(case.attack, case.observe())


def _with_files(audited: Audited, folder: Path) -> Finding:
    """Save the examples, and say in the finding where they lie; none where the attack could not run."""
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
    """What a finding was computed with."""
    return {"python": python_version(), **{name: version_of(name) for name in ("gradaudit", "torch", "torchvision")}}
