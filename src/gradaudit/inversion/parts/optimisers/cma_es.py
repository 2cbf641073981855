"""CMA-ES: search by values alone, without a gradient of the update (GGL; Li et al., 2022)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from cmaes import CMA, SepCMA  # type: ignore[import-untyped]
from pydantic import Field
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from ....values.validation import Count, Positive
from ._optimiser import Optimiser, Updates, constant

WORST = 1e300  # in place of a total that is not finite, which the search cannot rank


@dataclass(frozen=True)
class CmaEs(Optimiser):
    """The covariance matrix adaptation evolution strategy (Hansen & Ostermeier, 2001), by the library `cmaes`.

    A step draws a population around the mean of the search, evaluates the objective and the priors of each point once,
    without the gradient with respect to the candidate, and adapts mean and covariance. It therefore also works for
    models that are not twice differentiable. The first mean is the first candidate. Every point is an iterate like any
    other: the one with the lowest total is kept. Gradient transforms do not act.

    Every candidate has a search of its own over all its variables. The full covariance of N variables takes N² numbers
    and N³ operations in each step; above `full` variables, it is diagonal (Ros & Hansen, 2008).

    Args:
        population: Points in each step.
        sigma0: First standard deviation, in the units of the variables.
        full: Most variables of one candidate with a full covariance.
    """

    gradient_free: ClassVar[bool] = True
    population: Annotated[int, Field(ge=4)] = 50
    sigma0: Positive = 1.0
    full: Count = 128

    @property
    def evaluations(self) -> int:
        """The evaluations that one step counts for: one for each point."""
        return self.population

    def build(
        self, variables: list[Tensor], steps: int, updates: Updates | None = None
    ) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Return a fresh search over `variables` `[S, ...]`, and a constant schedule.

        Raise `ValueError` without `updates`, which it needs.
        """
        if updates is None:
            raise ValueError("CmaEs needs the totals of all candidates.")
        optimiser = _Population(variables, self, updates)
        return optimiser, constant(optimiser)


class _Population(torch.optim.Optimizer):
    def __init__(self, variables: list[Tensor], settings: CmaEs, updates: Updates) -> None:
        super().__init__(variables, {"lr": 1.0})
        self.variables, self.settings, self.updates = variables, settings, updates
        self.searches: list[CMA | SepCMA] = []

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:  # type: ignore[override]
        self.searches = self.searches or self.begun()
        points = [[search.ask() for search in self.searches] for _ in range(self.settings.population)]
        values = []
        for point in points:
            self.place(point)
            totals = self.updates.totals().double().nan_to_num(nan=WORST, posinf=WORST, neginf=-WORST)
            values.append(totals.cpu().numpy())
        for number, search in enumerate(self.searches):
            search.tell([(point[number], float(value[number])) for point, value in zip(points, values, strict=True)])
        best = np.argmin(values, axis=0)
        self.place([points[place][number] for number, place in enumerate(best)])

    def begun(self) -> list[CMA | SepCMA]:
        """Return a search around every candidate, seeded from torch's random state."""
        rows = torch.cat([variable.detach().flatten(1) for variable in self.variables], 1).double().cpu().numpy()
        kind = CMA if rows.shape[1] <= self.settings.full else SepCMA
        seeds = torch.randint(2**31, (len(rows),)).tolist()
        sizes: dict[str, Any] = {"sigma": self.settings.sigma0, "population_size": self.settings.population}
        return [kind(row.copy(), seed=seed, **sizes) for row, seed in zip(rows, seeds, strict=True)]

    def place(self, points: Sequence[np.ndarray[Any, Any]]) -> None:
        """Write one point of every search into the variables."""
        sizes = [variable[0].numel() for variable in self.variables]
        for variable, part in zip(self.variables, torch.from_numpy(np.stack(points)).split(sizes, 1), strict=True):
            variable.copy_(part.view_as(variable))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "searches": [_plain(search) for search in self.searches]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        own = dict(state_dict)
        saved = own.pop("searches")
        searches = self.begun() if saved else []
        for search, fields in zip(searches, saved, strict=True):
            vars(search).update({name: _restored(value) for name, value in fields.items()})
        super().load_state_dict(own)
        self.searches = searches


def _plain(search: CMA | SepCMA) -> dict[str, Any]:
    """Return the state of a search as tensors and plain numbers, which a checkpoint loads without executing code."""
    return {name: _stored(value) for name, value in vars(search).items()}


def _stored(value: Any) -> Any:
    if isinstance(value, np.random.RandomState):
        state: Any = value.get_state(legacy=False)
        keys, place = torch.from_numpy(state["state"]["key"].astype(np.int64)), int(state["state"]["pos"])
        return {"keys": keys, "place": place, "has_gauss": int(state["has_gauss"]), "gauss": float(state["gauss"])}
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    return value.item() if isinstance(value, np.generic) else value


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        random = np.random.RandomState()
        keys = value["keys"].numpy().astype(np.uint32)
        random.set_state(("MT19937", keys, value["place"], value["has_gauss"], value["gauss"]))
        return random
    return value.numpy().copy() if isinstance(value, Tensor) else value
