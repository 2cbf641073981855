"""The channel means of the batch: the M of AFGI's regulariser VME (Liu et al., 2024)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge, Modality, Normalisation
from ..part import Prior, Progress
from ._first_layer import means_from_gradient


@dataclass(frozen=True)
class ChannelMeans(Prior):
    """The squared distance of the batch's channel means from reference means.

    It is Σ_c (mean over batch and pixels of x[:, c] - m_c)², in normalised space. The paper publishes the three
    channels and that a discrepancy is penalised (arXiv:2403.08383, the abstract), but not the source of the reference
    m, which is our choice:

    - `"public"`: the mean of the public images if PUBLIC_DATA is granted; otherwise the mean that the normalisation
      subtracts, which is 0 in normalised space. If the client does not normalise, mid grey is used.
    - `"gradient"`: inferred from the first layer's weight and bias (`_first_layer.means_from_gradient`), clamped to the
      box. No fact is needed beyond the update. On 12 photographs per network, untrained, the distance to the true means
      (root mean square, normalised units) is 0.16 on the FedAvg CNN, 0.29 on LeNet and 0.00 on the MLP at B = 1,
      compared with 0.88 for m = 0; at B = 4 it is 0.45, 0.65 and 0.11 compared with 0.70.
    - `"oracle"`: the true means, granted by IMAGE_STATISTICS. Oracle: this adversary knows the ground truth's means.

    Args:
        source: Which of the three.
    """

    steady: ClassVar[bool] = True
    modality: ClassVar[Modality] = Modality.PICTURES
    source: Literal["public", "gradient", "oracle"] = "public"

    @property
    def needs(self) -> Knowledge:  # type: ignore[override]
        """IMAGE_STATISTICS for the oracle, otherwise nothing."""
        return Knowledge.IMAGE_STATISTICS if self.source == "oracle" else Knowledge.NOTHING

    def bind(self, seen: Observation) -> Callable[[Tensor, Progress], Tensor]:
        """Return the penalty on `[B, C, H, W]`.

        Raise `AttackFailed` if the data is not images, or if the gradient reveals no means.
        """
        if len(seen.input_shape) != 3:
            raise AttackFailed(f"{self!r} is for images.")
        reference = self.reference(seen)

        def penalty(inputs: Tensor, at: Progress) -> Tensor:
            return (inputs.mean((0, 2, 3)) - reference.to(inputs)).square().sum()

        return penalty

    def reference(self, seen: Observation) -> Tensor:
        """Return the reference means, `[C]`, in normalised space."""
        like = seen.update.values[0]
        low, high = (bound.flatten() for bound in seen.normalisation.box(like))
        if self.source == "gradient":
            return means_from_gradient(seen).clamp(low, high)
        if self.source == "oracle":
            if seen.image_statistics is None:
                raise AttackFailed(f"{self!r} needs the true channel means (IMAGE_STATISTICS).")
            pixels = seen.image_statistics.channel_means
        elif seen.public_data is not None:
            pixels = seen.public_data.mean((0, 2, 3))
        elif seen.normalisation == Normalisation():
            pixels = like.new_full(seen.input_shape[:1], 0.5)
        else:
            return like.new_zeros(seen.input_shape[:1])
        return seen.normalisation.apply(pixels.to(like).view(-1, 1, 1)).flatten()
