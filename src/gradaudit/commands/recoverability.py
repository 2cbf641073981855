"""`gradaudit recoverability`: what the client's update determines about each pixel, without any attack."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn

from ..values.errors import AuditError
from ..values.streams import stdout_kept
from ..values.terminal import Screen, echo, visible
from .listings import show
from .loading import load_attacks
from .placing import AsJson, Changes, Open, open_in_browser

if TYPE_CHECKING:
    from ..audit.plan import Plan
    from ..audit.recoverability_section import RecoverabilitySection
    from ..audit.recoverable import Recoverability

IgnoringAttacks = Annotated[Path, typer.Argument(metavar="AUDIT.YAML", help="An audit file; its attacks are ignored.")]
NoiseLevels = Annotated[
    str | None,
    typer.Option(
        metavar="S,S,...",
        help="Standard deviations of Gaussian noise on each entry of the update, such as 0,1e-4,1e-3; 0 is the "
        "rounding error of the shared numbers. By default those of the file, or 0,1e-4,1e-3,1e-2.",
    ),
]
MostSteps = Annotated[
    int | None,
    typer.Option(help="Most steps of an estimate, where the Jacobian is too large; more are closer. 256 by default."),
]
ProbeCount = Annotated[
    int | None, typer.Option(help="Random vectors for the standard error of an estimate; 16 by default.")
]
MapFolder = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Write a page, recoverability.html, with a map per image.")
]


def add_to(app: typer.Typer) -> None:
    """Register the command with `app`."""
    app.command("recoverability")(recoverability)


def recoverability(
    config: IgnoringAttacks,
    noise: NoiseLevels = None,
    steps: MostSteps = None,
    probes: ProbeCount = None,
    changes: Changes = None,
    out: MapFolder = None,
    as_json: AsJson = False,
    open_page: Open = False,
) -> None:
    """Bound how well any estimator can know each pixel of the client's images from its update, without an attack.

    The mean ratio of posterior to prior variance is 0 where the update determines every pixel, and 1 where it says
    nothing beyond the prior. docs/recoverability.md says what the numbers mean. Exit code 0: they were computed,
    whatever they are. 2: an error, in one line.
    """
    load_attacks()
    from ..audit.config import read_config
    from ..audit.plan import make_plan

    if open_page and out is None:
        raise AuditError("--open: opens the page. Give its folder with --out.")
    with stdout_kept(as_json):
        read = read_config(config, changes or [])
        section = _section(read.recoverability, noise, steps, probes)
        plan = make_plan(read.model_copy(update={"attacks": ()}), config.resolve().parent)
        rows, page = _compute(plan, section, out, config.name)
    if as_json:
        from ..report.determined import to_json

        echo(json.dumps({"recoverability": [to_json(row) for row in rows]}, allow_nan=False))
    else:
        show_rows(rows)
        if page is not None:
            echo(f"Page: {page.resolve()}")
    if page is not None:
        open_in_browser(page, open_page)


def _section(
    given: RecoverabilitySection | None, noise: str | None, steps: int | None, probes: int | None
) -> RecoverabilitySection:
    """Return the section of the file with what the options change."""
    from ..audit.config import validated
    from ..audit.recoverability_section import RecoverabilitySection

    asked: dict[str, Any] = {} if given is None else given.model_dump(mode="json")
    asked |= {} if noise is None else {"noise": noise_levels(noise)}
    asked |= {key: value for key, value in (("steps", steps), ("probes", probes)) if value is not None}
    return validated(RecoverabilitySection, asked, "--noise, --steps, --probes: ")


def noise_levels(text: str) -> list[float]:
    """Return the numbers of `--noise`; raise `AuditError` for any other text, and for one that is no noise."""
    try:
        levels = [float(part) for part in text.split(",")]
    except ValueError:
        levels = []
    if not levels or not all(0 <= level < math.inf for level in levels):
        raise AuditError(
            f"--noise: must be numbers of at least 0 with commas between them, such as 0,1e-4. Found {text}."
        )
    return levels


def _compute(
    plan: Plan, section: RecoverabilitySection, out: Path | None, name: str
) -> tuple[list[Recoverability], Path | None]:
    """Return all rows, and the path of the page if one is written."""
    from ..report.determined import DeterminedRun, determine, write_determined, write_page
    from ..values.files import make_folder

    folder = None if out is None else make_folder(out, option="--out")
    with _bars() as bars:
        rows = list(determine(plan, section, folder, lambda _, repeat: _bar(bars, repeat, plan.repeats)))
    if folder is None:
        return rows, None
    write_determined(folder, DeterminedRun({"0": section.model_dump(mode="json")}, tuple(rows)))
    return rows, write_page(folder, f"What the update of {name} determines")


def _bars() -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=28), TextColumn("{task.fields[of]}"))
    screen = Screen(err=True)
    return Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)


def _bar(bars: Progress, repeat: int, batches: int) -> Callable[[int, int], None]:
    """Return what shows the products with the Jacobian that are done on one batch."""
    task = bars.add_task(visible(f"batch {repeat + 1} of {batches}"), total=None, of="")

    def watch(done: int, total: int) -> None:
        bars.update(task, completed=done, total=total, of=f"{done}/{total} products")

    return watch


def show_rows(rows: list[Recoverability]) -> None:
    """Print the table, and what was assumed."""
    from ..report.determined import HEADINGS, cells

    show(HEADINGS, map(cells, rows))
    for line in dict.fromkeys(remark for row in rows for remark in row.remarks):
        echo(line)
