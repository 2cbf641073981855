"""The base classes of the parts that an attack is composed of.

A part is a frozen dataclass. Its fields are the paper's hyper-parameters; `needs` lists the facts that the adversary
must know. State lives only in what `bind`, `infer` and `start` return, so one attack can be run many times. `S` is the
number of seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor

from ...protocol.observation import Observation
from ...values.errors import AttackFailed
from ...values.types import Knowledge, Modality, Tensors
from ...values.validation import Checked, Count, Fraction, NonNegative
from .optimisers._optimiser import Optimiser


class Progress(NamedTuple):
    """The position of a step within its stage.

    Args:
        step: Number of the step, from 0.
        steps: Number of steps of the stage.
        candidates: `[S, B, C, H, W]`, the current candidates of all seeds, detached; used by group consistency.
        lr: Learning rate of this step; Langevin noise scales with it.
    """

    step: int
    steps: int
    candidates: Tensor | None = None
    lr: float = 0.0

    @property
    def fraction(self) -> float:
        """The fraction of the stage that is done, in [0, 1]."""
        return self.step / self.steps


@dataclass(frozen=True)
class Part(Checked):
    """A building block of an attack.

    `needs` are the facts that the adversary must know for it. `modality` is the only kind of data it works on, or
    `None` for any. `independent` says that it treats seeds, restarts and updates separately, draws no random numbers,
    and can be traced once for many of them (`together`).
    """

    needs: ClassVar[Knowledge] = Knowledge.NOTHING
    modality: ClassVar[Modality | None] = None
    independent: ClassVar[bool] = False

    def bind(self, seen: Observation) -> Callable[..., Any]:
        """Return the function used during one run, bound to the run's private copy of the model.

        A part without state returns itself.
        """
        return self  # type: ignore[return-value]

    def require_inputs(self, shape: tuple[int, ...]) -> None:
        """Raise `AttackFailed` if it cannot work on inputs `[C, H, W]` of this shape, whatever the update."""


class Objective(Part):
    """The distance between the candidate's update and the observed one: `(candidate, observed, at) -> scalar`.

    It is 0 at the ground truth. `varies` says that the function changes during the run, so that its values at two steps
    must not be compared.
    """

    varies: ClassVar[bool] = False

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        """Return the distance."""


class Prior(Part):
    """A penalty on implausible inputs: `(inputs [B, C, H, W] normalised, at) -> scalar`, for one seed.

    Its weight and the window in which it acts belong to the attack (`Term`). `steady` says that the penalty depends on
    the inputs and the model alone, neither on the progress nor on random numbers or earlier calls, and that it is
    computed on the device, so that it can be part of a CUDA graph.
    """

    steady: ClassVar[bool] = False

    def __call__(self, inputs: Tensor, at: Progress) -> Tensor:
        """Return the penalty."""


class GradientTransform(Part):
    """A change of every variable's gradient before the optimiser sees it: `(gradient, at) -> gradient`."""

    def __call__(self, gradient: Tensor, at: Progress) -> Tensor:
        """Return the changed gradient, in the same shape `[S, B, ...]`."""


class Candidate:
    """The candidate of one stage: named leaf variables, each with a leading axis of seeds `[S, ...]`.

    `constants` are further tensors that `decode` or `project` depends on and that a resumed run must restore. `notes`
    are sentences for the reconstruction.
    """

    variables: dict[str, Tensor]
    constants: Mapping[str, Tensor] = MappingProxyType({})
    notes: tuple[str, ...] = ()

    def decode(self) -> Tensor:
        """Return the inputs `[S, B, C, H, W]`, normalised, with the graph to the variables."""

    def logits(self) -> Tensor | None:
        """Return the logits `[S, B, K]` of the candidate's own labels, with the graph; `None` if it has none.

        The loss uses their softmax.
        """
        return None

    def penalty(self) -> Tensor | None:
        """Return a penalty on the variables, `[S]`, with the graph, or `None`.

        It is weighted, and part of the loss and of the totals by which iterates are compared.
        """
        return None

    def project(self) -> None:
        """Project the variables onto their feasible set, in place; called without gradients after each step."""

    def reported(self, seen: Observation) -> Tensor:
        """Return the reconstructed inputs `[S, B, ...]` that the attack reports, in the units of the data."""
        return seen.normalisation.invert(self.decode())


