"""The app of docs/flower-tutorial.md, audited end to end: `python -m benchmarks.flower_app [--only TEXT]`.

The files of the app are those of the page. Every row is one client of it: called once by Flower's own code, captured
by `audit_mod`, and audited with the battery `standard-1` and the labels granted, as on the page. LocalDpMod clips to a
norm of 0.1, and its noise is declared to the audit. Needs the extra `flower`; about ten minutes on a core of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gradaudit import report
from gradaudit.audit.assessment import assessment_of
from gradaudit.audit.captured import make_schedule
from gradaudit.audit.config import make_config
from gradaudit.capture.defense_facts import gaussian_sigma
from gradaudit.execution import Listener, Results, describe_run
from gradaudit.report.album import Album
from gradaudit.report.auditing import carry_out
from gradaudit.report.cases import Leak, leaks, worst_per_picture
from gradaudit.report.feasibility import read_assessments
from gradaudit.values.versions import version_of

from .flower_page import TUTORIAL, apply, blocks_of
from .machine import described

IMAGES, RATE, MOMENTUM = 12, 0.1, 0.9
NO_HURRY = 7200.0  # seconds, so that a busy machine does not shorten the positive control
CLIP, DELTA = 0.1, 1e-5  # of LocalDpMod, whose sensitivity is the clipping norm
COLUMNS = (
    "network",
    "client",
    "defense",
    "self-check",
    "verdict",
    "recovered",
    "mean gain",
    "CPU seconds",
)
CONTROL = "Positive control"
CALL = """
import numpy, sys, torch
from gradaudit.capture.flower_client import run_client_once
from quickstart.client_app import app
from quickstart.task import Net
epochs, size, clients = map(int, sys.argv[1:4])
torch.manual_seed(0)
arrays = Net().state_dict()
numpy.random.seed(0)
run_client_once(app, arrays, {"local-epochs": epochs, "batch-size": size}, config={"lr": float(sys.argv[4])},
                node_config={"partition-id": 0, "num-partitions": clients})
