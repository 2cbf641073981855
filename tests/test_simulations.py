"""What an adversary may assume of local training, against the training itself."""

from dataclasses import replace

import pytest
import torch

from conftest import make_batch, smooth_net
from gradaudit import Batch, Client, FedAvg, FedSGD, Knowledge, Level, Normalisation
from gradaudit.attacks import ATTACKS
from gradaudit.inversion.parts.objectives import Cosine, Euclidean
from gradaudit.inversion.parts.optimisers import LBFGS
from gradaudit.inversion.parts.part import Progress
from gradaudit.inversion.parts.simulations import AsGradient, Bezier, Segment, Unrolled, UnrolledCopies, segment
from gradaudit.inversion.step.matching import Matching
from gradaudit.values.errors import AttackFailed, MissingKnowledge
from properties import short

KNOWN = Level.TRAINING_DETAILS | Knowledge.LABELS
AT = Progress(0, 1)
BATCH = make_batch(4)
SEVERAL = FedAvg(learning_rate=0.1, epochs=2, minibatch_size=2)


def observed(training, facts=KNOWN):
    torch.manual_seed(0)
    victim = Client(smooth_net().double(), training, normalisation=Normalisation((0.5,), (0.25,)))
    batch = Batch(BATCH.inputs.double(), BATCH.labels)
    return victim.share(batch, facts), victim.normalisation.apply(batch.inputs)


def value(seen, simulation, inputs, objective, **own):
    bound = simulation.bind(seen)
    variables = {name: torch.as_tensor(entry, dtype=torch.float64) for name, entry in own.items()}
    variables = {**{name: entry[0] for name, entry in bound.start(1).items()}, **variables}
    return float(Matching(seen, objective, simulated=bound).value(inputs, BATCH.labels, AT, variables))


def test_unrolling_with_the_right_details_is_exact():
    seen, truth = observed(SEVERAL)
    assert value(seen, Unrolled(), truth, Euclidean()) < 1e-20
    assert value(seen, Unrolled(checkpoint=True), truth, Euclidean()) < 1e-20
    assert value(seen, Unrolled(minibatches="epoch"), truth, Euclidean()) > 1e-8
    assert value(seen, Unrolled(minibatches="one"), truth, Cosine()) > 1e-6


def test_unknown_minibatches_stand_for_as_long_a_way():
    """One step at the summed rates, by hand."""
    seen, truth = observed(SEVERAL)
    found = Unrolled(minibatches="one").bind(seen)(truth, BATCH.labels, {})
    gradient = AsGradient().bind(seen)(truth, BATCH.labels, {})
    for moved, slope in zip(found, gradient, strict=True):
        torch.testing.assert_close(moved, 0.1 * 4 * slope)


def test_the_scale_of_a_gradient():
    one, truth = observed(FedAvg(learning_rate=0.1))
    assert value(one, AsGradient("known"), truth, Euclidean()) < 1e-20
    assert value(one, AsGradient("estimated"), truth, Euclidean()) < 1e-20
    assert value(one, AsGradient(), truth, Euclidean()) > 1e-3
    assert value(one, AsGradient(), truth, Cosine()) < 1e-12


def test_shuffling_draws_one_order_per_run():
    seen, truth = observed(replace(SEVERAL, shuffle=True))
    torch.manual_seed(1)
    bound = Unrolled(order="random").bind(seen)
    first, again = (bound(truth, BATCH.labels, {}) for _ in range(2))
    assert all(map(torch.equal, first, again))
    assert value(seen, Unrolled(order="random"), truth, Euclidean()) > 1e-10


