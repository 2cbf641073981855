"""Sentences on what leaks without an attack, worst first, and on what an attacker would still need."""

from __future__ import annotations

from dataclasses import replace

from ..protocol.observation import Observation
from ..values.types import UpdateKind
from .facts import Inspection

AGREED = 0.9  # share of common labels from which the methods are said to agree
SHOWN = 8  # classes that a sentence names
FOUND = {2: "A private example", 1: "Facts about the batch", 0: "Nothing"}


def told(facts: Inspection, seen: Observation) -> Inspection:
    """Return `facts` with its sentences and its severity."""
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
    """Return the classes in words, such as `3, 5 (twice) and 7`; at most `most` classes are named."""
    times = {1: "", 2: " (twice)"}
    named = [f"{label}{times.get(amount, f' ({amount} times)')}" for label, amount in list(counts.items())[:most]]
    if len(counts) > most:
        return f"{', '.join(named)} and {len(counts) - most} more"
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}" if named else "none"


def _examples(facts: Inspection, inputs: int) -> tuple[str, ...]:
    if not inputs:
        return ()
    layer = next(layer for layer in facts.layers if layer.takes_example and layer.recovered)
    what = "One private example" if inputs == 1 else f"{inputs} private examples"
    return (f"{what} can be read off exactly, from the ratio of weight to bias gradient in layer {layer.name}.",)


def _labels(facts: Inspection) -> tuple[str, ...]:
    found = facts.labels
    if found is None or not found.consensus:
        return ()
    said = counts_in_words(dict(found.consensus))
    all_agree = found.agreeing == found.applying
    methods = f"{found.agreeing} of {found.applying} methods"
    if all_agree:
        methods = f"all {found.applying} methods agree" if found.applying > 1 else "from the only method that applies"
    if found.agreement < AGREED:
        return (f"Labels, uncertain: {said} ({methods} give exactly this answer).",)
    what = "the classes in the batch"
    if found.repeats and found.batch_size == sum(found.consensus.values()):
        what = "the label" if found.batch_size == 1 else f"the labels of all {found.batch_size} examples"
    if all_agree:
        return (f"{what[0].upper()}{what[1:]}: {said} ({methods}).",)
    return (f"Most likely {what}: {said} ({methods} give exactly this answer).",)


def _batch_norm(facts: Inspection) -> tuple[str, ...]:
    found, leaks = facts.batch_norm, []
    if found is None:
        return ()
    if found.steps:
        steps = "one local step" if found.steps == 1 else f"{found.steps} local steps"
        leaks.append(f"The client took exactly {steps}, according to the step counters of BatchNorm.")
    if found.statistics == "exact":
        leaks.append(f"Mean and variance of the private batch in {found.channels} channels, exactly.")
    elif found.statistics == "averaged":
        over = f"the {found.steps} steps" if found.steps else "the local steps"
        leaks.append(f"Mean and variance of the private batch in {found.channels} channels, averaged over {over}.")
    return tuple(leaks)


def _size(facts: Inspection, seen: Observation) -> tuple[str, ...]:
    found = facts.labels
    if found is not None and found.batch_size_read:
        return (f"The batch contains {_examples_in_words(found.batch_size)}, by the rank of a gradient.",)
    if facts.least_examples and facts.least_examples > 1 and seen.batch_size is None:
        return (f"The batch contains at least {_examples_in_words(facts.least_examples)}, by the rank of a gradient.",)
    return ()


def _examples_in_words(amount: int | None) -> str:
    return "one example" if amount == 1 else f"{amount} examples"


def _looked_for(facts: Inspection) -> list[str]:
    lines = []
    if facts.labels is not None:
        lines.append(f"Labels, with {_many(facts.labels.applying, 'method')}.")
    looked = [layer for layer in facts.layers if layer.in_memory is not None]
    for what, takes in (("Private examples", True), ("Features of examples", False)):
        names = [layer.name or "the model" for layer in looked if layer.takes_example is takes]
        if names:
            lines.append(f"{what}, by the ratio of weight to bias gradient in {', '.join(names)}.")
    if facts.batch_norm is not None and facts.batch_norm.travelling:
        lines.append(
            f"Local steps and batch statistics, in the buffers of {facts.batch_norm.travelling} BatchNorm layers."
        )
    if facts.layers and not facts.disturbed and facts.local_steps == 1:
        lines.append(f"The batch size, by the rank of the gradient of {_many(len(facts.layers), 'linear layer')}.")
    return lines


def _not_looked_for(facts: Inspection) -> list[str]:
    lines = [f"Labels: {facts.unjudged}."] if facts.unjudged else []
    takes = [layer for layer in facts.layers if layer.takes_example and layer.bias and layer.per_example]
    if not takes:
        lines.append("Private examples: no linear layer that takes them was sent with its bias.")
    elif all(layer.in_memory is None for layer in takes):
        lines.append(
            f"Private examples: the update is {facts.disturbed}, which destroys the ratio of weight to bias gradient."
        )
    if facts.batch_norm is not None and not facts.batch_norm.travelling:
        lines.append("Local steps and batch statistics: the BatchNorm buffers were not sent.")
    if facts.layers and facts.disturbed:
        lines.append(f"The batch size by the rank of a gradient: the update is {facts.disturbed}.")
    elif facts.layers and facts.local_steps != 1:
        lines.append(
            "The batch size by the rank of a gradient: impossible after several local steps, or an unknown number."
        )
    return lines


def _many(amount: int, noun: str) -> str:
    return f"{'one' if amount == 1 else amount} {noun}{'' if amount == 1 else 's'}"


def _open(facts: Inspection, seen: Observation, inputs: int) -> list[str]:
    labels = facts.labels
    lines = []
    if seen.batch_size is None and (labels is None or labels.batch_size is None):
        lines.append("The batch size (--batch-size), for label counts and for any attack on the images.")
    if seen.update.kind is UpdateKind.WEIGHT_DIFFERENCE and seen.training is None:
        lines.append(
            "The learning rate (--learning-rate): a weight difference alone does not reveal the size of the gradient."
        )
    if seen.update.kind is UpdateKind.WEIGHT_DIFFERENCE and facts.local_steps is None:
        lines.append("The number of local steps (--local-steps): no step counter was sent.")
    if not facts.weights:
        lines.append("The weights that the server sent (--weights), unless the model already has them.")
    if facts.batch_norm and facts.batch_norm.mode == "train" and facts.batch_norm.statistics in ("absent", "unmoved"):
        lines.append("The BatchNorm statistics of the batch, which would help an attack on the images.")
    lacking = [reading.method for reading in labels.readings if "PUBLIC_DATA" in reading.lacks] if labels else []
    if lacking:
        lines.append(f"Public images of the same kind, for {', '.join(lacking)}.")
    if not inputs and any(layer.takes_example and layer.bias for layer in facts.layers):
        layer = next(layer for layer in facts.layers if layer.takes_example)
        why = (
            "a unit of layer {0} that only one example activates"
            if facts.no_defense
            else "a weaker defense in layer {0}"
        )
        lines.append(f"For an exact example: {why.format(layer.name)}; the ratio of weight to bias is then its input.")
    for sign in facts.signs:
        if sign.found and sign.defense == "clipped":
            lines.append("The size of the gradient before clipping, which methods that count labels by size need.")
        if sign.found and sign.defense in ("pruned", "noised"):
            lines.append(
                f"A way around the defense: an attack that knows the update is {sign.defense} performs better."
            )
    if not inputs:
        lines.append("An attack, for the images themselves: `gradaudit audit` runs one with the same knowledge.")
    return lines
