"""Quality over time: `python -m benchmarks.quality [--json] [--quick] [--network NAME] [--batch N] [--seeds N]`.

DLG, iDLG and Inverting Gradients in both forms and, where `breaching` is installed, its Inverting Gradients with its
own settings, on the same photographs, network, labels and gradient. `--attack NAME[,FIELD=VALUE...]` takes others, with
changed fields as in an audit file: `--attack inverting-gradients,step=exact,stages.0.stop_flat=1e-4`. Seconds are CPU
seconds of the process on one thread; the attacks take turns, seed by seed. An evaluation is one gradient of the
matching loss. The iterates are compared with the ground truth afterwards; no attack sees it.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import statistics
import time
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import gradaudit as ga
from gradaudit import metrics
from gradaudit.audit.attack_entry import AttackEntry
from gradaudit.audit.plan import draw
from gradaudit.audit.resolve import make_attack
from gradaudit.data.sources import SOURCES
from gradaudit.inversion.attack import Attack
from gradaudit.inversion.parts.part import GradientTransform, Progress
from gradaudit.inversion.run.gradient_matching import GradientMatching
from gradaudit.metrics import mean_interval
from gradaudit.values.errors import AuditError

from .machine import described
from .networks import CLASSES, NETWORKS, NORMALISATION

SHOWN = ("dlg", "idlg", "inverting-gradients", "inverting-gradients-fast")
LEVELS = (15, 20, 25, 30)  # dB
BUDGET = 2_000  # most evaluations of an attack
CASES = (("fedavg-cnn", 1), ("fedavg-cnn", 4), ("lenet", 1))
OWN_LENGTH = "inverting-gradients-fast"
PEER = "breaching inverting-gradients"


@dataclass(frozen=True)
class Case:
    """A gradient and the batch from which it was computed."""

    private: ga.Batch
    seen: ga.Observation
    control: Tensor


@dataclass(frozen=True)
class Record(GradientTransform):
    """A gradient transform that records (CPU seconds, candidates) of every evaluation without changing the gradient."""

    kept: deque = field(default_factory=deque, hash=False, compare=False)  # a list would become a tuple

    def __call__(self, gradient: Tensor, at: Progress) -> Tensor:
        """Return the same gradient."""
        assert at.candidates is not None
        self.kept.append((time.process_time(), at.candidates[0].clone()))
        return gradient


@dataclass(frozen=True)
class Run:
    """The result of one attack on one case.

    Args:
        curve: (CPU seconds, evaluations, mean PSNR in dB) of iterates.
        psnr: Mean PSNR of the reconstruction in dB.
        gain: Gain in PSNR over the mean-image control in dB.
        seconds: CPU seconds in total.
        evaluations: Evaluations in total.
    """

    curve: list[tuple[float, int, float]]
    psnr: float
    gain: float
    seconds: float
    evaluations: int

    def first(self, level: float) -> tuple[float | None, int | None]:
        """Return seconds and evaluations until an iterate or the result reaches `level`, or `None` for each."""
        end = (self.seconds, self.evaluations, self.psnr)
        return next(((s, e) for s, e, psnr in [*self.curve, end] if psnr >= level), (None, None))


def case(network: str, batch: int, seed: int, size: int = 32) -> Case:
    """Return the case of photographs and an untrained network, with labels granted."""
    source = SOURCES["photographs"](size=size, crops="whole").open()
    torch.manual_seed(seed)
    model = NETWORKS[network](size)
    indices = draw(len(source), batch, 0, seed)
    private = ga.Batch(source.stack(indices), torch.tensor(indices) % CLASSES)
    client = ga.Client(model, normalisation=NORMALISATION)
    control = source.mean_except(indices).expand_as(private.inputs)
    return Case(private, client.share(private, ga.Level.PRIORS | ga.Knowledge.LABELS), control)


def within(attack: Attack, budget: int) -> Attack:
    """Return the attack with its stages shortened in proportion to at most `budget` evaluations, if it has stages."""
    if not isinstance(attack, GradientMatching) or attack.name == OWN_LENGTH:
        return attack
    evaluations = sum(stage.steps * getattr(stage.optimiser, "inner", 1) for stage in attack.stages)
    share = min(1.0, budget / evaluations)
    return replace(attack, stages=tuple(replace(s, steps=max(1, round(s.steps * share))) for s in attack.stages))


def run(attack: Attack, on: Case, seed: int) -> Run:
    """Run an attack of this package and record its iterates, if it has any."""
    record = Record()
    if isinstance(attack, GradientMatching):
        stages = tuple(replace(stage, gradient=(record, *stage.gradient)) for stage in attack.stages)
        attack = replace(attack, stages=stages)
    started = time.process_time()
    found = attack(on.seen, seed=seed)
    return _judge(on, list(record.kept), found.inputs, started, time.process_time())


def run_breaching(on: Case, seed: int, budget: int) -> Run | None:
    """Run breaching's own loop for `budget` iterations; return `None` if it is not installed."""
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            import breaching
            from breaching.attacks.optimization_based_attack import OptimizationBasedAttacker

            config = breaching.get_attack_config("invertinggradients")
    except ImportError:
        return None
    logging.getLogger("breaching").setLevel(logging.ERROR)
    config.optim.max_iterations = budget
    model = deepcopy(on.seen.model).eval()
    attacker = OptimizationBasedAttacker(model, nn.CrossEntropyLoss(), config)
    attacker.data_shape = on.seen.input_shape
    attacker.dm, attacker.ds = (
        torch.tensor(values)[None, :, None, None] for values in (NORMALISATION.mean, NORMALISATION.std)
    )
    settings = {"num_data_points": len(on.private), "local_hyperparams": None}
    shared = [{"gradients": list(on.seen.update.values), "buffers": None, "metadata": settings}]
    kept: list[tuple[float, Tensor]] = []
    attacker.objective.forward = _watched(attacker.objective.forward, kept)
    torch.manual_seed(seed)
    started = time.process_time()
    found = attacker._run_trial([model], shared, on.private.labels, defaultdict(list), 0)
    return _judge(on, kept, NORMALISATION.invert(found), started, time.process_time())


