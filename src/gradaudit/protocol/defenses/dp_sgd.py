"""DP-SGD: each example's gradient is clipped, and their sum receives Gaussian noise (Abadi et al., 2016)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...models.copying import private_copy
from ...values.errors import AttackFailed, AuditError
from ...values.types import Tensors
from ._defense import ActsOn, Defense, Distance, Doubt, Gradient, RoundWork, each, each_gradient, require
from ._privacy_account import PrivacyAccount
from ._replacing import replace_layer

ROOM = 2**28  # most entries of per-example gradients that are held at once
GROUPS = 32


@dataclass(frozen=True)
class DpSgd(Defense):
    """DP-SGD: every local step clips the gradient of each example, adds Gaussian noise to their sum, and divides it.

    With per-example gradients g_i of B examples, the gradient of a step is (Abadi et al., 2016, algorithm 1)
    `(Σ_i g_i · min(1, norm / ||g_i||) + N(0, (noise_multiplier · norm)²)) / B`. The norm is over all trained
    parameters together, shared or not. The batch is the one under audit: it is not sampled again (Poisson sampling), so
    that the account below assumes a sampling that this client only imitates.

    Models with BatchNorm are refused, as Opacus does, because its statistics mix the examples. With
    `replace_batch_norm` server and client use a copy of the model with `GroupNorm` in its place (gcd(32, channels)
    groups, new scale 1 and offset 0, as Opacus replaces it), which is another model.

    An adversary that knows this defense uses the Gaussian likelihood around the best common factor in [0, 1] of its
    candidate's update. That is exact for one example, and an approximation if several examples are clipped by different
    factors.

    Args:
        norm: Clipping norm C of each example's gradient, positive.
        noise_multiplier: Standard deviation of the noise on the sum, in units of C; at least 0.
        delta: The δ of the account, in (0, 1).
        sample_rate: Probability in (0, 1] with which an example takes part in a step. Without it, and without
            `dataset_size`, no amplification by sampling is counted.
        dataset_size: Number of examples of the client, from which the sampling rate follows.
        expected_batch_size: What the noisy sum is divided by; the number of examples of the step by default.
        accountant: Opacus' accountant, `"rdp"` (Rényi) or `"prv"` (privacy loss random variables, tighter and slower).
        rounds: Number of rounds in the whole training that the account also states.
        replace_batch_norm: Whether BatchNorm layers are replaced instead of refused.
    """

    name: ClassVar[str] = "dp-sgd"
    example: ClassVar[tuple[Any, ...]] = (1.0, 1.0)
    paper: ClassVar[str] = "arXiv:1607.00133"
    acts_on: ClassVar[ActsOn] = ActsOn.TRAINING
    doubt: ClassVar[Doubt] = Doubt(
        "every example was clipped by a factor of its own, and the noise is part of what the attack matches, which no "
        "adversary can simulate: beyond a point a lower objective means more fitted noise, not a closer image. Several "
        "updates of one batch, or stronger priors, may recover more",
        "its equations hold up to the noise only, which least squares and rank decisions amplify",
        simulated=False,
    )
    norm: float
    noise_multiplier: float
    delta: float = 1e-5
    sample_rate: float | None = None
    dataset_size: int | None = None
    expected_batch_size: int | None = None
    accountant: Literal["rdp", "prv"] = "rdp"
    rounds: int = 1
    replace_batch_norm: bool = False

    def __post_init__(self) -> None:
        rate, size, expected = self.sample_rate, self.dataset_size, self.expected_batch_size
        for holds, rule in (
            (0 < self.norm < math.inf, "norm must be positive"),
            (0 <= self.noise_multiplier < math.inf, "noise_multiplier must be at least 0"),
            (0 < self.delta < 1, "delta must be in (0, 1)"),
            (rate is None or 0 < rate <= 1, "sample_rate must be in (0, 1]"),
            (size is None or size >= 1, "dataset_size must be at least 1"),
            (rate is None or size is None, "needs sample_rate or dataset_size, not both"),
            (expected is None or expected >= 1, "expected_batch_size must be at least 1"),
            (self.accountant in ("rdp", "prv"), "accountant must be rdp or prv"),
            (self.rounds >= 1, "rounds must be at least 1"),
        ):
            require(holds, self, rule)

    def change_model(self, model: nn.Module) -> nn.Module:
        """Return the model, with `GroupNorm` in place of BatchNorm if `replace_batch_norm` is set.

        Raises:
            AuditError: The model contains BatchNorm, and it is not to be replaced.
        """
        found = [name for name, layer in model.named_modules() if isinstance(layer, _BatchNorm)]
        if not found:
            return model
        if not self.replace_batch_norm:
            kind = type(model.get_submodule(found[0])).__name__
            raise AuditError(
                f"{self.name}: layer {found[0] or 'of the model'} is {kind}, whose statistics mix the examples of a "
                "batch, so that no gradient belongs to one example alone. Use GroupNorm in its place, or set "
                "replace_batch_norm: true."
            )
        return _with_group_norm(private_copy(model))

    def change_gradient(self, gradient: Gradient, inputs: Tensor, labels: Tensor) -> Tensors:
        """Return the noisy mean of the clipped gradients; the plain one if nothing is clipped and no noise added."""
        total, clipped = clipped_sum(gradient, inputs, labels, self.norm)
        size = self.expected_batch_size or len(inputs)
        if not clipped and not self.noise_multiplier and size == len(inputs):
            return gradient(inputs, labels)
        std = self.noise_multiplier * self.norm
        return each(total, lambda g: (g + std * torch.randn_like(g) if std else g) / size)

    def account(self, step_size: int = 1) -> PrivacyAccount:
        """Return the account of its epsilon, for steps of so many examples if `dataset_size` gives the rate."""
        rate = self.sample_rate
        if self.dataset_size is not None:
            rate = min(1.0, (self.expected_batch_size or step_size) / self.dataset_size)
        return PrivacyAccount(self.accountant, self.noise_multiplier, self.delta, rate)

    def remarks(self, work: RoundWork) -> tuple[str, ...]:
        """Return the sentences on epsilon in this round and in all rounds, and on the replaced layers."""
        replaced = [name for name, layer in work.model.named_modules() if isinstance(layer, BatchNormReplacement)]
        changed = f"{self.name} replaced {len(replaced)} BatchNorm layers by GroupNorm, first {(replaced or [''])[0]}"
        said = (f"{changed}: the audited model is not the original one.",) if replaced else ()
        try:
            return (*said, self.account(work.step_size).sentence(work, max(self.rounds, work.rounds)))
        except AuditError as error:
            return (*said, str(error))

    def log_likelihood(self, observed: Tensors, candidate: Tensors) -> Tensor | None:
        """Return the Gaussian log-likelihood, up to a constant, at the best factor in [0, 1] of the candidate.

        The standard deviation is that of one step on `expected_batch_size` examples, or on one example without it.
        """
        inner, length = _inner(observed, candidate), _inner(candidate, candidate)
        factor = (inner / (length + torch.finfo(inner.dtype).tiny ** 0.5)).clamp(0, 1)
        gap = torch.stack([(o - factor * c).square().sum() for o, c in zip(observed, candidate, strict=True)]).sum()
        std = (self.noise_multiplier or 1.0) * self.norm / (self.expected_batch_size or 1)
        return -gap / (2 * std**2)

    def mismatch(self, candidate: Tensors, observed: Tensors, distance: Distance) -> Tensor:
        """Return the mismatch by the likelihood, plus the negative cosine of a candidate that points the other way.

        The likelihood of such a candidate is that of zeros, whatever the candidate, and has no slope.
        """
        inner, ours, theirs = (_inner(*pair) for pair in ((candidate, observed), (candidate,) * 2, (observed,) * 2))
        cosine = inner / (ours * theirs).clamp_min(torch.finfo(inner.dtype).tiny).sqrt()
        return super().mismatch(candidate, observed, distance) + (-cosine).clamp_min(0)

    @classmethod
    def estimated(cls, rounds: Sequence[Tensors]) -> Self:
        """Return the defense whose noise has the standard deviation between the rounds.

        An update shows the noise alone, not clipping norm and batch size: `norm` is the length of the mean update, and
        `expected_batch_size` is 1.

        Raises:
            AttackFailed: There is only one round, or the rounds do not differ.
        """
        if len(rounds) < 2:
            raise AttackFailed(f"{cls.name}: its noise is estimated from at least two updates of one batch.")
        flat = torch.stack([torch.cat([tensor.flatten() for tensor in tensors]) for tensors in rounds]).double()
        std, norm = math.sqrt(float(flat.var(0).mean())), float(flat.mean(0).norm())
        if not std or not norm:
            raise AttackFailed(f"{cls.name}: the updates do not differ, so that no noise can be estimated.")
        return cls(norm, std / norm, expected_batch_size=1)


class BatchNormReplacement(nn.GroupNorm):
    """A `GroupNorm` layer in place of a BatchNorm layer."""


def _with_group_norm(model: nn.Module) -> nn.Module:
    """Replace every BatchNorm layer of `model` itself; a layer that stands at two places stays one layer."""
    made: dict[int, nn.Module] = {}
    for name, layer in list(model.named_modules(remove_duplicate=False)):
        if isinstance(layer, _BatchNorm):
            if id(layer) not in made:
                groups = math.gcd(GROUPS, layer.num_features)
                new = BatchNormReplacement(groups, layer.num_features, affine=layer.affine)
                made[id(layer)] = new.to(layer.weight) if layer.affine else new
            model = replace_layer(model, name, made[id(layer)])
    return model


def clipped_sum(gradient: Gradient, inputs: Tensor, labels: Tensor, norm: float) -> tuple[Tensors, bool]:
    """Return `Σ_i g_i · min(1, norm / ||g_i||)`, and whether any example was clipped.

    Args:
        gradient: Computes the gradient over any of the examples.
        inputs: `[B, ...]`.
        labels: `[B, ...]`.
        norm: The clipping norm.
    """
    total: Tensors = ()
    clipped, at_once, start = False, 1, 0
    while start < len(inputs):
        part = slice(start, start + at_once)
        alone = each_gradient(gradient, inputs[part], labels[part])
        lengths = torch.stack([g.flatten(1).norm(dim=1) for g in alone]).norm(dim=0)
        factors = (norm / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)).clamp_max(1)
        clipped = clipped or bool((factors < 1).any())
        summed = tuple(torch.einsum("i,i...->...", factors.to(g.dtype), g) for g in alone)
        total = tuple(one + other for one, other in zip(total, summed, strict=True)) if total else summed
        start += at_once
        at_once = max(1, ROOM // max(1, sum(g.numel() for g in summed)))
    return total, clipped


def _inner(left: Tensors, right: Tensors) -> Tensor:
    return torch.stack([(one * other).sum() for one, other in zip(left, right, strict=True)]).sum()
