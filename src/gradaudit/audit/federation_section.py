"""The section `federation:` of an audit file: the training that measures what a defense costs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_Rate = Annotated[float, Field(gt=0)]
_Some = Annotated[int, Field(ge=1, le=1_000_000)]


class FederationSection(BaseModel):
    """`federation:` trains the model of the audit in a federation, and measures its accuracy on held-out examples.

    Args:
        clients: Number of clients, which have the training and the defenses of the audit.
        rounds: Number of rounds.
        batch_size: Examples that a client draws in each round.
        examples: Training examples of all clients together.
        test_examples: Held-out examples.
        seeds: Number of trainings with different draws, over which the intervals are.
        server_rate: Step size of the server: a number, or name of a defense -> number.
        alpha: Concentration of a Dirichlet partition by class; by default the examples are dealt evenly.
        engine: `own`, or `flower` for Flower's simulation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    clients: Annotated[int, Field(ge=1, le=10_000)] = 4
    rounds: _Some = 20
    batch_size: _Some = 32
    examples: _Some = 2000
    test_examples: _Some = 1000
    seeds: Annotated[int, Field(ge=1, le=1000)] = 3
    server_rate: _Rate | dict[str, _Rate] | None = None
    alpha: _Rate | None = None
    engine: Literal["own", "flower"] = "own"
