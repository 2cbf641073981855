"""The bias attack: one example exactly, in a batch those that activate a neuron alone, and a reason where it fails."""

from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from torch import nn

import gradaudit as ga
from conftest import linear_net, make_batch
from gradaudit.attacks._quotients import candidates, consistent, quotients
from gradaudit.attacks.linear_bias import ATTACK
from gradaudit.audit.config import make_config
from gradaudit.audit.judge import audit
from gradaudit.audit.plan import make_plan
from gradaudit.data.modalities import TableHandling
from gradaudit.data.sources.table_files import Tables
from gradaudit.inversion.network.first_linear import first_linear
from gradaudit.models import build, build_table
from gradaudit.protocol.defenses import GaussianNoise, TopK
from gradaudit.protocol.local_training.losses.binary_cross_entropy import BinaryCrossEntropy
from gradaudit.values.errors import AttackFailed, MissingKnowledge
from recovery import NORMALISATION, drawn, exactness, gain
from test_captured import Federation
from text_cases import FlatText, random_texts

SIDE = 16


def mlp(seed=0, classes=10, channels=3, side=SIDE):
    torch.manual_seed(seed)
    return build("mlp", num_classes=classes, channels=channels, size=side)


def share(model, batch, training=None, knowledge="basic", defenses=()):
    client = ga.Client(model, training or ga.FedSGD(), defenses=defenses, normalisation=NORMALISATION)
    return client.share(batch, knowledge)


def two_hidden(weight, bias=0.0, seed=0):
    """Hidden ReLU neurons with these rows, and a head that treats them differently."""
    torch.manual_seed(seed)
    hidden = nn.Linear(weight.shape[1], len(weight))
    hidden.load_state_dict({"weight": weight, "bias": torch.full((len(weight),), bias)})
    return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(len(weight), 4))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [None, 0.01])
def test_one_example_is_exact_whatever_the_learning_rate(seed, rate):
    """The rate is not granted: a quotient, the label and the check do without it."""
    batch, control = drawn(seed, side=SIDE)
    found = ATTACK(share(mlp(seed), batch, ga.FedSGD() if rate is None else ga.FedAvg(learning_rate=rate)))
    assert gain(found, batch, control) > 50
    assert exactness(found, batch) > (120 if rate is None else 80)
    assert found.verified
    assert torch.equal(found.labels, batch.labels)
    assert found.objective < 1e-3
    assert not found.notes


@pytest.mark.parametrize("seed", range(3))
def test_a_batch_of_four_is_found_with_its_labels_and_in_the_order_of_granted_ones(seed):
    batch, control = drawn(seed, 4, side=SIDE)
    for knowledge in ("basic", ["basic", "LABELS"]):
        found = ATTACK(share(mlp(seed), batch, knowledge=knowledge))
        assert gain(found, batch, control) > 50
        assert found.verified
        order = ga.metrics.assign(found.inputs, batch.inputs)
        assert torch.equal(found.labels[order], batch.labels)
        assert "4 of 4 examples were found" in found.notes[0]
    assert torch.equal(order, torch.arange(4))


def test_of_a_larger_batch_a_part_is_found_and_the_notes_say_how_surely():
    for seed in range(3):
        batch, _ = drawn(seed, 8, side=SIDE)
        found = ATTACK(share(mlp(seed), batch))
        apart = torch.cdist(batch.inputs.flatten(1), found.inputs.flatten(1))
        exact = int((apart.min(1).values < 1e-3 * batch.inputs.flatten(1).norm(dim=1)).sum())
        grey = int((found.inputs.std((1, 2, 3)) < 1e-3).sum())
        told, sure = (int(text.split()[0]) for text in (found.notes[0], found.notes[0].split("found: ")[1]))
        assert told == 8 - grey
        assert sure <= exact <= told
        assert not found.verified
        assert found.labels is None
        assert found.objective == pytest.approx(1 - told / 8)
        assert exact > 0


def test_neurons_by_hand():
    """Neuron 0 sees both examples, 1 and 2 the first alone, 3 the second alone, 4 none."""
    first, second = torch.tensor([1.0, 0.0, 0.5, 0.2]), torch.tensor([0.0, 1.0, 0.5, 0.2])
    weight = torch.tensor(
        [[1.0, 1.0, 0, 0], [1.0, -1.0, 0, 0.1], [0.7, -2.0, 0, 0], [-1.0, 1.0, 0, 0], [-1.0, -1.0, 0, 0]]
    )
    model = two_hidden(weight).double()
    batch = ga.Batch(torch.stack([first, second]).view(2, 1, 2, 2).double(), torch.tensor([1, 2]))
    seen = ga.Client(model).share(batch, "basic")
    layer = first_linear(model, (1, 2, 2))
    expected = torch.relu(batch.inputs.flatten(1) @ weight.double().T) > 0
    assert torch.equal(layer.active(batch.inputs), expected)
    gradients = (seen.update.tensors[f"1.{kind}"] for kind in ("weight", "bias"))
    rows = quotients(*gradients, rounding=0.0, same=1e-3)
    assert set(rows.neurons.tolist()) == {0, 1, 2, 3}
    offered = candidates(rows, weight.double(), 1e-3)
    assert [(one.recurs, sorted(one.neurons.tolist())) for one in offered if one.recurs] == [(True, [1, 2])]
    chosen = consistent(offered, layer, (1, 2, 2), 2)
    torch.testing.assert_close(torch.stack([one.inputs for one in chosen]), batch.inputs.flatten(1))
    assert ATTACK(seen).verified


