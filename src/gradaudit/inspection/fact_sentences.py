"""From facts to sentences: what leaks without an attack, worst first, and what an attacker would still need."""

from __future__ import annotations

from dataclasses import replace

from ..client.observation import Observation
from ..values.types import UpdateKind
from .facts import Inspection

AGREED = 0.9  # share of labels in common from which the methods are said to agree
SHOWN = 8  # classes that a sentence names
FOUND = {2: "An example itself", 1: "Facts about the batch", 0: "Nothing"}


def told(facts: Inspection, seen: Observation) -> Inspection:
    """`facts` with its sentences and its severity."""
    inputs = sum(layer.recovered for layer in facts.layers if layer.takes_example)
    leaks = (*_examples(facts, inputs), *_labels(facts), *_batch_norm(facts), *_size(facts, seen))
    severity = 2 if inputs else 1 if leaks else 0
    verdict = f"{FOUND[severity]} can be read off this update without an attack."
    if facts.unjudged and not severity:
        verdict = f"Cannot be judged: {facts.unjudged}."
    return replace(
        facts,
        verdict=verdict,
        leaks=leaks,
        looked_for=tuple(_looked_for(facts)),
        not_looked_for=tuple(_not_looked_for(facts)),
        open=tuple(_open(facts, seen, inputs)),
        severity=severity,
    )


def counts_in_words(counts: dict[int, int], most: int = SHOWN) -> str:
    """`3, 5 (twice) and 7`; at most `most` classes by name."""
    times = {1: "", 2: " (twice)"}
    named = [f"{label}{times.get(amount, f' ({amount} times)')}" for label, amount in list(counts.items())[:most]]
    if len(counts) > most:
        return f"{', '.join(named)} and {len(counts) - most} more"
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}" if named else "none"


def _examples(facts: Inspection, inputs: int) -> tuple[str, ...]:
    if not inputs:
        return ()
    layer = next(layer for layer in facts.layers if layer.takes_example and layer.recovered)
    what = (
        "One example lies in the update as it is" if inputs == 1 else f"{inputs} examples lie in the update as they are"
    )
    return (f"{what}: row over bias of layer {layer.name}.",)


def _labels(facts: Inspection) -> tuple[str, ...]:
    found = facts.labels
    if found is None or not found.consensus:
        return ()
    said = counts_in_words(dict(found.consensus))
    all_agree = found.agreeing == found.applying
    methods = f"{found.agreeing} of {found.applying} methods"
    if all_agree:
        methods = f"all {found.applying} methods say so" if found.applying > 1 else "by the one method that applies"
    if found.agreement < AGREED:
        return (f"Labels, not for certain: {said} ({methods} say exactly this).",)
    what = "the classes in the batch"
    if found.repeats and found.batch_size == sum(found.consensus.values()):
        what = "the label" if found.batch_size == 1 else f"the labels of all {found.batch_size} examples"
    if all_agree:
        return (f"{what[0].upper()}{what[1:]}: {said} ({methods}).",)
    return (f"Most likely {what}: {said} ({methods} say exactly this).",)


def _batch_norm(facts: Inspection) -> tuple[str, ...]:
    found, leaks = facts.batch_norm, []
    if found is None:
        return ()
    if found.steps:
        steps = "one local step" if found.steps == 1 else f"{found.steps} local steps"
        leaks.append(f"The client took exactly {steps}: the step counters of BatchNorm say so.")
    if found.statistics == "exact":
        leaks.append(f"Mean and variance of the private batch in {found.channels} channels, exactly.")
    elif found.statistics == "averaged":
        over = f"the {found.steps} steps" if found.steps else "the local steps"
        leaks.append(f"Mean and variance of the private batch in {found.channels} channels, averaged over {over}.")
    return tuple(leaks)


def _size(facts: Inspection, seen: Observation) -> tuple[str, ...]:
    found = facts.labels
    if found is not None and found.batch_size_read:
        return (f"The batch holds {_examples_in_words(found.batch_size)}, by the rank of a gradient.",)
    if facts.least_examples and facts.least_examples > 1 and seen.batch_size is None:
        return (f"The batch holds at least {_examples_in_words(facts.least_examples)}, by the rank of a gradient.",)
    return ()


