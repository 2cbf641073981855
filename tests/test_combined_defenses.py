"""What a report may say of several defenses, several rounds and several clients together, and what it must not."""

from dataclasses import replace

import pytest
import torch

from conftest import linear_net, make_batch
from gradaudit import Batch, Client, FedAvg, Knowledge, Level, SecureAggregation, adaptive
from gradaudit.audit.doubts import remarks
from gradaudit.audit.protected import protection_of
from gradaudit.capture.captured_client import CapturedClient
from gradaudit.client.calibrated_noise import SEEN, UNCOUNTED
from gradaudit.inversion.run.adaptive import joined
from gradaudit.metrics.bounds import gaussian_epsilon
from gradaudit.protocol.defenses import (
    Clip,
    DpSgd,
    GaussianNoise,
    LaplaceNoise,
    MixUp,
    PartialSharing,
    Precode,
    RandomK,
    Soteria,
    SvDefense,
)
from gradaudit.values.errors import AuditError
from test_cli import audit_file  # noqa: F401  (fixtures)
from test_model_defenses import SMOOTH, dense, private

KNOWN = Level.BASIC | Knowledge.LABELS


def found_for(client, batch):
    shared = client.prepare(batch, seed=7)
    return protection_of(shared, shared.show(KNOWN))


def test_epsilon_is_that_of_one_round_and_the_bound_counts_all():
    for defenses, multiplier in (((Clip(0.5), GaussianNoise(0.5)), 1.0), ((DpSgd(1.0, 2.0),), 2.0)):
        found = found_for(Client(linear_net(pixels=64), defenses=defenses, rounds=3), make_batch(2, classes=5))
        spent = next(effect.epsilon for effect in found.effects if effect.epsilon is not None)
        assert spent == pytest.approx(gaussian_epsilon(multiplier), rel=1e-3)
        assert found.noise.steps == 3


def test_the_steps_are_those_of_one_client_and_not_of_all_together():
    training = FedAvg(learning_rate=0.1, minibatch_size=1)
    many = SecureAggregation(linear_net(pixels=64), training, (DpSgd(1.0, 1.0),), sizes=(1, 3))
    assert found_for(many, make_batch(4, classes=5)).noise.steps == 3


def test_steps_that_are_unknown_give_no_bound_and_no_epsilon():
    training = FedAvg(learning_rate=0.1, epochs=2, minibatch_size=1)
    sent = Client(linear_net(pixels=64)).train(make_batch(4, classes=5))
    options = {"file": "u.pt", "sent": sent, "input_shape": (1, 8, 8)}
    client = CapturedClient(linear_net(pixels=64), training, (DpSgd(1.0, 1.0),), **options)
    nothing = Batch(torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64))
    for size, steps in ((None, None), (4, 8)):
        found = found_for(replace(client, size=size), nothing)
        assert (found.noise and found.noise.steps, found.why_not) == (steps, "" if steps else UNCOUNTED)
        assert (UNCOUNTED in " ".join(remarks(replace(client, size=size), 0))) is (steps is None)


@pytest.mark.parametrize("other", [MixUp(), Soteria(0.5)])
def test_no_epsilon_of_dp_sgd_is_stated_beside_a_defense_that_sees_the_examples(other):
    alone, beside = (
        remarks(Client(linear_net(pixels=64), defenses=(DpSgd(1.0, 1.0), *more)), 2) for more in ((), (other,))
    )
    assert not any(SEEN in line for line in alone)
    assert [line for line in beside if "dp-sgd" in line] == [f"No epsilon of dp-sgd is stated. {SEEN}"]


def test_precode_decides_the_comparison_wherever_it_stands():
    batch, defenses = private(1), (Precode(k=8), Clip(0.01))
    for order in (defenses, defenses[::-1]):
        seen = Client(dense(), defenses=order).share(batch, ["priors", "LABELS", "DEFENSE"])
        assert float((adaptive(SMOOTH)(seen).inputs - batch.inputs).square().mean()) < 1e-4


def test_rounds_are_joined_by_the_last_defense_that_acts_on_the_update():
    rounds = ((torch.tensor([2.0, 0.0]),), (torch.tensor([0.0, 4.0]),))
    seen = Client(linear_net(pixels=64)).share(make_batch(1, classes=5), "priors")
    seen = replace(seen, update=replace(seen.update, tensors={"weight": rounds[0][0]}))
    for others in ((DpSgd(1.0, 1.0),), (MixUp(),), (Precode(k=8),)):
        for order in ((RandomK(0.5), *others), (*others, RandomK(0.5))):
            assert joined(seen, rounds, order).update.values[0].tolist() == [2.0, 4.0]


@pytest.mark.parametrize("defense", [SvDefense(0.5), LaplaceNoise(0.01)], ids=lambda one: one.name)
def test_defenses_take_half_precision(defense):
    half = linear_net(pixels=64).to(torch.bfloat16)
    seen = Client(half, defenses=[defense], rounds=3).share(make_batch(2, classes=5), ["priors", "DEFENSE"])
    every = joined(seen, (seen.update.values, *seen.rounds), (defense,)).update.values
    assert {tensor.dtype for tensor in (*every, *defense.simulate(every, every))} == {torch.bfloat16}
    assert float(defense.mismatch(every, seen.update.values, lambda a, b: (a[0] - b[0]).norm())) < torch.inf


@pytest.mark.parametrize("defense", [GaussianNoise(1e300), LaplaceNoise(1e300), DpSgd(1e300, 1.0)])
def test_a_strength_that_overflows_is_named(defense):
    with pytest.raises(AuditError, match=f"NaN or infinity.* and the parameters of {defense.name}"):
        Client(linear_net(pixels=64), defenses=[defense]).share(make_batch(2, classes=5), "priors")


def test_a_defense_that_cannot_fit_the_model_is_refused_before_anything_runs():
    with pytest.raises(AuditError, match=r"precode: a bottleneck of size 1000000000000 would need .* Lower k"):
        Client(linear_net(), defenses=[Precode(k=10**12)])
    with pytest.raises(AuditError, match=r"no tensor matches nope\*\. The update has 1.weight, 1.bias"):
        Client(linear_net(), defenses=[PartialSharing(("nope*",))])
    with pytest.raises(AuditError, match="std must be at least 0 and finite"):
        GaussianNoise(float("inf"))


def test_the_terminal_and_a_comparison_say_who_knew_the_defense(gradaudit, audit_file):  # noqa: F811
    options = {"defenses": [{"name": "gaussian-noise", "std": 1.0}], "repeats": 1}
    for out, knowledge in (("naive", ["priors", "LABELS"]), ("both", ["priors", "LABELS", "DEFENSE"])):
        code, told, _ = gradaudit("audit", audit_file(knowledge=knowledge, **options), "--out", out)
        assert code == 0
        assert "Nothing recognisable" in told or "Traces" in told
        assert ("No attack was adapted to the defense" in told.replace("\n", " ")) is (out == "naive")
    told = gradaudit("compare", "naive", "both", "--format", "csv")[1]
    assert "knowing DEFENSE" not in told
    assert "(adaptive)" in told
