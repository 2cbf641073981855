"""Reading files of tensors: every form in which people save one, every wrapping, and files that are no such thing."""

import contextlib
import io
import json
import warnings
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gradaudit.models import load_weights
from gradaudit.values.errors import AuditError
from gradaudit.values.tensor_files import TensorFile, place, plain_name, read_tensor_file

VALUES = torch.tensor([[0.0, -1.5, 0.0], [2.0, 0.0, 0.25]])
WORDS = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True).filter(lambda w: w != "module")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of torch, that compressed sparse and nested tensors are in beta
    DENSE = {
        "parameter": nn.Parameter(VALUES.clone()),
        "requires grad": VALUES.clone().requires_grad_(),
        "transposed": VALUES.T.contiguous().T,
        "coo": VALUES.to_sparse(),
        "coo half": VALUES.half().to_sparse(),
        "coo parameter": nn.Parameter(VALUES.to_sparse()),
        "coo twice": torch.sparse_coo_tensor([[0, 0, 1, 1], [1, 1, 0, 2]], [-1.0, -0.5, 2.0, 0.25], (2, 3)),
        "csr": VALUES.to_sparse_csr(),
        "csc": VALUES.to_sparse_csc(),
        "bsr": VALUES.to_sparse_bsr((1, 3)),
        "qint8": torch.quantize_per_tensor(VALUES, 0.25, 0, torch.qint8),
        "per channel": torch.quantize_per_channel(VALUES, torch.tensor([0.5, 0.25]), torch.zeros(2), 0, torch.qint8),
        "float8": VALUES.to(torch.float8_e4m3fn),
        "bfloat16": VALUES.bfloat16(),
        "half": VALUES.half(),
        "double": VALUES.double(),
        "negated view": torch.complex(VALUES, -VALUES).conj().imag,
    }
    REFUSED = {
        "complex numbers": torch.complex(VALUES, VALUES),
        "nested tensor": torch.nested.nested_tensor([VALUES, VALUES[:1]]),
        "special type NestedTensor": torch.nested.nested_tensor([VALUES, VALUES[:1]], layout=torch.jagged),
        "meta device": VALUES.to("meta"),
        "than this machine holds": torch.zeros(1).expand(10**14),
        "4,000,000 GB": torch.sparse_coo_tensor([[1]], [1.0], (10**15,)),
        "no tensor but of type int; leave it out": 3,
        "no tensor but of type str; leave it out": "text",
    }


def saved(value, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, path)
    return path


@pytest.mark.parametrize("kind", DENSE)
def test_every_tensor_comes_in_one_form(kind, tmp_path):
    """Warnings are errors, so none of torch's reaches the user."""
    value = read_tensor_file(saved({"a": DENSE[kind]}, tmp_path / "u.pt"), "update").tensors["a"]
    assert torch.equal(value.float(), VALUES)
    assert type(value) is torch.Tensor
    assert (value.layout, value.device.type, value.requires_grad) == (torch.strided, "cpu", False)
    assert value.is_contiguous()
    assert not value.is_neg()
    assert value.dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def test_the_precision_in_the_file_is_kept(tmp_path):
    file = read_tensor_file(
        saved({name: DENSE[name] for name in ("qint8", "float8", "half")}, tmp_path / "u.pt"), "update"
    )
    assert file.stored == {"qint8": "qint8", "float8": "float8_e4m3fn", "half": "float16"}
    assert file.tensors["half"].dtype is torch.float16
    assert file.tensors["float8"].dtype is torch.float32


@pytest.mark.parametrize("says", REFUSED)
def test_what_stands_for_no_dense_numbers_is_refused_by_name(says, tmp_path):
    path = saved({"good": VALUES, "fc.weight": REFUSED[says]}, tmp_path / "u.pt")
    with pytest.raises(AuditError, match=says) as caught:
        read_tensor_file(path, "update")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("update: ")
    assert "GB" in says or "machine" in says or "fc.weight" in str(caught.value)