def _examples_in_words(amount: int | None) -> str:
    return "one example" if amount == 1 else f"{amount} examples"


def _looked_for(facts: Inspection) -> list[str]:
    lines = []
    if facts.labels is not None:
        lines.append(f"Labels, by {_many(facts.labels.applying, 'method')}.")
    looked = [layer for layer in facts.layers if layer.in_memory is not None]
    for what, takes in (("Examples as they are", True), ("Features of examples", False)):
        names = [layer.name or "the model" for layer in looked if layer.takes_example is takes]
        if names:
            lines.append(f"{what}, by row over bias of {', '.join(names)}.")
    if facts.batch_norm is not None and facts.batch_norm.travelling:
        lines.append(f"Steps and statistics of the batch, in the buffers of {facts.batch_norm.travelling} layers.")
    if facts.layers and not facts.disturbed and facts.local_steps == 1:
        lines.append(f"The batch size, by the rank of the gradient of {_many(len(facts.layers), 'linear layer')}.")
    return lines


def _not_looked_for(facts: Inspection) -> list[str]:
    lines = [f"Labels: {facts.unjudged}."] if facts.unjudged else []
    takes = [layer for layer in facts.layers if layer.takes_example and layer.bias and layer.per_example]
    if not takes:
        lines.append("Examples as they are: no linear layer that takes them travels with its bias.")
    elif all(layer.in_memory is None for layer in takes):
        lines.append(f"Examples as they are: the update is {facts.disturbed}, and row over bias is none then.")
    if facts.batch_norm is not None and not facts.batch_norm.travelling:
        lines.append("Steps and statistics of the batch in BatchNorm: its buffers do not travel.")
    if facts.layers and facts.disturbed:
        lines.append(f"The batch size by the rank of a gradient: the update is {facts.disturbed}.")
    elif facts.layers and facts.local_steps != 1:
        lines.append("The batch size by the rank of a gradient: not after several local steps, or an unknown number.")
    return lines


def _many(amount: int, noun: str) -> str:
    return f"{'one' if amount == 1 else amount} {noun}{'' if amount == 1 else 's'}"


def _open(facts: Inspection, seen: Observation, inputs: int) -> list[str]:
    labels = facts.labels
    lines = []
    if seen.batch_size is None and (labels is None or labels.batch_size is None):
        lines.append("The batch size (--batch-size), for counts and for any attack on the pictures.")
    if seen.update.kind is UpdateKind.WEIGHT_DIFFERENCE and seen.training is None:
        lines.append("The learning rate (--learning-rate), which a weight difference hides the gradient's size behind.")
    if seen.update.kind is UpdateKind.WEIGHT_DIFFERENCE and facts.local_steps is None:
        lines.append("The number of local steps (--local-steps): no counter travels.")
    if not facts.weights:
        lines.append("The weights that the server sent (--weights), unless the model comes with them.")
    if facts.batch_norm and facts.batch_norm.mode == "train" and facts.batch_norm.statistics in ("absent", "unmoved"):
        lines.append("The BatchNorm statistics of the batch, which would help an attack on the pictures.")
    lacking = [reading.method for reading in labels.readings if "PUBLIC_DATA" in reading.lacks] if labels else []
    if lacking:
        lines.append(f"Public pictures of the same kind, for {', '.join(lacking)}.")
    if not inputs and any(layer.takes_example and layer.bias for layer in facts.layers):
        layer = next(layer for layer in facts.layers if layer.takes_example)
        why = (
            "a unit of layer {0} that one example moves alone" if facts.no_defense else "less of a defense in layer {0}"
        )
        lines.append(f"For an example as it is: {why.format(layer.name)}, whose row over bias is then its input.")
    for sign in facts.signs:
        if sign.found and sign.defense == "clipped":
            lines.append("The gradient's size before clipping, which methods that count labels by size rely on.")
        if sign.found and sign.defense in ("pruned", "noised"):
            lines.append(f"A way around the defense: an attack that knows the update is {sign.defense} does better.")
    if not inputs:
        lines.append("An attack, for the pictures themselves: the command audit runs one with what is known here.")
    return lines
