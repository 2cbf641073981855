"""Any attack with another generator, in all its stages at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass, replace
from typing import Any, TypeVar

from ...models.generators.trained_generator import Generator
from ...models.generators.untrained import Untrained
from ...models.trained import entries_of, networks_of
from ...values.errors import AttackFailed
from ..parts.part import Stage

A = TypeVar("A")


def with_generator(attack: A, generator: str | Generator | Untrained) -> A:
    """Return an attack whose stages all use another generator.

    Args:
        attack: An attack with stages that use a generator, or a wrapper of one, such as `Adaptive`.
        generator: The generator; a text is the name or the file of a trained one.

    Raises:
        AttackFailed: No stage uses a generator.

    >>> ga.attacks.with_generator(ga.attacks.GIAS, "cifar.safetensors").stages[1].parametrisation
    GeneratorWeights(generator=Generator(source='cifar.safetensors'))
    """
    source = Generator(generator) if isinstance(generator, str) else generator
    return _changed(attack, source)


def generators_of(attack: Any) -> tuple[Generator | Untrained, ...]:
    """Return the generators that the stages of an attack use, each once."""
    return tuple(dict.fromkeys(_generators(attack)))


def network_digests(attacks: Sequence[Any]) -> dict[str, str]:
    """Return the SHA-256 of every file of a trained network that attacks use, by a key for the identity of a run.

    Raise `AttackFailed` if there is no such file.
    """
    used = dict.fromkeys(one for attack in attacks for one in networks_of(attack))
    found: dict[str, list[str]] = {}
    for one in used:
        found.setdefault(one.kind, []).append(one.asset().digest)
    return {f"{kind} {place} sha256": one for kind, of in found.items() for place, one in enumerate(of)}


def require_inputs(attack: Any, shape: tuple[int, ...]) -> None:
    """Raise `AttackFailed` if an attack, or a part of one, cannot work on inputs of this shape, whatever the update."""
    for one in entries_of(attack):
        check = getattr(type(one), "require_inputs", None)  # of the type, because some wrappers pass on what they lack
        if check is not None:
            check(one, shape)


def _generators(attack: Any) -> Iterator[Generator | Untrained]:
    for stage in getattr(attack, "stages", ()):
        used = getattr(stage.parametrisation, "generator", None)
        if isinstance(used, (Generator, Untrained)):
            yield used


def _changed(attack: Any, source: Generator | Untrained) -> Any:
    inner = getattr(attack, "attack", None)
    if is_dataclass(inner):
        return replace(attack, attack=_changed(inner, source))  # type: ignore[type-var]
    stages: tuple[Stage, ...] = getattr(attack, "stages", ())
    if not any(hasattr(stage.parametrisation, "generator") for stage in stages):
        raise AttackFailed(f"{attack.name}: no stage of this attack uses a generator. Remove `generator`.")
    return replace(attack, stages=tuple(_with(stage, source) for stage in stages))


def _with(stage: Stage, source: Generator | Untrained) -> Stage:
    part: Any = stage.parametrisation
    return replace(stage, parametrisation=replace(part, generator=source)) if hasattr(part, "generator") else stage
