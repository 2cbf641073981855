"""The section "Could this attack have worked here?": the self-check and the two controls of a captured update."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..audit.assessment import Assessment, assessment_of
from ..audit.controls import ControlScore
from ..audit.schedule import Schedule
from ..execution.results import read_json
from ..values.files import write_whole
from ..values.measures import MEASURES
from ..values.records import checked
from . import formatting
from .tally import PriorGains

FILE = "feasibility.json"
ROWS = 6  # causes in the table
DOUBT = (
    "{}: the attacks assumed another training than that of the client, so that a result of nothing means nothing. See "
    '"Could this attack have worked here?".'
)


@dataclass(frozen=True)
class AssessedClient:
    """The assessment of one client of a run.

    Args:
        client: Name of the client.
        number: Number of the client in the run, from 0.
        assessment: Its assessment.
    """

    client: str
    number: int
    assessment: Assessment


@dataclass(frozen=True)
class Feasibility:
    """One client of the section.

    Args:
        client: Name of the client.
        tone: Tone of the headline, as of a verdict.
        headline: The answer in a few words.
        doubt: A sentence beside the verdict if nothing follows from the attacks, or empty.
        lines: What follows from it, in sentences.
        fixes: What to change, in sentences.
        controls: What the controls showed, in sentences.
        rows: Causes that were tried, the closest first: what differs, the error left, and the cosine.
    """

    client: str
    tone: str
    headline: str
    doubt: str
    lines: tuple[str, ...]
    fixes: tuple[str, ...]
    controls: tuple[str, ...]
    rows: tuple[tuple[str, str, str], ...]


def assess_into(folder: Path, schedules: Sequence[Schedule]) -> None:
    """Assess the captured updates of a run whose true examples are at hand, and write `feasibility.json`.

    A client that the file holds already is not assessed again; without such an update no file is written.

    Args:
        folder: The folder of the run.
        schedules: The cases, client by client.

    Raises:
        AuditError: The file cannot be read or written.
    """
    before = {one.number: one for one in read_assessments(folder)}
    found = dict(before)
    for schedule in schedules:
        if schedule.number not in before and (assessment := assessment_of(schedule)) is not None:
            found[schedule.number] = AssessedClient(schedule.client.described, schedule.number, assessment)
    if found != before:
        write_assessments(folder, [*found.values()])


def write_assessments(folder: Path, found: Sequence[AssessedClient]) -> None:
    """Write `feasibility.json`. Raise `AuditError` if it cannot be written."""
    write_whole(folder / FILE, json.dumps([asdict(one) for one in found], indent=1, allow_nan=False))


def read_assessments(folder: Path) -> tuple[AssessedClient, ...]:
    """Return the assessments in the folder of a run; none if there is no file. Raise `AuditError` if it is damaged."""
    found = read_json(folder / FILE, lambda record: checked(tuple[AssessedClient, ...], record))
    return found or ()


def prior_gains(found: Iterable[AssessedClient]) -> dict[int, PriorGains]:
    """Return number of a client -> what its prior-only control gained.

    A file of an earlier version holds the mean over the examples alone.
    """
    priors = {one.number: one.assessment.prior for one in found}
    return {
        number: PriorGains(alone.attack, tuple(gain for gain in alone.gains or (alone.gain,) if math.isfinite(gain)))
        for number, alone in priors.items()
        if alone is not None and not alone.why_not
    }


def feasibility_of(folder: Path) -> tuple[Feasibility, ...]:
    """Return the section for the run in a folder; raise as `read_assessments`."""
    return feasibility_entries(read_assessments(folder))


def feasibility_entries(found: Iterable[AssessedClient]) -> tuple[Feasibility, ...]:
    """Return one entry of the section for each assessed client.

    A redacted copy holds no self-check, and has no such section.
    """
    whole = (one for one in found if one.assessment.self_check or one.assessment.problem)
    return tuple(_entry(one.client, one.assessment) for one in whole)


def _entry(client: str, found: Assessment) -> Feasibility:
    tone, headline = _answer(found)
    check = found.self_check
    lines = check.sentences if check else (f"There is no self-check: {found.problem}",)
    fixes = tuple(line for line in lines if line.startswith("Fix: "))
    controls = (*_positive(found.positive), *_prior(found.prior))
    rows: tuple[tuple[str, str, str], ...] = ()
    if check is not None and check.tried:
        tried = [(one.title, one.gap) for one in check.tried[:ROWS]]
        tried.insert(0, ("nothing: as declared", check.declared))
        rows = tuple(_row(title, gap.error, gap.cosine) for title, gap in tried)
    rest = tuple(line for line in lines if line not in fixes)
    wrong = check is not None and check.state in ("explained", "unexplained")
    return Feasibility(client, tone, headline, DOUBT.format(client) if wrong else "", rest, fixes, controls, rows)


def _answer(found: Assessment) -> tuple[str, str]:
    """Return the tone and the answer in a few words."""
    check, easy = found.self_check, found.positive
    leaks = easy is not None and not easy.why_not and easy.recovered == easy.examples
    if check is None or check.state == "undecided":
        return "unknown", "This cannot be said."
    if check.state == "explained":
        return "1", "No: the attacks assumed another training than that of the client."
    if check.state == "unexplained":
        return "1", "No: the declared training does not give this update, and the cause is unknown."
    if not leaks:
        return "unknown", "Perhaps not: in a short time, even an update that must leak did not give its example back."
    if check.random:
        return "0", "In part: the assumptions are right, except for the client's random numbers."
    return "0", "Yes: the assumptions of the attacks are right, and an easy update of this model leaks."


def _positive(easy: ControlScore | None) -> tuple[str, ...]:
    if easy is None:
        return ()
    if easy.why_not:
        return (f"Positive control: it could not run. {easy.why_not}",)
    result = "recovered it" if easy.recovered == easy.examples else "did not recover it"
    return (
        "Positive control: from the gradient of one of these examples alone, without local steps or defense, "
        f"{easy.attack} {result} ({_scores(easy)}, {formatting.seconds(easy.seconds)}).",
    )


def _prior(alone: ControlScore | None) -> tuple[str, ...]:
    if alone is None:
        return ()
    if alone.why_not:
        return (f"Prior-only control: it could not run. {alone.why_not}",)
    return (
        f"Prior-only control: {alone.attack} without the update, with its priors alone, reaches {_scores(alone)}. "
        "Only what an attack gains beyond this comes from the update.",
    )


def _scores(found: ControlScore) -> str:
    """Return a score with its gain over the guess, such as `PSNR 26.1 dB, 13.9 dB above the control`."""
    measure = next((one for one in MEASURES.values() if one.metric == found.metric), None)
    if measure is None:
        return f"{found.metric} {formatting.scientific(found.score)}"
    value = formatting.measured(found.score, measure)
    return f"{measure.name} {value}, {formatting.above_control(found.gain, measure)}"


def _row(title: str, error: float, cosine: float) -> tuple[str, str, str]:
    return title, formatting.scientific(error), formatting.number(cosine, 4)
