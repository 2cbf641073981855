"""Training an inverter on updates that are simulated on the fly (Wu et al., 2023, section 3)."""

from __future__ import annotations

import time
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..inversion.attack import TimeLimit, Watch
from ..inversion.run.keeper import Keeper
from ..values.chance import seeded
from ..values.errors import AttackFailed
from ..values.types import Curve
from ..values.validation import Checked, Count, Positive
from ._inverter import Inverter, matched_error
from ._simulated_client import SimulatedClient

LOOKS = 20  # how often the held-out error is measured
MOST_HELD_OUT = 256  # batches
SHOWN = 8  # held-out batches in `TrainedInverter.samples`


@dataclass(frozen=True)
class InverterRecipe(Checked):
    """How an inverter is made.

    Args:
        steps: Steps of Adam, each on new simulated updates.
        minibatch: Updates in a step.
        rate: Learning rate of Adam; a tenth of it after three quarters of the steps.
        width: Units of both hidden layers.
        hashing: Number of features over that of the update's entries, in (0, 1]; 1 is no hashing.
        standardise: Whether features are standardised.
        held_out: Share of the public images on which the error is measured, in (0, 1).
    """

    steps: Count = 1_000
    minibatch: Count = 64
    rate: Positive = 1e-3
    width: Count = 1_000
    hashing: Positive = 0.25
    standardise: bool = True
    held_out: Positive = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hashing > 1 or self.held_out >= 1:
            raise AttackFailed("lti: hashing must be in (0, 1] and held_out in (0, 1).")


