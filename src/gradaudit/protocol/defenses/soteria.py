"""Soteria: the columns of a linear layer's gradient that reveal the input most easily are not shared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...models.copying import private_copy
from ...values.errors import AuditError
from ...values.types import Tensors, Update
from ..local_training import batch_norm_mode
from ._defense import Defense, Doubt, Scene, require
from ._replacing import last_linear

NO_ZERO = 1e-10  # added to |r_i|, as in the authors' code


@dataclass(frozen=True)
class Soteria(Defense):
    """Soteria: sets columns of the gradient of the last `Linear` layer's weight to zero (Sun et al., 2021, section 5).

    With r the input of that layer and x the input of the model, column i belongs to feature r_i and has the score
    `||∂r_i/∂x||₂ / (|r_i| + 1e-10)`, summed over the batch. The columns with the smallest scores are set to zero. The
    scores are computed at the model that the server sent, in evaluation mode, and cost one backward pass for each
    feature. After several local steps the columns of the weight difference are set to zero. The authors' code divides
    by r_i itself and takes the magnitude of the quotient afterwards, which is the same.

    An adversary that knows this defense does not compare the columns that are zero in the observed update.

    Args:
        prune: Fraction of the columns that is set to zero, in [0, 1], rounded to a number of columns.
    """

    example: ClassVar[tuple[Any, ...]] = (0.5,)
    paper: ClassVar[str] = "arXiv:2012.06043"
    doubt: ClassVar[Doubt] = Doubt(
        "columns of the last linear layer's gradient were set to zero, and the attack takes them for observed zeros. "
        "An adversary that knows the defense (DEFENSE) leaves them out and may recover more",
        "its equations need the columns that were set to zero",
    )
    prune: float

    def __post_init__(self) -> None:
        require(0 <= self.prune <= 1, self, "prune must be in [0, 1], the fraction of the columns")

    def change_model(self, model: nn.Module) -> nn.Module:
        """Return the model itself; raise `AuditError` if it has no `Linear` layer."""
        last_linear(model, self)
        return model

    def apply(self, update: Update, scene: Scene) -> Update:
        """Return the update with the columns of the smallest scores set to zero.

        Raises:
            AuditError: The inputs are not real numbers, or the model does not use its last `Linear` layer.
        """
        name = last_linear(scene.model, self)
        weight = f"{name}.weight" if name else "weight"
        if weight not in update.tensors:
            return update
        columns = update.tensors[weight].shape[1]
        count = round(self.prune * columns)
        if not count:
            return update
        pruned = self.scores(scene, name).topk(count, largest=False).indices
        kept = update.tensors[weight].clone()
        kept[:, pruned] = 0
        return replace(update, tensors={**update.tensors, weight: kept})

    def scores(self, scene: Scene, layer: str) -> Tensor:
        """Return the score of each input feature of `layer`, `[features]`; raise `AuditError` as `apply` does."""
        if not scene.inputs.is_floating_point():
            raise AuditError(f"{self.name}: needs inputs of real numbers, such as images. Found {scene.inputs.dtype}.")
        model, seen = private_copy(scene.model), []
        hook = model.get_submodule(layer).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        inputs = scene.inputs.detach().clone().requires_grad_()
        with torch.enable_grad(), batch_norm_mode(model, "eval"):
            model(inputs + 0)  # a model that works in place may not write into a leaf
        hook.remove()
        if not seen or seen[0].ndim != 2:
            raise AuditError(f"{self.name}: {layer or 'the last Linear layer'} does not take features [B, features].")
        features = seen[0]
        found = []
        for one in features.unbind(1):
            (slope,) = torch.autograd.grad(one.sum(), inputs, retain_graph=True, allow_unused=True)
            lengths = torch.zeros_like(one) if slope is None else slope.flatten(1).norm(dim=1)
            found.append((lengths / (one.detach().abs() + NO_ZERO)).sum())
        return torch.stack(found).detach()

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the candidate with zeros in the columns that are zero in the observed update."""
        return tuple(
            c * (o != 0).any(0) if o.ndim == 2 and self.prune else c for c, o in zip(candidate, observed, strict=True)
        )
