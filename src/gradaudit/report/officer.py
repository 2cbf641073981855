"""The parts of the page for a reader who decides and is not an engineer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .album import Album
from .cases import CaseGroup
from .evidence import Evidence, evidence
from .first_screen import FirstScreen, first_screen
from .remedies import NONE_TESTED, Remedy, remedies
from .tally import Tally
from .verdict import Verdict


@dataclass(frozen=True)
class OfficerParts:
    """What stands on the page before the figures for engineers.

    Args:
        first: The first screen, below the verdicts.
        remedies: The defenses with their measured effects.
        evidence: The figures under the questions of an assessment.
        none_tested: What is said without any defense.
    """

    first: FirstScreen
    remedies: tuple[Remedy, ...]
    evidence: tuple[Evidence, ...]
    none_tested: str = NONE_TESTED


def officer_parts(
    judged: Sequence[tuple[Verdict, CaseGroup]],
    attacks: Mapping[str, str],
    album: Album,
    costs: Mapping[str, str] | None = None,
) -> OfficerParts:
    """Return these parts.

    Args:
        judged: The configurations with their verdicts, worst first; at least one.
        attacks: Key of a case -> label of its attack.
        album: The images and transcripts.
        costs: Description of a client -> what its federation says of the accuracy.
    """
    counted = [Tally.of(verdict, members, album) for verdict, members in judged]
    effects = remedies(counted, costs)
    return OfficerParts(first_screen(counted, attacks, album), effects, evidence(counted, effects))
