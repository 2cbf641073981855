"""Milliseconds of one gradient of the matching loss: routes, TF32, bf16 and CUDA graphs, with the error of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

import gradaudit as ga
from gradaudit.attacks import INVERTING_GRADIENTS
from gradaudit.inversion.parts.objectives import Cosine
from gradaudit.inversion.parts.part import Progress
from gradaudit.inversion.step.matching import Matching
from gradaudit.metrics import psnr
from gradaudit.values.full_precision import full_precision

from ..step import naive_gradient
from .networks import candidate, observe
from .place import milliseconds, synchronise
from .rows import Case, Row, failed_as_row

AT = Progress(0, 1)
CASES = (
    ("fedavg-cnn", 1, 32),
    ("fedavg-cnn", 4, 32),
    ("lenet", 1, 32),
    ("lenet", 4, 32),
    ("resnet18-cifar-stem", 1, 32),
    ("resnet18-cifar-stem", 4, 32),
    ("vit-tiny", 1, 32),
    ("vit-tiny", 4, 32),
    ("resnet18", 8, 224),
    ("resnet34", 8, 224),
)
RUNS = (("lenet", 300), ("resnet18-cifar-stem", 300))
LOOPS = (10, 40)  # steps of two runs of the whole attack, whose difference is timed


def cases(device: str, quick: bool, limit: float) -> Iterator[Case]:
    """Yield one case for each network and batch, then the short runs with bf16."""
    for name, batch, size in (("lenet", 1, 32),) if quick else CASES:
        row = {"network": name, "batch": batch, "px": size}
        yield Case(row, measure, (name, batch, size, device, 0.0 if quick else 0.25))
    for name, steps in () if quick else RUNS:
        yield Case({"network": name, "run of": steps}, short_run, (name, steps, device))


@contextmanager
def tf32() -> Iterator[None]:
    """Allow TF32 for convolutions and products inside the block."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def bf16(device: str) -> torch.autocast:
    """Return a context in which products are taken in bf16; no cast is kept, because its graph is used only once."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, cache_enabled=False)


def measure(name: str, batch: int, size: int, device: str, seconds: float) -> Row:
    """Return the milliseconds of every column, and the relative error of every gradient against float64."""
    private, seen = observe(name, batch, size, device)
    x, y = candidate(private), private.labels
    plain = Matching(seen, Cosine())

    def matching(step: str) -> Matching:
        return Matching(seen, Cosine().bind(seen), step)

    exact, directional = matching("exact"), matching("directional")

    def forward_backward() -> None:
        torch.autograd.grad(plain.one_step.loss(x, y), plain.one_step.parameters)

    def of(one: Matching) -> Callable[[], Tensor]:
        return lambda: one.slope(x, y, [], AT).inputs

    columns = {
        "f+b": (full_precision, lambda: forward_backward() or x),
        "naive": (full_precision, lambda: naive_gradient(plain, x, y)),
        "exact": (full_precision, of(exact)),
        "directional": (full_precision, of(directional)),
        "exact TF32": (tf32, of(exact)),
        "exact bf16": (partial(bf16, device), of(matching("exact"))),
    }
    row: Row = {}
    with full_precision():
        truth = _truth(seen, x, y)
    for column, (around, call) in columns.items():
        row |= _column(column, partial(_timed, around, call, device, seconds, truth), column == "f+b")
    row |= _column("iteration", partial(_iteration, seen, device))
    if device.startswith("cuda"):
        for column, one in (("exact graph", matching("exact")), ("directional graph", matching("directional"))):
            row |= _column(column, partial(_graph, one, x, y, device, seconds, truth))
        row |= _column("iteration graph", partial(_iteration, seen, device, graph=True))
    return row


def _column(column: str, call: Callable[[], tuple[float, float | None]], alone: bool = False) -> Row:
    """Return the milliseconds of a column and its error; if it failed, the failure in place of both."""
    found = failed_as_row(lambda: dict(zip(("ms", "error of"), call(), strict=True)), ())
    if "error" in found:
        return {f"{column} ms": found["error"][:160]}
    error = found["error of"]
    return {f"{column} ms": found["ms"]} | ({} if alone or error is None else {f"{column} error": error})


def _timed(around: Callable, call: Callable[[], Tensor], device: str, seconds: float, truth: Tensor) -> tuple:
    with around():
        return milliseconds(call, device, seconds), _error(call(), truth)


def _error(found: Tensor, truth: Tensor) -> float:
    return float((found.double() - truth).norm() / truth.norm())


def _truth(seen: ga.Observation, x: Tensor, y: Tensor) -> Tensor:
    """Return the gradient in float64, with the same weights and the same observed update."""
    from copy import deepcopy

    tensors = {key: value.double() for key, value in seen.update.tensors.items()}
    double = replace(seen, model=deepcopy(seen.model).double(), update=replace(seen.update, tensors=tensors))
    return Matching(double, Cosine()).slope(x.double(), y, [], AT).inputs


def _iteration(seen: ga.Observation, device: str, graph: bool = False) -> tuple[float, None]:
    """Return the milliseconds of a whole iteration of Inverting Gradients, by the difference of two lengths.

    Raise `RuntimeError` if a graph was asked for and the run notes that it went without.
    """
    import time

    taken = []
    for steps in (LOOPS[0], *LOOPS):
        stages = (replace(INVERTING_GRADIENTS.stages[0], steps=steps),)
        started = time.perf_counter()
        found = replace(INVERTING_GRADIENTS, stages=stages, graph=graph)(seen)
        synchronise(device)
        taken.append(time.perf_counter() - started)
        if without := [note for note in found.notes if note.startswith("graph: ")]:
            raise RuntimeError(without[0])
    return 1e3 * (taken[2] - taken[1]) / (LOOPS[1] - LOOPS[0]), None


def _graph(matching: Matching, x: Tensor, y: Tensor, device: str, seconds: float, truth: Tensor) -> tuple[float, float]:
    """Return the milliseconds of a replay of the captured gradient, and its error; the memory of both is kept."""
    with full_precision():
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                matching.slope(x, y, [], AT)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = matching.slope(x, y, [], AT).inputs
        taken = milliseconds(graph.replay, device, seconds)
        original = x.clone()
        x.copy_(torch.randn_like(x))  # a replay must follow its input
        graph.replay()
        moved = found.clone()
        expected = matching.slope(x, y, [], AT).inputs
        x.copy_(original)
        if _error(moved, expected.double()) > 1e-2:
            raise RuntimeError(f"a replay with another input differs by {_error(moved, expected.double()):.2g}")
        graph.replay()
        return taken, _error(found, truth)


def short_run(name: str, steps: int, device: str) -> Row:
    """Return the PSNR of a short run of Inverting Gradients on smooth images in float32 and under bf16 autocast."""
    import time

    private, seen = observe(name, 1, 32, device, smooth=True)
    attack = replace(INVERTING_GRADIENTS, stages=(replace(INVERTING_GRADIENTS.stages[0], steps=steps),))
    row: Row = {}
    for label, around in (("float32", nullcontext()), ("bf16", bf16(device))):
        started = time.perf_counter()
        try:
            with around:
                found = attack(seen, seed=0)
            synchronise(device)
            row[f"{label} PSNR"] = float(psnr(found.inputs.cpu(), private.inputs.cpu()).mean())
            row[f"{label} s"] = time.perf_counter() - started
        except Exception as error:
            row[f"{label} PSNR"] = f"{type(error).__name__}: {error}"[:160]
    return row
