"""How a federation trains: its numbers, the step size of its server, and which examples each client has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..values.errors import AuditError
from ..values.types import UpdateKind
from .participant import Client

GRADIENT_RATE = 0.1  # step size of the server for the gradients of FedSGD
DRAWS = 100  # of a Dirichlet partition until every client has an example


@dataclass(frozen=True)
class Federation:
    """How a federation trains; FedAvg, or FedSGD with minibatches (McMahan et al., 2017, arXiv:1602.05629).

    Args:
        clients: Number of clients, all of which take part in every round.
        rounds: Number of rounds.
        batch_size: Examples that a client draws anew in each round; all of its examples if it has fewer.
        examples: Training examples of all clients together.
        test_examples: Held-out examples, on which no client trains.
        server_rate: The server subtracts this times the weighted mean of the updates. A number, or name of a defense
            -> number; by default, and for other defenses, `usual_rate`.
        alpha: Concentration of a Dirichlet partition by class (Hsu et al., 2019, arXiv:1909.06335): the smaller, the
            fewer classes a client has. `None` deals the examples evenly.
    """

    clients: int = 4
    rounds: int = 20
    batch_size: int = 32
    examples: int = 2000
    test_examples: int = 1000
    server_rate: float | Mapping[str, float] | None = None
    alpha: float | None = None

    def rate(self, client: Client) -> float:
        """Return the step size of the server for the updates of a client."""
        if self.server_rate is None:
            return usual_rate(client, self.batch_size)
        if isinstance(self.server_rate, Mapping):
            named = [self.server_rate[one.name] for one in client.defenses if one.name in self.server_rate]
            return named[-1] if named else usual_rate(client, self.batch_size)
        return self.server_rate


class Partition(NamedTuple):
    """Positions in the source: the examples of each client, and the held-out ones."""

    clients: tuple[Tensor, ...]
    held_out: Tensor


def usual_rate(client: Client, examples: int) -> float:
    """Return the step size of the server where none is given.

    It is the `server_rate` of the last defense that has one. Otherwise it is 1 for weight differences (FedAvg), the
    local learning rate times the number of local steps for mean steps, and 0.1 for the gradients of FedSGD.
    """
    own = [defense.server_rate for defense in client.defenses if defense.server_rate is not None]
    if own:
        return own[-1]
    training = client.training
    if training.kind is UpdateKind.WEIGHT_DIFFERENCE:
        return 1.0
    return GRADIENT_RATE if training.learning_rate is None else training.learning_rate * training.steps(examples)


def partition(count: int, labels: Tensor | None, federation: Federation, seed: int) -> Partition:
    """Return which examples of a source each client has, and which are held out.

    Args:
        count: Number of examples of the source.
        labels: `[count]` classes, which a Dirichlet partition needs.
        federation: Its numbers of examples.
        seed: Seed of the draw.

    Raises:
        AuditError: The source has too few examples, or a client would have none.
    """
    wanted = federation.examples + federation.test_examples
    if wanted > count:
        raise AuditError(
            f"federation: needs {wanted} examples, {federation.examples} to train on and {federation.test_examples} "
            f"held out. The data has {count}. Lower federation.examples or federation.test_examples."
        )
    if federation.examples < federation.clients:
        raise AuditError(
            f"federation.examples: {federation.examples} are fewer than the {federation.clients} clients. Raise it."
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held_out, mine = order[: federation.test_examples], order[federation.test_examples : wanted]
    if federation.alpha is None:
        return Partition(mine.tensor_split(federation.clients), held_out)
    if labels is None or labels.ndim != 1 or labels.is_floating_point():
        raise AuditError("federation.alpha: divides the examples by class, but the labels are not classes. Remove it.")
    return Partition(_by_class(mine, labels[mine], federation.clients, federation.alpha, seed), held_out)


def _by_class(mine: Tensor, labels: Tensor, clients: int, alpha: float, seed: int) -> tuple[Tensor, ...]:
    """Return the examples of each client, where each class is divided in proportions from a Dirichlet distribution."""
    generator = np.random.default_rng(seed)
    classes = [mine[labels == label] for label in labels.unique()]
    for _ in range(DRAWS):
        dealt: list[list[Tensor]] = [[] for _ in range(clients)]
        for members in classes:
            shares = generator.dirichlet([alpha] * clients)
            ends = [round(end) for end in (shares.cumsum()[:-1] * len(members)).tolist()]
            for pile, part in zip(dealt, members.tensor_split(ends), strict=True):
                pile.append(part)
        parts = tuple(torch.cat(pile) for pile in dealt)
        if min(map(len, parts)):
            return parts
    raise AuditError(
        f"federation.alpha: {alpha:g} leaves a client without examples. Raise it, or lower federation.clients."
    )
