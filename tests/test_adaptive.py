"""The adversary that knows the client's defense: it recovers what one that does not know it cannot."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import gradaudit as ga
from gradaudit.attacks import constructors, shortened
from gradaudit.audit.adapting import with_twins
from gradaudit.protocol.defenses.additive_noise import GaussianNoise
from gradaudit.protocol.defenses.top_k import TopK

FAST = shortened(ga.attacks.INVERTING_GRADIENTS_FAST, 15)


def victim(defenses, rounds=1):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(8 * 36, 5))
    return ga.Client(net, defenses=defenses, rounds=rounds)


def private(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return ga.Batch(torch.rand(1, 1, 8, 8, generator=generator), torch.tensor([3]))


def error(attack, client, batch, knowledge=("priors", "LABELS", "DEFENSE")):
    """Return the mean squared error of a reconstruction."""
    seen = client.share(batch, knowledge)
    return float((attack(seen).inputs - batch.inputs).square().mean())


@pytest.mark.parametrize("seed", range(3))
def test_an_adaptive_attack_sees_through_sparsification(seed):
    client, batch = victim([TopK(0.1)]), private(seed)
    naive = error(FAST, client, batch, ("priors", "LABELS"))
    assert error(ga.adaptive(FAST), client, batch) < 1e-3 < naive / 10
    assert error(ga.adaptive(FAST, TopK(0.1)), client, batch, ("priors", "LABELS")) < 1e-3


def test_averaging_the_rounds_removes_noise():
    batch = private()
    one, many = (error(ga.adaptive(FAST), victim([GaussianNoise(0.01)], rounds), batch) for rounds in (1, 64))
    assert many < one / 4


def test_rounds_differ_in_their_noise_and_share_the_batch():
    seen = victim([GaussianNoise(1.0)], rounds=3).share(private(), "priors")
    assert len(seen.rounds) == 2
    first, second, third = (tensors[0] for tensors in (seen.update.values, *seen.rounds))
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    plain = victim([], rounds=2).share(private(), "priors")
    assert all(map(torch.equal, plain.update.values, plain.rounds[0]))
    with pytest.raises(ga.AuditError, match="rounds: must be at least 1"):
        victim([], rounds=0)


def test_the_repr_evaluates_to_the_same_attack():
    attack = ga.adaptive(FAST, TopK(0.1))
    assert eval(repr(attack), dict(constructors())) == attack


def test_it_needs_the_defense_unless_it_assumes_one():
    seen = victim([TopK(0.5)]).share(private(), ("priors", "LABELS"))
    with pytest.raises(ga.AttackFailed, match="no defense to adapt to"):
        ga.adaptive(FAST)(seen)
    assert ga.Knowledge.DEFENSE in ga.adaptive(FAST).needs
    assert ga.Knowledge.DEFENSE not in ga.adaptive(FAST, TopK(0.5)).needs


def test_twins_run_only_where_the_defense_is_granted_and_there_is_one():
    attacks, origins = (("fast", FAST),), ("named",)
    granted, defended, bare = ga.level("priors") | ga.Knowledge.DEFENSE, victim([TopK(0.5)]), victim([])
    assert [name for name, _ in with_twins(attacks, origins, defended, granted)[0]] == ["fast", "fast (adaptive)"]
    assert with_twins(attacks, origins, defended, granted)[1] == ("named", "named")
    assert with_twins(attacks, origins, bare, granted)[0] == attacks
    assert with_twins(attacks, origins, defended, ga.level("priors"))[0] == attacks


def test_an_audit_judges_both_and_the_naive_one_never_sees_the_defense():
    short = replace(FAST, stages=(replace(FAST.stages[0], steps=2),))
    run = ga.run(victim([TopK(0.5)]), private(), short, ["priors", "LABELS", "DEFENSE"])
    naive, known = run.findings
    assert (naive.adaptive, known.adaptive) == (False, True)
    assert (naive.defended, known.defended) == (True, True)
    assert "Unreliable under top-k" in " ".join(naive.notes)
    assert "Unreliable under top-k" not in " ".join(known.notes)
    assert known.attack == f"{naive.attack} (adaptive)"
    assert ga.Finding.from_json(known.to_json()).adaptive


class Spy:
    """An attack that records which defenses it saw."""

    name, needs, paper = "spy", ga.Knowledge.NOTHING, ""

    def __init__(self):
        self.seen = []

    def __repr__(self):
        return "Spy()"

    def __call__(self, seen, *, seed=0, watch=None):
        self.seen.append(seen.defenses)
        return ga.Reconstruction(torch.zeros(1, 1, 8, 8), None, 0.0, False)


def test_the_naive_attack_never_sees_the_defense():
    spy = Spy()
    ga.run(victim([TopK(0.5)]), private(), spy, ["priors", "DEFENSE"])
    assert spy.seen == [None, (TopK(0.5),)]
