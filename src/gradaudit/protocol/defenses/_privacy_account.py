"""The epsilon of a Gaussian mechanism over many steps, by Opacus' accountants (extra `dp`)."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec

from ...values.errors import AuditError
from ._defense import RoundWork


@dataclass(frozen=True)
class PrivacyAccount:
    """The privacy loss of equal steps of DP-SGD, for adding or removing one example.

    Args:
        accountant: `"rdp"` or `"prv"`.
        noise_multiplier: Standard deviation of the noise in units of the clipping norm.
        delta: δ.
        rate: Probability with which an example takes part in a step, or `None` if none is stated.
    """

    accountant: str
    noise_multiplier: float
    delta: float
    rate: float | None = None

    def epsilon(self, steps: int) -> float:
        """Return ε of so many steps, infinite without noise.

        Raises:
            AuditError: Opacus is not installed.
        """
        if not self.noise_multiplier:
            return math.inf
        if find_spec("opacus") is None:
            raise AuditError(
                "dp-sgd: its epsilon is computed by Opacus 1.5 or later. Install it with `pip install 'gradaudit[dp]'`."
            )
        return _spent(
            self.accountant, self.noise_multiplier, 1.0 if self.rate is None else self.rate, steps, self.delta
        )

    def sentence(self, work: RoundWork, rounds: int) -> str:
        """Return what is spent in one round and in so many rounds, or why not; raise `AuditError` as `epsilon`."""
        steps = work.steps
        if not self.noise_multiplier:
            return "dp-sgd adds no noise and gives no guarantee of differential privacy."
        if work.obstacle:
            return f"No epsilon of dp-sgd is stated. {work.obstacle}"
        whole = "" if rounds == 1 else f" and {self.epsilon(steps * rounds):.4g} in {rounds} rounds"
        sampled = (
            "no amplification by sampling is counted"
            if self.rate is None
            else f"the examples of a step are assumed to be sampled with probability {self.rate:.4g}"
        )
        return (
            f"dp-sgd spends epsilon {self.epsilon(steps):.4g} in this round of {steps} step{'s' * (steps > 1)}{whole}, "
            f"at delta {self.delta:g}, for adding or removing one example (Opacus, {self.accountant.upper()} "
            f"accountant); {sampled}."
        )


@lru_cache(maxsize=1024)
def _spent(accountant: str, noise_multiplier: float, rate: float, steps: int, delta: float) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # opacus: the best Rényi order is the largest or the smallest tried
        from opacus.accountants import create_accountant

        account = create_accountant(accountant)
        account.history = [(noise_multiplier, rate, steps)]
        return float(account.get_epsilon(delta=delta))
