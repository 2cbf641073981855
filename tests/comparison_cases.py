"""Small folders of audits, sweeps and studies, written without running anything."""

import dataclasses
import hashlib
import json
import math

import numpy as np
from PIL import Image

from gradaudit.execution import Results
from gradaudit.values.finding import Finding, ImageFiles, RunRecord, Score, Scores
from gradaudit.values.records import content_name

RUN = RunRecord(title="An audit", configuration="seed: 0\n", source="test", planned=4, identity={"model": "mlp"})


def finding(attack="dlg", repeat=0, psnr=20.0, *, number=0, data="photographs", **changes):
    """A finding on two images; `psnr` is the mean, and the control stands at 12 dB."""
    seed = changes.get("seed", 0)
    client, grid = changes.get("client", "no defense"), changes.get("grid", {})
    case = f"client0-attack{number}-batch{repeat}"
    name = hashlib.sha256(repr((attack, repeat, data, seed, client, sorted(grid.items()))).encode()).hexdigest()
    values = {
        "attack": attack, "case": case, "client": client, "seed": seed, "repeat": repeat,
        "scores": Scores({"psnr": Score.of((psnr - 1, psnr + 1)), "ssim": Score.of((0.5, 0.5))}),
        "control": Scores({"psnr": Score.of((12.0, 12.0))}), "objective": 1e-7, "seconds": 1.5 + repeat,
        "verified": True, "needs": (), "knowledge": ("BATCH_SIZE",), "attack_value": f"{attack}()",
        "client_value": f"Client({client!r})", "label_accuracy": 0.5, "labels": (3, 4), "guessed_labels": (3, 5),
        "trial": name, "batch": f"{data}-{seed}-{repeat}",
    }  # fmt: skip
    return Finding(**values | changes)


def unjudged(reason="the update holds nothing.", **changes):
    """A finding without scores."""
    return finding(scores=Scores({}), control=Scores({}), objective=math.nan, cannot_judge=reason, **changes)


def run_folder(path, findings, run=RUN, failures=(), pictures=False):
    """Write an audit or a sweep and give its path."""
    results = Results(path, run)
    for one in findings:
        results.append(with_pictures(path, one) if pictures else one)
    for failure in failures:
        results.fail(failure)
    results.export()
    return path


def with_pictures(path, one):
    """The finding with three images in `images/`, whose pixels depend on the trial and the mean PSNR."""
    (path / "images").mkdir(exist_ok=True)
    rows = []
    for kind in ("truth", "reconstruction", "control"):
        name = f"images/{one.case}-{kind}-0.png"
        seed = int(hashlib.sha256(f"{one.trial} {kind}".encode()).hexdigest()[:8], 16)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(path / name)
        rows.append((name,))
    single = {key: Score.of(score.per_example[:1]) for key, score in one.scores.named.items()}
    return dataclasses.replace(
        one, pictures=ImageFiles(*rows), scores=Scores(single), control=Scores({"psnr": Score.of((12.0,))}),
        labels=(3,), guessed_labels=(3,),
    )  # fmt: skip


def study_trial(cell, seed):
    """The name of a trial of `study_folder`."""
    return content_name(hashlib.sha256(cell.encode()).hexdigest()[:16], seed, "d")


def study_folder(path, rows, bench=None, failed=()):
    """Write a study: rows of (cell, seed, values)."""
    path.mkdir(parents=True)
    (path / "bench.json").write_text(json.dumps(bench or {"data": "photographs"}))
    lines = []
    for cell, seed, values in rows:
        result = {
            "study": "table",
            "cell": hashlib.sha256(cell.encode()).hexdigest()[:16],
            "name": cell,
            "seed": seed,
            "values": values,
            "data": "d",
        }
        lines.append({"trial": study_trial(cell, seed), "result": {**result, "seconds": 3.0}})
    for name in failed:
        cell, seed = name.split("-")
        lines.append({"trial": study_trial(cell, int(seed)), "title": name, "error": "out of memory"})
    (path / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
