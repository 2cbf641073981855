"""ROUGE-1, ROUGE-2 and ROUGE-L of texts, by the `rouge-score` library."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..values.measures import Compared, Computed, Metric
from ..values.types import Modality

ROUGE = {"rouge1": "rouge1", "rouge2": "rouge2", "rougeL": "rougeL"}
ROUGE_NEEDS = "the package rouge-score is not installed (pip install 'gradaudit[text]')"


def rouge(
    guesses: Sequence[str], truths: Sequence[str], *, variants: Sequence[str] = tuple(ROUGE)
) -> dict[str, Tensor] | None:
    """Return the F-measures of ROUGE-1, ROUGE-2 and ROUGE-L (Lin, 2004, aclanthology:W04-1013), without stemming.

    The library splits a text into words, which are lower-cased runs of letters and digits.

    Args:
        guesses: One reconstructed text for each example, aligned with `truths`.
        truths: One private text for each example.
        variants: The variants to compute, keys of `ROUGE`.

    Returns:
        Variant -> `[B]` float64 in [0, 1]; `None` if the library is not installed (see `ROUGE_NEEDS`).
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        return None
    scorer = RougeScorer(list(variants))
    found = [scorer.score(truth, guess) for guess, truth in zip(guesses, truths, strict=True)]
    return {name: torch.tensor([one[name].fmeasure for one in found], dtype=torch.float64) for name in variants}


def _of(variant: str) -> Callable[[Compared], Computed]:
    def compute(compared: Compared) -> Computed:
        found = rouge(*compared.words, variants=(variant,))
        return found[variant] if found else ROUGE_NEEDS

    return compute


ROUGE_1 = Metric(
    key="rouge1",
    name="ROUGE-1",
    unit="",
    higher_is_better=True,
    meaning="F-measure of the words that text and reconstruction have in common, in any order.",
    paper="doi:10.3115/1073445.1073465",
    modality=Modality.TEXT,
    compute=_of("rouge1"),
    place=12,
)
ROUGE_2 = Metric(
    key="rouge2",
    name="ROUGE-2",
    unit="",
    higher_is_better=True,
    meaning="F-measure of the pairs of neighbouring words that text and reconstruction have in common.",
    paper="doi:10.3115/1073445.1073465",
    modality=Modality.TEXT,
    compute=_of("rouge2"),
    place=13,
)
ROUGE_L = Metric(
    key="rougeL",
    name="ROUGE-L",
    unit="",
    higher_is_better=True,
    meaning="F-measure of the longest sequence of words that occurs in both in the same order, with gaps allowed.",
    paper="doi:10.3115/1218955.1219032",
    modality=Modality.TEXT,
    compute=_of("rougeL"),
    place=14,
)
