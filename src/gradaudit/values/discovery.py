"""Registries: what a room holds, found by scanning its modules and the entry points of other packages."""

from __future__ import annotations

import inspect
import pkgutil
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar

from .errors import AuditWarning

T = TypeVar("T")


@dataclass(frozen=True)
class _Member(Generic[T]):
    """A value, and the module that offers it."""

    value: T
    home: ModuleType


class Registry(Mapping[str, T], Generic[T]):
    """The members of one room by their names, in order; the room is scanned on first use.

    Every module of the package whose name does not begin with an underscore is imported. Another package offers a
    member of its own through an entry point of the group.

    In Python a member is an attribute of its room: a class under its own name, any other value under its name in
    capitals (`inverting-gradients` is `INVERTING_GRADIENTS`).

    Args:
        package: The room, as `__name__` of its `__init__`.
        group: Group of the entry points, such as `gradaudit.attacks`.
        name_of: Name of a value that belongs into the room, `None` for any other value.
        within: The values that a module offers; by default its public classes.
        order: Sorts the members before their names do; by default the names alone sort them.

    Raises:
        ValueError: On first use, where two members of the room have one name.
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
        self._busy = False

    @cached_property
    def _own(self) -> dict[str, _Member[T]]:
        """The members of the room itself."""
        found: dict[str, _Member[T]] = {}
        self._busy = True
        try:
            for module in modules_of(self.package):
                for value in self.within(module):
                    name = self.name_of(value)
                    if name is not None and found.setdefault(name, _Member(value, module)).value is not value:
                        raise ValueError(f"{module.__name__}: the name {name} stands twice in {self.package}")
        finally:
            self._busy = False
        return found

    @cached_property
    def _members(self) -> dict[str, _Member[T]]:
        found = dict(self._own)
        self._busy = True
        try:
            for point in entry_points(group=self.group):
                self._add(point, found)
        finally:
            self._busy = False
        return dict(sorted(found.items(), key=lambda pair: (self.order(pair[1].value), pair[0])))

    def _add(self, point: EntryPoint, found: dict[str, _Member[T]]) -> None:
        """Take up what an entry point offers; a warning says why where that cannot be."""
        try:
            value = point.load()
            name = self.name_of(value)
            reason = "is of another kind" if name is None else "has a name that is taken" if name in found else ""
        except Exception as error:  # whatever the code of another package does
            reason = f"cannot be loaded: {type(error).__name__}: {error}"
        if reason:
            warnings.warn(f"{self.group}: {point.name} ({point.value}) {reason}.", AuditWarning, stacklevel=2)
        else:
            found[str(name)] = _Member(value, import_module(point.module))

    def only(self, belongs: Callable[[T], bool]) -> Registry[T]:
        """Return the registry of those members for which `belongs` is true."""
        return _Chosen(self, belongs)

    def home(self, name: str) -> ModuleType:
        """Return the module that offers a member: its docstring says what the member is.

        Raises:
            KeyError: No member has that name.
        """
        return self._members[name].home

    def __getitem__(self, name: str) -> T:
        return self._members[name].value

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
            for members in self._searched():
                for member, found in members.items():
                    if python_name(member, found.value) == name:
                        return found.value
        hint = f" while it is scanned: import {name} from its own module" if self._busy else ""
        raise AttributeError(f"module {self.package!r} has no attribute {name!r}{hint}")

    def _searched(self) -> Iterator[dict[str, _Member[T]]]:
        """The room's own members, then all; a module that a scan imports may ask as well, for what is there by then."""
        if not self._busy or "_own" in vars(self):
            yield self._own
        if not self._busy:
            yield self._members

    def attributes(self) -> list[str]:
        """Every name that the room has in Python, sorted: what its `__dir__` returns."""
        return sorted({*vars(import_module(self.package)), *(python_name(name, self[name]) for name in self)})


class _Chosen(Registry[T]):
    """Some members of another registry."""

    def __init__(self, whole: Registry[T], belongs: Callable[[T], bool]) -> None:
        super().__init__(whole.package, whole.group, whole.name_of, whole.within)
        self.whole, self.belongs = whole, belongs

    @cached_property
    def _own(self) -> dict[str, _Member[T]]:
        return self._among(self.whole._own)

    @cached_property
    def _members(self) -> dict[str, _Member[T]]:
        return self._among(self.whole._members)

    def _among(self, members: dict[str, _Member[T]]) -> dict[str, _Member[T]]:
        return {name: member for name, member in members.items() if self.belongs(member.value)}


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


def values_called(*names: str) -> Callable[[ModuleType], Iterator[Any]]:
    """Return what `Registry` takes as `within`: the values of a module under these names, each of a tuple by itself."""

    def within(module: ModuleType) -> Iterator[Any]:
        for name in names:
            offered = vars(module).get(name, ())
            yield from offered if isinstance(offered, tuple) else (offered,)

    return within


def values_of(kind: type) -> Callable[[ModuleType], Iterator[Any]]:
    """Return a rule for `within`: the values of type `kind` that a module binds to public names."""

    def within(module: ModuleType) -> Iterator[Any]:
        return (value for name, value in vars(module).items() if isinstance(value, kind) and not name.startswith("_"))

    return within


def python_name(name: str, value: Any) -> str:
    """Return what a member is called in Python: a class by its own name, any other value by its name in capitals."""
    return value.__name__ if inspect.isclass(value) else re.sub(r"\W", "_", name).upper()


def _alike(value: Any) -> int:
    """One number for every member, so that their names alone sort them."""
    return 0


def kebab(name: str) -> str:
    """Return the name of a class in lower case with hyphens: `TotalVariation` becomes `total-variation`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def subclasses_of(kind: type) -> Callable[[Any], str | None]:
    """Return a rule for `Registry`: concrete subclasses of `kind`, by the name of the class in lower case with hyphens.

    One that is listed under another name says so in a class variable `name`, which its own subclasses do not inherit.
    """

    def name_of(value: Any) -> str | None:
        if not inspect.isclass(value) or not issubclass(value, kind) or value is kind or inspect.isabstract(value):
            return None
        a_field = is_dataclass(value) and any(field.name == "name" for field in fields(value))
        own = None if a_field else vars(value).get("name")
        return own if isinstance(own, str) and own else kebab(value.__name__)

    return name_of


def example_of(kind: type[T]) -> T:
    """Return a value of a class by its defaults, or with the arguments in its `example` where it cannot do without.

    Raises:
        TypeError: It needs arguments and says no example.
    """
    try:
        return kind(*getattr(kind, "example", ()))
    except TypeError as error:
        raise TypeError(
            f"{kind.__name__} needs arguments: say some in the class, such as `example: ClassVar[tuple[Any, ...]] = "
            f"(0.1,)` ({error})."
        ) from error
