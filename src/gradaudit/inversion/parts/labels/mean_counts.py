"""The closed form of a class's count, from its gradient and its mean probability.

Geng et al., "Towards general deep leakage in federated learning", arXiv:2110.09074; for several local steps Dimitrov
et al., "Data leakage in federated averaging", arXiv:2206.12395.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge
from ..label_values import LabelInference, Labels
from ..part import require_batch_size
from ._counting import counted, round_to_total
from ._head import local_steps, mean_head
from ._probe import Answers, Inputs, ask

Between = Literal["average", "start", "end"]


@dataclass(frozen=True)
class WeightCounts(LabelInference):
    """Counts in closed form from the row sums of the weight's gradient, as published.

    n_k = B · (p̄_k - Σ_j ∂L/∂W_kj / Ō), where p̄ are mean probabilities and Ō is the mean sum of the features (Geng et
    al., arXiv:2110.09074). After T local steps (Dimitrov et al., arXiv:2206.12395) the gradient is the mean one, and p̄
    and Ō are interpolated linearly between the model before and after the training.

    Deviation: rounding moves to the nearest point whose entries are not negative and sum to B, then uses largest
    remainders, whereas the authors' code clips and corrects the sum.

    Args:
        inputs: Inputs on which p̄ and Ō are measured: noise, public images, or `"auto"`, public images if any.
        samples: Number of inputs.
        between: After several steps: the mean of both ends, the start or the end alone.
    """

    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    inputs: Inputs = "auto"
    samples: int = 64
    between: Between = "average"

    def read(self, seen: Observation) -> Labels:
        """Return counts that sum to B. Raise `AttackFailed` if sums of features change their sign between inputs."""
        size = require_batch_size(seen, self)
        sums = mean_head(seen).sums
        found = expectation(seen, self.inputs, self.samples, self.between)
        p, masses = found.probabilities.mean(0), found.masses
        if not (masses > 0).all() and not (masses < 0).all():
            raise AttackFailed(
                "the features before the last layer have sums of both signs in this model, so row sums do not "
                "determine the counts. Choose bias-counts or ilrg."
            )
        return _counts(seen, size * (p - sums / masses.mean()), size)


@dataclass(frozen=True)
class BiasCounts(LabelInference):
    """Counts in closed form from the bias gradient and estimated mean probabilities.

    n_k = B · (p̄_k - ∂L/∂b_k) is exact if p̄, the batch's mean probabilities, is exact; here p̄ is estimated. This is
    the form of Geng et al., arXiv:2110.09074, applied to the bias: it needs no features, not even their sign.

    Deviation: the papers use the weight's row sums; using the bias is our choice, which works on more networks.

    Args:
        inputs: Inputs on which p̄ is measured: noise, public images, or `"auto"`, public images if there are any.
        samples: Number of inputs.
        between: After several steps: the mean of both ends, the start or the end alone.
    """

    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    inputs: Inputs = "auto"
    samples: int = 64
    between: Between = "average"

    def read(self, seen: Observation) -> Labels:
        """Return counts that sum to B. Raise `AttackFailed` if the update has no bias."""
        size = require_batch_size(seen, self)
        bias = mean_head(seen).biases
        p = expectation(seen, self.inputs, self.samples, self.between).probabilities.mean(0)
        return _counts(seen, size * (p - bias), size)


def expectation(seen: Observation, inputs: Inputs, samples: int, between: Between) -> Answers:
    """Return the answers to the same inputs in the middle of the client's local steps."""
    if local_steps(seen) == 1 or between == "start":
        return ask(seen, inputs, samples)
    end = ask(seen, inputs, samples, end=True)
    if between == "end":
        return end
    start = ask(seen, inputs, samples)
    # Steps t = 0 … T-1 leave from models t/T of the way, which averages to (T-1) / 2T.
    way = (local_steps(seen) - 1) / (2 * local_steps(seen))
    return start.lerp(end, way)


def _counts(seen: Observation, raw: Tensor, size: int) -> Labels:
    return counted(seen, round_to_total(raw, size), raw)
