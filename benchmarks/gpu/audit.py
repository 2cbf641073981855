"""A whole audit by the command line, on the CPU and on the device at the same time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .rows import Case, Row

FILE = """
data: {source: photographs, size: 32, crops: whole, batch_size: 2}
model: {name: fedavg-cnn, num_classes: 10}
knowledge: [priors, LABELS]
attacks: [{name: inverting-gradients-fast}]
"""


def cases(device: str, quick: bool, limit: float) -> Iterator[Case]:
    """Yield the only case."""
    seconds = min(limit, 90.0)
    yield Case({"attack": "inverting-gradients-fast", "network": "fedavg-cnn"}, whole, (device, seconds), seconds + 5)


def whole(device: str, seconds: float) -> Row:
    """Return the gain in dB and the seconds of an audit, on both devices."""
    row: Row = {}
    with tempfile.TemporaryDirectory() as temporary:
        started = time.monotonic()
        runs = {place: _started(Path(temporary) / place.partition(":")[0], place) for place in ("cpu", device)}
        for place, run in runs.items():
            label = "CPU " if place == "cpu" else ""
            try:
                said, _ = run.communicate(timeout=max(1.0, started + seconds - time.monotonic()))
                row |= _read(label, Path(temporary) / place.partition(":")[0], said)
            except subprocess.TimeoutExpired:
                run.kill()
                row["note"] = f"{row.get('note', '')} {place}: ended after {seconds:.0f} s"
    return row


def _started(folder: Path, device: str) -> subprocess.Popen[str]:
    """Return the running audit; both have the same number of threads."""
    folder.mkdir(exist_ok=True)
    (folder / "audit.yaml").write_text(f"{FILE}device: {device}\n", encoding="utf-8")
    command = [sys.executable, "-m", "gradaudit", "audit", str(folder / "audit.yaml"), "--out", str(folder / "run")]
    places = [place for place in sys.path if place] + [os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"OMP_NUM_THREADS": "4", "PYTHONPATH": os.pathsep.join(filter(None, places))}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", env=env
    )


def _read(label: str, folder: Path, said: str) -> Row:
    path = folder / "run" / "trials.jsonl"
    if not path.exists():
        return {f"{label}gain": None, "note": f"{label or 'device '}wrote nothing: {said[-300:]}"}
    lines = [json.loads(line).get("result") or {} for line in path.read_text(encoding="utf-8").splitlines()]
    scored = [one for one in lines if (one.get("scores") or {}).get("psnr")]
    gains = [one["scores"]["psnr"]["mean"] - one["control"]["psnr"]["mean"] for one in scored]
    row: Row = {f"{label}gain": ", ".join(f"{gain:.2f}" for gain in gains)}
    row[f"{label}s"] = ", ".join(f"{one['seconds']:.1f}" for one in scored)
    return row if scored else {**row, "note": f"{label}{said[-300:]}"}
