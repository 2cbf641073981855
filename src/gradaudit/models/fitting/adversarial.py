"""Training of a generator against a discriminator or a critic: DCGAN and WGAN-GP."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..generators import GeneratorArchitecture
from ..generators._generator_network import GeneratorNetwork
from .augmentation import augmented
from .fit import Losses, TrainingState
from .moving_average import MovingAverage

PENALTY = 10.0  # weight of WGAN-GP's gradient penalty
SETTLING = 50  # batches from which the statistics of the BatchNorm layers are taken at the end


@dataclass(frozen=True)
class Rivalry:
    """How generator and critic are trained.

    Args:
        wasserstein: Whether by the Wasserstein distance with gradient penalty (Gulrajani et al., 2017), else by binary
            cross-entropy (Radford et al., 2016).
        rate: Learning rate of both Adams.
        momentum: First beta of both Adams.
        second: Second beta of both Adams.
        critics: Steps of the critic for one of the generator.
        augment: Whether the critic sees images through `augmented`, which helps with few images.
    """

    wasserstein: bool = False
    rate: float = 2e-4
    momentum: float = 0.5
    second: float = 0.999
    critics: int = 1
    augment: bool = True


DCGAN_RIVALRY = Rivalry()
"""The values of the DCGAN paper."""
WGAN_GP_RIVALRY = Rivalry(wasserstein=True, rate=3e-4, momentum=0.5, second=0.9, critics=5, augment=False)
"""The values of the authors' code of WGAN-GP for CIFAR-10 but the rate, 1e-4 there: that run took 200 000 steps."""


class Adversarial:
    """A generator and its critic in training; the result is the moving average of the generator.

    Args:
        architecture: The architecture of the generator, which knows its critic.
        rivalry: How both are trained.
        device: Where they are trained.
    """

    def __init__(self, architecture: GeneratorArchitecture, rivalry: Rivalry, device: torch.device) -> None:
        self.rivalry, self.device = rivalry, device
        self.generator, self.critic = architecture.build(), architecture.critic()
        if not rivalry.wasserstein:  # so small weights leave the slope of a critic without BatchNorm near 0
            self.generator.apply(_normal), self.critic.apply(_normal)
        self.generator.to(device).train(), self.critic.to(device).train()
        self.average = MovingAverage(self.generator)
        self.optimisers = [self._adam(self.generator), self._adam(self.critic)]
        self.turns = 0
        self.last = 0.0  # the generator's last loss

    def step(self, pictures: Tensor, labels: Tensor | None) -> Losses:
        """Train the critic on one batch, and the generator if it is its turn."""
        real = pictures * 2 - 1
        fake = self._fake(len(real), labels)
        critic = self._critic_loss(real, fake.detach(), labels)
        _descend(self.optimisers[1], critic)
        self.turns += 1
        if self.turns % self.rivalry.critics == 0:
            answer = self._judged(fake, labels)
            loss = -answer.mean() if self.rivalry.wasserstein else F.softplus(-answer).mean()
            _descend(self.optimisers[0], loss)
            self.average.update(self.generator)
            self.last = float(loss.detach())
        return {"generator": self.last, "critic": float(critic.detach())}

    def state(self) -> TrainingState:
        """Return both networks, the average and both optimisers."""
        return {
            "generator": self.generator.state_dict(),
            "critic": self.critic.state_dict(),
            "average": self.average.network.state_dict(),
            "averaged": self.average.steps,
            "optimisers": [one.state_dict() for one in self.optimisers],
            "turns": self.turns,
            "last": self.last,
        }

    def load(self, state: TrainingState) -> None:
        """Go on from a state."""
        self.generator.load_state_dict(state["generator"])
        self.critic.load_state_dict(state["critic"])
        self.average.network.load_state_dict(state["average"])
        self.average.steps, self.turns, self.last = state["averaged"], state["turns"], state["last"]
        for one, saved in zip(self.optimisers, state["optimisers"], strict=True):
            one.load_state_dict(saved)

    @torch.no_grad()
    def result(self) -> GeneratorNetwork:
        """Return the averaged generator on the CPU, with BatchNorm statistics of its own images."""
        found: GeneratorNetwork = self.average.network  # type: ignore[assignment]
        norms = [layer for layer in found.modules() if isinstance(layer, nn.BatchNorm2d)]
        for layer in norms:
            layer.reset_running_stats()
            layer.momentum = None  # the mean over all batches
        found.train()
        for _ in range(SETTLING):
            z = torch.randn(64, found.latent, device=self.device)
            found(z, torch.randint(found.classes, (64,), device=self.device) if found.classes else None)
        for layer in norms:
            layer.momentum = 0.1
        return found.cpu().eval()

    def _adam(self, network: nn.Module) -> torch.optim.Adam:
        betas = (self.rivalry.momentum, self.rivalry.second)
        return torch.optim.Adam(network.parameters(), lr=self.rivalry.rate, betas=betas)

    def _fake(self, count: int, labels: Tensor | None) -> Tensor:
        """Return generated images in [-1, 1], of the classes of the real ones."""
        made: Tensor = self.generator(torch.randn(count, self.generator.latent, device=self.device), labels)
        return made * 2 - 1

    def _judged(self, pictures: Tensor, labels: Tensor | None) -> Tensor:
        """Return the critic's score of each image, `[B]`; of a conditional one, together with the class."""
        seen = augmented(pictures) if self.rivalry.augment else pictures
        return self._scored(seen, labels)

    def _scored(self, seen: Tensor, labels: Tensor | None) -> Tensor:
        if self.generator.classes and labels is not None:
            hot = F.one_hot(labels, self.generator.classes).to(seen)
            seen = torch.cat([seen, hot[:, :, None, None].expand(-1, -1, *seen.shape[2:])], dim=1)
        score: Tensor = self.critic(seen)
        return score

    def _critic_loss(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> Tensor:
        scores = self._judged(real, labels), self._judged(fake, labels)
        if not self.rivalry.wasserstein:
            return F.softplus(-scores[0]).mean() + F.softplus(scores[1]).mean()
        return scores[1].mean() - scores[0].mean() + PENALTY * self._penalty(real, fake, labels)

    def _penalty(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> Tensor:
        """Return the mean of (|gradient of the critic| - 1)² at random points between real and generated images."""
        share = torch.rand(len(real), 1, 1, 1, device=real.device)
        between = (share * real + (1 - share) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(self._scored(between, labels).sum(), between, create_graph=True)
        return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def _normal(layer: nn.Module) -> None:
    """Draw the weights of a layer as in the DCGAN paper: N(0, 0.02), BatchNorm's factors N(1, 0.02)."""
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(layer.weight, 0.0, 0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)
        nn.init.zeros_(layer.bias)


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
