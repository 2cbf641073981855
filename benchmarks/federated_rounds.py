"""Honest rounds for `benchmarks.detectors`: what clients of a small federation receive, with a batch of their own."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gradaudit.models import build

CLIENTS, EACH, ROUNDS, RATE = 5, 160, 6, 0.05


class Round(NamedTuple):
    """What one client received in one round.

    Args:
        name: Network, split and seed.
        number: Number of the round, from 1; round 1 is the first with a round before.
        model: The model of this round.
        before: That of the round before.
        inputs: Eight examples of the client.
        labels: Their labels.
    """

    name: str
    number: int
    model: nn.Module
    before: nn.Module
    inputs: Tensor
    labels: Tensor


def rounds(images: Tensor, labels: Tensor, network: str, split: str, seed: int) -> Iterator[Round]:
    """Yield what every client receives in every round of FedAvg (one local epoch, batches of 16, SGD).

    Args:
        images: `[N, 3, 32, 32]`, normalised.
        labels: `[N]`.
        network: Name of a network.
        split: `"even"`, or `"two classes"` for each client.
        seed: Seed of the network, the split and the order.
    """
    torch.manual_seed(seed)
    model = build(network, num_classes=10, channels=3, size=32)
    shares = _split(labels, split)
    before = None
    for number in range(ROUNDS):
        for mine in shares if before is not None else ():
            some = mine[torch.randperm(len(mine))[:8]]
            yield Round(f"{network}, {split}, seed {seed}", number, model, before, images[some], labels[some])
        sent = [_trained(model, images[mine], labels[mine]) for mine in shares]
        before, model = model, copy.deepcopy(model)
        states = [one.state_dict() for one in sent]
        model.load_state_dict({name: torch.stack([s[name].float() for s in states]).mean(0) for name in states[0]})


def _split(labels: Tensor, split: str) -> list[Tensor]:
    if split == "even":
        return list(torch.randperm(len(labels))[: CLIENTS * EACH].view(CLIENTS, EACH))
    classes = torch.randperm(10).view(CLIENTS, -1)
    owned = [torch.nonzero(torch.isin(labels, pair)).view(-1) for pair in classes]
    return [one[torch.randperm(len(one))[:EACH]] for one in owned]


def _trained(model: nn.Module, images: Tensor, labels: Tensor) -> nn.Module:
    model = copy.deepcopy(model).train()
    optimiser = torch.optim.SGD(model.parameters(), RATE)
    for part in torch.randperm(len(labels)).split(16):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images[part]), labels[part]).backward()
        optimiser.step()
    return model.eval()
