"""What a user waits for beside the attack: `python -m benchmarks.around [--findings N] [--repeats N]`.

Wall seconds until a terminal shows anything and until it shows the first progress of `gradaudit demo`, and CPU seconds
and megabytes of a page of N findings (those of the demo, again and again); the least of the repeats.
"""

from __future__ import annotations

import argparse
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from gradaudit import report
from gradaudit.execution import read_folder

from .machine import described

DEMO = (sys.executable, "-m", "gradaudit", "demo", "--out", "demo")


def first_seen(command: Iterable[str], words: Iterable[str], folder: Path) -> dict[str, float]:
    """Return the seconds after which a terminal first shows each word; the command is ended after the last one."""
    ours, theirs = pty.openpty()
    started = time.monotonic()
    run = subprocess.Popen(list(command), stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder)
    os.close(theirs)
    seen, at = "", {}
    try:
        while missing := [word for word in words if word not in at]:
            seen += os.read(ours, 65536).decode(errors="replace")
            at |= {word: time.monotonic() - started for word in missing if word in seen}
    finally:
        run.kill()
        run.wait()
        os.close(ours)
    return at


def page_of(count: int, folder: Path) -> tuple[float, float]:
    """Return CPU seconds and megabytes of a page of `count` findings, those of a finished demo in `folder`."""
    findings, run = read_folder(folder)
    many = [replace(findings[i % len(findings)], case=f"case{i}", repeat=i) for i in range(count)]
    started = time.process_time()
    page = report.write(many, run, folder)
    return time.process_time() - started, page.stat().st_size / 1e6


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.around", description=__doc__)
    parser.add_argument("--findings", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    words = ("Loading", "objective")
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        seen = [first_seen(DEMO, words, folder) for _ in range(asked.repeats)]
        subprocess.run(DEMO, cwd=folder, check=True, capture_output=True)
        pages = [page_of(asked.findings, folder / "demo") for _ in range(asked.repeats)]
    print(f"{described()}; least of {asked.repeats}\n\n| what | |\n|---|---|")
    print(f"| first output of `gradaudit demo`, wall s | {min(one['Loading'] for one in seen):.2f} |")
    print(f"| its first progress, wall s | {min(one['objective'] for one in seen):.2f} |")
    print(f"| page of {asked.findings} findings, CPU s | {min(pages)[0]:.2f} |")
    print(f"| the same, MB | {pages[0][1]:.2f} |")


if __name__ == "__main__":
    main()
