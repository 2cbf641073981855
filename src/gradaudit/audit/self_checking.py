"""The self-check: does the declared training on the true batch give the observed update, and if not, why?

It sees the private batch and the update, so it belongs to the audit: no attack may use it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from ..client.participant import Client
from ..values.errors import AuditError
from ..values.types import Batch, Update
from .closeness import Gap, ObservedTarget
from .suspects import CAUSES, Assumed, Cause, Suspect
from .suspects.local_work import DROPOUT

CERTAIN = 30.0  # the tolerance over this: an error below it explains the update whatever else might
CLOSE = 3e-2  # error up to which other hardware or another library may be the reason
PARTNERS = 6  # causes that are combined with all others, the closest first

CheckState = Literal["reproduced", "explained", "close", "unexplained", "undecided"]


@dataclass(frozen=True)
class TriedCause:
    """The closest that one cause, or two together, comes to the observed update.

    Args:
        name: Short name of the cause.
        title: What differs.
        sentence: What the client did, as a clause without a full stop.
        fix: What to change in the audit file, as an instruction without a full stop.
        gap: The distance that is left.
    """

    name: str
    title: str
    sentence: str
    fix: str
    gap: Gap


@dataclass(frozen=True)
class SelfCheck:
    """Whether the declared training on the true batch gives the observed update.

    Args:
        state: `reproduced`; `explained` by `causes`; `close`, so that other hardware may be the reason; `unexplained`;
            or `undecided`, because the update is stored too coarsely.
        declared: The distance of the update that the declared training gives.
        tolerance: The relative error that counts as rounding.
        causes: The cause that explains the observed update, or two that do together; otherwise none.
        tried: Every cause that was tried, the closest first.
        untried: Titles of the causes that there was no time for.
        random: Whether the declared client draws random numbers, so that the update is compared with several runs.
        seconds: Wall time.
    """

    state: CheckState
    declared: Gap
    tolerance: float
    causes: tuple[TriedCause, ...] = ()
    tried: tuple[TriedCause, ...] = ()
    untried: tuple[str, ...] = ()
    random: bool = False
    seconds: float = 0.0

    @property
    def sentences(self) -> tuple[str, ...]:
        """The result in whole sentences."""
        return (*_first(self), *_second(self), *_third(self))


def self_check(
    client: Client,
    batch: Batch,
    observed: Update,
    *,
    seed: int = 0,
    stored: torch.dtype | None = None,
    seconds: float = 60.0,
    pairs: bool = True,
) -> SelfCheck:
    """Compute the update of the declared client again on the true batch, and compare it with the observed one.

    Where they differ, the usual causes are tried one at a time, each by running the client again, and then two at a
    time. The attacks take no part in it.

    Args:
        client: The declared client: model, local training, defenses and normalisation.
        batch: The true examples, on the device of the model.
        observed: The update that the real client sent, with the sign of a gradient.
        seed: Seed of the client, which matters only if it draws random numbers.
        stored: Precision in which the update was stored, if that is coarser than its tensors.
        seconds: Time after which no further cause is tried.
        pairs: Whether to try two causes together if none explains the update alone.

    Raises:
        AuditError: The declared client cannot train on the batch, or the update holds no values.

    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 5))
    >>> batch = ga.Batch(torch.rand(2, 1, 4, 4), torch.tensor([3, 1]))
    >>> sent = ga.Client(net, ga.FedAvg(learning_rate=0.5)).train(batch)
    >>> ga.audit.self_check(ga.Client(net), batch, sent).causes[0].fix
    'set training: {kind: fedavg, learning_rate: 0.5}'
    """
    if observed.emptiness:
        raise AuditError(f"update: {observed.emptiness}, so that no training can be recognised by it.")
    started = time.monotonic()
    target = ObservedTarget.of(observed, client.model, stored)
    search = _Inquiry(Assumed(client, batch, target, seed), started + seconds)
    declared = search.declared.gap
    if target.blunt:
        return SelfCheck("undecided", declared, target.tolerance)
    if declared.near:
        found = SelfCheck("reproduced", declared, target.tolerance, random=search.declared.random)
    else:
        search.alone()
        if pairs and not search.found:
            search.together()
        found = search.result()
    return replace(found, seconds=time.monotonic() - started)


@dataclass
class _Inquiry:
    """The state of one search for the cause: what was tried, and what explains the update."""

    declared: Assumed
    deadline: float
    found: tuple[tuple[Cause, Suspect], ...] = ()
    closest: dict[str, tuple[Cause, Suspect]] = field(default_factory=dict)  # by the error that is left
    promising: dict[str, tuple[Cause, Suspect]] = field(default_factory=dict)  # by the direction alone
    untried: list[str] = field(default_factory=list)

    @property
    def certain(self) -> float:
        return self.declared.target.tolerance / CERTAIN

    def alone(self) -> None:
        """Try every cause alone; of several that explain the update the best is found, the earlier at a tie."""
        explaining: list[tuple[Cause, Suspect]] = []
        for cause in CAUSES:
            if self._late():
                self.untried.append(cause.title)
                continue
            for suspect in tried(cause, self.declared):
                self._note(cause, suspect)
                if suspect.assumed.gap.near:
                    explaining.append((cause, suspect))
                if self._late() or (suspect.assumed.gap.near and suspect.assumed.gap.error <= self.certain):
                    break
            if any(suspect.assumed.gap.error <= self.certain for _, suspect in explaining):
                break
        # A client that draws random numbers is a vaguer explanation than one that does not.
        explaining.sort(key=lambda pair: (pair[1].assumed.random, max(pair[1].assumed.gap.error, self.certain)))
        self.found = tuple(explaining[:1])

    def together(self) -> None:
        """Try two causes at a time: those that come closest in direction with all others."""
        first = [pair for pair in self.promising.values() if not pair[1].assumed.random]
        first.sort(key=lambda pair: pair[1].assumed.gap.direction)
        for cause, suspect in first[:PARTNERS]:
            for other in CAUSES:
                if other in (cause, DROPOUT):  # random numbers would explain too much
                    continue
                if self._late():
                    self.untried.append("two causes together")
                    return
                for second in tried(other, suspect.assumed):
                    if second.assumed.gap.near:
                        self.found = ((cause, suspect), (other, second))
                        return

    def result(self) -> SelfCheck:
        """Return what was found."""
        causes = tuple(_told(cause, suspect) for cause, suspect in self.found)
        listed = sorted((_told(*pair) for pair in self.closest.values()), key=lambda one: one.gap.error)
        declared = self.declared.gap
        similar = declared.error <= CLOSE and not self.declared.random
        state: CheckState = "explained" if causes else "close" if similar else "unexplained"
        tolerance, random = self.declared.target.tolerance, self.declared.random
        return SelfCheck(state, declared, tolerance, causes, tuple(listed), tuple(self.untried), random)

    def _late(self) -> bool:
        return time.monotonic() > self.deadline

    def _note(self, cause: Cause, suspect: Suspect) -> None:
        for best, measure in ((self.closest, "error"), (self.promising, "direction")):
            before = best.get(cause.name)
            if before is None or getattr(suspect.assumed.gap, measure) < getattr(before[1].assumed.gap, measure):
                best[cause.name] = (cause, suspect)


def tried(cause: Cause, assumed: Assumed) -> Iterator[Suspect]:
    """Yield the clients that differ by one cause and can train on the batch, with their gaps computed."""
    suspects = cause.suspects(assumed)
    with suppress(AuditError):  # the cause cannot be examined for this client
        for suspect in suspects:
            try:
                _ = suspect.assumed.gap
            except AuditError:  # labels outside the classes, or a training that diverges
                continue
            yield suspect


def _told(cause: Cause, suspect: Suspect) -> TriedCause:
    return TriedCause(cause.name, cause.title, suspect.sentence, suspect.fix, suspect.assumed.gap)


def _first(check: SelfCheck) -> tuple[str, ...]:
    """Return what the comparison of the declared training gave."""
    gap, told = check.declared, f"{_share(check.declared.error)}, cosine {check.declared.cosine:.4f}"
    if check.state == "undecided":
        return (
            f"The update is stored so coarsely that rounding alone may change it by {_share(check.tolerance)}, so the "
            "self-check cannot decide. Capture it in single precision.",
        )
    if check.state != "reproduced":
        return (
            f"The declared training on the true batch does not give the observed update: they differ by {told}, most "
            f"in {gap.tensor}, by {_share(gap.worst)}.",
        )
    if check.random:
        return (
            "The declared training draws random numbers that nobody else knows. The observed update is as far from "
            f"the mean of its runs as any of them ({told}).",
        )
    return (
        f"The declared training on the true batch gives the observed update: they differ by {told}. The objective of "
        "an attack with these assumptions is therefore near zero at the truth.",
    )


def _second(check: SelfCheck) -> tuple[str, ...]:
    """Return the cause that was found, or that none was."""
    if check.state in ("reproduced", "undecided"):
        return ()
    if check.causes:
        both = "Two causes together explain it" if len(check.causes) > 1 else "One cause explains it"
        left = check.causes[-1].gap
        after = "within chance" if left.error > check.tolerance else f"by {_share(left.error)}"
        clauses = ", and ".join(cause.sentence for cause in check.causes)
        fixes = tuple(f"Fix: {cause.fix}." for cause in check.causes)
        return (f"{both}: {clauses}. With it the two differ {after}.", *fixes)
    if check.state == "close":
        return (
            "No usual cause explains the difference, but it is small: another device, library version or precision "
            "(such as TF32) of the client may be the reason, and an attack is hardly affected.",
        )
    closest = [f"{one.title} ({_share(one.gap.error)})" for one in check.tried[:3]]
    near = f" The closest are: {', '.join(closest)}." if closest else ""
    return (
        f"None of the {len(check.tried)} causes that were tried explains it.{near} Are these the true examples, and "
        "the weights from which the client started?",
    )


def _third(check: SelfCheck) -> tuple[str, ...]:
    """Return what was not tried."""
    return (f"There was no time to try: {', '.join(check.untried)}.",) if check.untried and not check.causes else ()


def _share(value: float) -> str:
    """Return a relative error, such as `83 %` or `3e-07`."""
    return f"{100 * value:.3g} %" if value >= 1e-3 else f"{value:.1g}"
