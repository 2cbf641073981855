"""Mutation tests of the code that an audit's honesty depends on: `python -m benchmarks.mutants [--module NAME ...]`.

Changes one line at a time (`mutate`) in every module of `targets`, or in a random `--share` of the mutants, and runs
the tests that cover this line, the fastest and most specific first, until one fails (`judge`). The map from lines to
tests comes from one recorded run of the suite (`covering`), at the first call or with `--record`. A mutant that no test
notices survives: either a test is missing, or the change has no effect (`equivalent.txt` lists such changes with the
reason).
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path

from .covering import record
from .judge import prepare
from .mutate import Mutant, mutants
from .report import equivalent, table
from .rounds import Rounds
from .targets import BUILD, MAP, SOURCE, modules

LEAST = 15  # mutants of a module, however small the share


def sample(names: Sequence[str], share: float, seed: int) -> list[Mutant]:
    """Return a random share of the mutants of each module, at least `LEAST` if there are that many."""
    chosen, left_out = [], equivalent()
    for name in names:
        found = mutants(name, (SOURCE / name).read_text(encoding="utf-8"))
        found = [one for one in found if (name, *one.shown()) not in left_out]
        count = min(len(found), max(LEAST, round(share * len(found))))
        drawn = random.Random(f"{seed} {name}").sample(range(len(found)), count)
        chosen += [found[place] for place in sorted(drawn)]
    return chosen


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample")
    parser.add_argument(
        "--share", type=float, default=0.2, help=f"share of each module's mutants, at least {LEAST} of them"
    )
    parser.add_argument(
        "--module",
        action="append",
        metavar="NAME",
        help="a file or folder such as inversion/run; all by default",
    )
    parser.add_argument("--line", type=int, action="append", metavar="N", help="judge only mutants of these lines")
    parser.add_argument("--again", type=Path, metavar="FILE", help="only the mutants in a file of survivors")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument(
        "--record",
        nargs="*",
        metavar="FILE",
        help="record the map from lines to tests again, or for these test files",
    )
    parser.add_argument("--unchecked", action="store_true", help="do not check that the tests pass without a mutant")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, metavar="N", help="start no further mutant after N seconds"
    )
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="number of processes")
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
    rounds = Rounds(asked.workers, not asked.unchecked, time.monotonic() + asked.seconds)
    outcomes = rounds.judged(random.Random(asked.seed).sample(chosen, len(chosen)))
    survivors = "\n".join(str(one.job.mutant) for one in outcomes if one.outcome == "survived")
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "survivors.txt").write_text(survivors + "\n", encoding="utf-8")
    print(table(outcomes))


if __name__ == "__main__":
    main()
