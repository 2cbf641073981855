"""The privacy filters that NVFlare ships, run as they are: their own code filters the update (extra `nvflare`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...values.errors import AuditError, guarded
from ...values.types import Tensors, Update
from ._defense import Defense, require


@dataclass(frozen=True)
class _NvflareFilter(Defense):
    """A filter of NVFlare on the update: it sees after minus before, as NVFlare's clients send it.

    A tensor that the filter removes is a tensor of zeros afterwards, because an update keeps its shapes here.
    """

    requires: ClassVar[str] = "nvflare"

    def __post_init__(self) -> None:
        if find_spec("nvflare") is None:
            raise AuditError(f"{self.name}: needs NVFlare 2.9 or later: `pip install 'gradaudit[nvflare]'`.")

    def filter(self) -> Any:
        """Return NVFlare's own filter with these settings."""
        raise NotImplementedError

    @property
    def local_steps(self) -> int:
        """Number of local steps that the filter is told of."""
        return 1

    def protect(self, tensors: Tensors) -> Tensors:
        """Return the tensors after the filter; they have the names `0`, `1`, … for it."""
        names = [f"{place:06d}" for place in range(len(tensors))]
        return tuple(self.filtered(dict(zip(names, tensors, strict=True))).values())

    def filtered(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors after the filter, in the same order, shapes and precisions."""
        sent = {name: -value.detach().cpu().double().numpy() for name, value in tensors.items()}
        with guarded(f"{self.name}: NVFlare's filter failed"), _seeded():
            left = apply_filter(self.filter(), sent, self.local_steps)
        return {
            name: -_like(left[name], value) if name in left else torch.zeros_like(value)
            for name, value in tensors.items()
        }

    def __call__(self, update: Update) -> Update:
        """Return the update after the filter, which sees the model's names."""
        return replace(update, tensors=self.filtered(update.tensors))


@dataclass(frozen=True)
class NvflarePercentilePrivacy(_NvflareFilter):
    """NVFlare's `PercentilePrivacy`: small entries become zero, the others are clipped to ±gamma per local step.

    The cut is one percentile of the magnitudes of all tensors together. Scalars pass unchanged. There is no noise, and
    no guarantee of differential privacy. With `gamma` at or below 0, or a percentile outside 0 to 100, NVFlare returns
    the update unchanged without a word, and an audit reports a defense that did nothing.

    Args:
        percentile: Entries with a magnitude below this percentile become zero.
        gamma: Largest magnitude of an entry, in units of the update of one local step.
        steps: Number of local steps that the client reports to the filter.
    """

    paper: ClassVar[str] = "doi:10.1145/2810103.2813687"
    percentile: float = 10
    gamma: float = 0.01
    steps: int = 1

    def __post_init__(self) -> None:
        require(self.steps >= 1, self, "steps must be at least 1")
        super().__post_init__()

    @property
    def local_steps(self) -> int:
        """Number of local steps that the filter is told of."""
        return self.steps

    def filter(self) -> Any:
        """Return NVFlare's own filter with these settings."""
        from nvflare.app_common.filters.percentile_privacy import PercentilePrivacy

        return PercentilePrivacy(percentile=self.percentile, gamma=self.gamma)

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the candidate clipped, on the support of the observed update."""
        if self.gamma <= 0 or not 0 <= self.percentile <= 100:
            return candidate
        return _on_support(candidate, observed, self.gamma * self.steps)


@dataclass(frozen=True)
class NvflareSvtPrivacy(_NvflareFilter):
    """NVFlare's `SVTPrivacy`: the sparse vector technique shares some entries, clipped to ±gamma and noisy.

    Scalars pass unchanged. NVFlare's default gamma is far below the entries of most updates, so that hardly anything of
    the update is left. A round spends `epsilon` for the selection, and `noise_var` for each shared entry.

    Args:
        fraction: Fraction of the entries that is shared.
        epsilon: Budget of the selection, for the threshold and the queries together.
        noise_var: Budget of each shared entry, whose noise has scale 2 · gamma / noise_var.
        gamma: Largest magnitude of an entry before its noise, in units of the update of one local step.
        tau: Threshold before its noise.
        replace: Whether the shared entries are drawn with replacement.
        steps: Number of local steps that the client reports to the filter.
    """

    paper: ClassVar[str] = "doi:10.1145/2810103.2813687"
    fraction: float = 0.1
    epsilon: float = 0.1
    noise_var: float = 0.1
    gamma: float = 1e-5
    tau: float = 1e-6
    replace: bool = True
    steps: int = 1

    def __post_init__(self) -> None:
        require(0 < self.fraction <= 1, self, "fraction must be in (0, 1]")
        require(min(self.epsilon, self.noise_var, self.gamma) > 0, self, "epsilon, noise_var, gamma must be positive")
        require(self.steps >= 1, self, "steps must be at least 1")
        super().__post_init__()

    @property
    def local_steps(self) -> int:
        """Number of local steps that the filter is told of."""
        return self.steps

    def filter(self) -> Any:
        """Return NVFlare's own filter with these settings."""
        from nvflare.app_common.filters.svt_privacy import SVTPrivacy

        return SVTPrivacy(self.fraction, self.epsilon, self.noise_var, self.gamma, self.tau, replace=self.replace)

    def spent(self, entries: int) -> float:
        """Return the epsilon that one round spends on an update with this many entries, by NVFlare's own account."""
        return self.epsilon + self.noise_var * math.ceil(self.fraction * entries)

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the candidate clipped, on the support of the observed update."""
        return _on_support(candidate, observed, self.gamma * self.steps)


@dataclass(frozen=True)
class NvflareExcludeVars(_NvflareFilter):
    """NVFlare's `ExcludeVars`: tensors with certain names do not leave the client.

    A list holds whole names, a text is a regular expression that is searched in each name. If none matches, every
    tensor leaves, and an audit reports a defense that did nothing. The server sees which tensors are missing, so grant
    it DEFENSE; here they are zero.

    Args:
        exclude_vars: Names, or a regular expression.
    """

    example: ClassVar[tuple[Any, ...]] = ("0",)
    paper: ClassVar[str] = "arXiv:2210.13291"
    exclude_vars: str | tuple[str, ...]

    def filter(self) -> Any:
        """Return NVFlare's own filter with these settings."""
        from nvflare.app_common.filters.exclude_vars import ExcludeVars

        chosen = self.exclude_vars
        return ExcludeVars(chosen if isinstance(chosen, str) else list(chosen))

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the candidate with zeros for every tensor that is zero in the observed update."""
        return tuple(c if bool(o.any()) else torch.zeros_like(c) for c, o in zip(candidate, observed, strict=True))


def apply_filter(shipped: Any, data: Mapping[str, np.ndarray], steps: int = 1) -> dict[str, np.ndarray]:
    """Return what a filter of NVFlare leaves of a weight difference, after minus before, as it leaves a client.

    Args:
        shipped: An object of NVFlare's filter class.
        data: Name -> array.
        steps: Number of local steps that the client reports.
    """
    from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
    from nvflare.apis.fl_context import FLContext

    copies = {name: np.array(value) for name, value in data.items()}
    dxo = DXO(DataKind.WEIGHT_DIFF, data=copies, meta={MetaKey.NUM_STEPS_CURRENT_ROUND: steps})
    return dict(from_shareable(shipped.process(dxo.to_shareable(), FLContext())).data)


@contextmanager
def _seeded() -> Iterator[None]:
    """Draw numpy's global random numbers in the block from torch's, which the client seeds; then restore them."""
    state = np.random.get_state()
    np.random.seed(int(torch.randint(2**32, ())))
    try:
        yield
    finally:
        np.random.set_state(state)


def _like(value: Any, tensor: Tensor) -> Tensor:
    return torch.as_tensor(np.asarray(value)).reshape(tensor.shape).to(tensor)


def _on_support(candidate: Tensors, observed: Tensors, most: float) -> Tensors:
    """Return the candidate clipped to ±most where the observed update is not zero; scalars as they are."""
    return tuple(c.clamp(-most, most) * (o != 0) if c.ndim else c for c, o in zip(candidate, observed, strict=True))
