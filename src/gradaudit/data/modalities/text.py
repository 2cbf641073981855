"""The handling of text: token ids `[B, L]`, padded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ... import metrics, models
from ...metrics.token_metrics import TOKENS
from ...values.errors import AuditError
from ...values.measures import Compared
from ...values.scores import Scores
from ...values.transcript import Transcript, TranscriptLine
from ...values.types import Batch, Modality, Reconstruction, TextLayout
from ..sources.texts import TextSource
from ..vocabulary import Vocabulary
from ._handling import CONTROL, SHARE, Handling, Matched, ModelOptions, require_batch, require_shape

SAME = 0.9  # least share of common tokens among the distinct tokens of two duplicate texts
RULE = SHARE.format(
    noun="text",
    least=100 * TOKENS.recovered,
    parts="tokens",
    gain=100 * TOKENS.recovered_gain,
    trace=(
        f"in one, {100 * TOKENS.trace_gain:.0f} points more of the tokens are in the right position than in the "
        "control, or more of the words in any order (ROUGE-1), or more of the batch's tokens in any text (bag of "
        "tokens)"
    ),
) + CONTROL.format(noun="text", control="at every position, the most frequent token of the texts outside the batch")


@dataclass(frozen=True)
class TextHandling(Handling):
    """The handling of texts, with their vocabulary.

    Args:
        vocabulary: Maps ids to words. Without one, ROUGE and the page use the ids in place of words.
    """

    modality: ClassVar[Modality] = Modality.TEXT
    rule: ClassVar[str] = RULE
    comparable: ClassVar[bool] = False
    open_facts: ClassVar[Mapping[str, str]] = {
        "EMBEDDING_GRADIENT": "The gradient of the token embedding, which reveals the words of the batch."
    }
    vocabulary: Vocabulary | None = None

    @classmethod
    def of(cls, source: TextSource, options: ModelOptions) -> tuple[TextHandling, tuple[int, ...]]:
        """Return the handling of texts in the vocabulary of the source."""
        return cls(source.vocabulary), source.shape

    def build(
        self, name: str, source: TextSource, shape: tuple[int, ...], classes: int, options: ModelOptions
    ) -> nn.Module:
        """Return a model of token ids."""
        return models.build_text(name, num_classes=classes, layout=source.vocabulary.layout, length=shape[0])

    def check(self, batch: Batch, model: nn.Module, name: str) -> None:
        """Raise `AuditError` if the batch is not `[B, L]` ids of the model's token embedding."""
        require_batch(batch, 2, "token ids [B, L]")
        embedding = getattr(model, "token_embedding", None)
        if not isinstance(embedding, nn.Embedding):
            raise AuditError(
                f"{name}: a model of text must offer its nn.Embedding as token_embedding. "
                f"Found {type(embedding).__name__}."
            )
        _check_ids(batch.inputs, embedding, "batch", name)
        _check_lengths(batch)
        if not counted(batch).any(1).all():
            raise AuditError("batch: a text has no token besides padding and markers; remove empty texts.")

    def check_public(self, public: Tensor, batch: Batch) -> None:
        """Raise `AuditError` if public texts are not token ids `[N, L']`."""
        if public.ndim != 2 or not len(public) or public.is_floating_point():
            found = f"{public.dtype} {list(public.shape)}"
            raise AuditError(f"public_data: needs token ids [N, L], integers. Found {found}.")

    def gather(self, source: TextSource, indices: list[int], labels: Tensor) -> Batch:
        """Return the texts at `indices`, padded to the longest of them, with these labels."""
        inputs, lengths = source.stack(indices)
        return Batch(inputs, labels, Modality.TEXT, lengths, source.vocabulary.layout)

    def control(self, source: TextSource, batch: Batch, indices: list[int]) -> tuple[Tensor, tuple[str, ...]]:
        """Return at every position the most frequent token of the other texts there, each token once, `[B, L]`.

        Lengths and markers are public, so that the control contains them.
        """
        common, notes = source.common_except(indices, batch.inputs.shape[1]), ()
        if common is None:
            common = torch.full_like(batch.inputs[0], source.vocabulary.layout.padding)
            notes = ("No text lies outside the batch: the control is padding.",)
        truth = batch.inputs.cpu()
        return torch.where(counted(batch), common.cpu(), truth), notes

    def given_control(self, batch: Batch, others: Tensor | None) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """Return padding as the control: the most frequent tokens are only known of a source."""
        padding = torch.full_like(batch.inputs.cpu(), batch.text.padding if batch.text else 0)
        return padding, torch.empty(0), ("No text lies outside the batch: the control is padding.",)

    def align(self, source: TextSource) -> TextSource:
        """Return the source in this vocabulary."""
        return source.read_with(self.vocabulary) if self.vocabulary else source

    def duplicates(self, public: Tensor, batch: Batch) -> Tensor:
        """Return which public texts `[N, L']` equal or nearly equal a private text: `[N]` booleans.

        Two texts count as the same if at least nine tenths of their distinct tokens are in both, so that texts of fewer
        than ten distinct tokens must have exactly the same ones. Padding, markers and the order of the tokens are
        ignored. Rates of misses and false alarms: docs/threat-model.md.
        """
        layout = batch.text or TextLayout(0)
        ours = [set(ids[places].tolist()) for ids, places in zip(batch.inputs.cpu(), counted(batch), strict=True)]
        theirs = [set(row) - set(layout.special) for row in public.tolist()]
        found = [any(len(a & b) >= SAME * len(a | b) > 0 for b in ours) for a in theirs]
        return torch.tensor(found, dtype=torch.bool)

    def match(self, batch: Batch, guess: Reconstruction) -> Matched:
        """Return the assignment of least `metrics.text_costs`."""
        require_shape(batch, guess, "token ids")
        if guess.inputs.is_floating_point():
            raise AuditError(f"the attack returned {guess.inputs.dtype} where token ids are expected.")
        ids = guess.inputs.cpu().long()
        order = metrics.assign_at_cost(metrics.text_costs(ids, batch.inputs.cpu(), counted(batch)))
        return Matched(ids[order], order)

    def score(self, batch: Batch, inputs: Tensor, distractors: Tensor | None = None) -> Scores:
        """Return all metrics of texts."""
        compared = Compared(inputs, batch.inputs.cpu(), counted=counted(batch), read=self._words, batch=batch)
        return metrics.scores_of(self.modality, compared)

    def transcribe(
        self, batch: Batch, reconstruction: Tensor, control: Tensor, confidence: Tensor | None = None
    ) -> Transcript:
        """Return the tokens as text, without padding and markers."""
        truth, places = batch.inputs.cpu(), counted(batch)

        def lines(inputs: Tensor) -> tuple[TranscriptLine, ...]:
            return tuple(self._line(g[p], t[p]) for g, t, p in zip(inputs, truth, places, strict=True))

        return Transcript((), lines(truth), lines(reconstruction), lines(control))

    def _line(self, guess: Tensor, truth: Tensor) -> TranscriptLine:
        ids = guess.tolist()
        return TranscriptLine(tuple(self._pieces(ids)), tuple((guess != truth).tolist()), values=tuple(ids))

    def _pieces(self, ids: list[int]) -> list[str]:
        """Return one string for each id; an id without a token, such as an unused embedding row, becomes its number."""
        if self.vocabulary is None:
            return [f" {i}" for i in ids]
        known = range(self.vocabulary.layout.size)
        words = iter(self.vocabulary.pieces([i for i in ids if i in known]))
        return [next(words) if i in known else f" <{i}>" for i in ids]

    def _words(self, ids: Tensor) -> str:
        return "".join(self._pieces(ids.tolist())).strip()


