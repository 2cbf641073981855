"""Soft labels of a single example, from label smoothing or mixup, by a search for one scalar (Wang et al., 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge
from ..label_values import LabelInference, Labels
from ..part import require_batch_size
from ._head import Head, mean_head, own_values

SCALE = 1000.0  # scale of the loss, as in the authors' code
SLACK = 1e-3  # how far outside [0, 1] an entry of a label may lie
GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class SoftLabels(LabelInference):
    """The soft label y on the simplex behind one example's gradient (p - y) hᵀ.

    Wang et al., "Towards eliminating hard label constraints in gradient inversion attacks", arXiv:2402.03124. A row r
    of the weight's gradient is a multiple of h, so h = λ ∂W_r with one unknown λ; p(λ) = softmax(λ W ∂W_r + b) and y(λ)
    = p(λ) - ∂W / h. The true λ makes the K - 1 (smoothing) or K - 2 (mixup) smallest entries of y equal, so it is found
    as the least variance of these. With a bias no search is needed: λ = 1 / ∂b_r, and y follows for any label.

    A solution is accepted by its own loss alone, `1000 · variance < tolerance` and y on the simplex; nothing is
    compared with the ground truth.

    Deviations: a grid of λ and golden sections instead of L-BFGS and particle swarms; using the bias, if there is one,
        is our addition.

    Args:
        form: Form of the label to search for without a bias; `"auto"` tries smoothing, then mixup.
        use_bias: Whether to compute λ from the bias if there is one.
        tolerance: Largest loss of a solution.
        bound: Largest |λ|; the true one is 1 / |p_r - y_r|, so at least 1, and large for a confident model.
        points: Points of the grid, per sign of λ.
    """

    name: ClassVar[str] = "soft"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    form: Literal["auto", "smoothing", "mixup"] = "auto"
    use_bias: bool = True
    tolerance: float = 1e-9
    bound: float = 1000.0
    points: int = 4000

    def read(self, seen: Observation) -> Labels:
        """Return `[1, K]` soft labels. Raise `AttackFailed` for a larger batch, or if no λ yields a label."""
        size = require_batch_size(seen, self)
        if size != 1:
            raise AttackFailed(f"{self!r} infers the soft label of one example, but this update has {size}.")
        line = line_of_labels(seen, mean_head(seen))
        if self.use_bias and line.known is not None:
            y = line.at(line.known.view(1))[0]
            if not _valid(y):
                raise AttackFailed("the bias gradient yields no label: more than one local step, or a defense.")
            return _labels(seen, y, "")
        for kept, form in self._forms(len(line.slope)):
            best, loss = self.search(line, kept)
            if loss < self.tolerance:
                return _labels(seen, line.at(best.view(1))[0], form)
        raise AttackFailed(f"no scale of the features yields a label: the loss stays above {self.tolerance:g}.")

    def _forms(self, classes: int) -> list[tuple[int, str]]:
        kept = {"smoothing": classes - 1, "mixup": classes - 2}
        forms = [(kept[f], f) for f in (("smoothing", "mixup") if self.form == "auto" else (self.form,)) if kept[f] > 1]
        if not forms:
            raise AttackFailed(f"with {classes} classes every scale yields such a label, so it is undecidable.")
        return forms

    def search(self, line: LabelLine, kept: int) -> tuple[Tensor, float]:
        """Return the λ of least loss with y on the simplex, and that loss; infinite if there is no such λ."""
        grid = torch.logspace(0, torch.log10(torch.tensor(self.bound)).item(), self.points, dtype=torch.float64)
        grid = torch.cat([-grid.flip(0), grid])
        losses = line.loss(grid, kept)
        inner = (losses[1:-1] <= losses[:-2]) & (losses[1:-1] <= losses[2:])
        valleys = inner.nonzero().view(-1) + 1
        valleys = valleys[losses[valleys].argsort()[:20]]
        if not len(valleys):
            return grid[0], float("inf")
        low, high = grid[valleys - 1], grid[valleys + 1]
        for _ in range(80):
            left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
            lower = line.loss(left, kept) < line.loss(right, kept)
            low, high = torch.where(lower, low, left), torch.where(lower, right, high)
        found = (low + high) / 2
        losses = torch.where(_valid(line.at(found)), line.loss(found, kept), torch.inf)
        return found[losses.argmin()], float(losses.min())


class LabelLine(NamedTuple):
    """The labels y(λ) that are consistent with one gradient: `softmax(λ · slope + bias) - ratios / λ`.

    Args:
        slope: `[K]`, W ∂W_r.
        bias: `[K]`, b.
        ratios: `[K]`, the rows of ∂W as multiples of row r.
        known: Scalar λ, if the gradient of the bias determines it.
    """

    slope: Tensor
    bias: Tensor
    ratios: Tensor
    known: Tensor | None

    def at(self, scale: Tensor) -> Tensor:
        """Return the labels `[n, K]` at the scales `[n]`; each sums to 1 for every λ."""
        scale = scale.unsqueeze(1)
        return (scale * self.slope + self.bias).softmax(1) - self.ratios / scale

    def loss(self, scale: Tensor, kept: int) -> Tensor:
        """Return `[n]`: 1000 times the variance of the `kept` smallest entries."""
        return SCALE * self.at(scale).sort(dim=1).values[:, :kept].var(dim=1)


def line_of_labels(seen: Observation, head: Head) -> LabelLine:
    """Return the line through the row of largest L2 norm.

    The authors use the row of the largest sum, but signed features cancel in a sum.
    """
    row = int(head.weight.norm(dim=1).argmax())
    reference = head.weight[row]
    weight, bias = own_values(seen)
    known = None if head.bias is None or head.bias[row] == 0 else 1 / head.bias[row]
    return LabelLine(weight @ reference, bias, head.weight @ reference / reference.square().sum(), known)


def _valid(labels: Tensor) -> Tensor:
    return torch.isfinite(labels).all(-1) & (labels.amin(-1) > -SLACK) & (labels.amax(-1) < 1 + SLACK)


def _labels(seen: Observation, y: Tensor, form: str) -> Labels:
    outside = float(y.clamp_max(0).sum().abs())
    y = y.clamp_min(0) / y.clamp_min(0).sum()
    like = seen.update.values[0]
    soft = y.unsqueeze(0).to(like)
    notes = (f"The label has the form of {form}.",) if form else ()
    return Labels(soft.argmax(1), counts=soft[0], soft=soft, confidence=max(0.0, 1 - outside / SLACK), notes=notes)
