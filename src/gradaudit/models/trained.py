"""What all trained networks of attacks have in common: an architecture as data, and a network named by its file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from ..values.errors import AttackFailed
from ..values.validation import Checked
from .assets import SHIPPED, Asset, open_asset

N = TypeVar("N", bound=nn.Module)
T = TypeVar("T")


@dataclass(frozen=True)
class NetworkArchitecture(Checked, Generic[N]):
    """The architecture of a network: its sizes, as data. A subclass provides `build`."""

    def build(self) -> N:
        """Return the network, with random weights from torch's global generator."""
        raise NotImplementedError

    @property
    def settings(self) -> dict[str, Any]:
        """Name -> value of the arguments, for a file."""
        return asdict(self)


@dataclass(frozen=True)
class TrainedNetwork(Checked, Generic[N]):
    """A trained network by its name or file, so that an attack that uses it can be printed and made again.

    A subclass says what kind of asset it is and which architectures there are.

    Args:
        source: Name of an asset of this package or of the folder that GRADAUDIT_ASSETS names, or the path of a file.
    """

    kind: ClassVar[str]
    architectures: ClassVar[Mapping[str, Any]]
    source: str

    def asset(self) -> Asset:
        """Return the contents of the file. Raise `AttackFailed` if there is none, or it is of another kind."""
        return open_asset(self.source, self.kind)

    @property
    def label(self) -> str:
        """The name of the file without its folder, for messages that a page may show."""
        return Path(self.source).name

    def by_content(self) -> Self:
        """Return the network with the name and the SHA-256 of its file as its source; one of this package unchanged."""
        if self.source in {path.stem for path in SHIPPED.glob("*.safetensors")}:
            return self
        try:
            digest = self.asset().digest
        except AttackFailed:
            return replace(self, source=f"{self.label}, missing")
        return replace(self, source=f"{self.label}, SHA-256 {digest}")

    def open(self) -> tuple[N, Asset]:
        """Return the network in evaluation mode without gradients, on the CPU, and the file it came from.

        Raises:
            AttackFailed: There is no such file, or it does not contain such a network.
        """
        asset = self.asset()
        _require_numbers(asset)
        architecture = self.architecture(asset)
        with torch.device("meta"):  # the sizes that a file states may be beyond this machine
            given = _fitting(architecture.build().state_dict(), asset, self.kind)
        network = architecture.build()
        network.load_state_dict({name: given[name].to(own) for name, own in network.state_dict().items()})
        return network.eval().requires_grad_(False), asset

    def architecture(self, asset: Asset) -> Any:
        """Return the architecture of a file. Raise `AttackFailed` if the file does not say a known one."""
        if not asset.architecture:
            return self.inferred(asset)
        kind = self.architectures.get(asset.architecture)
        if kind is None:
            known = ", ".join(self.architectures)
            raise AttackFailed(f"{asset.source}: unknown {self.kind} {asset.architecture!r}; known: {known}.")
        try:
            return kind(**asset.settings)
        except TypeError as error:
            raise AttackFailed(
                f"{asset.source}: its description does not fit {asset.architecture}: {error}."
            ) from error

    def inferred(self, asset: Asset) -> NetworkArchitecture[N]:
        """Return the architecture of a file without a description. Raise `AttackFailed` if its shapes do not say it."""
        raise AttackFailed(
            f"{asset.source} does not say which {self.kind} it is. Make one with `gradaudit train {self.kind}`."
        )


def by_content(value: T) -> T:
    """Return an attack, or any part of one, whose trained networks are named by the contents of their files.

    Its `repr` is the same wherever the files lie, and another one if a file has changed.
    """
    own = getattr(type(value), "by_content", None)  # of the type, because some wrappers pass on what they lack
    if own is not None:
        return own(value)  # type: ignore[no-any-return]
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        entries = tuple(map(by_content, value))
        same = all(new is old for new, old in zip(entries, value, strict=True))
        return value if same else entries  # type: ignore[return-value]
    if not is_dataclass(value) or isinstance(value, type):
        return value
    new = {field.name: by_content(getattr(value, field.name)) for field in fields(value) if field.init}
    changed = {name: one for name, one in new.items() if one is not getattr(value, name)}
    return replace(value, **changed) if changed else value


def networks_of(value: Any) -> Iterator[TrainedNetwork[Any]]:
    """Yield every trained network in an attack, in its stages, its priors and the attacks that it wraps."""
    return (entry for entry in entries_of(value) if isinstance(entry, TrainedNetwork))


def entries_of(value: Any) -> Iterator[Any]:
    """Yield a value and all that its fields and tuples hold, down to the trained networks."""
    yield value
    if isinstance(value, tuple):
        for entry in value:
            yield from entries_of(entry)
    elif is_dataclass(value) and not isinstance(value, (type, TrainedNetwork)):
        for field in fields(value):
            yield from entries_of(getattr(value, field.name))


def _require_numbers(asset: Asset) -> None:
    """Raise `AttackFailed` if a tensor of a file is not finite, so that every result would be."""
    for name, tensor in asset.state.items():
        if not tensor.isfinite().all():
            raise AttackFailed(f"{asset.source}: {name} holds values that are NaN or infinite. Train it again.")


def _fitting(own: Mapping[str, Tensor], asset: Asset, kind: str) -> Mapping[str, Tensor]:
    """Return the tensors of a file under a network's own names: by name or, from a file of other names, by position."""
    given: Mapping[str, Tensor] = asset.state
    if not set(own) <= set(given):
        given = dict(zip(own, given.values(), strict=False))
    wrong = next((name for name in own if name not in given or given[name].shape != own[name].shape), None)
    if wrong or len(asset.state) != len(own):
        raise AttackFailed(f"{asset.source}: its tensors do not fit the {kind} (at {wrong or 'its last tensor'}).")
    integers = next((name for name in own if given[name].is_floating_point() < own[name].is_floating_point()), None)
    if integers:
        raise AttackFailed(f"{asset.source}: {integers} holds integers. Save the weights as floating-point numbers.")
    return given
