"""Embeddings of words have similar L2 norms (LAMP; Balunović et al., 2022, section 4.2)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ....protocol.observation import Observation
from ....values.types import Modality
from ...network.tokens import mean_length, padding_id, token_table
from ..part import Prior, Progress


@dataclass(frozen=True)
class EmbeddingLength(Prior):
    """The squared distance of the mean L2 norm of the tokens' embeddings from a target.

    It is (mean over the tokens of ||embedding|| - target)². Padding is not counted; the paper has none.

    Args:
        target: L2 norm of a word's embedding; the mean over the model's own table by default (1.4 in the paper, the
            mean over BERT's).
    """

    modality: ClassVar[Modality] = Modality.TEXT
    target: float | None = None

    def bind(self, seen: Observation) -> Callable[[Tensor, Progress], Tensor]:
        """Return the penalty on `[B, L, d]`. Raise `AttackFailed` if the data is not text."""
        table, padding = token_table(seen), padding_id(seen)
        target = float(mean_length(table)) if self.target is None else self.target

        def penalty(inputs: Tensor, at: Progress) -> Tensor:
            words = inputs.flatten(0, 1)
            if padding is not None:
                words = words[(words.detach() != table[padding]).any(1)]
            return (words.norm(dim=1).mean() - target).square()

        return penalty
