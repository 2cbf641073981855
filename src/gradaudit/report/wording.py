"""Plain words for what an adversary knows, and for what an audit leaves untested."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from ..values.types import ORACLE
from . import formatting

FACTS = {
    "BATCH_SIZE": "the batch size",
    "LABELS": "the labels",
    "LOCAL_TRAINING": "how the client trains",
    "DEFENSE": "the defense and its parameters",
    "BATCH_STATISTICS": "the BatchNorm statistics of the private batch",
    "PUBLIC_DATA": "public data of the same kind",
    "GENERATOR": "a generator of data of the same kind",
    "EMBEDDING_GRADIENT": "the gradient of the embedding layer",
    "MODEL_CONTROL": "control over the model that it sends out",
    "IMAGE_STATISTICS": "the true channel means and edge maps of the private pictures",
}

ALWAYS_OPEN = (
    "Other attacks, stronger priors and larger budgets than those listed above.",
    "Several rounds: updates of one client watched over time.",
    "Collusion between the server and other clients.",
    "Other states of training: an update of a trained model can leak more or less than that of a fresh one.",
    "What else an update gives away: membership, and attributes of the data.",
)


def facts(names: Sequence[str]) -> str:
    """Flags of the threat model as a phrase; an unknown flag by its own name."""
    return formatting.listed([FACTS.get(name, name.lower().replace("_", " ")) for name in names]) or "nothing"


def oracle(names: Sequence[str]) -> str:
    """Those of the flags `names` that no real adversary has, as a phrase; nothing where there are none."""
    told = [name for name in names if name in ORACLE.names]
    return facts(told) if told else ""


def warning(names: Sequence[str]) -> str:
    """A sentence on the facts among `names` that no real adversary has; nothing where there are none."""
    told = oracle(names)
    return f"No real adversary: this one is told {told}." if told else ""


def realistic(names: Sequence[str]) -> str:
    """The other flags, as a phrase; nothing where there are only such."""
    rest = [name for name in names if name not in ORACLE.names]
    return facts(rest) if rest or not names else ""


def adversary(names: Sequence[str]) -> str:
    """The adversary that holds the flags `names`, as a noun phrase."""
    stance = (
        "a server that tampers with the model" if "MODEL_CONTROL" in names else "a server that keeps to the protocol"
    )
    granted = [name for name in names if name != "MODEL_CONTROL"]
    told = f"is told {facts(granted)}" if granted else "is told nothing else"
    return f"{stance}, sees the model and the update, and {told}"


def untested(
    granted: Collection[str], noun: str = "pictures", open_facts: Mapping[str, str] = MappingProxyType({})
) -> tuple[str, ...]:
    """What an audit leaves open, most important first.

    Args:
        granted: Flags that it granted.
        noun: What the examples are, in the plural.
        open_facts: Of their modality: flag -> what is open where it was not granted.
    """
    open_questions = []
    if "MODEL_CONTROL" not in granted:
        open_questions.append("An active server, which sends a model crafted to make the update leak.")
    if "DEFENSE" not in granted:
        open_questions.append(
            "An adaptive adversary, which knows the client's defense, if there is one, and works around it."
        )
    if not {"PUBLIC_DATA", "GENERATOR"} & set(granted):
        open_questions.append(f"An adversary that has {noun} of the same kind, or a generator trained on them.")
    open_questions += [question for flag, question in open_facts.items() if flag not in granted]
    if "LABELS" in granted:
        open_questions.append("Whether the labels can be inferred: they were handed over.")
    return (ALWAYS_OPEN[0], *open_questions, *ALWAYS_OPEN[1:])
