"""Match the BatchNorm statistics of the candidates to known ones (Yin et al., 2020; 2021, equation 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ....protocol.local_training import InMode
from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge
from ..part import Prior, Progress


@dataclass(frozen=True)
class BatchNormStatistics(Prior):
    """The distance of the candidates' BatchNorm statistics from known ones.

    R_BN = Σ_l a_l (||μ_l(x) - μ̂_l||_2 + ||σ²_l(x) - σ̂²_l||_2) over the BatchNorm layers, in registration order. μ_l
    and σ²_l, each `[C_l]`, are the mean and biased variance per channel of the input of layer l when the batch x passes
    through the model as sent, in the client's BatchNorm mode. The norms are not squared, as in Ye et al., 2024
    (HFGradInv) and Yin et al., 2021 (GradInversion). A layer that is called twice counts with its last call. The slope
    of a norm at zero is zero. The penalty is 0 if the model has no BatchNorm layer, none that keeps statistics or, for
    the public statistics, no training yet.

    If the client takes one step on the whole batch, the forward pass of the simulated step is used; otherwise, with
    several local steps or another simulation, the prior runs one more forward pass, at the parameters as sent.

    Args:
        source: Source of μ̂ and σ̂². `"public"`: the running statistics of the model as sent, which describe the
            training data, not this batch; layers that still have the initial values, 0 and 1, have seen no data and are
            omitted. `"client"`: those of the batch at the first local step, which the client sent. `"buffers"`: those
            of the batch, computed from the running statistics r' sent with the update, s = (r' - (1 - q) r) / q with q
            = m for momentum m, and the variance times (n - 1) / n for n values per channel, because torch keeps the
            unbiased one. That is the batch's own after exactly one step in training mode; after k steps q = 1 - (1 -
            m)^k and s is a mean over the steps that weighs the last ones most. k is computed from the step counters,
            and is 1 if none was sent.
        multipliers: a_l of the first layers; a_l of all others is 1. (1.3, 3.0) in the code of HFGradInv.
    """

    steady: ClassVar[bool] = True
    source: Literal["public", "client", "buffers"] = "public"
    multipliers: tuple[float, ...] = ()

    @property
    def needs(self) -> Knowledge:  # type: ignore[override]
        """BATCH_STATISTICS if the client's statistics are the source, otherwise nothing."""
        return Knowledge.BATCH_STATISTICS if self.source == "client" else Knowledge.NOTHING

    def bind(self, seen: Observation) -> Callable[..., Any]:
        """Return the penalty, hooked into the run's model.

        Raises:
            AttackFailed: The source is the client's statistics or buffers, but the observation does not contain them.
        """
        return _BatchNormBound(self, seen)

    def __call__(self, inputs: Tensor, at: Progress) -> Tensor:
        raise AttackFailed(f"{self!r} must be bound to a model before it is called.")


class _Layer(NamedTuple):
    """One BatchNorm layer with its target statistics and its weight."""

    module: nn.Module
    weight: float
    mean: Tensor
    variance: Tensor


