"""The two routes to the gradient agree, and neither leaves a trace on the model."""

import math
import platform
import resource
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from conftest import make_batch, smooth_net
from gradaudit import Batch, Client, FedAvg, FedSGD, Knowledge, Level, Normalisation
from gradaudit.attacks import DLG, INVERTING_GRADIENTS
from gradaudit.inversion.parts.objectives import L1, Chord, Cosine, Euclidean, LayerwiseCosine
from gradaudit.inversion.parts.part import Prior, Progress, Term
from gradaudit.inversion.parts.priors import TotalVariation
from gradaudit.inversion.step import routes
from gradaudit.inversion.step.matching import Matching
from gradaudit.models import build
from gradaudit.protocol.defenses import Clip, TopK
from properties import assert_deterministic, assert_model_untouched, short

AT = Progress(0, 10)
STEPS = ("exact", "directional")
GRANTED = Level.PRIORS | Knowledge.LABELS
OBJECTIVES = (Euclidean(), L1(), Cosine(), LayerwiseCosine())


class Functional(nn.Module):
    """Kinks called as functions and as methods, and a max-pool whose windows overlap."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 16, 3, padding=1)
        self.linear = nn.Linear(16 * 8 * 8, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.first(x)), 3, stride=2, padding=1)
        x = torch.max_pool2d(self.second(x).relu(), 3, 2, 1)
        return self.linear(F.leaky_relu(x, 0.1).flatten(1))


def named(name, **options):
    return lambda: build(name, num_classes=10, channels=3, size=32, **options)


NETWORKS = {
    "lenet": named("lenet"),
    "convnet-64": named("convnet-64"),
    "resnet18": named("resnet18"),
    "functional": Functional,
    "vit-tiny": named("vit-tiny"),
}


def matchings(network, steps, objective=None, dtype=torch.float32, batch=2, batch_norm="eval", near=None):
    """One for each route, all with the same observation, and where they are asked."""
    torch.manual_seed(0)
    model = NETWORKS[network]().to(dtype)
    private = Batch(torch.rand(batch, 3, 32, 32, dtype=dtype), torch.arange(batch))
    seen = Client(model, FedSGD(batch_norm=batch_norm)).share(private, GRANTED)
    noise = torch.randn(private.inputs.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    x = noise if near is None else private.inputs + near * noise
    bound = (objective or Cosine()).bind(seen)
    return [Matching(seen, bound, step) for step in steps], x, private.labels


def matching(network, step, *args, **options):
    (at,), x, y = matchings(network, [step], *args, **options)
    return at, x, y


def slopes(network, *args, **options):
    both, x, y = matchings(network, ("exact", "directional"), *args, **options)
    return [at.slope(x, y, [], AT) for at in both]


def cosine(a, b):
    return F.cosine_similarity(a.flatten().double(), b.flatten().double(), 0).item()


@pytest.mark.parametrize("network", ["lenet", "functional"])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_the_routes_agree_in_float64(network, objective):
    exact, directional = slopes(network, objective, dtype=torch.float64)
    assert (exact.inputs - directional.inputs).norm() < 1e-6 * exact.inputs.norm()
    torch.testing.assert_close(exact.objective, directional.objective)


@pytest.mark.parametrize("network", ["resnet18", "vit-tiny"])
def test_the_routes_agree_in_float64_on_deep_networks(network):
    exact, directional = slopes(network, dtype=torch.float64, batch=1)
    assert (exact.inputs - directional.inputs).norm() < 1e-6 * exact.inputs.norm()


@pytest.mark.parametrize("near", [None, 0.05], ids=["far", "near"])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_routes_agree_in_float32(network, near):
    exact, directional = slopes(network, near=near, batch=1)
    assert cosine(exact.inputs, directional.inputs) > 0.999
    assert directional.inputs.norm().item() == pytest.approx(exact.inputs.norm().item(), rel=0.01)


@pytest.mark.parametrize("near", [None, 0.05], ids=["far", "near"])
def test_the_routes_agree_with_batch_statistics(near):
    exact, directional = slopes("resnet18", near=near, batch=4, batch_norm="train")
    assert cosine(exact.inputs, directional.inputs) > 0.999


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@pytest.mark.parametrize("step", ["exact", "directional"])
def test_closed_forms_against_plain_autograd(objective, step):
    """The gradient as it is written down: differentiate the objective of the differentiable update."""
    at, x, y = matching("functional", step, objective, torch.float64)
    leaf = x.clone().requires_grad_()
    value = objective(at.simulate(leaf, y, differentiable=True), at.seen.update.values, AT)
    found = at.slope(x, y, [], AT)
    torch.testing.assert_close(found.objective, value.detach())
    torch.testing.assert_close(found.inputs, torch.autograd.grad(value, leaf)[0], rtol=1e-5, atol=1e-7 * x.std().item())


@pytest.mark.parametrize("defenses", [(TopK(0.3),), (Clip(0.1),)], ids=repr)
def test_a_known_defense_and_trainable_labels(client, defenses):
    private = make_batch(2)
    victim = Client(client.model.double(), FedSGD(), defenses)
    seen = victim.share(Batch(private.inputs.double(), private.labels), Level.BASIC | Knowledge.DEFENSE)
    x, logits = torch.randn(2, 1, 8, 8, dtype=torch.float64), torch.randn(2, 10, dtype=torch.float64)
    exact, directional = (
        Matching(seen, Euclidean(), step).slope(x, logits, [], AT) for step in ("exact", "directional")
    )
    assert (exact.inputs - directional.inputs).norm() < 1e-6 * exact.inputs.norm()
    assert (exact.others[0] - directional.others[0]).norm() < 1e-6 * exact.others[0].norm()


def test_priors_count_the_same_on_both_routes(client, batch):
    seen = Client(client.model.double()).share(Batch(batch.inputs.double(), batch.labels), GRANTED)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    terms = [(Term(TotalVariation(), 0.3), TotalVariation())]
    exact, directional = (
        Matching(seen, Cosine(), step).slope(x, batch.labels, terms, AT) for step in ("exact", "directional")
    )
    torch.testing.assert_close(exact.inputs, directional.inputs)


def test_shared_gradient_buffers_are_not_overwritten_twice():
    """The gradients of two added parameters are one tensor; a class token's is a view of the position's."""

    class Added(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Parameter(torch.randn(1, 3, 8, 8, dtype=torch.float64)) for _ in range(3))
            self.linear = nn.Linear(192, 5, dtype=torch.float64)

        def forward(self, x):
            return self.linear(((x + self.a).tanh() + (self.b + self.c)).tanh().flatten(1))

    private = Batch(torch.rand(1, 3, 8, 8, dtype=torch.float64), torch.tensor([1]))
    seen = Client(Added()).share(private, GRANTED)
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    found = [
        Matching(seen, Euclidean(), step).slope(x, private.labels, [], AT).inputs for step in ("exact", "directional")
    ]
    leaf = x.clone().requires_grad_()
    update = Matching(seen, Euclidean()).simulate(leaf, private.labels, differentiable=True)
    (truth,) = torch.autograd.grad(Euclidean()(update, seen.update.values, AT), leaf)
    for slope in found:
        assert (slope - truth).norm() < 1e-6 * truth.norm()


class Breaking(nn.Module):
    """Raises in the second pass of a step."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.calls = nn.Linear(192, 10), nn.BatchNorm1d(10), -9

    def forward(self, x):
        self.calls += 1
        if self.calls == 2:
            raise ZeroDivisionError
        return self.norm(self.linear(x.flatten(1))).relu()


