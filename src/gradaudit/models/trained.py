"""What all trained networks of attacks have in common: an architecture as data, and a network named by its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

from ..values.errors import AttackFailed
from ..values.validation import Checked
from .assets import Asset, open_asset

N = TypeVar("N", bound=nn.Module)


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

    def open(self) -> tuple[N, Asset]:
        """Return the network in evaluation mode without gradients, on the CPU, and the file it came from.

        Raises:
            AttackFailed: There is no such file, or it does not contain such a network.
        """
        asset = self.asset()
        network = self.architecture(asset).build()
        _load(network, asset, self.kind)
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


def _load(network: nn.Module, asset: Asset, kind: str) -> None:
    """Load the tensors by name or, from a file of other names, by position."""
    own = network.state_dict()
    given: Mapping[str, Tensor] = asset.state
    if not set(own) <= set(given):
        given = dict(zip(own, given.values(), strict=False))
    wrong = next((name for name in own if name not in given or given[name].shape != own[name].shape), None)
    if wrong or len(asset.state) != len(own):
        raise AttackFailed(f"{asset.source}: its tensors do not fit the {kind} (at {wrong or 'its last tensor'}).")
    network.load_state_dict({name: given[name].to(own[name]) for name in own})
