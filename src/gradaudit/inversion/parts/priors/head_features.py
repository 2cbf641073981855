"""Match the features before the classifier to those that its gradient gives away (feature separation)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, one_hot

from ....protocol.local_training import InMode
from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge
from ..part import Prior, Progress


@dataclass(frozen=True)
class HeadFeatures(Prior):
    """The cosine distance between the candidates' features and those that the last layer's gradient contains.

    The gradient of the weight of the last linear layer is G = Aᵀ F with A = (p - y) / B, `[B, K]`, and the features F,
    `[B, m]`. If the labels are known and fewer than K, F = (Aᵀ)⁺ G separates the examples (Xue et al., INFOCOM 2023,
    with y_i's row alone; Geng et al., 2021). p is that of the candidate, detached, and for one example A is the
    gradient of the bias, so that F is exact. The penalty is the mean over the batch of 1 - cos between the rows of F
    and those of the candidate's features, both projected on the row space of A, in [0, 2]. It is 0 at the truth,
    whatever the scale of the update. A deep network distorts the gradients of its early layers more than these
    features, which depend on one image each.

    The loss is taken for the cross-entropy of softmax. The penalty is 0 if no linear layer with K outputs was shared.
    If the client takes one step on the whole batch, the forward pass of the simulated step is used; otherwise the prior
    runs one more forward pass, at the parameters as sent.
    """

    steady: ClassVar[bool] = True
    needs: ClassVar[Knowledge] = Knowledge.LABELS

    def bind(self, seen: Observation) -> Callable[..., Any]:
        """Return the penalty, hooked into the run's model. Raise `AttackFailed` if the labels are unknown."""
        if seen.labels is None:
            raise AttackFailed(f"{self!r} needs the labels.")
        return _HeadBound(seen, seen.labels)

    def __call__(self, inputs: Tensor, at: Progress) -> Tensor:
        raise AttackFailed(f"{self!r} must be bound to a model before it is called.")


class _HeadBound:
    """The penalty of one run; it stores the features and logits of the last forward pass, and its input."""

    def __init__(self, seen: Observation, labels: Tensor) -> None:
        self.model, self.mode = seen.model, InMode(seen.model, seen.batch_norm)
        self.inputs: Tensor | None = None
        self.found: tuple[Tensor, Tensor] | None = None
        tensors, classes = seen.update.tensors, seen.classes
        heads = [
            (name, module)
            for name, module in seen.model.named_modules()
            if isinstance(module, nn.Linear) and module.out_features == classes and _of(name, "weight") in tensors
        ]
        self.known = bool(heads)
        if self.known:
            name, head = heads[-1]
            self.weight, self.bias = tensors[_of(name, "weight")], tensors.get(_of(name, "bias"))
            soft = labels.is_floating_point()
            self.targets = (labels if soft else one_hot(labels, classes)).to(self.weight)
            seen.model.register_forward_pre_hook(self._begin)
            head.register_forward_hook(self._enter)

    def __call__(self, inputs: Tensor, at: Progress) -> Tensor:
        if self.known and (self.inputs is not inputs or self.found is None):
            with self.mode, torch.enable_grad():
                self.model(inputs)
        if self.found is None:
            return 0 * inputs.sum()
        features, logits = self.found
        self.inputs = self.found = None
        shares = (logits.detach().softmax(-1) - self.targets).t() / len(features)
        if len(features) == 1 and self.bias is not None:
            shares = self.bias[:, None]
        inverse = torch.linalg.pinv(shares.nan_to_num())  # of a diverged candidate, whose features give NaN
        ours, theirs = (inverse @ shares) @ features, inverse @ self.weight
        return (1 - cosine_similarity(ours, theirs, dim=1)).mean()

    def _begin(self, _: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        self.inputs, self.found = arguments[0], None

    def _enter(self, _: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        if arguments[0].ndim == 2 and len(arguments[0]) == len(self.targets):
            self.found = (arguments[0], output)


def _of(module: str, parameter: str) -> str:
    return f"{module}.{parameter}" if module else parameter
