"""Seeds, restarts and updates in one pass give what each gives alone."""

from dataclasses import replace

import pytest
import torch

from conftest import make_batch, smooth_net
from gradaudit import Client, FedSGD, Knowledge, Level, Normalisation
from gradaudit.attacks import ATTACKS
from gradaudit.inversion.parts.gradient_transforms import Noise
from gradaudit.inversion.parts.labels import JointLabels
from gradaudit.inversion.parts.part import Progress
from gradaudit.inversion.run import one_pass as together
from gradaudit.inversion.run.restarts import Target
from gradaudit.protocol.defenses import GaussianNoise
from gradaudit.values.errors import AttackFailed
from properties import short

KNOWN = Level.BASIC | Knowledge.LABELS
ATTACK = short(ATTACKS["inverting-gradients"], 40)


def client(**changes):
    torch.manual_seed(0)
    return Client(smooth_net(), normalisation=Normalisation((0.5,), (0.25,)), **changes)


def same(one, other):
    """Signed steps make of a rounding error a pixel that goes the other way for a step; the pictures stay alike."""
    assert (one.inputs - other.inputs).abs().mean() < 2e-3
    assert one.objective == pytest.approx(other.objective, rel=2e-2, abs=1e-5)
    assert torch.equal(one.labels, other.labels)


def test_restarts_in_one_pass_are_those_drawn_one_by_one():
    seen = client().share(make_batch(2), KNOWN)
    attack = replace(ATTACK, restarts=3)
    apart, at_once = (replace(attack, together=choice)(seen, seed=4) for choice in (False, True))
    same(at_once, apart)
    assert len(at_once.trace) == len(apart.trace) == 3
    for one, other in zip(at_once.trace, apart.trace, strict=True):
        assert one[0][1] == pytest.approx(other[0][1], rel=1e-4)


def test_seeds_and_optimised_labels_in_one_pass():
    seen = client().share(make_batch(2), Level.BASIC)
    attack = replace(ATTACK, seeds=3, labels=JointLabels())
    apart, at_once = (replace(attack, together=choice)(seen, seed=1) for choice in (False, True))
    same(at_once, apart)


def test_several_updates_in_one_pass():
    victim = client()
    seen = [victim.share(make_batch(2, seed=number), KNOWN) for number in range(4)]
    alone = [ATTACK(one, seed=number) for number, one in enumerate(seen)]
    found = replace(ATTACK, together=True).many(seen, seeds=range(4))
    for one, other in zip(found, alone, strict=True):
        same(one, other)
        assert "one pass" in one.notes[-1]


def test_the_slopes_agree_in_float64():
    model = client().model.double()
    victim = Client(model, normalisation=Normalisation((0.5,), (0.25,)))
    batch = make_batch(2)
    seen = victim.share(replace(batch, inputs=batch.inputs.double()), KNOWN)
    target = Target(ATTACK, seen)
    guesses = torch.randn(5, *batch.inputs.shape, dtype=torch.float64)
    terms = [(term, term.prior.bind(seen)) for term in ATTACK.stages[0].terms]
    at = Progress(3, 10)
    found = together.OnePass([target.matching] * 5, chunk=2).slope(guesses, batch.labels.expand(5, -1), terms, at)
    for number, guess in enumerate(guesses):
        alone = target.matching.slope(guess, batch.labels, terms, at)
        torch.testing.assert_close(found.objective[number], alone.objective)
        torch.testing.assert_close(found.total[number], alone.total)
        assert alone.total > alone.objective
        torch.testing.assert_close(found.inputs[number], alone.inputs)


@pytest.mark.parametrize(
    ("attack", "victim", "facts"),
    [
        (replace(ATTACK, step="directional"), client(), KNOWN),
        (replace(ATTACK, stages=(replace(ATTACK.stages[0], gradient=(Noise(0.1),)),)), client(), KNOWN),
        (ATTACKS["dlg"], client(), KNOWN),
        (ATTACK, client(defenses=(GaussianNoise(0.1),)), KNOWN | Knowledge.DEFENSE),
    ],
    ids=["directional", "random numbers", "one line search for all", "defense"],
)
def test_what_must_stay_apart_does(attack, victim, facts):
    attack = replace(attack, together=True)
    target = Target(attack, victim.share(make_batch(1), facts))
    assert together.why_not(attack.parts[:-1], attack.stages, target.matching)


