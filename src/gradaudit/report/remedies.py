"""What would stop the leak: the measured effect of every defense in the audit, and nothing beyond that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .tally import Tally

NONE_TESTED = (
    "No defense was tested in this audit, so it does not say what would stop the leak. Put a defense under "
    "“defenses” in the audit file, and compare the result with this one."
)
NOT_ADAPTED = (
    "No attack was adapted to the defense, so this does not say that it protects: an adversary that knows it can get "
    "more. Add DEFENSE to knowledge."
)
NOT_JUDGED = (
    "No attack that was adapted to the defense can be judged, so this does not say that it protects: an adversary that "
    "knows it can get more."
)


@dataclass(frozen=True)
class Remedy:
    """A defense with its measured effect.

    Args:
        name: Name of the configuration.
        effect: Its effect in sentences.
    """

    name: str
    effect: str


def remedies(found: Sequence[Tally], costs: Mapping[str, str] | None = None) -> tuple[Remedy, ...]:
    """Return the defenses among the configurations with their effects, in the given order.

    Args:
        found: The figures of all configurations.
        costs: Description of a client -> what its federation says of the accuracy.
    """
    plain = [tally for tally in found if not tally.defended]

    def effect(tally: Tally) -> str:
        cost = (costs or {}).get(tally.findings[0].client, "")
        return f"{_effect(tally, _beside(tally, plain))} {cost}".rstrip()

    return tuple(Remedy(tally.label, effect(tally)) for tally in found if tally.defended)


def _beside(tally: Tally, plain: Sequence[Tally]) -> Tally | None:
    """Return the configuration without a defense that faces the same adversary on the same batches, or `None`."""
    return next((other for other in plain if _setting(other) == _setting(tally)), None)


def _setting(tally: Tally) -> tuple[object, ...]:
    facts = frozenset(tally.findings[0].knowledge) - {"DEFENSE"}
    return facts, frozenset((finding.batch, finding.seed, finding.repeat) for finding in tally.findings)


def _effect(tally: Tally, plain: Tally | None) -> str:
    said = []
    if not tally.worst:
        said.append("Its effect cannot be judged.")
    elif plain is None or not plain.worst:
        said.append(_with(tally, "With it"))
        said.append("There is no result without a defense on the same examples, so its effect is not measured.")
    else:
        said.append(f"Without a defense: {plain.recovery}, {plain.mean_gain}.")
        said.append(_with(tally, "With this one"))
    if any(finding.no_op_defenses for finding in tally.findings):
        said.append("A defense did not change the update.")
    if not tally.adapted:
        tried = any(finding.adaptive for finding in tally.findings)
        said.append(NOT_JUDGED if tried else NOT_ADAPTED)
    return " ".join(said)


def _with(tally: Tally, head: str) -> str:
    """Return what came back under a defense, by the attacks that know it and by those that do not."""
    naive, adaptive = tally.by(adaptive=False), tally.by(adaptive=True)
    if not naive.worst or not adaptive.worst:
        return f"{head}: {tally.recovery}, {tally.mean_gain}."
    return (
        f"{head}: {naive.recovery}, {naive.mean_gain}, by attacks that do not know it; {adaptive.recovery}, "
        f"{adaptive.mean_gain}, by the same attacks adapted to it."
    )
