"""The words of a batch from the gradient of the embedding table, without a search (Melis et al., S&P 2019, 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ..inversion.attack import Watch
from ..inversion.network.gaps import widest_gap
from ..inversion.network.tokens import framed, padding_id, table_gradient, token_table
from ..inversion.parts.part import require_batch_size
from ..inversion.run.refusal import require_fit
from ..protocol.observation import Observation
from ..values.errors import AttackFailed
from ..values.types import Knowledge, Modality, Reconstruction
from ._demonstration import Demonstration


@dataclass(frozen=True)
class BagOfWords:
    """Tokens whose row of the embedding table has a gradient are in the batch.

    This is exact at any batch size, but does not reveal the order. If a defense leaves no row at zero, large rows are
    separated from small ones by the widest gap between their L2 norms. A row's gradient is a sum over the places of the
    token, so the remaining free positions go to the tokens with the largest rows. Padding has no gradient, because
    nothing attends to it.

    Args:
        name: Name in the table of attacks.
        paper: Reference of the method.
        clear: Smallest ratio of two neighbouring row norms that counts as a gap.
    """

    name: str = "bag-of-words"
    paper: str = "arXiv:1805.04049"
    clear: float = 3.0
    deviations: tuple[str, ...] = ("the tokens are laid out text by text, in a meaningless order",)
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE | Knowledge.EMBEDDING_GRADIENT
    modality: ClassVar[Modality] = Modality.TEXT

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Return the tokens, in a meaningless order.

        Raises:
            MissingKnowledge: The batch size or the gradient of the embedding table was not granted.
            AttackFailed: The data is not text, the update lacks the table, or all rows have a gradient of similar L2
                norm, for example if the table is also the output layer.
        """
        require_fit(self, seen.knowledge, seen.modality)
        table, gradient = token_table(seen), table_gradient(seen)
        if gradient is None:
            raise AttackFailed(f"{self.name}: the update contains no gradient of the embedding table.")
        frame = framed(seen, require_batch_size(seen, self))  # type: ignore[arg-type]
        lengths = gradient.double().norm(dim=1)
        found, note = self._present(lengths, int(frame.ids.numel()))
        framing = frame.ids[~frame.free].unique()
        words = found[~torch.isin(found, framing)] if seen.lengths is not None else found
        words = words[words != padding_id(seen)] if padding_id(seen) is not None else words
        inputs = _filled(frame.ids, frame.free, words, padding_id(seen))
        known = "" if seen.lengths is None else " beside those that frame every text"
        notes = (f"{len(words)} different tokens of {len(table)} are in the batch{known}; order unknown.", note)
        return Reconstruction(
            inputs=inputs,
            labels=seen.labels,
            objective=0.0,
            labels_granted=seen.labels is not None,
            notes=tuple(filter(None, notes)),
        )

    def _present(self, lengths: Tensor, places: int) -> tuple[Tensor, str]:
        """Return the tokens with a gradient, largest rows first, and a note if a gap had to separate them."""
        order, nonzero = lengths.argsort(descending=True), int((lengths > 0).sum())
        if not nonzero:
            raise AttackFailed(f"{self.name}: the gradient of the embedding table is zero.")
        if nonzero < len(lengths):
            return order[:nonzero], ""
        gap = widest_gap(lengths, most=min(places, len(lengths) - 1), descending=True)
        if gap.ratio < self.clear:
            raise AttackFailed(
                f"{self.name}: every row of the embedding table has a gradient, and no gap separates large rows from "
                f"small ones (at most a factor of {gap.ratio:.2f}): noise, or a table that is also the output layer."
            )
        return order[: gap.count], f"No row is zero; the {gap.count} largest are separated by a gap of {gap.ratio:.1f}."


def _filled(ids: Tensor, free: Tensor, words: Tensor, padding: int | None) -> Tensor:
    """Fill the free positions row by row: every token once, then the first ones again; padding if there are none."""
    inputs, places = ids.clone(), int(free.sum())
    if not len(words):
        words = torch.tensor([padding or 0], device=ids.device)
    inputs[free] = words.repeat(-(-places // len(words)))[:places]
    return inputs


ATTACK = BagOfWords()

DEMONSTRATION = Demonstration(ATTACK, network="tiny-gpt2", examples=4, measure="bag_of_tokens", least=0.5, seeded=False)
