"""Local training as one differentiable function: the client runs it, and the adversary differentiates through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from itertools import compress
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...values.chance import seeded
from ...values.errors import AuditError
from ...values.types import LossFunction, Tensors, UpdateKind
from .losses.cross_entropy import CrossEntropy
from .modes import BatchNormMode, draws_noise
from .rules import adam, sgd
from .steps import Again, Given, Rule, Steps

Orders = Sequence[Tensor]
"""For each epoch, the positions of the examples in the order in which the client sees them, `[n]` integers."""


@dataclass(frozen=True)
class LocalTraining:
    """A client's local training, which turns a batch into an update, as one differentiable function.

    Without a learning rate the client takes one step on the whole batch and shares its gradient (FedSGD). With one, it
    runs `epochs` over minibatches and shares `θ_before - θ_after` (FedAvg; McMahan et al., 2017, algorithm 1), which
    has the sign of a gradient.

    Shuffling and dropout use the client's random numbers: they are active only if a call is given a `seed`, which an
    adversary does not know. The adversary simulates the training in the order of the batch, or in `orders` that it
    chooses, and without dropout.

    Args:
        loss: A `Loss`, or any function `(logits [B, K], labels) -> scalar`, the mean over the examples.
        epochs: Passes over the batch, at least 1.
        minibatch_size: Examples per step; `None` uses the whole batch. The last minibatch may be smaller.
        learning_rate: Learning rate of the local optimiser, positive; `None` for FedSGD.
        momentum: Momentum of local SGD, in [0, 1), as `torch.optim.SGD` defines it.
        batch_norm: `"eval"` normalises with the running statistics, `"train"` with those of the minibatch.
        weight_decay: Factor of the parameter that is added to its gradient; at least 0.
        nesterov: Whether SGD uses Nesterov momentum.
        optimiser: `"sgd"` or `"adam"`, as in `torch.optim`.
        betas: Decay rates of Adam, each in [0, 1).
        eps: Denominator constant of Adam, positive.
        shuffle: Whether each epoch sees the examples in a new random order.
        drop_last: Whether a last minibatch that is smaller than the others is omitted.
        dropout: Whether dropout and stochastic depth are on.
        share_buffers: Whether the buffers after training, such as BatchNorm's statistics, are sent with the update.
        shared: Glob patterns of parameter names. Parameters that match none of them are trained but not shared.
        update: What is shared after local steps: by default the weight difference. `"gradient"` divides it by learning
            rate and number of steps, the mean step in units of a gradient (as FedNova normalises; Wang et al., 2020).

    Raises:
        AuditError: A value is out of range, or an option that needs several steps is given without a learning rate.

    >>> ga.LocalTraining(learning_rate=0.1, epochs=2, minibatch_size=2).steps(examples=4)
    4
    """

    loss: LossFunction = field(default_factory=CrossEntropy)
    epochs: int = 1
    minibatch_size: int | None = None
    learning_rate: float | None = None
    momentum: float = 0.0
    batch_norm: BatchNormMode = "eval"
    weight_decay: float = 0.0
    nesterov: bool = False
    optimiser: Literal["sgd", "adam"] = "sgd"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    shuffle: bool = False
    drop_last: bool = False
    dropout: bool = False
    share_buffers: bool = False
    shared: tuple[str, ...] = ("*",)
    update: Literal["gradient", "weight-difference"] | None = None

    def __post_init__(self) -> None:
        shared = (self.shared,) if isinstance(self.shared, str) else self.shared
        object.__setattr__(self, "shared", tuple(shared))
        object.__setattr__(self, "betas", tuple(self.betas))
        _check(self)

    @property
    def kind(self) -> UpdateKind:
        """Whether the client shares a gradient or a weight difference."""
        if self.update is not None:
            return UpdateKind(self.update)
        return UpdateKind.GRADIENT if self.learning_rate is None else UpdateKind.WEIGHT_DIFFERENCE

    @property
    def single_step(self) -> bool:
        """Whether the update is the gradient of one loss over all examples at the model that the server sent."""
        return self.learning_rate is None

    def steps(self, examples: int) -> int:
        """Return the number of local steps on a batch of `examples`."""
        size = self.minibatch_size or examples
        return self.epochs * (examples // size if self.drop_last else -(-examples // size))

    def orders(self, examples: int, seed: int | None = None) -> tuple[Tensor, ...]:
        """Return the order of the examples in each epoch, `[examples]` each; without a seed, that of the batch."""
        if seed is None or not self.shuffle:
            return (torch.arange(examples),) * self.epochs
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randperm(examples, generator=generator) for _ in range(self.epochs))

    def shared_parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return name -> parameter of all trainable parameters that the client shares, in the model's order.

        Raises:
            AuditError: A pattern of `shared` matches no trainable parameter.
        """
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        return {name: trained[name] for name in _matching(tuple(trained), self.shared)}

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor, **options: Any) -> Tensors:
        """Return the update alone; arguments as for `train`."""
        return self.train(model, inputs, labels, **options)[0]

    def train(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        *,
        differentiable: bool = False,
        seed: int | None = None,
        orders: Orders | None = None,
        checkpoint: bool = False,
        defended: Given | None = None,
    ) -> tuple[Tensors, Mapping[str, Tensor]]:
        """Return the update from training `model`, and its buffers afterwards, without changing model or random state.

        Args:
            model: The starting point; its trainable parameters are trained.
            inputs: `[B, ...]`, normalised.
            labels: `[B, ...]`, as the loss takes them.
            differentiable: Keep the graph from `inputs` and `labels` to the update; every step adds to its memory.
            seed: Seed of shuffling, dropout and the random numbers of defenses; without a seed there are none.
            orders: The orders of the examples, in place of those from the seed. They need not be permutations: an
                adversary may optimise one copy of the inputs for each epoch and give each epoch its own copy.
            checkpoint: Recompute every step in the backward pass. Every step then adds only the size of the parameters
                to the memory (three times that with Adam); the time about doubles.
            defended: How the client's defenses change the gradient of every step, if they do.

        Returns:
            One tensor for each parameter of `shared_parameters`, and name -> buffer.

        Raises:
            AuditError: The number of `orders` differs from the number of epochs, or no step would be taken.
        """
        trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        kept = list(map(self.shared_parameters(model).__contains__, trained))
        dropout = self.dropout and seed is not None
        noise = seed is not None and any(map(draws_noise, model.modules()))
        again: Again = ("step" if self.optimiser == "adam" else "gradient") if checkpoint and differentiable else None
        rule = _rule(self)
        run = Steps(model, self.loss, rule, self.batch_norm, dropout, differentiable, again, noise, defended)
        first = state = run.start()
        if orders is None and self.shuffle and seed is not None:
            orders = self.orders(len(inputs), seed)
        minibatches = _minibatches(self, inputs, labels, orders)
        drawing = seed is not None and (dropout or noise or defended is not None)
        with seeded(seed, inputs.device) if drawing else nullcontext():
            if self.learning_rate is None:
                shared = tuple(compress(state.parameters, kept))
                found, buffers = run.gradient(state, *minibatches[0], state.parameters if defended else shared)
                pairs = zip(shared, compress(found, kept) if defended else found, strict=True)
                return tuple(torch.zeros_like(p) if g is None else g for p, g in pairs), buffers
            for x, y in minibatches:
                state = run.step(state, x, y)
        pairs = compress(zip(first.parameters, state.parameters, strict=True), kept)
        unit = self.learning_rate * len(minibatches) if self.kind is UpdateKind.GRADIENT else 1.0
        update = tuple((before.detach() - after) / unit for before, after in pairs)
        return (update if differentiable else tuple(tensor.detach() for tensor in update)), state.buffers