def test_an_exception_in_the_second_pass_leaves_the_model_untouched(batch):
    private = Batch(torch.rand(2, 3, 8, 8), torch.arange(2))
    seen = Client(Breaking(), FedSGD(batch_norm="train")).share(private, GRANTED)
    seen.model.calls, seen.model.norm.training = 0, False
    before = {name: (value, value.data_ptr(), value.clone()) for name, value in seen.model.state_dict().items()}
    with pytest.raises(ZeroDivisionError):
        Matching(seen, Cosine(), "directional").slope(torch.randn(2, 3, 8, 8), private.labels, [], AT)
    for name, value in seen.model.state_dict().items():
        assert value.data_ptr() == before[name][1]
        assert torch.equal(value, before[name][2])
    assert all(parameter.requires_grad and parameter.grad is None for parameter in seen.model.parameters())
    assert not seen.model.norm.training


class Hidden(torch.autograd.Function):
    """|x|, in a form that nobody can replay."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.abs()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0].sign()


class Planted(nn.Module):
    """Its units lie so close to a kink that the second pass crosses it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(192, 400), nn.Linear(400, 10)

    def forward(self, x):
        hidden = self.first(x.flatten(1))
        return self.second(Hidden.apply(hidden - hidden.detach() * (1 - 1e-7)))


