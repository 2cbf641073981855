"""A federation of clients that trains a model for some rounds: what is left of its accuracy under a defense."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..models.copying import private_copy
from ..protocol.defenses import ActsOn, Defense
from ..protocol.defenses._acting import acting_on
from ..protocol.local_training import batch_norm_mode, rules_of, weighted_mean
from ..values.chance import child_seed
from ..values.errors import AuditError
from ..values.types import Batch, Update
from .checking import NotFinite
from .defending import Memories
from .federation_settings import Federation, Partition
from .participant import Client

MOST_POINTS = 50  # evaluations of one training
EVALUATED = 250  # examples in one forward pass

Gather = Callable[[list[int]], Batch]
"""Returns the examples at some positions of the source."""


class RoundScore(NamedTuple):
    """The state of a federation after a round.

    Args:
        number: Number of the round; 0 is the model before the first one.
        accuracy: Accuracy on the held-out examples, in [0, 1].
        bits: Bits that a client has sent so far, the mean over the clients.
    """

    number: int
    accuracy: float
    bits: float


class Trained(NamedTuple):
    """What came out of a training.

    Args:
        scores: The evaluated rounds, the first with number 0.
        diverged: The round in which the model or an update stopped being finite, or `None`. The accuracy of the
            rounds from there on is that of the last finite model.
    """

    scores: tuple[RoundScore, ...]
    diverged: int | None = None


def train_federation(
    client: Client,
    gather: Gather,
    parts: Partition,
    federation: Federation,
    seed: int,
    watch: Callable[[int, int, float], None] | None = None,
    points: int = MOST_POINTS,
) -> Trained:
    """Train a model for some rounds, every client with the training and the defenses of `client`.

    In each round every client draws a batch of its own examples, trains and defends its update exactly as under an
    attack, and keeps what its defenses remember. The server subtracts the mean of the updates, weighted by the numbers
    of examples of the clients, times its step size. Buffers such as BatchNorm's statistics are averaged with the same
    weights, also if `share_buffers` hides them from an attacker. The batches depend on the seed alone, so that all
    defenses see the same ones.

    Args:
        client: The client whose model is the start; it is not changed.
        gather: Returns examples of the source, on the device of the model.
        parts: The examples of each client, and the held-out ones.
        federation: How the federation trains.
        seed: Seed of the batches, of local training and of the defenses.
        watch: Called with (finished rounds, rounds, error on the held-out examples).
        points: Largest number of rounds after which the model is evaluated; the last round always is.

    Raises:
        AuditError: The model cannot train on the examples, or the loss has no rule by which a prediction is correct.
    """
    member = replace(client, model=private_copy(client.model))
    rate, weights = federation.rate(member), [len(part) for part in parts.clients]
    memories: list[Memories] = [{} for _ in parts.clients]
    scores, spent = [RoundScore(0, accuracy(member, gather, parts.held_out), 0.0)], 0.0
    every = math.ceil(federation.rounds / points)
    for number in range(1, federation.rounds + 1):
        try:
            updates = _updates(member, gather, parts, federation, memories, child_seed(seed, f"round {number}"))
        except NotFinite:
            if number == 1:
                raise
            return _diverged(scores, number, federation)
        spent += sum(update_bits(client.defenses, update) for update in updates) / len(updates)
        before = [parameter.detach().clone() for parameter in member.model.parameters()]
        step(member.model, updates, weights, rate)
        if not all(torch.isfinite(parameter).all() for parameter in member.model.parameters()):
            _restore(member.model, before)
            return _diverged(scores, number, federation)
        if number % every == 0 or number == federation.rounds:
            scores.append(RoundScore(number, accuracy(member, gather, parts.held_out), spent))
        if watch:
            watch(number, federation.rounds, 1 - scores[-1].accuracy)
    return Trained(tuple(scores))


def step(model: nn.Module, updates: Sequence[Update], weights: Sequence[int], rate: float) -> None:
    """Change a model by one step of the server; parameters that no client shares stay as they are.

    A tensor that some clients do not send counts as zero there.

    Args:
        model: The global model.
        updates: The defended update of each client.
        weights: Numbers of examples of the clients.
        rate: Step size of the server.
    """
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    kept = [update.buffers for update in updates if update.buffers]
    total = sum(weights)
    with torch.no_grad():
        for weight, update in zip(weights, updates, strict=True):
            for name, tensor in update.tensors.items():
                parameters[name].sub_(rate * weight / total * tensor)
        if len(kept) == len(updates):
            found = weighted_mean([tuple(one.values()) for one in kept], weights)
            for name, mean in zip(kept[0], found, strict=True):
                buffers[name].copy_(mean)


def update_bits(defenses: Sequence[Defense], update: Update) -> float:
    """Return the bits of a defended update, as the last defense of the update states them."""
    acting = acting_on(defenses, ActsOn.UPDATE)
    return (acting[-1] if acting else Defense()).sent_bits(update)


def accuracy(client: Client, gather: Gather, positions: Tensor) -> float:
    """Return the mean accuracy of a client's model on examples of the source, in [0, 1].

    Raises:
        AuditError: The loss has no rule by which a prediction is correct.
    """
    found: list[Tensor] = []
    rules = rules_of(client.training.loss)
    for some in positions.split(EVALUATED):
        batch = gather(some.tolist())
        with torch.no_grad(), batch_norm_mode(client.model, "eval"):
            right = rules.correct(client.model(client._inputs(batch)), batch.labels)
        if right is None:
            raise AuditError(
                f"federation: no accuracy is defined under training.loss: {client.training.loss!r}. Choose a loss over "
                "classes, or remove federation."
            )
        found.append(right.cpu())
    return float(torch.cat(found).mean())


def contribution(
    member: Client, gather: Gather, own: Tensor, federation: Federation, memories: Memories, chance: int
) -> Update:
    """Return the defended update of one client in one round.

    Args:
        member: The client with the global model.
        gather: Returns examples of the source.
        own: Positions of all examples of the client.
        federation: The size of its batch.
        memories: What its defenses remember; it is written into.
        chance: Seed of the batch, of local training and of the defenses.
    """
    drawn = torch.randperm(len(own), generator=torch.Generator().manual_seed(chance))[: federation.batch_size]
    return member.contribute(gather(own[drawn].tolist()), seed=chance, memories=memories)


def _updates(
    member: Client, gather: Gather, parts: Partition, federation: Federation, memories: list[Memories], seed: int
) -> list[Update]:
    """Return the defended update of every client in one round."""
    updates = []
    for number, own in enumerate(parts.clients):
        chance = child_seed(seed, f"client {number}")
        updates.append(contribution(member, gather, own, federation, memories[number], chance))
    return updates


def _diverged(scores: list[RoundScore], number: int, federation: Federation) -> Trained:
    last = scores[-1]
    return Trained((*scores, RoundScore(federation.rounds, last.accuracy, last.bits)), number)


def _restore(model: nn.Module, values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.copy_(value)
