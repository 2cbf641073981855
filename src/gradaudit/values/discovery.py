"""Registries: the members of a package, found by scanning its modules and the entry points of other packages."""

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
    """A registered value, and the module that provides it."""

    value: T
    home: ModuleType


class Registry(Mapping[str, T], Generic[T]):
    """A mapping from names to the members of one package, sorted; the package is scanned on first use.

    The scan imports every module of the package whose name does not begin with an underscore. Another package adds a
    member through an entry point of the group.

    In Python a member is an attribute of its package: a class under its own name, any other value under its name in
    capitals (`inverting-gradients` is `INVERTING_GRADIENTS`).

    Args:
        package: The package, as `__name__` of its `__init__`.
        group: Group of the entry points, such as `gradaudit.attacks`.
        name_of: Returns the name of a value that is a member, and `None` for any other value.
        within: Returns the candidate values of a module; by default its public classes.
        order: Sort key of the members; members of equal keys are sorted by name, as all are by default.

    Raises:
        ValueError: On first use, if two members of the package have the same name.
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
        """The members of the package itself, without those of other packages."""
        found: dict[str, _Member[T]] = {}
        self._busy = True
        try:
            for module in modules_of(self.package):
                for value in self.within(module):
                    name = self.name_of(value)
                    if name is not None and found.setdefault(name, _Member(value, module)).value is not value:
                        raise ValueError(f"{module.__name__}: the name {name} occurs twice in {self.package}")
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
        """Add the member of an entry point, or warn with the reason if it cannot be added."""
        try:
            value = point.load()
            name = self.name_of(value)
            reason = "is of another kind" if name is None else "has a name that is taken" if name in found else ""
        except Exception as error:  # the code of another package may raise anything
            reason = f"cannot be loaded: {type(error).__name__}: {error}"
        if reason:
            warnings.warn(f"{self.group}: {point.name} ({point.value}) {reason}.", AuditWarning, stacklevel=2)
        else:
            found[str(name)] = _Member(value, import_module(point.module))

    def only(self, belongs: Callable[[T], bool]) -> Registry[T]:
        """Return a registry of the members for which `belongs` is true."""
        return _Chosen(self, belongs)

    def home(self, name: str) -> ModuleType:
        """Return the module that provides a member; its docstring describes the member.

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
        """Return the member whose Python name is `name`; a package uses this as its `__getattr__`.

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
        """Yield the package's own members, then all; during a scan, only those that are known by then."""
        if not self._busy or "_own" in vars(self):
            yield self._own
        if not self._busy:
            yield self._members

    def attributes(self) -> list[str]:
        """Return every Python name of the package, sorted; a package uses this as its `__dir__`."""
        return sorted({*vars(import_module(self.package)), *(python_name(name, self[name]) for name in self)})


class _Chosen(Registry[T]):
    """A registry of some members of another registry."""

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
    """Yield the classes that a module defines, without those whose names begin with an underscore."""
    for name, value in vars(module).items():
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_"):
            yield value


def values_called(*names: str) -> Callable[[ModuleType], Iterator[Any]]:
    """Return a rule for `within`: the values that a module binds to these names, with tuples expanded."""

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
    """Return the Python name of a member: a class has its own name, any other value its name in capitals."""
    return value.__name__ if inspect.isclass(value) else re.sub(r"\W", "_", name).upper()


def _alike(value: Any) -> int:
    """Return the same sort key for every member, so that only their names sort them."""
    return 0


def kebab(name: str) -> str:
    """Return the name of a class in lower case with hyphens: `TotalVariation` becomes `total-variation`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def subclasses_of(kind: type) -> Callable[[Any], str | None]:
    """Return a rule for `name_of`: concrete subclasses of `kind`, named as the class in lower case with hyphens.

    A class variable `name` gives a class another name, which its subclasses do not inherit.
    """

    def name_of(value: Any) -> str | None:
        if not inspect.isclass(value) or not issubclass(value, kind) or value is kind or inspect.isabstract(value):
            return None
        a_field = is_dataclass(value) and any(field.name == "name" for field in fields(value))
        own = None if a_field else vars(value).get("name")
        return own if isinstance(own, str) and own else kebab(value.__name__)

    return name_of


def example_of(kind: type[T]) -> T:
    """Return a value of a class from its defaults, or from the arguments in its `example` if it needs some.

    Raises:
        TypeError: The class needs arguments and has no example.
    """
    try:
        return kind(*getattr(kind, "example", ()))
    except TypeError as error:
        raise TypeError(
            f"{kind.__name__} needs arguments: give some in the class, such as `example: ClassVar[tuple[Any, ...]] = "
            f"(0.1,)` ({error})."
        ) from error
