"""AFGI's claim: the same quality in less time (Liu et al., 2024)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..attacks.afgi import ATTACK as AFGI
from ..attacks.hfgradinv import ATTACK as HFGRADINV
from ..attacks.inverting_gradients import EXACT as INVERTING_GRADIENTS
from ..inversion.run.gradient_matching import GradientMatching
from ._attack_cell import AttackCell
from ._bench import Bench
from ._definition import Comparison, Study, Table, Values
from ._hfgradinv_cells import SETTING, cells, shorter

MARKS = {"psnr": (12.0, 14.0, 16.0), "ssim": (0.2, 0.4)}
BUDGETS = (1 / 8, 1 / 4, 1 / 2, 1.0)


@dataclass(frozen=True)
class TimeCell(AttackCell):
    """One attack with increasing budgets of steps: the time of the first budget whose result reaches a quality mark.

    The schedule is scaled to the budget, so each budget is a separate run: what an adversary with that much time would
    obtain. The attack itself does not know the marks.
    """

    attack: GradientMatching

    def measure(self, bench: Bench, seed: int) -> Values:
        """Return `seconds to ...` if a budget reaches the mark, `reached ...`, and the scores of the largest budget."""
        most, found = self.attack.stages[0].steps, {}
        values: Values = {}
        for budget in BUDGETS:
            cell = replace(self, attack=shorter(self.attack, round(most * budget)))
            values = AttackCell.measure(cell, bench, seed)
            for measure, marks in MARKS.items():
                for mark in marks:
                    if (values.get(measure) or 0.0) >= mark:
                        found.setdefault(f"seconds to {measure} {mark:g}", values["seconds"])
        reached = {
            f"reached {measure} {mark:g}": float(f"seconds to {measure} {mark:g}" in found)
            for measure, marks in MARKS.items()
            for mark in marks
        }
        return {**values, **found, **reached}


ATTACKS = {"Inverting Gradients": INVERTING_GRADIENTS, "HFGradInv": HFGRADINV, "AFGI": AFGI}
TIMES = {f"to {m.upper()} {mark:g}": f"seconds to {m} {mark:g}" for m, marks in MARKS.items() for mark in marks}
SHARES = {f"{m.upper()} {mark:g}": f"reached {m} {mark:g}" for m, marks in MARKS.items() for mark in marks}
LAST = {"PSNR, dB": "psnr", "gain, dB": "gain", "SSIM": "ssim", "seconds": "seconds"}

STUDY = Study(
    name="afgi-time-to-quality",
    title="AFGI: time to a given quality",
    paper="AFGI (Liu et al., arXiv:2403.08383)",
    about="Each attack runs with an eighth, a quarter, half and all of its steps, on the same batches with known "
    "labels. The time to a quality mark is that of the first budget whose result reaches it, in seconds of one CPU "
    "core, or in wall-clock seconds on a GPU.",
    cells={scale: tuple(TimeCell(**vars(cell)) for cell in rows) for scale, rows in cells(ATTACKS).items()},
    repeats={"quick": 2, "default": 4, "long": 8, "paper": 4},
    tables=(
        Table(
            "Seconds to a quality mark, over the batches that reach it",
            TIMES,
            1,
            best="column",
            smaller=tuple(TIMES.values()),
        ),
        Table("Share of the batches that reach the mark", SHARES, best="column"),
        Table("With all steps", LAST, best="column", smaller=("seconds",)),
    ),
    comparisons=(
        Comparison("AFGI faster than Inverting Gradients", "AFGI", "Inverting Gradients", "seconds to psnr 14", True),
        Comparison("AFGI faster than HFGradInv", "AFGI", "HFGradInv", "seconds to psnr 14", True),
        Comparison("AFGI above Inverting Gradients with all steps", "AFGI", "Inverting Gradients", "psnr"),
        Comparison("AFGI above HFGradInv with all steps", "AFGI", "HFGradInv", "psnr"),
    ),
    caveats=(
        SETTING,
        "The paper reports 85 % less time than its baselines (94 % in its first version). Its weights, numbers of "
        "steps and stopping rule are not public. Here all attacks have the same number of steps, so this study tests "
        "the regulariser, not a shorter schedule.",
    ),
)