@dataclass(frozen=True, eq=False)
class TrainedInverter:
    """An inverter and the facts about its training.

    Args:
        inverter: The network at its lowest held-out error.
        error: Its mean squared error on held-out images.
        control: That of the mean of the training images.
        updates: Number of simulated updates.
        images: Number of public images that it was trained on.
        seconds: Time of the training.
        done: Steps that were taken.
        steps: Steps of the whole training.
        curve: Held-out error over the steps.
        samples: Up to eight held-out batches, and what the inverter returns for them, `[n, B, C, H, W]` each.
    """

    inverter: Inverter
    error: float
    control: float
    updates: int
    images: int
    seconds: float = 0.0
    done: int = 0
    steps: int = 0
    curve: Curve = ()
    samples: tuple[Tensor, Tensor] | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on the training."""
        gain = self.error < self.control
        return (
            f"Trained on {self.updates} simulated updates of {self.images} public images in {self.seconds:.0f} s.",
            f"Its error on held-out public images is {self.error:.4f}, that of the mean image {self.control:.4f}"
            + ("." if gain else ": it has learnt nothing from these updates."),
        )


class InverterTraining:
    """One training, which can be saved and resumed.

    Args:
        recipe: The hyper-parameters.
        client: The simulated client.
        images: `[N, C, H, W]` in [0, 1], the public images.
        labels: `[N]`, or `None`: then every image gets a random class each time it is drawn.
        name: Name of the attack in errors.
    """

    def __init__(
        self, recipe: InverterRecipe, client: SimulatedClient, images: Tensor, labels: Tensor | None, name: str
    ) -> None:
        self.recipe, self.client, self.name = recipe, client, name
        size, held = client.batch_size, max(client.batch_size, round(recipe.held_out * len(images)))
        if len(images) - held < size:
            raise AttackFailed(
                f"{name}: {len(images)} public images are too few to train on batches of {size}. Give more public_data."
            )
        if labels is not None and not 0 <= int(labels.min()) <= int(labels.max()) < client.classes:
            raise AttackFailed(f"{name}: a public image has a label that is no class of the model. Fix public_data.")
        order = torch.randperm(len(images))
        self.images, self.labels = images, labels
        self.free, kept = order[held:], order[:held]
        self.inverter = Inverter(
            client.entries, (size, *client.input_shape), recipe.width, recipe.hashing, recipe.standardise
        ).to(images.device)
        self.adam = torch.optim.Adam(self.inverter.parameters(), recipe.rate)
        self.held = self._pairs(kept[: len(kept) // size * size].view(-1, size)[:MOST_HELD_OUT])
        mean = images[self.free].mean(0).to(self.held[1])
        self.control = float((self.held[1] - mean).square().mean())
        self.best, self.error, self.done, self.seconds = _copy(self.inverter), float("inf"), 0, 0.0
        self.curve: list[tuple[int, float]] = []

    def run(self, watch: Watch | None, keeper: Keeper | None) -> TrainedInverter:
        """Train to the end, or to that of a time limit. Raise `AttackFailed` if there is no time for a step."""
        if keeper is not None:
            keeper.resume(self._load)
        recipe, limit = self.recipe, watch if isinstance(watch, TimeLimit) else None
        every = max(1, recipe.steps // LOOKS)
        while self.done < recipe.steps and not (limit and limit.spent):
            started = time.perf_counter()
            loss = self._step()
            if self.done % every == 0 or self.done == recipe.steps:
                self._look()
            self.seconds += time.perf_counter() - started
            if keeper is not None and (keeper.due or self.done == recipe.steps):
                keeper.save(self._state())
            if watch is not None:
                watch(self.done, recipe.steps, loss)
        return self._finished()

    def _finished(self) -> TrainedInverter:
        """Return the inverter at its lowest held-out error."""
        if not self.done:
            raise AttackFailed(
                f"{self.name}: the budget ended before the first step. Give a larger budget, or fewer attacks."
            )
        if not self.curve or self.curve[-1][0] != self.done:
            self._look()
        self.inverter.load_state_dict(self.best)
        features, truth = (tensor[:SHOWN] for tensor in self.held)
        with torch.no_grad():
            samples = truth, self.inverter.eval()(features)
        updates, images = self.done * self.recipe.minibatch, len(self.free)
        return TrainedInverter(
            self.inverter, self.error, self.control, updates, images, self.seconds, self.done, self.recipe.steps,
            tuple(self.curve), samples,
        )  # fmt: skip

    def _step(self) -> float:
        """Take one step on new updates; return its loss."""
        recipe, inverter = self.recipe, self.inverter
        if self.done >= 0.75 * recipe.steps:
            self.adam.param_groups[0]["lr"] = recipe.rate / 10
        features, truth = self._pairs(self.free[_drawn(recipe.minibatch, self.client.batch_size, len(self.free))])
        inverter.notice(features)
        with torch.enable_grad():
            loss = matched_error(inverter(features), truth)
            self.adam.zero_grad()
            loss.backward()
        self.adam.step()
        self.done += 1
        return float(loss.detach())

    @torch.no_grad()
    def _pairs(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return features `[n, m']` and images `[n, B, C, H, W]` of batches of public images at `indices` `[n, B]`."""
        found, size = [], self.client.at_once
        for some in indices.to(self.images.device).split(size):
            labels = torch.randint(self.client.classes, some.shape, device=some.device)
            labels = labels if self.labels is None else self.labels[some]
            found.append(self.inverter.hashed(self.client.updates(self.images[some], labels)))
        return torch.cat(found), self.images[indices.to(self.images.device)].to(found[0])

    @torch.no_grad()
    def _look(self) -> None:
        """Measure the held-out error, and keep the inverter if it is the lowest so far."""
        guess = [self.inverter(some) for some in self.held[0].split(64)]
        error = float(matched_error(torch.cat(guess), self.held[1]))
        self.curve.append((self.done, error))
        if error < self.error:
            self.best, self.error = _copy(self.inverter), error

    def _state(self) -> dict[str, Any]:
        plain = {"done": self.done, "error": self.error, "seconds": self.seconds, "curve": list(map(list, self.curve))}
        return {**plain, "inverter": _copy(self.inverter), "best": self.best, "adam": self.adam.state_dict()}

    def _load(self, state: dict[str, Any]) -> None:
        """Resume from `state`. Raise `ValueError` if it does not fit, before anything has changed."""
        done = int(state["done"])
        if not 0 < done <= self.recipe.steps:
            raise ValueError("its position in the training does not exist")
        inverter = deepcopy(self.inverter)
        inverter.load_state_dict(state["best"])
        inverter.load_state_dict(state["inverter"])
        adam = torch.optim.Adam(inverter.parameters(), self.recipe.rate)
        adam.load_state_dict(state["adam"])
        self.inverter, self.adam = inverter, adam
        self.best, self.error, self.done = state["best"], float(state["error"]), done
        self.seconds, self.curve = float(state["seconds"]), [(int(x), float(y)) for x, y in state["curve"]]


def _drawn(many: int, size: int, total: int) -> Tensor:
    """Return the places of the images of one step among `total`, `[many, size]`; none is twice in a batch."""
    if size == 1:
        return torch.randint(total, (many, 1))
    return torch.stack([torch.randperm(total)[:size] for _ in range(many)])


def _copy(inverter: Inverter) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in inverter.state_dict().items()}


def train(
    recipe: InverterRecipe,
    client: SimulatedClient,
    images: Tensor,
    labels: Tensor | None,
    *,
    name: str,
    seed: int = 0,
    watch: Watch | None = None,
    keeper: Keeper | None = None,
) -> TrainedInverter:
    """Train an inverter; the global random state is not changed, and equal seeds give equal results on the CPU."""
    with seeded(seed, images.device):
        return InverterTraining(recipe, client, images, labels, name).run(watch, keeper)