def _watched(forward: Callable[..., Any], kept: list[tuple[float, Tensor]]) -> Callable[..., Any]:
    def watched(model: nn.Module, gradients: Any, candidate: Tensor, labels: Tensor) -> Any:
        kept.append((time.process_time(), candidate.detach().clone()))
        return forward(model, gradients, candidate, labels)

    return watched


def _judge(on: Case, kept: list[tuple[float, Tensor]], found: Tensor, started: float, ended: float) -> Run:
    every = max(1, len(kept) // 400)
    curve = [
        (seconds - started, 1 + number * every, _psnr(NORMALISATION.invert(guess), on))
        for number, (seconds, guess) in enumerate(kept[::every])
    ]
    psnr = _psnr(found, on)
    gain = psnr - float(metrics.psnr(on.control, on.private.inputs).mean())
    return Run(curve, psnr, gain, ended - started, len(kept))


def _psnr(guess: Tensor, on: Case) -> float:
    guess = guess.nan_to_num(0.5)
    order = metrics.assign(guess, on.private.inputs)
    return float(metrics.psnr(guess[order], on.private.inputs).mean())


def named(text: str) -> Attack:
    """Return the attack of `NAME[,FIELD=VALUE...]`."""
    name, *changes = re.split(r",(?=[A-Za-z_][\w.]*=)", text)
    return make_attack(AttackEntry(name=name, set=dict(_change(change) for change in changes)), Path(), "--attack")


def _change(text: str) -> tuple[str, Any]:
    field, _, value = text.partition("=")
    try:
        return field, json.loads(value)
    except ValueError:
        return field, value


def rows(
    cases: Sequence[tuple[str, int]], names: Sequence[str], seeds: int, budget: int, size: int = 32
) -> list[dict[str, Any]]:
    """Return one row for each case and attack, with medians over the seeds."""
    attacks, found = {name: within(named(name), budget) for name in names}, []
    for network, batch in cases:
        runs: dict[str, list[Run]] = defaultdict(list)
        for seed in range(seeds):
            on = case(network, batch, seed, size)
            peer = run_breaching(on, seed, budget)
            runs[PEER] += [peer] if peer else []
            for name, attack in attacks.items():
                runs[name].append(run(attack, on, seed))
        found += [
            {"network": network, "batch": batch, "attack": name, **_row(of, runs[PEER], runs[names[0]])}
            for name, of in runs.items()
        ]
    return found


def _row(runs: list[Run], peer: list[Run], first: list[Run]) -> dict[str, Any]:
    """Return the medians of an attack, and its difference from the first one, paired; without runs, nothing."""
    columns = ("psnr", "gain", "lowest_gain", "seconds", "evaluations", "to", "seconds_to_peer", "difference")
    if not runs:
        return dict.fromkeys(columns)
    levels = {
        level: {
            "reached": sum(one.first(level)[0] is not None for one in runs),
            "seconds": _median([one.first(level)[0] for one in runs]),
            "evaluations": _median([one.first(level)[1] for one in runs]),
        }
        for level in LEVELS
    }
    ratios = None
    if peer:
        ratios = [one.first(other.psnr)[0] for one, other in zip(runs, peer, strict=True)]
        ratios = _median([None if s is None else s / other.seconds for s, other in zip(ratios, peer, strict=True)])
    return {
        "psnr": statistics.median(one.psnr for one in runs),
        "gain": statistics.median(one.gain for one in runs),
        "lowest_gain": min(one.gain for one in runs),
        "seconds": statistics.median(one.seconds for one in runs),
        "evaluations": statistics.median(one.evaluations for one in runs),
        "to": levels,
        "seconds_to_peer": ratios,
        "difference": asdict(mean_interval(one.psnr - other.psnr for one, other in zip(runs, first, strict=True))),
    }


def _median(values: Sequence[float | None]) -> float | None:
    """Return the median, where `None` is larger than every number."""
    middle = sorted(float("inf") if value is None else value for value in values)[len(values) // 2]
    return None if middle == float("inf") else middle


def table(found: list[dict[str, Any]], seeds: int, budget: int) -> str:
    """Return a Markdown table."""
    heads = ["network", "batch", "attack", "PSNR", "gain", "lowest gain", "s", "evaluations"]
    heads += [f"s (evaluations) to {level} dB" for level in LEVELS]
    heads += ["s to breaching's last PSNR / its s", "PSNR - that of the first attack, paired"]
    lines = [
        f"{described()}; {seeds} seeds, medians; at most {budget} evaluations, {OWN_LENGTH} at its own length.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
    ]
    for row in found:
        cells = [row["network"], str(row["batch"]), row["attack"]]
        if row["psnr"] is None:
            lines.append("| " + " | ".join([*cells, "breaching is not installed", *["-"] * (len(heads) - 4)]) + " |")
            continue
        cells += [f"{row[key]:.1f}" for key in ("psnr", "gain", "lowest_gain", "seconds")]
        cells.append(f"{row['evaluations']:.0f}")
        for level in row["to"].values():
            reached = level["seconds"] is not None
            cells.append(
                f"{level['seconds']:.1f} ({level['evaluations']:.0f})" if reached else f"{level['reached']} runs"
            )
        cells.append("-" if row["seconds_to_peer"] is None else f"{row['seconds_to_peer']:.3f}")
        text = "{mean:+.2f} [{low:+.2f}, {high:+.2f}]" if row["difference"]["n"] > 1 else "{mean:+.2f}, n = 1"
        cells.append(text.format(**row["difference"]))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, or its rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one seed, few evaluations, LeNet at 16 px")
    parser.add_argument("--network", choices=NETWORKS)
    parser.add_argument("--batch", type=int)
    parser.add_argument(
        "--attack", action="append", help=f"NAME[,FIELD=VALUE...]; several are allowed; {', '.join(SHOWN)} by default"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budget", type=int, default=BUDGET)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases, seeds, budget = CASES, options.seeds, options.budget
    if options.network or options.batch:
        cases = ((options.network or "fedavg-cnn", options.batch or 1),)
    if options.quick:
        cases, seeds, budget = (("lenet", 1),), 1, 200
    try:
        found = rows(cases, options.attack or SHOWN, seeds, budget, 16 if options.quick else 32)
    except AuditError as error:
        parser.error(str(error))
    print(json.dumps({"rows": found}) if options.json else table(found, seeds, budget))


if __name__ == "__main__":
    main()
