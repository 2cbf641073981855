"""`python -m benchmarks.gpu [--parts PARTS] [--device DEVICE] [--limit SECONDS] [--quick] --out DIR`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from . import audit, check, memory, paper, step
from .place import described
from .rows import Hand, Report, run_part

PARTS = {"check": check.cases, "audit": audit.cases, "step": step.cases, "memory": memory.cases, "paper": paper.cases}


def main(given: list[str] | None = None) -> Report:
    """Run the parts; return all rows."""
    options = _options(given)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch sees no GPU here. Choose --device cpu --quick.")
    if options.quick:
        torch.set_num_threads(1)
    report = Report(options.out, f"# On a GPU\n\n`python -m benchmarks.gpu`; {described(options.device)}")
    print(report.heading, flush=True)
    hand = Hand(options.inline)
    try:
        for part in options.parts:
            started = time.perf_counter()
            more = (options.data, options.weights, str(options.out)) if part == "paper" else ()
            found = PARTS[part](options.device, options.quick, options.limit, *more)
            run_part(part, found, report, hand, options.limit)
            hand.end()  # the next part begins with an empty device
            print(f"[{part}] done in {time.perf_counter() - started:.0f} s", flush=True)
    finally:
        hand.end()
    return report


def _options(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default="check,audit,step,memory", help="of check, audit, step, memory and paper")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, required=True, help="folder of gpu.md and gpu.jsonl")
    parser.add_argument("--limit", type=float, default=150.0, help="seconds of one part")
    parser.add_argument("--data", help="an .npz file of images for paper; by default the built-in photographs")
    parser.add_argument("--weights", help="a file of ResNet-34's weights for paper; by default it is untrained")
    parser.add_argument("--quick", action="store_true", help="a few rows in miniature")
    parser.add_argument("--inline", action="store_true", help="run all cases in this process, without a limit for each")
    options = parser.parse_args(given)
    options.parts = options.parts.split(",")
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"--parts {','.join(unknown)}: choose some of {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    main()
