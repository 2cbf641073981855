"""Running jobs on the machines of a Ray cluster."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import threading
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ...values.errors import AuditError, AuditWarning, in_one_line
from ..trial import Job, Opened, Setting, Site, TrialOutcome, outcomes
from . import Hearer
from .process_pool import RETRIES, Reporter, give_up

AHEAD = 2  # jobs in flight for each core, so that no core waits for the next one
SECONDS = 5.0  # to wait for an answer at an address
LOOK = 1.0  # seconds between two looks at the progress
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_BACKEND_LOG_LEVEL": "error"}
INSTALL = "--executor ray: needs Ray 2.50 or later: `pip install 'gradaudit[ray]'`."


@dataclass(frozen=True)
class RayCluster:
    """Runs jobs on a Ray cluster: that at `address`, or one that is started on this machine.

    gradaudit must be installed on all nodes, and files that an audit names must have the same paths there. If the
    folder of the run has the same path there too, a long attack whose node dies goes on elsewhere from its checkpoint.

    Args:
        workers: Number of jobs at the same time; all cores of the cluster by default.
        threads: Threads of one trial, for which as many cores are reserved.
        address: Such as `10.0.0.1:6379`, or `auto` for a cluster on this machine.
    """

    workers: int | None = None
    threads: int | None = 1
    address: str | None = None

    name = "ray"

    def run(self, settings: Sequence[Setting], jobs: Sequence[Job], site: Site, hear: Hearer) -> None:
        """Run all jobs; see `Executor`."""
        with _connected(self.address, self.workers, len(jobs), self.threads or 1) as ray:
            _Cluster(ray, settings, site, self.threads or 1, hear).run(jobs, self.workers)


class _Cluster:
    """The jobs in flight on a cluster."""

    def __init__(self, ray: Any, settings: Sequence[Setting], site: Site, threads: int, hear: Hearer) -> None:
        self.ray, self.settings, self.site, self.threads, self.hear = ray, settings, site, threads, hear
        self.sent: dict[int, Any] = {}  # number of a setting -> reference of its pickle
        self.unsent = Counter[int]()  # number of a setting -> jobs that have not started
        self.flying: dict[Any, Job] = {}  # reference of a result -> job
        self.begun: set[str] = set()
        here = ray.get_runtime_context().get_node_id()
        near = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=True)
        self.board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=near).remote()
        self.perform = ray.remote(perform)

    def run(self, jobs: Sequence[Job], workers: int | None) -> None:
        """Run all jobs, `workers` at the same time, or as many as the cluster has cores for."""
        waiting, self.unsent = deque(jobs), Counter(job.setting for job in jobs)
        self._require_room()
        try:
            while waiting or self.flying:
                while waiting and len(self.flying) < (workers or AHEAD * self._cores()):
                    self._start(waiting.popleft())
                ended, _ = self.ray.wait(list(self.flying), num_returns=1, timeout=LOOK)
                self._look()
                if not ended:
                    self._require_room()  # the last node that was large enough may have gone
                for reference in ended:
                    self._end(self.flying.pop(reference), reference)
        except BaseException:
            for reference in self.flying:
                with suppress(Exception):
                    self.ray.cancel(reference, force=True)
            raise

    def _start(self, job: Job) -> None:
        setting = self.settings[job.setting]
        if job.setting not in self.sent:
            try:
                self.sent[job.setting] = self.ray.put(self.ray.cloudpickle.dumps(setting))
            except Exception as error:  # pickling code of the user may raise anything
                why = f"the client cannot be sent to another machine: {in_one_line(error)}"
                raise AuditError(f"--executor ray: {why} Use --executor serial.") from error
        resources = {"num_cpus": self.threads, "num_gpus": int(setting.uses_gpu)}
        remote = self.perform.options(max_retries=RETRIES, retry_exceptions=False, **resources)
        arguments = job, self.sent[job.setting], self.site, self.threads, self.board
        self.flying[remote.remote(*arguments)] = job
        self.unsent[job.setting] -= 1
        if not self.unsent[job.setting]:
            del self.sent[job.setting]  # the jobs in flight keep it as long as they need it

    def _look(self) -> None:
        """Tell which jobs began and how far they are, if the node of the board answers."""
        try:
            steps = self.ray.get(self.board.read.remote(), timeout=LOOK)
        except Exception:  # the progress is not worth a failure
            return
        for job in self.flying.values():
            if job.checkpoint in steps:
                self._begin(job)
                if steps[job.checkpoint] is not None:
                    self.hear.stepped(job, *steps[job.checkpoint])

    def _begin(self, job: Job) -> None:
        if job.checkpoint not in self.begun:
            self.begun.add(job.checkpoint)
            self.hear.began(job)

    def _end(self, job: Job, reference: Any) -> None:
        self._begin(job)
        try:
            found, notes = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            cause = getattr(error, "cause", None)
            give_up(job, self.hear, f"it cannot run on its node: {in_one_line(cause or error)}")
            return
        except self.ray.exceptions.RayError as error:
            give_up(job, self.hear, f"its worker or node died {RETRIES + 1} times: {in_one_line(error)}")
            return
        for note in notes:
            warnings.warn(note, AuditWarning, stacklevel=2)
        for outcome in found:
            self.hear.ended(job, outcome)
        self.hear.finished(job)

    def _require_room(self) -> None:
        """Raise `AuditError` if no node is large enough for a trial, which would wait for ever."""
        wanted = {"CPU": self.threads, "GPU": int(any(setting.uses_gpu for setting in self.settings))}
        for kind, count in wanted.items():
            most = max((int(node["Resources"].get(kind, 0)) for node in self.ray.nodes() if node["Alive"]), default=0)
            if most < count:
                fix = "Choose fewer --threads." if kind == "CPU" else "Choose device: cpu."
                raise AuditError(
                    f"--executor ray: a trial needs {count} {kind}, and no node has more than {most}. {fix}"
                )

    def _cores(self) -> int:
        return max(1, int(self.ray.cluster_resources().get("CPU", 1)) // self.threads)


class Board:
    """A place where workers write how far their jobs are."""

    def __init__(self) -> None:
        self.steps: dict[str, tuple[int, int, float] | None] = {}

    def write(self, name: str, step: tuple[int, int, float] | None) -> None:
        """Write the progress of a job."""
        self.steps[name] = step

    def read(self) -> dict[str, tuple[int, int, float] | None]:
        """Return the progress of all jobs since the last look."""
        found, self.steps = self.steps, {}
        return found


class _Mail:
    """What a job sends: its steps to the board; its warnings are returned with its outcomes."""

    def __init__(self, job: Job, board: Any) -> None:
        self.job, self.board = job, board
        self.notes: list[str] = []
        board.write.remote(job.checkpoint, None)

    def send(self, message: tuple[str, Any]) -> None:
        """Send a step, or keep a warning."""
        kind, content = message
        if kind == "step":
            self.board.write.remote(self.job.checkpoint, content)
        else:
            self.notes.append(content)


_SETTINGS: dict[str, Opened] = {}  # of the latest run


def perform(job: Job, setting: bytes, site: Site, threads: int, board: Any) -> tuple[list[TrialOutcome], list[str]]:
    """Run a job in a worker of the cluster; return its outcomes and its warnings."""
    import torch

    torch.set_num_threads(threads)
    mail = _Mail(job, board)
    told = Reporter(mail)
    if str(site) not in _SETTINGS:
        _SETTINGS.clear()
    opened = _SETTINGS.setdefault(str(site), Opened())
    with warnings.catch_warnings():
        warnings.simplefilter("always", AuditWarning)
        warnings.showwarning = told.warning  # type: ignore[assignment]
        found = list(outcomes(job, lambda: opened.get(job.setting, lambda: pickle.loads(setting)), site, told.step))
    return found, mail.notes


@contextmanager
def _connected(address: str | None, workers: int | None, jobs: int, threads: int) -> Iterator[Any]:
    """Connect to a cluster, or start one here with a core for each thread of each worker; yield the module `ray`."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise AuditError(INSTALL) from error
    already = ray.is_initialized()
    if not already:
        # `local`, because Ray would otherwise use the cluster that the variable RAY_ADDRESS names
        options: dict[str, Any] = {
            "address": address or "local",
            "log_to_driver": False,
            "logging_level": "ERROR",
            "configure_logging": False,
        }
        if address:
            _require_answer(address)
        else:
            from . import cores

            count = min(workers or cores(), jobs) * threads
            options |= {"num_cpus": count, "include_dashboard": False}
        try:
            with _sigterm_kept():
                ray.init(**options)
        except Exception as error:  # Ray raises many kinds
            raise AuditError(f"--ray-address {address or 'local'}: Ray cannot be used: {in_one_line(error)}") from error
    try:
        yield ray
    finally:
        if not already:
            ray.shutdown()


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Keep the handler of SIGTERM: Ray replaces it by one that exits without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _require_answer(address: str) -> None:
    """Raise `AuditError` at once if nothing answers at an address; Ray itself would try for minutes."""
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise AuditError(f"--ray-address {address}: write it as HOST:PORT, such as 10.0.0.1:6379.")
    try:
        socket.create_connection((host, int(port)), SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise AuditError(f"--ray-address {address}: no answer ({reason}). `ray start --head` starts one.") from error
