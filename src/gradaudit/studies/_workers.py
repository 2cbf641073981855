"""Several seeds of a study at once. A seed stays in one process, where its cells share what they ran."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import torch

from ..values.errors import AuditError
from ..values.terminal import show_warnings
from ._definition import Cell

MeasureCell = Callable[[Cell, int], None]
"""Makes one measurement and writes it down; can be sent to another process."""
SECONDS = 1.0  # between two looks at how far the processes are


def side_by_side(
    tasks: Sequence[tuple[Cell, int]], measure: MeasureCell, workers: int, look: Callable[[], None]
) -> None:
    """Make all measurements; `look` is called now and then.

    Args:
        tasks: Cells with their seeds.
        measure: Of one of them.
        workers: Processes, at most one for each seed.
        look: Reads progress off what is written.

    Raises:
        AuditError: A measurement fails, or a process ends; the others that run are stopped.
    """
    seeds: dict[int, list[Cell]] = {}
    for cell, seed in tasks:
        seeds.setdefault(seed, []).append(cell)
    threads = max(1, torch.get_num_threads() // workers)
    spawn = multiprocessing.get_context("spawn")  # a forked process may hang in torch's threads
    with ProcessPoolExecutor(min(workers, len(seeds)), spawn, _begin, (threads,)) as pool:
        with _deaf():
            running: set[Future[None]] = {pool.submit(_all_of, measure, cells, seed) for seed, cells in seeds.items()}
        try:
            while running:
                ended, running = wait(running, SECONDS, FIRST_EXCEPTION)
                look()
                for future in ended:
                    future.result()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            if isinstance(error, BrokenProcessPool):
                raise AuditError(
                    "a process of the study was ended from outside, perhaps for want of memory. What was measured is "
                    "kept; take fewer --workers."
                ) from error
            raise


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that begin meanwhile do not hear Ctrl-C, which reaches the whole group: the parent answers for all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    show_warnings()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A process that outlived the one that holds the folder would write beside the next one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _all_of(measure: MeasureCell, cells: Sequence[Cell], seed: int) -> None:
    for cell in cells:
        measure(cell, seed)
