"""Cocktail Party Attack (Kariyappa et al., ICML 2023): large batches by independent component analysis."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..inversion.attack import TimeLimit, Watch
from ..inversion.network.first_linear import first_linear
from ..inversion.parts.part import Progress, require_batch_size
from ..inversion.parts.priors.total_variation import TotalVariation
from ..inversion.run.refusal import attacked, require_fit
from ..protocol.observation import Observation
from ..values.errors import AttackFailed
from ..values.types import Knowledge, Modality, Reconstruction
from ._demonstration import Demonstration

LOG_2 = 0.6931471805599453


@dataclass(frozen=True)
class CocktailParty:
    """All images of a batch from the gradient of a first linear layer, as the sources of a mixture.

    The rows of ∂L/∂W = (∂L/∂Z)ᵀ X are B images mixed in m ways. Centred over the pixels and whitened to B rows Y, they
    are unmixed by an orthogonal V that minimises

        -mean_i E[log cosh(v_i · Y)]² + weight · TV(V Y),

    negentropy and total variation. The bias gradient (∂L/∂Z)ᵀ 1 then gives sign and scale of every image by least
    squares. Any batch below the width of the layer works, as does the sum over several clients or steps, and no ReLU is
    needed. Real images are neither independent nor uncorrelated, so the result is close to them and never exact.

    Args:
        name: Name in the literature.
        paper: arXiv id.
        weight: Weight of the total variation.
        steps: Number of steps.
        rate: Learning rate of Adam.
        deviations: Differences from the paper.
    """

    name: str = "cocktail-party"
    paper: str = "arXiv:2209.05578"
    weight: float = 1.0
    steps: int = 1_000
    rate: float = 1e-2
    deviations: tuple[str, ...] = (
        "V is orthogonal, the limit of the published penalty on cosines (weight 1.47, exponent 12.4)",
        "weight 1 of the total variation (published: 3.1, with that penalty), 1 000 steps of Adam at 0.01 (published: "
        "25 000 at 0.001)",
        "sign and scale by least squares on the bias gradient, which is not published",
        "inputs of a first linear layer only: the inversion of features behind convolutions is left out",
    )
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    modality: ClassVar[Modality] = Modality.PICTURES

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Return the images, in no meaningful order and without labels.

        Args:
            seen: What the adversary sees.
            seed: Seed of the first V.
            watch: Called after every step; a `TimeLimit` ends the optimisation, and the V so far is used.
            keep: Not used.

        Raises:
            MissingKnowledge: The batch size was not granted.
            AttackFailed: The model has no linear layer that takes the images themselves, or the batch is not below
                the width of that layer.
        """
        require_fit(self, seen.knowledge, seen.modality)
        seen = attacked(self.name, seen)
        size = require_batch_size(seen, self)  # type: ignore[arg-type]
        weight, bias = self._gradients(seen)
        if size > min(weight.shape):
            raise AttackFailed(
                f"{self.name}: {size} images exceed the {min(weight.shape)} dimensions of the first linear layer's "
                "gradient. Audit a smaller batch, or a wider layer."
            )
        mixed = _whitened(weight, size)
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(size, size, generator=generator, dtype=torch.float64).to(mixed.white)
        found = self._unmixed(mixed.white, start, seen.input_shape, watch)
        flat = _scaled(weight, bias, found.sources + found.unmixing @ mixed.centre)
        inputs = flat.unflatten(1, seen.input_shape).to(seen.update.values[0])
        notes = () if found.done == self.steps else (f"Ended after {found.done} of {self.steps} steps.",)
        return Reconstruction(
            inputs=seen.normalisation.invert(inputs),
            labels=None,
            objective=found.objective,
            trace=(tuple(found.trace),),
            notes=notes,
            cut=None if found.done == self.steps else (found.done, self.steps),
        )

    def _gradients(self, seen: Observation) -> tuple[Tensor, Tensor]:
        """Return the gradients of the first linear layer; errors have the name of the attack."""
        try:
            weight, bias = first_linear(seen.model, seen.input_shape).gradients(seen)
        except AttackFailed as error:
            raise AttackFailed(f"{self.name}: {error}") from error
        if not weight.any():
            raise AttackFailed(f"{self.name}: the weight gradient of the first linear layer is zero.")
        return weight, bias

    def _unmixed(self, white: Tensor, start: Tensor, shape: tuple[int, ...], watch: Watch | None) -> _Found:
        """Follow the objective on the orthogonal matrices: a step of Adam along them, then the nearest one."""
        unmixing = _orthogonal(start).requires_grad_()
        adam, smooth = torch.optim.Adam([unmixing], self.rate), TotalVariation()
        trace, done, value = [], 0, float("inf")
        for step in range(self.steps):
            if isinstance(watch, TimeLimit) and watch.spent and step:
                break
            sources = unmixing @ white
            spread = (softplus(2 * sources) - sources - LOG_2).mean(1).square().mean()
            loss = self.weight * smooth(sources.unflatten(1, shape), Progress(step, self.steps)) - spread
            (slope,) = torch.autograd.grad(loss, unmixing)
            with torch.no_grad():
                unmixing.grad = slope - unmixing @ slope.T @ unmixing  # tangential
                adam.step()
                unmixing.copy_(_orthogonal(unmixing))
            value, done = float(loss.detach()), step + 1
            if step % max(1, self.steps // 50) == 0:
                trace.append((done, value))
            if watch is not None:
                watch(done, self.steps, value)
        unmixing = unmixing.detach()
        return _Found(unmixing, unmixing @ white, value, done, trace)


class _Mixed(NamedTuple):
    """Whitened rows `[B, n]` of mean 0 and variance 1, and the mean that each had before, `[B, 1]`."""

    white: Tensor
    centre: Tensor


class _Found(NamedTuple):
    """An unmixing matrix `[B, B]`, its sources `[B, n]`, and the run that led to it."""

    unmixing: Tensor
    sources: Tensor
    objective: float
    done: int
    trace: list[tuple[int, float]]


def _whitened(gradient: Tensor, size: int) -> _Mixed:
    """Return the leading rows of a gradient `[m, n]`, centred over the pixels and whitened."""
    mean = gradient.mean(1, keepdim=True)
    left, values, right = torch.linalg.svd(gradient - mean, full_matrices=False)
    floor = values[0] * torch.finfo(values.dtype).eps
    scale = gradient.shape[1] ** 0.5
    centre = (left[:, :size] / values[:size].clamp_min(floor)).T @ mean * scale
    return _Mixed(right[:size] * scale, centre)


def _orthogonal(matrix: Tensor) -> Tensor:
    """Return the nearest orthogonal matrix."""
    left, _, right = torch.linalg.svd(matrix.detach())
    return left @ right


def _scaled(weight: Tensor, bias: Tensor, sources: Tensor) -> Tensor:
    """Return sources s_i `[B, n]` in the units of the inputs: s_i / c_i with A c = ∂L/∂b and A = ∂L/∂W S⁺."""
    mixing = torch.linalg.lstsq(sources.T, weight.T).solution.T
    lengths = torch.linalg.lstsq(mixing, bias.unsqueeze(1)).solution
    tiny = lengths.abs().max() * 1e-6
    return sources / torch.where(lengths.abs() < tiny, tiny, lengths)


ATTACK = CocktailParty()

DEMONSTRATION = Demonstration(replace(ATTACK, weight=0.0, steps=300), network="mlp", examples=2, size=8, least=2.0)
