"""`gradaudit study`: the reproduction of a published table or figure."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..values.errors import AuditError, AuditInterrupted
from ..values.streams import stdout_kept
from ..values.terminal import Screen, echo, visible
from ..values.validation import suggest
from .listings import show

if TYPE_CHECKING:
    from ..studies import Bench, Study, StudyResult


def add_to(app: typer.Typer) -> None:
    """Register the command with `app`."""
    app.command("study")(study)


def study(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the study; `gradaudit studies` lists all.")],
    scale: Annotated[str, typer.Option(help="Extent: quick, default, or another scale of the study.")] = "default",
    data: Annotated[
        Path | None,
        typer.Option(help="An .npz file with images and labels (mgia: a folder); by default the built-in photographs."),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weights",
            metavar="MODEL=FILE",
            help="Weights of a trained network (repeatable); FILE may be torchvision for its own weights.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Device: cpu, cuda or auto.")] = "cpu",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of parallel processes; by default one per core, and one on a GPU.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Output folder for study.jsonl, study.html and study.md.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document to standard output and nothing else.")
    ] = False,
) -> None:
    """Reproduce a table or figure of a paper, and show the published values beside the measured ones.

    Each measurement is written to disk before the next one starts. The same command resumes an interrupted study.
    """
    from ..audit.resolve import make_device
    from ..studies import STUDIES, Bench

    if name not in STUDIES:
        raise AuditError(f"study {name}: unknown study{suggest(name, STUDIES)}")
    bench = Bench(data, dict(map(_weight, weights or [])), make_device(device))
    with stdout_kept(as_json):
        result, page = _run(STUDIES[name], scale, bench, out or Path("runs") / f"{name}-{scale}", workers)
    if as_json:
        echo(json.dumps(result.to_json(), allow_nan=False))
        return
    _print(result, page)


def _run(chosen: Study, scale: str, bench: Bench, folder: Path, workers: int | None) -> tuple[StudyResult, Path]:
    """Measure the missing cells and return the result with the path of its page, which is always written."""
    from ..report.study_page import write_study
    from ..studies import read_study, run_study

    def written() -> tuple[StudyResult, Path]:
        result = read_study(chosen, scale, bench, folder)
        return result, write_study(result, folder)

    bar = _Bar()
    try:
        with bar:
            run_study(chosen, scale, bench, folder, bar.tick, workers=workers)
    except KeyboardInterrupt:
        if not bar.began:
            raise AuditInterrupted("interrupted before anything was measured.") from None
        result, _ = written()
        kept = f"{result.done} of {result.planned} measurements are kept in {folder}"
        raise AuditInterrupted(f"interrupted: {kept}. Run the same command again to resume.") from None
    except BaseException:
        with suppress(AuditError):  # the first error is the one to report
            if bar.began:
                written()
        raise
    return written()


class _Bar:
    """A progress bar if standard error is a terminal, one line per cell otherwise."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self.screen = Screen(err=True)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
        self.bar = Progress(
            *columns,
            TimeRemainingColumn(),
            console=self.screen,
            disable=not self.screen.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task("", total=None)
        self.last = ""
        self.began = False  # the folder belongs to this study and is locked

    def __enter__(self) -> _Bar:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def tick(self, done: int, total: int, cell: str) -> None:
        self.began = True
        self.bar.update(self.task, completed=done, total=total, description=visible(cell))
        if not self.screen.is_terminal and cell not in ("", self.last):
            self.screen.print(f"[{done}/{total}] {cell}")
        self.last = cell


def _weight(text: str) -> tuple[str, Path]:
    model, equals, path = text.partition("=")
    if not equals:
        raise AuditError(f"--weights {text}: write it as MODEL=FILE, such as resnet20=weights.npz.")
    return model, Path(path)


def _print(result: StudyResult, page: Path) -> None:
    """Print the first table, the claims, the omitted cells and the path of the page."""
    from ..report.study_tables import difference_in_words, entries, left_out_in_words

    study = result.study
    for table in study.tables[:1]:
        echo(table.title)
        rows = ((cell, *(entry.line for entry in found)) for cell, found in entries(result, table))
        show(("cell", *table.columns), rows)
    for one in result.comparisons:
        echo(f"{one.claim} ({one.column}): {difference_in_words(result, one)}")
    for line in (*left_out_in_words(result), f"Page: {page.resolve()}"):
        echo(line)
