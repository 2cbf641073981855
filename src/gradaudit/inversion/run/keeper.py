"""An unfinished run on disk, so that a long attack can be stopped and go on."""

from __future__ import annotations

import glob
import hashlib
import io
import pickle
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ...client.observation import Observation
from ...values.errors import AuditError, AuditWarning
from ...values.files import delete, make_folder, read_whole, set_aside, write_whole

SECONDS = 30.0  # from one writing to the next
TRIES = 5
MARK = b"gradaudit unfinished run"
UNFIT = (pickle.UnpicklingError, LookupError, TypeError, ValueError, RuntimeError, AttributeError, EOFError)
Resumed = TypeVar("Resumed")
State = dict[str, Any]


class Keeper:
    """One file that holds one run as it stood a moment ago.

    A file that is damaged, or of another run, is set aside as `NAME.damaged` with a warning, and the run starts anew.

    Args:
        path: Of the file; its content is checked by its hash, then read without running anything in it.
        identity: What the run is.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self.identity, self.last = path, identity, time.monotonic()

    @classmethod
    def of(
        cls, path: Path, attack: object, seen: Sequence[Observation], seeds: Sequence[int], name: int | str = 0
    ) -> Keeper:
        """For one restart of one attack on one update, or under the name `all` for all restarts on several."""
        facts = hashlib.sha256(f"{attack!r} {list(seeds)} {name}".encode())
        for one in {id(one): one for one in seen}.values():
            facts.update(f"{one.knowledge} {one.input_shape} {one.batch_size}".encode())
            for tensor in one.update.values:
                facts.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return cls(path.with_name(f"{path.name}-{name}.pt"), facts.hexdigest())

    def resume(self, apply: Callable[[State], Resumed]) -> Resumed | None:
        """What `apply` makes of the saved run, with the random numbers put back; `None` where there is none.

        `apply` raises one of `UNFIT` for a state that does not fit, before it has changed what the run starts from.
        """
        raw = read_whole(self.path)
        if raw is None:
            return None
        now = _random()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch, on a state that no run of ours saves
                state = self._state(raw)
                found = apply(state)
                _set_random(state["random"])
        except UNFIT as error:
            _set_random(now)
            aside = set_aside(self.path)
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            warnings.warn(
                f"{self.path}: cannot be gone on from ({reason}). It is now {aside.name}, and the attack starts anew.",
                AuditWarning,
                stacklevel=2,
            )
            return None
        return found

    def _state(self, raw: bytes) -> State:
        mark, digest, content = (*raw.split(b"\n", 2), b"", b"")[:3]
        if mark != MARK or hashlib.sha256(content).hexdigest().encode() != digest:
            raise ValueError("it is damaged, or no unfinished run of this version")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if state["identity"] != self.identity:
            raise ValueError("it is of another attack, update or seed")
        if state["torch"] != torch.__version__:
            raise ValueError(f"it was saved by torch {state['torch']}, this is {torch.__version__}")
        return state

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self.last > SECONDS

    def save(self, state: State) -> None:
        """Write, whole or not at all; raises `AuditError` where that cannot be."""
        file = io.BytesIO()
        own = {"identity": self.identity, "torch": str(torch.__version__), "random": _random()}
        torch.save({**state, **own}, file)
        content = file.getvalue()
        self._write(b"\n".join((MARK, hashlib.sha256(content).hexdigest().encode(), content)))
        self.last = time.monotonic()

    def _write(self, content: bytes) -> None:
        """Write the file; a process that keeps its own run beside this one deletes the folder whenever it is empty."""
        for left in reversed(range(TRIES)):
            make_folder(self.path.parent, above=False)
            try:
                write_whole(self.path, content)
                return
            except AuditError as error:
                if not left or not isinstance(error.__cause__, FileNotFoundError):
                    raise


def beside(keep: Path, name: int | str) -> Path:
    """Where a part of an attack is kept that is kept at `keep`, such as one member of an ensemble."""
    return keep.with_name(f"{keep.name}-{name}")


def forget(keep: Path) -> None:
    """Delete what an attack that was given `keep` has left there, once what it found is safe; and the empty folder."""
    clear(keep.parent, f"{glob.escape(keep.name)}-*.pt")


def clear(folder: Path, pattern: str = "*.pt") -> None:
    """Delete the kept runs of a folder, all of them by default, and the folder where it is then empty."""
    delete(folder, pattern)
    with suppress(OSError):  # other runs are kept there
        folder.rmdir()


def optimiser_state(optimiser: Optimizer, schedule: LambdaLR) -> State:
    """What `load_optimiser` puts back."""
    last = {"last_epoch": schedule.last_epoch, "_last_lr": schedule.get_last_lr()}
    return {"optimiser": optimiser.state_dict(), "schedule": last}


def load_optimiser(state: State, optimiser: Optimizer, schedule: LambdaLR) -> None:
    """Put a fresh optimiser and its schedule back to where `optimiser_state` found them."""
    epoch, rates = int(state["schedule"]["last_epoch"]), list(state["schedule"]["_last_lr"])
    optimiser.load_state_dict(state["optimiser"])
    schedule.last_epoch, schedule._last_lr = epoch, rates


def require_alike(saved: Sequence[Tensor], held: Sequence[Tensor]) -> None:
    """Raise `ValueError` where saved tensors have not the shapes and kinds of those that they are to fill."""
    kinds = [[(tuple(tensor.shape), tensor.dtype) for tensor in tensors] for tensors in (saved, held)]
    if kinds[0] != kinds[1]:
        raise ValueError("its tensors have other shapes or kinds")


def _random() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_random(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
