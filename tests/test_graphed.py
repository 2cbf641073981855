"""Recorded steps: the same reconstruction as without, and a note wherever a recording would be wrong.

A CPU has no CUDA graphs. A trace by `make_fx` stands in for one: it repeats the same operations on the same tensors,
and what the host decided is frozen in it.
"""

import random
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from conftest import make_batch
from gradaudit import Client
from gradaudit.attacks import DLG
from gradaudit.attacks.inverting_gradients import EXACT as INVERTING_GRADIENTS
from gradaudit.inversion.attack import TimeLimit
from gradaudit.inversion.parts.objectives import Cosine
from gradaudit.inversion.parts.part import Prior, Progress, Term
from gradaudit.inversion.parts.priors import BatchNormStatistics, GroupConsistency, TotalVariation
from gradaudit.inversion.run import restarts
from gradaudit.inversion.step import graphed
from gradaudit.inversion.step.graphed import GraphedSlope
from gradaudit.inversion.step.matching import Matching

NO_GRAPH = "graph: the steps ran without a CUDA graph: "


class Recordings:
    """The stand-in; it counts recordings and replays, and can refuse."""

    def __init__(self):
        self.recorded, self.replayed, self.failure = 0, 0, None

    def __call__(self, function, inputs):
        if self.failure:
            raise self.failure
        trace = make_fx(function)(*inputs)
        outputs = tuple(one.clone() for one in trace(*inputs))
        self.recorded += 1

        def replay():
            self.replayed += 1
            for place, value in zip(outputs, trace(*inputs), strict=True):
                place.copy_(value)
            return outputs

        return replay


@pytest.fixture
def recordings(monkeypatch):
    found = Recordings()
    for module in (graphed, restarts):
        monkeypatch.setattr(module, "capture_for", lambda device: found)
    return found


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 10))
        self.calls = 0

    def forward(self, x):
        return self.net(x)


class Normalised(Plain):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 10))
        self.net[1].running_mean += 0.3


class Branches(Plain):
    def forward(self, x):
        return self.net(x) if x.mean() > 0.5 else self.net(2 * x)


class Counts(Plain):
    def forward(self, x):
        self.calls += x.requires_grad
        return self.net(x) * (1 + 0.1 * self.calls)


class CountsLate(Plain):
    def forward(self, x):
        self.calls += x.requires_grad
        return self.net(x) * (1.5 if self.calls > 7 else 1.0)


class Drops(Plain):
    def forward(self, x):
        return self.net(nn.functional.dropout(x, 0.2, training=x.requires_grad))


class Draws(Plain):
    def forward(self, x):
        return self.net(x) * (1 + random.random() * x.requires_grad)


def attacked(attack, model=Plain, steps=8, graph=True, watch=None, **stage):
    seen = Client(model()).share(make_batch(2), ["priors", "LABELS"])
    stages = tuple(replace(one, steps=steps, **stage) for one in attack.stages)
    return replace(attack, stages=stages, graph=graph)(seen, watch=watch)


def test_a_recorded_run_finds_what_an_eager_one_finds(recordings):
    eager, recorded = (attacked(INVERTING_GRADIENTS, graph=graph) for graph in (False, True))
    assert recordings.recorded == 1
    assert recordings.replayed >= 5
    assert recorded.notes == eager.notes
    torch.testing.assert_close(recorded.inputs, eager.inputs)
    assert recorded.objective == pytest.approx(eager.objective)


def test_optimised_labels_are_recorded(recordings):
    seen = Client(Plain()).share(make_batch(2), ["priors"])
    stages = (replace(DLG.stages[0], steps=1),)
    found = [replace(DLG, stages=stages, graph=graph)(seen) for graph in (False, True)]
    assert recordings.recorded == 1
    torch.testing.assert_close(found[1].logits, found[0].logits)
    torch.testing.assert_close(found[1].inputs, found[0].inputs)


def test_every_stage_is_recorded_anew(recordings):
    stage = replace(INVERTING_GRADIENTS.stages[0], terms=())
    attacked(replace(INVERTING_GRADIENTS, stages=(stage, stage)), steps=5)
    assert recordings.recorded == 2


