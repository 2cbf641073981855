"""A client trains once for each batch, whatever is asked of that training."""

from collections import Counter
from dataclasses import replace
from weakref import ref

import pytest
import torch

from conftest import make_batch, smooth_net
from gradaudit import Client, FedAvg, FedSGD, Knowledge, Level, SecureAggregation
from gradaudit.attacks import APRIL, DLG
from gradaudit.audit.config import make_config
from gradaudit.audit.judge import Case, audit
from gradaudit.audit.plan import make_plan
from gradaudit.client import participant
from gradaudit.client.participant import SharedUpdate
from gradaudit.execution import Listener, Results, describe_run, run
from gradaudit.inversion.run.call import shares_passes
from gradaudit.protocol.defenses import Clip, GaussianNoise

KNOWN = Level.PRIORS | Knowledge.LABELS
FOUR_CASES = {
    "data": {"source": "photographs", "size": 16, "batch_size": 2},
    "model": {"name": "mlp", "num_classes": 10},
    "knowledge": ["priors", "LABELS"],
    "defenses": [{"name": "gaussian-noise", "std": 0.01}],
    "attacks": [
        {"name": "inverting-gradients", "set": {"stages.0.steps": 2}},
        {"name": "dlg", "set": {"stages.0.steps": 2}},
    ],
    "repeats": 2,
}


@pytest.fixture
def trainings(monkeypatch):
    """How often each client trained on each batch."""
    counted, train = Counter(), participant._trained

    def counting(client, batch, *rest):
        counted[batch.inputs.numpy().tobytes()] += 1
        return train(client, batch, *rest)

    monkeypatch.setattr(participant, "_trained", counting)
    return counted


def test_two_attacks_and_a_defense_take_one_training_per_batch(tmp_path, trainings):
    plan = make_plan(make_config(FOUR_CASES), tmp_path)
    results = Results(tmp_path / "run", describe_run([plan], "four cases"))
    run([plan], results, Listener())
    assert len(results.findings) == 4
    assert sorted(trainings.values()) == [1, 1]


def test_a_run_that_is_finished_trains_at_most_once_per_question(tmp_path, trainings):
    plan = make_plan(make_config({**FOUR_CASES, "repeats": 1}), tmp_path)
    results = Results(tmp_path / "run", describe_run([plan], "two cases"))
    run([plan], results, Listener())
    trainings.clear()
    run([plan], results, Listener())
    assert not trainings


def test_the_updates_of_earlier_batches_are_not_held(tmp_path, monkeypatch):
    held, alive, protected = [], [], Client.protected

    def noted(client, batch, **options):
        update, idle = protected(client, batch, **options)
        held.append(ref(update))
        return update, idle

    class Counting(Listener):
        def begin(self, case, number, total):
            alive.append(sum(one() is not None for one in held))

    monkeypatch.setattr(Client, "protected", noted)
    apart = {"name": "dlg", "set": {"stages.0.steps": 1, "together": False}}
    plan = make_plan(make_config({**FOUR_CASES, "attacks": [apart, apart], "repeats": 6}), tmp_path)
    run([plan], Results(tmp_path / "run", describe_run([plan], "twelve cases")), Counting())
    assert len(held) == 6
    assert len(alive) == 12
    assert max(alive) <= 2


@pytest.mark.parametrize("sizes", [None, (1, 1)], ids=["one client", "two clients"])
def test_one_training_serves_every_level_of_knowledge_and_equals_many(trainings, sizes):
    training = FedAvg(learning_rate=0.1, shuffle=True, minibatch_size=1, share_buffers=True, batch_norm="train")
    options = {"training": training, "defenses": (GaussianNoise(0.1),)}
    net, batch = smooth_net(), make_batch(2)
    client = Client(net, **options) if sizes is None else SecureAggregation(net, sizes=sizes, **options)
    shared = client.prepare(batch, seed=7)
    seen = [shared.show(facts) for facts in (Level.BASIC, KNOWN, Level.MALICIOUS_SERVER)]
    assert set(trainings.values()) == {1}
    apart = [client.share(batch, facts, seed=7) for facts in (Level.BASIC, KNOWN, Level.MALICIOUS_SERVER)]
    for one, other in zip(seen, apart, strict=True):
        assert all(map(torch.equal, one.update.values, other.update.values))
        assert one.update.buffers.keys() == other.update.buffers.keys()
        assert (one.clients, one.batch_size, one.labels is None) == (
            other.clients,
            other.batch_size,
            other.labels is None,
        )
    assert shared.idle == client.protected(batch, seed=7)[1] == ()


def test_an_attack_that_writes_into_its_update_spoils_no_other():
    shared = Client(smooth_net(), FedSGD(share_buffers=True)).prepare(make_batch(2))
    first, second = shared.show(KNOWN), shared.show(KNOWN)
    for tensor in (*first.update.values, *first.update.buffers.values()):
        tensor.zero_()
    assert any(tensor.any() for tensor in second.update.values)
    assert any(tensor.any() for tensor in second.update.buffers.values())
    assert any(tensor.any() for tensor in shared.show(KNOWN).update.values)


class Blank:
    """Guesses black."""

    name, needs = "blank", Knowledge.BATCH_SIZE

    def __call__(self, seen, *, seed=0, watch=None):
        from gradaudit import Reconstruction

        return Reconstruction(torch.zeros(seen.batch_size, *seen.input_shape), None, objective=0.0)


def test_a_changed_case_does_not_keep_the_update_of_the_old_one():
    client, batch = Client(smooth_net(), defenses=(Clip(1e9),)), make_batch(2)
    case = Case("one", "blank", Blank(), client, batch, KNOWN, torch.zeros(1, 8, 8), torch.empty(0))
    assert replace(case, key="two").shared is case.shared
    bare = replace(case, client=Client(smooth_net()))
    assert bare.shared is not case.shared
    assert audit(case).finding.no_op_defenses == ("clip norm=1000000000.0",)
    assert audit(bare).finding.no_op_defenses == ()
    for changed in ({"batch": make_batch(2, seed=5)}, {"chance": 3}):
        assert replace(case, **changed).shared is not case.shared
    assert isinstance(case.shared, SharedUpdate)


def test_an_attack_that_shares_no_pass_is_not_shown_an_update_for_that_question():
    def observe():
        raise AssertionError("asked")

    assert not shares_passes(APRIL, smooth_net(), observe)
    assert not shares_passes(replace(DLG, together=False), smooth_net(), observe)
