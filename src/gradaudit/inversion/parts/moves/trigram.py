"""A trigram language model: counts of which word follows which two in public text (Witten & Bell, 1991)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge, Modality
from ...network.tokens import padding_id, token_table
from ..part import Part

ORDER = 3
WIDEST = 1 << 20  # largest vocabulary whose trigrams fit into an integer


@dataclass(frozen=True)
class Trigram(Part):
    """An interpolated trigram model of the public sequences: tokens `[..., L]` -> `[...]`, nats per token.

    Bound to an observation it counts n-grams of the public text. The probability of a word w after a history h is
    (c(h w) + T(h) p(w | shorter h)) / (c(h) + T(h)), with T(h) the number of different words seen after h; the shortest
    history is uniform over the vocabulary. Nothing is trained.
    """

    needs: ClassVar[Knowledge] = Knowledge.PUBLIC_DATA
    modality: ClassVar[Modality] = Modality.TEXT

    def bind(self, seen: Observation) -> "NGrams":
        """Return the counts of `seen.public_data`. Raise `AttackFailed` if no public text was given."""
        if seen.public_data is None:
            raise AttackFailed(f"{self!r} counts words in public text, but none was given. Give the audit public data.")
        return NGrams(seen.public_data, len(token_table(seen)), padding_id(seen))


class NGrams:
    """Counts of all n-grams of up to three tokens.

    Args:
        texts: `[N, L]` token ids, padding after the text.
        vocabulary: V, at most 2^20.
        pad_id: The padding token, if any.
    """

    def __init__(self, texts: Tensor, vocabulary: int, pad_id: int | None) -> None:
        if vocabulary > WIDEST:
            raise AttackFailed(f"Trigram: counts at most {WIDEST} different tokens. Found {vocabulary}.")
        self.vocabulary, self.pad_id = vocabulary, pad_id
        self.levels = [_CountLevel(*self._grams(texts, order), vocabulary) for order in range(1, ORDER + 1)]

    def __call__(self, tokens: Tensor) -> Tensor:
        """Return the mean negative log-likelihood per token that is not padding, in nats.

        Args:
            tokens: `[..., L]`.
        """
        flat = tokens.reshape(-1, tokens.shape[-1])
        likelihood = torch.full(flat.shape, 1 / self.vocabulary, dtype=torch.double, device=flat.device)
        for order, level in enumerate(self.levels, start=1):
            histories, words = self._split(flat, order)
            tail = likelihood[:, order - 1 :]
            likelihood = torch.cat([likelihood[:, : order - 1], level.mixed(histories, words, tail)], 1)
        present = self._present(flat)
        surprise = torch.where(present, -likelihood.log(), 0.0).sum(1) / present.sum(1).clamp_min(1)
        return surprise.view(tokens.shape[:-1])

    def _grams(self, texts: Tensor, order: int) -> tuple[Tensor, Tensor]:
        """Return the histories and the words after them, without those that reach into padding."""
        histories, words = self._split(texts, order)
        whole = self._present(texts)[:, order - 1 :]
        return histories[whole], words[whole]

    def _split(self, texts: Tensor, order: int) -> tuple[Tensor, Tensor]:
        """Return each history as one number, and the word after it, both `[N, L - order + 1]`."""
        length = texts.shape[1] - order + 1
        history = torch.zeros(len(texts), max(0, length), dtype=torch.long, device=texts.device)
        for place in range(order - 1):
            history = history * self.vocabulary + texts[:, place : place + length]
        return history, texts[:, order - 1 :]

    def _present(self, texts: Tensor) -> Tensor:
        return torch.ones_like(texts, dtype=torch.bool) if self.pad_id is None else texts != self.pad_id


class _CountLevel:
    """The counts of one n-gram order."""

    def __init__(self, histories: Tensor, words: Tensor, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        self.grams, self.times = (histories * vocabulary + words).unique(return_counts=True)
        before = self.grams // vocabulary
        self.histories, places = before.unique(return_inverse=True)
        self.kinds = torch.bincount(places, minlength=len(self.histories))
        self.totals = torch.zeros_like(self.kinds).index_add_(0, places, self.times)

    def mixed(self, histories: Tensor, words: Tensor, shorter: Tensor) -> Tensor:
        """Return the probabilities of this order, interpolated with those of the next lower order."""
        times = _looked_up(self.grams, self.times, histories * self.vocabulary + words)
        totals = _looked_up(self.histories, self.totals, histories)
        kinds = _looked_up(self.histories, self.kinds, histories)
        return torch.where(totals > 0, (times + kinds * shorter) / (totals + kinds).clamp_min(1), shorter)


def _looked_up(keys: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """Return the value of each wanted key, 0 if it is missing; `keys` are ascending."""
    if not len(keys):
        return torch.zeros_like(wanted)
    at = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
    return torch.where(keys[at] == wanted, values[at], 0)