class Simulated(Protocol):
    """A simulation bound to one run: it computes the update that a candidate would cause.

    Args:
        rates: Name of each variable of the simulation -> its learning rate, as a factor of the optimiser's.
    """

    rates: Mapping[str, float]

    def start(self, seeds: int) -> dict[str, Tensor]:
        """Return the simulation's own variables, `[S, ...]`, which the loop optimises with the candidate's.

        Most simulations have none.
        """

    def project(self, variables: Mapping[str, Tensor]) -> None:
        """Project the simulation's variables onto their feasible set, in place."""

    def __call__(self, inputs: Tensor, labels: Tensor, variables: Mapping[str, Tensor]) -> Tensors:
        """Return the update, before any defense, with its graph if gradients are enabled.

        Args:
            inputs: Decoded inputs of one seed.
            labels: `[B]` integers or `[B, K]` probabilities.
            variables: The simulation's own variables of that seed.
        """


class Simulation(Part):
    """The client's local training as the adversary assumes it; `bind` returns a `Simulated`."""


class Move(Part):
    """A change of the candidate without a gradient: `bind(seen)` returns `(candidate, score, at) -> None`.

    It is called after every step and projection, without gradients, and may change the candidate's variables in place.
    `score() -> [S]` is the selection measure of the attack at the current variables, without priors.
    """


class Parametrisation(Part):
    """The choice of variables that are optimised, and how they decode to inputs.

    `start(seen, seeds, previous)` returns a `Candidate`. `makes_labels` says that this candidate also produces the
    labels, so that the attack infers none. `continues` says that it starts from the images that `previous` decodes to,
    so that another attack can give it its first ones (`run.started`).
    """

    makes_labels: ClassVar[bool] = False
    continues: ClassVar[bool] = False

    def idle(self, seen: Observation) -> str:
        """Return the sentence why a later stage is skipped because there is nothing to optimise; usually empty."""
        return ""

    def start(self, seen: Observation, seeds: int, previous: Candidate | None) -> Candidate:
        """Return the first candidate of a stage; `previous` is the best one of the previous stage.

        `seen` holds the labels of the run, granted or inferred, unless they are optimised with the inputs.
        """


@dataclass(frozen=True)
class Term(Checked):
    """A prior with its weight and the part of the stage in which it acts.

    Args:
        prior: The penalty.
        weight: Factor of the penalty relative to the objective.
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
        """Return whether the prior counts at this step."""
        return self.start * at.steps <= at.step and (at.step < self.stop * at.steps or self.stop >= 1)


@dataclass(frozen=True)
class Stage(Checked):
    """One optimisation; a later stage starts from the best candidate of the previous one.

    Args:
        parametrisation: The variables that are optimised.
        optimiser: The optimiser with its schedule.
        steps: Calls of the optimiser (one counts for `optimiser.evaluations` evaluations of the objective).
        terms: Priors with their weights.
        gradient: Gradient transforms, applied in this order.
        moves: Moves, applied in this order after every step of the optimiser.
        only_above: Skip the stage if the objective of a candidate is already below this value.
        stop_below: End the stage once the objective is below this value.
        stop_flat: End the stage once the objective falls by less than this fraction from one check (every step, or
            every 200th of the stage) to the next; 0 disables it.
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
    """Return the batch size, for parts whose `needs` contain BATCH_SIZE. Raise `AttackFailed` if it is unknown."""
    if seen.batch_size is None:
        raise AttackFailed(f"{part!r} needs the batch size.")
    return seen.batch_size
