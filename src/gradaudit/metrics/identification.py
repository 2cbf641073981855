"""Would the reconstruction pick its picture out of a gallery?"""

from __future__ import annotations

import torch
from torch import Tensor

from ..values.errors import AuditError
from ..values.measures import Compared, Computed, Metric
from ..values.types import Modality
from ._image_pairs import clean, clean_pair, clean_truth, mean_squared_errors

_BLOCK = 32  # distractors looked at together: bounds the memory, changes no rank


def identification_rank(reconstruction: Tensor, truth: Tensor, distractors: Tensor) -> Tensor:
    """Rank of the true picture by squared error in a gallery of itself and N distractors.

    After the image identifiability precision of Yin et al. (2021, arXiv:2104.07586), with pixels in place of deep
    features. Rank 1: the true picture is nearer to the reconstruction than every distractor. A tie counts against
    the attack, so that a copy of the true picture among the distractors costs it the first rank. All pictures are
    clamped to [0, 1]; a pixel of the reconstruction that is NaN or infinite is as far from every picture, and a
    reconstruction of nothing else has the last rank.

    Args:
        reconstruction: `[B, C, H, W]` floats, pixels, already aligned with `truth`.
        truth: `[B, C, H, W]` floats, pixels.
        distractors: `[N, C, H, W]` floats, pixels, none of them from the batch; N may be 0.

    Returns:
        `[B]` int64 in [1, N + 1].

    Raises:
        AuditError: The shapes differ or are not four-dimensional, a side is not of floats, or the truth or a distractor
            is not finite.
    """
    guess, true = clean_pair(reconstruction, truth)
    if clean(distractors[:0], "distractors").shape[1:] != true.shape[1:]:
        shapes = f"{list(distractors.shape[1:])}, the truth's {list(true.shape[1:])}"
        raise AuditError(f"distractors: their shape is {shapes}; both must be the same [C, H, W].")
    own = mean_squared_errors(guess, true).diagonal()
    ranks = torch.ones(len(true), dtype=torch.int64)
    for block in distractors.split(_BLOCK):
        others = mean_squared_errors(guess, clean_truth(block, "distractors"))
        ranks += (others <= own[:, None]).sum(1)
    return ranks


def _of(compared: Compared) -> Computed:
    if compared.distractors is None or not len(compared.distractors):
        return "no other pictures to tell it from"
    return identification_rank(compared.guess, compared.truth, compared.distractors)


METRIC = Metric(
    key="rank",
    name="identification rank",
    unit="",
    higher_is_better=False,
    meaning="Place of the true picture in a gallery sorted by squared error to the reconstruction, 1 = identified.",
    paper="arXiv:2104.07586",
    modality=Modality.PICTURES,
    compute=_of,
    place=3,
)
