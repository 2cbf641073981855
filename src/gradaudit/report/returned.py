"""What came back where there is no ground truth: the reconstructions alone, large, with what is known of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..values.finding import Finding
from . import formatting
from .album import Album
from .grid import GAP, PAGE_WIDTH, STRIPS_SHOWN, Grid, Tile

LARGE = 256  # CSS pixels
VERIFIED, OPEN = "verified: its update is the captured one", "not verified"


def returned(
    findings: Sequence[Finding], attacks: dict[str, str], settings: dict[str, str], album: Album
) -> Grid | None:
    """Return the reconstructions of the findings without ground truth, one strip for each; `None` if there are none.

    Args:
        findings: Findings of the run.
        attacks: Key of a case -> label of its attack.
        settings: Key of a case -> label of its setting.
        album: The images of the run.

    Raises:
        AuditError: An image is missing or not a PNG.
    """
    came = sorted((finding for finding in findings if finding.unscored), key=_distance)
    if not came:
        return None
    several = len({settings[finding.case] for finding in came}) > 1
    strips = tuple(
        _strip(finding, f"{settings[finding.case]}, " * several + attacks[finding.case], album)
        for finding in came[:STRIPS_SHOWN]
    )
    shown = [tile.picture.width for strip in strips for tile in strip if tile.picture]
    cell = max([LARGE, *shown])
    across = max(1, min(max(map(len, strips), default=1), (PAGE_WIDTH + GAP) // (cell + GAP)))
    return Grid(strips, len(came), cell, across * (cell + GAP) - GAP)


def _strip(finding: Finding, label: str, album: Album) -> tuple[Tile, ...]:
    pictures = finding.pictures.reconstruction
    tiles = []
    for i, path in enumerate(pictures):
        heading = f"{label}, {finding.measure.noun} {i + 1} of {len(pictures)}"
        lines = [VERIFIED if finding.verified else OPEN, f"objective {formatting.scientific(finding.objective)}"]
        if finding.guessed_labels and i < len(finding.guessed_labels):
            how = "granted" if finding.labels_granted else "inferred"
            lines.append(f"label {finding.guessed_labels[i]}, {how}")
        picture = album.show(path, f"Reconstruction, {heading}", LARGE)
        tiles.append(Tile("reconstruction", heading, picture, tuple(lines)))
    return tuple(tiles)


def _distance(finding: Finding) -> tuple[bool, float]:
    """Return a sort key: verified first, then by the objective."""
    return not finding.verified, math.inf if math.isnan(finding.objective) else finding.objective
