"""DAGER (Petrov, Dimitrov, Baader, Müller & Vechev, NeurIPS 2024): exact text from the spans of two gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ..inversion.attack import Watch
from ..inversion.network.gaps import GapSplit, widest_gap
from ..inversion.network.spans import Projection, Span, attention_projections, entering, full_rank, is_causal
from ..inversion.network.tokens import padding_id, token_table
from ..inversion.parts.part import require_batch_size
from ..inversion.run.refusal import require_fit
from ..models.copying import private_copy
from ..protocol.observation import Observation
from ..values.errors import AttackFailed
from ..values.types import Knowledge, Modality, Reconstruction
from ._demonstration import Demonstration

CHUNK = 4096  # number of texts that pass through the model at once
DECOYS = 64  # random wrong continuations that show at what distance wrong ones lie
UNTOLD = 1e-12  # smaller distances are rounding errors

Text = tuple[int, ...]


@dataclass(frozen=True)
class Dager:
    """Find the tokens, then the texts, that lie in the span of a decoder's gradients (algorithms 1 and 2 of the paper).

    First, for every position and every token of the vocabulary: would the input of the first attention layer lie in the
    span of that layer's gradient? Then, from left to right, every text so far is continued by every token found for the
    next position; a text stays if the input of the second attention layer lies in its span. Any batch size works, as
    long as the batch has fewer tokens than the model's width. A text that occurs twice, or is the beginning of another,
    is recognised by its length alone.

    Args:
        name: Name in the table of attacks.
        paper: Reference of the method.
        clear: Smallest ratio of two neighbouring distances, or singular values, that separates inside from outside.
    """

    name: str = "dager"
    paper: str = "arXiv:2405.15586"
    clear: float = 3.0
    deviations: tuple[str, ...] = (
        "inside and outside are separated by the widest gap between distances, where the paper has fixed thresholds",
        "the span is that of queries, keys and values together, where the paper uses queries alone",
        "decoders only: for an encoder the paper tries all combinations of tokens, up to a budget",
    )
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    modality: ClassVar[Modality] = Modality.TEXT

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Return the texts, in a meaningless order.

        Raises:
            MissingKnowledge: The batch size was not granted.
            AttackFailed: The data is not text; fewer than two attention layers are shared; the model is not a decoder;
                the batch has at least as many tokens as the model's width; or nothing lies clearly inside the spans.
        """
        require_fit(self, seen.knowledge, seen.modality)
        seen = replace(seen, model=private_copy(seen.model).eval())
        size, length = require_batch_size(seen, self), seen.input_shape[0]  # type: ignore[arg-type]
        layers = self._layers(seen)
        search = _Search(seen, layers, self._spans(layers, seen.lengths), self.clear, seed)
        tree = search.texts(size, watch)
        ends = _ends(tree, size, None if seen.lengths is None else seen.lengths.tolist())
        inputs = torch.full((size, length), padding_id(seen) or 0, device=seen.device)
        for row, text in enumerate(ends):
            inputs[row, : len(text)] = torch.tensor(text, device=seen.device)
        return Reconstruction(
            inputs=inputs,
            labels=seen.labels,
            objective=max((tree[text] for text in ends), default=1.0),
            labels_granted=seen.labels is not None,
            notes=search.notes,
        )

    def _layers(self, seen: Observation) -> tuple[Projection, Projection]:
        """Return the first two attention layers of a decoder."""
        token_table(seen)
        found = attention_projections(seen.model, seen.update.tensors)
        if len(found) < 2:
            raise AttackFailed(
                f"{self.name}: needs the gradients of two attention layers, and the update shares {len(found)} "
                "(checked names: c_attn, q_proj, query and similar)."
            )
        probe = self._probe(seen)
        if not is_causal(seen.model, found[1].module, probe):
            raise AttackFailed(
                f"{self.name}: {type(seen.model).__name__} is an encoder: the input of its second layer depends on the "
                "whole text, so that texts cannot be built from left to right. Choose lamp, or grant "
                "EMBEDDING_GRADIENT and choose bag-of-words."
            )
        if not full_rank(seen.model, seen.loss, 1, probe):
            raise AttackFailed(
                f"{self.name}: the gradient of the second attention layer does not span the tokens of a text: no later "
                "layer attends to all positions, and the head uses few of them. Audit a deeper model."
            )
        return found[0], found[1]

    def _probe(self, seen: Observation) -> Tensor:
        """Return a text of different tokens, `[1, L]`, none of them padding."""
        words = torch.arange(len(token_table(seen)), device=seen.device)
        words = words[words != padding_id(seen)]
        return words[torch.linspace(0, len(words) - 1, seen.input_shape[0]).long()].unsqueeze(0)

    def _spans(self, layers: tuple[Projection, Projection], lengths: Tensor | None) -> tuple[Span, Span]:
        """Return the spans of both gradients. Raise `AttackFailed` if the tokens fill the whole space."""
        width = len(layers[0].gradient)
        total = 0 if lengths is None else int(lengths.sum())
        if total >= width:
            raise AttackFailed(
                f"{self.name}: {total} tokens fill all {width} dimensions of the model, so that every token lies in "
                "the span. Audit a smaller batch, or a wider model."
            )
        tokens = None if lengths is None else (int(lengths.max()), total)
        first, second = (Span(layer.gradient, tokens, self.clear) for layer in layers)
        return first, second