def test_batch_statistics_stay_apart():
    seen = client(training=FedSGD(batch_norm="train")).share(make_batch(2), KNOWN)
    assert "BatchNorm" in together.why_not(ATTACK.parts[:-1], ATTACK.stages, Target(ATTACK, seen).matching)


def test_a_pass_that_does_not_fit_is_halved(monkeypatch):
    """What a GPU does when its memory ends, planted: more than two guesses at once raise."""
    seen = client().share(make_batch(1), KNOWN)
    tried, real = [], together.vmap

    def small(function, dims, chunk_size):
        tried.append(chunk_size)
        if chunk_size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(function, dims, chunk_size=chunk_size)

    monkeypatch.setattr(together, "vmap", small)
    attack = replace(short(ATTACK, 12), restarts=8, together=True)
    found = attack(seen, seed=0)
    assert tried[:3] == [8, 4, 2]
    assert set(tried[3:]) == {2}
    monkeypatch.setattr(together, "vmap", real)
    same(found, attack(seen, seed=0))


def test_a_pass_of_one_that_does_not_fit_says_what_to_do(monkeypatch):
    def none(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(together, "vmap", none)
    with pytest.raises(AttackFailed, match="checkpoint: true"):
        replace(ATTACK, restarts=2, together=True)(client().share(make_batch(1), KNOWN))


def test_the_memory_rule():
    target = Target(ATTACK, client().share(make_batch(1), KNOWN))
    inputs = torch.zeros(1, *make_batch(1).inputs.shape[1:])
    count = together.fitting(target.matching, inputs)
    parameters = sum(parameter.numel() for parameter in target.seen.model.parameters())
    assert 1 <= count <= together.ROOM // (together.COPIES * 4 * parameters)


def test_by_default_only_small_networks_share_a_pass():
    assert together.pays(smooth_net())
    assert not together.pays(torch.nn.Linear(1000, 1000))


def test_only_updates_of_one_model_and_training_share_a_pass():
    """Other weights, training, batch size or shape, and each one runs by itself; no note says otherwise."""
    victim, attack = client(), replace(short(ATTACK, 3), together=True)
    one = victim.share(make_batch(2), KNOWN)
    moved = client()
    moved.model[0].weight.data[0] += 1
    buffered = client()
    buffered.model[1].running_mean += 1
    others = [
        moved.share(make_batch(2), KNOWN),
        buffered.share(make_batch(2), KNOWN),
        victim.share(make_batch(1), KNOWN),
        client(training=FedSGD(batch_norm="train")).share(make_batch(2), KNOWN),
    ]
    for other in others:
        found = attack.many([one, other], seeds=[0, 1])
        assert not any("one pass" in note for guess in found for note in guess.notes)
    shared = attack.many([one, victim.share(make_batch(2, seed=5), KNOWN), one], seeds=[0, 1, 2])
    assert [guess.notes[-1] for guess in shared] == ["Ran in one pass with 1 other updates of the same model."] * 3


def test_errors_in_one_pass_are_not_swallowed(monkeypatch):
    def failing(*args, **options):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(together.OnePass, "slope", failing)
    with pytest.raises(RuntimeError, match="the disk is full"):
        replace(ATTACK, restarts=2, together=True)(client().share(make_batch(2), KNOWN))


def test_updates_one_after_another_keep_their_labels_and_notes():
    """Of many updates in one pass, each has its own labels."""
    victim = client()
    seen = [victim.share(make_batch(2, seed=number), KNOWN) for number in range(3)]
    found = replace(short(ATTACK, 2), together=True, restarts=2).many(seen, seeds=range(3))
    for guess, one in zip(found, seen, strict=True):
        assert guess.labels_granted
        assert torch.equal(guess.labels, one.labels)
