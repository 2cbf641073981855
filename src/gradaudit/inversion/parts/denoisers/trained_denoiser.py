"""Denoising by a trained network (Zhang et al., 2021)."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Self

import numpy as np
import torch
from torch import nn

from ....models.denoising.trained_denoising import DenoisingNetwork
from ....values.errors import AttackFailed
from ....values.types import Knowledge
from ....values.validation import Positive
from ._denoiser import Denoiser, Image


@dataclass(frozen=True)
class TrainedDenoiser(Denoiser):
    """A network that was trained to remove Gaussian noise from images like the client's (`gradaudit train denoiser`).

    A network for grey images filters each channel of a colour image by itself. It runs on the CPU.

    Args:
        network: The network, by the name or path of its file.
        noise: Standard deviation of the noise that it is told, in units of pixels in [0, 1].
    """

    needs: ClassVar[Knowledge] = Knowledge.GENERATOR
    network: DenoisingNetwork = DenoisingNetwork("fashion-denoiser")
    noise: Positive = 0.1

    def at(self, noise: float) -> Self:
        """Return the same network, told another noise level."""
        return replace(self, noise=noise)

    def smooth(self, image: Image) -> Image:
        """Return the denoised image. Raise `AttackFailed` if the network is for images of other channels."""
        network, channels = _opened(self.network)
        planes = torch.from_numpy(np.ascontiguousarray(np.atleast_3d(image).transpose(2, 0, 1))).float()
        self._require_channels(channels, len(planes))
        pictures = planes[:, None] if channels == 1 else planes[None]
        with torch.no_grad():
            found = network(pictures, torch.full((len(pictures),), self.noise)).double()
        pixels: Image = (found[:, 0] if channels == 1 else found[0]).permute(1, 2, 0).numpy()
        return pixels[..., 0] if image.ndim == 2 else pixels

    def require_inputs(self, shape: tuple[int, ...]) -> None:
        """Raise `AttackFailed` if the network is missing or is for images of other channels."""
        self._require_channels(_opened(self.network)[1], shape[0])

    def _require_channels(self, channels: int, given: int) -> None:
        if channels not in (1, given):
            raise AttackFailed(
                f"the denoiser {self.network.label} is for images of {channels} channels, and these have "
                f"{given}. Train one on such images with `gradaudit train denoiser`."
            )


def _opened(network: DenoisingNetwork) -> tuple[nn.Module, int]:
    """Return the network and the channels of its images; it is built again only if its file has changed."""
    return _built(network, network.asset().digest)


@lru_cache(maxsize=4)
def _built(network: DenoisingNetwork, _digest: str) -> tuple[nn.Module, int]:
    built, asset = network.open()
    return built, network.architecture(asset).channels
