"""Measures the ten reference clients with a battery, and writes the file that the pages of audits compare with.

python -m benchmarks.calibration                      # about ten CPU minutes, then commit the file
python -m benchmarks.calibration --only 3             # one client, printed and not written
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch

from gradaudit.audit.battery import STANDARD_1
from gradaudit.audit.config import make_config
from gradaudit.audit.judge import Case, audit
from gradaudit.audit.plan import make_plan
from gradaudit.report import reference_clients
from gradaudit.report.cases import Leak, worst_per_picture
from gradaudit.report.reference_clients import Calibration, ReferenceClient
from gradaudit.values.deciding import deciding
from gradaudit.values.finding import Finding
from gradaudit.values.versions import version_of

HERE = Path(__file__).parent
KNOWLEDGE = ["priors", "LABELS"]
EXAMPLES = "untrained networks on the built-in photographs at 32 px"
CLIP = {"name": "clip", "norm": 1.0}
NOISE = {"name": "gaussian-noise", "std": 0.1, "relative": True}
CLIENTS = (
    ("lenet", 1, []),
    ("lenet", 4, []),
    ("fedavg-cnn", 1, []),
    ("fedavg-cnn", 4, []),
    ("fedavg-cnn", 4, [CLIP]),
    ("fedavg-cnn", 4, [NOISE]),
    ("mlp", 4, []),
    ("mlp", 4, [NOISE]),
    ("resnet20", 1, []),
    ("vit-tiny", 1, []),
)


def name_of(network: str, batch: int, defenses: list) -> str:
    """Return a client in words."""
    defense = ", ".join(
        " ".join([one["name"], *(f"{k}={v}" for k, v in one.items() if k != "name")]) for one in defenses
    )
    return f"{network}, batch {batch}, {defense or 'no defense'}"


def told(case: Case) -> Finding:
    """Return the finding of a case, and print what its attack gained in how many CPU seconds."""
    started = time.process_time()
    finding = audit(case).finding
    gain = f"{finding.mean_gain:+.2f} dB" if finding.scored else finding.cannot_judge
    print(f"  {finding.attack}: {gain}, {time.process_time() - started:.1f} CPU s", flush=True)
    return finding


def measured(network: str, batch: int, defenses: list) -> ReferenceClient:
    """Return one client with its mean gain over the closest reconstructions."""
    file = {
        "data": {"source": "photographs", "size": 32, "batch_size": batch},
        "model": {"name": network, "num_classes": 10},
        "knowledge": KNOWLEDGE,
        "defenses": defenses,
        "attacks": [STANDARD_1.name],
    }
    plan = make_plan(make_config(file), HERE)
    findings = deciding([told(case) for case in plan.cases()])
    leaks = [Leak(finding, place, (finding.repeat, place)) for finding in findings for place in range(finding.examples)]
    worst = worst_per_picture(leaks)
    return ReferenceClient(name_of(network, batch, defenses), round(sum(leak.gain for leak in worst) / len(worst), 2))


def main() -> None:
    """Measure all clients and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=int, help="number of one client, from 0")
    only = parser.parse_args().only
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found = []
    for client in CLIENTS if only is None else CLIENTS[only : only + 1]:
        started = time.process_time()
        found.append(measured(*client))
        print(f"{found[-1].name}: {found[-1].gain:+.2f} dB, {time.process_time() - started:.0f} CPU s", flush=True)
    if only is None:
        known = Calibration(
            battery=STANDARD_1.name,
            fingerprint=STANDARD_1.fingerprint,
            date=datetime.now(UTC).date().isoformat(),
            version=version_of("gradaudit"),
            examples=EXAMPLES,
            knowledge=make_config({"data": {}, "model": {"name": "x"}, "knowledge": KNOWLEDGE}).granted.names,
            clients=tuple(found),
        )
        path = Path(reference_clients.__file__).with_name(reference_clients.FILE)
        path.write_text(json.dumps(asdict(known), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
