"""Equations, unknowns, rank and condition of each layer, as R-GAP counts them (Zhu & Blaschko, 2021)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..attacks._layer_equations import _Convolution
from ..inversion.network.chain import Link, chain_of, undone
from ..values.errors import AttackFailed, in_one_line
from .architecture import EquationCount
from .tracing import LayerPass, ModelTrace

RANKED = 3_500  # unknowns of a convolution that R-GAP undoes up to which its rank is measured: about a second
ALONE = 1_024  # unknowns, and entries of a filter, up to which this is done for other convolutions
SQUARE = 1_536  # smaller side of a matrix up to which its singular values are computed
EXACTLY = 500_000_000  # multiplications up to which the matrix itself is decomposed, and not its square
LARGE = 30_000_000  # parameters from which the model is not copied in double precision


def chain_or_why_not(traced: ModelTrace, shape: tuple[int, ...]) -> tuple[tuple[Link, ...], str]:
    """Return the layers that R-GAP undoes, or none and the reason why it cannot, without a full stop."""
    if sum(value.numel() for value in traced.model.parameters()) > LARGE:
        return (), "the model is too large for this check"
    own = [id(value) for layer in traced.layers for value in layer.parameters.values()]
    if len(set(own)) < len(own):
        return (), "two layers share a parameter, so that its gradient is a sum"
    try:
        links = chain_of(traced.model, shape)
    except AttackFailed as reason:
        return (), str(reason).rstrip(".")
    except Exception as error:  # the user's model may not work in double precision
        return (), f"the model does not run in double precision ({in_one_line(error).rstrip('.')})"
    if not isinstance(links[-1].layer, nn.Linear) or links[-1].activations:
        return (), "the model does not end with a linear layer"
    return links, ""


@torch.no_grad()
def known_outputs(links: tuple[Link, ...], example: Tensor) -> dict[str, Tensor]:
    """Return which outputs of each layer of a chain follow from the input of the next one: name -> `[1, ...]` booleans.

    An inactive ReLU hides its own.

    Args:
        links: The chain.
        example: `[1, ...]`.
    """
    known, x = {}, example.double()
    for link in links:
        x = link.layer(x.reshape(1, *link.shape))
        seen = torch.ones_like(x, dtype=torch.bool)
        for activation in link.activations:
            x = activation(x.clone())
            seen &= undone(activation, x)[2]
        known[link.name] = seen
    return known


def count(layer: LayerPass, known: Mapping[str, Tensor]) -> EquationCount | None:
    """Return the equations of a layer for its input, for one example.

    The result is `None` if its input was not seen or consists of tokens, if it is not trained, or if it is a module
    with parts of its own, whose parameters meet something else than its input.

    Args:
        layer: The layer, traced with at least one example.
        known: Which outputs are known, by name of the layer; a layer without an entry has no weight constraints.
    """
    gradient = sum(value.numel() for name, value in layer.trained.items() if "bias" not in name)
    inner = any(layer.module.children()) and not isinstance(layer.module, nn.MultiheadAttention)
    if inner or not layer.inputs or not gradient or not layer.inputs[0].is_floating_point():
        return None
    unknowns, seen = sum(one[:1].numel() for one in layer.inputs), known.get(layer.name)
    weight = int(seen.sum()) if seen is not None and isinstance(layer.module, nn.Conv2d) else 0
    rank = _rank(layer, seen)
    deficit = max(0, unknowns - gradient - weight) if rank is None else unknowns - rank
    return EquationCount(gradient, weight, unknowns, rank, deficit, rank is not None)


def for_batch(one: EquationCount, size: int) -> EquationCount:
    """Return the equations of a layer for a batch of `size` examples, from those for one.

    The examples share the gradient constraints, and each has weight constraints of its own. What the equations of one
    example leave open stays open for each of them, so that the deficit is at least the larger of both counts.
    """
    weight, unknowns = size * one.weight, size * one.unknowns
    open_ones = 0 if one.rank is None else size * (one.unknowns - one.rank)
    deficit = max(0, unknowns - one.gradient - weight, open_ones)
    return EquationCount(one.gradient, weight, unknowns, one.rank, deficit, False)


def condition(layer: LayerPass) -> float | None:
    """Return the condition number of a layer's weight as a matrix, σ_1 / σ_n with n its smaller side.

    The filters of a convolution are its rows. The result is infinite for a singular matrix, and `None` for a layer
    without a matrix, or with one whose smaller side exceeds 1 536.
    """
    weight = matrix(layer.module)
    if weight is None or not weight.numel() or min(weight.shape) > SQUARE:
        return None
    weight = weight.double()
    small = weight @ weight.T if len(weight) <= weight.shape[1] else weight.T @ weight
    if len(small) * weight.numel() <= EXACTLY:
        values, precision = torch.linalg.svdvals(weight), 1.0
    else:
        values, precision = torch.linalg.eigvalsh(small).flip(0).clamp_min(0).sqrt(), 0.5
    smallest, largest = float(values[-1]), float(values[0])
    floor = (max(weight.shape) * torch.finfo(weight.dtype).eps) ** precision * largest
    return largest / smallest if smallest > floor else math.inf


def matrix(module: nn.Module) -> Tensor | None:
    """Return the weight of a linear layer, a convolution or an attention as a matrix `[m, n]`, or `None`."""
    if isinstance(module, nn.MultiheadAttention):
        return None if module.in_proj_weight is None else module.in_proj_weight.detach()
    if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return module.weight.detach().flatten(1)
    if is_turned(module):
        return module.weight.detach().T  # type: ignore[operator]
    return None


def is_turned(module: nn.Module) -> bool:
    """Return whether a module is GPT-2's `Conv1D`, a linear layer whose weight is `[inputs, outputs]`."""
    return type(module).__name__ == "Conv1D" and isinstance(getattr(module, "weight", None), Tensor)


def is_linear(module: nn.Module) -> bool:
    """Return whether a module is a linear layer, of torch or of GPT-2."""
    return isinstance(module, nn.Linear) or is_turned(module)


def _rank(layer: LayerPass, seen: Tensor | None) -> int | None:
    """Return the rank of the equations for the input of the first example, or `None` if it is not measured."""
    if len(layer.inputs) != 1 or len(layer.slopes) != 1:
        return None
    entering, error = layer.inputs[0][:1], layer.slopes[0][:1].double()
    if is_linear(layer.module):
        error = error.reshape(-1, error.shape[-1])  # one row for each time the layer runs on this example
        if min(error.shape) > SQUARE:
            return None
        rounding = max(error.shape) * torch.finfo(layer.slopes[0].dtype).eps
        return entering.shape[-1] * int(torch.linalg.matrix_rank(error, rtol=rounding))
    if not _plain_convolution(layer.module) or entering.ndim != 4 or not error.any():
        return None
    window = matrix(layer.module).shape[1]  # type: ignore[union-attr]
    if max(entering.numel(), window) > (ALONE if seen is None else RANKED):
        return None
    link = Link(layer.name, layer.module, tuple(entering.shape[1:]), ())  # type: ignore[arg-type]
    known = torch.zeros_like(error, dtype=torch.bool) if seen is None else seen
    flat = error[0].flatten(1)
    equations = _Convolution(link, flat, torch.zeros_like(flat), known[0].flatten(1))
    equations.weighted = equations.weighted.double()
    return equations.rank()


def _plain_convolution(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.groups == 1
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )
