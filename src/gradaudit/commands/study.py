"""`gradaudit study`: the reproduction of a published table or figure."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..values.errors import AuditError, AuditInterrupted
from ..values.streams import stdout_kept
from ..values.terminal import Screen, echo
from ..values.validation import suggest
from .listings import show
from .loading import load_attacks
from .placing import (
    AsJson,
    ExecutorName,
    LpipsFile,
    Placement,
    RayAddress,
    Shard,
    StopOnError,
    Threads,
    Workers,
    executor_of,
    shard_of,
)
from .study_collection import run_collection

if TYPE_CHECKING:
    from ..studies import Bench, Study, StudyResult


Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Name of the study; `gradaudit studies` lists all. `sok` is all of the SoK's."),
]
Scale = Annotated[str, typer.Option(help="Extent: quick, default, or another scale of the study.")]
Data = Annotated[
    Path | None,
    typer.Option(help="An .npz file with images and labels (mgia: a folder); by default the built-in photographs."),
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        metavar="MODEL=FILE",
        help="Weights of a trained network (repeatable); FILE may be torchvision for its own weights.",
    ),
]
Device = Annotated[str, typer.Option(help="Device: cpu, cuda or auto.")]
StudyOut = Annotated[
    Path | None, typer.Option("--out", help="Output folder for trials.jsonl, study.html and study.md.")
]
ShowOnly = Annotated[bool, typer.Option("--show", help="Show what is measured so far; run nothing.")]


def add_to(app: typer.Typer) -> None:
    """Register the command with `app`."""
    app.command("study")(study)


def study(
    name: Name,
    scale: Scale = "default",
    data: Data = None,
    weights: Weights = None,
    device: Device = "cpu",
    executor: ExecutorName = None,
    workers: Workers = None,
    threads: Threads = None,
    ray_address: RayAddress = None,
    stop_on_error: StopOnError = False,
    shard: Shard = "1/1",
    lpips: LpipsFile = None,
    show_only: ShowOnly = False,
    out: StudyOut = None,
    as_json: AsJson = False,
) -> None:
    """Reproduce a table or figure of a paper, and show the published values beside the measured ones.

    Each measurement is written to disk before it counts. The same command resumes an interrupted study, and computes
    again what failed. By default, one process per core runs, and one on a GPU. The name of a collection runs all of
    its studies, each in a folder of its own, under one index page.
    """
    load_attacks()
    from ..audit.resolve import make_device
    from ..execution import usual_workers
    from ..studies import STUDIES, Bench
    from ..studies._collections import COLLECTIONS

    if name not in STUDIES and name not in COLLECTIONS:
        raise AuditError(f"study {name}: unknown study{suggest(name, [*STUDIES, *COLLECTIONS])}")
    bench = Bench(data, dict(map(_weight, weights or [])), make_device(device))
    found = executor_of(executor, workers, threads or 1, ray_address, usual=usual_workers(bench.device.type))
    place = Placement(found, stop_on_error, shard_of(shard))
    run_one, folder = partial(_shown if show_only else _run, scale, bench, place), out or _folder(name, scale)
    if name in COLLECTIONS:
        run_collection(COLLECTIONS[name], run_one, folder, as_json=as_json)
        return
    with stdout_kept(as_json):
        result, page, failure = run_one(STUDIES[name], folder)
    echo(json.dumps(result.to_json(), allow_nan=False)) if as_json else _print(result, page)
    if failure:
        raise failure


def _folder(name: str, scale: str) -> Path:
    return Path("runs") / f"{name}-{scale}"


def _run(
    scale: str, bench: Bench, place: Placement, chosen: Study, folder: Path
) -> tuple[StudyResult, Path, AuditError | None]:
    """Measure the missing cells; return the result, the path of its page, and the error if measurements failed."""
    from ..report.study_page import write_study
    from ..studies import read_study, run_study
    from .progress import TerminalListener, measurement_lines

    def written() -> tuple[StudyResult, Path]:
        result = read_study(chosen, scale, bench, folder)
        return result, write_study(result, folder)

    options = {"executor": place.executor, "stop_on_error": place.stop_on_error, "shard": place.shard}
    with TerminalListener(Screen(err=True), measurement_lines) as listener:
        try:
            run_study(chosen, scale, bench, folder, listener, **options)
        except KeyboardInterrupt:
            if not listener.began:
                raise AuditInterrupted("interrupted before anything was measured.") from None
            result, _ = written()
            kept = f"{result.done} of {result.planned} measurements are kept in {folder}"
            raise AuditInterrupted(f"interrupted: {kept}. Run the same command again to resume.") from None
        except AuditError as error:
            with suppress(AuditError):  # the first error is the one to report
                if listener.began:
                    return *written(), error
            raise
        except BaseException:
            with suppress(AuditError):
                if listener.began:
                    written()
            raise
    return *written(), None


def _shown(
    scale: str, bench: Bench, place: Placement, chosen: Study, folder: Path
) -> tuple[StudyResult, Path, AuditError | None]:
    """Write the page of what is measured so far; `place` is not used, as nothing runs."""
    from ..report.study_page import write_study
    from ..studies import read_study

    if scale not in chosen.cells:
        raise AuditError(f"--scale {scale}: {chosen.name} has {', '.join(chosen.scales)}.")
    if not folder.is_dir():
        raise AuditError(f"{folder}: holds no measurements. Run the command without --show.")
    result = read_study(chosen, scale, bench, folder)
    return result, write_study(result, folder), None


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
