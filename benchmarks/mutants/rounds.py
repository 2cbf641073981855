"""The two rounds of tests for a mutant: a few fast tests, and more tests if it survives them."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .covering import FIRST, SECOND, Covering
from .judge import ENDED, Job, Judged, judge
from .mutate import Mutant

SLACK, TIMES = 20.0, 6.0  # time limit of a mutant: SLACK seconds plus TIMES the recorded seconds of its tests
EARLY = 0.6  # share of the time for the first round


@dataclass(frozen=True)
class Rounds:
    """Judges a sample of mutants in two rounds.

    Args:
        workers: Number of parallel processes.
        check: Whether to exclude tests that fail without any mutant.
        until: When to stop, on the monotonic clock. Mutants that are not judged by then are omitted, and survivors of
            the first round that the second round has not judged count as survivors.
    """

    workers: int
    check: bool
    until: float
    covering: Covering = field(default_factory=Covering)
    began: float = field(default_factory=time.monotonic)

    def judged(self, chosen: Sequence[Mutant]) -> list[Judged]:
        """Return the outcomes by module and line, and print each one when it is known."""
        tests = {mutant: self.covering.of(mutant) for mutant in chosen}
        first = {mutant: self.covering.within(some, *FIRST) for mutant, some in tests.items()}
        found = self.round_of(first, self.began + EARLY * (self.until - self.began))
        kills = Counter(one.by for one in found.values() if one.outcome == "killed")
        second = {}
        for mutant, one in found.items():
            order = {test: (-kills[test], place) for place, test in enumerate(tests[mutant])}
            more = sorted(set(tests[mutant]) - set(first[mutant]), key=order.__getitem__)
            if one.outcome == "survived" and more:
                second[mutant] = self.covering.within(more, *SECOND)
        found |= self.round_of(second, self.until)
        return [found[mutant] for mutant in sorted(found, key=lambda one: (one.module, one.line, one.number))]

    def round_of(self, tests: Mapping[Mutant, Sequence[str]], until: float) -> dict[Mutant, Judged]:
        """Judge every mutant by its tests, and return the outcomes."""
        unsteady = self._unsteady({test for some in tests.values() for test in some}) if self.check else set()

        def jobs() -> Iterator[Job]:
            for mutant, some in tests.items():
                left = [test for test in some if test not in unsteady]
                if time.monotonic() < until:
                    yield Job(mutant, left, SLACK + TIMES * self.covering.seconds_of(left))

        found: dict[Mutant, Judged] = {}
        for one in judge(jobs(), self.workers):
            assert one.job.mutant is not None
            found[one.job.mutant] = one
            mark = f"{one.outcome:8} {one.seconds:5.1f} s"
            print(f"{len(found)}/{len(tests)} {mark} {one.job.mutant}  {one.by}", file=sys.stderr, flush=True)
        return found

    def _unsteady(self, tests: set[str]) -> set[str]:
        """Return the tests that fail without any mutant; they cannot judge a mutant."""
        by_file: dict[str, list[str]] = {}
        for test in sorted(tests):
            by_file.setdefault(test.split("::")[0], []).append(test)
        longest = sorted(by_file.values(), key=self.covering.seconds_of, reverse=True)
        jobs = [Job(None, group, 60 + TIMES * self.covering.seconds_of(group)) for group in longest]
        failed: set[str] = set()
        for one in judge(jobs, self.workers):
            if one.outcome == "timeout" or one.by == ENDED:
                failed |= set(one.job.tests)
            failed |= set(one.by.splitlines())
        for name in sorted(failed):
            print(f"fails without any mutant, left out: {name}", file=sys.stderr)
        return failed
