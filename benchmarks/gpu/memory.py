"""Peak memory of one gradient on the device, beside what the product's memory rule expects."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import torch

from gradaudit.inversion.parts.objectives import Cosine
from gradaudit.inversion.parts.part import Progress
from gradaudit.inversion.run.one_pass import OnePass, fitting, needed
from gradaudit.inversion.step.matching import Matching
from gradaudit.values.full_precision import full_precision

from ..memory import MB, peak
from ..step import naive_gradient
from .networks import candidate, observe
from .rows import Case, Row, failed_as_row

AT = Progress(0, 1)
BATCHES = (1, 4, 16, 64)
SIZES = (32, 64, 128, 224)
TOGETHER = 4  # candidates that share a pass
SMALL = ("lenet", "fedavg-cnn")


def cases(device: str, quick: bool, limit: float) -> Iterator[Case]:
    """Yield one case for each network with each batch at 32 pixels, and with one image of each size."""
    if quick:
        yield Case({"network": "lenet", "batch": 2, "px": 32}, measure, ("lenet", 2, 32, device))
        return
    for name in (*SMALL, "resnet18-cifar-stem", "vit-tiny", "resnet34"):
        sizes = {(batch, 32) for batch in BATCHES} | set(zip(repeat(1), SIZES))
        for batch, size in sorted(sizes):
            if size > 32 and name in ("fedavg-cnn", "lenet", "vit-tiny"):
                continue  # the architectures are made for small images
            yield Case({"network": name, "batch": batch, "px": size}, measure, (name, batch, size, device))


def measure(name: str, batch: int, size: int, device: str) -> Row:
    """Return peaks in MB: of the routes, and of several candidates in one pass beside the rule for them."""
    torch.set_num_threads(1)
    private, seen = observe(name, batch, size, device)
    x, y = candidate(private), private.labels
    known = [*seen.model.parameters(), *seen.model.buffers(), *seen.update.values, x, y]
    plain = Matching(seen, Cosine())
    exact, directional = (Matching(seen, Cosine().bind(seen), step) for step in ("exact", "directional"))
    row: Row = {}
    if x.is_cuda:
        free, whole = torch.cuda.mem_get_info(x.device)
        row |= {"free MB": round(free / MB), "of MB": round(whole / MB)}
    row["rule MB"] = round(needed(plain, x) / MB, 1)
    row["rule fits"] = fitting(plain, x)
    calls = {
        "naive": lambda: naive_gradient(plain, x, y),
        "exact": lambda: exact.slope(x, y, [], AT),
        "directional": lambda: directional.slope(x, y, [], AT),
    }
    many = TOGETHER * row["rule MB"]
    if name in SMALL and (not x.is_cuda or 2 * many < row["free MB"]):
        together = OnePass([exact] * TOGETHER, TOGETHER)
        inputs, labels = torch.stack([x] * TOGETHER), torch.stack([y] * TOGETHER)
        known += [inputs, labels]
        calls[f"pass of {TOGETHER}"] = lambda: together.slope(inputs, labels, [], AT)
    with full_precision():
        for column, call in calls.items():
            found = failed_as_row(lambda call=call: {"MB": peak(call, known)}, ())
            row[f"{column} MB"] = found.get("MB", found.get("error"))
    if isinstance(one := row["exact MB"], float) and row["rule MB"]:
        row["exact / rule"] = round(one / row["rule MB"], 2)
    if isinstance(several := row.get(f"pass of {TOGETHER} MB"), float):
        row["pass / rule"] = round(several / many, 2)
    return row