def FedSGD(  # noqa: N802
    loss: LossFunction | None = None, *, batch_norm: BatchNormMode = "eval", **details: Any
) -> LocalTraining:
    """Return FedSGD: the client shares the gradient of one step on the whole batch.

    `details` are further fields of `LocalTraining`.

    >>> print(ga.FedSGD().kind)
    gradient
    """
    return LocalTraining(loss=loss or CrossEntropy(), batch_norm=batch_norm, **details)


def FedAvg(  # noqa: N802
    loss: LossFunction | None = None,
    *,
    learning_rate: float,
    epochs: int = 1,
    minibatch_size: int | None = None,
    momentum: float = 0.0,
    batch_norm: BatchNormMode = "eval",
    **details: Any,
) -> LocalTraining:
    """Return FedAvg: the client shares the weight difference after local steps (McMahan et al., 2017).

    `details` are further fields of `LocalTraining`.

    >>> print(ga.FedAvg(learning_rate=0.1).kind)
    weight-difference
    """
    return LocalTraining(loss or CrossEntropy(), epochs, minibatch_size, learning_rate, momentum, batch_norm, **details)


def _rule(given: LocalTraining) -> Rule:
    rate, decay = given.learning_rate or 0.0, given.weight_decay
    if given.optimiser == "adam":
        return partial(adam, rate=rate, betas=given.betas, eps=given.eps, weight_decay=decay)
    return partial(sgd, rate=rate, momentum=given.momentum, weight_decay=decay, nesterov=given.nesterov)


