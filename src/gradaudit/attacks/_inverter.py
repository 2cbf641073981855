"""The regressor of Learning to Invert: a hashed update in, a batch of images out (Wu et al., 2023)."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

FARTHEST = 10.0  # standard deviations at which a feature is cut off


class Inverter(nn.Module):
    """A network from updates to batches: feature hashing, standardisation, three linear layers, a sigmoid.

    Args:
        entries: m, the number of entries of an update.
        shape: `(B, C, H, W)`, the shape of a batch.
        width: Units of both hidden layers.
        hashing: Number of features over that of entries, in (0, 1]; 1 is no hashing.
        standardise: Whether features are standardised by their mean and deviation over all updates so far.
    """

    bins: Tensor | None
    mean: Tensor
    spread: Tensor
    count: Tensor

    def __init__(
        self, entries: int, shape: tuple[int, ...], width: int, hashing: float = 1.0, standardise: bool = True
    ) -> None:
        super().__init__()
        features = max(1, round(hashing * entries))
        self.shape, self.features, self.standardise = tuple(shape), features, standardise
        self.register_buffer("bins", torch.randint(features, (entries,)) if features < entries else None)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("spread", torch.zeros(features))  # the sum of squared deviations
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        outputs = torch.Size(shape).numel()
        self.layers = nn.Sequential(
            nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
        )

    def hashed(self, updates: Tensor) -> Tensor:
        """Return features `[n, m']` of updates `[n, m]`: the sum of all entries that share a bin."""
        updates = updates.to(self.mean)
        return updates if self.bins is None else _summed(updates, self.bins, self.features)

    @torch.no_grad()
    def notice(self, features: Tensor) -> None:
        """Add features `[n, m']` to the mean and the deviation by which features are standardised."""
        mean, count = features.mean(0), len(features)
        total = self.count + count
        gap = mean - self.mean
        self.spread += (features - mean).square().sum(0) + gap.square() * self.count * count / total
        self.mean += gap * count / total
        self.count += count

    def forward(self, features: Tensor) -> Tensor:
        """Return images `[n, B, C, H, W]` in [0, 1] of features `[n, m']`."""
        if self.standardise:
            deviation = (self.spread / self.count.clamp_min(1)).sqrt()
            scale = torch.where(deviation > 0, 1 / deviation, torch.zeros_like(deviation))
            features = ((features - self.mean) * scale).clamp(-FARTHEST, FARTHEST)
        found: Tensor = self.layers(features).sigmoid().unflatten(1, self.shape)
        return found


def _summed(updates: Tensor, bins: Tensor, count: int) -> Tensor:
    return updates.new_zeros(len(updates), count).index_add_(1, bins, updates)


def matched_error(guess: Tensor, truth: Tensor) -> Tensor:
    """Return the mean squared error under the best order of each batch, which a gradient does not determine.

    Args:
        guess: `[n, B, ...]`, with its graph.
        truth: `[n, B, ...]`.
    """
    if guess.shape[1] > 1:
        truth = torch.stack([_ordered(*pair) for pair in zip(guess.detach(), truth, strict=True)])
    return (guess - truth).square().mean()


def _ordered(guess: Tensor, truth: Tensor) -> Tensor:
    """Return the images of `truth` in the order in which their total squared error to `guess` is least."""
    costs = torch.cdist(guess.flatten(1), truth.flatten(1)).square()
    _, columns = linear_sum_assignment(costs.cpu().numpy())
    return truth[torch.as_tensor(columns, device=truth.device)]
