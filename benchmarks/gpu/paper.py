"""Cells of HFGradInv's table 1 at the paper's size, with as many steps as fit into a minute on the device."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gradaudit.execution.journal import TRIALS
from gradaudit.report.study_page import write_study
from gradaudit.studies import STUDIES, Bench, read_study, run_study
from gradaudit.studies._hfgradinv_cells import shorter

from .place import synchronise
from .rows import Case, Row

STUDY, SCALE = "hfgradinv-table-1", "paper"
SECONDS = 50.0  # of the attack of one cell
ORDER = ("HFGradInv", "Inverting Gradients", "GradInversion", "DLG")
TRIAL = 6  # steps that are timed


def cases(device: str, quick: bool, limit: float, data: str | None, weights: str | None, out: str) -> Iterator[Case]:
    """Yield one case for each cell that needs no label inference; each is one measurement of seed 0."""
    for name in ORDER[:1] if quick else ORDER:
        seconds = 0.3 if quick else min(SECONDS, limit / len(ORDER) - 10)
        yield Case({"cell": name}, measure, (name, device, seconds, data, weights, out, quick), 3 * seconds + 60)


def measure(
    name: str, device: str, seconds: float, data: str | None, weights: str | None, out: str, quick: bool
) -> Row:
    """Measure a cell with the steps that fit, and add it to `paper-trials.jsonl` and `paper-study.md` in `out`.

    Without weights the network is untrained, which the cell says in its name, as it says the number of its steps.
    """
    bench = Bench(data and Path(data), {"resnet34": Path(weights)} if weights else {}, device)
    study = STUDIES[STUDY]
    cell = next(one for one in study.cells[SCALE] if one.name == name)
    cell = replace(cell, trained=bool(weights), **({"network": "resnet20", "batch_size": 1} if quick else {}))
    each, evaluations = _step_seconds(cell, bench), cell.attack.stages[0].optimiser.evaluations
    whole = cell.attack.stages[0].steps * evaluations
    steps = max(4, min(whole, int(seconds / each) * evaluations))
    title = f"{name}, {steps} of {whole} steps{'' if weights else ', untrained'}"
    cell = replace(cell, name=title, attack=shorter(cell.attack, steps))
    with tempfile.TemporaryDirectory() as temporary:
        folder, kept = Path(temporary), Path(out) / "paper-trials.jsonl"
        if kept.exists():
            shutil.copy(kept, folder / TRIALS)
        part = replace(study, cells={SCALE: (cell,)}, repeats={SCALE: 1}, comparisons=())
        run_study(part, SCALE, bench, folder)
        result = read_study(part, SCALE, bench, folder)
        write_study(result, folder)
        shutil.copy(folder / TRIALS, kept)
        with (Path(out) / "paper-study.md").open("a", encoding="utf-8") as file:
            file.write((folder / "study.md").read_text(encoding="utf-8") + "\n")
    values = {column: mean[0] for column, mean in result.values[title].items()}
    return {"ms a step": 1e3 * each / evaluations, "steps": steps, "weights": weights or "untrained", **values}


def _step_seconds(cell: object, bench: Bench) -> float:
    """Return the seconds of one step of the attack, from two short runs of it."""
    taken = []
    for steps in (2, 2, 2 + TRIAL):
        evaluations = cell.attack.stages[0].optimiser.evaluations
        short = replace(cell, name="timed", attack=shorter(cell.attack, steps * evaluations))
        _, seen = short.shared(bench, 0, cell.knowledge)
        started = time.perf_counter()
        short.attack(seen, seed=0)
        synchronise(bench.device)
        taken.append(time.perf_counter() - started)
    return max(1e-4, (taken[2] - taken[1]) / TRIAL)
