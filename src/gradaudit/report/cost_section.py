"""The section of a sweep's page on what a defense costs, and the lines on it in an audit's page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ..execution.results import read_trainings
from ..metrics import Interval, mean_interval
from ..values.federation_result import FederationResult
from ..values.finding import RunRecord
from ..values.measures import Measure
from . import formatting
from .cost_charts import MOST_CURVES, over_rounds, trade_off
from .costs import (
    SPACE,
    CostSetting,
    accuracy_in_words,
    bits_in_words,
    change_in_words,
    cost_settings,
    learnt,
    paired_change,
)
from .pareto import best, front
from .sweep_cells import Swept, gain_by

RULE = (
    "The best setting is the one with the highest mean accuracy among those in which no private {noun} was recovered, "
    "no 95 % interval of an attack's mean gain reaches {limit}, every attack and every training has finished and can "
    "be judged, the accuracy is above a guess, and, if there is a defense, an attack that knows it was run. Of equal "
    "accuracies, the smaller gain wins. Where no attack recovered anything in any setting, there is no best one: "
    "nothing shows then that the attacks work. The best setting is the best one measured here; that is not a proof of "
    "privacy."
)
GUESSING = "That is not above a guess of the most frequent class: train for more rounds."


@dataclass(frozen=True)
class CostRow:
    """One setting as a row of the table.

    Args:
        setting: The setting.
        accuracy: Accuracy after all rounds.
        change: Its difference to the only setting without a defense, in pairs of equal seeds.
        within: Accuracy after equal bits.
        bits: Bits of one client in all rounds.
        attack: The attack with the largest mean gain.
        gain: That gain.
        remark: Whether it is on the front or the best one, or why it cannot be.
    """

    setting: CostSetting
    accuracy: str
    change: str
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


def settings_of(found: Swept, record: RunRecord, folder: Path) -> tuple[CostSetting, ...]:
    """Return the settings of a sweep with their finished trainings, none without a federation.

    Args:
        found: The cells of the sweep.
        record: The record of the sweep.
        folder: Its folder.
    """
    if not record.trainings:
        return ()
    return cost_settings(found.cells, read_trainings(folder, record), len(record.trainings))


def cost_sections(settings: Sequence[CostSetting]) -> tuple[tuple[CostSection, ...], str]:
    """Return a section for each measure of the examples, and a remark on missing trainings or an empty string."""
    measures = dict.fromkeys(one.measure for one in settings if one.measure is not None)
    sections = tuple(_section([one for one in settings if one.measure is measure], measure) for measure in measures)
    done, planned = sum(len(one.results) for one in settings), sum(one.seeds for one in settings)
    share = f"{done} of {formatting.count(planned, 'training')}"
    return sections, f"Unfinished federation: {share}. Run the same command again to resume." if done < planned else ""


def client_costs(results: Sequence[FederationResult]) -> dict[str, str]:
    """Return the description of each trained client -> a sentence on its accuracy in the federation of an audit."""
    return {client: _sentence(mine) for client, mine in _by_client(results).items()}


def cost_lines(results: Sequence[FederationResult], planned: int) -> tuple[str, ...]:
    """Return what an audit says of the accuracy of its federation, with and without the defenses.

    Args:
        results: The finished trainings.
        planned: Number of all trainings, 0 without a federation: then there are no lines.
    """
    if not planned:
        return ()
    if not results:
        return ("The federation has not been trained yet.",)
    lines = [_lead(results[0])]
    clients = _by_client(results)
    lines += [f"{client}: {_sentence(mine)}" for client, mine in clients.items()]
    if change := _change(clients):
        lines.append(f"The defense changes the accuracy by {change_in_words(change)}, in pairs of equal seeds.")
    if len(results) < planned:
        lines.append(f"Only {len(results)} of {formatting.count(planned, 'training')} have finished.")
    return tuple(lines)


def _by_client(results: Sequence[FederationResult]) -> dict[str, list[FederationResult]]:
    found: dict[str, list[FederationResult]] = {}
    for result in results:
        found.setdefault(result.client, []).append(result)
    return found


def _change(clients: Mapping[str, Sequence[FederationResult]]) -> Interval | None:
    """Return the difference that the only defense makes, in pairs of equal seeds, or `None`."""
    plain = [one for mine in clients.values() for one in mine if not one.defended]
    others = [mine for mine in clients.values() if mine[0].defended]
    return paired_change(others[0], plain) if len(others) == 1 else None


def _sentence(results: Sequence[FederationResult]) -> str:
    interval = mean_interval([result.accuracy for result in results])
    sent = bits_in_words(sum(result.bits for result in results) / len(results))
    said = f"Accuracy in the federation: {accuracy_in_words(interval)}; a client sends {sent}.{_diverged(results)}"
    return said if learnt(results) else f"{said} {GUESSING}"


def _section(settings: Sequence[CostSetting], measure: Measure) -> CostSection:
    points = [one.point for one in settings]
    works = any(one.recovered for one in settings)
    chosen, kept = best(points) if works else None, front(points)
    plain = [one for one in settings if one.results and not one.results[0].defended]
    done = [one for one in settings if one.results]
    budget = min((one.bits for one in done), default=float("nan"))
    rows = tuple(
        CostRow(
            setting=one,
            accuracy=accuracy_in_words(one.accuracy),
            change=change_in_words(one.change(plain[0]) if len(plain) == 1 and one is not plain[0] else None),
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
        verdict=_verdict(settings, chosen, works),
        chart=trade_off(settings, measure),
        curves=over_rounds(settings),
        rows=rows,
        budget=bits_in_words(budget),
        remarks=tuple(_remarks(settings)),
        rule=RULE.format(noun=measure.noun, limit=limit),
    )


def _lead(result: FederationResult) -> str:
    chosen = result.settings
    dealt = f" (a Dirichlet partition with alpha {chosen['alpha']:g})" if chosen.get("alpha") is not None else ""
    guess = formatting.number(100 * result.chance, 1)
    chance = f" A guess of the most frequent class has {guess}{SPACE}%."
    return (
        f"{formatting.count(chosen['clients'], 'client')} with the attacked training train for "
        f"{formatting.count(chosen['rounds'], 'round')}, each on {formatting.count(chosen['batch_size'], 'example')} a "
        f"round, drawn anew from its part of {chosen['examples']}{dealt}. The accuracy is that on "
        f"{chosen['test_examples']} other examples, the mean over {formatting.count(chosen['seeds'], 'seed')} with "
        f"its 95 % interval."
        f"{chance if result.chance == result.chance else ''}"
    )


def _verdict(settings: Sequence[CostSetting], chosen: int | None, works: bool) -> tuple[str, str]:
    if not works:
        return "Best setting: none.", "No attack recovered anything in any setting, so no defense was put to a test."
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
    if any(one.results and not one.results[0].defended and not learnt(one.results) for one in settings):
        yield "Without a defense, the accuracy is not above a guess: train for more rounds, or change server_rate."
    count = sum(bool(one.results) for one in settings)
    if count > MOST_CURVES:
        yield f"The curves of the first {MOST_CURVES} of {count} settings are drawn."


def _diverged(results: Sequence[FederationResult]) -> str:
    count = sum(result.diverged is not None for result in results)
    return f" In {formatting.count(count, 'training')} the model stopped being finite." if count else ""
