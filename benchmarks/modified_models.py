"""Models as malicious servers send them, built from the formulas of the papers: fixtures of tests and benchmarks.

They are not part of the installed package: gradaudit detects such models and ships none.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

SIDE, CHANNELS, CLASSES, BINS = 16, 3, 10, 128
CELLS = CHANNELS * SIDE * SIDE


class Imprint(nn.Module):
    """Robbing the Fed (Fowl et al., 2022): all units measure one linear function, and their biases are its quantiles.

    Args:
        cells: Entries of the example.
        bins: Number of units.
        vector: `[cells]`, the measurement.
        data: `[N, cells]`, from which mean and deviation of the measurement are taken.
        gain: Scale of the first weight.
    """

    def __init__(self, cells: int, bins: int, vector: Tensor, data: Tensor, gain: float = 1e-3) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(cells, bins), nn.Linear(bins, cells)
        measured = data @ vector
        grid = torch.special.ndtri((torch.arange(bins) + 0.5) / bins)
        with torch.no_grad():
            self.first.weight.copy_(gain * vector.expand(bins, -1))
            self.first.bias.copy_(-gain * (measured.mean() + measured.std() * grid))
            self.last.weight.fill_(1 / gain / bins)
            self.last.bias.zero_()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the sum of the active units in every entry."""
        return self.last(torch.relu(self.first(inputs)))


def honest_mlp(seed: int = 0) -> nn.Sequential:
    """Return a network with one hidden layer, as it is initialised."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(CELLS, BINS), nn.ReLU(), nn.Linear(BINS, CLASSES))


def honest_transformer(seed: int = 0) -> nn.Module:
    """Return a small Vision Transformer with adapters, as it is initialised."""
    torch.manual_seed(seed)
    return AdaptedTransformer()


class AdaptedTransformer(nn.Module):
    """Patches, one attention block and one adapter."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.patches = nn.Conv2d(CHANNELS, width, 4, 4)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.down, self.up = nn.Linear(width, width), nn.Linear(width, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits."""
        rows = self.patches(inputs).flatten(2).transpose(1, 2)
        rows = rows + self.attention(rows, rows, rows, need_weights=False)[0]
        rows = rows + self.up(torch.relu(self.down(rows)))
        return self.head(rows.mean(1))


