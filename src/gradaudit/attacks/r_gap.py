"""R-GAP (Zhu & Blaschko, ICLR 2021): one image in closed form, layer by layer from the last to the first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ..inversion.attack import Watch
from ..inversion.network.chain import Link, chain_of, homogeneous, undone
from ..inversion.parts.labels._head import displacement, local_steps
from ..inversion.run.refusal import attacked, require_fit
from ..inversion.step.matching import explains
from ..protocol.observation import Observation
from ..values.errors import AttackFailed
from ..values.types import Knowledge, Modality, Reconstruction
from ._certificate import recomputed
from ._demonstration import Demonstration
from ._last_layer import Start, require_known, starts
from ._layer_equations import Solved, solve

CONTRADICTION = 0.5  # relative residual from which the equations of a layer of full rank contradict each other


@dataclass(frozen=True)
class RGap:
    """Solve every layer for its input by its gradient constraints and its weight constraints.

    The last layer is solved by a scalar equation, or by its bias gradient if it has one (`_last_layer`). Each layer
    before it is solved by linear least squares (`_layer_equations`): its output follows from the next layer's input
    through the inverse of the activation, and k from the chain rule. Convolutions are solved by LSMR.

    The model must be a chain of `Conv2d`, `Linear`, `LeakyReLU`, `ReLU`, `Sigmoid` and `Tanh` modules without
    pooling, normalisation or residual connections, and the update the gradient of one example. An inactive ReLU
    leaves its weight constraint out. A layer whose equations have fewer than full rank has many solutions: the
    smallest is used, a note says so, and the image is wrong. The result does not depend on random choices.

    Without biases, a scaled image may give the same update (the paper's twin data). Of the images that explain the
    update, the one of the highest contrast within the box is returned, and a note says so.

    Args:
        name: Name in the literature.
        paper: arXiv id.
        deviations: Differences from the paper.
    """

    name: str = "r-gap"
    paper: str = "arXiv:2010.07733"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    modality: ClassVar[Modality] = Modality.PICTURES
    deviations: tuple[str, ...] = (
        "finds all roots of the scalar equation by bracketing, where the authors' code runs Adam from 0",
        "solves by LSMR on operators in double precision, where the authors' code builds dense circulant matrices",
        "also solves cross entropy over several classes, biases, and ReLU, whose inactive units are left out",
        "reports the rank of the equations of every layer instead of the paper's rank analysis index",
    )

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Run the attack; neither the observation nor the global random state is changed.

        Args:
            seen: What the adversary sees.
            seed: Not used.
            watch: Callback, called after each layer with the relative residual of its equations.
            keep: Not used: the attack takes seconds.

        Raises:
            MissingKnowledge: The batch size was not granted.
            AttackFailed: There is more than one example or step, the model is no chain of layers that can be undone, or
                the equations contradict each other.
        """
        require_fit(self, seen.knowledge, seen.modality)
        if seen.batch_size != 1:
            raise AttackFailed(f"{self.name}: solves for one example; this update is the mean over {seen.batch_size}.")
        if local_steps(seen) > 1:
            raise AttackFailed(f"{self.name}: solves one gradient; the client took several local steps.")
        seen = attacked(self.name, seen)
        try:
            found = _Recursion(seen, watch).best()
        except AttackFailed as error:
            raise AttackFailed(f"{self.name}: {error}") from error
        labels = torch.tensor([found.label], device=seen.device)
        inputs = found.inputs.to(seen.update.values[0])
        return Reconstruction(
            inputs=seen.normalisation.invert(inputs),
            labels=labels,
            objective=found.residual,
            verified=explains(recomputed(seen, inputs, labels), seen.update.values),
            labels_granted=seen.labels is not None,
            trace=(tuple((number, one.residual) for number, one in enumerate(found.layers, 1)),),
            notes=found.notes,
        )


class _FoundImage(NamedTuple):
    """One solution: the image `[1, C, H, W]`, normalised, and its layers from the last to the first."""

    label: int
    inputs: Tensor
    layers: tuple[Solved, ...]
    twins: int = 1

    @property
    def residual(self) -> float:
        return max(one.residual for one in self.layers)

    @property
    def notes(self) -> tuple[str, ...]:
        """The rank analysis, the layers without full rank, and the twins."""
        ranks = "; ".join(map(str, reversed(self.layers)))
        notes = [f"Rank analysis, gradient constraints + weight constraints for unknowns: {ranks}."]
        notes += [
            f"Layer {one.name} leaves {one.deficit} of {one.unknowns} unknowns undetermined: what is recovered before "
            "it is one solution of many."
            for one in self.layers
            if one.deficit
        ]
        if self.twins > 1:
            notes.append(
                f"{self.twins} scaled versions of the image explain the update equally well; the one of the highest "
                "contrast within [0, 1] was returned."
            )
        return tuple(notes)


class _Recursion:
    """The recursion over the layers of one observation."""

    def __init__(self, seen: Observation, watch: Watch | None) -> None:
        self.seen, self.watch = seen, watch
        require_known(seen.loss)
        self.links = chain_of(seen.model, seen.input_shape)
        scale = displacement(seen)
        self.update = {name: value.double().cpu() / scale for name, value in seen.update.tensors.items()}
        missing = [link.weight for link in self.links if link.weight not in self.update]
        if missing:
            raise AttackFailed(f"the update contains no gradient of {missing[0]}.")
        if not all(torch.isfinite(value).all() for value in self.update.values()):
            raise AttackFailed("the update contains NaN or infinity.")
        last = self.links[-1]
        if not isinstance(last.layer, nn.Linear) or last.activations:
            raise AttackFailed("the model does not end with a linear layer.")

    def best(self) -> _FoundImage:
        """Return the solution whose equations agree best, over the labels that the last layer allows."""
        last = self.links[-1]
        groups = starts(last.layer, self.update[last.weight], self.update.get(last.bias))  # type: ignore[arg-type]
        if self.seen.labels is not None and not self.seen.labels.is_floating_point():
            groups = tuple(group for group in groups if group[0].label == int(self.seen.labels[0])) or groups
        found, reasons = [], []
        for group in groups:
            try:
                found += (
                    [self._largest_twin(group)] if homogeneous(self.links) else [self._solved(one) for one in group]
                )
            except AttackFailed as error:
                reasons.append(error)
        if not found:
            raise reasons[0]
        return min(found, key=lambda one: one.residual)

    def _largest_twin(self, group: tuple[Start, ...]) -> _FoundImage:
        """Return the solution of the root that gives the largest image within the box, or the nearest to it."""
        one = self._solved(group[0])
        twins = [one.inputs * (group[0].wrong / start.wrong) for start in group]
        low, high = self.seen.normalisation.box(one.inputs)
        outside = [float(((twin - high).clamp_min(0) + (low - twin).clamp_min(0)).mean()) for twin in twins]
        tolerance = 1e-3 * float((high - low).mean())
        inside = [twin for twin, out in zip(twins, outside, strict=True) if out <= tolerance]
        chosen = max(inside, key=lambda twin: float(twin.norm())) if inside else twins[outside.index(min(outside))]
        return one._replace(inputs=chosen, twins=max(1, len(inside)))

    def _solved(self, start: Start) -> _FoundImage:
        """Return the solution that follows from one solution of the last layer."""
        last = self.links[-1]
        layers = [solve(last, start.error, self.update[last.weight], start.error, start.error != 0)]
        reached = start.error @ last.layer.weight.detach()
        for link in reversed(self.links[:-1]):
            output, error, known = _through(link, layers[-1].inputs, reached)
            layers.append(solve(link, error, self.update[link.weight], output, known))
            self._check(layers)
            reached = _before(link, error)
        return _FoundImage(start.label, layers[-1].inputs.view(1, *self.seen.input_shape), tuple(layers))

    def _check(self, layers: list[Solved]) -> None:
        if self.watch is not None:
            self.watch(len(layers), len(self.links), layers[-1].residual)
        if layers[-1].residual > CONTRADICTION and not any(one.deficit for one in layers):
            raise AttackFailed(
                f"the equations of layer {layers[-1].name} contradict each other (relative residual "
                f"{layers[-1].residual:.2f}): the update is not the gradient of one example on this model, or a "
                "defense changed it."
            )


def _through(link: Link, inputs: Tensor, reached: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output of a layer, the derivative in it, and which outputs are known.

    Args:
        link: The layer.
        inputs: The input of the next layer.
        reached: The derivative in that input.
    """
    with torch.no_grad():
        shape = link.layer(torch.zeros(1, *link.shape, dtype=torch.float64)).shape
    output, error = inputs.view(shape), reached.view(shape)
    known = torch.ones_like(output, dtype=torch.bool)
    for activation in reversed(link.activations):
        output, slope, here = undone(activation, output)
        error, known = error * slope, known & here
    return output, error, known


def _before(link: Link, error: Tensor) -> Tensor:
    """Return the derivative in the input of a layer, from that in its output."""
    inputs = torch.zeros(1, *link.shape, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        (reached,) = torch.autograd.grad(link.layer(inputs), inputs, error)
    return reached


ATTACK = RGap()

DEMONSTRATION = Demonstration(ATTACK, network="cnn6", size=8, seeded=False)
