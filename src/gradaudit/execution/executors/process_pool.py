"""Running jobs in several processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import torch

from ...values.errors import AuditError, AuditWarning, in_one_line
from ..trial import Job, Opened, Setting, Site, TrialOutcome, outcomes
from . import Hearer

RETRIES = 3  # further starts of a job after its process died
UNBORN = (
    'its process died before it began. A script that uses several workers runs inside `if __name__ == "__main__":`.'
)
DIED = f"its process died {RETRIES + 1} times, possibly because memory ran out. Use fewer --workers."
# A fork of this process may hang in torch's threads. A server that has only imported everything forks in no time.
SERVED = "forkserver" in multiprocessing.get_all_start_methods()
CLEAN: Any = multiprocessing.get_context("forkserver" if SERVED else "spawn")
BETWEEN = 0.2  # seconds between two messages on the progress of an attack


@dataclass(frozen=True)
class ProcessPool:
    """Runs jobs in several processes, each of which opens models and data once.

    Args:
        workers: Number of processes.
        threads: Threads of each.
        address: Ignored.
    """

    workers: int = 1
    threads: int | None = 1
    address: str | None = None

    name = "pool"

    def run(self, settings: Sequence[Setting], jobs: Sequence[Job], site: Site, hear: Hearer) -> None:
        """Run all jobs; see `Executor`."""
        crew = _Crew(settings, site, self.threads or 1, hear)
        waiting, died = deque(jobs), Counter[str]()
        try:
            while waiting or crew.busy:
                while waiting and len(crew.busy) < self.workers:
                    crew.start(waiting.popleft())
                for job in crew.listen():
                    died[job.checkpoint] += 1
                    if not crew.ready:
                        give_up(job, hear, UNBORN)
                    elif died[job.checkpoint] <= RETRIES:
                        waiting.appendleft(job)
                    else:
                        give_up(job, hear, DIED)
        finally:
            crew.end()


class _Crew:
    """The processes of a pool; one that died is replaced when the next job starts."""

    def __init__(self, settings: Sequence[Setting], site: Site, threads: int, hear: Hearer) -> None:
        self.settings, self.site, self.threads, self.hear = settings, site, threads, hear
        self.busy: dict[Connection, tuple[_Worker, Job]] = {}
        self.idle: list[_Worker] = []
        self.ready = False  # whether any process has begun

    def start(self, job: Job) -> None:
        """Give a job to an idle process, one that has its setting open if there is one, or to a new process."""
        for worker in [worker for worker in self.idle if not worker.process.is_alive()]:
            self.idle.remove(worker)
            worker.end()
        fitting = [worker for worker in self.idle if job.setting in worker.sent] or self.idle
        worker = fitting[0] if fitting else _Worker(self.site, self.threads)
        self.busy[worker.pipe] = worker, job  # from here on, an interruption ends it
        if fitting:
            self.idle.remove(worker)
        else:
            worker.begin()
        self.hear.began(job)
        with suppress(OSError):  # it has just died, which `listen` finds
            worker.give(job, self.settings[job.setting])

    def listen(self) -> Iterator[Job]:
        """Handle the messages of a short while; yield the jobs whose process died."""
        for pipe in wait(list(self.busy), 1.0):
            assert isinstance(pipe, Connection)
            worker, job = self.busy[pipe]
            try:
                kind, content = pipe.recv()
            except (EOFError, OSError):
                del self.busy[pipe]
                worker.end()
                yield job
                continue
            if kind == "step":
                self.hear.stepped(job, *content)
            elif kind == "warning":
                warnings.warn(content, AuditWarning, stacklevel=2)
            elif kind == "outcome":
                self.hear.ended(job, content)
            elif kind == "ready":
                self.ready = True
            else:
                self.idle.append(worker)
                del self.busy[pipe]
                self.hear.finished(job)

    def end(self) -> None:
        """Stop all processes at once."""
        workers = (*self.idle, *(worker for worker, _ in self.busy.values()))
        for worker in workers:  # all of them first: a second Ctrl-C interrupts the wait for their end
            worker.kill()
        for worker in workers:
            worker.end()


class _Worker:
    """One process of a pool."""

    def __init__(self, site: Site, threads: int) -> None:
        self.sent: set[int] = set()
        self.pipe, theirs = CLEAN.Pipe()
        self.process = CLEAN.Process(target=_serve, args=(theirs, site, threads))
        self.theirs = theirs

    def begin(self) -> None:
        """Start the process. The server, which takes seconds to import torch, is started without waiting for it."""
        if SERVED:
            CLEAN.set_forkserver_preload(["gradaudit.execution.case_jobs"])
            with _deaf():
                forkserver.ensure_running()
            self.process.start()
        else:
            with _deaf():
                self.process.start()
        self.theirs.close()

    def give(self, job: Job, setting: Setting) -> None:
        """Send a job, and its setting if the process does not have it yet."""
        try:
            message = pickle.dumps((job, None if job.setting in self.sent else pickle.dumps(setting)))
        except Exception as error:  # pickling code of the user may raise anything
            raise AuditError(
                f"--executor pool: the client or its trial cannot be sent to another process: {in_one_line(error)} "
                "Define its classes in a module, or use --executor serial."
            ) from error
        self.pipe.send_bytes(message)
        self.sent.add(job.setting)

    def kill(self) -> None:
        """Stop the process, if it has begun, without waiting for its end."""
        if self.process.pid is not None:
            self.process.kill()

    def end(self) -> None:
        """Stop the process."""
        self.kill()
        if self.process.pid is not None:
            self.process.join()
        self.pipe.close()


def give_up(job: Job, hear: Hearer, why: str) -> None:
    """Tell that the trials of a job without an outcome failed."""
    for trial in job.trials:
        hear.ended(job, TrialOutcome(trial, job.title, error=why))
    hear.finished(job)


@contextmanager
def _deaf() -> Iterator[None]:
    """Ignore Ctrl-C in a process that starts inside the block; the parent process handles it for the group."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(pipe: Connection, site: Site, threads: int) -> None:
    """Run the jobs that arrive, until the parent process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)  # standard output belongs to the result of the command
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    pipe.send(("ready", None))
    contents: dict[int, bytes] = {}
    opened, told = Opened(), Reporter(pipe)
    warnings.simplefilter("always", AuditWarning)
    warnings.showwarning = told.warning  # type: ignore[assignment]
    while True:
        try:
            job, content = pipe.recv()
        except (EOFError, OSError):
            return
        if content is not None:
            contents[job.setting] = content
        setting = partial(opened.get, job.setting, partial(pickle.loads, contents[job.setting]))
        for outcome in outcomes(job, setting, site, told.step):
            pipe.send(("outcome", outcome))
        pipe.send(("done", None))


class Mailbox(Protocol):
    """Takes messages of a worker: `("step", (done, steps, objective))` and `("warning", text)`."""

    def send(self, message: tuple[str, Any], /) -> None:
        """Take one message."""
        ...


class Reporter:
    """Sends the progress and the warnings of a job.

    Args:
        pipe: Where they are sent.
    """

    def __init__(self, pipe: Mailbox) -> None:
        self.pipe, self.last = pipe, 0.0

    def step(self, done: int, steps: int, objective: float) -> None:
        """Send the progress of an attack, unless the last message is recent."""
        if time.monotonic() - self.last > BETWEEN:
            self.last = time.monotonic()
            self.pipe.send(("step", (done, steps, float(objective))))

    def warning(self, message: Warning | str, category: type[Warning], *_: Any) -> None:
        """Send a warning of this package; others are not for the user."""
        if issubclass(category, AuditWarning):
            self.pipe.send(("warning", str(message)))


def _end_with_parent() -> None:
    """Exit with the parent process, which holds the lock of the folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
