"""What an attack is, and the parts it is made of.

A part is a frozen dataclass: its fields are the paper's hyper-parameters, `needs` the facts it must be told. State
lives only in what `bind`, `infer` and `start` return, so one attack can be run many times. `S` is the number of seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor

from ...client.observation import Observation
from ...values.errors import AttackFailed
from ...values.types import Knowledge, Modality, Tensors
from ...values.validation import Checked, Count, Fraction, NonNegative
from .optimisers._optimiser import Optimiser


class Progress(NamedTuple):
    """Where a stage stands.

    Args:
        step: From 0.
        steps: Of the stage.
        candidates: `[S, B, C, H, W]`, all seeds as they stand, detached: what group consistency compares with.
        lr: Learning rate of this step, which Langevin noise scales with.
    """

    step: int
    steps: int
    candidates: Tensor | None = None
    lr: float = 0.0

    @property
    def fraction(self) -> float:
        """In [0, 1]."""
        return self.step / self.steps


@dataclass(frozen=True)
class Part(Checked):
    """A building block; `needs` are the facts it must be told, `modality` the only kind of data it is made for.

    `independent`: seeds, restarts and updates do not meet in it, it draws no random numbers, and it may be traced once
    for many of them (`together`).
    """

    needs: ClassVar[Knowledge] = Knowledge.NOTHING
    modality: ClassVar[Modality | None] = None
    independent: ClassVar[bool] = False

    def bind(self, seen: Observation) -> Callable[..., Any]:
        """The function used during one run, on the run's private copy of the model. Stateless parts are their own."""
        return self  # type: ignore[return-value]


class Objective(Part):
    """`(candidate, observed, at) -> scalar`: how far the candidate's update is from the observed one; 0 at the truth.

    `varies` says that the function changes over the run, so that its values at two steps must not be compared.
    """

    varies: ClassVar[bool] = False

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        """The distance."""


class Prior(Part):
    """`(inputs [B, C, H, W] normalised, at) -> scalar`, for one seed. Its weight and window belong to the attack."""

    def __call__(self, inputs: Tensor, at: Progress) -> Tensor:
        """The penalty."""


class GradientTransform(Part):
    """`(gradient, at) -> gradient`, applied to every variable of the parametrisation before the optimiser sees it."""

    def __call__(self, gradient: Tensor, at: Progress) -> Tensor:
        """The changed gradient, in the same shape `[S, B, ...]`."""


class Candidate:
    """The guess of one stage: named leaf variables, each with a leading seeds axis `[S, ...]`."""

    variables: dict[str, Tensor]

    def decode(self) -> Tensor:
        """`[S, B, C, H, W]`, normalised, with the graph to the variables."""

    def logits(self) -> Tensor | None:
        """Return the labels that the candidate makes, `[S, B, K]` with the graph; `None` where it makes none.

        The loss takes their softmax.
        """
        return None

    def project(self) -> None:
        """Put the variables back into their feasible set, in place; called without gradients after each step."""

    def reported(self, seen: Observation) -> Tensor:
        """What the attack finally says about the inputs, in the units of the data, `[S, B, ...]`."""
        return seen.normalisation.invert(self.decode())


class Simulated(Protocol):
    """How a guess becomes an update, during one run.

    Args:
        rates: Name of each own variable -> its learning rate, as a factor of the optimiser's.
    """

    rates: Mapping[str, float]

    def start(self, seeds: int) -> dict[str, Tensor]:
        """Its own variables, `[S, ...]`, which the loop optimises with the candidate's; often none."""

    def project(self, variables: Mapping[str, Tensor]) -> None:
        """Put them back into their feasible set, in place."""

    def __call__(self, inputs: Tensor, labels: Tensor, variables: Mapping[str, Tensor]) -> Tensors:
        """The update, before any defense, with its graph where gradients are on.

        Args:
            inputs: Of one seed, as the candidate decodes.
            labels: `[B]` integers or `[B, K]` probabilities.
            variables: Its own, of that seed.
        """


class Simulation(Part):
    """What the adversary assumes of a client's local training; `bind` returns a `Simulated`."""


class Move(Part):
    """A step that no gradient takes: `bind(seen)` returns `(candidate, score, at) -> None`.

    It is called after every step and projection, without gradients, and may change the candidate's variables in place.
    `score() -> [S]` is the selection measure of the attack at the variables as they stand, without priors.
    """


class Parametrisation(Part):
    """`start(seen, seeds, previous) -> Candidate`: what is optimised, and how it becomes inputs.

    `makes_labels` says that its candidate makes the labels, too, so that the attack reads none.
    """

    makes_labels: ClassVar[bool] = False

    def start(self, seen: Observation, seeds: int, previous: Candidate | None) -> Candidate:
        """The first candidate of a stage; `previous` is the best one of the stage before."""


@dataclass(frozen=True)
class Term(Checked):
    """A prior with its weight, and the part of the run in which it acts.

    Args:
        prior: What is penalised.
        weight: Factor of the penalty beside the objective.
        start: Fraction of the stage at which it begins to act.
        stop: Fraction of the stage at which it ends; 1 acts to the end.
    """

    prior: Prior
    weight: NonNegative
    start: Fraction = 0.0
    stop: Fraction = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start >= self.stop:
            raise AttackFailed(f"Term.start: should be below stop, {self.stop}, or it never acts. Found {self.start}.")

    def acts(self, at: Progress) -> bool:
        """Whether the prior counts at this step."""
        return self.start * at.steps <= at.step and (at.step < self.stop * at.steps or self.stop >= 1)


@dataclass(frozen=True)
class Stage(Checked):
    """One optimisation; a later stage starts from the best candidate of the one before.

    Args:
        parametrisation: What is optimised.
        optimiser: What moves the variables, with its schedule.
        steps: Calls of the optimiser (one counts for `optimiser.evaluations` evaluations of the objective).
        terms: Priors with their weights.
        gradient: Transforms, in this order.
        moves: Steps that no gradient takes, after every step of the optimiser, in this order.
        only_above: Leave the stage out where the stage before brought the objective of a guess below this value.
        stop_below: End the stage once the objective is below this value.
        stop_flat: End the stage once the objective falls by less than this fraction from one look (a step, or a 200th
            of the stage) to the next; 0 never does.
    """

    parametrisation: Parametrisation
    optimiser: Optimiser
    steps: Count
    terms: tuple[Term, ...] = ()
    gradient: tuple[GradientTransform, ...] = ()
    moves: tuple[Move, ...] = ()
    only_above: float = 0.0
    stop_below: float = 0.0
    stop_flat: NonNegative = 0.0

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts of the stage."""
        return (self.parametrisation, *(term.prior for term in self.terms), *self.gradient, *self.moves)


def require_batch_size(seen: Observation, part: Part) -> int:
    """The batch size, for parts whose `needs` hold BATCH_SIZE."""
    if seen.batch_size is None:
        raise AttackFailed(f"{part!r} needs the batch size.")
    return seen.batch_size
