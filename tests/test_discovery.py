"""Registries: rooms are scanned, other packages' entry points are taken up, and what is wrong is said."""

import sys
from importlib.metadata import EntryPoint

import pytest

from gradaudit.values import discovery
from gradaudit.values.discovery import Registry, kebab, subclasses_of
from gradaudit.values.errors import AuditWarning


class Animal:
    """What the rooms of these tests hold."""


class Stray(Animal):
    """Of another package."""


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A package of two public modules and a private one."""
    folder = tmp_path / "ga_room"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    for name, classes in (
        ("tame", "class HouseCat(Animal): pass\nclass _Kitten(Animal): pass\n"),
        ("a_dog", "class Dog(Animal):\n    name = 'hound'\nclass Stone: pass\n"),
        ("_wolf", "class Wolf(Animal): pass\n"),
    ):
        (folder / f"{name}.py").write_text(f"from {__name__} import Animal\n{classes}")
    monkeypatch.syspath_prepend(tmp_path)
    yield "ga_room"
    for name in [name for name in sys.modules if name.startswith("ga_room")]:
        del sys.modules[name]


def points(monkeypatch, *values):
    monkeypatch.setattr(
        discovery, "entry_points", lambda group: [EntryPoint(f"n{i}", value, group) for i, value in enumerate(values)]
    )


def test_a_room_is_scanned(room):
    registry = Registry(room, "ga.animals", subclasses_of(Animal))
    assert list(registry) == ["hound", "house-cat"]
    assert registry["hound"].__name__ == "Dog"
    assert registry.attribute("HouseCat") is registry["house-cat"]
    for name in ("Wolf", "_Kitten", "Stone", "__path__"):
        with pytest.raises(AttributeError, match="has no attribute"):
            registry.attribute(name)
    assert "wolf" not in registry
    assert "ga_room._wolf" not in sys.modules


def test_a_room_is_scanned_on_first_use_alone(room):
    registry = Registry(room, "ga.animals", subclasses_of(Animal))
    assert "ga_room" not in sys.modules
    assert len(registry) == 2
    assert "ga_room.tame" in sys.modules


def test_entry_points_are_taken_up(room, monkeypatch):
    points(monkeypatch, f"{__name__}:Stray")
    assert list(Registry(room, "ga.animals", subclasses_of(Animal))) == ["hound", "house-cat", "stray"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("ga_nowhere:Thing", "cannot be loaded: ModuleNotFoundError"),
        (f"{__name__}:points", "is of another kind"),
        ("ga_room.a_dog:Dog", "has a name that is taken"),
    ],
)
def test_an_entry_point_that_does_not_fit_is_left_out_with_a_warning(room, monkeypatch, value, reason):
    points(monkeypatch, value)
    registry = Registry(room, "ga.animals", subclasses_of(Animal))
    with pytest.warns(AuditWarning, match=reason):
        assert list(registry) == ["hound", "house-cat"]


def test_a_name_that_stands_twice_is_an_error(room, tmp_path):
    (tmp_path / "ga_room" / "twin.py").write_text(f"from {__name__} import Animal\nclass HouseCat(Animal): pass\n")
    with pytest.raises(ValueError, match="house-cat stands twice"):
        list(Registry(room, "ga.animals", subclasses_of(Animal)))


@pytest.mark.parametrize(
    ("name", "listed"), [("TotalVariation", "total-variation"), ("L2", "l2"), ("IDLG", "idlg"), ("LLGPlus", "llg-plus")]
)
def test_kebab(name, listed):
    assert kebab(name) == listed
