"""What a finding says of the protection of its update: computed while the client defends it, and read back."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace
from weakref import ref

import pytest
import torch

from conftest import linear_net, make_batch, smooth_net
from gradaudit import Client, FedAvg, FedSGD, Knowledge, Level, Normalisation, SecureAggregation
from gradaudit.audit.judge import Case, audit
from gradaudit.audit.protected import CAPTURED, protection_of
from gradaudit.capture.captured_client import CapturedClient
from gradaudit.capture.defense_facts import defense_facts
from gradaudit.client import participant
from gradaudit.client.calibrated_noise import NO_NOISE, NOT_CLIPPED, OTHER_NOISE, RELATIVE, SEEN, noise_of
from gradaudit.client.defense_effect import ALL, BEFORE_UPDATE, EffectLog
from gradaudit.metrics.bounds import gaussian_epsilon
from gradaudit.protocol.defenses import Clip, GaussianNoise, LaplaceNoise, TopK
from gradaudit.protocol.defenses._defense import Defense
from gradaudit.protocol.defenses.nvflare_filters import NvflareSvtPrivacy
from gradaudit.values.finding import Finding
from gradaudit.values.protection import CalibratedNoise

KNOWN = Level.BASIC | Knowledge.LABELS


class PerExample(Defense):
    """Stands for DP-SGD, which changes the training."""

    noise_multiplier, steps = 2.0, 5

    def protect(self, tensors):
        return tensors


class Looking(Defense):
    """Stands for a defense that is given the private examples beside the update."""

    def apply(self, update, scene):
        return self(update)


class Mixing(Defense):
    """Stands for a defense that changes the batch."""

    acts_on = "batch"


class Spending(Defense):
    """Keeps its own account."""

    def protect(self, tensors):
        return tuple(2 * tensor for tensor in tensors)

    def spent(self, entries):
        return 0.5 * entries


def defended(*defenses, **options):
    return Client(smooth_net(), defenses=defenses, normalisation=Normalisation((0.5,), (0.25,)), **options)


def found_for(client, batch=None):
    shared = client.prepare(make_batch(2) if batch is None else batch, seed=7)
    return protection_of(shared, shared.show(KNOWN))


def test_the_facts_are_those_of_the_updates_before_and_after():
    client, batch = defended(Clip(0.5), GaussianNoise(0.01)), make_batch(2)
    before, after = client.train(batch, seed=7), client.protected(batch, seed=7)[0]
    clipped = Clip(0.5)(before)
    clip, noise, whole = found_for(client, batch).effects
    assert (clip.defense, noise.defense, whole.defense) == ("clip norm=0.5", "gaussian-noise std=0.01", ALL)
    for effect, sides in ((clip, (before, clipped)), (noise, (clipped, after)), (whole, (before, after))):
        first, last = (torch.cat([tensor.flatten() for tensor in side.values]).double() for side in sides)
        assert effect.cosine == pytest.approx(float(torch.cosine_similarity(first, last, 0)), rel=1e-3)
        assert effect.norm_kept == pytest.approx(float(last.norm() / first.norm()), rel=1e-3)
        assert effect.ratio == pytest.approx(float((last - first).norm() / first.norm()), rel=1e-3)
        assert effect.changed == pytest.approx(float((first != last).double().mean()), rel=1e-3)
        facts = defense_facts(sides[0].tensors, sides[1].tensors, defense="x", buffers=())
        assert (effect.cosine, effect.changed) == pytest.approx((facts.cosine, facts.changed), rel=1e-3)
    entries = sum(tensor.numel() for tensor in before.values)
    assert noise.ratio == pytest.approx(0.01 * math.sqrt(entries) / 0.5, rel=0.1)  # ||noise|| / ||g||
    assert (clip.epsilon, noise.unit) == (None, "client")
    assert noise.epsilon == whole.epsilon == pytest.approx(gaussian_epsilon(0.02), rel=1e-3)


def test_a_defense_that_does_nothing_and_one_that_acts_earlier_are_named():
    idle, halved = found_for(defended(Clip(1e9), TopK(0.5))).effects[:2]
    assert idle.no_op
    assert (idle.cosine, idle.changed, idle.ratio) == (1, 0, 0)
    assert not halved.no_op
    assert halved.changed == pytest.approx(0.5, abs=0.01)
    log, client = EffectLog(), defended(PerExample(), Clip(0.5))
    before = client.train(make_batch(2))
    log.note(1, client.defenses[1], before, client.defenses[1](before))
    early, clip = log.effects(client.defenses)
    assert (early.why_not, early.cosine) == (BEFORE_UPDATE, None)
    assert clip.norm_kept < 1


def test_buffers_and_epsilon_of_an_own_account_are_counted():
    class Touching(Defense):
        def __call__(self, update):
            buffers = {name: value + 1 for name, value in update.buffers.items() if "mean" in name}
            return replace(update, buffers={**update.buffers, **buffers})

    sends = FedSGD(share_buffers=True, batch_norm="train")
    found = found_for(defended(Touching(), Spending(), training=sends))
    assert (found.effects[0].buffers_touched, found.effects[1].buffers_touched, found.buffers) == (1, 0, 3)
    assert not found.effects[0].no_op
    entries = sum(parameter.numel() for parameter in smooth_net().parameters())
    assert (found.effects[1].epsilon, found.effects[1].delta) == (pytest.approx(0.5 * entries, rel=1e-3), 0)
    assert found_for(defended(Spending())).buffers == 0


def test_the_account_of_nvflare_is_that_of_its_own_table():
    """A ResNet-20 has 271 117 values with its buffers, of which a tenth is shared; `benchmarks.federation` has 2711."""
    shipped = SimpleNamespace(epsilon=0.1, noise_var=0.1, fraction=0.1)
    assert NvflareSvtPrivacy.spent(shipped, 271_117) == pytest.approx(2711, abs=0.5)


def test_clients_under_secure_aggregation_count_as_one_update():
    defenses, batch = (Clip(0.05), Spending()), make_batch(3)
    many = SecureAggregation(smooth_net(), defenses=defenses, sizes=(2, 1))
    found = found_for(many, batch)
    own = Client(many.model, defenses=defenses)
    norms = [torch.stack([t.norm() for t in own.train(part).values]).norm() for part, _ in many._parts(batch, 7)]
    kept = float((2 * 0.05**2 / sum(norm**2 for norm in norms)).sqrt())
    assert found.effects[0].norm_kept == pytest.approx(kept, rel=1e-3)
    assert found.effects[2].norm_kept == pytest.approx(2 * kept, rel=1e-3)
    assert found.effects[1].epsilon == found_for(own, make_batch(2)).effects[1].epsilon  # of each client
    assert found_for(replace(many, defenses=(GaussianNoise(0.1),)), batch).label_ratios is None


@pytest.mark.parametrize(
    ("defenses", "multiplier"),
    [
        ((Clip(0.5), GaussianNoise(0.1)), 0.2),
        ((Clip(2.0), Clip(0.5), TopK(0.1), GaussianNoise(0.3), GaussianNoise(0.4), TopK(0.1)), 1.0),
        ((GaussianNoise(9.0), Clip(0.5), GaussianNoise(0.1)), 0.2),
        ((Clip(0.5), GaussianNoise(0.1), Spending(), GaussianNoise(0.3)), 0.2),
    ],
)
def test_noise_after_a_clip_is_measured_against_its_norm(defenses, multiplier):
    found = noise_of(defenses)
    assert found.noise == CalibratedNoise(pytest.approx(multiplier), 1, "client")
    assert isinstance(defenses[found.place], GaussianNoise)


@pytest.mark.parametrize(
    ("defenses", "why"),
    [
        ((), ""),
        ((Clip(0.5), TopK(0.1)), NO_NOISE),
        ((GaussianNoise(0.1),), NOT_CLIPPED),
        ((GaussianNoise(0.1), Clip(0.5)), NOT_CLIPPED),
        ((Clip(0.5), GaussianNoise(0.1, relative=True)), RELATIVE),
        ((Clip(0.5), LaplaceNoise(0.1)), OTHER_NOISE),
        ((Clip(0.5), Spending(), GaussianNoise(0.1)), NOT_CLIPPED),  # it could make the update longer again
        ((Clip(0.5), GaussianNoise(0.0)), NO_NOISE),
        ((Clip(0.5, per="tensor"), GaussianNoise(0.1)), NOT_CLIPPED),
        ((Clip(0.5), GaussianNoise(0.1), Looking()), SEEN),
        ((PerExample(), Looking()), SEEN),
        ((Mixing(), PerExample()), SEEN),
    ],
)
def test_any_other_defense_says_why_there_is_no_bound(defenses, why):
    assert noise_of(defenses) == (None, -1, why)


def test_a_defense_that_clips_each_example_states_its_own_multiplier():
    assert noise_of((TopK(0.5), PerExample(), Clip(1.0)), steps=9) == (CalibratedNoise(2.0, 5, "record"), 1, "")
    silent = PerExample()
    silent.__dict__["steps"] = 0
    assert noise_of((silent,), steps=9, rounds=2).noise == CalibratedNoise(2.0, 18, "record")
    looking_first = (Looking(), Mixing(), Clip(0.5), GaussianNoise(0.1))
    assert noise_of(looking_first, steps=9, rounds=2).noise == CalibratedNoise(0.2, 2, "client")
    client = defended(silent, training=FedAvg(learning_rate=0.1, epochs=3, minibatch_size=1))
    assert found_for(client).noise.steps == 6


def test_one_example_can_move_a_clipped_update_through_more_than_its_share_of_the_ball():
    """Why the norm is not divided by the batch size: both updates are on the ball of radius C, and far apart."""
    client, batch = Client(linear_net(), defenses=(Clip(0.1),)), make_batch(4, side=4, classes=5)
    ends = []
    for pixels in (range(8), range(8, 16)):  # one of four examples is white in one half, the others are black
        inputs = torch.zeros(4, 16)
        inputs[0, list(pixels)] = 1
        update = client.protected(replace(batch, inputs=inputs.view(4, 1, 4, 4)))[0]
        ends.append(torch.cat([tensor.flatten() for tensor in update.values]))
    assert max(float(end.norm()) for end in ends) <= 0.1 * (1 + 1e-5)
    assert float((ends[0] - ends[1]).norm()) > 0.1  # with clipped examples it would be at most 2 C / 4


def test_the_labels_and_the_length_of_the_images_are_those_of_the_batch():
    batch = make_batch(2, side=4, classes=5)
    client = Client(linear_net(), defenses=(Clip(0.1), GaussianNoise(0.02), GaussianNoise(0.01)))
    found = found_for(client, batch)
    clipped = Clip(0.1)(client.train(batch, seed=7)).tensors["1.bias"]
    deviation = math.hypot(0.02, 0.01)
    ratios = sorted(abs(float(clipped[label])) / deviation for label in batch.labels.tolist())
    assert found.label_ratios == pytest.approx(ratios, rel=1e-2)
    assert found.size == 16
    assert found.length == pytest.approx(float(batch.inputs.flatten(1).norm(dim=1).min()), rel=1e-2)
    half = replace(client, normalisation=Normalisation((0.5,), (0.25,)), defenses=(LaplaceNoise(0.1, relative=True),))
    found = found_for(half, batch)
    assert found.length == pytest.approx(float((batch.inputs - 0.5).flatten(1).norm(dim=1).min()), rel=1e-2)
    bias = half.train(batch, seed=7).tensors["1.bias"]
    largest = max(abs(float(bias[label])) for label in batch.labels.tolist())
    assert found.label_ratios[1] == pytest.approx(largest / (0.1 * math.sqrt(2) * float(bias.abs().max())), rel=1e-2)
    assert found_for(replace(client, defenses=(Clip(0.1),)), batch).label_ratios is None


def case(client, batch):
    class Grey:
        name, needs = "grey", Knowledge.BATCH_SIZE

        def __call__(self, seen, *, seed=0, watch=None):
            from gradaudit import Reconstruction

            return Reconstruction(torch.full_like(batch.inputs, 0.5), None, objective=0.0)

    return Case("one", "grey", Grey(), client, batch, KNOWN, torch.zeros(1, 8, 8), torch.zeros(0, 1, 8, 8))


def test_a_finding_keeps_it_and_trains_once(monkeypatch):
    client, batch = defended(Clip(0.5), GaussianNoise(0.1), training=FedAvg(learning_rate=0.1)), make_batch(2)
    calls = []
    train = participant._trained
    monkeypatch.setattr(participant, "_trained", lambda *args: calls.append(1) or train(*args))
    found = audit(case(client, batch)).finding
    assert len(calls) == 1
    assert found.protection.noise.multiplier == pytest.approx(0.2)
    line = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert Finding.from_json(line) == replace(found, scores=Finding.from_json(line).scores)
    assert Finding.from_json(line).protection == found.protection


def test_the_undefended_update_is_not_held(monkeypatch):
    held, note = [], EffectLog.note
    monkeypatch.setattr(EffectLog, "note", lambda log, *args: held.append(ref(args[2])) or note(log, *args))
    shared = defended(Clip(0.5), GaussianNoise(0.1)).prepare(make_batch(2))
    assert shared.log.biases
    assert [one() for one in held] == [None, None]


def test_a_model_that_takes_real_examples_only_has_no_ratio(monkeypatch):
    def raises(seen):
        raise TypeError("no such input")

    monkeypatch.setattr("gradaudit.audit.protected.search", raises)
    assert found_for(defended(GaussianNoise(0.1))).label_ratios is None


def test_lines_of_earlier_versions_are_read_and_wrong_ones_named():
    line = json.loads(json.dumps(audit(case(defended(Clip(0.5)), make_batch(2))).finding.to_json()))
    earlier = {key: value for key, value in line.items() if key != "protection"}
    assert Finding.from_json(earlier).protection is None
    assert "protection" not in audit(case(defended(), make_batch(2))).finding.to_json()
    line["protection"]["effects"][0]["cosine"] = "near"
    with pytest.raises(ValueError, match=r"protection.effects.0.cosine"):
        Finding.from_json(line)


def test_of_a_captured_update_only_the_declared_noise_is_known():
    sent = Client(smooth_net()).train(make_batch(2))
    declared = (Clip(0.5), GaussianNoise(0.1))
    client = CapturedClient(smooth_net(), defenses=declared, file="u.pt", sent=sent, input_shape=(1, 8, 8), size=2)
    found = found_for(client)
    assert (found.effects, found.unknown, found.label_ratios) == ((), CAPTURED, None)
    assert found.noise.multiplier == pytest.approx(0.2)
    assert found_for(replace(client, defenses=())).unknown == CAPTURED
    assert found_for(Client(smooth_net())) is None
