"""ROUGE-1, ROUGE-2 and ROUGE-L of texts, by the `rouge-score` library."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ROUGE = {"rouge1": "rouge1", "rouge2": "rouge2", "rougeL": "rougeL"}
ROUGE_NEEDS = "the package rouge-score is not installed (pip install 'gradaudit[text]')"


def rouge(guesses: Sequence[str], truths: Sequence[str]) -> dict[str, Tensor] | None:
    """F-measures of ROUGE-1, ROUGE-2 and ROUGE-L (Lin, 2004, aclanthology:W04-1013), without stemming.

    Words are lower-cased runs of letters and digits, as the library cuts them.

    Args:
        guesses: One text per example, aligned with `truths`.
        truths: One text per example.

    Returns:
        Variant -> `[B]` float64 in [0, 1]; `None` where the library is not installed (see `ROUGE_NEEDS`).
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        return None
    scorer = RougeScorer(list(ROUGE))
    found = [scorer.score(truth, guess) for guess, truth in zip(guesses, truths, strict=True)]
    return {name: torch.tensor([one[name].fmeasure for one in found], dtype=torch.float64) for name in ROUGE}
