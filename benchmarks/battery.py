"""Which attacks are strong for their time: the candidates for a battery, side by side on the built-in data.

    python -m benchmarks.battery                          # images at 16 px, about two CPU minutes
    python -m benchmarks.battery --size 32                # about ten
    python -m benchmarks.battery --kind text
    python -m benchmarks.battery --kind tables

Every candidate attacks the same update of the same client, with labels granted. One row for each client, one column for
each candidate: the gain over the control, and the CPU seconds.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace

import torch

from gradaudit.attacks import ATTACKS
from gradaudit.audit.battery import STANDARD_1
from gradaudit.audit.config import make_config
from gradaudit.audit.judge import audit
from gradaudit.audit.plan import make_plan
from gradaudit.values.errors import AuditError
from gradaudit.values.types import Modality

from .calibration import HERE
from .machine import described

NOISE = {"name": "gaussian-noise", "std": 0.1, "relative": True}
IMAGES = [
    ({"name": network, "num_classes": 10}, batch, defenses)
    for network, batch, defenses in (
        ("fedavg-cnn", 4, []),
        ("fedavg-cnn", 4, [NOISE]),
        ("lenet", 1, []),
        ("resnet20", 1, []),
        ("lenet", 4, []),
        ("vit-tiny", 1, []),
    )
]
TEXTS = [({"name": name}, batch, []) for name, batch in (("tiny-bert", 1), ("tiny-bert", 2), ("tiny-gpt2", 2))]
TABLES = [({"name": "tabular-mlp"}, batch, []) for batch in (4, 16)]


def short(name: str, steps: int, **changes: object) -> object:
    """Return an attack with so many steps in its last stage."""
    attack = ATTACKS[name]
    return replace(attack, stages=(*attack.stages[:-1], replace(attack.stages[-1], steps=steps)), **changes)


def candidates(kind: str) -> dict[str, object]:
    """Return the candidates for one kind of data by name, those of the battery first."""
    modality = {"images": Modality.PICTURES, "text": Modality.TEXT, "tables": Modality.TABLE}[kind]
    found = {f"{member.attack.name} (standard-1)": member.attack for member in STANDARD_1.members[modality]}
    if kind == "images":
        found = {name: attack for name, attack in found.items() if not name.startswith("sme")}
        found |= {
            f"{name}, {steps}": short(name, steps) for name, steps in (("dlg", 100), ("inverting-gradients", 600))
        }
        found |= {f"{name}, {steps}": short(name, steps) for name, steps in (("afgi", 300), ("hfgradinv", 300))}
        found["gradinversion, 150, 2 seeds"] = short("gradinversion", 150, seeds=2)
    elif kind == "text":
        found |= {f"{name}, 600": short(name, 600) for name in ("dlg-text", "tag")}
    else:
        found["inverting-gradients-table"] = ATTACKS["inverting-gradients-table"]
        found["tableak, 3 members"] = replace(ATTACKS["tableak"], members=3)
    return found


def case_of(kind: str, model: dict, batch: int, defenses: list, size: int) -> object:
    """Return the plan of one client."""
    data = {
        "images": {"source": "photographs", "size": size},
        "text": {"source": "text"},
        "tables": {"source": "table"},
    }[kind]
    knowledge = ["basic", "LABELS", *(["EMBEDDING_GRADIENT"] if kind == "text" else [])]
    file = {"data": {**data, "batch_size": batch}, "model": model, "knowledge": knowledge, "defenses": defenses}
    return make_plan(make_config(file), HERE)


def cell(case: object, attack: object) -> str:
    """Return the gain and the CPU seconds of one attack on one case."""
    started = time.process_time()
    try:
        finding = audit(replace(case, attack=attack, attack_name=attack.name)).finding
    except AuditError as error:
        return f"refused: {str(error)[:30]}"
    seconds = time.process_time() - started
    if not finding.scored:
        return f"refuses ({seconds:.1f} s)"
    measure = finding.measure
    return f"{measure.text(finding.mean_gain, signed=True)} ({seconds:.1f} s)"


def main() -> None:
    """Print the table of one kind of data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=("images", "text", "tables"), default="images")
    parser.add_argument("--size", type=int, default=16, help="side of the images in pixels")
    kind, size = parser.parse_args().kind, parser.parse_args().size
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    attacks = candidates(kind)
    print(described(), "\n")
    print("| client |", " | ".join(attacks), "|\n|---|" + "---|" * len(attacks))
    for model, batch, defenses in {"images": IMAGES, "text": TEXTS, "tables": TABLES}[kind]:
        case = case_of(kind, model, batch, defenses, size).case(0, 0)
        name = f"{model['name']}, batch {batch}{', noise' if defenses else ''}"
        print(f"| {name} |", " | ".join(cell(case, attack) for attack in attacks.values()), "|", flush=True)


if __name__ == "__main__":
    main()
