"""The parts of the page for a reader who decides and is not an engineer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .album import Album
from .bounded import BoundedClient, bounded_clients
from .cases import CaseGroup
from .effect_table import EffectTable, effect_table
from .evidence import Evidence, evidence
from .first_screen import FirstScreen, first_screen
from .remedies import NONE_TESTED, Remedy, remedies
from .tally import PriorGains, Tally
from .verdict import Verdict


@dataclass(frozen=True)
class OfficerParts:
    """What stands on the page before the figures for engineers.

    Args:
        first: The first screen, below the verdicts.
        remedies: The defenses with their measured effects.
        evidence: The figures under the questions of an assessment.
        effects: What each defense did to the update, or `None` without any defense.
        bounded: The bounds on any attack, for each configuration with a defense.
        none_tested: What is said without any defense.
    """

    first: FirstScreen
    remedies: tuple[Remedy, ...]
    evidence: tuple[Evidence, ...]
    effects: EffectTable | None = None
    bounded: tuple[BoundedClient, ...] = ()
    none_tested: str = NONE_TESTED


def officer_parts(
    judged: Sequence[tuple[Verdict, CaseGroup]],
    attacks: Mapping[str, str],
    album: Album,
    priors: Mapping[int, PriorGains],
    costs: Mapping[str, str] | None = None,
) -> OfficerParts:
    """Return these parts.

    Args:
        judged: The configurations with their verdicts, worst first; at least one.
        attacks: Key of a case -> label of its attack.
        album: The images and transcripts.
        priors: Number of a client -> what the prior-only control gained on it.
        costs: Description of a client -> what its federation says of the accuracy.
    """
    counted = [Tally.of(verdict, members, album, priors) for verdict, members in judged]
    measured = remedies(counted, costs)
    first = first_screen(counted, attacks, album)
    return OfficerParts(first, measured, evidence(counted, measured), effect_table(counted), bounded_clients(counted))
