"""CUDA graphs: the fixed part of a step is recorded once and replayed, without its launches from Python.

A recording repeats the same kernels on the same memory. What the host decides is frozen in it: a branch, a counter, a
value that was read from the device. Therefore a recording is used only if a replay at another point agrees with an
eager evaluation there, which is repeated during the run; otherwise the run stays eager and a note says why.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...values.chance import forked
from ...values.types import Tensors
from ..parts.part import Progress
from .matching import NONE, Matching, Slope
from .routes import BoundTerm, Point

WARM = 3  # eager evaluations before a recording, in which torch and the parts prepare what they reuse
EARLY, CHECK = (10, 100), 1000  # evaluations at which, and at whose multiples, a replay is compared again
NEAR = {"exact": 1e-3, "directional": 1e-2}  # largest relative distance of a replay

Capture = Callable[[Callable[..., Tensors], Tensors], Callable[[], Tensors]]


def capture_for(device: torch.device) -> Capture | None:
    """Return how a function is recorded on a device, or `None` if that is impossible."""
    return cuda_graph if device.type == "cuda" else None


def cuda_graph(function: Callable[..., Tensors], inputs: Tensors) -> Callable[[], Tensors]:
    """Record `function(*inputs)` as a CUDA graph; return its replay, which reads these tensors.

    Every replay returns the same tensors with new values. The memory of the graph is free once the replay is forgotten.
    """
    with torch.cuda.device(inputs[0].device), _spare_generator():
        side, usual = _side_stream(torch.cuda.current_device()), torch.cuda.current_stream()
        side.wait_stream(usual)
        try:
            with torch.cuda.stream(side), _without_waits():
                for _ in range(WARM):
                    function(*inputs)
        finally:
            usual.wait_stream(side)
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        try:
            with torch.cuda.graph(graph, pool=pool, stream=side):
                outputs = function(*inputs)
        except BaseException:  # torch then leaves its stream current, and allocations bound to the pool
            torch.cuda.set_stream(usual)
            with suppress(RuntimeError, AttributeError):
                torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
            raise

    def replay() -> Tensors:
        graph.replay()
        return outputs

    return replay


@cache
def _side_stream(device: int) -> torch.cuda.Stream:
    """Return the stream of all recordings on a device: cuBLAS keeps a workspace for every stream that it has seen."""
    return torch.cuda.Stream(device)


@contextmanager
def _without_waits() -> Iterator[None]:
    """Raise `RuntimeError` where the host waits for the device, which would spoil a recording."""
    before = torch.cuda.get_sync_debug_mode()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says once that the mode is a prototype, after it has set it
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextmanager
def _spare_generator() -> Iterator[None]:
    """Give recordings a generator of their own: one that failed would leave the device's generator unusable."""
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    usual = generator.graphsafe_get_state()
    generator.graphsafe_set_state(generator.clone_state())
    try:
        yield
    finally:
        generator.graphsafe_set_state(usual)


