"""Word vectors learnt from the sentences of a data set, and the conversion of sentences to model inputs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn.functional import normalize

from ..values.errors import AuditError
from ..values.types import Normalisation

WINDOW = 5  # number of words on each side that count as neighbours
OWN = 0.3  # scale of the random part of a vector relative to the learnt part


def words_of(sentence: str) -> list[str]:
    """Return the lower-cased runs of letters in a sentence."""
    return re.findall(r"[a-z]+", sentence.lower())


@dataclass(frozen=True, eq=False)
class WordVectors:
    """A public table of word vectors.

    Args:
        words: The V words, all different.
        table: `[V, width]`; each row has mean square 1.
    """

    words: tuple[str, ...]
    table: Tensor

    @cached_property
    def number(self) -> dict[str, int]:
        """Word -> row."""
        return {word: row for row, word in enumerate(self.words)}

    @cached_property
    def normalisation(self) -> Normalisation:
        """The normalisation from inputs of a `Batch`, in [0, 1], to the vectors."""
        return Normalisation((0.5,), (0.5 / float(self.table.abs().max()),))

    def rows(self, sentence: str) -> Tensor:
        """Return the rows of a sentence, `[L]` integers. Raise `AuditError` for an unknown word."""
        found = words_of(sentence)
        unknown = [word for word in found if word not in self.number]
        if unknown:
            raise AuditError(f"word vectors: the table of {len(self.words)} words has no {unknown[0]!r}.")
        return torch.tensor([self.number[word] for word in found])

    def encode(self, rows: Tensor) -> Tensor:
        """Return rows `[B, L]` as inputs `[B, 1, L, width]` in [0, 1]."""
        return self.normalisation.invert(self.table[rows].unsqueeze(1)).clamp(0, 1)

    def decode(self, inputs: Tensor) -> Tensor:
        """Return inputs `[B, 1, L, width]` as rows `[B, L]` of the nearest words by cosine similarity."""
        vectors = self.normalisation.apply(inputs.float())[:, 0].nan_to_num()
        return (normalize(vectors, dim=-1) @ normalize(self.table, dim=-1).T).argmax(-1)

    def sentence(self, rows: Tensor) -> str:
        """Return the words of rows `[L]`."""
        return " ".join(self.words[row] for row in rows.tolist())


def learn_word_vectors(needed: Iterable[str], corpus: Iterable[str] = (), width: int = 100) -> WordVectors:
    """Learn vectors by a truncated SVD of positive pointwise mutual information (Levy & Goldberg, NeurIPS 2014).

    Two words are neighbours within five words of one sentence. A fixed random vector of root mean square 0.3 is added
    to each learnt row of mean square 1; otherwise words with identical contexts, such as rare class names, would share
    one vector. With fewer words than `width`, the remaining numbers are random.

    Args:
        needed: Sentences; all of their words get a vector.
        corpus: Further text; its words get a vector if they occur at least five times.
        width: Length of a vector.

    Returns:
        The table, which is the same on every call.
    """
    from sklearn.decomposition import TruncatedSVD  # slow to import

    own = [words_of(sentence) for sentence in needed]
    others = [words_of(line) for line in corpus]
    counts = Counter(word for line in others for word in line)
    words = sorted({word for line in own for word in line} | {word for word, count in counts.items() if count >= 5})
    if len(words) < 3:
        raise AuditError(f"word vectors: needs sentences of at least 3 different words. Found {len(words)}.")
    information = _positive_information([*own, *others], {word: row for row, word in enumerate(words)})
    kept = min(width, len(words) - 1)
    svd = TruncatedSVD(kept, random_state=0).fit_transform(information)
    learnt = torch.zeros(len(words), width)
    learnt[:, :kept] = torch.from_numpy(np.ascontiguousarray(svd)).float()
    noise = torch.randn(len(words), width, generator=torch.Generator().manual_seed(0))
    table = normalize(learnt, dim=1) * width**0.5 + OWN * noise
    return WordVectors(tuple(words), normalize(table, dim=1) * width**0.5)


def _positive_information(lines: list[list[str]], number: dict[str, int]) -> sparse.csr_matrix:
    """Return `[V, V]`, max(0, log p(a, b) / (p(a) p(b)))."""
    pairs: list[np.ndarray] = []
    for line in lines:
        rows = np.array([number[word] for word in line if word in number], dtype=np.int64)
        for apart in range(1, min(WINDOW, len(rows) - 1) + 1):
            pairs.append(np.stack([rows[:-apart], rows[apart:]]))
    first, second = np.concatenate(pairs, axis=1) if pairs else np.empty((2, 0), dtype=np.int64)
    size = len(number)
    ones = np.ones(2 * len(first))
    where = (np.concatenate([first, second]), np.concatenate([second, first]))
    counts = sparse.csr_matrix((ones, where), shape=(size, size)).tocoo()
    marginal = np.bincount(counts.row, counts.data, minlength=size)
    values = np.log(counts.data * counts.data.sum() / (marginal[counts.row] * marginal[counts.col])).clip(min=0)
    return sparse.csr_matrix((values, (counts.row, counts.col)), shape=(size, size))
