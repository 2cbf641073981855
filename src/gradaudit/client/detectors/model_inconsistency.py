"""Clients that received different models in one round (Pasquini et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..received import Received
from ._detector import Detector, Indicator, Places


@dataclass(frozen=True)
class ModelInconsistency(Detector):
    """Another client received another model in the same round.

    A server that sends each client a model of its own can cancel all updates but one inside a sum, so that secure
    aggregation does not hide it. Clients compare digests over a channel that the server does not control.

    Args:
        clients: Number of clients with another digest.
    """

    paper: ClassVar[str] = "arXiv:2111.07380"
    needs: ClassVar[frozenset[str]] = frozenset({"others"})
    sign: ClassVar[str] = (
        "Not all clients received this model: {where} received another one, as a server that evades secure "
        "aggregation sends them."
    )
    none: ClassVar[str] = "All clients whose digests you gave received this model."
    clients: float = 1

    def places(self, received: Received) -> Places:
        """Yield every client with another digest, or one place without a name if there is none."""
        others = [name for name, digest in (received.digests or {}).items() if digest != received.digest]
        indicator = Indicator("clients with another model", float(len(others)), self.clients, (0.0, 0.0))
        yield from ((name, (indicator,)) for name in others or [""])
