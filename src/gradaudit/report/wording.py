"""Phrases for what an adversary knows, and for what an audit does not test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from ..values.finding import Finding
from ..values.types import ORACLE
from . import formatting

FACTS = {
    "BATCH_SIZE": "the batch size",
    "LABELS": "the labels",
    "LOCAL_TRAINING": "the client's local training settings",
    "DEFENSE": "the defense and its parameters",
    "BATCH_STATISTICS": "the BatchNorm statistics of the private batch",
    "PUBLIC_DATA": "public data of the same kind",
    "GENERATOR": "a generator, or another network, trained on data of the same kind",
    "EMBEDDING_GRADIENT": "the gradient of the embedding layer",
    "MODEL_CONTROL": "control over the model that it sends",
    "IMAGE_STATISTICS": "the true channel means and edge maps of the private images",
}

ALWAYS_OPEN = (
    "Other attacks, stronger priors and larger budgets than those listed in this report.",
    "Several rounds: the updates that one client sends over time.",
    "Collusion between the server and other clients.",
    "Other stages of training: the update of a trained model can leak more or less than that of an untrained one.",
    "Other leaks through an update: membership, and attributes of the data.",
)


def facts(names: Sequence[str]) -> str:
    """Return the flags of the threat model as a phrase; an unknown flag is named as it is."""
    return formatting.listed([FACTS.get(name, name.lower().replace("_", " ")) for name in names]) or "nothing"


def oracle(names: Sequence[str]) -> str:
    """Return those of the flags `names` that no real adversary has, as a phrase, or an empty string."""
    told = [name for name in names if name in ORACLE.names]
    return facts(told) if told else ""


def warning(names: Sequence[str]) -> str:
    """Return a warning about the flags among `names` that no real adversary has, or an empty string."""
    told = oracle(names)
    return f"Oracle: this adversary knows {told}. No real adversary does." if told else ""


def realistic(names: Sequence[str]) -> str:
    """Return the flags that a real adversary may have, as a phrase, or an empty string if there are only oracles."""
    rest = [name for name in names if name not in ORACLE.names]
    return facts(rest) if rest or not names else ""


def adversary(names: Sequence[str]) -> str:
    """Return a noun phrase for the adversary that has the flags `names`."""
    if "MODEL_CONTROL" in names:
        server = "a malicious server that modifies the model, sees the model and the update,"
    else:
        server = "an honest-but-curious server that sees the model and the update"
    granted = [name for name in names if name != "MODEL_CONTROL"]
    return f"{server} and knows {facts(granted) if granted else 'nothing else'}"


def labels_in_words(labels: Sequence[int]) -> str:
    """Return labels with their counts, such as `3 and 5 (2 times)`."""
    counts = sorted(Counter(labels).items())
    return formatting.listed([f"{label} ({count} times)" if count > 1 else str(label) for label, count in counts])


def stated_labels(findings: Sequence[Finding]) -> list[str]:
    """Return a sentence on the labels that attacks inferred or were granted, for each different statement."""
    said: dict[tuple[bool, str], list[str]] = {}
    for finding in findings:
        if finding.guessed_labels:
            key = (finding.labels_granted, labels_in_words(finding.guessed_labels))
            said.setdefault(key, []).append(finding.attack)
    return [
        f"Labels granted: {labels}."
        if granted
        else f"Labels inferred by {formatting.listed(list(dict.fromkeys(names)))}: {labels}."
        for (granted, labels), names in said.items()
    ]


def untested(
    granted: Collection[str], noun: str = "images", open_facts: Mapping[str, str] = MappingProxyType({})
) -> tuple[str, ...]:
    """Return what an audit does not test, most important first.

    Args:
        granted: Names of the flags that it granted.
        noun: What the examples are called, in the plural.
        open_facts: Name of a flag of their modality -> what is not tested if it was not granted.
    """
    open_questions = []
    if "MODEL_CONTROL" not in granted:
        open_questions.append("An active server that sends a model crafted to increase the leak.")
    if "DEFENSE" not in granted:
        open_questions.append(
            "An adaptive adversary that knows the client's defense, if there is one, and works around it."
        )
    if not {"PUBLIC_DATA", "GENERATOR"} & set(granted):
        open_questions.append(f"An adversary that has {noun} of the same kind, or a generator trained on them.")
    open_questions += [question for flag, question in open_facts.items() if flag not in granted]
    if "LABELS" in granted:
        open_questions.append("Whether the labels can be inferred: they were granted.")
    return (ALWAYS_OPEN[0], *open_questions, *ALWAYS_OPEN[1:])
