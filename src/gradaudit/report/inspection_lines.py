"""What an inspection says, as lines of text: the one place that screen and page both take their words from."""

from __future__ import annotations

from dataclasses import dataclass

from ..inspection import Inspection, Reading, SignFact
from . import formatting
from . import wording as words

HOLDS = {"gradient": "a gradient", "weight-difference": "a weight difference", "weights": "whole weights"}
OWN = "its own, as it was built; give --weights for those that were sent"
SHOWN = 6  # names of tensors, and classes of one answer


@dataclass(frozen=True)
class FactRow:
    """One label inference, one layer or one sign of a defense, as text.

    Args:
        name: What it is.
        cells: The columns after the name.
        strong: It speaks of a leak, or of a defense that was found.
    """

    name: str
    cells: tuple[str, ...]
    strong: bool = False


def summary(found: Inspection) -> str:
    """What the file holds, the model, and how many values travel."""
    contents = found.contents
    values = f"{contents.values:,}".replace(",", " ")
    return f"{HOLDS[found.holds].capitalize()} · {found.model} · {values} values"


def tone(found: Inspection) -> str:
    """How the verdict is coloured: `2`, `1`, `0`, or `unknown` where severity 0 is no all-clear."""
    return "unknown" if found.unjudged and not found.severity else str(found.severity)


def travels(found: Inspection) -> tuple[tuple[str, str], ...]:
    """Name and text of what is in the update."""
    contents = found.contents
    share = f"{_percent(contents.share)} of the model's values"
    entries = [("tensors", f"{len(contents.tensors)} of {contents.trainable}, {share}")]
    if contents.unshared:
        entries.append(("not shared", _names(contents.unshared)))
    buffers = f"{len(contents.buffers)} of {contents.model_buffers}" if contents.buffers else "none"
    entries.append(("buffers", buffers))
    stored = f"stored as {', '.join(contents.precision) or 'nothing'}"
    entries.append(("length", f"{formatting.scientific(contents.length)} (L2 norm), {stored}"))
    entries.append(("model's weights", found.weights or OWN))
    if found.local_steps:
        entries.append(("local steps", str(found.local_steps)))
    if found.least_examples:
        entries.append(("batch size", f"at least {found.least_examples}, by the rank of a gradient"))
    return tuple(entries)


def batch_norm(found: Inspection) -> tuple[str, ...]:
    """Sentences on what BatchNorm's buffers give away."""
    facts = found.batch_norm
    if facts is None:
        return ("The model has no BatchNorm layers.",)
    if not facts.travelling:
        return (f"The buffers of its {facts.layers} layers do not travel: no step counter, no batch statistics.",)
    lines = [f"Buffers of {facts.travelling} of {facts.layers} layers travel."]
    if facts.steps is not None:
        lines.append(f"Local steps, by the counters: exactly {facts.steps}.")
    elif facts.counted:
        spread = f"{facts.counted[0]} to {facts.counted[-1]}"
        lines.append(f"The step counters disagree, {spread}: noise was added to them, or layers were frozen.")
    else:
        lines.append("No step counter travels.")
    momentum = f" (momentum {facts.momentum:g})" if facts.momentum is not None else ""
    told = {
        "exact": f"Mean and variance of the batch in {facts.channels} channels, exactly: one step{momentum}.",
        "averaged": f"Mean and variance of the batch in {facts.channels} channels, averaged over the steps{momentum}.",
        "unmoved": "The running statistics did not move: they say nothing about the batch.",
        "absent": "No running statistics travel.",
    }
    return (*lines, told[facts.statistics])


def label_lead(found: Inspection) -> str:
    """What the label inferences worked with, and how well they agree."""
    facts = found.labels
    if facts is None:
        return f"No labels are stated: {found.unjudged}."
    size = "an unknown batch size"
    if facts.batch_size is not None:
        size = f"batch size {facts.batch_size}{', read off the rank' if facts.batch_size_read else ''}"
    if facts.applying == 1:
        return f"{facts.classes} classes, {size}; one method applies."
    agreed = f"{facts.agreeing} of {facts.applying} methods give the same answer"
    return f"{facts.classes} classes, {size}; {agreed}, {_percent(facts.agreement)} of the labels in common."