def test_auto_falls_back_where_a_planted_kink_breaks_the_directional_route():
    private = Batch(torch.rand(2, 3, 8, 8), torch.arange(2))
    seen = Client(Planted()).share(private, GRANTED)
    x = torch.randn(2, 3, 8, 8)
    auto, exact = Matching(seen, Cosine(), "auto"), Matching(seen, Cosine(), "exact")
    fast = Matching(seen, Cosine(), "directional").slope(x, private.labels, [], AT).inputs
    found, truth = (route.slope(x, private.labels, [], AT).inputs for route in (auto, exact))
    assert not cosine(fast, truth) > 0.999
    torch.testing.assert_close(found, truth)
    assert "From step 0 of 10 the gradient is exact" in auto.notes[0]
    auto.slope(x, private.labels, [], AT)
    assert len(auto.notes) == 1


class Wandering(nn.Module):
    """Calls another function of the same values in every other pass."""

    def __init__(self):
        super().__init__()
        self.linear, self.calls = nn.Linear(192, 10), 0

    def forward(self, x):
        self.calls += 1
        hidden = self.linear(x.flatten(1))
        return hidden.relu() if self.calls % 2 else hidden.clamp(min=0)


def test_auto_falls_back_where_the_passes_differ():
    private = Batch(torch.rand(2, 3, 8, 8), torch.arange(2))
    seen = Client(Wandering()).share(private, GRANTED)
    seen.model.calls = 0
    found = replace(short(INVERTING_GRADIENTS), step="auto")(seen)
    assert "the two forward passes differ" in found.notes[0]


def test_auto_stays_where_the_routes_agree(client, batch):
    seen = client.share(batch, GRANTED)
    found = replace(short(INVERTING_GRADIENTS, 210), step="auto")(seen)
    assert found.notes == ()
    truth = seen.normalisation.apply(found.inputs)
    value = Matching(seen, Cosine()).value(truth, batch.labels, Progress(1, 1)).item()
    assert found.objective == pytest.approx(value, abs=1e-6)


def test_unrolled_training_takes_the_exact_route(client, batch):
    victim = Client(client.model, FedAvg(learning_rate=0.1, epochs=2), normalisation=client.normalisation)
    seen = victim.share(batch, ~Knowledge.NOTHING)
    x = torch.randn(2, 1, 8, 8)
    exact, auto = (Matching(seen, Cosine(), step).slope(x, batch.labels, [], AT) for step in ("exact", "auto"))
    assert torch.equal(exact.inputs, auto.inputs)


@pytest.mark.parametrize("attack", [DLG, INVERTING_GRADIENTS], ids=lambda a: a.name)
@pytest.mark.parametrize("step", ["directional", "auto"])
def test_equal_seeds_give_equal_results_and_the_model_stays(attack, step, client):
    fast = replace(short(attack), step=step)
    seen = client.share(make_batch(1), attack.needs)
    assert_deterministic(fast, seen)
    assert_model_untouched(fast, seen)


@dataclass(frozen=True)
class Activations(Prior):
    """Remembers how often the model's forward pass came by."""

    def bind(self, seen):
        found = []
        seen.model[1].register_forward_pre_hook(lambda _, args: found.append(args[0]))

        def penalty(inputs, at):
            assert len(found) == 1
            return found.pop().pow(2).mean()

        return penalty


def test_hooks_of_priors_fire_in_the_first_pass_only():
    seen = Client(smooth_net(), normalisation=Normalisation((0.5,), (0.25,))).share(make_batch(2), GRANTED)
    stage = replace(INVERTING_GRADIENTS.stages[0], steps=102, terms=(Term(Activations(), 1.0),))
    found = [
        replace(INVERTING_GRADIENTS, step=step, stages=(stage,))(seen) for step in ("directional", "auto", "exact")
    ]
    for other in found[1:]:
        assert (other.inputs - found[0].inputs).abs().mean() < 0.05


