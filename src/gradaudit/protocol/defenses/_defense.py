"""The base class of all defenses: what a defense changes at the client, and how an adversary that knows it compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from ...values.discovery import kebab
from ...values.errors import AttackFailed, AuditError
from ...values.types import LossFunction, Tensors, Update
from ._bits import encoded_bits

Distance = Callable[[Tensors, Tensors], Tensor]
"""The distance between a candidate's tensors and the observed ones."""
Gradient = Callable[[Tensor, Tensor], Tensors]
"""The gradient of the loss in all trained parameters, at the current ones, over the given inputs and labels.

It may have a method `each` with the same arguments: the gradients of each example alone, see `each_gradient`.
"""


class ActsOn(StrEnum):
    """Where a defense acts at a client."""

    UPDATE = "update"
    BATCH = "batch"
    TRAINING = "training"
    MODEL = "model"


COMPARING = (ActsOn.BATCH, ActsOn.TRAINING, ActsOn.UPDATE, ActsOn.MODEL)


class Doubt(NamedTuple):
    """Why the result of an attack on a defended update is unreliable, in sentences without a full stop.

    Args:
        matching: The sentence for gradient matching.
        closed_form: The sentence for an attack without an objective that is optimised; empty if there is no doubt.
        simulated: Whether an adversary that is granted DEFENSE takes the defense into account.
        direction: Whether objectives that compare directions alone are affected.
    """

    matching: str
    closed_form: str = ""
    simulated: bool = True
    direction: bool = True


CHANGED = Doubt(
    "the update that the attack matches was changed by the defense, so that the private examples no longer have the "
    "lowest objective. An adversary that knows the defense (DEFENSE) may recover more",
    "its equations hold for an undefended update",
)


@dataclass(frozen=True, eq=False)
class Scene:
    """What a client knows when it defends its update.

    Args:
        model: A copy of the model that the server sent, before local training; a defense must not change it.
        inputs: `[B, ...]` as the model takes them, after the defenses that change the batch.
        labels: `[B, ...]`, as the loss takes them.
        loss: The training loss.
        steps: Number of local steps that the update sums up.
        memory: What this defense remembers from one round to the next, at this client; it may write into it.
    """

    model: nn.Module
    inputs: Tensor
    labels: Tensor
    loss: LossFunction
    steps: int = 1
    memory: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RoundWork:
    """What a client does in one round, as a defense counts it for the report.

    Args:
        model: The model of the client, with the changes of all defenses.
        steps: Number of local steps.
        step_size: Number of examples of one step.
        rounds: Number of rounds.
        obstacle: Why a guarantee of the defense alone does not hold for this client, a sentence, or empty.
    """

    model: nn.Module
    steps: int
    step_size: int
    rounds: int = 1
    obstacle: str = ""


