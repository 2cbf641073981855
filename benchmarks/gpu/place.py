"""The device: what it is, when it is done, what synchronises with it, and what is computed beside it."""

from __future__ import annotations

import os
import platform
import statistics
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

HERE = Path(__file__).parent
SRC = "gradaudit"


def described(device: str) -> str:
    """Return the device, the processor, the versions and the state of TF32."""
    tf32 = f"TF32 by default: convolutions {torch.backends.cudnn.allow_tf32}, "
    tf32 += f"products {torch.backends.cuda.matmul.allow_tf32}"
    host = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    if not device.startswith("cuda"):
        return f"{device}; {host}; torch {torch.__version__}; {tf32}"
    facts, free = torch.cuda.get_device_properties(device), torch.cuda.mem_get_info(device)[0]
    card = f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB ({free / 2**30:.1f} GiB free)"
    return f"{card}; {host}; torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}; {tf32}"


def synchronise(device: torch.device | str) -> None:
    """Wait until the device has done everything."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(call: Callable[[], object], device: str, seconds: float, samples: int = 20) -> float:
    """Return the median milliseconds of a call, after a warm-up.

    Several calls follow each other before the device is awaited, as in a run, which does not wait either. At least
    `samples` values are taken, fewer only if they would take more than four times `seconds`.
    """
    for _ in range(3):
        call()
    synchronise(device)
    started = time.perf_counter()
    call()
    synchronise(device)
    once = time.perf_counter() - started
    block = max(1, min(10, int(0.02 / max(once, 1e-6))))
    taken: list[float] = []
    begun = time.perf_counter()
    while True:
        started = time.perf_counter()
        for _ in range(block):
            call()
        synchronise(device)
        taken.append(1e3 * (time.perf_counter() - started) / block)
        spent = time.perf_counter() - begun
        if (len(taken) >= samples and spent > seconds) or (len(taken) >= 3 and spent > 4 * seconds):
            return statistics.median(taken)


@contextmanager
def synchronisations() -> Iterator[Counter[str]]:
    """Count the calls that wait for the GPU inside the block, by the line of the package that makes them."""
    found: Counter[str] = Counter()

    def note(message: Warning | str, *_: object, **__: object) -> None:
        if "synchronizing" in str(message):
            found[_line()] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note  # type: ignore[assignment]
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")


def _line() -> str:
    """Return the innermost line of the package on the stack."""
    frames = [frame for frame in traceback.extract_stack() if str(HERE) not in frame.filename]
    own = [frame for frame in frames if f"{os.sep}{SRC}{os.sep}" in frame.filename]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


class HostWork(TorchDispatchMode):
    """Counts the operations that return a tensor of several entries on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, call, types, args=(), kwargs=None):
        result = call(*args, **(kwargs or {}))
        if any(isinstance(one, Tensor) and one.device.type == "cpu" and one.numel() > 1 for one in tree_leaves(result)):
            self.found[f"{_line()} {call.__name__ if hasattr(call, '__name__') else call}"] += 1
        return result