"""


@dataclass(frozen=True)
class AppClient:
    """One client of the app.

    Args:
        wide: Whether the network has the widths of the page's second part.
        images: Number of its images.
        epochs: Local epochs.
        size: Examples in a minibatch.
        epsilon: Of LocalDpMod, or `None` without it.
        told: Whether the adversary knows the local training; otherwise it takes the update for one gradient.
    """

    wide: bool
    images: int = 4
    epochs: int = 1
    size: int = 4
    epsilon: float | None = None
    told: bool = True

    @property
    def steps(self) -> int:
        """Number of local steps."""
        return self.epochs * -(-self.images // self.size)

    @property
    def words(self) -> tuple[str, str, str]:
        """The first three cells of its row."""
        steps = "one step" if self.steps == 1 else f"{self.steps} steps of {min(self.size, self.images)}, momentum"
        unknown = "" if self.told else ", training not granted"
        defense = "" if self.epsilon is None else f"LocalDpMod, epsilon {self.epsilon:g}"
        images = "1 image" if self.images == 1 else f"{self.images} images"
        return ("32 and 64 filters" if self.wide else "6 and 16 filters", f"{images}, {steps}{unknown}", defense)

    def config(self) -> dict[str, Any]:
        """Return the audit file of its capture, as that of the page."""
        noise = [] if self.epsilon is None else [gaussian_sigma(CLIP, self.epsilon, DELTA)]
        return {
            "update": {"path": "captures/round-1-node-0.safetensors"},
            "model": {"factory": "quickstart/task.py:Net", "mean": [0.5] * 3, "std": [0.5] * 3},
            "training": {
                "kind": "fedavg",
                "epochs": self.epochs,
                "minibatch_size": min(self.size, self.images),
                "learning_rate": RATE,
                "momentum": MOMENTUM,
                "shuffle": self.size < self.images,
            },
            "defenses": [{"name": "gaussian-noise", "std": std} for std in noise],
            "data": {"source": "npz", "path": "images.npz", "batch_size": self.images},
            "knowledge": ["training-details" if self.told else "priors", "LABELS"],
        }


CLIENTS = (
    AppClient(wide=False, images=1),
    AppClient(wide=False),
    AppClient(wide=False, epochs=4),
    AppClient(wide=False, images=6, size=2),
    AppClient(wide=True, images=1),
    AppClient(wide=True),
    AppClient(wide=True, epochs=2),
    AppClient(wide=True, epochs=4),
    AppClient(wide=True, epochs=4, told=False),
    AppClient(wide=True, images=6, size=2),
    AppClient(wide=True, epsilon=1e5),
    AppClient(wide=True, epsilon=1e4),
    AppClient(wide=True, epsilon=1e3),
    AppClient(wide=True, epsilon=1),
)


def write_app(client: AppClient, folder: Path) -> None:
    """Write the files of the page with the changes that this client needs."""
    blocks = [(kind, text) for kind, text in blocks_of(TUTORIAL) if "make_images" in text or "quickstart/" in text]
    wanted = [
        block for block in blocks if block[0] == "python" or (block[0] == "diff" and "LocalDpMod" not in block[1])
    ]
    if not client.wide:
        wanted = [block for block in wanted if not (block[0] == "diff" and "quickstart/task.py" in block[1])]
    apply(wanted, folder)
    if client.epsilon is not None:
        path = folder / "quickstart/client_app.py"
        text = path.read_text(encoding="utf-8").replace(
            'node="partition-id")]', f'node="partition-id"), LocalDpMod({CLIP}, {CLIP}, {client.epsilon}, {DELTA})]'
        )
        path.write_text("from flwr.clientapp.mod import LocalDpMod\n" + text, encoding="utf-8")


def capture(client: AppClient, folder: Path) -> None:
    """Make the images, and call the client once."""
    write_app(client, folder)
    words = [str(client.epochs), str(client.size), str(IMAGES // client.images), str(RATE)]
    for line in (["make_images.py"], ["-c", CALL, *words]):
        subprocess.run([sys.executable, *line], cwd=folder, check=True, capture_output=True)


def row(client: AppClient) -> tuple[str, ...]:
    """Capture and audit one client, and return its row."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        capture(client, folder)
        plan = make_schedule(make_config(client.config()), folder)
        results = Results(folder / "run", describe_run([plan], "app"))
        started = time.process_time()
        found = carry_out([plan], results, Listener())
        seconds = time.process_time() - started
        (assessed,) = read_assessments(found.folder)
        check = assessed.assessment.self_check
        worst = worst_per_picture(leaks(found.findings, Album(found.folder)))
        verdict = report.verdicts(found.findings, found.folder)[0].headline.rstrip(":")
    return (*client.words, check.state if check else "n/a", verdict, *gains(worst), f"{seconds:.0f}")


def control(client: AppClient) -> str:
    """Return what the positive control reaches on a client's network, with as much time as it needs."""
    with tempfile.TemporaryDirectory() as name:
        capture(client, Path(name))
        plan = make_schedule(make_config(client.config()), Path(name))
        easy = assessment_of(plan, seconds=NO_HURRY).positive
    return f"{client.words[0]}: {easy.gain:+.1f} dB, {'' if easy.recovered else 'not '}recovered by {easy.attack}"


def gains(worst: Sequence[Leak]) -> tuple[str, str]:
    """Return how many images were recovered, and the mean gain of the closest reconstruction of each."""
    mean = sum(leak.gain for leak in worst) / len(worst)
    return f"{sum(leak.recovered for leak in worst)} of {len(worst)}", f"{mean:+.1f} dB"


def line(cells: Sequence[str]) -> str:
    """Return one line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose words contain this text")
    only = parser.parse_args().only
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"flwr {version_of('flwr')}, {described()}\n")
    print(line(COLUMNS), line(["---"] * len(COLUMNS)), sep="\n", flush=True)
    for client in CLIENTS:
        if only in ", ".join(client.words):
            print(line(row(client)), flush=True)
    if only in CONTROL:
        print(f"\n{CONTROL}, the gradient of one image:\n")
        print(*(f"- {control(AppClient(wide=wide))}" for wide in (False, True)), sep="\n")


if __name__ == "__main__":
    main()
