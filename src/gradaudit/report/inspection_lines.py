"""The results of an inspection as lines of text, shared by the terminal and the page."""

from __future__ import annotations

from dataclasses import dataclass

from ..inspection import Inspection, Reading, SignFact
from . import formatting
from . import wording as words

HOLDS = {"gradient": "a gradient", "weight-difference": "a weight difference", "weights": "whole weights"}
OWN = "as built by the model's code; give --weights for those that the server sent"
SHOWN = 6  # number of names of tensors


@dataclass(frozen=True)
class FactRow:
    """One label inference, one layer or one sign of a defense, as text.

    Args:
        name: Name of the method, layer or defense.
        cells: The columns after the name.
        strong: Whether the row is emphasised: it shows a leak, the consensus or a detected defense.
    """

    name: str
    cells: tuple[str, ...]
    strong: bool = False


def summary(found: Inspection) -> str:
    """Return one line with the kind of the update, the model and the number of values."""
    contents = found.contents
    values = f"{contents.values:,}".replace(",", " ")
    return f"{HOLDS[found.holds].capitalize()} · {found.model} · {values} values"


def tone(found: Inspection) -> str:
    """Return the colour of the verdict: `2`, `1`, `0`, or `unknown` if severity 0 is not an all-clear."""
    return "unknown" if found.unjudged and not found.severity else str(found.severity)


def travels(found: Inspection) -> tuple[tuple[str, str], ...]:
    """Return pairs of name and text on the contents of the update."""
    contents = found.contents
    share = f"{_percent(contents.share)} of the model's values"
    entries = [("tensors", f"{len(contents.tensors)} of {contents.trainable}, {share}")]
    if contents.unshared:
        entries.append(("not shared", _names(contents.unshared)))
    buffers = f"{len(contents.buffers)} of {contents.model_buffers}" if contents.buffers else "none"
    entries.append(("buffers", buffers))
    stored = f"stored as {', '.join(contents.precision) or 'nothing'}"
    entries.append(("L2 norm", f"{formatting.scientific(contents.length)}, {stored}"))
    entries.append(("model's weights", found.weights or OWN))
    if found.local_steps:
        entries.append(("local steps", str(found.local_steps)))
    if found.least_examples:
        entries.append(("batch size", f"at least {found.least_examples}, by the rank of a gradient"))
    return tuple(entries)


def batch_norm(found: Inspection) -> tuple[str, ...]:
    """Return sentences on what the BatchNorm buffers reveal."""
    facts = found.batch_norm
    if facts is None:
        return ("The model has no BatchNorm layers.",)
    if not facts.travelling:
        return (f"The buffers of its {facts.layers} layers were not sent: no step counter, no batch statistics.",)
    lines = [f"The buffers of {facts.travelling} of {facts.layers} layers were sent."]
    if facts.steps is not None:
        lines.append(f"Local steps, by the step counters: exactly {facts.steps}.")
    elif facts.counted:
        spread = f"{facts.counted[0]} to {facts.counted[-1]}"
        lines.append(f"The step counters disagree, {spread}: noise was added to them, or some layers were frozen.")
    else:
        lines.append("No step counter was sent.")
    momentum = f" (momentum {facts.momentum:g})" if facts.momentum is not None else ""
    told = {
        "exact": f"Mean and variance of the batch in {facts.channels} channels, exactly: one step{momentum}.",
        "averaged": f"Mean and variance of the batch in {facts.channels} channels, averaged over the steps{momentum}.",
        "unmoved": "The running statistics did not change, so they reveal nothing about the batch.",
        "absent": "No running statistics were sent.",
    }
    return (*lines, told[facts.statistics])


def label_lead(found: Inspection) -> str:
    """Return a sentence on the number of classes, the batch size and the agreement of the label inferences."""
    facts = found.labels
    if facts is None:
        return f"No labels are stated: {found.unjudged}."
    size = "an unknown batch size"
    if facts.batch_size is not None:
        size = f"batch size {facts.batch_size}{', from a rank' if facts.batch_size_read else ''}"
    if facts.applying == 1:
        return f"{facts.classes} classes, {size}; one method applies."
    agreed = f"{facts.agreeing} of {facts.applying} methods give the same answer"
    return f"{facts.classes} classes, {size}; {agreed}, {_percent(facts.agreement)} of the labels in common."


def label_rows(found: Inspection) -> tuple[FactRow, ...]:
    """Return one row per method: its answer, the kind of answer, its confidence. Rows with the consensus are strong."""
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
    """Return the classes with their counts, such as `2 ×2, 7, 8`."""
    if not reading.counts:
        return "no class"
    most = 16
    if reading.says == "soft labels":
        named = [f"{label}: {amount:.2f}" for label, amount in reading.counts.items()]
    else:
        named = [f"{label} ×{round(amount)}" if amount > 1 else str(label) for label, amount in reading.counts.items()]
    return ", ".join(named[:most]) + (f" and {len(named) - most} more" if len(named) > most else "")


def label_refusals(found: Inspection) -> tuple[str, ...]:
    """Return one line per reason with the methods that do not apply."""
    if found.labels is None:
        return ()
    lacking: dict[str, list[str]] = {}
    for reading in found.labels.readings:
        if not reading.applies:
            reason = f"needs {words.facts(reading.lacks)}" if reading.lacks else _reason(reading.why_not or "")
            lacking.setdefault(reason, []).append(reading.method)
    return tuple(f"{', '.join(methods)}: {reason}" for reason, methods in lacking.items())


def layer_rows(found: Inspection) -> tuple[FactRow, ...]:
    """Return one row per layer: shape, rank and its limit, and the inputs that can be read off exactly."""
    rows = []
    for layer in found.layers:
        what = "private examples" if layer.takes_example else "features"
        if layer.recovered:
            said = f"{formatting.count(layer.recovered, 'input')} recovered exactly ({what})"
        elif not layer.bias:
            said = "not checked: its bias was not sent"
        elif not layer.per_example:
            said = "not checked: it runs on tokens, and its rank counts tokens"
        elif layer.in_memory is None:
            said = f"not checked ({what})"
        else:
            said = f"none recovered exactly ({what})"
        rank = f"{layer.rank} of {layer.limit}" + (", full" if layer.saturated else "")
        rows.append(FactRow(layer.name, (f"{layer.shape[0]} × {layer.shape[1]}", rank, said), bool(layer.recovered)))
    return tuple(rows)


def no_defense(found: Inspection) -> str:
    """Return the end of the heading if no sign was found, or none was checked."""
    if not found.signs:
        return ": not checked"
    return ": none" if found.no_defense else ""


def sign_rows(found: Inspection) -> tuple[FactRow, ...]:
    """Return one row per defense: verdict, confidence, evidence."""
    return tuple(
        FactRow(sign.defense, (_verdict(sign), _sure(sign), sign.evidence), bool(sign.found)) for sign in found.signs
    )


def _verdict(sign: SignFact) -> str:
    return {True: "yes", False: "no sign", None: "undecidable"}[sign.found]


def _sure(sign: SignFact) -> str:
    return "" if sign.found is None else formatting.percent(sign.confidence)


def _reason(text: str) -> str:
    """Return the first sentence of a refusal, without the `repr` of the part in front."""
    head, _, rest = text.partition(") ")
    said = rest if rest and "(" in head and " " not in head.split("(")[0] else text
    return said.split(". ")[0].rstrip(".")


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _percent(share: float) -> str:
    """Return whole percent, but never 100 % for less than all."""
    return formatting.percent(share if share == 1 else min(share, 0.99))