def label_rows(found: Inspection) -> tuple[FactRow, ...]:
    """Method, what it says, confidence; those that say the consensus are strong."""
    if found.labels is None:
        return ()
    rows = []
    for reading in found.labels.readings:
        if reading.applies:
            same = set(reading.counts) == set(found.labels.consensus)
            if reading.says == "counts":
                same = {k: round(v) for k, v in reading.counts.items()} == dict(found.labels.consensus)
            sure = "" if reading.confidence is None else formatting.percent(reading.confidence)
            rows.append(FactRow(reading.method, (answer(reading), reading.says or "", sure), same))
    return tuple(rows)


def answer(reading: Reading) -> str:
    """`2 ×2, 7, 8`: the classes with their counts."""
    if not reading.counts:
        return "no class"
    most = 16
    if reading.says == "soft labels":
        named = [f"{label}: {amount:.2f}" for label, amount in reading.counts.items()]
    else:
        named = [f"{label} ×{round(amount)}" if amount > 1 else str(label) for label, amount in reading.counts.items()]
    return ", ".join(named[:most]) + (f" and {len(named) - most} more" if len(named) > most else "")


def label_refusals(found: Inspection) -> tuple[str, ...]:
    """Methods that do not apply, by what they lack."""
    if found.labels is None:
        return ()
    lacking: dict[str, list[str]] = {}
    for reading in found.labels.readings:
        if not reading.applies:
            reason = f"needs {words.facts(reading.lacks)}" if reading.lacks else _reason(reading.why_not or "")
            lacking.setdefault(reason, []).append(reading.method)
    return tuple(f"{', '.join(methods)}: {reason}" for reason, methods in lacking.items())


def layer_rows(found: Inspection) -> tuple[FactRow, ...]:
    """Layer, shape, rank against its limit, and what can be inverted."""
    rows = []
    for layer in found.layers:
        what = "the example itself" if layer.takes_example else "features"
        if layer.recovered:
            lie = "lies in it as it is" if layer.recovered == 1 else "lie in it as they are"
            said = f"{formatting.count(layer.recovered, 'input')} {lie}: {what}"
        elif not layer.bias:
            said = "no bias travels, so not by row over bias"
        elif not layer.per_example:
            said = "runs on tokens: rank counts tokens"
        elif layer.in_memory is None:
            said = f"not looked for ({what})"
        else:
            said = f"none exactly ({what})"
        rank = f"{layer.rank} of {layer.limit}" + (", full" if layer.saturated else "")
        rows.append(FactRow(layer.name, (f"{layer.shape[0]} × {layer.shape[1]}", rank, said), bool(layer.recovered)))
    return tuple(rows)


def no_defense(found: Inspection) -> str:
    """What a heading adds where no sign was found, or none was looked for."""
    if not found.signs:
        return ": not looked for"
    return ": none" if found.no_defense else ""


def sign_rows(found: Inspection) -> tuple[FactRow, ...]:
    """Defense, verdict, confidence, evidence."""
    return tuple(
        FactRow(sign.defense, (_verdict(sign), _sure(sign), sign.evidence), bool(sign.found)) for sign in found.signs
    )


def _verdict(sign: SignFact) -> str:
    return {True: "yes", False: "no sign", None: "cannot be told"}[sign.found]


def _sure(sign: SignFact) -> str:
    return "" if sign.found is None else formatting.percent(sign.confidence)


def _reason(text: str) -> str:
    """The first sentence of a refusal, without the part's own `repr` in front."""
    head, _, rest = text.partition(") ")
    said = rest if rest and "(" in head and " " not in head.split("(")[0] else text
    return said.split(". ")[0].rstrip(".")


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _percent(share: float) -> str:
    """Whole percent, but never 100 % for less than all."""
    return formatting.percent(share if share == 1 else min(share, 0.99))
