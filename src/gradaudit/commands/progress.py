"""Progress of a run: bars on a terminal, plain lines in a log file."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from ..execution.runner import Listener
from ..values.terminal import as_text, duration, visible

if TYPE_CHECKING:
    from ..execution.journal import Failure
    from ..execution.trial import Job
    from ..inversion.attack import Watch
    from ..values.federation_result import FederationResult
    from ..values.finding import Finding

Shown = TypeVar("Shown")
SHOWN = 12  # running jobs on the screen
RECENT = 200  # trials from whose ends the speed is computed
FEW = 50  # trials of a run whose starts are printed in a log file
EVERY = 60.0  # seconds between two lines on the speed in a log file


class TerminalListener(Listener[Shown]):
    """Shows all trials: how many are done and failed, their speed, the time left, and the steps of those that run.

    Args:
        console: Console to write to, usually standard error.
        lines: Returns the lines about a result with their styles.

    `began` says whether any trial has started.
    """

    def __init__(self, console: Console, lines: Callable[[Shown], list[tuple[str, str]]]) -> None:
        self.console, self.lines = console, lines
        self.running = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[steps]}"),
            TextColumn("objective {task.fields[objective]}"),
            console=console,
        )
        self.tasks: dict[str, TaskID] = {}
        self.pace = Pace()
        self.began = False
        self.live = Live(console=console, get_renderable=self._drawn, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def begin(self, job: Job, number: int, total: int) -> Watch:
        """Show a new bar for the job and return the function that updates it."""
        self.began = True
        self.pace.begin(number - 1, total)
        if not self.console.is_terminal and total <= FEW:
            self.console.print(as_text(f"[{number}/{total}] {job.title}"))
        self._remove(job.checkpoint)  # its worker died, and it starts again
        shown = len(self.tasks) < SHOWN
        task = self.running.add_task(visible(job.title), total=None, steps="", objective="–", visible=shown)
        self.tasks[job.checkpoint] = task
        while len(self.tasks) > 2 * SHOWN:
            self._remove(next(iter(self.tasks)))

        def watch(done: int, steps: int, objective: float) -> None:
            fields = {"steps": f"{done}/{steps} steps", "objective": f"{objective:.3g}"}
            if task in self.running.task_ids:
                self.running.update(task, completed=done, total=steps, **fields)

        return watch

    def finish(self, job: Job) -> None:
        """Remove the bar of a job."""
        self._remove(job.checkpoint)

    def end(self, finding: Shown, number: int, total: int) -> None:
        """Print the result of a trial and its warnings."""
        self.pace.end(number, total)
        for position, (line, style) in enumerate(self.lines(finding)):
            head = "" if position else f"[{number}/{total}] "
            self.console.print(as_text(head + line, style))
        if not self.console.is_terminal and self.pace.due:
            self.console.print(as_text(self.pace.text))

    def fail(self, failure: Failure, number: int, total: int) -> None:
        """Print a trial that failed, in red."""
        self.pace.failed += 1
        self.console.print(as_text(f"failed: {failure.line}", "bold red"))

    def _remove(self, name: str) -> None:
        task = self.tasks.pop(name, None)
        if task is not None:
            self.running.remove_task(task)
        for first in list(self.tasks.values())[:SHOWN]:
            self.running.update(first, visible=True)

    def _drawn(self) -> Group:
        return Group(self.running, Text(self.pace.text))


class Pace:
    """How fast trials end."""

    def __init__(self) -> None:
        self.done = self.total = self.failed = 0
        self.ends: deque[float] = deque(maxlen=RECENT)
        self.told = time.monotonic()

    def begin(self, done: int, total: int) -> None:
        """Take in how many trials are done before the first one ends."""
        self.done, self.total = max(done, self.done), total
        if not self.ends:
            self.ends.append(time.monotonic())

    def end(self, done: int, total: int) -> None:
        """Take in the end of a trial."""
        self.done, self.total = done, total
        self.ends.append(time.monotonic())

    @property
    def due(self) -> bool:
        """Whether the last line on the speed is old; it counts as printed now."""
        now = time.monotonic()
        due = now - self.told > EVERY
        self.told = now if due else self.told
        return due

    @property
    def text(self) -> str:
        """Such as `12 of 60 trials, 1 failed, 4.2 per minute, 11 min left`."""
        if not self.total:
            return "starting"
        parts = [f"{self.done} of {self.total} trials"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if len(self.ends) > 1:
            each = (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)
            left = max(0.0, each * (self.total - self.done - self.failed) - (time.monotonic() - self.ends[-1]))
            parts += [f"{60 / each:.3g} per minute" if each else "", f"{duration(left)} left"]
        return ", ".join(filter(None, parts))


def finding_lines(finding: Finding) -> list[tuple[str, str]]:
    """Return the result of a case in words, and its warnings in red, for example about an unrealistic oracle."""
    from ..report import wording as words

    case = f"{finding.attack} · {finding.client} · batch {finding.repeat + 1}: {_outcome(finding)}"
    alarms = filter(None, (words.warning(finding.knowledge), *finding.warnings))
    return [(case, ""), *((alarm, "bold red") for alarm in alarms)]


def result_lines(result: Finding | FederationResult) -> list[tuple[str, str]]:
    """Return the result of a case or of a training in words."""
    from ..values.federation_result import FederationResult

    if not isinstance(result, FederationResult):
        return finding_lines(result)
    after = f"{result.accuracy:.1%} after {result.scores[-1][0]} rounds, {result.seconds:.0f} s"
    line = f"federation · {result.client} · seed {result.number + 1}: accuracy {after}"
    diverged = f"The model stopped being finite in round {result.diverged}."
    return [(line, ""), *([(diverged, "bold red")] if result.diverged else [])]


def _outcome(finding: Finding) -> str:
    if finding.cannot_judge:
        return f"cannot be judged: {finding.cannot_judge}"
    measure = finding.measure
    if not finding.scored:
        verified = "verified" if finding.verified else "not verified"
        return f"no score, objective {finding.objective:.3g}, {verified}, {finding.seconds:.0f} s"
    return (
        f"{measure.name} {measure.text(finding.measured.mean)}, "
        f"{measure.text(finding.mean_gain, signed=True)} over the control, {finding.seconds:.0f} s"
    )


def measurement_lines(measurement: Any) -> list[tuple[str, str]]:
    """Return the values of a cell of a study in words, at most four."""
    values = [f"{column} {value:.4g}" for column, value in measurement.values.items() if value is not None]
    return [(f"{measurement.name} · seed {measurement.seed}: {', '.join(values[:4]) or 'no value'}", "")]
