"""Parallel execution of the seeds of a study. The cells of one seed run in one process and share results."""

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
"""Runs one measurement and writes it to disk; picklable."""
SECONDS = 1.0  # between two checks of the progress


def side_by_side(
    tasks: Sequence[tuple[Cell, int]], measure: MeasureCell, workers: int, look: Callable[[], None]
) -> None:
    """Run all measurements in several processes.

    Args:
        tasks: Cells with their seeds.
        measure: Runs one of them.
        workers: Number of processes, at most one per seed.
        look: Called regularly to read the progress from the results.

    Raises:
        AuditError: A measurement fails, or a process dies; the other processes are then stopped.
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
                    "a process of the study was killed, possibly because memory ran out. Finished measurements are "
                    "kept. Use fewer --workers."
                ) from error
            raise


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _deaf() -> Iterator[None]:
    """Ignore Ctrl-C in processes that start inside the block; the parent process handles it for the group."""
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
    """Exit with the parent process, which holds the lock of the folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _all_of(measure: MeasureCell, cells: Sequence[Cell], seed: int) -> None:
    for cell in cells:
        measure(cell, seed)