def test_arrays_of_numpy(tmp_path):
    arrays = {"big": VALUES.numpy().astype(">f4"), "fortran": np.asfortranarray(VALUES.numpy()), "u": np.uint16([7])}
    np.savez(tmp_path / "u.npz", **arrays, scalar=np.float64(3.0))
    found = read_tensor_file(tmp_path / "u.npz", "update").tensors
    assert torch.equal(found["big"], VALUES)
    assert torch.equal(found["fortran"], VALUES)
    assert (int(found["u"]), float(found["scalar"]), found["scalar"].shape) == (7, 3.0, ())
    for bad, says in (
        (np.complex64([1j]), "complex numbers"),
        (np.array(["a"]), "no numbers of a model"),
        (np.zeros(1, np.longdouble), "no numbers of a model"),
        (np.zeros(1, [("a", "f4")]), "no numbers of a model"),
        (np.array([{}], dtype=object), "cannot read"),
    ):
        np.savez(tmp_path / "u.npz", bad=bad)
        with pytest.raises(AuditError, match=says):
            read_tensor_file(tmp_path / "u.npz", "update")


def claiming(path, shape, size, method=zipfile.ZIP_STORED):
    """An archive whose one header claims `shape` before `size` bytes of zeros."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("w.npy", stream.getvalue() + bytes(size))
    return path


def test_headers_that_claim_more_than_there_is(tmp_path, monkeypatch):
    """Refused from the header alone: reading would allocate it."""
    monkeypatch.setattr("numpy.load", lambda *_, **__: pytest.fail("the archive was read"))
    for shape in ((10**13,), (2**40, 2**40), (-5,), (5,)):
        with pytest.raises(AuditError, match="for which it is too short"):
            read_tensor_file(claiming(tmp_path / "u.npz", shape, 16), "update")
    monkeypatch.setattr("gradaudit.values.tensor_files.forms.memory_here", lambda: 10_000_000)
    bomb = claiming(tmp_path / "u.npz", (5_000_000,), 20_000_000, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(AuditError, match=r"u.npz: ValueError: claims 0 GB of tensors, more than this machine holds"):
        read_tensor_file(bomb, "update")


def test_a_compressed_archive_of_torch_is_no_bomb(tmp_path, monkeypatch):
    saved({"a": torch.zeros(5_000_000)}, tmp_path / "u.pt")
    with (
        zipfile.ZipFile(tmp_path / "u.pt") as plain,
        zipfile.ZipFile(tmp_path / "v.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for info in plain.infolist():
            packed.writestr(info.filename, plain.read(info))
    monkeypatch.setattr("gradaudit.values.tensor_files.forms.memory_here", lambda: 10_000_000)
    monkeypatch.setattr("torch.load", lambda *_, **__: pytest.fail("the archive was read"))
    with pytest.raises(AuditError, match="more than this machine holds"):
        read_tensor_file(tmp_path / "v.pt", "weights")


@given(st.binary(max_size=300), st.sampled_from(["safetensors", "pt", "pth", "npz"]), st.booleans())
def test_any_bytes_are_read_or_refused(tmp_path_factory, content, ending, archive):
    path = tmp_path_factory.mktemp("any") / f"u.{ending}"
    if archive:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("a.npy", content)
    else:
        path.write_bytes(content)
    with pytest.raises(AuditError) as caught:
        read_tensor_file(path, "update")
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    """A good file of each format, to spoil."""
    folder = tmp_path_factory.mktemp("whole")
    tensors = {"fc.weight": VALUES.clone(), "fc.bias": torch.ones(2)}
    safetensors.torch.save_file(tensors, folder / "u.safetensors")
    torch.save(tensors, folder / "u.pt")
    np.savez_compressed(folder / "u.npz", **{name: value.numpy() for name, value in tensors.items()})
    return folder


@given(
    st.sampled_from(["safetensors", "pt", "npz"]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    st.floats(0.1, 1),
)
def test_spoiled_files_are_read_or_refused(whole_files, ending, changes, kept):
    content = bytearray((whole_files / f"u.{ending}").read_bytes())
    for place_, value in changes:
        content[int(place_ * len(content))] = value
    path = whole_files / f"spoiled.{ending}"
    path.write_bytes(bytes(content[: max(1, int(kept * len(content)))]))
    found = {}
    with contextlib.suppress(AuditError):
        found = read_tensor_file(path, "update").tensors
    assert all(type(value) is torch.Tensor for value in found.values())


@pytest.mark.parametrize("what", ["weights", "update"])
@pytest.mark.parametrize(
    "wrap",
    [
        *[
            lambda s, key=key: {key: s}
            for key in ("model", "state_dict", "net", "module", "params", "delta", "gradients")
        ],
        lambda s: {"model": s, "train_conf": {"train": {"model": "Net"}}},
        lambda s: {"model": s, "optimizer": {"state": {0: {"step": torch.ones(1)}}}, "epoch": 3, "args": None},
        lambda s: {"state_dict": {f"model.{name}": value for name, value in s.items()}, "epoch": torch.tensor(3)},
        lambda s: {"update": {"model_state_dict": s}},
        lambda s: {f"net.module._orig_mod.{name}": value for name, value in s.items()},
        lambda s: {"weights": list(s.values())},
        lambda s: tuple(s.values()),
    ],
)
def test_wrappings_of_checkpoints(wrap, what, tmp_path):
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    file = read_tensor_file(saved(wrap(net.state_dict()), tmp_path / "w.pt"), what)
    found = place(net, net.state_dict(keep_vars=True), file, what, whole=True).tensors
    assert list(found) == list(net.state_dict())
    assert all(map(torch.equal, found.values(), net.state_dict().values()))


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"model": {"a": VALUES}, "gradients": {"a": VALUES}}, "holds tensors under model and gradients; save only"),
        ({"my_net": {"a": VALUES}, "epoch": 1}, "holds tensors under my_net only; save those alone"),
        (VALUES, "holds one tensor without a name"),
        ({}, "holds no tensors"),
        ([None, None], "holds no tensors"),
        ([VALUES, "x"], "the place of a missing tensor takes None"),
    ],
)
def test_wrappings_that_are_not_understood(found, says, tmp_path):
    with pytest.raises(AuditError, match=says):
        read_tensor_file(saved(found, tmp_path / "w.pt"), "weights")


def test_a_dictionary_that_holds_itself(tmp_path):
    inner = {"epoch": 3}
    inner["model"] = inner
    with pytest.raises(AuditError, match="holds no tensors"):
        read_tensor_file(saved(inner, tmp_path / "w.pt"), "weights")


def test_arrays_without_names(tmp_path):
    np.savez(tmp_path / "u.npz", *[np.full(1, float(n)) for n in range(12)])
    file = read_tensor_file(tmp_path / "u.npz", "update")
    assert [float(value) for value in file.tensors.values()] == list(range(12))
    assert not file.named
    np.savez(tmp_path / "u.npz", arr_0=np.ones(1), arr_2=np.ones(1))
    with pytest.raises(AuditError, match="number 1 is missing"):
        read_tensor_file(tmp_path / "u.npz", "update")


# Names


def placed(model, tensors, whole=False, metadata=None):
    file = TensorFile("u", tensors, isinstance(tensors, dict), {}, metadata or {})
    if not file.named:
        file = TensorFile("u", {str(n): value for n, value in enumerate(tensors)}, False)
    return place(model, model.state_dict(keep_vars=True), file, "update", whole)


@given(st.lists(WORDS, min_size=1, max_size=5), st.data())
def test_wrappers_leave_no_trace(segments, data):
    wrapped = list(segments)
    for _ in range(data.draw(st.integers(0, 4))):
        position = data.draw(st.integers(0, len(wrapped)))
        wrapped.insert(position, data.draw(st.sampled_from(["module", "_orig_mod", "_module"])))
    assert plain_name(".".join(wrapped)) == ".".join(segments)
    assert plain_name(plain_name(".".join(wrapped))) == ".".join(segments)


@given(
    st.lists(st.sampled_from(["module.", "_orig_mod.", "_module."]), max_size=3),
    st.sampled_from(["", "model.", "net."]),
    st.sampled_from(["", "module", "model"]),
)
def test_any_wrapping_of_file_or_model_fits(prefixes, word, inside):
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    names = dict(net.named_parameters())
    model = nn.ModuleDict({inside: net}) if inside else net
    prefix = "".join(prefixes) + (word if inside != "model" else "")
    found = placed(model, {prefix + name: value for name, value in names.items()}, whole=True)
    assert list(found.tensors) == [(f"{inside}." if inside else "") + name for name in names]
    assert all(map(torch.equal, found.tensors.values(), names.values()))


def test_a_word_that_not_all_names_carry_is_no_wrapper():
    net = nn.Linear(4, 3)
    with pytest.raises(AuditError, match=r"missing weight, bias; unexpected model\.weight"):
        placed(net, {"model.weight": net.weight, "model.bias": net.bias, "loss.weight": torch.ones(1)})


class Tied(nn.Module):
    def __init__(self, tied=True):
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5)
        if tied:
            self.head.weight = self.embedding.weight


def test_tied_weights_are_one_tensor(tmp_path):
    source, target = Tied(), Tied()
    safetensors.torch.save_model(source, tmp_path / "w.safetensors")
    with safetensors.safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert len(list(file.keys())) == 2
    load_weights(target, tmp_path / "w.safetensors")
    assert torch.equal(target.head.weight, source.head.weight)
    assert target.head.weight is target.embedding.weight
    untied = Tied(tied=False)  # the metadata names the tensor that was left out
    load_weights(untied, tmp_path / "w.safetensors")
    assert torch.equal(untied.head.weight, untied.embedding.weight)
    for lost in ("head.weight", "embedding.weight"):
        state = {name: value for name, value in source.state_dict().items() if name != lost}
        assert set(placed(target, state, whole=True).tensors) == set(source.state_dict())
    state = source.state_dict() | {"head.weight": torch.zeros(5, 3)}
    with pytest.raises(AuditError, match=r"two tensors for head.weight, embedding.weight and head.weight; keep one"):
        placed(target, state)


def test_whole_numbers_are_no_values_of_a_parameter():
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    state = net.state_dict()
    placed(net, state, whole=True)  # the step counter is a whole number, as it ought to be
    for kind in (torch.int8, torch.bool, torch.int64, torch.uint8):
        with pytest.raises(AuditError, match=r"u: 0.bias holds (u?int|bool)\d*, which lacks the scale"):
            placed(net, state | {"0.bias": torch.ones(2, dtype=kind)})


def test_numbers_that_the_model_cannot_hold():
    with pytest.raises(AuditError, match="1 of 2 tensors hold NaN or infinity, first weight"):
        placed(nn.Linear(2, 2), {"weight": torch.full((2, 2), 1e300, dtype=torch.float64), "bias": torch.zeros(2)})


def test_a_model_without_shapes():
    with pytest.raises(AuditError, match="model: weight has no shape before the model has seen an example"):
        placed(nn.LazyLinear(3), {"weight": torch.ones(3, 2)})


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 3_000 + "a", "a\0b"])
def test_a_name_that_no_file_can_have(name, tmp_path):
    with pytest.raises(AuditError, match=r"^update: no file at "):
        read_tensor_file(tmp_path / f"{name}.pt", "update")


def test_the_metadata_block_is_kept(tmp_path):
    safetensors.torch.save_file({"a": VALUES}, tmp_path / "w.safetensors", {"format": "pt", "note": json.dumps([1])})
    assert read_tensor_file(tmp_path / "w.safetensors", "weights").metadata == {"format": "pt", "note": "[1]"}
