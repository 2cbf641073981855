"""The section `recoverability:` of an audit file: what the update determines, without any attack."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ..metrics.variance_bounds import PROBES, STEPS

LEVELS = (0.0, 1e-4, 1e-3, 1e-2)
MOST = 20  # noise levels


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class RecoverabilitySection(BaseModel):
    """`recoverability:` bounds how well any estimator can know each pixel, at several noise levels.

    Args:
        noise: Standard deviations of Gaussian noise on each entry of the update, in its units; 0 stands for the
            rounding error of the shared numbers.
        steps: Most steps of the bidiagonalisation where the Jacobian is too large to compute.
        probes: Number of random vectors for the standard error of such an estimate.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    noise: Annotated[
        tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1, max_length=MOST), BeforeValidator(_as_tuple)
    ] = LEVELS
    steps: Annotated[int, Field(ge=1, le=100_000)] = STEPS
    probes: Annotated[int, Field(ge=2, le=10_000)] = PROBES


def as_section(value: Any) -> Any:
    """Return the mapping of a section: `true` stands for all defaults, and `false` for no section."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value
