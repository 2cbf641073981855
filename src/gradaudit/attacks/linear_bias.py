"""The bias attack (Phong et al., 2018; Geiping et al., 2020, proposition 3.1): images from a linear first layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..inversion.attack import Watch
from ..inversion.network.first_linear import FirstLinear, first_linear
from ..inversion.parts.labels._head import local_steps
from ..inversion.parts.part import require_batch_size
from ..inversion.run.refusal import attacked, require_fit
from ..protocol.local_training import rules_of
from ..protocol.observation import Observation
from ..values.errors import AttackFailed
from ..values.types import Knowledge, Modality, Reconstruction, UpdateKind
from ._certificate import explains_at_some_rate, rate_of, recomputed
from ._demonstration import Demonstration
from ._quotients import Quotients, Revealed, candidates, consistent, quotients

DISAGREE = 1e-2  # relative disagreement of the quotients of one example from which a note says so
EDGE = 1e-3  # distance from the box, as a share of its width, up to which a single quotient may be an image


@dataclass(frozen=True)
class LinearBias:
    """x = ∂W_i / ∂b_i for a neuron i of a linear first layer that one example alone activates.

    The gradient of the layer is ∂W = Σ δ_e x_eᵀ, ∂b = Σ δ_e over the examples e. For one example every neuron has the
    same quotient, its input. In a batch a quotient is a mixture of the examples that activate the neuron. Those that
    recur in neurons of different weights belong to one example (mixtures differ from neuron to neuron). Single
    quotients are used after them if they lie in the box. Every example must activate its own neurons and none of
    those of another, which the adversary tests on its copy of the model.

    A neuron without gradient tells nothing. A quotient does not depend on the learning rate of one local step. The
    result does not depend on random choices. Rows that were not found are grey (zero for rows of a table).

    Args:
        name: Name in the table of attacks.
        paper: Reference of the method.
        same: Relative distance up to which two quotients are equal.
        deviations: Differences from the papers.
    """

    name: str = "linear-bias"
    paper: str = "doi:10.1109/TIFS.2017.2787987"
    same: float = 1e-3
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    deviations: tuple[str, ...] = (
        "uses the mean over all neurons of an example, weighted by their squared bias gradients",
        "searches batches for neurons that one example alone activates; the papers state the condition",
        "infers each label from the bias gradient of the example's own neurons",
    )

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Run the attack; neither the observation nor the global random state is changed.

        Args:
            seen: What the adversary sees.
            seed: Not used.
            watch: Callback, called once at the end.
            keep: Not used: the attack takes seconds.

        Raises:
            MissingKnowledge: The batch size was not granted.
            AttackFailed: The first layer is not linear with a bias, its gradient is zero or not shared, the client took
                several steps, or no neuron is activated by one example alone.
        """
        require_fit(self, seen.knowledge, seen.modality)
        count = require_batch_size(seen, self)  # type: ignore[arg-type]
        if seen.modality is Modality.TEXT:
            raise AttackFailed(f"{self.name}: the tokens of a text do not enter a linear layer as numbers.")
        if local_steps(seen) > 1:
            raise AttackFailed(f"{self.name}: quotients are inputs after one local step; the client took several.")
        seen = attacked(self.name, seen)
        try:
            found = _FirstGradient(seen, self.same).found(count)
        except AttackFailed as error:
            raise AttackFailed(f"{self.name}: {error}") from error
        missing = 1 - len(found.inputs) / count
        objective = found.gap if found.gap is not None else missing
        if watch is not None:
            watch(1, 1, objective)
        return found.reconstruction(seen, count, objective)


class _FoundExamples(NamedTuple):
    """The examples that were found, `[N, ...]`, normalised, with labels if they are known."""

    inputs: Tensor
    labels: Tensor | None
    places: tuple[int, ...]
    gap: float | None
    notes: tuple[str, ...]

    def reconstruction(self, seen: Observation, count: int, objective: float) -> Reconstruction:
        """Return the batch, with a fill for what is missing."""
        found = self.inputs.to(seen.update.values[0])
        inputs = found.new_zeros(count, *seen.input_shape)
        if seen.modality is Modality.PICTURES:
            low, high = seen.normalisation.box(found)
            inputs = inputs + (low + high) / 2
        inputs[list(self.places)] = found
        complete = len(found) == count
        labels = seen.labels if seen.labels is not None else self.labels if complete else None
        return Reconstruction(
            inputs=seen.normalisation.invert(inputs),
            labels=labels if labels is None else labels.to(seen.device),
            objective=objective,
            verified=complete and labels is not None and _explains(seen, inputs, labels.to(seen.device)),
            labels_granted=seen.labels is not None,
            trace=(((1, objective),),),
            notes=self.notes,
        )


