from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gradaudit.models import build, load_weights, pretrained_state
from gradaudit.values.errors import AuditError


def network(seed, width=4):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width, 2))


def equal(one, other):
    other = other.state_dict()
    return all(torch.equal(value, other[name]) for name, value in one.state_dict().items())


def save(values, path):
    if path.suffix == ".safetensors":
        save_file(values, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in values.items()})
    else:
        torch.save(values, path)


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth", "npz", "NPZ"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_module.", "module._orig_mod."])
def test_every_format(tmp_path, suffix, prefix):
    source, target = network(0), network(1)
    path = tmp_path / f"w.{suffix.lower()}"
    save({prefix + name: value for name, value in source.state_dict().items()}, path)
    path = path.rename(tmp_path / f"v.{suffix}")
    load_weights(target, path)
    assert equal(source, target)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict"])
def test_nested(tmp_path, key):
    source, target = network(0), network(1)
    save({key: source.state_dict(), "epoch": 3}, tmp_path / "w.pt")
    load_weights(target, tmp_path / "w.pt")
    assert equal(source, target)


def test_a_model_with_a_part_called_module(tmp_path):
    source, target = nn.ModuleDict({"module": network(0)}), nn.ModuleDict({"module": network(1)})
    save(source.state_dict(), tmp_path / "w.pt")
    load_weights(target, tmp_path / "w.pt")
    assert equal(source, target)


def test_counters_may_be_missing(tmp_path):
    source, target = network(0), network(1)
    save({k: v for k, v in source.state_dict().items() if "num_batches" not in k}, tmp_path / "w.npz")
    load_weights(target, tmp_path / "w.npz")
    assert equal(source, target)


def altered(**changes):
    values = network(0).state_dict() | {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in values.items() if value is not None}


BAD = {
    r"w.pt does not fit the model: missing 3.bias\.$": altered(**{"3__bias": None}),
    r"unexpected extra\.$": altered(extra=torch.zeros(2)),
    r"other shapes: 3.weight is \[5, 4\] there but \[2, 4\] in the model\.$": altered(
        **{"3__weight": torch.zeros(5, 4)}
    ),
    r"missing 0.weight, 0.bias, 1.weight, 1.bias, 1.running_mean and 3 more; unexpected a\.$": {"a": torch.zeros(1)},
    "epoch in w.pt is no tensor but of type int; leave it out": altered(epoch=3),
    "holds no tensors; save a dictionary": {},
    "holds one tensor without a name": torch.zeros(3),
    "1 of 9 tensors hold NaN or infinity, first 3.bias": altered(**{"3__bias": torch.full((2,), torch.nan)}),
    r"does not fit the model: missing 3.weight\.$": network(0).state_dict() | {"3.weight": None},
}


@pytest.mark.parametrize("message", list(BAD))
def test_weights_that_do_not_fit(tmp_path, message):
    torch.save(BAD[message], tmp_path / "w.pt")
    model = network(1)
    before = copy.deepcopy(model)
    with pytest.raises(AuditError, match=message) as caught:
        load_weights(model, tmp_path / "w.pt")
    assert "\n" not in str(caught.value)
    assert equal(model, before)


def test_missing_file(tmp_path):
    with pytest.raises(AuditError, match=r"weights: no file at .*gone.pt\.$"):
        load_weights(network(0), tmp_path / "gone.pt")


@pytest.mark.parametrize("name", ["w.bin", "w"])
def test_unknown_ending(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(AuditError, match=rf"{name} has an unknown format; give one of .safetensors, .pt, .pth, .npz"):
        load_weights(network(0), tmp_path / name)


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("code of the file was run",))


@pytest.mark.parametrize("suffix", ["pt", "pth"])
def test_pickles_are_refused(tmp_path, suffix):
    whole, bare = tmp_path / f"whole.{suffix}", tmp_path / f"bare.{suffix}"
    torch.save({"state_dict": network(0).state_dict(), "hook": Harmful()}, whole)
    bare.write_bytes(pickle.dumps(Harmful()))
    for path in (whole, bare):
        with pytest.raises(AuditError, match=r"pickled objects, which could run code when read; save model.state_dict"):
            load_weights(network(1), path)


def test_objects_in_numpy_archives_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.array([Harmful()], dtype=object))
    with pytest.raises(AuditError, match=r"cannot read w.npz: ValueError"):
        load_weights(network(1), tmp_path / "w.npz")


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth", "npz"])
@pytest.mark.parametrize("content", [b"", b"some text that is no weights", b"PK\x03\x04 not really an archive"])
def test_damaged_files(tmp_path, suffix, content):
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(content)
    with pytest.raises(AuditError, match=rf"weights: .*w.{suffix}") as caught:
        load_weights(network(1), path)
    assert "\n" not in str(caught.value)


def test_pretrained_weights_that_cannot_be_fetched_say_where_to_put_them(monkeypatch):
    def offline(*_, **__):
        raise OSError("<urlopen error no network>")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(AuditError, match=r"cannot be fetched .* Put resnet34-.*\.pth into .*checkpoints"):
        pretrained_state("resnet34")
    with pytest.raises(AuditError, match="no pretrained weights"):
        pretrained_state("lenet")


def test_pretrained_weights_from_the_cache_are_loaded(monkeypatch):
    state = build("resnet18", num_classes=1000, channels=3, size=32).state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: state)
    assert pretrained_state("resnet18").keys() == state.keys()