def test_priors_that_hook_the_model_or_follow_the_run(recordings):
    terms = (
        Term(BatchNormStatistics(), 0.1),
        Term(TotalVariation(), 0.1, stop=0.5),
        Term(GroupConsistency(registered=False), 0.1),
    )
    attack = replace(INVERTING_GRADIENTS, seeds=2, together=False)
    eager, recorded = (attacked(attack, Normalised, 10, graph, terms=terms) for graph in (False, True))
    assert recordings.recorded == 2  # one for each set of priors
    assert recorded.notes == eager.notes
    torch.testing.assert_close(recorded.inputs, eager.inputs)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (Branches, "the attempt failed with RuntimeError"),
        (Counts, "at step 3 of 8 a replay differed"),
        (Drops, "the step draws random numbers"),
        (Draws, "the step draws random numbers"),
    ],
)
def test_what_the_host_decides_is_not_recorded(recordings, model, why):
    random.seed(0)
    found = attacked(INVERTING_GRADIENTS, model)
    assert [note for note in found.notes if note.startswith(NO_GRAPH + why)]
    if model is Draws:
        return
    random.seed(0)
    if model is not Counts:
        torch.testing.assert_close(found.inputs, attacked(INVERTING_GRADIENTS, model, graph=False).inputs)


def test_a_later_change_is_noticed(recordings):
    found = attacked(INVERTING_GRADIENTS, CountsLate, steps=24)
    assert recordings.replayed > 4
    assert "at step 9 of 24 a replay differed" in found.notes[-1]


def test_a_failed_recording_falls_back(recordings):
    recordings.failure = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate.\nMore.")
    found = attacked(INVERTING_GRADIENTS)
    assert found.notes == (
        NO_GRAPH + "the attempt failed with OutOfMemoryError: CUDA out of memory. Tried to allocate.",
    )
    assert torch.equal(found.inputs, attacked(INVERTING_GRADIENTS, graph=False).inputs)


@dataclass(frozen=True)
class Wanders(Cosine):
    """An objective that follows the progress and does not say so."""

    said: ClassVar[bool] = False

    def bind(self, seen):
        return lambda ours, theirs, at: self(ours, theirs, at) * (1 + at.fraction)


@dataclass(frozen=True)
class SaysSo(Wanders):
    varies: ClassVar[bool] = True


@pytest.mark.parametrize(("objective", "why"), [(Wanders(), "a replay differed"), (SaysSo(), "the objective changes")])
def test_an_objective_that_follows_the_progress_is_not_recorded(recordings, objective, why):
    found = attacked(replace(INVERTING_GRADIENTS, objective=objective))
    assert why in found.notes[-1]


def test_auto_is_recorded_by_the_exact_route(recordings):
    both = [attacked(replace(INVERTING_GRADIENTS, step=step)) for step in ("auto", "exact")]
    assert torch.equal(both[0].inputs, both[1].inputs)
    assert recordings.recorded == 2


def test_a_cpu_ignores_the_setting():
    eager, asked = (attacked(INVERTING_GRADIENTS, graph=graph) for graph in (False, True))
    assert asked.notes == (NO_GRAPH + "a CUDA graph needs a model on a GPU.",)
    assert torch.equal(asked.inputs, eager.inputs)


def test_candidates_that_share_a_pass_are_not_recorded(recordings):
    attack = replace(INVERTING_GRADIENTS, restarts=2)
    assert "share a pass" in attacked(replace(attack, together=True), steps=2).notes[-1]
    assert recordings.recorded == 0
    assert not restarts.gains(replace(attack, graph=True), Plain())  # left to itself, a recording is preferred
    assert restarts.gains(attack, Plain())


def test_a_run_can_be_interrupted(recordings):
    def watch(done, steps, value):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attacked(INVERTING_GRADIENTS, watch=watch)
    assert recordings.replayed > 1


