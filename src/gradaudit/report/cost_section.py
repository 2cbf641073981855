"""The section of a sweep's page on what a defense costs, and the lines on it in an audit's page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ..execution.results import read_trainings
from ..metrics import mean_interval
from ..values.federation_result import FederationResult
from ..values.finding import RunRecord
from ..values.measures import Measure
from . import formatting
from .cost_charts import MOST_CURVES, over_rounds, trade_off
from .costs import CostSetting, accuracy_in_words, bits_in_words, cost_settings
from .pareto import best, front
from .sweep_cells import Swept, gain_by

RULE = (
    "The best setting is the one with the highest mean accuracy among those in which no private {noun} was recovered, "
    "no 95 % interval of an attack's mean gain reaches {limit}, every attack and every training has finished and can "
    "be judged, and, if there is a defense, an attack that knows it was run. Of equal accuracies, the smaller gain wins. "
    "The best setting is the best one measured here; that is not a proof of privacy."
)


@dataclass(frozen=True)
class CostRow:
    """One setting as a row of the table.

    Args:
        setting: The setting.
        accuracy: Accuracy after all rounds.
        within: Accuracy after equal bits.
        bits: Bits of one client in all rounds.
        attack: The attack with the largest mean gain.
        gain: That gain.
        remark: Whether it is on the front or the best one, or why it cannot be.
    """

    setting: CostSetting
    accuracy: str
    within: str
    bits: str
    attack: str
    gain: str
    remark: str


@dataclass(frozen=True)
class CostSection:
    """What a sweep says about cost, for all settings of one measure.

    Args:
        lead: How the federation was trained.
        verdict: The best setting, or that there is none.
        chart: Accuracy against leakage, or `None`.
        curves: Accuracy over the rounds, or `None`.
        rows: All settings.
        budget: The equal number of bits, in words.
        remarks: What limits the numbers.
        rule: How the best setting was chosen.
    """

    lead: str
    verdict: tuple[str, str]
    chart: Markup | None
    curves: Markup | None
    rows: tuple[CostRow, ...]
    budget: str
    remarks: tuple[str, ...]
    rule: str


def cost_sections(found: Swept, record: RunRecord, folder: Path) -> tuple[tuple[CostSection, ...], str]:
    """Return a section for each measure of the examples, none without a federation, and a remark on missing trainings.

    Args:
        found: The cells of the sweep.
        record: The record of the sweep.
        folder: Its folder.
    """
    results = read_trainings(folder, record)
    planned = len(record.trainings)
    if not planned:
        return (), ""
    settings = cost_settings(found.cells, results, planned)
    measures = dict.fromkeys(one.measure for one in settings if one.measure is not None)
    sections = tuple(_section([one for one in settings if one.measure is measure], measure) for measure in measures)
    done = f"{len(results)} of {formatting.count(planned, 'training')}"
    return sections, f"Unfinished federation: {done}." if len(results) < planned else ""


def cost_lines(record: RunRecord, folder: Path) -> tuple[str, ...]:
    """Return what an audit says of the accuracy of its federation, with and without the defenses; none without one."""
    results = read_trainings(folder, record)
    if not record.trainings:
        return ()
    if not results:
        return ("The federation has not been trained yet.",)
    by_client: dict[str, list[FederationResult]] = {}
    for result in results:
        by_client.setdefault(result.client, []).append(result)
    lines = [_lead(results[0])]
    for client, mine in by_client.items():
        interval = mean_interval([result.accuracy for result in mine])
        sent = bits_in_words(sum(result.bits for result in mine) / len(mine))
        lines.append(f"{client}: accuracy {accuracy_in_words(interval)}; a client sends {sent}.{_diverged(mine)}")
    if len(results) < len(record.trainings):
        lines.append(f"Only {len(results)} of {formatting.count(len(record.trainings), 'training')} have finished.")
    return tuple(lines)


def _section(settings: Sequence[CostSetting], measure: Measure) -> CostSection:
    points = [one.point for one in settings]
    chosen, kept = best(points), front(points)
    done = [one for one in settings if one.results]
    budget = min((one.bits for one in done), default=float("nan"))
    rows = tuple(
        CostRow(
            setting=one,
            accuracy=accuracy_in_words(one.accuracy),
            within=accuracy_in_words(one.within(budget)),
            bits=bits_in_words(one.bits),
            attack=one.worst[0] if one.worst else formatting.MISSING,
            gain=gain_by(measure).sentence(one.worst[1]) if one.worst else formatting.MISSING,
            remark=_remark(one, number == chosen, number in kept),
        )
        for number, one in enumerate(settings)
    )
    limit = formatting.measured(measure.recovered_gain, measure, signed=True)
    return CostSection(
        lead=_lead(done[0].results[0]) if done else "The federation has not been trained yet.",
        verdict=_verdict(settings, chosen),
        chart=trade_off(settings, measure),
        curves=over_rounds(settings),
        rows=rows,
        budget=bits_in_words(budget),
        remarks=tuple(_remarks(settings)),
        rule=RULE.format(noun=measure.noun, limit=limit),
    )


def _lead(result: FederationResult) -> str:
    chosen = result.settings
    dealt = f" by a Dirichlet partition with alpha {chosen['alpha']:g}" if chosen.get("alpha") is not None else ""
    chance = f" A guess of the most frequent class has {formatting.number(100 * result.chance, 1)} %."
    return (
        f"{formatting.count(chosen['clients'], 'client')} with the attacked training and defenses train for "
        f"{formatting.count(chosen['rounds'], 'round')}, each on {chosen['batch_size']} new examples a round of "
        f"{chosen['examples']} that are divided{dealt}. The accuracy is that on {chosen['test_examples']} other "
        f"examples, the mean over {formatting.count(chosen['seeds'], 'seed')} with its 95 % interval."
        f"{chance if result.chance == result.chance else ''}"
    )


def _verdict(settings: Sequence[CostSetting], chosen: int | None) -> tuple[str, str]:
    if chosen is None:
        return "Best setting: none.", "No setting fulfils the rule below; the table says why."
    one = settings[chosen]
    assert one.worst is not None
    assert one.measure is not None
    gain = gain_by(one.measure).sentence(one.worst[1])
    return f"Best setting: {one.name}.", f"Accuracy {accuracy_in_words(one.accuracy)}; worst attack {gain}."


def _remark(one: CostSetting, chosen: bool, kept: bool) -> str:
    said = ["best setting"] if chosen else []
    said += ["on the front"] if kept else []
    return "; ".join([*said, *one.point.obstacles])


def _remarks(settings: Sequence[CostSetting]) -> Iterator[str]:
    sizes = sorted({finding.examples for one in settings for finding in one.findings})
    drawn = next((result.settings["batch_size"] for one in settings for result in one.results), None)
    if drawn is not None and sizes != [drawn]:
        attacked = formatting.listed([str(size) for size in sizes])
        yield (
            f"The attacked updates are of {attacked} example{'' if sizes == [1] else 's'}; those of the federation are "
            f"of {drawn}. Larger batches usually leak less."
        )
    lost = [one.number for one in settings if any(result.diverged for result in one.results)]
    if lost:
        named = formatting.listed(list(map(str, lost)))
        yield f"A model stopped being finite in setting {named}: its accuracy is that of the last finite model."
    count = sum(bool(one.results) for one in settings)
    if count > MOST_CURVES:
        yield f"The curves of the first {MOST_CURVES} of {count} settings are drawn."


def _diverged(results: Sequence[FederationResult]) -> str:
    count = sum(result.diverged is not None for result in results)
    return f" In {formatting.count(count, 'training')} the model stopped being finite." if count else ""
