"""The figure of a comparison as a file: SVG by this package, PNG and PDF by matplotlib (extra `plot`)."""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path
from typing import Any

from ..comparison import SideBySide
from ..values.characters import visible
from ..values.errors import AuditError
from ..values.files import make_folder, write_whole
from .comparison_figure import DOT, INK, RULE, drawn_values, short_label, svg_figure

TALLEST = 60_000  # pixels; matplotlib draws no taller image
ENDINGS = (".svg", ".png", ".pdf")


def check_figure(path: Path) -> None:
    """Raise `AuditError` if a figure cannot be written to a file of this name, before anything is computed."""
    if path.suffix.lower() not in ENDINGS:
        raise AuditError(f"--figure {path}: the name must end in {', '.join(ENDINGS[:2])} or {ENDINGS[2]}.")
    if path.suffix.lower() != ".svg":
        _figure_class(path)


def write_figure(compared: SideBySide, path: Path) -> Path:
    """Write the figure in the format of the file's ending and return its path.

    Raises:
        AuditError: The ending is another one, matplotlib is missing for PNG or PDF, or the file cannot be written.
    """
    check_figure(path)
    make_folder(path.parent)
    if path.suffix.lower() == ".svg":
        return write_whole(path, f"{svg_figure(compared, alone=True)}\n")
    with warnings.catch_warnings(action="ignore"):  # a character that the font lacks is drawn as a box
        return write_whole(path, _drawn(compared, path))


def _figure_class(path: Path) -> Any:
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError:
        raise AuditError(
            f"--figure {path}: needs matplotlib, the extra `plot`: pip install 'gradaudit[plot]'. SVG needs nothing."
        ) from None
    return Canvas


def _drawn(compared: SideBySide, path: Path) -> bytes:
    panels = len(compared.quantities)
    height = panels * (0.9 + 0.32 * len(compared.series))
    figure = _figure_class(path)(figsize=(7.6, height), layout="constrained")
    for axes, quantity in zip(figure.subplots(panels, 1, squeeze=False).flat, compared.quantities, strict=True):
        rows = drawn_values(compared, quantity)
        for place, (_, values, mean) in enumerate(rows):
            axes.plot(values, [place - 0.15] * len(values), "o", markersize=4, markerfacecolor="white", color=DOT)
            if mean is not None and math.isfinite(mean.low) and math.isfinite(mean.high):
                axes.plot([mean.low, mean.high], [place + 0.2] * 2, "-", color=INK)
            if mean is not None:
                axes.plot([mean.mean], [place + 0.2], "|", color=INK, markersize=9, markeredgewidth=2)
        names = [short_label(one) for one, _, _ in rows]
        axes.set_yticks(range(len(rows)), names, parse_math=False)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_title(visible(quantity.heading), loc="left", fontsize=10, parse_math=False)
        axes.grid(axis="x", color=RULE)
    file = io.BytesIO()
    kind = path.suffix.lower().removeprefix(".")
    dateless = {"CreationDate": None} if kind == "pdf" else {"Software": None}
    figure.savefig(file, format=kind, dpi=min(160, TALLEST / height), metadata=dateless)
    return file.getvalue()
