"""Join what a server sees of one batch in several rounds, so that an attack matches all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ....models.copying import private_copy
from ....protocol.local_training import require_inferable
from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge, LossFunction, Update

HIDDEN = Knowledge.LOCAL_TRAINING | Knowledge.DEFENSE | Knowledge.BATCH_STATISTICS
"""Facts about a single round that do not apply to several rounds together."""


class Rounds(nn.Module):
    """The models of R rounds side by side: `[B, ...]` -> logits `[B, K, R]`.

    Args:
        models: The models that the server sent, one per round.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.rounds = nn.ModuleList(models)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of every model, `[B, K, R]`."""
        return torch.stack([model(inputs) for model in self.rounds], -1)


@dataclass(frozen=True)
class RoundsLoss:
    """The sum of the rounds' losses; its gradient contains the gradient of every round, model by model.

    Args:
        loss: Loss of one round, `(logits [B, K], labels) -> scalar`.
    """

    loss: LossFunction

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of `[B, K, R]` logits."""
        return torch.stack([self.loss(of_round, labels) for of_round in logits.unbind(-1)]).sum()


def joined(seen: Sequence[Observation]) -> Observation:
    """Return one observation that joins the updates of one batch in several rounds (AGIC; Xu et al., arXiv:2204.13784).

    Its model is `Rounds` and its update contains the tensors of all rounds, so that an attack that treats an update as
    one gradient matches all of them at once; `PerRound` weighs the rounds equally whatever their L2 norms. The rounds'
    local training, defenses and batch statistics are omitted.

    Args:
        seen: One observation per round, of the same examples in the same order, each with all layers shared.

    Returns:
        The observation; its labels and public facts are those of the first round.

    Raises:
        AttackFailed: There is no round, the rounds are not of one batch, or a round shares only some layers.
    """
    if not seen:
        raise AttackFailed("joined: needs at least one observation.")
    require_inferable(seen[0].loss)  # the loss of all rounds takes logits of classes
    first = seen[0]
    for one in seen:
        facts = zip(_facts(one), _facts(first), strict=True)
        if any(mine != theirs for mine, theirs in facts) or not _same(one.labels, first.labels):
            raise AttackFailed("joined: rounds must be of one batch, one loss and one kind of update.")
        if list(one.update.tensors) != [name for name, p in one.model.named_parameters() if p.requires_grad]:
            raise AttackFailed("joined: every round must share all its layers.")
    tensors = {
        f"rounds.{number}.{name}": tensor
        for number, one in enumerate(seen)
        for name, tensor in one.update.tensors.items()
    }
    return replace(
        first,
        model=Rounds([private_copy(one.model) for one in seen]),
        update=Update(tensors, first.update.kind, examples=first.update.examples),
        loss=RoundsLoss(first.loss),
        knowledge=first.knowledge & ~HIDDEN,
        training=None,
        defenses=None,
        batch_statistics=None,
    )


def round_slices(seen: Observation) -> list[slice]:
    """Return the slice of the update's tensors that belongs to each round; the whole update if there is one round."""
    if not isinstance(seen.model, Rounds):
        return [slice(None)]
    found, start = [], 0
    for model in seen.model.rounds:
        count = sum(parameter.requires_grad for parameter in model.parameters())
        found.append(slice(start, start + count))
        start += count
    return found


def _facts(seen: Observation) -> tuple[object, ...]:
    return seen.input_shape, seen.normalisation, seen.loss, seen.batch_norm, seen.batch_size, seen.update.kind


def _same(mine: Tensor | None, theirs: Tensor | None) -> bool:
    return mine is theirs or (mine is not None and theirs is not None and torch.equal(mine, theirs))
