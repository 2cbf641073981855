"""Texts as private examples: the sentences of this package, or the texts of a file."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ...values.errors import AuditError, printable
from ...values.types import Modality
from .. import sentences
from ..row_files import classes_of, column_of, read_cells, read_text
from ..vocabulary import Vocabulary, Words, open_vocabulary

NO_LABEL = frozenset(("", "nan", "NaN"))


@dataclass(frozen=True, eq=False)
class TextSource:
    """A source of texts, with their vocabulary and labels.

    Args:
        name: Name of the source in the audit file.
        description: Where the texts come from, in words for the report.
        texts: N texts, each of at least one token.
        vocabulary: Maps text to ids and back.
        labels: `[N]` integers, or `None` if the source has none.
        class_names: Name of each class, or empty.
        max_tokens: Most tokens of a text, with markers; longer texts are cut.
        attribution: Credit lines that the licences require.
    """

    modality: ClassVar[Modality] = Modality.TEXT
    name: str
    description: str
    texts: tuple[str, ...]
    vocabulary: Vocabulary
    labels: Tensor | None = None
    class_names: tuple[str, ...] = ()
    max_tokens: int | None = None
    attribution: str = ""

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def ids(self) -> tuple[tuple[int, ...], ...]:
        """Token ids of every text, with markers and without padding."""
        return tuple(self._cut(self.vocabulary.encode(text)) for text in self.texts)

    @cached_property
    def shape(self) -> tuple[int]:
        """Shape `(L,)`, the number of tokens of the longest text."""
        return (max(map(len, self.ids)),)

    def stack(self, indices: list[int] | range) -> tuple[Tensor, Tensor]:
        """Return the texts at `indices` as `[B, L]` ids padded to the longest of them, and their lengths `[B]`."""
        chosen = [torch.tensor(self.ids[i]) for i in indices]
        padded = torch.nn.utils.rnn.pad_sequence(
            chosen, batch_first=True, padding_value=float(self.vocabulary.layout.padding)
        )
        return padded.long(), torch.tensor([len(ids) for ids in chosen])

    def common_except(self, indices: list[int], length: int) -> Tensor | None:
        """Return the control: at every position the most frequent token of the other texts there, each token once.

        Args:
            indices: Texts to omit.
            length: Number of positions.

        Returns:
            `[length]` ids, or `None` if no other text is left.
        """
        left_out = {range(len(self))[i] for i in indices}
        if len(left_out) == len(self):
            return None
        special, used, found = set(self.vocabulary.layout.special), set(), []
        for place in range(length):
            counts = self._counts[place].copy() if place < len(self._counts) else Counter()
            counts.subtract(self.ids[i][place] for i in left_out if place < len(self.ids[i]))
            known = [i for i in counts if counts[i] > 0 and i not in used and i not in special]
            best = min(known, key=lambda i: (-counts[i], i), default=self.vocabulary.layout.padding)
            used.add(best)
            found.append(best)
        return torch.tensor(found)

    def read_with(self, vocabulary: Vocabulary) -> TextSource:
        """Return the same texts in the ids of another vocabulary."""
        return replace(self, vocabulary=vocabulary)

    def fingerprint(self) -> str:
        """Return the SHA-256 over all tokens and labels, which identifies the source."""
        digest = hashlib.sha256(repr(self.ids).encode())
        if self.labels is not None:
            digest.update(self.labels.to(torch.int64).numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def _counts(self) -> list[Counter[int]]:
        return [Counter(ids[place] for ids in self.ids if place < len(ids)) for place in range(self.shape[0])]

    def _cut(self, ids: list[int]) -> tuple[int, ...]:
        if self.max_tokens is None or len(ids) <= self.max_tokens:
            return tuple(ids)
        closing = self.vocabulary.layout.closing
        return (*ids[: self.max_tokens - len(closing)], *closing)


@dataclass(frozen=True)
class Texts:
    """Sixty sentences written for this package, or the texts of a file: `.tsv` or `.csv` with a header, `.txt` by line.

    Args:
        path: The file; without one, the built-in sentences.
        text: Name of the column of texts in a `.tsv` or `.csv`.
        label: Name of the column of classes, which are numbers or names.
        tokenizer: BERT's `vocab.txt` or GPT-2's `encoder.json`; without one, the vocabulary is the words of the texts.
        merges: GPT-2's `vocab.bpe`; by default the one beside `tokenizer`.
        lowercase: Whether to convert texts to lower case (for words and BERT's uncased vocabulary).
        max_tokens: Most tokens of a text; longer texts are cut.
    """

    name: ClassVar[str] = "text"
    path: Path | None = None
    text: str = "sentence"
    label: str = "label"
    tokenizer: Path | None = None
    merges: Path | None = None
    lowercase: bool = True
    max_tokens: int | None = None

    def open(self) -> TextSource:
        """Read all texts.

        Raises:
            AuditError: No such file or column, no text with a token, or a vocabulary that cannot be read.
        """
        texts, labels, names = self._read()
        if self.tokenizer is not None:
            vocabulary = open_vocabulary(self.tokenizer, self.merges, lowercase=self.lowercase)
        else:
            vocabulary = Words.of(texts, lowercase=self.lowercase)
        markers = len(vocabulary.layout.opening) + len(vocabulary.layout.closing)
        if self.max_tokens is not None and self.max_tokens <= markers:
            raise AuditError(f"text: max_tokens must be above {markers}, the markers. Found {self.max_tokens}.")
        kept = [i for i, text in enumerate(texts) if len(vocabulary.encode(text)) > markers]
        if not kept:
            raise AuditError(f"text: {self.path} contains no text with a token.")
        origin = f"the file {printable(self.path.name)}" if self.path else "this package, written for it"
        dropped = len(texts) - len(kept)
        left_out = f" ({dropped} without a token omitted)" if dropped else ""
        return TextSource(
            name="text",
            description=f"{len(kept)} texts of {origin}{left_out}, {vocabulary.layout.size} tokens",
            texts=tuple(texts[i] for i in kept),
            vocabulary=vocabulary,
            labels=None if labels is None else labels[kept],
            class_names=names,
            max_tokens=self.max_tokens,
        )

    def _read(self) -> tuple[list[str], Tensor | None, tuple[str, ...]]:
        if self.path is None:
            return list(sentences.SENTENCES), torch.tensor(sentences.LABELS), sentences.CLASS_NAMES
        if self.path.suffix.lower() not in (".tsv", ".csv"):
            return [line.strip() for line in read_text(self.path, "text").split("\n") if line.strip()], None, ()
        table = read_cells(self.path, "text")
        text = column_of(self.text, table.header, self.path, "text", "text")
        texts = [row[text] for row in table.rows]
        if self.label not in table.header:
            return texts, None, ()
        cells = [row[table.header.index(self.label)] for row in table.rows]
        for cell, line in zip(cells, table.lines, strict=True):
            if cell in NO_LABEL:
                raise AuditError(f"text: {self.path}, line {line}: has no {self.label}; label it, or remove it.")
        labels, names = classes_of(cells, self.label, "text")
        return texts, labels, names
