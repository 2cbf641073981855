"""Mutants of the code that an audit's honesty rests on: `python -m benchmarks.mutants [--module NAME ...]`.

Changes one line at a time (`mutate`) of every module of `targets`, or of a random `--share` of them, and runs the tests
that run this line, the quickest and most focused first, until one fails (`judge`). The map from lines to tests comes
from one recorded run of the suite (`covering`), made at the first call or by `--record`. A mutant that no test notices
survives: either a test is missing, or the change changes nothing (`equivalent.txt` lists such, with the reason).
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from .covering import FIRST, SECOND, Covering, record
from .judge import ENDED, Job, Judged, judge, prepare
from .mutate import Mutant, mutants
from .report import equivalent, table
from .targets import BUILD, MAP, SOURCE, modules

LEAST = 15  # mutants of a module, however small the share
SLACK, TIMES = 10.0, 4.0  # seconds for a mutant: this, and so many times what its tests took


def sample(names: Sequence[str], share: float, seed: int) -> list[Mutant]:
    """A random share of the mutants of each module, at least `LEAST` where there are so many."""
    chosen, left_out = [], equivalent()
    for name in names:
        found = mutants(name, (SOURCE / name).read_text(encoding="utf-8"))
        found = [one for one in found if (name, *one.shown()) not in left_out]
        count = min(len(found), max(LEAST, round(share * len(found))))
        drawn = random.Random(f"{seed} {name}").sample(range(len(found)), count)
        chosen += [found[place] for place in sorted(drawn)]
    return chosen


def judged(chosen: Sequence[Mutant], workers: int, check: bool = True) -> list[Judged]:
    """The outcome of every mutant, in the order of the sample; each is printed as it comes.

    Those that survive their first tests meet more of them, first those that noticed most other mutants.
    """
    covering = Covering()
    tests = {mutant: covering.of(mutant) for mutant in chosen}
    first = {mutant: covering.within(some, *FIRST) for mutant, some in tests.items()}
    found = round_of(first, covering, workers, check)
    kills = Counter(one.by for one in found.values() if one.outcome == "killed")
    second = {}
    for mutant, one in found.items():
        more = sorted(
            set(tests[mutant]) - set(first[mutant]), key=lambda test: (-kills[test], tests[mutant].index(test))
        )
        if one.outcome == "survived" and more:
            second[mutant] = covering.within(more, *SECOND)
    found |= round_of(second, covering, workers, check)
    return [found[mutant] for mutant in chosen]


def round_of(
    tests: Mapping[Mutant, Sequence[str]], covering: Covering, workers: int, check: bool
) -> dict[Mutant, Judged]:
    """Every mutant judged by its tests."""
    unsteady: set[str] = set()
    if check:
        unsteady = failing_unchanged(sorted({test for some in tests.values() for test in some}), covering, workers)
    jobs = []
    for mutant, some in tests.items():
        left = [test for test in some if test not in unsteady]
        jobs.append(Job(mutant, left, SLACK + TIMES * covering.seconds_of(left)))
    found: dict[Mutant, Judged] = {}
    for one in judge(jobs, workers):
        assert one.job.mutant is not None
        found[one.job.mutant] = one
        mark = f"{one.outcome:8} {one.seconds:5.1f} s"
        print(f"{len(found)}/{len(jobs)} {mark} {one.job.mutant}  {one.by}", file=sys.stderr, flush=True)
    return found


def failing_unchanged(tests: Sequence[str], covering: Covering, workers: int) -> set[str]:
    """The tests that fail without any mutant: they judge nothing."""
    files = sorted({test.split("::")[0] for test in tests})
    groups = [[test for test in tests if test.split("::")[0] == file] for file in files]
    jobs = [Job(None, group, 60 + TIMES * covering.seconds_of(group)) for group in groups]
    failed: set[str] = set()
    for one in judge(jobs, workers):
        if one.outcome == "timeout" or one.by == ENDED:
            failed |= set(one.job.tests)
        failed |= set(one.by.splitlines())
    for name in sorted(failed):
        print(f"fails without any mutant, left out: {name}", file=sys.stderr)
    return failed


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--share", type=float, default=0.2, help=f"of each module's mutants, at least {LEAST} of them")
    parser.add_argument(
        "--module", action="append", metavar="NAME", help="a file or folder such as inversion/loop.py; all by default"
    )
    parser.add_argument("--line", type=int, action="append", metavar="N", help="only mutants of these lines")
    parser.add_argument("--again", type=Path, metavar="FILE", help="only the mutants that a file of survivors names")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument(
        "--record", nargs="*", metavar="FILE", help="make the map from lines to tests anew, or for these test files"
    )
    parser.add_argument("--unchecked", action="store_true", help="trust that the tests pass without any mutant")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes at once")
    asked = parser.parse_args()
    names = [name for name in modules() if name.startswith(tuple(asked.module or [""]))]
    chosen = sample(names, 1.0 if asked.line or asked.again else asked.share, asked.seed)
    if asked.line:
        chosen = [mutant for mutant in chosen if mutant.line in asked.line]
    if asked.again:
        named = set(asked.again.read_text(encoding="utf-8").splitlines())
        chosen = [mutant for mutant in chosen if str(mutant) in named]
    if asked.list:
        print(*chosen, sep="\n")
        return
    if asked.record is not None or not MAP.exists():
        record(asked.workers, asked.record if MAP.exists() and asked.record else ())
    prepare()
    outcomes = judged(chosen, asked.workers, not asked.unchecked)
    survivors = "\n".join(str(one.job.mutant) for one in outcomes if one.outcome == "survived")
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "survivors.txt").write_text(survivors + "\n", encoding="utf-8")
    print(table(outcomes))


if __name__ == "__main__":
    main()
