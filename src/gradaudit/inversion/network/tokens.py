"""What every attack on text infers from an observation: embedding table, known positions and possible tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...protocol.observation import Observation
from ...values.errors import AttackFailed

CHUNK = 1 << 24  # entries of the similarity matrix that are in memory at once


@dataclass(frozen=True, eq=False)
class TokenFrame:
    """The positions of a batch of sequences whose tokens the adversary knows.

    Args:
        ids: `[B, L]` tokens; the values at free positions have no meaning.
        free: `[B, L]`, true if the token is unknown.
    """

    ids: Tensor
    free: Tensor


def token_table(seen: Observation) -> Tensor:
    """Return the model's token embeddings `[V, d]`. Raise `AttackFailed` if the client's data is not text."""
    embedding = getattr(seen.model, "token_embedding", None)
    if embedding is None or len(seen.input_shape) != 1:
        raise AttackFailed(
            f"this attack on text needs a model with a token_embedding and inputs [L]. Found "
            f"{type(seen.model).__name__} and inputs {list(seen.input_shape)}; choose an attack on images."
        )
    return embedding.weight.detach()


def framed(seen: Observation, batch_size: int) -> TokenFrame:
    """Return the known tokens of a batch.

    These are the opening tokens of every text and, if lengths are known, the closing tokens and the padding.
    """
    length, device = seen.input_shape[0], seen.device
    opening, closing, padding = _special(seen)
    ids = torch.zeros(batch_size, length, dtype=torch.long, device=device)
    free = torch.ones_like(ids, dtype=torch.bool)
    for place, token in enumerate(opening[:length]):
        ids[:, place], free[:, place] = token, False
    if seen.lengths is not None:
        place = torch.arange(length, device=device).expand_as(ids)
        lengths = seen.lengths.to(device).unsqueeze(1)
        for back, token in enumerate(reversed(closing), start=1):
            at = place == lengths - back
            ids[at], free[at] = token, False
        if padding is not None:
            ids[place >= lengths], free[place >= lengths] = padding, False
    return TokenFrame(ids, free)


def _special(seen: Observation) -> tuple[tuple[int, ...], tuple[int, ...], int | None]:
    """Return the opening tokens, the closing tokens and the padding token of every text.

    If no tokenizer is known, the padding token is the model's own, and the others are empty.
    """
    if seen.text is not None:
        return seen.text.opening, seen.text.closing, seen.text.padding
    return (), (), getattr(seen.model, "pad_id", None)


def padding_id(seen: Observation) -> int | None:
    """Return the id of the padding token, or `None` if there is none."""
    return _special(seen)[2]


def table_gradient(seen: Observation) -> Tensor | None:
    """Return the gradient of the token embeddings `[V, d]`, or `None` if the client does not share it."""
    for name, parameter in seen.model.named_parameters():
        if parameter is seen.model.token_embedding.weight:  # type: ignore[union-attr]
            return seen.update.tensors.get(name)
    return None


def possible_tokens(seen: Observation) -> Tensor:
    """Return `[V]` booleans: true for tokens that may stand at a free position.

    A token whose row of the embedding table has a gradient of zero is not in the batch. If lengths are known, the
    opening, closing and padding tokens cannot stand at a free position.
    """
    table, gradient = token_table(seen), table_gradient(seen)
    possible = torch.ones(len(table), dtype=torch.bool, device=table.device)
    if gradient is not None and bool((gradient == 0).all(1).any()):
        possible = (gradient != 0).any(1)
    if seen.lengths is not None:
        opening, closing, padding = _special(seen)
        possible[[*opening, *closing, *(() if padding is None else (padding,))]] = False
    return possible if possible.any() else torch.ones_like(possible)


def nearest_tokens(embeddings: Tensor, table: Tensor, possible: Tensor) -> Tensor:
    """Return the token whose embedding has the largest cosine similarity with each given embedding.

    Args:
        embeddings: `[..., d]`.
        table: `[V, d]`.
        possible: `[V]`, true if a token may be chosen.

    Returns:
        `[...]` integers in [0, V).
    """
    chosen = possible.nonzero().flatten()
    rows = normalize(table[chosen], dim=1)
    flat = embeddings.detach().flatten(0, -2)
    found = [(part @ rows.T).argmax(1) for part in flat.split(max(1, CHUNK // len(rows)))]
    return chosen[torch.cat(found)].view(embeddings.shape[:-1])


def mean_length(table: Tensor) -> Tensor:
    """Return the mean L2 norm of the nonzero rows of an embedding table."""
    norms = table.norm(dim=1)
    return norms[norms > 0].mean()
