"""Running jobs one after another in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from ...inversion.attack import Watch
from ..trial import Job, Opened, Setting, Site, outcomes
from . import Hearer


@dataclass(frozen=True)
class Serial:
    """Runs jobs one after another in this process.

    Args:
        workers: Ignored.
        threads: Threads of one trial, or `None` for those that torch has.
        address: Ignored.
    """

    workers: int = 1
    threads: int | None = None
    address: str | None = None

    name = "serial"

    def run(self, settings: Sequence[Setting], jobs: Sequence[Job], site: Site, hear: Hearer) -> None:
        """Run all jobs; see `Executor`."""
        opened = Opened()
        with threads_of(self.threads):
            for job in jobs:
                hear.began(job)
                setting = partial(opened.get, job.setting, partial(settings.__getitem__, job.setting))
                for outcome in outcomes(job, setting, site, _watch(job, hear)):
                    hear.ended(job, outcome)
                hear.finished(job)


def _watch(job: Job, hear: Hearer) -> Watch:
    return lambda done, steps, objective: hear.stepped(job, done, steps, objective)


@contextmanager
def threads_of(count: int | None) -> Iterator[None]:
    """Let torch use `count` threads inside the block, or as many as before if it is `None`."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count or before)
        yield
    finally:
        torch.set_num_threads(before)