class _BatchNormBound:
    """The penalty of one run.

    It stores the inputs of the layers from the last forward pass whose input had a graph, and that input.
    """

    def __init__(self, prior: BatchNormStatistics, seen: Observation) -> None:
        self.model = seen.model
        self.unbiased = prior.source == "buffers"
        self.mode = InMode(seen.model, seen.batch_norm)
        known = dict(_SOURCES[prior.source](prior, seen))
        layers = [(name, module) for name, module in seen.model.named_modules() if isinstance(module, _BatchNorm)]
        weights = (*prior.multipliers, *[1.0] * len(layers))
        self.layers = [
            _Layer(module, weight, *known[name])
            for (name, module), weight in zip(layers, weights, strict=False)
            if name in known
        ]
        self.inputs: Tensor | None = None
        self.own: Tensor | None = None  # input of a forward pass that the prior runs itself
        self.entered: dict[nn.Module, Tensor] = {}
        if self.layers:
            seen.model.register_forward_pre_hook(self._begin)
            for layer in self.layers:
                layer.module.register_forward_pre_hook(self._enter)

    def __call__(self, inputs: Tensor, at: Progress) -> Tensor:
        if not self.layers:
            return 0 * inputs.sum()
        if self.inputs is not inputs:
            self.own = inputs
            with self.mode, torch.enable_grad():
                self.model(inputs)
        penalty = sum(self._of(layer) for layer in self.layers if layer.module in self.entered)
        self.inputs, self.own, self.entered = None, None, {}
        return penalty if isinstance(penalty, Tensor) else 0 * inputs.sum()

    def _of(self, layer: _Layer) -> Tensor:
        features = self.entered[layer.module].transpose(0, 1).flatten(1)
        count = features.shape[1]
        variance = layer.variance * ((count - 1) / count) if self.unbiased else layer.variance
        found, mean = torch.var_mean(features, 1, correction=0)
        norm = torch.linalg.vector_norm
        return layer.weight * (norm(mean - layer.mean) + norm(found - variance))

    # The statistics are computed when the prior is called, not here: a block that is recomputed runs without hooks.
    def _begin(self, _: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs = arguments[0]
        self.inputs, self.entered = (inputs if inputs.requires_grad or inputs is self.own else None), {}

    def _enter(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if self.inputs is not None:
            self.entered[module] = arguments[0]


_Statistics = Iterator[tuple[str, tuple[Tensor, Tensor]]]


def _keeping(model: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """Yield the BatchNorm layers with running statistics."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            yield name, module


def _public(prior: BatchNormStatistics, seen: Observation) -> _Statistics:
    for name, module in _keeping(seen.model):
        if module.running_mean.any() or (module.running_var != 1).any():
            yield name, (module.running_mean.clone(), module.running_var.clone())


def _client(prior: BatchNormStatistics, seen: Observation) -> _Statistics:
    told, device = seen.batch_statistics or {}, seen.device
    names = [name for name, module in seen.model.named_modules() if isinstance(module, _BatchNorm)]
    if names and not set(names) & set(told):
        raise AttackFailed(f"{prior!r}: the observation contains no batch statistics of the model's BatchNorm layers.")
    for name, (mean, variance) in told.items():
        yield name, (mean.to(device), variance.to(device))


def _buffers(prior: BatchNormStatistics, seen: Observation) -> _Statistics:
    layers = list(_keeping(seen.model))
    if layers and not seen.update.buffers:
        raise AttackFailed(
            f"{prior!r}: no buffers were sent with the update. Set share_buffers of the client's training to true, or "
            "choose another source."
        )
    moved = False
    for name, module in layers:
        mean, variance, counter = (seen.update.buffers.get(f"{name}.{part}" if name else part) for part in _PARTS)
        share = _share(module, counter)
        if mean is None or variance is None or share <= 0:
            continue
        pairs = ((mean, module.running_mean), (variance, module.running_var))
        moved = moved or not all(torch.equal(after.to(before), before) for after, before in pairs)
        mean, variance = (_unmixed(after, before, share) for after, before in pairs)
        yield name, (mean, variance.clamp_min(0))
    if layers and not moved:
        raise AttackFailed(
            f"{prior!r}: the running statistics did not change: the client's BatchNorm is in evaluation mode, or it "
            "does not share them. Choose another source."
        )


_PARTS = ("running_mean", "running_var", "num_batches_tracked")
_SOURCES = {"public": _public, "client": _client, "buffers": _buffers}


def _share(module: _BatchNorm, counter: Tensor | None) -> float:
    """Return q, the client's share of the new running statistics."""
    before = module.num_batches_tracked
    steps = 1 if counter is None or before is None else max(1, int(counter) - int(before))
    if module.momentum is None:  # the mean over all batches so far
        return steps / (steps if before is None else int(before) + steps)
    return 1 - (1 - module.momentum) ** steps


def _unmixed(after: Tensor, before: Tensor, share: float) -> Tensor:
    """Return s, computed in double precision because it is a difference of two close numbers."""
    return ((after.to(before.device).double() - (1 - share) * before.double()) / share).to(before.dtype)
