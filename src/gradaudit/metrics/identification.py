"""The identification rank: the rank of the true image in a gallery by its distance to the reconstruction."""

from __future__ import annotations

import torch
from torch import Tensor

from ..values.errors import AuditError
from ..values.measures import Compared, Computed, Metric
from ..values.types import Modality
from ._image_pairs import clean, clean_pair, clean_truth, mean_squared_errors

_BLOCK = 32  # distractors compared at once: limits the memory without changing any rank


def identification_rank(reconstruction: Tensor, truth: Tensor, distractors: Tensor) -> Tensor:
    """Return the rank of the true image by squared error in a gallery of itself and N distractors.

    The rank follows the image identifiability precision of Yin et al. (2021, arXiv:2104.07586), with pixels in place of
    deep features. At rank 1, the true image is closer to the reconstruction than every distractor. A tie counts against
    the attack: a copy of the true image among the distractors rules out rank 1. All images are clamped to [0, 1]. A
    pixel of the reconstruction that is NaN or infinite has the same error against every image, and a reconstruction of
    only such pixels has the last rank.

    Args:
        reconstruction: `[B, C, H, W]` floats, pixels, already aligned with `truth`.
        truth: `[B, C, H, W]` floats, pixels.
        distractors: `[N, C, H, W]` floats, pixels, none of them from the batch; N may be 0.

    Returns:
        `[B]` int64 in [1, N + 1].

    Raises:
        AuditError: The shapes differ or are not four-dimensional, a tensor is not floating point, or the ground truth
            or a distractor is not finite.
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
        return "there are no other images to compare with"
    return identification_rank(compared.guess, compared.truth, compared.distractors)


METRIC = Metric(
    key="rank",
    name="identification rank",
    unit="",
    higher_is_better=False,
    meaning="Rank of the true image in a gallery sorted by squared error to the reconstruction; 1 = identified.",
    paper="arXiv:2104.07586",
    modality=Modality.PICTURES,
    compute=_of,
    place=3,
)
