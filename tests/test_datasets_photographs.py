from __future__ import annotations

import socket

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from gradaudit.data.sources import SOURCES, Photographs
from gradaudit.data.sources import photographs as module
from gradaudit.values.errors import AuditError


@pytest.fixture(scope="module")
def source():
    return Photographs().open()


def test_twelve_whole_pictures_first(source):
    whole = Photographs(crops="whole").open()
    assert len(whole) == 12
    assert torch.equal(whole.stack(range(12)), source.stack(range(12)))
    assert set(whole.picture_names) == {
        *("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "retina", "camera", "brick", "grass"),
        *("gravel", "china", "flower"),
    }


def test_pictures_are_distinct_and_have_contrast(source):
    pictures = source.stack(range(len(source)))
    assert len(source) >= 60
    assert pictures.shape[1:] == (3, 32, 32) == source.shape
    assert len(torch.unique(pictures.flatten(1), dim=0)) == len(source) == len(set(source.picture_names))
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert pictures.flatten(1).std(dim=1).min() > 0.02
    assert source.labels is None


def test_tiles_do_not_overlap(source):
    assert "china (2, 1)" in source.picture_names
    tiles = [name for name in source.picture_names if name.startswith("astronaut (")]
    assert tiles == ["astronaut (1, 1)", "astronaut (1, 2)", "astronaut (2, 1)", "astronaut (2, 2)"]
    # The four tiles of a square photograph at half its size are the photograph.
    half = [source.pictures[source.picture_names.index(name)] for name in tiles]
    joined = torch.cat([torch.cat(half[:2], dim=2), torch.cat(half[2:], dim=2)], dim=1)
    whole = Photographs(size=64, crops="whole").open().pictures[0]
    assert (joined - whole).abs().mean() < 0.02


def test_grey_photographs_have_equal_channels(source):
    camera = source.pictures[source.picture_names.index("camera")]
    assert torch.equal(camera[0], camera[1])
    assert torch.equal(camera[0], camera[2])


def test_flat_tiles_are_left_out():
    photograph = torch.zeros(3, 64, 64)
    photograph[:, :32, :32] = torch.rand(3, 32, 32)
    assert [name for name, _ in module._tiles("sky", photograph)] == ["sky (1, 1)"]


def test_attribution_names_the_licences(source):
    assert "danielbuechele" in source.attribution
    assert "creativecommons.org/licenses/by/2.0" in source.attribution
    assert "CC0" in source.attribution


def test_no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert Photographs(size=8, crops="whole").open().shape == (3, 8, 8)


@pytest.mark.parametrize("size", [7, 225, -1])
def test_sizes_have_bounds(size):
    with pytest.raises(AuditError, match="photographs: size must be from 8 to 224 pixels"):
        Photographs(size=size).open()


def test_largest_size():
    assert Photographs(size=224, crops="whole").open().shape == (3, 224, 224)


def test_unknown_crops():
    with pytest.raises(AuditError, match="crops must be all or whole"):
        Photographs(crops="some").open()


def test_missing_package(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(AuditError, match="the package skimage is not installed"):
        Photographs().open()


def test_missing_file(monkeypatch):
    monkeypatch.setattr(module, "SCIKIT_IMAGE", ("gone.png",))
    with pytest.raises(AuditError, match=r"gone.png is missing"):
        Photographs().open()


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in ("text", "table")])
def test_options_are_validated(name):
    adapter = TypeAdapter(SOURCES[name])
    given = {} if name == "photographs" else {"path": "somewhere"}
    assert adapter.validate_python(given | {"size": 64}).size == 64
    with pytest.raises(ValidationError):
        adapter.validate_python(given | {"size": "large"})
    if name not in ("photographs", "folder", "npz"):
        assert adapter.validate_python(given).split == "test"
        with pytest.raises(ValidationError):
            adapter.validate_python(given | {"split": "validation"})
