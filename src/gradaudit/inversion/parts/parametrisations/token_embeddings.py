"""Optimise embeddings instead of tokens, and choose the nearest tokens at the end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.types import Knowledge, Modality
from ...network.tokens import TokenFrame, framed, mean_length, nearest_tokens, possible_tokens, token_table
from ..part import Candidate, Parametrisation, require_batch_size


@dataclass(frozen=True)
class TokenEmbeddings(Parametrisation):
    """Token embeddings, fed to the model instead of looked-up tokens (Deng et al., 2021).

    The variable is `embeddings` `[S, B, L, d]`. The first token of a sequence and, if lengths are known, its last token
    and its padding are restored after every step (Balunović et al., 2022). The reconstruction is the token whose
    embedding has the largest cosine. If the client shares the gradient of the embedding table, only the tokens that it
    reveals to be in the batch are considered.

    Args:
        init: First candidate of a free position: N(0, 1) in every entry, or the embedding of a random token.
        length: `"start"` scales each embedding of the first candidate to the mean L2 norm in the model's table (LAMP's
            1.4 is that of BERT), `"always"` also after every step, `"free"` never.
    """

    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    modality: ClassVar[Modality] = Modality.TEXT
    init: Literal["normal", "tokens"] = "normal"
    length: Literal["free", "start", "always"] = "free"

    def start(self, seen: Observation, seeds: int, previous: Candidate | None) -> Candidate:
        """Return random embeddings, or those of the previous stage. Raise `AttackFailed` if the data is not text."""
        table, size = token_table(seen), require_batch_size(seen, self)
        frame, possible = framed(seen, size), possible_tokens(seen)
        shape = (seeds, size, seen.input_shape[0])
        norm = mean_length(table) if self.length != "free" else None

        def draw() -> Tensor:
            if self.init == "tokens":
                chosen = possible.nonzero().flatten()
                return table[chosen[torch.randint(len(chosen), shape, device=table.device)]]
            drawn = torch.randn(*shape, table.shape[1], device=table.device, dtype=table.dtype)
            return drawn if norm is None else _scaled(drawn, norm)

        candidate = TokenCandidate(draw, table, possible, frame, norm if self.length == "always" else None)
        if previous is not None:
            candidate.variables["embeddings"] = previous.decode().detach().clone()
        return candidate


class TokenCandidate(Candidate):
    """The embeddings of a batch of sequences as a candidate.

    Args:
        draw: Function that returns a fresh random candidate `[S, B, L, d]`.
        table: The model's token embeddings `[V, d]`.
        possible: `[V]`, tokens that may stand at a free position.
        frame: The known positions.
        norm: L2 norm to which every free embedding is scaled after a step, or `None`.
    """

    def __init__(
        self, draw: Callable[[], Tensor], table: Tensor, possible: Tensor, frame: TokenFrame, norm: Tensor | None
    ) -> None:
        self.draw, self.table, self.possible, self.frame, self.norm = draw, table, possible, frame, norm
        self.fixed = table[frame.ids]
        self.variables = {"embeddings": draw()}
        self.project()

    def decode(self) -> Tensor:
        """Return the embeddings, `[S, B, L, d]`."""
        return self.variables["embeddings"].view_as(self.variables["embeddings"])

    @torch.no_grad()
    def project(self) -> None:
        """Restore the table's rows at known positions, to the last bit: the model recognises padding by equality."""
        embeddings = self.variables["embeddings"]
        if self.norm is not None:
            embeddings.copy_(_scaled(embeddings, self.norm))
        embeddings.copy_(torch.where(self.frame.free.unsqueeze(-1), embeddings, self.fixed))

    def tokens(self) -> Tensor:
        """Return `[S, B, L]` integers: the known tokens, and the nearest ones elsewhere."""
        nearest = nearest_tokens(self.variables["embeddings"], self.table, self.possible)
        return torch.where(self.frame.free, nearest, self.frame.ids)

    def reported(self, seen: Observation) -> Tensor:
        """Return the token ids, `[S, B, L]`."""
        return self.tokens()


def _scaled(embeddings: Tensor, norm: Tensor) -> Tensor:
    return embeddings * (norm / embeddings.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(embeddings.dtype).tiny))
