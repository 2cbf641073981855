"""Coverage of the 95 % intervals of a mean: `python -m benchmarks.bootstrap [--draws N]`.

Draws n independent values many times and counts how often the interval holds the true mean: the bootstrap of
`gradaudit compare`, and Student's t beside it. The exponential distribution stands for skewed values such as seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from gradaudit.metrics import Interval, bootstrap_interval, mean_interval

SIZES = (3, 5, 10, 20)
DRAWN: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "normal": lambda random, shape: random.normal(1.0, 1.0, shape),
    "exponential": lambda random, shape: random.exponential(1.0, shape),
}


def covered(interval: Callable[[np.ndarray], Interval], rows: np.ndarray) -> tuple[float, float]:
    """Return the share of rows whose interval holds 1, the true mean, and the median width."""
    found = [interval(row) for row in rows]
    inside = [one.low <= 1.0 <= one.high for one in found]
    return float(np.mean(inside)), float(np.median([one.high - one.low for one in found]))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bootstrap", description=__doc__)
    parser.add_argument("--draws", type=int, default=2_000)
    draws = parser.parse_args().draws
    print("| distribution | n | bootstrap covers | width | Student's t covers | width |")
    print("|---|---|---|---|---|---|")
    for name, draw in DRAWN.items():
        for n in SIZES:
            rows = draw(np.random.default_rng(n), (draws, n))
            cells = (f"{share:.1%} | {width:.2f}" for share, width in (covered(by, rows) for by in METHODS))
            print(f"| {name} | {n} | {' | '.join(cells)} |", flush=True)


METHODS: tuple[Callable[[np.ndarray], Interval], ...] = (bootstrap_interval, mean_interval)

if __name__ == "__main__":
    main()
