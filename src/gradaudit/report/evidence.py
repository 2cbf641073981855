"""The figures of an audit under the questions of a data-protection assessment. The assessment itself is for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import formatting
from .remedies import Remedy
from .tally import Tally

MOST_FIGURES = 4  # lines of one question


@dataclass(frozen=True)
class Evidence:
    """One question of an assessment.

    Args:
        question: What the assessment asks for.
        figures: What this audit measured, one line for each configuration, the worst first.
        limit: What the figures do not say.
    """

    question: str
    figures: tuple[str, ...]
    limit: str


def evidence(found: Sequence[Tally], effects: Sequence[Remedy]) -> tuple[Evidence, ...]:
    """Return the questions with the figures of the configurations, in the given order; there is at least one."""
    noun = found[0].measure.nouns
    return (
        Evidence(
            "Likelihood of re-identification",
            _few([_line(tally, _likelihood(tally), several=len(found) > 1) for tally in found]),
            f"Counted among {noun} of the same source. Names, places and other knowledge about persons were not used.",
        ),
        Evidence(
            "Severity of re-identification",
            _few([_line(tally, _severity(tally), several=len(found) > 1) for tally in found]),
            f"How sensitive the content of the {noun} is, only people who know them can say.",
        ),
        Evidence(
            "Effectiveness of the technical measure",
            _few([f"{remedy.name}: {remedy.effect}" for remedy in effects]) or ("No measure was tested.",),
            "Measured against the attacks of this audit only.",
        ),
        Evidence(
            "Residual risk",
            _few(_residual(found)),
            "What was not tested remains open, whatever the figures are.",
        ),
    )


def _line(tally: Tally, text: str, *, several: bool) -> str:
    return f"{tally.label}: {text}." if several else f"{text[:1].upper()}{text[1:]}."


def _few(lines: Sequence[str]) -> tuple[str, ...]:
    more = len(lines) - MOST_FIGURES
    return (*lines[:MOST_FIGURES], *([f"And {more} more, in the sections below."] if more > 0 else []))


def _likelihood(tally: Tally) -> str:
    if not tally.worst:
        return "cannot be judged"
    return tally.identification or f"{tally.recovery}; identification does not apply, or was not measured"


def _severity(tally: Tally) -> str:
    if not tally.worst:
        return "cannot be judged"
    closest, measure = tally.worst[0], tally.measure
    value = f"{measure.prefix}{formatting.measured(closest.value, measure)}"
    return f"{tally.recovery}; the closest has {value}, {formatting.above_control(closest.gain, measure)}"


def _residual(found: Sequence[Tally]) -> list[str]:
    defended = [tally for tally in found if tally.defended]
    if not defended:
        return ["No measure was tested, so the figures above are those of a client without one."]
    return [f"With {tally.label}: {tally.verdict.headline} {tally.verdict.sentence}" for tally in defended]