def test_auto_looks_again_every_hundred_evaluations(monkeypatch, client, batch):
    """Where it looks, the gradient is the exact one bit for bit."""
    seen, looks = client.share(batch, GRANTED), []
    plain = routes.Routes._looked_at
    monkeypatch.setattr(
        routes.Routes, "_looked_at", lambda self, *a: (looks.append(self.evaluations), plain(self, *a))[1]
    )
    auto, exact = Matching(seen, Cosine(), "auto"), Matching(seen, Cosine(), "exact")
    x = torch.randn(2, 1, 8, 8)
    found = [auto.slope(x, batch.labels, [], AT).inputs for _ in range(202)]
    assert looks == [1, 101, 201]
    truth = exact.slope(x, batch.labels, [], AT).inputs
    assert [torch.equal(found[i], truth) for i in (0, 1, 100, 101, 200)] == [True, False, True, False, True]


@pytest.mark.parametrize(("agreement", "stays"), [(0.9992, True), (0.9988, False), (-1.0, False), (math.nan, False)])
def test_auto_stays_down_to_a_cosine_of_0_999(monkeypatch, client, batch, agreement, stays):
    seen = client.share(batch, GRANTED)
    monkeypatch.setattr(routes, "_cosine", lambda *both: torch.tensor(agreement))
    auto = Matching(seen, Cosine(), "auto")
    auto.slope(torch.randn(2, 1, 8, 8), batch.labels, [], AT)
    assert auto.routes.directional is stays
    assert len(auto.notes) == (0 if stays else 1)


def test_agreement_is_the_cosine_of_all_gradients_together():
    one, other = (torch.tensor([3.0, 0.0]), torch.tensor([4.0])), (torch.tensor([3.0, 4.0]), torch.tensor([0.0]))
    assert routes._cosine(one, other).item() == pytest.approx(9 / 25)
    assert routes._cosine(one, tuple(-t for t in one)).item() == pytest.approx(-1)
    nothing = tuple(torch.zeros_like(t) for t in one)
    assert routes._cosine(nothing, nothing).item() == 1


