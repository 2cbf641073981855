"""An unfinished run on disk, so that a long attack can be stopped and go on."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..observation import Observation

SECONDS = 30.0  # from one writing to the next


class Keeper:
    """One file that holds one run as it stood a moment ago.

    Args:
        path: Of the file.
        identity: What the run is; a file of another run is not read.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self.identity, self.last = path, identity, time.monotonic()

    @classmethod
    def of(
        cls, path: Path, attack: object, seen: Sequence[Observation], seeds: Sequence[int], number: int = 0
    ) -> Keeper:
        """For one restart of one attack on one update, or for all restarts on several."""
        facts = hashlib.sha256(f"{attack!r} {list(seeds)} {number}".encode())
        for tensor in (tensor for one in seen for tensor in one.update.values):
            facts.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return cls(path.with_name(f"{path.name}-{number}.pt"), facts.hexdigest())

    def load(self) -> dict[str, Any] | None:
        """What was saved, with the random numbers put back, or `None`."""
        if not self.path.is_file():
            return None
        state = torch.load(self.path, weights_only=True)
        if state["identity"] != self.identity:
            return None
        torch.set_rng_state(state["random"])
        if torch.cuda.is_available() and state["random_cuda"]:
            torch.cuda.set_rng_state_all(state["random_cuda"])
        return state

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self.last > SECONDS

    def save(self, state: dict[str, Any]) -> None:
        """Write, whole or not at all."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        whole = {**state, "identity": self.identity, "random": torch.get_rng_state(), "random_cuda": cuda}
        unfinished = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.save(whole, unfinished)
            os.replace(unfinished, self.path)
        finally:
            unfinished.unlink(missing_ok=True)
        self.last = time.monotonic()

    def forget(self) -> None:
        """The run is done."""
        self.path.unlink(missing_ok=True)
