"""The index page of a collection of studies: question, published finding, what was measured, seconds, link."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..studies import StudyResult
from ..studies._collections import Collection, Question
from ..values.files import write_whole
from .study_page import PAGE
from .study_tables import NO_LEAK_SHOWN, NOT_MEASURED, difference_in_words, verdict_of
from .template import fill

INDEX = "index.html"
CONFIRMED, CONTRADICTED = "confirmed", "contradicted"


@dataclass(frozen=True)
class StudyRow:
    """One study on the index page.

    Args:
        name: Name of the study.
        title: Its title.
        link: Path of its page beside the index, or empty.
        state: How much is measured, or why nothing is.
        seconds: Computing time so far.
        verdict: `confirmed`, `contradicted`, `in part`, `not confirmed`, `inconclusive`, `neither is shown to leak` or
            `not measured`.
        counts: How many of its claims have which verdict, in words.
        claims: Each claim with its column and its measured difference in words.
    """

    name: str
    title: str
    link: str
    state: str
    seconds: float
    verdict: str
    counts: str
    claims: tuple[tuple[str, str], ...]


def write_index(collection: Collection, found: Mapping[str, StudyResult | str], folder: Path) -> Path:
    """Write the index page and return its path.

    Args:
        collection: The questions.
        found: Name of a study -> its result, whose page is in the subfolder of that name, or why there is none.
        folder: Folder of the page.
    """
    questions = [(question, list(_rows(question, found))) for question in collection.questions]
    rows = [row for _, some in questions for row in some]
    summary = _counted(Counter(row.verdict for row in rows))
    page = fill("study_index.html", collection=collection, questions=questions, rows=rows, summary=summary)
    return write_whole(folder / INDEX, page)


def index_lines(collection: Collection, found: Mapping[str, StudyResult | str]) -> Iterator[tuple[str, ...]]:
    """Yield question, study, state, seconds, verdict and counts of every study, for the terminal."""
    for question in collection.questions:
        for row in _rows(question, found):
            yield question.key, row.name, row.state, f"{row.seconds:.0f}", row.verdict, row.counts


def _rows(question: Question, found: Mapping[str, StudyResult | str]) -> Iterator[StudyRow]:
    for name in question.studies:
        result = found.get(name, "not run")
        if isinstance(result, str):
            yield StudyRow(name, "", "", result, 0.0, "not measured", "", ())
            continue
        verdicts = [verdict_of(result, one) for one in result.comparisons]
        yield StudyRow(
            name,
            result.study.title,
            f"{name}/{PAGE}",
            f"{result.done} of {result.planned} measurements, scale {result.scale}",
            result.seconds,
            _whole_verdict(verdicts, result.done),
            _counted(Counter(verdicts)),
            tuple((f"{one.claim} ({one.column})", difference_in_words(result, one)) for one in result.comparisons),
        )


def _whole_verdict(verdicts: list[str], done: int) -> str:
    """Return the verdict on a study from those on its claims; claims that were not measured do not count."""
    if not done:
        return "not measured"
    known = {verdict for verdict in verdicts if verdict != NOT_MEASURED}
    if known in ({CONFIRMED}, {CONTRADICTED}, {NO_LEAK_SHOWN}):
        return next(iter(known))
    return "in part" if CONFIRMED in known else "inconclusive" if CONTRADICTED not in known else "not confirmed"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.most_common())
