"""Find the sparse columns of ∂L/∂Z in the gradient of a linear layer (SPEAR; Dimitrov et al., 2024, section 3).

∂L/∂W = ∂L/∂Z · Xᵀ of rank B has a singular value decomposition U S Vᵀ, so that ∂L/∂Z = U Q with an unknown invertible
Q. Every row of U is a point in ℝᴮ. A column of Q is the normal of a hyperplane through the origin that contains all
points whose ReLU is off for one example. Such a hyperplane is a local minimum of ‖U q‖₁ on the sphere.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...values.errors import AttackFailed

FIRST, LAST = 1.0, 1e-3  # floor of the weights at the first and the last step, in units of 1/√m
STEPS = 80  # reweighted steps from the first floor to the last
FINE = 12  # further steps, down to the noise
SIGMAS = 8.0  # multiple of the noise up to which an entry counts as zero
SLACK, WIDE = 100.0, 30.0  # where a gap between the entries of a column may begin, in tolerances, and its least ratio
FITS = 4  # alternations between a normal and the points on its hyperplane
SHARE = 0.1  # least share of rows by which the zeros of a column exceed those of an arbitrary hyperplane
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
        gap: Ratio of the singular values before and after the cut.
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

    def sizes(self, normal: Tensor) -> Tensor:
        """Return |U q| of one normal `[r]`, in units below which an entry counts as zero, `[m]`.

        The unit is `tolerance`, or a value inside a wide gap between the entries that begins not far above it: the
        normal itself has an error, too.
        """
        sizes = (self.columns(normal).abs() / self.tolerance(normal)).clamp_min(1e-3)
        ordered = sizes.sort().values
        ratios = ordered[1:] / ordered[:-1]
        ratios = torch.where(ordered[:-1] <= SLACK, ratios, 0)[self.rank - 1 :]
        at = int(ratios.argmax()) + self.rank - 1
        if float(ratios.max()) < WIDE:
            return sizes
        return sizes / (ordered[at] * ordered[at + 1]).sqrt()


def factors(gradient: Tensor, size: int | None, precision: float, clear: float) -> Factors:
    """Return the decomposition of a gradient, cut at the last clear gap between its singular values.

    Args:
        gradient: `[m, n]`, double precision.
        size: Number of examples, which the rank cannot exceed, or `None` if it is unknown.
        precision: Machine precision of the gradient.
        clear: Smallest ratio of two neighbouring singular values that counts as a gap.

    Raises:
        AttackFailed: The examples fill all dimensions, or there is no gap.
    """
    left, values, right = torch.linalg.svd(gradient, full_matrices=False)
    full = len(values)
    if size is not None and size >= full:
        raise AttackFailed(
            f"{size} examples fill all {full} dimensions of the first linear layer's gradient, so that it does not "
            "determine them. Audit a smaller batch, or a wider layer."
        )
    most = int(MOST * full) if size is None else size
    floor = precision * max(gradient.shape) ** 0.5 * values[0]
    raised = values.clamp_min(floor)
    ratios = raised[:-1] / raised[1:]
    found = (ratios[:most] >= clear).nonzero().flatten()
    if not len(found):
        raise AttackFailed(
            "the singular values of the first linear layer's gradient have no gap (at most a factor of "
            f"{float(ratios[:most].max()):.2f}): noise, a defense or weight decay fills all its dimensions, or the "
            "batch does."
        )
    rank = int(found[-1]) + 1
    rest = (left[:, rank:] * values[rank:]).square().sum(1) / (gradient.shape[1] - rank)
    noise = rest.maximum(rest.mean() / 4).sqrt()
    return Factors(left[:, :rank], values[:rank], right[:rank], noise, float(ratios[rank - 1]))


def reweighted(points: Tensor, normals: Tensor, floors: Tensor) -> Tensor:
    """Return local minima of ‖U q‖₁ on the sphere, by iteratively reweighted least squares.

    Each step weights the rows by 1 / max(|u · q|, floor) and takes two steps of inverse iteration towards the
    eigenvector of the smallest eigenvalue of Σ w u uᵀ.

    Args:
        points: U, `[m, r]`.
        normals: q at the start, `[K, r]`.
        floors: `[T, K, m]` or `[T, K, 1]`, one for each step.
    """
    for floor in floors:
        weights = (normals @ points.T).abs().maximum(floor).rsqrt()
        weighted = weights.unsqueeze(2) * points
        triangle = torch.linalg.cholesky_ex(weighted.mT @ weighted).L
        for _ in range(2):
            normals = torch.cholesky_solve(normals.unsqueeze(2), triangle).squeeze(2)
            normals = normals / normals.norm(dim=1, keepdim=True)
    return normals.nan_to_num()


class Hyperplanes:
    """The hyperplanes found so far, those with most points first.

    Args:
        of: The decomposition.
        generator: Draws the starts, on the CPU.
        together: K, the number of starts in one round.
    """

    def __init__(self, of: Factors, generator: torch.Generator, together: int) -> None:
        self.of, self.generator, self.together = of, generator, together
        self.normals = of.left.new_empty(0, of.rank)
        self.counts: list[int] = []
        self.starts = 0
        self.basis = self.normals

    def search(self) -> None:
        """Run one round of starts."""
        of, unit = self.of, len(self.of.left) ** -0.5
        floors = torch.logspace(0, 1, STEPS, base=LAST / FIRST, dtype=torch.float64, device=of.left.device)
        floors = (FIRST * unit * floors).view(-1, 1, 1).expand(-1, self.together, 1)
        normals = self._starts()
        normals = reweighted(of.left, normals, floors.maximum(of.tolerance(normals) / SIGMAS))
        near = (of.columns(normals).abs() < 10 * LAST * unit + of.tolerance(normals)).sum(1)
        normals = normals[near > of.rank]
        if len(normals):
            last = of.tolerance(normals).clamp_max(LAST * unit)
            fine = torch.linspace(0, 1, FINE, dtype=torch.float64, device=of.left.device).view(-1, 1, 1)
            normals = reweighted(of.left, normals, (LAST * unit) ** (1 - fine) * last**fine)
        for normal in normals:
            self._keep(normal)
        self.starts += self.together
        self.basis = self._independent()

    def _starts(self) -> Tensor:
        """Return random unit vectors; half of them lie outside the span of the normals with most points."""
        drawn = torch.randn(self.together, self.of.rank, generator=self.generator, dtype=torch.float64)
        drawn = drawn.to(self.normals)
        known = self.basis[: self.of.rank - max(1, self.of.rank // 8)]  # those with fewest points may be wrong
        if len(known):
            span = torch.linalg.qr(known.T).Q
            drawn[::2] -= (drawn[::2] @ span) @ span.T
            jitter = torch.randn(drawn[::4].shape, generator=self.generator, dtype=torch.float64).to(drawn)
            drawn[::4] += 0.3 * jitter * drawn[::4].norm(dim=1, keepdim=True) / self.of.rank**0.5
        return drawn / drawn.norm(dim=1, keepdim=True)

    def _keep(self, normal: Tensor) -> None:
        """Fit a normal to the points on its hyperplane, and keep it if these are many and it is new."""
        of = self.of
        for _ in range(FITS):
            zero = of.sizes(normal) < 1
            if int(zero.sum()) < of.rank:
                return
            # The noise is equal in all directions in the coordinates U S, where total least squares is the best fit.
            normal = of.values * torch.linalg.svd(of.left[zero] * of.values).Vh[-1]
            normal = normal / normal.norm()
        sizes = of.sizes(normal)
        count, by_chance = int((sizes < 1).sum()), int(((sizes >= 1) & (sizes < 3)).sum()) // 2
        if count - by_chance < of.rank + SHARE * len(of.left):
            return
        if len(self.normals) and float((self.normals @ normal).abs().max()) > 1 - APART**2:
            return
        self.normals = torch.cat([self.normals, normal.unsqueeze(0)])
        self.counts.append(count)

    def _independent(self) -> Tensor:
        """Return the first normals, by number of points, that are independent: `[k, r]`, k at most r."""
        chosen, span = [], self.normals[:0]
        for at in sorted(range(len(self.counts)), key=lambda at: -self.counts[at]):
            rest = self.normals[at] - (self.normals[at] @ span.T) @ span
            rest = rest - (rest @ span.T) @ span
            if float(rest.norm()) > APART:
                chosen.append(at)
                span = torch.cat([span, (rest / rest.norm()).unsqueeze(0)])
            if len(chosen) == self.of.rank:
                break
        return self.normals[chosen]
