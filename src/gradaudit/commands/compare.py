"""`gradaudit compare`: runs, studies or sweeps side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..values.errors import AuditError
from ..values.streams import stdout_kept
from ..values.terminal import echo
from ..values.validation import suggest
from .listings import show
from .loading import load_attacks

if TYPE_CHECKING:
    from ..comparison import SideBySide

FORMATS = ("table", "markdown", "latex", "csv")
Layout = Annotated[
    str, typer.Option("--format", metavar="FORMAT", help="Format of the tables: table, markdown, latex or csv.")
]
Drawing = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Also draw a figure: .svg, or .png and .pdf with the extra `plot`.")
]
Page = Annotated[
    Path | None, typer.Option("--out", metavar="PAGE.html", help="Also write a page with the figure and tables.")
]


def add_to(app: typer.Typer) -> None:
    """Register the command with `app`."""
    app.command("compare")(compare)


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Output folders of audits, demos, sweeps or studies.")
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="NAME,...",
            help="What to compare (repeatable); by default the deciding metric, gain, label accuracy and seconds.",
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="Series from which differences are taken; by default the first."),
    ] = None,
    layout: Layout = "table",
    figure: Drawing = None,
    out: Page = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document to standard output and nothing else.")
    ] = False,
) -> None:
    """Show runs side by side: means with 95 % bootstrap intervals over batches, and paired differences.

    Two results are a pair if they are of the same private batch, seed and repeat. Where series cannot be paired, the
    reason is given. One run shows its own attacks, clients or cells side by side.
    """
    if layout not in FORMATS:
        raise AuditError(f"--format {layout}: unknown{suggest(layout, FORMATS)}")
    with stdout_kept(as_json):
        _check_outputs(runs, figure, out)
        compared = _compared(runs, metric, baseline)
        paths = _write(compared, runs, figure, out)
    if as_json:
        echo(json.dumps(compared.to_json(), allow_nan=False))
        return
    _print(compared, layout)
    for what, path in paths.items():
        echo(f"{what}: {path.resolve()}", err=layout != "table")


def _compared(runs: list[Path], metric: list[str] | None, baseline: str | None) -> SideBySide:
    load_attacks()
    from ..comparison import read_series, side_by_side

    names = [name.strip() for text in metric or () for name in text.split(",")]
    if metric and not all(names):
        raise AuditError(f"--metric {metric[0]}: holds an empty name. Write it as psnr,gain.")
    series, quantities, notes = read_series(runs)
    return side_by_side(series, quantities, notes, metrics=names, baseline=baseline)


def _check_outputs(runs: list[Path], figure: Path | None, out: Path | None) -> None:
    """Raise `AuditError` if an output cannot be written, before anything is computed."""
    if figure is not None:
        from ..report.comparison_plot import check_figure

        check_figure(figure)
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise AuditError(f"--out {out}: is the page, so its name must end in .html.")
    for option, path in (("--figure", figure), ("--out", out)):
        if path is not None and path.is_dir():
            raise AuditError(f"{option} {path}: is a folder. Name a file.")
        if (
            option == "--out"
            and path is not None
            and path.name == "report.html"
            and path.parent.resolve() in {run.resolve() for run in runs}
        ):
            raise AuditError(f"--out {path}: is the report of that run. Choose another name.")


def _write(compared: SideBySide, runs: list[Path], figure: Path | None, out: Path | None) -> dict[str, Path]:
    from ..report.comparison_page import write_comparison
    from ..report.comparison_plot import write_figure

    paths = {}
    if figure is not None:
        paths["Figure"] = write_figure(compared, figure)
    if out is not None:
        paths["Page"] = write_comparison(compared, [str(run) for run in runs], out)
    return paths


def _print(compared: SideBySide, layout: str) -> None:
    from ..report import comparison_latex, comparison_tables

    if layout != "table":
        written = {
            "markdown": comparison_tables.markdown_tables,
            "latex": comparison_latex.latex_tables,
            "csv": comparison_tables.csv_table,
        }[layout]
        for line in written(compared).split("\n"):
            echo(line)
        return
    for table in comparison_tables.tables(compared):
        echo(table.title)
        show(table.head, table.lines)
        echo("")
    echo(comparison_tables.INTERVALS)
    for note in compared.notes:
        echo(f"note: {note}")
