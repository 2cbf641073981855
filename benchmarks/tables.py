"""TabLeak and Inverting Gradients: `python -m benchmarks.tables CSV... [--batch N] [--seeds N] [--members N]`.

Each CSV has a header and the class in its last column. For every file, training state and seed, there are one network,
one batch of its training rows, and one gradient with known labels, on which every attack runs. Correct cells are
counted by the paper's rule, after the assignment with most correct cells. Seconds are CPU seconds of the process on one
thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from gradaudit import Batch, Client, Knowledge, Level, Reconstruction, metrics
from gradaudit.attacks import inverting_gradients_table, tableak
from gradaudit.audit.plan import draw
from gradaudit.data.modalities import TableHandling
from gradaudit.data.sources.table_files import Tables, TableSource
from gradaudit.models import build_table

from .machine import described

EPOCHS = (0, 1)
COLUMNS = ("control", "inverting-gradients-table", "tableak-member", "tableak")
"""The most common category and mean number of the other rows; the baseline; TabLeak without and with its ensemble."""


def trained(source: TableSource, epochs: int, seed: int) -> nn.Module:
    """Return TabLeak's network after `epochs` of Adam (learning rate 1e-3, batches of 256) on all rows."""
    torch.manual_seed(seed)
    assert source.labels is not None
    net = build_table("tabular-mlp", num_classes=len(source.class_names), features=source.layout.width)
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(source)).split(256):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(source.rows[rows]), source.labels[rows]).backward()
            optimiser.step()
    return net


def right(batch: Batch, guess: Reconstruction) -> tuple[Tensor, Tensor]:
    """Return which cells are correct, `[B, columns]`, and the reconstructed row of each private row."""
    assert batch.table is not None
    matched = TableHandling().match(batch, guess)
    return metrics.cells_right(matched.inputs, batch.inputs, batch.table), matched.order


def measure(source: TableSource, epochs: int, seed: int, size: int, members: int) -> dict[str, float]:
    """Return the share of correct cells for each attack, and how well TabLeak's confidence predicts them."""
    assert source.labels is not None
    indices = draw(len(source), size, 0, seed)
    batch = TableHandling().gather(source, indices, source.labels[indices])
    seen = Client(trained(source, epochs, seed)).share(batch, Level.BASIC | Knowledge.LABELS)
    common = source.common_except(indices)
    assert common is not None
    row = {"control": float(right(batch, Reconstruction(common.expand_as(batch.inputs), None, 0.0))[0].double().mean())}
    for attack in (inverting_gradients_table.ATTACK, tableak.MEMBER, replace(tableak.ATTACK, members=members)):
        started = time.process_time()
        found = attack(seen, seed=seed)
        row[f"{attack.name} s"] = time.process_time() - started
        cells, order = right(batch, found)
        row[attack.name] = float(cells.double().mean())
    row["gain"] = row["tableak"] - row["inverting-gradients-table"]
    assert found.confidence is not None
    return {**row, **told(cells, found.confidence[order], source)}


def told(cells: Tensor, confidence: Tensor, source: TableSource) -> dict[str, float]:
    """Return the share of correct cells in the more and the less confident half, for categories and for numbers."""
    categorical = torch.tensor([column.categorical for column in source.layout.columns])
    row = {}
    for kind, mask in (("categories", categorical), ("numbers", ~categorical)):
        good, sure = cells[:, mask].flatten().double(), confidence[:, mask].flatten()
        half = sure.argsort(descending=True)
        middle = len(half) // 2
        row |= {
            f"{kind} surer": float(good[half[:middle]].mean()),
            f"{kind} less sure": float(good[half[middle:]].mean()),
        }
    return row


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, float | str]]:
    """Yield the measurements as they are made."""
    for path in arguments.csv:
        source = Tables(path, missing="category").open()
        for epochs in EPOCHS:
            for seed in range(arguments.seeds):
                found = measure(source, epochs, seed, arguments.batch, arguments.members)
                yield {"table": path.stem, "epochs": epochs, "seed": seed, **found}


def interval(values: list[float]) -> str:
    """Return the mean in percent, with the bounds of its 95 % interval in brackets."""
    found = metrics.mean_interval(100 * value for value in values)
    return f"{found.mean:.1f} [{found.low:.1f}, {found.high:.1f}]"


def printed(measured: list[dict[str, float | str]]) -> None:
    """Print two tables: the accuracy, and how well the confidence predicts it."""
    groups: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for row in measured:
        groups[str(row["table"]), str(row["epochs"])].append(row)
    halves = [name for name in measured[0] if str(name).endswith("sure") or str(name).endswith("surer")]
    for names in ((*COLUMNS, "gain"), tuple(halves), tuple(f"{name} s" for name in COLUMNS[1:])):
        print(f"\n| table | epochs | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}")
        for (table, epochs), found in groups.items():
            seconds = names[0].endswith(" s")
            of = (lambda v: f"{sum(v) / len(v):.0f}") if seconds else interval
            print(f"| {table} | {epochs} | {' | '.join(of([row[name] for row in found]) for name in names)} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv", type=Path, nargs="+")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--members", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="one line per network, as they are measured")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print(described(), flush=True)
    measured = []
    for row in rows(chosen):
        measured.append(row)
        if chosen.json:
            print(json.dumps(row), flush=True)
    if not chosen.json:
        printed(measured)


if __name__ == "__main__":
    main()