def counted(batch: Batch) -> Tensor:
    """Return `[B, L]` booleans on the CPU: the positions of the private text, without padding and markers."""
    ids = batch.inputs.cpu()
    places = torch.ones_like(ids, dtype=torch.bool)
    if batch.lengths is not None:
        places &= torch.arange(ids.shape[1])[None] < batch.lengths.cpu()[:, None]
    layout = batch.text or TextLayout(0)
    for marker in (*layout.opening, *layout.closing):
        places &= ids != marker
    return places


def _check_lengths(batch: Batch) -> None:
    lengths = batch.lengths
    if lengths is not None and (
        lengths.shape != batch.labels.shape[:1] or lengths.min() < 1 or lengths.max() > batch.inputs.shape[1]
    ):
        raise AuditError(
            f"batch: lengths must be [B] numbers from 1 to {batch.inputs.shape[1]}, tokens before padding. "
            f"Found {lengths.tolist()}."
        )


def _check_ids(ids: Tensor, embedding: nn.Embedding, at: str, name: str) -> None:
    if ids.is_floating_point():
        raise AuditError(f"{at}: token ids must be integers, not {ids.dtype}.")
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= embedding.num_embeddings:
        wrong = high if low >= 0 else low
        raise AuditError(
            f"{at}: token ids must be in 0...{embedding.num_embeddings - 1}, the token embedding of {name}. "
            f"Found {wrong}; use the vocabulary that the model was built for."
        )
