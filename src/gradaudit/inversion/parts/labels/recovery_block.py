"""AFGI's label recovery block, in two readings; the paper does not publish its design (Liu et al., 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge
from ..label_values import LabelInference, Labels
from ..part import require_batch_size
from ._counting import counted, round_to_total
from ._head import Head, mean_head
from ._probe import Answers, ask, require_nonnegative_features
from .ilrg import solve_counts

TOKENS = 4096  # simulated rows per training step


@dataclass(frozen=True)
class RecoveryBlock(LabelInference):
    """The classes whose row has a negative entry, with counts by iLRG's equations.

    This is our interpretation without public data: of AFGI's label recovery block (Liu et al., arXiv:2403.08383) only
    the purpose is published, to infer repeated labels from the last layer's gradient.
    """

    name: ClassVar[str] = "afgi"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE

    def read(self, seen: Observation) -> Labels:
        """Return counts that sum to B. Raise `AttackFailed` if the update has no bias or features can be negative."""
        size = require_batch_size(seen, self)
        head = mean_head(seen)
        bias = head.biases
        require_nonnegative_features(seen)
        counts, raw = solve_counts(seen, head, _present(head) & (bias != 0), size)
        return counted(seen, counts, raw, (RECONSTRUCTED,))


@dataclass(frozen=True)
class LearnedRecoveryBlock(LabelInference):
    """A block of 1x1 convolutions over the rows of the gradient, trained on updates that the adversary simulates.

    This is our interpretation: of AFGI's label recovery block (Liu et al., arXiv:2403.08383) only the name, a
    convolution block attached to the known model, and its purpose are published. Here every row of ∂L/∂W is a token of
    m channels that passes through convolution, ReLU and convolution to one number, n_k / B. Training batches are public
    images with random labels, of random evenness; the loss is the mean squared error of the shares.

    Args:
        pictures: Largest number of public images.
        width: Channels between the two convolutions.
        steps: Number of steps of Adam.
        lr: Learning rate of Adam.
    """

    name: ClassVar[str] = "afgi-learned"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE | Knowledge.PUBLIC_DATA
    pictures: int = 256
    width: int = 64
    steps: int = 200
    lr: float = 3e-3

    def read(self, seen: Observation) -> Labels:
        """Return counts that sum to B. Raise `AttackFailed` if the public images have no features but zero."""
        size = require_batch_size(seen, self)
        observed = mean_head(seen).weight
        answers = ask(seen, "public", self.pictures)
        scale = answers.features.square().mean().sqrt()
        if not scale > 0:
            raise AttackFailed("the features of the public images are all zero: all units are inactive.")
        block = self.train(answers, size, scale)
        with torch.no_grad():
            shares = block((observed / scale).float()).squeeze(1).double()
        raw = shares * size
        return counted(seen, round_to_total(raw, size), raw, (RECONSTRUCTED,))

    def train(self, answers: Answers, size: int, scale: Tensor) -> nn.Module:
        """Return the trained block `[..., m] -> [..., 1]`; a 1x1 convolution over tokens is a linear layer on each."""
        features = answers.features.shape[1]
        block = nn.Sequential(nn.Linear(features, self.width), nn.ReLU(), nn.Linear(self.width, 1))
        optimiser = torch.optim.Adam(block.parameters(), self.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        batches = max(1, min(16, TOKENS // answers.probabilities.shape[1]))
        for _ in range(self.steps):
            gradients, shares = simulate(answers, size, batches)
            with torch.enable_grad():
                loss = (block((gradients / scale).float()).squeeze(2) - shares.float()).square().mean()
                optimiser.zero_grad()
                loss.backward()
            optimiser.step()
            schedule.step()
        return block


def simulate(answers: Answers, size: int, batches: int) -> tuple[Tensor, Tensor]:
    """Return gradients `[T, K, m]` of random batches of public images, and the shares of their labels `[T, K]`.

    Labels are drawn from class shares that are themselves random: a Dirichlet draw of concentration 0.1 to 10.
    """
    chosen = torch.randint(len(answers.features), (batches, size))
    p, h = answers.probabilities[chosen], answers.features[chosen]
    classes = p.shape[2]
    evenness = 10 ** (2 * torch.rand(batches, 1) - 1)
    weights = torch.distributions.Gamma(evenness.expand(batches, classes), 1.0).sample() + 1e-6
    y = nn.functional.one_hot(torch.multinomial(weights, size, replacement=True), classes).double()
    return (p - y).transpose(1, 2) @ h / size, y.mean(1)


def _present(head: Head) -> Tensor:
    lowest = head.weight.min(1).values
    if not (lowest < 0).any():
        raise AttackFailed("no row of the last layer's gradient has a negative entry, so no class looks present.")
    return lowest < 0


RECONSTRUCTED = "The paper does not publish its label recovery block; this is our interpretation."
