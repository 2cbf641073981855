"""Reference clients: how the leak of an audited client compares with those of known clients, under the same battery.

The measurements come with the package (`calibration.json`); `python -m benchmarks.calibration` makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ..audit.battery import BATTERIES, Fit
from ..values.finding import Finding
from ..values.records import checked, parsed
from ..values.types import Modality
from . import formatting
from .cases import Leak, worst_per_picture

FILE = "calibration.json"


@dataclass(frozen=True)
class ReferenceClient:
    """One measured client.

    Args:
        name: Model, batch size and defense in words.
        gain: Mean over its images of the gain over the control in dB, each by the closest reconstruction.
    """

    name: str
    gain: float


@dataclass(frozen=True)
class Calibration:
    """The measurements of reference clients with one battery.

    Args:
        battery: Name of the battery.
        fingerprint: Hash of the battery's attacks.
        date: Day of the measurement.
        version: Version of gradaudit that measured.
        examples: What the clients trained on, in words.
        knowledge: Names of the facts that the adversary was granted.
        clients: The clients.
    """

    battery: str
    fingerprint: str
    date: str
    version: str
    examples: str
    knowledge: tuple[str, ...]
    clients: tuple[ReferenceClient, ...]

    @property
    def listing(self) -> str:
        """All clients with their gains, the largest first."""
        ordered = sorted(self.clients, key=lambda client: -client.gain)
        told = "; ".join(f"{client.name}: {formatting.decibels(client.gain, signed=True)}" for client in ordered)
        return (
            f"Reference clients, measured with {self.battery} on {self.date} (gradaudit {self.version}, "
            f"{self.examples}), by the mean gain over the control: {told}."
        )


@cache
def calibration() -> Calibration:
    """Return the measurements that come with the package."""
    return checked(Calibration, parsed(files(__package__).joinpath(FILE).read_bytes()))


def standing(findings: Sequence[Finding], found: Sequence[Leak], known: Calibration | None = None) -> str:
    """Return how many reference clients leak less than this one, in one sentence, or nothing if that cannot be said.

    It is said of images under the same battery and the same knowledge, if the whole battery ran on every batch, nothing
    was cut, and every image was judged.

    Args:
        findings: The findings on one configuration of the client, without refusals that do not decide.
        found: Their leaks, those that can be judged.
        known: The measurements; those of the package by default.
    """
    known = known or calibration()
    mine = [finding for finding in findings if finding.battery == known.battery]
    if not known.clients or not _comparable(mine, known):
        return ""
    worst = worst_per_picture([leak for leak in found if leak.finding.battery == known.battery])
    if len(worst) < sum({_update(finding): finding.examples for finding in mine}.values()):
        return ""
    gain = sum(leak.gain for leak in worst) / len(worst)
    below, total = sum(client.gain < gain for client in known.clients), len(known.clients)
    count = f"all {total}" if below == total else f"{below} of {total}" if below else "none of the " + str(total)
    return (
        f"Leaks more than {count} reference clients ({known.battery}, {known.date}; {known.examples}): the mean gain "
        f"over the control is {formatting.decibels(gain, signed=True)}."
    )


def _comparable(findings: Sequence[Finding], known: Calibration) -> bool:
    if not findings or any(finding.cut or finding.cannot_judge for finding in findings):
        return False
    if any(finding.modality is not Modality.PICTURES for finding in findings):
        return False
    if any(set(finding.knowledge) != set(known.knowledge) for finding in findings):
        return False
    needed = {
        member.attack.name for member in BATTERIES[known.battery].members[Modality.PICTURES] if member.fit is Fit.ANY
    }
    ran: dict[object, set[str]] = {}
    for finding in findings:
        ran.setdefault(_update(finding), set()).add(finding.attack)
    return all(needed <= names for names in ran.values())


def _update(finding: Finding) -> tuple[object, ...]:
    return finding.seed, finding.repeat, finding.batch