class _FirstGradient:
    """The first layer of one observation, and its gradients in double precision on the CPU."""

    def __init__(self, seen: Observation, same: float) -> None:
        self.seen, self.same = seen, same
        self.first: FirstLinear = first_linear(seen.model, seen.input_shape)
        self.weight, self.bias = self.first.gradients(seen)

    def found(self, count: int) -> _FoundExamples:
        """Return the examples found. Raise `AttackFailed` if there is none."""
        rows = quotients(self.weight, self.bias, self._rounding(), self.same)
        if count == 1:
            everything = torch.arange(len(rows.neurons))
            chosen = [Revealed(rows.mean(everything), rows.neurons, True)]
            gap, notes = self._disagreement(rows, chosen[0].inputs)
        else:
            chosen, gap = self._of_batch(rows, count), None
            if not chosen:
                raise AttackFailed(
                    "no neuron of the first layer is activated by one example alone: every quotient is a mixture (or a "
                    "defense changed the update)."
                )
            notes = _counts(chosen, count)
        inputs = torch.stack([one.inputs for one in chosen]).view(-1, *self.seen.input_shape)
        labels, places = self._labelled(inputs, chosen, count)
        return _FoundExamples(inputs, labels, places, gap, notes)

    def _rounding(self) -> float:
        """Return the rounding error of one entry: that of the weights for a weight difference."""
        if self.seen.update.kind is UpdateKind.GRADIENT:
            return 0.0
        own = self.first.layer.weight.detach().abs().max()
        return float(own) * torch.finfo(self.seen.update.values[0].dtype).eps

    def _disagreement(self, rows: Quotients, inputs: Tensor) -> tuple[float, tuple[str, ...]]:
        weight, bias = self.weight[rows.neurons], rows.divisors
        gap = float((weight - bias.unsqueeze(1) * inputs).norm() / weight.norm().clamp_min(1e-300))
        if gap <= DISAGREE:
            return gap, ()
        return gap, (
            f"The quotients of the neurons disagree by {gap:.0%}: a defense changed the update, or it is not of one "
            "example and one step.",
        )

    def _of_batch(self, rows: Quotients, count: int) -> list[Revealed]:
        own = torch.cat([self.first.layer.weight.detach(), self.first.layer.bias.detach().unsqueeze(1)], 1)
        offered = [one for one in candidates(rows, own, self.same) if one.recurs or self._in_box(one.inputs)]
        return consistent(offered, self.first, self.seen.input_shape, count)

    def _in_box(self, inputs: Tensor) -> bool:
        if self.seen.modality is not Modality.PICTURES:
            return False  # rows of a table have no box that would exclude mixtures
        pixels = self.seen.normalisation.invert(inputs.view(self.seen.input_shape))
        return bool((pixels > -EDGE).all()) and bool((pixels < 1 + EDGE).all())

    def _labelled(self, inputs: Tensor, chosen: list[Revealed], count: int) -> tuple[Tensor | None, tuple[int, ...]]:
        """Return the labels of the examples, and their rows in the batch, which granted labels determine.

        The bias gradient of an example's own neurons is δ_e / B, which depends on its label alone.
        """
        granted, order = self.seen.labels, tuple(range(len(chosen)))
        with torch.no_grad():
            classes = rules_of(self.seen.loss).count(self.first.model(inputs[:1].clone()))
        targets = granted.cpu() if granted is not None else torch.arange(classes)
        if not len(targets):
            return None, order
        cost = torch.stack([self._distances(inputs, chosen, target, count) for target in targets], 1)
        if granted is not None:
            return None, tuple(linear_sum_assignment(cost.numpy())[1].tolist())
        return cost.argmin(1), order

    def _distances(self, inputs: Tensor, chosen: list[Revealed], target: Tensor, count: int) -> Tensor:
        """Return how far the bias gradient of the examples' own neurons is from the one with this label, `[N]`."""
        labels = target.expand(len(inputs), *target.shape)
        slopes = self.first.slopes(inputs, lambda output: self.seen.loss(output, labels)) * len(inputs) / count
        scale = rate_of(self.seen)
        distances = []
        for slope, one in zip(slopes, chosen, strict=True):
            mine, theirs = slope[one.neurons], self.bias[one.neurons]
            size = float(theirs @ mine / mine.square().sum().clamp_min(1e-300)) if scale is None else scale
            distances.append((theirs - max(size, 0.0) * mine).norm() / theirs.norm())
        return torch.stack(distances)


def _counts(chosen: list[Revealed], count: int) -> tuple[str, ...]:
    """Return how many examples were found, how surely, and what the rest is."""
    sure = sum(one.recurs for one in chosen)
    notes = [f"{len(chosen)} of {count} examples were found: {sure} as a quotient that recurs."]
    if sure < len(chosen):
        notes.append(f"{len(chosen) - sure} are the quotient of a single neuron, which may be a mixture of examples.")
    if len(chosen) < count:
        notes.append("The others activate no neuron alone, as far as the quotients show; their rows are a fill.")
    return tuple(notes)


def _explains(seen: Observation, inputs: Tensor, labels: Tensor) -> bool:
    return explains_at_some_rate(seen, recomputed(seen, inputs, labels), seen.update.values)


ATTACK = LinearBias()

DEMONSTRATION = Demonstration(ATTACK, network="mlp", examples=2, seeded=False)
