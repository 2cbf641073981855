"""Fuzzes the command line: `python -m benchmarks.fuzz --minutes 10 --seed 1 [--target NAME] [--keep DIR]`.

Input number i of a target depends only on the seed and i. Each new fault is saved as a folder, which `--again DIR` runs
again; `--json FILE` writes one line for each target, and `--add FILES` prints the sum of such files.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from ..machine import described
from .judge import FAULTS, Input, Tally, added, faults, table
from .mutate import Dice
from .run import Outcome, execute
from .targets import TARGETS

MEMORY = 8 * 2**30  # bytes; an input that needs more ends this process and not the machine
SHARED_MEMORY = Path("/dev/shm")  # a folder in memory, where writing a file costs nothing


def one(target: str, seed: int, number: int, folder: Path) -> tuple[Input, Outcome, dict[str, str]]:
    """Create input `number` in an empty folder, and run it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of libraries about the broken files that are written on purpose
        given = TARGETS[target](Dice(target, seed, number), folder)
    outcome = execute(given.argv, folder, given.seconds)
    return given, outcome, faults(given, outcome)


def keep(case: Path, given: Input, outcome: Outcome, found: dict[str, str], made: tuple[str, int, int]) -> None:
    """Save a case: its files as they were before it ran, and `case.json`."""
    if case.exists():
        return
    case.mkdir(parents=True)
    TARGETS[made[0]](Dice(*made), case)
    what = {"target": made[0], "seed": made[1], "number": made[2], "argv": given.argv, "made": given.made,
            "must": given.must, "faults": found, "code": outcome.code, "out": outcome.out[-2_000:],
            "err": outcome.err[-4_000:], "error": outcome.error, "outside": outcome.outside}  # fmt: skip
    (case / "case.json").write_text(json.dumps(what, indent=1), encoding="utf-8")


def again(case: Path) -> bool:
    """Run a saved case in a copy of its folder, print its result, and return whether it is fixed."""
    what = json.loads((case / "case.json").read_text(encoding="utf-8"))
    given = Input(tuple(what["argv"]), what["made"], what["must"])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "case"
        shutil.copytree(case, folder, symlinks=True)
        (folder / "case.json").unlink()
        outcome = execute(given.argv, folder, given.seconds)
    found = faults(given, outcome)
    print(
        f"{case.name}: gradaudit {' '.join(given.argv)}\n  {given.made}; must: {given.must}; exit code {outcome.code}"
    )
    print(outcome.error or outcome.err or outcome.out[:2_000])
    print("  " + ("; ".join(f"{kind}: {key}" for kind, key in found.items()) or "no fault"), flush=True)
    return not found


def inputs(chosen: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Yield the targets in turn, each with its next number, until the time or the count is over."""
    end = time.monotonic() + 60 * chosen.minutes
    names = chosen.target or list(TARGETS)
    number = done = 0
    while True:
        for name in names:
            if (chosen.count is not None and done >= chosen.count) or (chosen.count is None and time.monotonic() > end):
                return
            yield name, chosen.first + number
            done += 1
        number += 1


def run(chosen: argparse.Namespace) -> list[Tally]:
    """Run all inputs and print each new fault."""
    tallies: dict[str, Tally] = {}
    seen: set[tuple[str, str]] = set()
    where = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=where, ignore_cleanup_errors=True) as scratch:
        for name, number in inputs(chosen):
            folder = Path(scratch) / "in"
            folder.mkdir()
            faulthandler.dump_traceback_later(90, exit=True)  # no alarm can interrupt a loop in C code
            given, outcome, found = one(name, chosen.seed, number, folder)
            faulthandler.cancel_dump_traceback_later()
            tallies.setdefault(name, Tally(name)).add(outcome, found)
            shutil.rmtree(folder, ignore_errors=True)
            for kind, key in found.items():
                if (kind, key) not in seen:
                    seen.add((kind, key))
                    print(f"{kind}: {key}\n  {name} {number}: {given.made}: {' '.join(given.argv)[:200]!r}", flush=True)
                    if chosen.keep:
                        keep(
                            chosen.keep / f"{name}-{chosen.seed}-{number}",
                            given,
                            outcome,
                            found,
                            (name, chosen.seed, number),
                        )
    return list(tallies.values())


def main() -> None:
    """Run new inputs, run saved cases again, or sum results; exit with code 1 if a fault was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--count", type=int, help="number of inputs per target, instead of minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each target")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="only this target (repeatable)")
    parser.add_argument("--keep", type=Path, help="folder for the inputs of new faults")
    parser.add_argument("--json", type=Path, help="file for one line per target")
    parser.add_argument("--again", type=Path, nargs="+", help="saved cases to run again")
    parser.add_argument("--add", type=Path, nargs="+", help="files of --json to sum")
    chosen = parser.parse_args()
    sys.dont_write_bytecode = True
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    if chosen.again:
        mended = [again(case.resolve()) for case in chosen.again]
        sys.exit(0 if all(mended) else 1)
    if chosen.add:
        tallies = added([json.loads(line) for path in chosen.add for line in path.read_text().splitlines()])
    else:
        tallies = run(chosen)
    if chosen.json:
        chosen.json.write_text("".join(json.dumps(tally.to_json()) + "\n" for tally in tallies), encoding="utf-8")
    print(f"{described()}\n\n{table(tallies)}")
    sys.exit(1 if any(tally.counts[kind] for tally in tallies for kind in FAULTS) else 0)


if __name__ == "__main__":
    main()
