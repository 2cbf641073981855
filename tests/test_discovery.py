"""Registries: rooms are scanned, other packages' entry points are taken up, and what is wrong is said."""

import importlib
import sys
from importlib.metadata import EntryPoint

import pytest

from gradaudit.values import discovery
from gradaudit.values.discovery import Registry, example_of, kebab, subclasses_of, values_called
from gradaudit.values.errors import AuditWarning


class Animal:
    """What the rooms of these tests hold."""


class Stray(Animal):
    """Of another package."""

    def __init__(self, given=None):
        self.given = given


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


def test_values_under_chosen_names(room, tmp_path, monkeypatch):
    """What a module merely imports is not taken up, nor a value under another name."""
    text = (
        f"from {__name__} import Stray\nMAIN = Stray('first-one')\nOTHERS = (Stray('2nd'), 3)\nHELPER = Stray('no')\n"
    )
    (tmp_path / "ga_room" / "values.py").write_text(text)
    registry = Registry(room, "ga.animals", lambda v: getattr(v, "given", None), values_called("MAIN", "OTHERS"))
    assert list(registry) == ["2nd", "first-one"]
    assert registry.attribute("FIRST_ONE") is registry["first-one"]
    assert registry.home("2nd").__name__ == "ga_room.values"
    assert "FIRST_ONE" in registry.attributes()
    with pytest.raises(AttributeError, match="no attribute 'HELPER'"):
        registry.attribute("HELPER")
    chosen = registry.only(lambda value: value.given == "2nd")
    assert list(chosen) == ["2nd"]
    assert chosen.home("2nd") is registry.home("2nd")


def test_modules_of_a_room_may_import_one_another_through_it(room, tmp_path):
    """While the room is scanned, its `__getattr__` must not answer with half of it."""
    folder = tmp_path / "ga_room"
    folder.joinpath("__init__.py").write_text(
        f"from gradaudit.values.discovery import Registry, subclasses_of\nfrom {__name__} import Animal\n"
        "ROOM = Registry(__name__, 'ga.animals', subclasses_of(Animal))\n__getattr__ = ROOM.attribute\n"
    )
    folder.joinpath("aunt.py").write_text("from . import tame\nclass Aunt(tame.HouseCat): name = 'aunt'\n")
    registry = importlib.import_module(room).ROOM
    assert list(registry) == ["aunt", "hound", "house-cat"]
    assert registry["aunt"].__mro__[1] is registry["house-cat"]


@pytest.mark.parametrize("first", ["room", "package"])
def test_another_package_may_build_on_members_of_the_room(room, tmp_path, monkeypatch, first):
    """Whichever is imported first: the package must not be looked for while it asks the room for a member."""
    (tmp_path / "ga_room" / "__init__.py").write_text(
        f"from gradaudit.values.discovery import Registry, subclasses_of\nfrom {__name__} import Animal\n"
        "ROOM = Registry(__name__, 'ga.animals', subclasses_of(Animal))\n__getattr__ = ROOM.attribute\n"
    )
    (tmp_path / "ga_room_plugin.py").write_text("from ga_room import HouseCat\nclass Tiger(HouseCat): pass\n")
    points(monkeypatch, "ga_room_plugin:Tiger")
    if first == "package":
        importlib.import_module("ga_room_plugin")
    assert list(importlib.import_module(room).ROOM) == ["hound", "house-cat", "tiger"]


def test_a_module_cannot_ask_for_members_while_its_room_is_scanned(room, tmp_path):
    (tmp_path / "ga_room" / "__init__.py").write_text(
        f"from gradaudit.values.discovery import Registry, subclasses_of\nfrom {__name__} import Animal\n"
        "ROOM = Registry(__name__, 'ga.animals', subclasses_of(Animal))\n__getattr__ = ROOM.attribute\n"
    )
    (tmp_path / "ga_room" / "late.py").write_text("from ga_room import ROOM\nROOM.attribute('HouseCat')\n")
    with pytest.raises(AttributeError, match="while it is scanned: import HouseCat from its own module"):
        list(importlib.import_module(room).ROOM)


def test_a_name_of_its_own_is_not_inherited_and_a_field_is_none(room, tmp_path):
    (tmp_path / "ga_room" / "kin.py").write_text(
        "from dataclasses import dataclass\nfrom .a_dog import Dog\nclass GrandPup(Dog): pass\n"
        "@dataclass\nclass Named(Dog):\n    name: str = 'pos'\n"
    )
    assert {"grand-pup", "named"} < set(Registry(room, "ga.animals", subclasses_of(Animal)))


def test_the_home_of_an_entry_point_is_its_module(room, monkeypatch):
    points(monkeypatch, f"{__name__}:Stray")
    assert Registry(room, "ga.animals", subclasses_of(Animal)).home("stray").__name__ == __name__


def test_an_example_is_made_of_defaults_or_of_what_the_class_says():
    class Two(Animal):
        example = (1, 2)

        def __init__(self, a, b):
            self.both = a, b

    assert example_of(Two).both == (1, 2)
    assert isinstance(example_of(Animal), Animal)
    del Two.example
    with pytest.raises(TypeError, match="Two needs arguments: give some in the class"):
        example_of(Two)


def test_a_name_that_stands_twice_is_an_error(room, tmp_path):
    (tmp_path / "ga_room" / "twin.py").write_text(f"from {__name__} import Animal\nclass HouseCat(Animal): pass\n")
    with pytest.raises(ValueError, match="house-cat occurs twice"):
        list(Registry(room, "ga.animals", subclasses_of(Animal)))


@pytest.mark.parametrize(
    ("name", "listed"), [("TotalVariation", "total-variation"), ("L2", "l2"), ("IDLG", "idlg"), ("LLGPlus", "llg-plus")]
)
def test_kebab(name, listed):
    assert kebab(name) == listed
