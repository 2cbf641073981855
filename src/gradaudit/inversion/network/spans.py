"""The inputs of an attention layer lie in the span of its gradient (DAGER; Petrov et al., 2024, section 4).

A projection Q = Z W of its input rows Z has the gradient ∂W = Zᵀ ∂Q. The columns of ∂W are therefore linear
combinations of the input rows, and at most as many of them are independent as there are tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...models.copying import private_copy
from ...values.errors import AttackFailed
from ...values.types import LossFunction
from .gaps import GapSplit, widest_gap

FUSED = {"c_attn", "query_key_value", "qkv"}
NAMES = FUSED | {"q_proj", "k_proj", "v_proj", "query", "key", "value", "q_lin", "k_lin", "v_lin"}


class Projection(NamedTuple):
    """The query, key and value projections of one attention layer, with their gradient.

    Args:
        module: The first of these projections; its input is the input of the attention.
        gradient: `[d, n]`, the gradients of all of them side by side.
    """

    module: nn.Module
    gradient: Tensor


def attention_projections(model: nn.Module, gradient: Mapping[str, Tensor]) -> list[Projection]:
    """Return the projections of every attention layer that has a gradient, in model order.

    The layers are found by their usual names.
    """
    found = []
    for path, parent in model.named_modules():
        inner = [(name, child) for name, child in parent.named_children() if name in NAMES]
        gradients = []
        for name, child in inner:
            tensor = gradient.get(f"{path}.{name}.weight" if path else f"{name}.weight")
            if tensor is not None:
                gradients.append(tensor.T if isinstance(child, nn.Linear) else tensor)  # GPT-2's Conv1D is [in, out]
        if gradients:
            found.append(Projection(inner[0][1], torch.cat(gradients, 1).double()))
    return found


class Span:
    """The column span of a gradient, restricted to the directions that stand out from the noise.

    Its dimension is the position of the widest gap between the singular values. If noise has filled the gap, the
    dimension is the number of tokens, if that is known.

    Args:
        gradient: `[d, n]`, double precision.
        tokens: Smallest and largest number of different tokens, both below d, or `None` if nothing is known.
        clear: Smallest ratio of two neighbouring singular values that counts as a gap.

    Raises:
        AttackFailed: There is no gap, and the number of tokens is not known.
    """

    def __init__(self, gradient: Tensor, tokens: tuple[int, int] | None, clear: float) -> None:
        vectors, values, _ = torch.linalg.svd(gradient, full_matrices=False)
        least, most = tokens or (1, len(values) - 1)
        self.split: GapSplit = widest_gap(values, least=least, most=most, descending=True)
        self.guessed = self.split.ratio < clear
        if self.guessed and tokens is None:
            raise AttackFailed(
                "the singular values of an attention gradient have no gap (at most a factor of "
                f"{self.split.ratio:.2f}): noise, or at least {len(gradient)} tokens."
            )
        self.rank = most if self.guessed else self.split.count
        self.outside = torch.linalg.qr(vectors[:, : self.rank], mode="complete").Q[:, self.rank :]  # its complement

    def distance(self, rows: Tensor) -> Tensor:
        """Return how far each row lies outside the span, `[..., d]` -> `[...]` in [0, 1].

        This is the L2 norm of the row's component outside the span over the L2 norm of the row.
        """
        outside = rows @ self.outside.to(rows)
        return (outside.norm(dim=-1) / rows.norm(dim=-1).clamp_min(torch.finfo(rows.dtype).tiny)).double()


class _Enough(Exception):  # noqa: N818
    def __init__(self, rows: Tensor) -> None:
        self.rows = rows


@torch.no_grad()
def entering(model: nn.Module, module: nn.Module, tokens: Tensor) -> Tensor:
    """Return the input `[N, L, d]` of `module` when `model` reads `tokens` `[N, L]`; later layers are not computed.

    Raise `AttackFailed` if the forward pass does not reach `module`.
    """

    def caught(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        raise _Enough(inputs[0])

    handle = module.register_forward_pre_hook(caught)
    try:
        model(tokens)
    except _Enough as enough:
        return enough.rows
    finally:
        handle.remove()
    raise AttackFailed(f"{type(module).__name__}: the model's forward pass does not call this projection.")


def is_causal(model: nn.Module, module: nn.Module, tokens: Tensor) -> bool:
    """Return whether the input of `module` at a position depends on no later token.

    It is tested by changing the last token of `tokens` `[1, L]`.
    """
    changed = tokens.clone()
    changed[:, -1] = tokens[:, 0]
    before, after = (entering(model, module, text)[:, :-1] for text in (tokens, changed))
    return torch.allclose(before, after, rtol=1e-5, atol=1e-6 * float(before.abs().max()))


def full_rank(model: nn.Module, loss: LossFunction, layer: int, tokens: Tensor) -> bool:
    """Return whether the gradient of an attention layer spans one dimension for every token of a text.

    It does not if no later layer attends to all positions, for example if the head reads the last token alone.

    Args:
        model: The client's model.
        loss: The client's loss.
        layer: Index of the attention layer.
        tokens: `[1, L]`, all different; the first class is used as the label.
    """
    model = private_copy(model).double().requires_grad_()
    named = dict(model.named_parameters())
    with torch.enable_grad():
        value = loss(model(tokens), tokens.new_zeros(1))
        found = torch.autograd.grad(value, list(named.values()), allow_unused=True, materialize_grads=True)
    gradient = attention_projections(model, dict(zip(named, found, strict=True)))[layer].gradient
    return int(torch.linalg.matrix_rank(gradient)) >= tokens.shape[1]