@dataclass(frozen=True)
class Defense:
    """A defense of a client. Its fields are its parameters, which have the same names in the audit file.

    A client applies each defense to what it `acts_on`: the model once (`change_model`), the batch before local
    training (`change_batch`), the gradient of every local step (`change_gradient`), or the update before it is shared
    (`apply`, by default `protect`). A defense of the update acts on each tensor separately unless its docstring says
    otherwise. Random numbers come from torch's global generator, which the client seeds.

    `name` is the name of the class in lower case with hyphens by default. `requires` names a package that the defense
    imports when it is made, if any. `doubt` says why the result of an attack that does not know it is unreliable.
    `server_rate` is the step size of the server for updates that have no scale of their own, such as signs; `None`
    means that of undefended updates.
    """

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    requires: ClassVar[str] = ""
    acts_on: ClassVar[ActsOn] = ActsOn.UPDATE
    doubt: ClassVar[Doubt] = CHANGED
    server_rate: ClassVar[float | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in vars(cls):
            cls.name = kebab(cls.__name__)

    def change_model(self, model: nn.Module) -> nn.Module:
        """Return the model that server and clients use: a changed copy, or `model` itself if it is changed already.

        Raises:
            AuditError: The model lacks the layer that the defense needs.
        """
        return model

    def change_batch(self, inputs: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """Return the inputs and labels that the client trains on.

        Args:
            inputs: `[B, ...]` as the model takes them.
            labels: `[B]` classes, or `[B, K]` probabilities from a defense before this one.
            classes: K, the number of logits.
        """
        return inputs, labels

    def change_gradient(self, gradient: Gradient, inputs: Tensor, labels: Tensor) -> Tensors:
        """Return the gradient of one local step, one tensor for each trained parameter.

        Args:
            gradient: Computes the gradient over any of the examples, one or several.
            inputs: `[B, ...]`, the examples of this step.
            labels: `[B, ...]`.
        """
        return gradient(inputs, labels)

    def protect(self, tensors: Tensors) -> Tensors:
        """Return the tensors that the client shares, in the same order and shapes."""
        return tensors

    def apply(self, update: Update, scene: Scene) -> Update:
        """Return the update that the client shares; a defense that needs more than the update itself finds it here."""
        return self(update)

    def remarks(self, work: RoundWork) -> tuple[str, ...]:
        """Return sentences for the report: what this defense guarantees, and what it changed; none by default."""
        return ()

    def compared(self, model: nn.Module, names: Sequence[str]) -> Sequence[str]:
        """Return the names of the tensors that an adversary that knows this defense compares: all by default.

        Args:
            model: The model that the server sent.
            names: Names of the tensors in the update.
        """
        return names

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the candidate update as an adversary that knows this defense compares it with the observed one.

        The result is differentiable in `candidate`. It is the candidate itself if knowing the defense does not improve
        the comparison.
        """
        return candidate

    def log_likelihood(self, observed: Tensors, candidate: Tensors) -> Tensor | None:
        """Return log p(observed | candidate) without constants, at most 0, differentiable in `candidate`.

        It is `None` if no likelihood is known; the adversary then compares `simulate` by the attack's own objective.
        """
        return None

    def mismatch(self, candidate: Tensors, observed: Tensors, distance: Distance) -> Tensor:
        """Return how far a candidate's undefended update is from explaining the observed one, at least 0.

        It is the negative log-likelihood in units of that of an update of zeros, so that the weights of priors mean
        about the same as for a cosine distance. Without a likelihood it is the attack's own distance to the simulated
        candidate.

        Args:
            candidate: The update of the candidate before this defense, with its graph.
            observed: The observed update.
            distance: The distance of the attack.
        """
        found = self.log_likelihood(observed, candidate)
        if found is None:
            return distance(self.simulate(candidate, observed), observed)
        with torch.no_grad():
            nothing = self.log_likelihood(observed, tuple(map(torch.zeros_like, candidate)))
        assert nothing is not None
        return found / nothing.clamp_max(-torch.finfo(nothing.dtype).tiny)

    def sent_bits(self, update: Update) -> float:
        """Return the bits in which a client sends a defended update, by default plain encodings (`encoded_bits`)."""
        return encoded_bits(update.values)

    def joined(self, rounds: Sequence[Tensors]) -> Tensors:
        """Return the best estimate of one undefended update from several defended ones of the same batch and model."""
        return tuple(torch.stack(tensors).mean(0) for tensors in zip(*rounds, strict=True))

    @classmethod
    def estimated(cls, rounds: Sequence[Tensors]) -> Self:
        """Return the defense with parameters estimated from observed updates of one batch, if only its family is known.

        Raise `AttackFailed` if the parameters cannot be read off these updates.
        """
        raise AttackFailed(f"{cls.name}: its parameters cannot be estimated from an update; state them.")

    def __call__(self, update: Update) -> Update:
        protected = self.protect(update.values)
        return replace(update, tensors=dict(zip(update.tensors, protected, strict=True)))


def in_comparing_order(defenses: Sequence[Defense]) -> tuple[Defense, ...]:
    """Return the defenses in the order in which an adversary takes them into account; the last one decides most.

    It is that in which they change the update: the batch, the training, the update. Those of the model come last,
    because their randomness is inside the gradient, where no comparison of the others takes it into account.
    """
    return tuple(sorted(defenses, key=lambda defense: COMPARING.index(defense.acts_on)))


def each_gradient(gradient: Gradient, inputs: Tensor, labels: Tensor) -> Tensors:
    """Return the gradients of each example alone, `[B, *shape]` each.

    One pass computes all of them where the model allows it (`torch.func.vmap`), otherwise one pass each.
    """
    mapped = getattr(gradient, "each", None)
    if mapped is not None:
        try:
            found: Tensors = mapped(inputs, labels)
            return found
        except (RuntimeError, ValueError, TypeError, NotImplementedError):
            pass  # the loop raises whatever is not about the mapping
    alone = [gradient(x, y) for x, y in zip(inputs.split(1), labels.split(1), strict=True)]
    return tuple(map(torch.stack, zip(*alone, strict=True)))


def each(tensors: Tensors, change: Callable[[Tensor], Tensor]) -> Tensors:
    """Return the result of `change` for every tensor."""
    return tuple(change(tensor) for tensor in tensors)


def require(condition: bool, defense: Defense, rule: str) -> None:
    """Raise `AuditError` with the defense's name, the rule and its value unless `condition` holds."""
    if not condition:
        raise AuditError(f"{defense.name}: {rule}. Found {defense!r}.")


def describe(defense: Defense) -> str:
    """Return a short description, such as `gaussian-noise std=0.01`, without choices left at their default."""
    left = {f.name for f in fields(defense) if isinstance(f.default, str) and f.default == getattr(defense, f.name)}
    said = {key: value for key, value in vars(defense).items() if value is not False and value is not None}
    shown = [f"{key}={value}" for key, value in said.items() if key not in left]
    return " ".join([defense.name, *shown])