def test_two_identical_neurons_are_one_witness():
    """Both see both examples and have the same way out: their quotients recur, and yet they are a mixture."""
    row = torch.full((1, 64), 0.1)
    model = two_hidden(row.expand(2, -1).clone(), 0.1)
    model[3].weight.data[:, 1] = model[3].weight.data[:, 0]
    batch = make_batch(2, classes=4)
    found = ATTACK(ga.Client(model).share(batch, "basic"))
    assert "0 as a quotient that recurs" in found.notes[0]
    assert not found.verified
    assert exactness(replace(found, inputs=found.inputs[:1]), ga.Batch(batch.inputs[:1], batch.labels[:1])) < 25


def test_where_every_neuron_sees_every_example_there_is_nothing_to_read():
    sigmoid = nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.Sigmoid(), nn.Linear(30, 10))
    for seed in range(3):
        found, seen = None, ga.Client(sigmoid).share(make_batch(4, seed=seed), "basic")
        with suppress(AttackFailed):  # most often no quotient lies in the box
            found = ATTACK(seen)
        assert found is None or (not found.verified and "0 as a quotient that recurs" in found.notes[0])


@pytest.mark.parametrize("defense", [GaussianNoise(0.1, relative=True), TopK(0.2)], ids=["noise", "top-k"])
def test_a_defense_is_noticed(defense):
    for seed in range(3):
        batch, _ = drawn(seed, side=SIDE)
        found = ATTACK(share(mlp(seed), batch, defenses=[defense]))
        assert not found.verified
        assert "disagree by" in found.notes[0]
        assert exactness(found, batch) < 60
        batch, _ = drawn(seed, 4, side=SIDE)
        found = ATTACK(share(mlp(seed), batch, defenses=[defense]))
        assert not found.verified
        assert "may be a mixture" in found.notes[1]


def test_the_adaptive_adversary_averages_the_noise_of_several_rounds():
    batch, _ = drawn(0, side=SIDE)
    defenses = [GaussianNoise(0.05, relative=True)]
    client = ga.Client(mlp(), defenses=defenses, normalisation=NORMALISATION, rounds=9)
    seen = client.share(batch, ["basic", "DEFENSE"])
    once, joined = exactness(ATTACK(seen), batch), exactness(ga.adaptive(ATTACK)(seen), batch)
    assert joined > once + 4


REFUSED = {
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 5)),
        "first layer is not linear",
    ),
    "no bias": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 5, bias=False)), "has no bias"),
    "frozen bias": (lambda: frozen(linear_net(5, 64)), "no gradient of 1.bias"),
}


def frozen(model):
    model[1].bias.requires_grad_(False)
    return model


@pytest.mark.parametrize("name", REFUSED)
def test_another_first_layer_is_refused_with_the_reason(name):
    make, why = REFUSED[name]
    with pytest.raises(AttackFailed, match=f"linear-bias: .*{why}"):
        ATTACK(ga.Client(make()).share(make_batch(1, classes=5), "basic"))


def test_what_else_is_refused():
    batch = make_batch(2)
    steps = ga.FedAvg(learning_rate=0.1, epochs=2)
    with pytest.raises(AttackFailed, match="the client took several"):
        ATTACK(ga.Client(linear_net(10, 64), steps).share(batch, "training-details"))
    dead = two_hidden(torch.rand(3, 64), -100.0)
    with pytest.raises(AttackFailed, match="no neuron is active"):
        ATTACK(ga.Client(dead).share(make_batch(1, classes=4), "basic"))
    with pytest.raises(AttackFailed, match="tokens of a text"):
        ATTACK(ga.Client(FlatText(6)).share(random_texts(1), "basic"))
    with pytest.raises(MissingKnowledge, match="BATCH_SIZE"):
        ATTACK(ga.Client(linear_net(10, 64)).share(batch, ga.Knowledge.NOTHING))
    seen = ga.Client(linear_net(10, 64)).share(batch, "basic")
    broken = {name: tensor * torch.nan for name, tensor in seen.update.tensors.items()}
    with pytest.raises(AttackFailed, match="NaN"):
        ATTACK(replace(seen, update=replace(seen.update, tensors=broken)))


def test_a_row_of_a_table_and_a_single_logit():
    table = Tables().open()
    batch = TableHandling().gather(table, [3], table.labels[[3]])
    model = build_table("tabular-mlp", num_classes=2, features=table.layout.width)
    found = ATTACK(ga.Client(model).share(batch, "basic"))
    torch.testing.assert_close(found.inputs, batch.inputs, rtol=1e-4, atol=1e-4)
    assert found.verified
    yes = ga.Batch(make_batch(1).inputs, torch.tensor([1]))
    found = ATTACK(ga.Client(linear_net(1, 64), ga.FedSGD(BinaryCrossEntropy())).share(yes, "basic"))
    assert found.verified
    assert found.labels.tolist() == [1]


def test_in_an_audit_file(tmp_path):
    raw = {
        "data": {"source": "photographs", "size": SIDE, "batch_size": 2},
        "model": {"name": "mlp", "num_classes": 12},
        "knowledge": ["priors"],
        "attacks": ["linear-bias"],
    }
    (case,) = make_plan(make_config(raw), tmp_path).cases()
    finding = audit(case).finding
    assert finding.verified
    assert finding.mean_gain > 40


def test_a_captured_update(tmp_path):
    federation = Federation(tmp_path, "deeper")
    torch.save(dict(federation.update().tensors), tmp_path / "u.pt")
    (case,) = federation.schedule("u.pt", knowledge=["priors"], attacks=["linear-bias"]).cases()
    finding = audit(case).finding
    assert finding.verified
    assert finding.mean_gain > 40
