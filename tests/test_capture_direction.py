"""Which way a difference was taken: told where the last layer tells it, asked for where it does not, never guessed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gradaudit import Batch, Client, FedAvg, FedSGD
from gradaudit.capture import Direction, FileKind, Settings, capture
from gradaudit.capture.direction import judge, stray
from gradaudit.inspection import inspect
from gradaudit.values.errors import AuditError
from gradaudit.values.types import UpdateKind

BEFORE, AFTER = Direction.BEFORE_MINUS_AFTER, Direction.AFTER_MINUS_BEFORE
SHAPE = (1, 8, 8)


def net(classes=10, activation=nn.ReLU, bias=True, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 40), activation(), nn.Linear(40, classes, bias=bias)).eval()


def saved(path, model, labels, sign=1, training=None):
    batch = Batch(torch.rand(len(labels), *SHAPE), torch.tensor(labels))
    update = Client(model, training or FedSGD()).train(batch)
    torch.save({name: sign * value for name, value in update.tensors.items()}, path / "u.pt")
    return update, path / "u.pt"


@pytest.mark.parametrize("training", [FedSGD(), FedAvg(learning_rate=0.1, epochs=3, minibatch_size=2)])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid, nn.Tanh])
@pytest.mark.parametrize("size", [4, None])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_difference_is_turned_by_its_last_layer(sign, size, activation, training, tmp_path):
    for seed in range(3):
        model = net(activation=activation, seed=seed)
        update, path = saved(tmp_path, model, [1, 3, 3, 7], sign, training)
        captured = capture(model, path, Settings(input_shape=SHAPE, batch_size=size))
        assert not captured.undirected
        assert all(map(torch.equal, captured.observation.update.values, update.values))
        assert any("after minus before" in note for note in captured.notes) == (sign < 0)
        if sign < 0:  # a gradient has not this sign, and a difference hides its size
            assert captured.holds is FileKind.WEIGHT_DIFFERENCE
            assert captured.observation.update.kind is UpdateKind.WEIGHT_DIFFERENCE


@pytest.mark.parametrize("labels", [[0, 1], [1], [0, 0, 1, 1, 1]])
@pytest.mark.parametrize("sign", [1, -1])
def test_two_classes_tell_no_sign_and_no_labels_are_stated(labels, sign, tmp_path):
    model = net(2)
    _, path = saved(tmp_path, model, labels, sign)
    found = inspect(capture(model, path, Settings(input_shape=SHAPE, batch_size=len(labels))))
    assert found.labels is None
    assert "before minus after or after minus before, is unknown" in found.unjudged
    assert "give --sign before-minus-after or --sign after-minus-before, or --kind gradient" in found.unjudged
    assert not any("abel" in line for line in found.leaks)
    way = BEFORE if sign > 0 else AFTER
    found = inspect(capture(model, path, Settings(input_shape=SHAPE, batch_size=len(labels), sign=way)))
    assert set(found.labels.consensus) <= {*labels}
    assert found.labels.consensus


def test_a_gradient_by_the_users_word_keeps_its_sign(tmp_path):
    model = net(2)
    update, path = saved(tmp_path, model, [1])
    captured = capture(model, path, Settings(kind=FileKind.GRADIENT, input_shape=SHAPE, batch_size=1))
    assert not captured.undirected
    assert dict(inspect(captured).labels.consensus) == {1: 1}
    assert all(map(torch.equal, captured.observation.update.values, update.values))


def test_without_a_bias_the_rows_tell_where_features_are_positive(tmp_path):
    model = net(bias=False)
    update, path = saved(tmp_path, model, [1, 3, 3, 7], -1)
    captured = capture(model, path, Settings(input_shape=SHAPE, batch_size=4))
    assert all(map(torch.equal, captured.observation.update.values, update.values))
    model = net(bias=False, activation=nn.Tanh)
    captured = capture(model, saved(tmp_path, model, [1, 3, 3, 7])[1], Settings(input_shape=SHAPE, batch_size=4))
    assert "was sent without a bias, and its features can be negative" in captured.undirected


def test_the_users_word_counts_where_it_makes_sense(tmp_path):
    model = net()
    update, path = saved(tmp_path, model, [1, 3, 3, 7])
    turned = capture(model, path, Settings(input_shape=SHAPE, sign=AFTER)).observation.update
    assert all(torch.equal(a, -b) for a, b in zip(turned.values, update.values, strict=True))
    torch.save({name: value - update.tensors[name] for name, value in model.named_parameters()}, path)
    with pytest.raises(AuditError, match="--sign does not apply to whole weights"):
        capture(model, path, Settings(input_shape=SHAPE, sign=AFTER))


def test_step_counters_win_over_the_users_word(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    batch = Batch(torch.rand(4, *SHAPE), torch.tensor([1, 3, 3, 7]))
    update = Client(model, FedAvg(learning_rate=0.1, epochs=2, batch_norm="train")).train(batch)
    old = dict(model.named_buffers())
    changes = {name: value.double() - old[name] for name, value in update.buffers.items()}
    changes["1.running_var"] = changes["1.running_var"].clamp(max=-1e-3)
    torch.save({**{name: -value for name, value in update.tensors.items()}, **changes}, tmp_path / "u.pt")
    settings = {"input_shape": SHAPE, "kind": FileKind.WEIGHT_DIFFERENCE}
    captured = capture(model, tmp_path / "u.pt", Settings(**settings))
    assert all(map(torch.equal, captured.observation.update.values, update.values))
    assert captured.local_steps == 2
    capture(model, tmp_path / "u.pt", Settings(sign=AFTER, **settings))
    with pytest.raises(
        AuditError, match="--sign contradicts the step counters in the file, which show after-minus-before"
    ):
        capture(model, tmp_path / "u.pt", Settings(sign=BEFORE, **settings))


def test_buffers_without_counters_are_turned_with_the_rest(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    batch = Batch(torch.rand(4, *SHAPE), torch.tensor([1, 3, 3, 7]))
    update = Client(model, FedAvg(learning_rate=0.1, batch_norm="train")).train(batch)
    old = dict(model.named_buffers())
    changes = {name: value - old[name] for name, value in update.buffers.items() if "num_batches" not in name}
    torch.save({**{name: -value for name, value in update.tensors.items()}, **changes}, tmp_path / "u.pt")
    settings = Settings(input_shape=SHAPE, kind=FileKind.WEIGHT_DIFFERENCE, batch_size=4)
    captured = capture(model, tmp_path / "u.pt", settings)
    for name, value in captured.observation.update.buffers.items():
        torch.testing.assert_close(value.float(), update.buffers[name])


# The rule itself


def errors(seed, classes, size, noise=0.0, smoothing=0.0):
    """Bias and weight gradient of a head on features of ReLU, with a model that is somewhat sure."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(size, 30, generator=generator).relu().double()
    logits = 2 * torch.randn(classes, generator=generator) + torch.randn(size, classes, generator=generator)
    labels = nn.functional.one_hot(torch.randint(classes, (size,), generator=generator), classes)
    error = logits.double().softmax(1) - (1 - smoothing) * labels - smoothing / classes
    bias, weight = error.mean(0), error.T @ features / size
    level = noise * float(weight.square().mean().sqrt())
    added = [level * torch.randn(value.shape, generator=generator).double() for value in (bias, weight)]
    return bias + added[0], weight + added[1]


