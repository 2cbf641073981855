"""Training by mean squared error: auto-encoders and denoisers."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .fit import Losses, TrainingState
from .moving_average import MovingAverage

NOISE = (0.02, 0.3)  # standard deviations that a denoiser is trained for

Answer = Callable[[nn.Module, Tensor], Tensor]
"""The network's answer to a batch of images, which should be the batch itself."""


class Regression:
    """A network in training whose answer to an image should be the image, by Adam on the mean squared error.

    Args:
        network: The network with random weights.
        answer: Its answer to a batch.
        device: Where it is trained.
        rate: Adam's learning rate.
    """

    def __init__(self, network: nn.Module, answer: Answer, device: torch.device, rate: float = 1e-3) -> None:
        self.network, self.answer, self.device = network.to(device).train(), answer, device
        self.average = MovingAverage(self.network)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=rate)

    def step(self, pictures: Tensor, _labels: Tensor | None) -> Losses:
        """Train on one batch."""
        loss = F.mse_loss(self.answer(self.network, pictures), pictures)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.average.update(self.network)
        return {"error": float(loss.detach())}

    def state(self) -> TrainingState:
        """Return the weights, their average and the optimiser."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "averaged": self.average.steps,
            "optimiser": self.optimiser.state_dict(),
        }

    def load(self, state: TrainingState) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.average.steps = state["averaged"]
        self.optimiser.load_state_dict(state["optimiser"])

    def result(self) -> nn.Module:
        """Return the network with averaged weights, on the CPU."""
        return self.average.network.cpu().eval()


def reconstructed(network: nn.Module, pictures: Tensor) -> Tensor:
    """Return an auto-encoder's answer to a batch."""
    answer: Tensor = network(pictures)
    return answer


def denoised(network: nn.Module, pictures: Tensor) -> Tensor:
    """Return a denoiser's answer to a batch with Gaussian noise of a random standard deviation for each image."""
    low, high = NOISE
    noise = low + (high - low) * torch.rand(len(pictures), device=pictures.device)
    answer: Tensor = network(pictures + noise[:, None, None, None] * torch.randn_like(pictures), noise)
    return answer
