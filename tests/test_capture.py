"""Reading captured updates: every format, names, kinds, BatchNorm's buffers, and every error in one line."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from conftest import make_batch, smooth_net
from gradaudit import Client, FedAvg, FedSGD, Knowledge
from gradaudit.capture import FileKind, Settings, agreed_steps, capture, input_shape, movements
from gradaudit.capture.kinds import distance, scale_invariance
from gradaudit.values.errors import AuditError
from gradaudit.values.types import UpdateKind

SHAPE = Settings(input_shape=(1, 8, 8))


def shared(training=None, net=None):
    net = net or smooth_net()
    return net, Client(net, training=training or FedSGD()).train(make_batch(4))


def save(tensors, path):
    tensors = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in tensors.items()})
    else:
        torch.save(tensors, path)
    return path


def after(net, update):
    """The whole state after local training, under the names of a data-parallel wrapper."""
    own = dict(net.named_parameters())
    weights = {name: own[name].detach() - value for name, value in update.tensors.items()}
    return {f"module.{name}": value for name, value in {**weights, **update.buffers}.items()}


@pytest.mark.parametrize("ending", [".safetensors", ".pt", ".pth", ".npz"])
def test_every_format_gives_the_same_update(ending, tmp_path):
    net, update = shared()
    seen = capture(net, save(update.tensors, tmp_path / f"u{ending}"), SHAPE).observation
    assert list(seen.update.tensors) == [name for name, _ in net.named_parameters()]
    assert all(map(torch.equal, seen.update.values, update.values))
    assert seen.update.kind is UpdateKind.GRADIENT
    assert seen.knowledge is Knowledge.NOTHING
    assert seen.classes == 10


def test_nested_lists_and_arrays_without_names(tmp_path):
    net, update = shared()
    torch.save({"gradients": [value.clone() for value in update.values]}, tmp_path / "u.pt")
    np.savez(tmp_path / "u.npz", *[value.numpy() for value in update.values])
    for name in ("u.pt", "u.npz"):
        captured = capture(net, tmp_path / name, SHAPE)
        assert all(map(torch.equal, captured.observation.update.values, update.values))
        assert any("no names" in note for note in captured.notes)


def test_a_none_in_a_list_keeps_its_place(tmp_path):
    """As `torch.autograd.grad(..., allow_unused=True)` gives it."""
    net, update = shared()
    values = list(update.values)
    torch.save([values[0], None, *values[2:]], tmp_path / "u.pt")
    captured = capture(net, tmp_path / "u.pt", SHAPE)
    found = captured.observation.update.tensors
    assert not found["0.bias"].any()
    assert all(torch.equal(found[name], value) for name, value in update.tensors.items() if name != "0.bias")
    assert any("None for 0.bias, treated as a gradient of zeros" in note for note in captured.notes)


def test_whole_weights_become_the_difference(tmp_path):
    net, update = shared(FedAvg(learning_rate=0.1, epochs=2, batch_norm="train"))
    captured = capture(net, save(after(net, update), tmp_path / "u.pt"), Settings(input_shape=(1, 8, 8), batch_size=4))
    assert captured.holds is FileKind.WEIGHTS
    assert captured.observation.update.kind is UpdateKind.WEIGHT_DIFFERENCE
    assert captured.observation.knowledge is Knowledge.BATCH_SIZE
    for name, value in captured.observation.update.tensors.items():
        torch.testing.assert_close(value, update.tensors[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_counters_tell_the_local_steps(steps, tmp_path):
    net, update = shared(FedAvg(learning_rate=0.05, epochs=steps, batch_norm="train"))
    settings = Settings(input_shape=(1, 8, 8), batch_size=4, learning_rate=0.05)
    captured = capture(net, save(after(net, update), tmp_path / "u.safetensors"), settings)
    assert captured.local_steps == steps
    assert captured.observation.training.epochs == steps
    assert captured.observation.batch_norm == "train"
    assert Knowledge.LOCAL_TRAINING in captured.observation.knowledge
    assert (captured.observation.batch_statistics is not None) == (steps == 1)


def test_one_step_gives_the_batch_statistics_exactly(tmp_path):
    training = FedAvg(learning_rate=0.05, batch_norm="train")
    net, update = shared(training)
    settings = Settings(input_shape=(1, 8, 8), batch_size=4, learning_rate=0.05)
    seen = capture(net, save(after(net, update), tmp_path / "u.pt"), settings).observation
    truth = Client(net, training=training).share(make_batch(4), Knowledge.BATCH_STATISTICS).batch_statistics
    assert Knowledge.BATCH_STATISTICS in seen.knowledge
    for layer, (mean, variance) in truth.items():
        torch.testing.assert_close(seen.batch_statistics[layer][0], mean, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(seen.batch_statistics[layer][1], variance, atol=1e-5, rtol=1e-4)


def test_differences_of_buffers_tell_the_sign(tmp_path):
    """After minus before, with buffers as differences, as NVFlare sends it."""
    net, update = shared(FedAvg(learning_rate=0.05, epochs=3, batch_norm="train"))
    old = dict(net.named_buffers())
    change = {name: value - old[name] for name, value in update.buffers.items()}
    reverse = {name: -value for name, value in update.tensors.items()}
    change = {name: value.double() for name, value in change.items()}
    settings = Settings(kind=FileKind.WEIGHT_DIFFERENCE, input_shape=(1, 8, 8))
    captured = capture(net, save({**reverse, **change}, tmp_path / "u.npz"), settings)
    assert captured.local_steps == 3
    assert all(map(torch.equal, captured.observation.update.values, update.values))
    assert any("sign was flipped" in note for note in captured.notes)


def test_a_partial_update_says_what_is_missing(tmp_path):
    net, update = shared()
    names = list(update.tensors)
    captured = capture(net, save({n: update.tensors[n] for n in names[-2:]}, tmp_path / "u.pt"), SHAPE)
    assert captured.unshared == tuple(names[:-2])
    assert list(captured.observation.update.tensors) == names[-2:]


def test_training_mode_shows_in_the_gradient():
    net = nn.Sequential(
        smooth_net(channels=3)[0], nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    ).eval()
    batch = make_batch(4, channels=3)
    cosine = {
        m: scale_invariance(net, Client(net, training=FedSGD(batch_norm=m)).train(batch).tensors)
        for m in ("eval", "train")
    }
    assert cosine["train"] < 0.1 < 0.2 < cosine["eval"]


def test_the_model_stays_as_it_is(tmp_path):
    net, update = shared(FedAvg(learning_rate=0.05, batch_norm="train"))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    capture(net, save(after(net, update), tmp_path / "u.pt"), SHAPE)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_frozen_and_tied_parameters(tmp_path):
    net, update = shared()
    net[0].weight.requires_grad_(False)
    net[0].bias.requires_grad_(False)
    captured = capture(net, save(update.tensors, tmp_path / "u.pt"), SHAPE)
    assert captured.frozen == ("0.weight", "0.bias")
    assert "0.weight" not in captured.observation.update.tensors


def test_movements_without_travelling_buffers():
    assert movements(smooth_net(), {}) == ()
    assert agreed_steps(()) is None
    assert distance({"a": torch.ones(2)}, {"a": torch.zeros(2)}) == float("inf")


def test_the_input_shape_is_found_or_asked_for():
    assert input_shape(nn.Sequential(nn.Flatten(), nn.Linear(784, 3))) == (1, 28, 28)
    with pytest.raises(AuditError, match="--input-shape C,H,W"):
        input_shape(nn.Sequential(nn.Flatten(), nn.Linear(7, 3)))
    with pytest.raises(AuditError, match="returned one logit"):  # not that no shape fits
        input_shape(nn.Sequential(nn.Flatten(), nn.Linear(784, 1)))


def broken(path, net, update, what):
    """Write one bad file; gives its name."""
    first = next(iter(update.tensors))
    if what == "pickle":
        path = path / "u.pkl"
        path.write_bytes(pickle.dumps({}))
    elif what == "ending":
        path = path / "u.bin"
        path.write_bytes(b"x")
    elif what == "objects":
        path = path / "u.pt"
        torch.save(net, path)
    elif what == "object arrays":
        path = path / "u.npz"
        np.savez(path, a=np.array([{}], dtype=object))
    elif what == "damaged":
        path = path / "u.safetensors"
        path.write_bytes(b"damaged")
    elif what == "empty":
        path = path / "u.pt"
        torch.save({}, path)
    elif what == "no tensor":
        path = path / "u.pt"
        torch.save({**update.tensors, first: 3}, path)
    elif what == "number":
        path = path / "u.pt"
        torch.save([torch.ones(1)] * 3, path)
    elif what == "missing":
        path = path / "nothing.pt"
    else:
        changed = {
            "unknown": {**update.tensors, "head.weight": torch.ones(2)},
            "shape": {**update.tensors, first: torch.ones(2)},
            "NaN": {**update.tensors, first: torch.full_like(update.tensors[first], torch.nan)},
            "twice": {**update.tensors, f"module.{first}": update.tensors[first]},
            "other weights": {name: value.roll(1, 0) for name, value in net.state_dict().items() if value.ndim},
        }[what]
        save(changed, path / "u.pt")
        path = path / "u.pt"
    return path


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("missing", "no file at"),
        ("pickle", "is a pickle, which can run code"),
        ("ending", "u.bin has an unknown format"),
        ("objects", "pickled objects"),
        ("object arrays", "cannot read u.npz"),
        ("damaged", "cannot read u.safetensors"),
        ("empty", "holds no tensors"),
        ("no tensor", "is no tensor but of type int"),
        ("number", "holds 3 tensors without names, but the model has 6"),
        ("unknown", r"u.pt does not fit the model: unexpected head.weight\.$"),
        ("shape", r"0.weight is \[2\] there but \[4, 1, 3, 3\] in the model"),
        ("NaN", "1 of 6 tensors hold NaN or infinity, first 0.weight"),
        ("twice", "u.pt holds two tensors for 0.weight, 0.weight and module.0.weight; keep one"),
        ("other weights", "Give the weights that the server sent with --weights"),
    ],
)
def test_errors_are_one_line(what, says, tmp_path):
    net, update = shared()
    with pytest.raises(AuditError, match=says) as caught:
        capture(net, broken(tmp_path, net, update, what), SHAPE)
    assert "\n" not in str(caught.value)


def test_only_buffers_are_read_as_those_after_the_training(tmp_path):
    net, update = shared(FedAvg(learning_rate=0.05, epochs=3, batch_norm="train"))
    captured = capture(net, save(update.buffers, tmp_path / "u.pt"), SHAPE)
    assert captured.empty == "the file contains no trainable parameter"
    assert captured.local_steps == 3
    assert not captured.observation.update.tensors
    net.requires_grad_(False)
    assert capture(net, tmp_path / "u.pt", SHAPE).empty == "the model has no trainable parameter"


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_a_model_of_half_precision_is_looked_at_in_single(kind, tmp_path):
    net, update = shared()
    captured = capture(net.to(kind), save(update.tensors, tmp_path / "u.pt"), SHAPE)
    assert captured.observation.model[0].weight.dtype is torch.float32
    assert net[0].weight.dtype is kind
    assert all(map(torch.equal, captured.observation.update.values, update.values))
    assert any("were converted to float32" in note for note in captured.notes)


def test_a_model_of_double_precision_is_looked_at_in_double(tmp_path):
    net, update = shared()
    captured = capture(net.double(), save(update.tensors, tmp_path / "u.pt"), SHAPE)
    assert captured.observation.update.values[0].dtype is torch.float64


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"batch_size": 0}, "--batch-size: must be at least 1"),
        ({"learning_rate": -1.0}, "--learning-rate: must be positive"),
        ({"local_steps": 2}, "requires --learning-rate"),
    ],
)
def test_settings_out_of_range(arguments, says):
    with pytest.raises(AuditError, match=says):
        Settings(**arguments)


def test_a_gradient_has_no_learning_rate(tmp_path):
    net, update = shared()
    with pytest.raises(AuditError, match="--learning-rate does not apply to a gradient"):
        capture(net, save(update.tensors, tmp_path / "u.pt"), Settings(kind=FileKind.GRADIENT, learning_rate=0.1))


def test_whole_weights_far_from_the_model_are_refused(tmp_path):
    net, _ = shared()
    far = {name: value * 3 for name, value in net.named_parameters()}
    with pytest.raises(AuditError, match="with --weights"):
        capture(net, save(far, tmp_path / "u.pt"), Settings(kind=FileKind.WEIGHTS, input_shape=(1, 8, 8)))
