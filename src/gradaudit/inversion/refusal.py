"""What an adversary lacks, said in one sentence."""

from __future__ import annotations

from ..errors import MissingKnowledge
from ..types import Knowledge
from .attack import Part


def require_knowledge(name: str, parts: tuple[Part, ...], granted: Knowledge) -> None:
    """Raise `MissingKnowledge` naming the first part that needs a fact outside `granted`."""
    for part in parts:
        if part.needs & ~granted:
            raise refusal(name, f"{part!r} needs", part.needs, granted)


def refusal(name: str, who: str, needs: Knowledge, granted: Knowledge) -> MissingKnowledge:
    """The error that says what is lacking, what is known, and what to do about it."""
    lacking = " and ".join((needs & ~granted).names)
    held = ", ".join(granted.names) or "nothing beyond the update"
    return MissingKnowledge(
        f"{name}: {who} {lacking}, but the adversary knows only {held}. Add {lacking} to knowledge, "
        "or take another attack."
    )