class Local(nn.Module):
    """LOKI (Zhao et al., 2024): a convolution passes the image on in channels of one client, in front of an imprint."""

    def __init__(self, data: Tensor, clients: int = 3, mine: int = 1) -> None:
        super().__init__()
        self.split = nn.Conv2d(CHANNELS, clients * CHANNELS, 3, padding=1, bias=False)
        with torch.no_grad():
            self.split.weight.zero_()
            for channel in range(CHANNELS):
                self.split.weight[mine * CHANNELS + channel, channel, 1, 1] = 1
        vector = torch.full((clients * CELLS,), 1 / CELLS)
        entered = self.split(data.view(-1, CHANNELS, SIDE, SIDE)).flatten(1).detach()
        self.imprint = Imprint(clients * CELLS, BINS, vector, entered)
        self.head = nn.Linear(clients * CELLS, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits."""
        return self.head(self.imprint(self.split(inputs).flatten(1)))


def mean_imprint(data: Tensor, seed: int = 0) -> nn.Module:
    """Return an imprint of the mean in front of a linear head."""
    torch.manual_seed(seed)
    vector = torch.full((CELLS,), 1 / CELLS)
    return nn.Sequential(nn.Flatten(), Imprint(CELLS, BINS, vector, data.flatten(1)), nn.Linear(CELLS, CLASSES))


def random_imprint(data: Tensor, seed: int = 0) -> nn.Module:
    """Return an imprint of a random measurement in front of a linear head."""
    torch.manual_seed(seed)
    vector = torch.randn(CELLS) / CELLS**0.5
    return nn.Sequential(nn.Flatten(), Imprint(CELLS, BINS, vector, data.flatten(1)), nn.Linear(CELLS, CLASSES))


def loki(data: Tensor, seed: int = 0) -> nn.Module:
    """Return LOKI's model of one client."""
    torch.manual_seed(seed)
    return Local(data.flatten(1))


def peft_leak(data: Tensor, seed: int = 0) -> nn.Module:
    """Return a transformer whose adapter is an imprint (PEFTLeak, Sami et al., 2025): the attention is switched off."""
    model = honest_transformer(seed)
    with torch.no_grad():
        model.attention.out_proj.weight.zero_()
        model.attention.out_proj.bias.zero_()
        rows = model.patches(data).flatten(2).transpose(1, 2).flatten(0, 1)
        block = Imprint(rows.shape[1], rows.shape[1], torch.randn(rows.shape[1]) / 8, rows, gain=1.0)
        model.down.load_state_dict(block.first.state_dict())
        model.up.load_state_dict(block.last.state_dict())
    return model


def trap_weights(data: Tensor, seed: int = 0, factor: float = 0.95) -> nn.Module:
    """Return trap weights (Boenisch et al., 2023): a random half negative, the other half the same times `factor`."""
    model = honest_mlp(seed)
    half = CELLS // 2
    with torch.no_grad():
        for row in model[1].weight:
            size, order = 0.5 * torch.randn(half).abs(), torch.randperm(CELLS)
            row[order[:half]], row[order[half:]] = -size, factor * size
    return model


def fishing_head(data: Tensor, seed: int = 0, target: int = 3) -> nn.Module:
    """Return a class-fishing head (Wen et al., 2022): other rows are zero, their biases huge."""
    model = honest_mlp(seed)
    with torch.no_grad():
        kept = torch.arange(CLASSES) == target
        model[-1].weight[~kept] = 0
        model[-1].weight[kept] *= 0.5
        model[-1].bias[~kept] = 1000
    return model


def feature_fishing(data: Tensor, seed: int = 0, target: int = 3, feature: int = 5) -> nn.Module:
    """Return a feature-fishing head (Wen et al., 2022): one feature alone, times 300, decides on the target class."""
    model = honest_mlp(seed)
    with torch.no_grad():
        column = model[-1].weight[target, feature].clone()
        model[-1].weight.zero_()
        model[-1].weight[target, feature] = 300 * column
        model[-1].bias[torch.arange(CLASSES) != target] = 0
    return model


def decepticons(data: Tensor, seed: int = 0, skew: float = 1e8) -> nn.Module:
    """Return a first block as Decepticons sets it (Fowl et al., 2023): sparse queries, keys, values and a huge skew."""
    model = honest_transformer(seed)
    width = model.attention.embed_dim
    with torch.no_grad():
        weight, bias = model.attention.in_proj_weight, model.attention.in_proj_bias
        weight.zero_()
        bias.zero_()
        bias[:width] = skew * torch.randn(width)
        weight[width : 2 * width] = torch.eye(width)
        weight[2 * width : 2 * width + 6, :6] = torch.eye(6)
    return model


def quantile_biases(data: Tensor, seed: int = 0, batch: int = 8) -> nn.Module:
    """Return QBI (Nowak et al., 2024): usual weights, and biases so that each unit is active for 1 of `batch`."""
    model = honest_mlp(seed)
    with torch.no_grad():
        measured = data.flatten(1) @ model[1].weight.T
        model[1].bias.copy_(-measured.quantile(1 - 1 / batch, dim=0))
    return model


def inflated_class(data: Tensor, seed: int = 0, target: int = 3, by: float = 40.0) -> nn.Module:
    """Return a model whose loss is large for one class alone, in the form that Geminio trains (Shan et al., 2025).

    It fits the images, whose classes are their numbers modulo 10; then the logit of the target falls.
    """
    model = fitted(data, seed)
    with torch.no_grad():
        model[-1].bias[target] -= by
    return model


def fitted(data: Tensor, seed: int = 0) -> nn.Module:
    """Return a network that fits the images, whose classes are their numbers modulo 10."""
    model = honest_mlp(seed)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(data), torch.arange(len(data)) % CLASSES).backward()
        optimiser.step()
    return model


def suppressed(data: Tensor, seed: int = 0) -> nn.Module:
    """Return gradient suppression (Pasquini et al., 2022): biases in front of a ReLU that no example overcomes."""
    model = honest_mlp(seed)
    with torch.no_grad():
        model[1].bias.fill_(-100)
    return model


FIXTURES: dict[str, Callable[..., nn.Module]] = {
    "imprint, mean": mean_imprint,
    "imprint, random vector": random_imprint,
    "LOKI": loki,
    "PEFTLeak": peft_leak,
    "trap weights": trap_weights,
    "class fishing": fishing_head,
    "feature fishing": feature_fishing,
    "Decepticons": decepticons,
    "QBI-like biases": quantile_biases,
    "class-inflated loss": inflated_class,
    "gradient suppression": suppressed,
}
"""Name -> function of images `[N, 3, 16, 16]` and a seed."""


def before(name: str, data: Tensor, seed: int) -> nn.Module:
    """Return the honest model that a client of this fixture received in the round before."""
    if name == "class-inflated loss":
        return fitted(data, seed)
    return honest_transformer(seed) if name in ("PEFTLeak", "Decepticons") else honest_mlp(seed)


def changed(model: nn.Module, part: Callable[[str, Tensor], Tensor]) -> nn.Module:
    """Return a copy of a model whose parameters `part(name, value)` replaces."""
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for name, value in copied.named_parameters():
            value.copy_(part(name, value))
    return copied
