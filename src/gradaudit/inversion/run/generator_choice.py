"""Any attack with another generator, in all its stages at once."""

from __future__ import annotations

from dataclasses import is_dataclass, replace
from typing import Any, TypeVar

from ...models.generators.trained_generator import Generator
from ...models.generators.untrained import Untrained
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
