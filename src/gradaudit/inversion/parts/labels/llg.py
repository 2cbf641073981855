"""LLG, LLG+ and LLG*: extract labels one by one from the row sums (Wainakh et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.types import Knowledge
from ..label_values import LabelInference, Labels
from ..part import require_batch_size
from ._counting import counted
from ._head import double_head, mean_head
from ._probe import Answers, ask, require_positive_masses


@dataclass(frozen=True)
class LabelLeakage(LabelInference):
    """LLG: labels extracted one by one from the row sums of the last layer's gradient.

    Every negative row sum is a label; then the class with the lowest one is, repeatedly, and its sum is raised by the
    impact of one label each time. Wainakh et al., arXiv:2105.09369, the shared-gradients scenario: with g_k = Σ_j
    ∂L/∂W_kj the impact of one label is m = (1 + 1/K) / B · Σ_{g_k < 0} g_k, and there is no offset. The rule is
    invariant to the size of the gradient, so a weight difference suffices. (The rule that benchmarks call
    "wainakh-simple" is this one.)

    Deviation: the rule is refused if features can sum to zero or less.
    """

    name: ClassVar[str] = "llg"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE

    def read(self, seen: Observation) -> Labels:
        """Return counts that sum to B."""
        size = require_batch_size(seen, self)
        sums = double_head(seen).sums
        require_positive_masses(seen)
        impact = (1 + 1 / len(sums)) / size * sums.clamp_max(0).sum()
        return _take(seen, sums, float(impact), torch.zeros_like(sums), size)


@dataclass(frozen=True)
class LabelLeakageStar(LabelInference):
    """LLG*: impact and offset are measured on random noise sent through the known model (the white-box scenario).

    Wainakh et al., arXiv:2105.09369. With all noise labelled c, g_c / B · (1 + 1/K), averaged over c, is the impact m
    of one label; with noise labelled anything but c, g_c is the offset that other examples add to class c.

    Deviation: the gradients of the K batches of noise follow in closed form from features h and probabilities p,
    g_c = mean (p_c - 1[y = c]) Σ_j h_j, on one batch of noise for all classes.

    Args:
        samples: Number of noise inputs, N(0, 1) in normalised space.
    """

    name: ClassVar[str] = "llg-star"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    samples: int = 64

    def read(self, seen: Observation) -> Labels:
        """Return counts that sum to B."""
        return _measured(self, seen, ask(seen, "noise", self.samples))


@dataclass(frozen=True)
class LabelLeakagePlus(LabelInference):
    """LLG+: LLG* with public images instead of noise (the scenario of auxiliary knowledge).

    Wainakh et al., arXiv:2105.09369. If the public images have labels, a class's impact is measured on its own images
    and its offset on those of other classes; otherwise every image stands for every class.

    Args:
        samples: Largest number of public images.
    """

    name: ClassVar[str] = "llg-plus"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE | Knowledge.PUBLIC_DATA
    samples: int = 512

    def read(self, seen: Observation) -> Labels:
        """Return counts that sum to B."""
        return _measured(self, seen, ask(seen, "public", self.samples))


def _measured(part: LabelInference, seen: Observation, answers: Answers) -> Labels:
    size = require_batch_size(seen, part)
    sums = mean_head(seen).sums
    require_positive_masses(seen, answers)
    impact, offsets = impact_and_offsets(answers, size)
    return _take(seen, sums, impact, offsets, size)


def impact_and_offsets(answers: Answers, batch_size: int) -> tuple[float, Tensor]:
    """Return the impact of one label on its row sum, and the offsets `[K]` that examples of other classes add."""
    probabilities, masses = answers.probabilities, answers.masses.unsqueeze(1)
    classes = probabilities.shape[1]
    own = torch.ones_like(probabilities)  # which images stand for which class, [n, K]
    other = torch.ones_like(probabilities)
    if answers.labels is not None:
        is_class = answers.labels.unsqueeze(1) == torch.arange(classes)
        own = torch.where(is_class.any(0), is_class, True).double()  # a class without images uses all of them
        other = torch.where(is_class.all(0), True, ~is_class).double()
    pulls = ((probabilities - 1) * masses * own).sum(0) / own.sum(0)
    offsets = (probabilities * masses * other).sum(0) / other.sum(0)
    return float(pulls.mean()) * (1 + 1 / classes) / batch_size, offsets


def _take(seen: Observation, sums: Tensor, impact: float, offsets: Tensor, size: int) -> Labels:
    """Return the labels after both stages of the extraction; `impact` is negative.

    The first stage compares sums before the offsets, the second after them.
    """
    if not impact < 0:
        return Labels(
            torch.empty(0, dtype=torch.long, device=seen.device), confidence=0.0, notes=("No row sum is negative.",)
        )
    counts = torch.zeros(len(sums), dtype=torch.long)
    sure = sums.argsort()[:size]
    counts[sure[sums[sure] < 0]] = 1
    left = sums - counts * impact - offsets
    for _ in range(size - int(counts.sum())):
        lowest = left.argmin()
        counts[lowest] += 1
        left[lowest] -= impact
    return counted(seen, counts, (sums - offsets) / impact)