class _Search:
    """Both passes of the search on one observation."""

    def __init__(
        self,
        seen: Observation,
        layers: tuple[Projection, Projection],
        spans: tuple[Span, Span],
        clear: float,
        seed: int,
    ) -> None:
        self.seen, self.layers, self.spans, self.clear = seen, layers, spans, clear
        self.vocabulary = len(token_table(seen))
        self.lengths = None if seen.lengths is None else seen.lengths.tolist()
        self.generator = torch.Generator().manual_seed(seed)
        self.notes: tuple[str, ...] = (f"The spans have {spans[0].rank} and {spans[1].rank} dimensions.",)
        if any(span.guessed for span in spans):
            self.notes += ("Their singular values have no gap, so the dimension is set to the number of tokens.",)

    def texts(self, size: int, watch: Watch | None) -> dict[Text, float]:
        """Return every prefix of every text found, with its distance in the second layer."""
        by_place = self._tokens()
        found: dict[Text, float] = {}
        alive: list[Text] = [()]
        for place, tokens in enumerate(by_place):
            still = size if self.lengths is None else sum(length > place for length in self.lengths)
            if not tokens or not still or not alive:
                break
            fresh = self._continued(alive, tokens, still, max(found.values(), default=None))
            found |= fresh
            alive = list(fresh)
            if watch is not None:
                watch(place + 1, len(by_place), max(found.values(), default=1.0))
        if not found:
            raise AttackFailed("dager: no token continues a text inside the span of the second layer.")
        if self.lengths is not None and len(next(reversed(found))) < max(self.lengths):
            self.notes += (f"Texts end after {len(next(reversed(found)))} of {max(self.lengths)} tokens.",)
        return found

    def _tokens(self) -> list[list[int]]:
        """Return, for every position, the tokens inside the span of the first layer."""
        length, span = self.seen.input_shape[0], self.spans[0]
        if self.lengths is not None:
            length = max(self.lengths)
        distances = []
        for chunk in torch.arange(self.vocabulary, device=self.seen.device).split(CHUNK):
            rows = entering(self.seen.model, self.layers[0].module, chunk.unsqueeze(1).expand(-1, length))
            distances.append(span.distance(rows))
        table = torch.cat(distances)  # [V, L]
        padding = padding_id(self.seen)
        if padding is not None:
            table[padding] = torch.inf
        # A token at two positions adds their difference to the span: a token at one of them then fits the other, too.
        near = table.flatten().topk(min(table.numel() - length, span.rank * length + 1), largest=False).values
        gap = widest_gap(near.clamp_min(UNTOLD))
        limit = gap.threshold
        if gap.ratio < self.clear:
            self._blurred("the first", gap.ratio)
            limit = float(near[span.rank - 1])
        self.notes += (f"Summed over the positions, {int((table <= limit).sum())} tokens lie inside the first span.",)
        return [(column <= limit).nonzero().flatten().tolist() for column in table.T]

    def _blurred(self, which: str, ratio: float) -> None:
        """Note that there is no gap, so that the nearest are used, as many as there are texts or tokens.

        Raise `AttackFailed` if their number is unknown.
        """
        if self.lengths is None:
            raise AttackFailed(
                f"dager: no gap separates the span of {which} layer from the rest (at most a factor of {ratio:.2f})."
            )
        note = f"Noise has filled the gap around the span of {which} layer: the nearest were used."
        self.notes += () if note in self.notes else (note,)

    def _continued(self, alive: list[Text], tokens: list[int], still: int, farthest: float | None) -> dict[Text, float]:
        """Return texts one token longer that lie inside the span of the second layer, at most `still` of them."""
        guesses = [(*text, token) for text in alive for token in tokens]
        distances = self._distances(guesses).clamp_min(UNTOLD)
        wrong = self._distances(self._decoys(alive, tokens)).clamp_min(UNTOLD).min()
        order = distances.argsort()
        ascending = distances[order]
        ascending = ascending[ascending < wrong]
        if not len(ascending) and self.lengths is None:
            return {}
        anchor = [] if farthest is None else [ascending.new_tensor([max(farthest, UNTOLD)])]
        within = int((ascending <= anchor[0]).sum()) if anchor else 0
        edges = torch.cat([*anchor, ascending[within:], wrong.view(1)])
        gap = widest_gap(edges) if len(edges) > 1 else GapSplit(0, 1.0, 0.0)
        count = within + gap.count - len(anchor)
        if gap.ratio < self.clear:
            self._blurred("the second", gap.ratio)
            count = still
        return {guesses[int(at)]: float(distances[at]) for at in order[: min(count, still)]}

    def _decoys(self, alive: list[Text], tokens: list[int]) -> list[Text]:
        """Return continuations by random tokens outside the span of the first layer, which are therefore wrong."""
        others = torch.ones(self.vocabulary, dtype=torch.bool)
        others[tokens] = False
        drawn = others.nonzero().flatten()
        drawn = drawn[torch.randint(len(drawn), (DECOYS,), generator=self.generator)].tolist()
        return [(*alive[number % len(alive)], token) for number, token in enumerate(drawn)]

    def _distances(self, texts: list[Text]) -> Tensor:
        """Return the distances of the last token of each text in the second layer; all texts have one length."""
        tokens = torch.tensor(texts, device=self.seen.device)
        rows = [entering(self.seen.model, self.layers[1].module, part)[:, -1] for part in tokens.split(CHUNK)]
        return self.spans[1].distance(torch.cat(rows))


def _ends(tree: dict[Text, float], size: int, lengths: list[int] | None) -> list[Text]:
    """Return one text per row: of the known length if lengths are known, otherwise those without a continuation."""
    continued = {text[:-1] for text in tree}
    leaves = [text for text in tree if text not in continued]
    if lengths is None:
        return leaves[:size]
    inner = [text for text in tree if text in continued]
    chosen, used = [], dict.fromkeys(set(lengths), 0)
    for length in lengths:
        fitting = [text for text in (*leaves, *inner) if len(text) == length]
        fitting = fitting or sorted(leaves, key=len, reverse=True)
        chosen.append(fitting[used[length] % len(fitting)])
        used[length] += 1
    return chosen


ATTACK = Dager()

DEMONSTRATION = Demonstration(ATTACK, network="tiny-gpt2", examples=4, least=0.5, seeded=False)
