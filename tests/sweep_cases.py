"""Synthetic findings of a sweep: one image for each batch, with a chosen gain."""

import hashlib
import json

import numpy as np
from PIL import Image

from gradaudit.audit.sweep_file import combinations
from gradaudit.values.finding import Finding, ImageFiles, RunRecord, Score, Scores

SIDE = 16


def put(folder, name, seed, side=SIDE):
    """The path of a small image of random fields, written once."""
    path = folder / "images" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        pixels = np.random.default_rng(seed).integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
        Image.fromarray(pixels.repeat(4, axis=0).repeat(4, axis=1)).save(path)
    return f"images/{name}.png"


def finding(folder, at, gain, attack="dlg", position=0, repeat=0, cell=0, **changes):
    """A finding on one image in the cell whose values are `at`."""
    case = f"cell{cell}-client0-attack{position}-batch{repeat}"
    images = ImageFiles(
        (put(folder, f"truth-{repeat}", repeat),),
        (put(folder, case, hash((cell, position, repeat)) % 1000),),
        (put(folder, "control", 999),),
    )
    seed = at.get("seed", 0)
    values = {
        "attack": attack, "case": case, "client": "no defense", "seed": seed, "repeat": repeat,
        "scores": Scores({"psnr": Score.of((12.0 + gain,)), "ssim": Score.of((0.5,))}),
        "control": Scores({"psnr": Score.of((12.0,)), "ssim": Score.of((0.25,))}),
        "objective": 1e-5, "seconds": 2.5, "verified": True, "needs": ("BATCH_SIZE",), "knowledge": ("BATCH_SIZE",),
        "attack_value": f"Attack({attack!r})", "client_value": "Client()", "labels": (repeat % 10,),
        "guessed_labels": (3,), "label_accuracy": float(repeat % 10 == 3), "pictures": images, "grid": at,
        "trial": hashlib.sha256(json.dumps([case, at]).encode()).hexdigest()[:16], "versions": {"torch": "2.9"},
    }  # fmt: skip
    return Finding(**values | changes)


def sweep(folder, grid, gain, *, zipped=(), attacks=("dlg",), repeats=1, **changes):
    """The findings and the record of a sweep; `gain(at, attack, repeat)` is a gain in dB, or `None` for no finding."""
    findings, planned = [], 0
    for cell, at in enumerate(combinations(grid, zipped)):
        for position, name in enumerate(attacks):
            attack = at.get(f"attacks.{position}.name", name)
            for repeat in range(repeats):
                planned += 1
                value = gain(at, attack, repeat)
                if value is not None:
                    more = {"cannot_judge": "The update is zero."} if np.isnan(value) else {}
                    value = 0.0 if np.isnan(value) else value
                    findings.append(finding(folder, at, value, attack, position, repeat, cell, **more, **changes))
    grid = {key: tuple(values) for key, values in grid.items()}
    record = RunRecord(
        "Sweep of sweep.yaml", "data: {source: photographs}\n", "photographs", planned, kind="sweep", grid=grid,
        zipped=zipped,
    )  # fmt: skip
    return findings, record
