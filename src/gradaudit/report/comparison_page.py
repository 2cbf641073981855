"""The page of a comparison: one self-contained HTML file with the figure, the tables and the notes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..comparison import SideBySide
from ..values.files import make_folder, write_whole
from .comparison_figure import svg_figure
from .comparison_tables import INTERVALS, tables
from .template import fill

TEMPLATE = "comparison.html"
PAIRING = (
    "A difference is taken on the same batches: two results are a pair if the fingerprint of the private batch, the "
    "seed and the number of the batch are equal."
)
OF_CELLS = (
    "Cells of a study are paired by its name, the fingerprint of its data and weights, and the seed; cells with "
    "batches of different sizes then share only some of their examples."
)


def write_comparison(compared: SideBySide, runs: Sequence[str], path: Path) -> Path:
    """Write the page and return its path.

    Args:
        compared: The comparison.
        runs: The folders that are compared, as the reader shall see them.
        path: Path of the page.

    Raises:
        AuditError: The page cannot be written.
    """
    page = fill(
        TEMPLATE,
        compared=compared,
        runs=runs,
        tables=tables(compared),
        figure=svg_figure(compared),
        intervals=INTERVALS,
        pairing=" ".join([PAIRING, *([OF_CELLS] if any(one.kind == "study" for one in compared.series) else [])]),
    )
    make_folder(path.parent)
    return write_whole(path, page)