def _minibatches(
    given: LocalTraining, inputs: Tensor, labels: Tensor, orders: Orders | None
) -> list[tuple[Tensor, Tensor]]:
    if orders is not None and len(orders) != given.epochs:
        raise AuditError(f"training: needs one order per epoch, {given.epochs}. Found {len(orders)}.")
    found: list[tuple[Tensor, Tensor]] = []
    for epoch in range(given.epochs):
        x, y = (inputs, labels) if orders is None else (inputs[orders[epoch]], labels[orders[epoch]])
        size = given.minibatch_size or len(x)
        least = size if given.drop_last else 1
        found += [pair for pair in zip(x.split(size), y.split(size), strict=True) if len(pair[0]) >= least]
    if not found:
        raise AuditError(f"training: drop_last leaves no minibatch of {size} among {len(x)} examples.")
    return found


@lru_cache(maxsize=256)
def _matching(names: tuple[str, ...], patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the `names` that equal or match a pattern, in their order."""
    if patterns == ("*",):
        return names
    globs = [pattern for pattern in patterns if pattern not in names]
    found = {name for name in names if any(fnmatchcase(name, glob) for glob in globs)}.union(patterns)
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in names):
            raise AuditError(f"training.shared: {glob} matches none of the trainable parameters {_some(names)}.")
    return tuple(name for name in names if name in found)


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) <= 8 else f"{', '.join(names[:4])}, ..., {names[-1]}"


def _check(given: LocalTraining) -> None:
    rate, size = given.learning_rate, given.minibatch_size
    for rule, holds, found in (
        ("epochs must be at least 1", given.epochs >= 1, given.epochs),
        ("minibatch_size must be at least 1", size is None or size >= 1, size),
        ("learning_rate must be positive", rate is None or rate > 0, rate),
        ("momentum must be in [0, 1)", 0 <= given.momentum < 1, given.momentum),
        ("batch_norm must be eval or train", given.batch_norm in ("eval", "train"), given.batch_norm),
        ("weight_decay must be at least 0", given.weight_decay >= 0, given.weight_decay),
        ("optimiser must be sgd or adam", given.optimiser in ("sgd", "adam"), given.optimiser),
        ("betas must be two numbers in [0, 1)", _two_fractions(given.betas), given.betas),
        ("eps must be positive", given.eps > 0, given.eps),
        ("nesterov needs a momentum", given.momentum > 0 or not given.nesterov, given.momentum),
        ("adam takes betas, no momentum", given.optimiser == "sgd" or not given.momentum, given.momentum),
        ("drop_last needs a minibatch_size", size is not None or not given.drop_last, size),
        ("shared needs at least one pattern", bool(given.shared), given.shared),
        ("update must be gradient or weight-difference", given.update in (None, *UpdateKind), given.update),
    ):
        if not holds:
            raise AuditError(f"training: {rule}. Found {found}.")
    plain = (given.epochs, size, given.optimiser, given.shuffle) == (1, None, "sgd", False)
    plain = plain and not given.momentum and not given.weight_decay
    if rate is None and not (plain and given.update != UpdateKind.WEIGHT_DIFFERENCE.value):
        raise AuditError("training: several local steps need a learning_rate (FedSGD shares one gradient).")


def _two_fractions(betas: tuple[float, ...]) -> bool:
    return len(betas) == 2 and all(0 <= beta < 1 for beta in betas)