def test_a_time_limit_ends_a_recorded_run(recordings):
    found = attacked(INVERTING_GRADIENTS, steps=10_000, watch=TimeLimit(0.2))
    assert found.cut[0] < 10_000
    assert recordings.replayed > 1


class Scaled(Prior):
    """A steady prior."""

    steady: ClassVar[bool] = True

    def __call__(self, inputs, at):
        return inputs.square().mean()


def test_shapes_release_and_memory(recordings):
    seen = Client(Plain()).share(make_batch(2), ["priors", "LABELS"])
    matching, at = Matching(seen, Cosine().bind(seen)), Progress(0, 10)
    slopes, terms = GraphedSlope(matching, varies=False), [(Term(Scaled(), 0.5), Scaled())]
    x, y = torch.rand(2, 1, 8, 8), torch.tensor([1, 2])
    for _ in range(5):
        slopes.slope(x, y, terms, at)
    first = slopes.slope(x, y, terms, at)
    second = slopes.slope(x + 1, y.flip(0), terms, at)
    assert not torch.equal(first.inputs, second.inputs)  # results of one replay outlive the next
    for found, (inputs, labels) in ((first, (x, y)), (second, (x + 1, y.flip(0)))):
        torch.testing.assert_close(found, matching.slope(inputs, labels, terms, at))
    slopes.slope(x[:1], y[:1], terms, at)
    assert slopes.replay is None  # another shape
    for _ in range(5):
        slopes.slope(x[:1], y[:1], terms, at)
    assert recordings.recorded == 2
    slopes.release()
    assert (slopes.replay, slopes.inputs, slopes.acting) == (None, (), [])


on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def on_device(attack, model, graph, steps=20, **stage):
    seen = Client(model().cuda()).share(moved(make_batch(2)), ["priors", "LABELS"])
    stages = tuple(replace(one, steps=steps, **stage) for one in attack.stages)
    return replace(attack, stages=stages, graph=graph)(seen)


def moved(batch):
    return replace(batch, inputs=batch.inputs.cuda(), labels=batch.labels.cuda())


@on_gpu
@pytest.mark.parametrize("step", ["exact", "directional"])
def test_on_a_gpu_a_graph_finds_what_an_eager_run_finds(step):
    terms = (Term(BatchNormStatistics(), 0.1), Term(GroupConsistency(registered=False), 0.1, start=0.5))
    attack = replace(INVERTING_GRADIENTS, step=step, seeds=2)
    eager, recorded = (on_device(attack, Normalised, graph, 40, terms=terms, gradient=()) for graph in (False, True))
    assert recorded.notes == eager.notes
    assert (recorded.inputs - eager.inputs).abs().max() < 1e-2
    assert torch.equal(recorded.labels, eager.labels)


class Reads(Plain):
    """Waits for the device in every pass, but not in a way that torch sees before the recording."""

    def forward(self, x):
        if torch.cuda.is_current_stream_capturing():
            torch.cuda.current_stream().synchronize()
        return self.net(x)


@on_gpu
@pytest.mark.parametrize("model", [Branches, Drops, Draws, Counts, Reads])
def test_on_a_gpu_a_spoilt_recording_leaves_the_device_usable(model):
    on_device(INVERTING_GRADIENTS, Plain, True)  # the first recording leaves workspaces of the libraries behind
    stream, memory = torch.cuda.current_stream(), torch.cuda.memory_allocated()
    random.seed(0)
    recorded = on_device(INVERTING_GRADIENTS, model, True)
    assert recorded.notes[-1].startswith(NO_GRAPH), recorded.notes
    assert torch.cuda.current_stream() == stream
    if model in (Branches, Drops, Reads):
        torch.testing.assert_close(recorded.inputs, on_device(INVERTING_GRADIENTS, model, False).inputs)
    torch.manual_seed(0)
    first = torch.randn(4, device="cuda")
    torch.manual_seed(0)
    assert torch.equal(torch.randn(4, device="cuda"), first)
    good = on_device(INVERTING_GRADIENTS, Plain, True)
    assert good.notes == on_device(INVERTING_GRADIENTS, Plain, False).notes
    del recorded, good
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() < memory + 2**24