def test_the_segment_by_hand():
    seen, truth = observed(SEVERAL)
    near = Segment().bind(seen)
    start = dict(seen.model.named_parameters())
    for alpha in (0.0, 0.3, 1.0):
        found = near(truth, BATCH.labels, {"alpha": torch.tensor(alpha, dtype=torch.float64)})
        torch.manual_seed(0)
        moved = smooth_net().double()
        for name, parameter in moved.named_parameters():
            parameter.data = start[name].detach() - alpha * seen.update.tensors[name]
        loss = torch.nn.functional.cross_entropy(moved(truth), BATCH.labels)
        for mine, theirs in zip(found, torch.autograd.grad(loss, list(moved.parameters())), strict=True):
            torch.testing.assert_close(mine, theirs)
    gradient = AsGradient().bind(seen)(truth, BATCH.labels, {})
    at_start = near(truth, BATCH.labels, {"alpha": torch.zeros((), dtype=torch.float64)})
    for mine, theirs in zip(at_start, gradient, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_somewhere_on_the_segment_the_update_is_closer_to_a_gradient():
    seen, truth = observed(FedAvg(learning_rate=0.1, epochs=10, minibatch_size=2))
    values = [value(seen, Segment(), truth, Cosine(), alpha=alpha) for alpha in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert min(values[1:4]) < 0.5 * values[0]
    assert value(seen, Bezier(), truth, Cosine()) == pytest.approx(values[2])


@pytest.mark.parametrize("simulation", [Segment(), Bezier()], ids=repr)
def test_the_slope_reaches_the_variables(simulation):
    """Finite differences of the objective along α."""
    seen, truth = observed(SEVERAL)
    bound = simulation.bind(seen)
    matching = Matching(seen, Cosine().bind(seen), simulated=bound)
    own = {name: entry[0] for name, entry in bound.start(1).items()}
    guess = truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slope = matching.slope(guess, BATCH.labels, [], AT, own)
    ends = [matching.value(guess, BATCH.labels, AT, {**own, "alpha": own["alpha"] + h}) for h in (1e-5, -1e-5)]
    torch.testing.assert_close(slope.others[0], (ends[0] - ends[1]) / 2e-5, rtol=1e-4, atol=1e-10)
    direction = torch.randn(guess.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ends = [matching.value(guess + h * direction, BATCH.labels, AT, own) for h in (1e-5, -1e-5)]
    torch.testing.assert_close((slope.inputs * direction).sum(), (ends[0] - ends[1]) / 2e-5, rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize("simulation", [AsGradient("known"), Unrolled()], ids=repr)
def test_nothing_is_used_that_was_not_granted(simulation):
    attack = replace(short(ATTACKS["inverting-gradients"], 2), simulation=simulation)
    with pytest.raises(MissingKnowledge, match="LOCAL_TRAINING"):
        attack(observed(SEVERAL, Level.BASIC | Knowledge.LABELS)[0])


def test_a_gradient_tells_no_second_model():
    with pytest.raises(AttackFailed, match="weight difference"):
        Segment().bind(observed(FedSGD())[0])


@pytest.mark.parametrize("simulation", [AsGradient(), Unrolled(), Segment(rate=0.1), Bezier()], ids=repr)
def test_every_pixel_attack_takes_every_simulation(simulation):
    attack = replace(short(ATTACKS["inverting-gradients"], 30), simulation=simulation)
    found = attack(observed(SEVERAL)[0])
    assert found.objective < found.trace[0][0][1]
    assert found.inputs.shape == BATCH.inputs.shape


def test_an_epoch_in_one_step_goes_as_far():
    """As a client of full batches does at the rates of the epoch's steps together."""
    seen, truth = observed(SEVERAL)
    whole = observed(FedAvg(learning_rate=2 * 0.1, epochs=2))[0]
    found = Unrolled(minibatches="epoch").bind(seen)(truth, BATCH.labels, {})
    for mine, theirs in zip(found, whole.update.values, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("simulation", [Segment(), Bezier()], ids=repr)
def test_the_point_lies_between_before_and_after(simulation):
    alphas = torch.tensor([-0.2, 0.4, 1.7])
    simulation.bind(observed(SEVERAL)[0]).project({"alpha": alphas})
    assert alphas.tolist() == pytest.approx([0, 0.4, 1])


def test_a_run_never_leaves_the_segment(monkeypatch):
    """With a rate at which one step would lead far out."""
    told, plain = [], segment._Segment.__call__

    def listening(self, inputs, labels, own):
        told.append(float(own["alpha"].detach()))
        return plain(self, inputs, labels, own)

    monkeypatch.setattr(segment._Segment, "__call__", listening)
    replace(short(ATTACKS["inverting-gradients"], 5), simulation=Segment(rate=100.0))(observed(SEVERAL)[0])
    assert len(set(told)) > 1
    assert min(told) >= 0
    assert max(told) <= 1


@pytest.mark.parametrize("simulation", [Unrolled(), UnrolledCopies()], ids=repr)
def test_unrolling_needs_training_and_batch_size(simulation):
    assert simulation.needs == Knowledge.BATCH_SIZE | Knowledge.LOCAL_TRAINING
    seen, _ = observed(SEVERAL)
    with pytest.raises(AttackFailed, match="needs the local training"):
        simulation.bind(replace(seen, training=None))
    with pytest.raises(AttackFailed, match="batch size"):
        simulation.bind(replace(seen, batch_size=None))


def test_a_known_scale_needs_training_and_batch_size():
    seen, truth = observed(SEVERAL)
    for without in ({"training": None}, {"batch_size": None}):
        with pytest.raises(AttackFailed, match="needs the local training and the batch size"):
            AsGradient("known").bind(replace(seen, **without))
    gradient = AsGradient().bind(seen)(truth, BATCH.labels, {})
    for mine, slope in zip(AsGradient("known").bind(seen)(truth, BATCH.labels, {}), gradient, strict=True):
        torch.testing.assert_close(mine, 0.1 * 4 * slope)  # rate times steps


def test_one_gradient_has_no_order_to_draw():
    """FedSGD sees all examples at once, so that a random order asks for no random numbers and changes nothing."""
    seen, truth = observed(FedSGD())
    state = torch.get_rng_state()
    bound = Unrolled(order="random").bind(seen)
    assert torch.equal(state, torch.get_rng_state())
    for mine, theirs in zip(bound(truth, BATCH.labels, {}), seen.update.values, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_variables_of_a_simulation_need_adam():
    stage = replace(short(ATTACKS["inverting-gradients"], 2).stages[0], optimiser=LBFGS())
    attack = replace(ATTACKS["inverting-gradients"], stages=(stage,), simulation=Segment())
    with pytest.raises(AttackFailed, match="needs Adam"):
        attack(observed(SEVERAL)[0])


def test_a_control_point_moves_in_units_of_the_update():
    """The unit is the root mean square of the update's entries, and the curve bends by 2 α (1 - α) of it."""
    seen, _ = observed(SEVERAL)
    bound = Bezier().bind(seen)
    entries = torch.cat([t.flatten() for t in seen.update.values])
    assert bound.unit == pytest.approx(float(entries.square().mean().sqrt()))
    start = bound.start(3)
    assert start["alpha"].tolist() == [0.5] * 3
    assert start["control"].shape == (3, len(entries))
    assert not start["control"].any()
    assert bound.rates == {"alpha": 1e-3, "control": 1e-2}


def test_the_curve_by_hand():
    """θ_0 - α Δ + 2 α (1 - α) q; at α = 0.25 a bend is worth 0.375 of itself."""
    seen, truth = observed(SEVERAL)
    bound, asked = Bezier().bind(seen), []
    real = bound.gradient
    bound.gradient = lambda inputs, labels, point: asked.append(point) or real(inputs, labels, point)
    bound.gradient.start = real.start
    count = sum(t.numel() for t in seen.update.values)
    bound(truth, BATCH.labels, {"alpha": torch.tensor(0.25), "control": torch.ones(count)})
    for point, start, moved in zip(asked[0], real.start, seen.update.values, strict=True):
        torch.testing.assert_close(point, start - 0.25 * moved + 0.375 * bound.unit, check_dtype=False)


def test_copies_take_the_labels_of_their_examples():
    """Soft labels, too: copy i of every epoch has label i."""
    seen, truth = observed(SEVERAL)
    bound = UnrolledCopies().bind(seen)
    hard = bound(truth.repeat(2, 1, 1, 1), BATCH.labels, {})
    soft = bound(truth.repeat(2, 1, 1, 1), torch.nn.functional.one_hot(BATCH.labels, 10).double(), {})
    for mine, theirs in zip(hard, soft, strict=True):
        torch.testing.assert_close(mine, theirs)
    for mine, theirs in zip(hard, seen.update.values, strict=True):
        torch.testing.assert_close(mine, theirs)
