"""The activations of every example of a batch from gradients of one layer, by linear least squares."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

STARTS = 4  # starts of the search for the probabilities
EXACT = 1e-10  # squared residual from which the search for the probabilities ends


class Separated(NamedTuple):
    """The last layer, example by example.

    Args:
        slopes: `[B, K]`, the gradient of the loss with respect to the logits.
        features: `[B, m]`, the inputs of the last layer.
        residual: How far the equations are from being met, squared; about 0 if both are right.
    """

    slopes: Tensor
    features: Tensor
    residual: float


def separate_head(rows: Tensor, bias: Tensor, layer: nn.Linear, targets: Tensor) -> Separated:
    """Return the slopes and features of each example that the gradient of the last layer consists of.

    With A = (p - y) / B, `[B, K]`, the gradients are Aᵀ F and Aᵀ 1, and p = softmax(F Wᵀ + b). The probabilities p are
    searched by L-BFGS, with F = (Aᵀ)⁺ (Aᵀ F), until they agree with the logits of these features.

    Args:
        rows: `[K, m]` in double precision, the gradient of the weight.
        bias: `[K]`, the gradient of the bias.
        layer: The last layer, as sent.
        targets: `[B, K]`, the labels, one-hot.
    """
    weight, own = layer.weight.detach().to(rows), layer.bias.detach().to(rows)
    found: Separated | None = None
    for start in range(STARTS):
        logits = (0.5 * start * torch.randn_like(targets)).requires_grad_()

        def split(at: Tensor) -> tuple[Tensor, Tensor]:
            slopes = (at.softmax(-1) - targets) / len(targets)
            return slopes, torch.linalg.pinv(slopes.t()) @ rows

        def closure(at: Tensor = logits) -> Tensor:
            slopes, features = split(at)
            lost = (rows - slopes.t() @ features).square().sum() / rows.square().sum()
            apart = ((features @ weight.t() + own).softmax(-1) - at.softmax(-1)).square().sum()
            total = lost + apart + (slopes.sum(0) - bias).square().sum() / bias.square().sum()
            (at.grad,) = torch.autograd.grad(total, at)
            return total

        optimiser = torch.optim.LBFGS([logits], max_iter=600, line_search_fn="strong_wolfe", tolerance_change=1e-18)
        optimiser.step(closure)  # type: ignore[arg-type]
        residual = float(closure().detach())
        if found is None or residual < found.residual:
            found = Separated(*split(logits.detach()), residual)
        if residual < EXACT:
            break
    assert found is not None
    return found


def system(slopes: Tensor, conv: nn.Conv2d, size: tuple[int, int]) -> Tensor:
    """Return the matrix `[C' k k, B H W]` that maps one input channel of a convolution to its weight's gradient.

    Args:
        slopes: `[B, C', H', W']`, the gradient of the loss with respect to the output.
        conv: A square convolution without groups or dilation.
        size: H and W of the input.
    """
    kernel, stride, padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
    examples, channels, *out = slopes.shape
    matrix = slopes.new_zeros(channels, kernel, kernel, examples, *size)
    for u in range(kernel):
        rows = [(p, p * stride + u - padding) for p in range(out[0]) if 0 <= p * stride + u - padding < size[0]]
        for v in range(kernel):
            columns = [(q, q * stride + v - padding) for q in range(out[1]) if 0 <= q * stride + v - padding < size[1]]
            for p, y in rows:
                for q, x in columns:
                    matrix[:, u, v, :, y, x] = slopes[:, :, p, q].t()
    return matrix.reshape(channels * kernel * kernel, -1)


def solve_inputs(
    gradient: Tensor, slopes: Tensor, conv: nn.Conv2d, size: tuple[int, int], known: Tensor | None = None
) -> tuple[Tensor, float]:
    """Return the inputs `[B, C, H, W]` of a convolution and the relative residual of the equations of its gradient.

    Args:
        gradient: `[C', C, k, k]`, the gradient of the weight.
        slopes: `[B, C', H', W']`, the gradient with respect to the output.
        conv: The convolution.
        size: H and W of the input.
        known: `[B, C, H, W]`, entries of the input that are known; the others are NaN.
    """
    matrix = system(slopes, conv, size)
    right = gradient.permute(0, 2, 3, 1).reshape(len(matrix), -1)
    if known is None:
        found = torch.linalg.lstsq(matrix, right, driver="gelsd").solution
    else:
        found = known.transpose(0, 1).reshape(right.shape[1], -1).t().clone()
        for channel in range(right.shape[1]):
            free = found[:, channel].isnan()
            rest = right[:, channel] - matrix[:, ~free] @ found[~free, channel]
            found[free, channel] = torch.linalg.lstsq(matrix[:, free], rest[:, None], driver="gelsd").solution[:, 0]
    residual = float((matrix @ found - right).norm() / right.norm())
    return found.t().reshape(-1, len(slopes), *size).transpose(0, 1).contiguous(), residual
