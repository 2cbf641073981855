"""The error of an auto-encoder, which is large on images unlike those it was trained on (GI-PIP, 2024)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ....models.assets import Asset
from ....models.auto_encoders.trained_auto_encoder import AutoEncoder
from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge, Modality
from ....values.validation import NonNegative
from ..part import Prior, Progress


@dataclass(frozen=True)
class AutoEncoderError(Prior):
    """The anomaly score of GI-PIP: |MSE(x, AE(x)) - τ|, with x as pixels clamped to [0, 1].

    An auto-encoder trained on images like the client's reproduces such images up to a typical error τ, and others not.
    The mean squared error is over the whole batch. Gradients flow through the auto-encoder and through x.

    Args:
        network: The auto-encoder, by the name or path of its file (`gradaudit train auto-encoder`).
        tau: τ; by default its error on held-out images, which its file holds. The paper takes 0.001 for CIFAR-10.
    """

    steady: ClassVar[bool] = True
    modality: ClassVar[Modality] = Modality.PICTURES
    needs: ClassVar[Knowledge] = Knowledge.GENERATOR
    network: AutoEncoder = AutoEncoder("fashion-auto-encoder")
    tau: NonNegative | None = None

    def bind(self, seen: Observation) -> Callable[[Tensor, Progress], Tensor]:
        """Return the penalty, with the auto-encoder on the device of the update.

        Raises:
            AttackFailed: There is no such file, it is for images of another shape, or it holds no τ and none is given.
        """
        network, asset = self.network.open()
        self._require_shape(asset, tuple(seen.input_shape))
        network.to(seen.update.values[0])
        tau, normalisation = self._tau(asset.facts), seen.normalisation

        def penalty(inputs: Tensor, at: Progress) -> Tensor:
            pixels = normalisation.invert(inputs).clamp(0, 1)
            return ((network(pixels) - pixels).square().mean() - tau).abs()

        return penalty

    def require_inputs(self, shape: tuple[int, ...]) -> None:
        """Raise `AttackFailed` if the auto-encoder is missing or is for images of another shape."""
        self._require_shape(self.network.asset(), shape)

    def _require_shape(self, asset: Asset, shape: tuple[int, ...]) -> None:
        sizes = self.network.architecture(asset)
        own = (sizes.channels, sizes.size, sizes.size)
        if shape != own:
            found, wanted = (" x ".join(map(str, one)) for one in (own, shape))
            raise AttackFailed(
                f"AutoEncoderError: {self.network.label} is for images of {found}, and the client's are {wanted}. "
                f"Train one on such images (`gradaudit train auto-encoder --data DATA --size {wanted.split()[-1]} "
                "--out FILE`) and name it as `network.source` of this prior."
            )

    def _tau(self, facts: object) -> float:
        if self.tau is not None:
            return self.tau
        scores = facts.get("held_out") if isinstance(facts, dict) else None
        found = scores.get("error") if isinstance(scores, dict) else None
        if not isinstance(found, (int, float)):
            raise AttackFailed(
                f"AutoEncoderError: {self.network.label} holds no error on held-out images. Give tau, such as 0.001."
            )
        return float(found)
