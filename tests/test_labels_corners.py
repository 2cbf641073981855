"""What no method may do: guess outside its conditions, pad, break on small numbers, or leave traces."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from gradaudit import Batch, Client, Knowledge, Level
from gradaudit.attacks import ATTACKS
from gradaudit.inversion.parts.labels import LABELS
from gradaudit.inversion.run.gradient_matching import GradientMatching
from gradaudit.inversion.run.label_reading import LabelReading, read_labels
from gradaudit.values.errors import AttackFailed, AuditError
from label_cases import COUNTING, GRANTED, NORMALISATION, observe, pictures, relu_net, with_head
from properties import assert_deterministic, assert_repr_rebuilds

READERS = tuple(name for name in LABELS if name not in ("known", "joint"))
MANY = tuple(name for name in READERS if name not in ("idlg", "soft"))
SETS = ("bias-sign", "gradinversion", "rlg")


@pytest.mark.parametrize("method", READERS)
@pytest.mark.parametrize(
    ("labels", "classes"),
    [([0], 2), ([1, 1, 1], 2), ([0, 1] * 20, 2), ([0], 3), ([2] * 7, 10), (list(range(10)), 10), ([4, 2, 4], 300)],
    ids=["two classes", "one class of two", "more examples", "three", "one class", "every class", "many classes"],
)
def test_small_numbers_break_nothing(method, labels, classes):
    torch.manual_seed(len(labels))
    found = read_labels(method, observe(labels, relu_net(classes)))
    if not found.applies:
        assert found.why_not
        assert found.labels is found.counts is found.soft is found.confidence is None
        return
    assert found.labels.dtype == torch.int64
    assert found.labels.tolist() == sorted(found.labels.tolist())
    assert len(found.labels) <= len(labels)
    assert 0 <= found.confidence <= 1
    assert found.tally.shape == (classes,)
    assert torch.isfinite(found.tally.double()).all()
    if method in MANY and method not in SETS:
        assert len(found.labels) == int(found.counts.sum()) == len(labels)
    elif len(found.labels) < len(labels):
        assert found.counts is None
        assert any("unknown" in note for note in found.notes)


@pytest.mark.parametrize("method", MANY)
def test_more_classes_look_present_than_the_batch_holds(method):
    seen = with_head(observe([0, 1], relu_net()), torch.randn_like)
    found = read_labels(method, seen)
    if found.applies:
        assert len(found.labels) <= 2


@pytest.mark.parametrize("method", READERS)
def test_an_empty_gradient_and_a_broken_one(method):
    seen = observe([1], relu_net())
    assert "is zero" in read_labels(method, with_head(seen, torch.zeros_like)).why_not
    assert "NaN or infinity" in read_labels(method, with_head(seen, lambda t: t * torch.nan)).why_not


@pytest.mark.parametrize("method", READERS)
def test_a_zero_bias_gradient_gives_no_infinity(method):
    seen = with_head(observe([1, 2], relu_net()), lambda t: t * 0 if t.ndim == 1 else t)
    found = read_labels(method, seen)
    assert found.applies or found.why_not
    if found.applies:
        assert torch.isfinite(found.tally.double()).all()


def why_not(method, seen):
    found = read_labels(method, seen)
    assert not found.applies
    return found.why_not


@pytest.mark.parametrize("method", ["bias-sign", "bias-counts", "ilrg", "afgi"])
def test_no_bias(method):
    assert "contains no bias" in why_not(method, observe([1, 2], relu_net(bias=False)))


@pytest.mark.parametrize("method", ["gradinversion", "hfgradinv", "hfgradinv-direct", "afgi"])
def test_features_below_zero(method):
    assert "can be negative" in why_not(method, observe([1, 2], relu_net(activation=nn.LeakyReLU())))


@pytest.mark.parametrize("method", ["llg", "llg-plus", "llg-star", "weight-counts"])
def test_features_without_a_sign(method):
    reason = why_not(method, observe([1, 2], relu_net(activation=nn.Tanh())))
    assert "zero or less" in reason or "sums of both signs" in reason
    assert read_labels(method, observe([1, 2], relu_net(activation=nn.LeakyReLU()))).applies


def test_a_rank_that_leaves_no_room():
    assert "lets every class look present" in why_not("rlg", observe(list(range(10)), relu_net()))


@pytest.mark.parametrize("method", READERS)
def test_missing_knowledge_is_named(method):
    needs = LABELS[method].needs
    for flag in needs:
        assert f"needs {flag.name}" in why_not(method, observe([1], relu_net(), granted=needs & ~flag))
    if Knowledge.PUBLIC_DATA in needs:
        assert "public images are needed" in why_not(method, observe([1], relu_net(), public=0))
    assert read_labels(method, observe([1], relu_net(), granted=needs)).applies


@pytest.mark.parametrize("method", [*COUNTING, "soft", "gradinversion"])
def test_a_layer_behind_the_head(method):
    net = nn.Sequential(*relu_net(), nn.Sequential(nn.Softplus())).eval()
    assert "only the signs are informative. Choose bias-sign" in why_not(method, observe([1], net))
    assert read_labels("bias-sign", observe([1, 4], net)).labels.tolist() == [1, 4]


@pytest.mark.parametrize("name", ["known", "joint"])
def test_what_is_handed_over_or_optimised_is_not_read(name):
    assert not read_labels(name, observe([1, 2], relu_net())).applies
    told = read_labels("known", observe([2, 1], relu_net(), granted=Knowledge.LABELS))
    assert told.labels.tolist() == [2, 1]


@pytest.mark.parametrize("method", READERS)
def test_reading_leaves_no_trace_and_repeats(method):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    seen = observe([3], net)
    before, update = deepcopy(seen.model.state_dict()), [tensor.clone() for tensor in seen.update.values]
    modes = [module.training for module in seen.model.modules()]
    state = torch.get_rng_state()
    first, again = (read_labels(method, seen, seed=5) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert first.applies
    assert first.confidence == again.confidence
    assert torch.equal(first.labels, again.labels)
    assert all(torch.equal(value, before[name]) for name, value in seen.model.state_dict().items())
    assert modes == [module.training for module in seen.model.modules()]
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in seen.model.modules())
    assert all(map(torch.equal, update, seen.update.values))
    assert all(parameter.grad is None for parameter in seen.model.parameters())


@pytest.mark.parametrize("method", READERS)
def test_parts_rebuild_and_know_their_name(method):
    assert_repr_rebuilds(LABELS[method]())
    assert read_labels(LABELS[method](), observe([1], relu_net())).method == method


def test_batch_norm_in_training_mode():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
    from gradaudit import FedSGD

    labels = torch.randint(10, (12,))
    seen = observe(labels, net, training=FedSGD(batch_norm="train"))
    found = read_labels("bias-counts", seen)
    assert len(set(found.labels.tolist()) & set(labels.tolist())) >= len(set(labels.tolist())) - 1


# In an attack


def attack(method):
    stage = replace(ATTACKS["inverting-gradients"].stages[0], steps=3)
    return replace(ATTACKS["inverting-gradients"], labels=LABELS[method](), stages=(stage,))


@pytest.mark.parametrize("method", ["llg-star", "bias-counts", "ilrg", "hfgradinv", "afgi-learned", "rlu"])
def test_an_attack_runs_on_inferred_labels(method):
    seen = observe([3, 3, 7], relu_net())
    assert isinstance(attack(method), GradientMatching)
    assert attack(method)(seen).labels.tolist() == [3, 3, 7]
    assert_deterministic(attack(method), seen)


@pytest.mark.parametrize("method", SETS)
def test_an_attack_refuses_fewer_labels_than_examples(method):
    seen = observe([3, 3, 7], relu_net(40))
    with pytest.raises(
        AttackFailed, match=r"found 2 of 3 labels, and an attack needs all of them. Choose a label inference"
    ):
        attack(method)(seen)
    assert attack(method)(observe([3, 5, 7], relu_net(40))).labels.tolist() == [3, 5, 7]


# Public pictures


def test_public_pictures_are_shown_where_they_are_granted():
    batch, held = Batch(pictures(2), torch.tensor([0, 1])), Batch(pictures(5), torch.arange(5))
    client = Client(relu_net(), normalisation=NORMALISATION)
    seen = client.share(batch, GRANTED, public=held)
    assert torch.equal(seen.public_data, held.inputs)
    assert torch.equal(seen.public_labels, held.labels)
    assert client.share(batch, GRANTED, public=held.inputs).public_labels is None
    for view in (client.share(batch, Level.BASIC, public=held), client.share(batch, GRANTED)):
        assert view.public_data is view.public_labels is None


@pytest.mark.parametrize("wrong", [torch.rand(5, 3, 8, 8), torch.rand(1, 8, 8), torch.rand(0, 1, 8, 8)])
def test_public_pictures_of_another_shape(wrong):
    with pytest.raises(AuditError, match=r"public_data: needs images \[N, 1, 8, 8\]"):
        Client(relu_net()).share(Batch(pictures(1), torch.tensor([0])), GRANTED, public=wrong)


def test_public_pictures_out_of_range():
    with pytest.raises(AuditError, match="public_data: images must be finite and in"):
        Client(relu_net()).share(Batch(pictures(1), torch.tensor([0])), GRANTED, public=pictures(2) + 1)


def test_a_reading_is_plain():
    bare = LabelReading("x", 3, applies=False, why_not="because")
    assert bare.tally is None
    assert LabelReading("x", 3, applies=True, labels=torch.tensor([0, 2])).tally.tolist() == [1, 0, 1]
