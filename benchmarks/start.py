"""CPU seconds until the first answer: `python -m benchmarks.start [--source FOLDER] [--repeats N]`.

Every row is a process of its own, least of N. The packages are scanned on first use, so that importing the attacks and
listing them are two rows. `--source` measures another checkout's `src` with the same interpreter.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from pathlib import Path

from .machine import described

COMMAND = "import sys, runpy; sys.argv = ['gradaudit', '{}']; runpy.run_module('gradaudit', run_name='__main__')"
ROWS = {
    "import torch": "import torch",
    "import gradaudit": "import gradaudit",
    "import gradaudit.attacks": "import gradaudit.attacks",
    "the same, and all attacks by name": "import gradaudit.attacks as a; list(a.ATTACKS)",
    "gradaudit --help": COMMAND.format("--help"),
    "gradaudit attacks": COMMAND.format("attacks"),
}


def seconds(code: str, source: Path) -> float:
    """Return the CPU seconds of one process that runs `code`."""
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    own = Path(__file__).resolve().parents[1] / "src"
    parser.add_argument("--source", type=Path, action="append", help="the `src` of a checkout; may be repeated")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    sources = asked.source or [own]
    least = {(name, source): float("inf") for name in ROWS for source in sources}
    for _ in range(asked.repeats):  # taking turns, so that a busy machine slows all of them
        for name, source in least:
            least[name, source] = min(least[name, source], seconds(ROWS[name], source))
    print(f"{described()}; least of {asked.repeats}, CPU seconds\n")
    print("| what | " + " | ".join(map(str, sources)) + " |")
    print("|---" * (1 + len(sources)) + "|")
    for name in ROWS:
        print(f"| {name} | " + " | ".join(f"{least[name, source]:.2f}" for source in sources) + " |")


if __name__ == "__main__":
    main()