@pytest.mark.parametrize("known", [True, False])
def test_wrong_words_are_rare_and_many_are_right(known):
    right = wrong = asked = 0
    for classes in (3, 6, 10, 20, 100):
        for size in (1, 2, 4, 8, 16, 32):
            for seed in range(12):
                found, _ = judge(*errors(seed, classes, size), size if known else None)
                asked, right, wrong = asked + 1, right + (found is BEFORE), wrong + (found is AFTER)
    assert wrong == 0
    assert right > 0.45 * asked


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_noise_is_no_word(noise):
    found = [judge(*errors(seed, 10, size, noise), size)[0] for seed in range(60) for size in (1, 2, 4, 8)]
    assert sum(way is AFTER for way in found) <= 1


@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(1, 12), st.sampled_from([0.0, 0.1, 1.0]), st.booleans())
def test_the_other_sign_has_the_other_word(seed, classes, size, noise, known):
    bias, weight = errors(seed, classes, size, noise)
    most = size if known else None
    here, there = judge(bias, weight, most)[0], judge(-bias, -weight, most)[0]
    assert {here, there} in ({None}, {BEFORE, AFTER})
    assert judge(1e-3 * bias, 1e-3 * weight, most)[0] is here  # whatever the learning rate


def test_rows_that_stray_by_hand():
    sums = torch.tensor([1.0, 1.0, 1.0, 1.0, -2.0, -2.0]).double()
    common = torch.tensor([1.0, 1.0, 0.0, 0.0]).double()
    own = torch.zeros(6, 4).double()
    own[4, 2], own[5, 2] = 1.0, -1.0
    rows = torch.outer(sums, common) + own
    assert stray(sums, rows) > 0.9
    assert stray(-sums, -rows) < -0.9
    assert stray(sums, torch.outer(sums, common)) == 0.0
    assert judge(sums, rows, None)[0] is BEFORE
    assert judge(sums, rows, 2)[0] is BEFORE


def test_a_rank_of_pruned_rows_bounds_nothing():
    bias = torch.tensor([-3.0, -2.0, -2.0] + [0.0] * 7).double()
    rows = torch.zeros(10, 30).double()
    rows[0] = 1.0
    assert judge(bias, rows, None)[0] is None