class GraphedSlope:
    """The gradient of a matching loss, from a recording where that is possible.

    The recording holds the objective and the `steady` priors that act; other priors are evaluated eagerly beside it.
    There is one recording at a time, for one shape and one set of priors.

    Args:
        matching: The matching loss.
        varies: Whether its objective changes during the run, so that it cannot be recorded.
    """

    def __init__(self, matching: Matching, varies: bool) -> None:
        self.matching = matching
        self.notes: list[str] = []
        self.capture = capture_for(matching.seen.device)
        self.replay: Callable[[], Tensors] | None = None
        self.inputs: Tensors = ()
        self.acting: list[BoundTerm] = []
        self.shapes: tuple[torch.Size, ...] = ()
        self.calls = 0
        if self.capture is None:
            self.refuse("a CUDA graph needs a model on a GPU")
        elif varies:
            self.refuse("the objective changes during the run")
        elif matching.routes.step == "auto":
            matching.routes.directional = False  # the comparison of the routes on the host cannot be recorded

    def slope(
        self,
        inputs: Tensor,
        labels: Tensor,
        terms: Sequence[BoundTerm],
        at: Progress,
        own: Mapping[str, Tensor] = NONE,
    ) -> Slope:
        """Return the same as `Matching.slope`, up to rounding."""
        if self.capture is None:
            return self.matching.slope(inputs, labels, terms, at, own)
        self._follow((inputs, labels, *own.values()), [term for term in terms if term[0].acts(at)])
        self.calls += 1
        try:
            if self.replay is None and self.calls > WARM:
                self._record(inputs, labels, at, own)
            elif self.replay is not None and (self.calls in EARLY or self.calls % CHECK == 0):
                self._require_agreement(inputs, labels, at, own)
        except Exception as failure:  # whatever the model does on the host, its eager evaluation may still work
            self.refuse(f"the attempt failed with {_told(failure)}")
        if self.replay is None:
            return self.matching.slope(inputs, labels, terms, at, own)
        return self._replayed(inputs, labels, at, own)

    def release(self) -> None:
        """Forget the recording, and with it its memory; the next evaluations begin another one."""
        self.replay, self.inputs, self.acting, self.shapes, self.calls = None, (), [], (), 0

    def refuse(self, why: str) -> None:
        """Stay eager from now on, and note why."""
        self.release()
        self.capture = None
        self.notes.append(f"graph: the steps ran without a CUDA graph: {why}.")

    def _follow(self, tensors: Tensors, acting: list[BoundTerm]) -> None:
        """Forget the recording if it is of other shapes or priors."""
        shapes = tuple(tensor.shape for tensor in tensors)
        if shapes != self.shapes or list(map(id, acting)) != list(map(id, self.acting)):
            self.release()
            self.shapes, self.acting = shapes, acting

    def _record(self, inputs: Tensor, labels: Tensor, at: Progress, own: Mapping[str, Tensor]) -> None:
        """Record the fixed part, or note why that is impossible; the random state stays as it was."""
        capture, alone, steady = self.capture, at._replace(candidates=None), self._steady
        assert capture is not None

        def fixed(x: Tensor, y: Tensor, *values: Tensor) -> Tensors:
            found = self.matching.slope(x, y, steady, alone, dict(zip(own, values, strict=True)))
            return (found.objective, found.total, found.inputs, *found.others)

        with forked(inputs.device):
            before = _random_states(inputs.device)
            fixed(inputs, labels, *own.values())
            if not _same(before, _random_states(inputs.device)):
                self.refuse("the step draws random numbers, as for dropout")
                return
            self.inputs = tuple(one.detach().clone() for one in (inputs, labels, *own.values()))
            self.replay = capture(fixed, self.inputs)
        self._require_agreement(inputs, labels, at, own)

    def _require_agreement(self, inputs: Tensor, labels: Tensor, at: Progress, own: Mapping[str, Tensor]) -> None:
        """Give the recording up if a replay differs from an eager evaluation elsewhere and late in the stage."""
        other = _elsewhere(inputs), _elsewhere(labels) if labels.is_floating_point() else labels.flip(0)
        values = {name: 0.9 * value.detach() for name, value in own.items()}
        always = [(replace(term, start=0.0, stop=1.0), prior) for term, prior in self._steady]
        cases = [(always, at._replace(step=at.steps - 1, candidates=None))]
        if len(self._steady) < len(self.acting):
            cases.append((self.acting, at))  # a prior that hooks the model must not depend on an eager forward pass
        near = NEAR["directional" if self.matching.routes.directional else "exact"]
        for terms, then in cases:
            with forked(inputs.device):
                expected = self.matching.slope(*other, terms, then, values)
            with forked(inputs.device):
                found = self._replayed(*other, then, values, terms)
            if not _agree(found, expected, near):
                self.refuse(
                    f"at step {at.step} of {at.steps} a replay differed from an eager evaluation, as if the model "
                    "kept a state in Python"
                )
                return

    @property
    def _steady(self) -> list[BoundTerm]:
        return [term for term in self.acting if term[0].prior.steady]

    def _replayed(
        self,
        inputs: Tensor,
        labels: Tensor,
        at: Progress,
        own: Mapping[str, Tensor],
        terms: Sequence[BoundTerm] | None = None,
    ) -> Slope:
        """Return the result of a replay, with the other priors of `terms`, by default of all that act."""
        assert self.replay is not None
        for place, value in zip(self.inputs, (inputs, labels, *own.values()), strict=True):
            place.copy_(value.detach())
        objective, total, slope, *others = (one.clone() for one in self.replay())
        found = Slope(objective, total, slope, tuple(others))
        rest = [term for term in (self.acting if terms is None else terms) if not term[0].prior.steady]
        return _with_priors(found, inputs, labels, rest, at) if rest else found


def _with_priors(found: Slope, inputs: Tensor, labels: Tensor, terms: Sequence[BoundTerm], at: Progress) -> Slope:
    """Return the result with the value and the gradient of further priors."""
    x = inputs.detach().requires_grad_()
    with torch.enable_grad():
        penalty = Point(x, labels, terms, at).penalty()
    assert penalty is not None
    more = torch.autograd.grad(penalty, x, allow_unused=True, materialize_grads=True)[0]
    return found._replace(total=found.total + penalty.detach(), inputs=found.inputs + more)


def _told(failure: BaseException) -> str:
    """Return the first line of a failure; where the end of a spoilt recording failed, that of what spoilt it."""
    if failure.__context__ is not None and "capture" in str(failure):
        failure = failure.__context__
    message = next(iter(str(failure).splitlines()), "")[:160]
    return f"{type(failure).__name__}: {message.strip(' .')}"


def _elsewhere(values: Tensor) -> Tensor:
    """Return other values of the same size: mirrored, smaller and shifted."""
    return 0.9 * values.detach().flip(-1) - 0.1


def _agree(found: Slope, expected: Slope, near: float) -> bool:
    """Return whether each tensor of a result lies within a relative distance of the expected one."""
    left, right = ((one.objective, one.total, one.inputs, *one.others) for one in (found, expected))
    gaps = torch.stack([(a - b).norm() - near * b.norm() for a, b in zip(left, right, strict=True)])
    return bool((gaps <= 0).all())


def _random_states(device: torch.device) -> list[Any]:
    """Return the states of the generators that a model may draw from."""
    on_device = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *on_device, random.getstate(), repr(np.random.get_state(legacy=False))]


def _same(before: list[Any], after: list[Any]) -> bool:
    return all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in zip(before, after, strict=True))
