"""Find the sparse columns of ∂L/∂Z in the gradient of a linear layer in front of a ReLU (SPEAR; Dimitrov et al., 2024).

∂L/∂W = (∂L/∂Z)ᵀ X of rank B has a singular value decomposition U S Vᵀ, so that (∂L/∂Z)ᵀ = U Q with an unknown
invertible Q. Every row of U is a point in ℝᴮ. A column q of Q is the normal of a hyperplane through the origin that
contains the points of all units whose ReLU is off for one example.

Which units are off is not arbitrary. The example lies in the row space of Vᵀ, so that Z = W x + b lies in the span of
the columns of W V and b, and has the sign that the zeros of U q say. This links the points on a hyperplane to
B + 1 unknowns. `descended` uses it to find hyperplanes that ‖U q‖₁ alone hardly finds, and `Hyperplanes` to tell those
of one example from others, such as the points where two examples are off, which form no half-space.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...values.errors import AttackFailed

ROUNDS = 30  # rounds of the descent with a large floor, besides one for every dimension
FINE = 15  # further rounds, in which the floor falls to the noise
WIDE, NARROW, LAST = 3.0, 0.1, 1e-8  # floor of the weights at the start, after `ROUNDS`, and at the end, times 1/√m
LEVEL = 0.6  # share of the mean of |U q| from which an entry speaks for a unit that is on
SLOPE, BASE = 5.0, 1e-3  # how sharply the fitted Z separates the units, and the weight of those that are on
SIGMAS = 8.0  # multiple of the noise up to which an entry counts as zero
FITS = 4  # alternations between a normal and the points on its hyperplane
SPARE = 5  # points by which a hyperplane must exceed the B - 1 through which there is always one
PROJECTIONS = 200  # steps of the Ho-Kashyap procedure
HALF = 0.9  # least share of the units that a half-space explains for a hyperplane that is kept
RELIED = 0.97  # the same, for a hyperplane that the search for others relies on
APART = 0.02  # least distance of a unit vector from the span of others, so that it counts as independent of them
ROUNDED = 1e-11  # an entry of a unit vector up to which rounding in double precision explains it
MOST = 0.75  # largest rank that is inferred, as a share of the largest possible


class Factors(NamedTuple):
    """The singular value decomposition U S Vᵀ of a gradient, cut at its rank.

    Args:
        left: U, `[m, r]`.
        values: S, `[r]`.
        right: Vᵀ, `[r, n]`.
        noise: Standard deviation of an entry of the gradient beyond this rank, for each row, `[m]`.
        gap: Ratio of the singular values before and after the cut, the latter at least rounding.
    """

    left: Tensor
    values: Tensor
    right: Tensor
    noise: Tensor
    gap: float

    @property
    def rank(self) -> int:
        """The number of singular values, r."""
        return len(self.values)

    def columns(self, normals: Tensor) -> Tensor:
        """Return U q for each of the `normals` `[..., r]`, as `[..., m]`."""
        return normals @ self.left.T

    def tolerance(self, normals: Tensor) -> Tensor:
        """Return below which value an entry of U q counts as zero, `[..., r]` -> `[..., m]`.

        U q = ∂L/∂W · V S⁻¹ q, so its noise is that of the gradient's row times ‖S⁻¹ q‖.
        """
        return SIGMAS * self.noise * (normals / self.values).norm(dim=-1, keepdim=True) + ROUNDED

    def zero(self, normal: Tensor) -> Tensor:
        """Return which entries of U q count as zero for one normal `[r]`, `[m]`."""
        return self.columns(normal).abs() < self.tolerance(normal)


def factors(gradient: Tensor, size: int | None, precision: float, clear: float) -> Factors:
    """Return the decomposition of a gradient, cut at the last clear gap between its singular values.

    Args:
        gradient: `[m, n]`, double precision.
        size: Number of examples, which the rank cannot exceed, or `None` if it is unknown.
        precision: Machine precision of the gradient as it was sent.
        clear: Smallest ratio of two neighbouring singular values that counts as a gap.

    Raises:
        AttackFailed: There are more examples than dimensions, the gradient is zero, or there is no gap.
    """
    full = min(gradient.shape)
    if size is not None and size > full:
        raise AttackFailed(
            f"{size} examples exceed the {full} dimensions of the first linear layer's gradient, so that it does not "
            "determine them. Audit a smaller batch, or a wider layer."
        )
    if not gradient.any():
        raise AttackFailed("the weight gradient of the first linear layer is zero, and its bias gradient is not.")
    left, values, right = torch.linalg.svd(gradient, full_matrices=False)
    floor = precision * max(gradient.shape) ** 0.5 * values[0]
    raised = torch.cat([values, values.new_zeros(1)]).clamp_min(floor)
    most = int(MOST * full) if size is None else size
    ratios = (raised[:-1] / raised[1:])[: max(1, most)]
    found = (ratios >= clear).nonzero().flatten()
    if not len(found):
        raise AttackFailed(
            "the singular values of the first linear layer's gradient have no gap (at most a factor of "
            f"{float(ratios.max()):.2f}): noise, a defense or weight decay fills all its dimensions, or the batch does."
        )
    rank = int(found[-1]) + 1
    rest = (left[:, rank:] * values[rank:]).square().sum(1) / max(1, gradient.shape[1] - rank)
    noise = rest.maximum(rest.mean() / 4).sqrt().maximum(precision * gradient.square().mean(1).sqrt())
    return Factors(left[:, :rank], values[:rank], right[:rank], noise, float(ratios[rank - 1]))


def descended(points: Tensor, span: Tensor, normals: Tensor, floors: Tensor) -> Tensor:
    """Return normals of hyperplanes that contain the points of the units of a half-space, from nearby starts.

    Each round fits Z in a given span to what |U q| says of every unit, large or small, by least squares. It weights the
    units by 1 / max(|u · q|, floor), those that are on by the fit far less, and takes two steps of inverse iteration
    towards the smallest eigenvector of Σ w u uᵀ: iteratively reweighted least squares for ‖U q‖₁ where Z < 0.

    Args:
        points: U, `[m, r]`.
        span: Orthonormal basis of the possible Z, `[m, k]`.
        normals: q at the start, `[K, r]`.
        floors: `[T, K, m]` or `[T, K, 1]`, one for each round.
    """
    for floor in floors:
        sizes = (normals @ points.T).abs()
        level = LEVEL * sizes.mean(1, keepdim=True) + 1e-300
        fitted = ((sizes - level) / level).tanh() @ span @ span.T
        fitted = fitted / (fitted.abs().mean(1, keepdim=True) + 1e-300)
        weights = ((-SLOPE * fitted).sigmoid() + BASE) / sizes.maximum(floor)
        weighted = weights.sqrt().unsqueeze(2) * points
        triangle = torch.linalg.cholesky_ex(weighted.mT @ weighted).L
        for _ in range(2):
            normals = torch.cholesky_solve(normals.unsqueeze(2), triangle).squeeze(2)
            normals = (normals / normals.norm(dim=1, keepdim=True)).nan_to_num()
    return normals


def halved(zero: Tensor, span: Tensor) -> float:
    """Return the share of units whose sign a Z in the span has, by the Ho-Kashyap procedure; 1 for a half-space.

    Args:
        zero: Which units are off, `[m]`.
        span: Orthonormal basis of the possible Z, `[m, k]`.
    """
    signs = 1 - 2 * zero.to(span)
    margins, best = torch.ones_like(signs), 0.0
    for _ in range(PROJECTIONS):
        fitted = signs * (span @ (span.T @ (signs * margins)))
        best = max(best, float((fitted > 0).double().mean()))
        if best == 1:
            break
        margins = margins + (fitted - margins).clamp_min(0)
    return best


class Hyperplanes:
    """The hyperplanes found so far.

    Attributes:
        basis: Independent normals, those that a half-space explains best first, `[k, r]`.
        starts: Number of starts so far.
        shape: m and n.

    Args:
        of: The decomposition.
        weight: W of the layer, `[m, n]`.
        bias: b of the layer, `[m]`.
        generator: Draws the starts, on the CPU.
        together: K, the number of starts in one round.
    """

    def __init__(self, of: Factors, weight: Tensor, bias: Tensor, generator: torch.Generator, together: int) -> None:
        self.of, self.generator, self.together = of, generator, together
        self.shape, self.rows, self.bias = tuple(weight.shape), weight @ of.right.T, bias.unsqueeze(1)
        self.normals = of.left.new_empty(0, of.rank)
        self.halves: list[float] = []
        self.starts = 0
        self.basis = self.normals
        self._rely(self.normals)
        self.whole = self.span

    def search(self) -> None:
        """Run one round of starts.

        The examples that are still missing are orthogonal to the normals found, in the coordinates in which their Z is
        fitted, which leaves fewer unknowns for them. A round without a new normal is followed by one that does not rely
        on this.
        """
        of, unit, before = self.of, len(self.of.left) ** -0.5, len(self.normals)
        normals, widest = self._drawn()
        falling = torch.linspace(0, 1, ROUNDS + of.rank, dtype=torch.float64).to(normals).view(-1, 1, 1)
        normals = descended(of.left, self.span, normals, unit * widest ** (1 - falling) * NARROW**falling)
        falling = torch.linspace(0, 1, FINE, dtype=torch.float64).to(normals).view(-1, 1, 1)
        last = of.tolerance(normals).clamp_min(LAST * unit).clamp_max(NARROW * unit) / SIGMAS
        normals = descended(of.left, self.span, normals, (NARROW * unit) ** (1 - falling) * last**falling)
        for normal in normals:
            self._keep(normal)
        self.starts += self.together
        chosen = self._independent()
        self.basis = self.normals[chosen]
        relied = [at for at in chosen if self.halves[at] >= RELIED]
        new = len(self.normals) > before and len(relied) < of.rank
        self._rely(self.normals[relied if new else []])

    def _drawn(self) -> tuple[Tensor, Tensor]:
        """Return unit vectors outside the span of the normals relied on, `[K, r]`, and a first floor for each."""
        drawn = torch.randn(self.together, self.of.rank + 1, generator=self.generator, dtype=torch.float64)
        drawn = drawn.to(self.normals)
        normals = drawn[:, :-1] - (drawn[:, :-1] @ self.known) @ self.known.T
        widest = NARROW * (WIDE / NARROW) ** torch.special.ndtr(drawn[:, -1:])
        return normals / normals.norm(dim=1, keepdim=True), widest

    def _rely(self, known: Tensor) -> None:
        """Look for other examples than those of the `known` normals: set bases of their Z and of the normals."""
        free = torch.linalg.qr((known / self.of.values).T, mode="complete").Q[:, len(known) :]
        left, values, _ = torch.linalg.svd(torch.cat([self.rows @ free, self.bias], 1), full_matrices=False)
        self.span, self.known = left[:, values > 1e-9 * values[0]], torch.linalg.qr(known.T).Q

    def _keep(self, normal: Tensor) -> None:
        """Fit a normal to the points on its hyperplane, and keep it if they are many, form a half-space, and it is new.

        The noise is equal in all directions in the coordinates U S, where total least squares is the best fit.
        """
        of = self.of
        for _ in range(FITS):
            zero = of.zero(normal)
            if not len(of.left) > int(zero.sum()) >= of.rank - 1 + SPARE:
                return
            normal = of.values * torch.linalg.svd(of.left[zero] * of.values).Vh[-1]
            normal = normal / normal.norm()
        zero = of.zero(normal)
        if int(zero.sum()) < of.rank - 1 + SPARE:
            return
        if len(self.normals) and float((self.normals @ normal).abs().max()) > 1 - APART**2:
            return
        half = halved(zero, self.whole)
        if half >= HALF:
            self.normals = torch.cat([self.normals, normal.unsqueeze(0)])
            self.halves.append(half)

    def _independent(self) -> list[int]:
        """Return the numbers of the first normals, by how well a half-space explains them, that are independent."""
        chosen, span = [], self.normals[:0]
        for at in sorted(range(len(self.halves)), key=lambda at: -self.halves[at]):
            rest = self.normals[at] - (self.normals[at] @ span.T) @ span
            rest = rest - (rest @ span.T) @ span
            if float(rest.norm()) > APART:
                chosen.append(at)
                span = torch.cat([span, (rest / rest.norm()).unsqueeze(0)])
            if len(chosen) == self.of.rank:
                break
        return chosen
