"""Registries: what a room holds, found by scanning its modules and the entry points of other packages."""

from __future__ import annotations

import inspect
import pkgutil
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar

from .errors import AuditWarning

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """The members of one room by their names, in order; the room is scanned on first use.

    Every module of the package whose name does not begin with an underscore is imported. Another package offers a
    member of its own through an entry point of the group.

    Args:
        package: The room, as `__name__` of its `__init__`.
        group: Group of the entry points, such as `gradaudit.attacks`.
        name_of: Name of a value that belongs into the room, `None` for any other value.
        within: The values that a module offers; by default its public classes.
        order: Sorts the members before their names do; by default the names alone sort them.
    """

    def __init__(
        self,
        package: str,
        group: str,
        name_of: Callable[[Any], str | None],
        within: Callable[[ModuleType], Iterable[Any]] | None = None,
        order: Callable[[T], Any] | None = None,
    ) -> None:
        self.package, self.group, self.name_of = package, group, name_of
        self.within, self.order = within or public_classes, order or _alike

    @cached_property
    def _members(self) -> dict[str, T]:
        found: dict[str, T] = {}
        for module in modules_of(self.package):
            for value in self.within(module):
                name = self.name_of(value)
                if name is not None and found.setdefault(name, value) is not value:
                    raise ValueError(f"{module.__name__}: the name {name} stands twice in {self.package}")
        for point in entry_points(group=self.group):
            self._add(point.name, point.value, found, point.load)
        return dict(sorted(found.items(), key=lambda pair: (self.order(pair[1]), pair[0])))

    def _add(self, name: str, origin: str, found: dict[str, T], load: Callable[[], Any]) -> None:
        """Take up what an entry point offers; a warning says why where that cannot be."""
        try:
            value = load()
            given = self.name_of(value)
            reason = "is of another kind" if given is None else "has a name that is taken" if given in found else ""
        except Exception as error:  # whatever the code of another package does
            reason = f"cannot be loaded: {type(error).__name__}: {error}"
        if reason:
            warnings.warn(f"{self.group}: {name} ({origin}) {reason}.", AuditWarning, stacklevel=2)
        else:
            found[str(given)] = value

    def __getitem__(self, name: str) -> T:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.package!r}, {list(self)})"

    def attribute(self, name: str) -> Any:
        """The member whose Python name is `name`: what a room's `__getattr__` returns.

        Raises:
            AttributeError: No member has that name.
        """
        if not name.startswith("_"):
            for value in self._members.values():
                if getattr(value, "__name__", None) == name:
                    return value
        raise AttributeError(f"module {self.package!r} has no attribute {name!r}")


def modules_of(package: str) -> Iterator[ModuleType]:
    """Import and yield the modules of a package whose names do not begin with an underscore, in alphabetical order."""
    for found in sorted(pkgutil.iter_modules(import_module(package).__path__), key=lambda one: one.name):
        if not found.name.startswith("_"):
            yield import_module(f"{package}.{found.name}")


def public_classes(module: ModuleType) -> Iterator[type]:
    """Yield the classes that a module defines, those with a leading underscore left out."""
    for name, value in vars(module).items():
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_"):
            yield value


def values_of(kind: type) -> Callable[[ModuleType], Iterator[Any]]:
    """Return a rule for `within`: the values of type `kind` that a module binds to public names."""

    def within(module: ModuleType) -> Iterator[Any]:
        return (value for name, value in vars(module).items() if isinstance(value, kind) and not name.startswith("_"))

    return within


def _alike(value: Any) -> int:
    """One number for every member, so that their names alone sort them."""
    return 0


def kebab(name: str) -> str:
    """Return the name of a class in lower case with hyphens: `TotalVariation` becomes `total-variation`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def subclasses_of(kind: type) -> Callable[[Any], str | None]:
    """Return a rule for `Registry`: concrete subclasses of `kind`, under their own `name` or that of the class."""

    def name_of(value: Any) -> str | None:
        if not inspect.isclass(value) or not issubclass(value, kind) or value is kind or inspect.isabstract(value):
            return None
        own = getattr(value, "name", None)
        return own if isinstance(own, str) and own else kebab(value.__name__)

    return name_of
