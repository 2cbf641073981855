"""Checkpoints of an unfinished run, so that a long attack can be stopped and resumed."""

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

from ...models.trained import by_content
from ...protocol.observation import Observation
from ...values.errors import AuditError, AuditWarning
from ...values.files import delete, make_folder, read_whole, set_aside, write_whole

SECONDS = 30.0  # from one checkpoint to the next
TRIES = 5
MARK = b"gradaudit unfinished run"
UNFIT = (pickle.UnpicklingError, LookupError, TypeError, ValueError, RuntimeError, AttributeError, EOFError)
Resumed = TypeVar("Resumed")
State = dict[str, Any]


class Keeper:
    """The checkpoint file of one run.

    A file that is damaged, or belongs to another run, is renamed to `NAME.damaged` with a warning, and the run starts
    anew.

    Args:
        path: Path of the file; its content is checked by its hash, then loaded without executing code in it.
        identity: Hash that identifies the run.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self.identity, self.last = path, identity, time.monotonic()

    @classmethod
    def of(
        cls, path: Path, attack: object, seen: Sequence[Observation], seeds: Sequence[int], name: int | str = 0
    ) -> Keeper:
        """Return the keeper of one restart of an attack on one update.

        Under the name `all` it is that of all restarts on several updates.
        """
        facts = hashlib.sha256(f"{by_content(attack)!r} {list(seeds)} {name}".encode())
        for one in {id(one): one for one in seen}.values():
            facts.update(f"{one.knowledge} {one.input_shape} {one.batch_size}".encode())
            for tensor in one.update.values:
                facts.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return cls(path.with_name(f"{path.name}-{name}.pt"), facts.hexdigest())

    def resume(self, apply: Callable[[State], Resumed]) -> Resumed | None:
        """Return the result of `apply` on the checkpoint, and restore the random state.

        Return `None` if there is no checkpoint, or if it is unusable. `apply` raises one of `UNFIT` for a state that
        does not fit, before it has changed the state that the run starts from.
        """
        raw = read_whole(self.path)
        if raw is None:
            return None
        now = _random()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns about states that our runs never save
                state = self._state(raw)
                found = apply(state)
                _set_random(state["random"])
        except UNFIT as error:
            _set_random(now)
            aside = set_aside(self.path)
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            warnings.warn(
                f"{self.path}: cannot be resumed ({reason}). It is now {aside.name}, and the run starts anew.",
                AuditWarning,
                stacklevel=2,
            )
            return None
        return found

    def _state(self, raw: bytes) -> State:
        mark, digest, content = (*raw.split(b"\n", 2), b"", b"")[:3]
        if mark != MARK or hashlib.sha256(content).hexdigest().encode() != digest:
            raise ValueError("it is damaged, or not a checkpoint of this version")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if state["identity"] != self.identity:
            raise ValueError("it is of another attack, update or seed")
        if state["torch"] != torch.__version__:
            raise ValueError(f"it was saved by torch {state['torch']}, this is {torch.__version__}")
        return state

    @property
    def due(self) -> bool:
        """Whether it is time to write a checkpoint."""
        return time.monotonic() - self.last > SECONDS

    def save(self, state: State) -> None:
        """Write the checkpoint atomically. Raise `AuditError` if that is impossible."""
        file = io.BytesIO()
        own = {"identity": self.identity, "torch": str(torch.__version__), "random": _random()}
        torch.save({**state, **own}, file)
        content = file.getvalue()
        self._write(b"\n".join((MARK, hashlib.sha256(content).hexdigest().encode(), content)))
        self.last = time.monotonic()

    def _write(self, content: bytes) -> None:
        """Write the file, and retry if its folder vanishes.

        Another process with a checkpoint of its own in the folder deletes the folder whenever it is empty.
        """
        for left in reversed(range(TRIES)):
            make_folder(self.path.parent, above=False)
            try:
                write_whole(self.path, content)
                return
            except AuditError as error:
                if not left or not isinstance(error.__cause__, FileNotFoundError):
                    raise


def beside(keep: Path, name: int | str) -> Path:
    """Return the checkpoint path of a part of an attack, given the attack's path `keep`.

    A part is, for example, one member of an ensemble.
    """
    return keep.with_name(f"{keep.name}-{name}")


def forget(keep: Path) -> None:
    """Delete the checkpoints of an attack at `keep`, once its result is stored, and the folder if it is then empty."""
    clear(keep.parent, f"{glob.escape(keep.name)}-*.pt")


def clear(folder: Path, pattern: str = "*.pt") -> None:
    """Delete the checkpoints in a folder, all of them by default, and the folder if it is then empty."""
    delete(folder, pattern)
    with suppress(OSError):  # other runs have checkpoints there
        folder.rmdir()


def optimiser_state(optimiser: Optimizer, schedule: LambdaLR) -> State:
    """Return the state that `load_optimiser` restores."""
    last = {"last_epoch": schedule.last_epoch, "_last_lr": schedule.get_last_lr()}
    return {"optimiser": optimiser.state_dict(), "schedule": last}


def load_optimiser(state: State, optimiser: Optimizer, schedule: LambdaLR) -> None:
    """Restore a fresh optimiser and its schedule to the state that `optimiser_state` returned."""
    epoch, rates = int(state["schedule"]["last_epoch"]), list(state["schedule"]["_last_lr"])
    optimiser.load_state_dict(state["optimiser"])
    schedule.last_epoch, schedule._last_lr = epoch, rates


def require_alike(saved: Sequence[Tensor], held: Sequence[Tensor]) -> None:
    """Raise `ValueError` if saved tensors differ in shape or type from those that they are to replace."""
    kinds = [[(tuple(tensor.shape), tensor.dtype) for tensor in tensors] for tensors in (saved, held)]
    if kinds[0] != kinds[1]:
        raise ValueError("its tensors have other shapes or types")


def _random() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_random(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
