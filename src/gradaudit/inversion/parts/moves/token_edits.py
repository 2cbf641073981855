"""LAMP's discrete step: reorder a candidate's tokens if that explains the update and reads better."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge, Modality
from ..parametrisations.token_embeddings import TokenCandidate
from ..part import Candidate, Move, Progress
from .trigram import Trigram

ScoreOf = Callable[[], Tensor]
Edit = Literal["swap", "move", "move-span", "prefix-to-end"]
EDITS: tuple[Edit, ...] = ("swap", "move", "move-span", "prefix-to-end")


@dataclass(frozen=True)
class TokenEdits(Move):
    """A move that tries reorderings of each sequence and keeps the one with the lowest objective + weight * surprise.

    This is the discrete optimisation of LAMP (Balunović et al., 2022, section 4.3): two tokens change places, one token
    moves, a span of tokens moves, or a prefix goes to the end. The surprise is that of the nearest tokens under a
    language model, in nats per token; the current order competes with the others. Known positions keep their tokens.

    Args:
        tries: Reorderings per sequence each time.
        every: Steps from one time to the next, at least 1.
        burn_in: Fraction of the stage before the first time.
        weight: Weight of the surprise; 0 needs no public data.
        language: The language model.
        edits: Kinds of reordering to draw from, all equally often.
    """

    modality: ClassVar[Modality] = Modality.TEXT
    tries: int = 200
    every: int = 75
    burn_in: float = 0.1
    weight: float = 0.2
    language: Trigram = Trigram()
    edits: tuple[Edit, ...] = EDITS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every < 1:
            raise AttackFailed(f"TokenEdits: every must be at least 1. Found {self.every}.")
        if not self.edits:
            raise AttackFailed(f"TokenEdits: edits must be some of {', '.join(EDITS)}. Found none.")

    @property
    def needs(self) -> Knowledge:  # type: ignore[override]
        """The needs of the language model, if its weight is not 0."""
        return self.language.needs if self.weight else Knowledge.NOTHING

    def bind(self, seen: Observation) -> Callable[[Candidate, ScoreOf, Progress], None]:
        """Return the move, with its language model."""
        surprise = self.language.bind(seen) if self.weight else None

        def move(candidate: Candidate, score: ScoreOf, at: Progress) -> None:
            if at.step >= self.burn_in * at.steps and at.step % self.every == 0:
                for row in range(len(_of_tokens(candidate, self).frame.free)):
                    self._improve(_of_tokens(candidate, self), score, row, surprise)

        return move

    def _improve(
        self, candidate: TokenCandidate, score: ScoreOf, row: int, surprise: Callable[[Tensor], Tensor] | None
    ) -> None:
        """Put one sequence into its best order, separately for each seed."""
        places = candidate.frame.free[row].nonzero().flatten()
        if len(places) < 2:
            return
        whole = candidate.variables["embeddings"]
        start, words = whole[:, row].clone(), candidate.tokens()[:, row]  # [S, L, d], [S, L]
        seeds = torch.arange(len(start), device=start.device).unsqueeze(1)
        kept = torch.arange(start.shape[1], device=start.device).repeat(len(start), 1)
        lowest = torch.full((len(start),), torch.inf, device=start.device, dtype=torch.double)
        for number in range(self.tries + 1):
            order = torch.arange(start.shape[1], device=start.device).repeat(len(start), 1)
            if number:
                order[:, places] = torch.stack([places[self._drawn(len(places))] for _ in start])
            whole[:, row] = start[seeds, order]
            value = score().double()
            if surprise is not None:
                value = value + self.weight * surprise(words[seeds, order])
            better = value < lowest
            lowest, kept = torch.where(better, value, lowest), torch.where(better.unsqueeze(1), order, kept)
        whole[:, row] = start[seeds, kept]

    def _drawn(self, length: int) -> Tensor:
        """Return a random reordering of `length` places."""
        kind = self.edits[_below(len(self.edits))]
        return torch.tensor(reordered(length, kind, *(_below(length) for _ in range(3))))


@dataclass(frozen=True)
class RandomStart(Move):
    """A move that, at the first step of a stage, searches for the best of many random candidates and orders of it.

    This is the initialisation of LAMP (Balunović et al., 2022, section 4.1); the best candidate has the lowest
    objective. It belongs in a stage of one step before the main optimisation.

    Args:
        candidates: Random candidates of the whole batch.
        permutations: Orders of the free positions of the best one, drawn for all sequences at once.
    """

    candidates: int = 500
    permutations: int = 500

    def __call__(self, candidate: Candidate, score: ScoreOf, at: Progress) -> None:
        """Run the search at the first step; do nothing at later ones."""
        if at.step:
            return
        guess = _of_tokens(candidate, self)
        embeddings = guess.variables["embeddings"]
        best, lowest = embeddings.clone(), score()
        for number in range(self.candidates + self.permutations):
            embeddings.copy_(guess.draw() if number < self.candidates else _shuffled(best, guess.frame.free))
            guess.project()
            value = score()
            better = value < lowest
            lowest = torch.where(better, value, lowest)
            best = torch.where(better.view(-1, 1, 1, 1), embeddings, best)
        embeddings.copy_(best)


def reordered(length: int, kind: Edit, first: int, second: int, third: int) -> list[int]:
    """Return, for each new place, the old place of its token.

    Args:
        length: Number of places.
        kind: Kind of reordering.
        first: In [0, length): a place, the beginning of a span, or the length of the prefix.
        second: In [0, length): the other place, the token's goal, or the last place of the span.
        third: In [0, length): the goal of the span.
    """
    order = list(range(length))
    if kind == "swap":
        order[first], order[second] = order[second], order[first]
        return order
    if kind == "prefix-to-end":
        return order[first:] + order[:first]
    low, high = (first, first) if kind == "move" else (min(first, second), max(first, second))
    span, rest = order[low : high + 1], order[:low] + order[high + 1 :]
    goal = (second if kind == "move" else third) % (len(rest) + 1)
    return rest[:goal] + span + rest[goal:]


def _shuffled(embeddings: Tensor, free: Tensor) -> Tensor:
    """Return the free positions of each sequence in a random order, separately for each seed."""
    shuffled = embeddings.clone()
    for seed in range(len(embeddings)):
        for row, places in enumerate(free):
            at = places.nonzero().flatten()
            shuffled[seed, row, at] = embeddings[seed, row, at[torch.randperm(len(at), device=at.device)]]
    return shuffled


def _below(limit: int) -> int:
    return int(torch.randint(limit, ()))


def _of_tokens(candidate: Candidate, part: Move) -> TokenCandidate:
    if not isinstance(candidate, TokenCandidate):
        raise AttackFailed(f"{part!r} reorders tokens, but the stage optimises {type(candidate).__name__}.")
    return candidate