@pytest.mark.parametrize("objective", [Cosine(), Euclidean(), Chord()], ids=repr)
def test_a_closed_form_sees_no_update_behind_a_known_defense(client, batch, objective):
    """The defense comes between the simulated update and the distance, so its slope belongs to that of the distance."""
    seen = Client(client.model.double(), FedSGD(), (TopK(0.3),)).share(
        Batch(batch.inputs.double(), batch.labels), GRANTED | Knowledge.DEFENSE
    )
    at = Matching(seen, objective.bind(seen))
    update = tuple(torch.randn_like(t) for t in seen.update.values)
    leaves = tuple(t.clone().requires_grad_() for t in update)
    value = at.compare(leaves, AT)
    pull, observed = at.pull(update, AT)
    found = [t.clone() for t in update]
    pull.combine(found, observed)
    torch.testing.assert_close(pull.value, value.detach())
    for mine, theirs in zip(found, torch.autograd.grad(value, leaves), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_only_auto_looks_at_the_exact_gradient():
    """Whoever asks for the directional route has it, right or wrong."""
    private = Batch(torch.rand(2, 3, 8, 8), torch.arange(2))
    seen = Client(Planted()).share(private, GRANTED)
    asked = Matching(seen, Cosine(), "directional")
    asked.slope(torch.randn(2, 3, 8, 8), private.labels, [], AT)
    assert asked.routes.directional
    assert asked.notes == ()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc returns memory between two steps")
@pytest.mark.parametrize(("network", "batch"), [("resnet18", 1), ("convnet-64", 2)])
def test_a_step_finds_the_memory_of_the_step_before(network, batch):
    """Whatever gaps the heap has: here 64 of 128 KiB, which a small block falls into."""
    gaps = [torch.empty(2**17, dtype=torch.uint8) for _ in range(128)][::2]
    subject, x, y = matching(network, "directional", batch=batch)
    for _ in range(2):
        subject.slope(x, y, [], AT)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(2):
        subject.slope(x, y, [], AT)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert len(gaps) == 64
    assert faults < 2 * 1000, "pages of 4 KiB were fetched anew; a ResNet-18's gradients have 11 000"


class Noting(nn.Module):
    """A network that notes whether oneDNN would compute its convolutions."""

    def __init__(self, network):
        super().__init__()
        self.network, self.noted = named(network)(), set()

    def forward(self, x):
        self.noted.add(torch.backends.mkldnn.enabled)
        return self.network(x)


@pytest.mark.parametrize("step", ["exact", "directional"])
@pytest.mark.parametrize(
    ("network", "batch", "one_dnn"), [("lenet", 2, False), ("lenet", 8, True), ("fedavg-cnn", 1, True)]
)
def test_small_convolutions_avoid_one_dnn(network, batch, one_dnn, step):
    private = make_batch(batch, 3, 32)
    seen = Client(Noting(network)).share(private, GRANTED)
    subject = Matching(seen, Cosine(), step)
    for _ in range(2):
        seen.model.noted.clear()
        subject.slope(torch.randn(batch, 3, 32, 32), private.labels, [], AT)
    assert seen.model.noted == {one_dnn}
    assert torch.backends.mkldnn.enabled


def test_one_dnn_returns_after_a_failed_step():
    subject, x, y = matching("lenet", "exact")
    subject.slope(x, y, [], AT)
    with pytest.raises(RuntimeError):
        subject.slope(x[:, :2], y, [], AT)
    assert torch.backends.mkldnn.enabled


def test_a_network_that_takes_gradients_itself_can_be_attacked():
    class Score(nn.Module):
        def __init__(self):
            super().__init__()
            self.energy, self.linear = nn.Conv2d(3, 2, 3), nn.Linear(3072, 10)

        def forward(self, x):
            with torch.enable_grad():
                x = x if x.requires_grad else x.clone().requires_grad_()
                (score,) = torch.autograd.grad(self.energy(x).sigmoid().sum(), x, create_graph=True)
            return self.linear(score.flatten(1))

    private = make_batch(2, 3, 32)
    subject = Matching(Client(Score()).share(private, GRANTED), Cosine(), "exact")
    assert subject.slope(torch.randn(2, 3, 32, 32), private.labels, [], AT).inputs.any()


class Awkward(nn.Module):
    """A network on whose way the directional route stumbles."""

    def __init__(self, way):
        super().__init__()
        self.way, self.linear, self.hard = way, nn.Linear(64, 10), nn.Hardswish(inplace=True)

    def forward(self, x):
        x = x.flatten(1)
        if self.way == "hardswish":
            x = self.hard(x * 1.0)
        if self.way == "spectrum":
            x = torch.fft.fft(x).abs()
        if self.way == "out":
            with torch.no_grad():
                torch.abs(x, out=torch.empty_like(x))
        return self.linear(x).tanh()


@pytest.mark.parametrize("way", ["hardswish", "spectrum", "out"])
def test_awkward_networks_are_attacked_by_the_directional_route(way):
    torch.manual_seed(0)
    private = make_batch(2)
    seen = Client(Awkward(way)).share(private, GRANTED)
    x = torch.randn(2, 1, 8, 8)
    both = [Matching(seen, Cosine().bind(seen), step).slope(x, private.labels, [], AT) for step in STEPS]
    assert cosine(both[0].inputs, both[1].inputs) > 0.999


def test_auto_takes_the_exact_route_where_the_other_fails(monkeypatch):
    subject, x, y = matching("lenet", "auto")
    monkeypatch.setattr(subject.routes.one_step, "slope_at", lambda *_: 1 / 0)
    found = subject.slope(x, y, [], AT)
    exact, _, _ = matching("lenet", "exact")
    assert torch.equal(found.inputs, exact.slope(x, y, [], AT).inputs)
    assert "is exact, not directional: division by zero" in subject.notes[0]


def test_a_model_that_works_in_place_is_looked_at_from_the_first_evaluation():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 10)

        def forward(self, x):
            return self.linear(x.sub_(0.5).div_(0.25).flatten(1)).tanh()

    private = make_batch(2)
    subject = Matching(Client(InPlace()).share(private, GRANTED), Cosine(), "auto")
    subject.slope(torch.randn(2, 1, 8, 8), private.labels, [], AT)
    assert (subject.routes.evaluations, subject.routes.copies) == (1, True)


def test_what_a_run_learned_is_taken_over():
    one, _, _ = matching("lenet", "auto")
    one.routes.evaluations, one.routes.directional, one.routes.copies = 7, False, True
    one.routes.one_step.closer = 0.1
    one.routes.notes.append("a note")
    other, _, _ = matching("lenet", "auto")
    routes.relearn(other.routes, routes.learned(one.routes))
    assert routes.learned(other.routes) == routes.learned(one.routes)
