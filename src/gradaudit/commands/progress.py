"""Progress of a run: a bar on a terminal, plain lines in a log file."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..values.terminal import as_text, visible

if TYPE_CHECKING:
    from ..audit.judge import Case
    from ..inversion.attack import Watch
    from ..values.finding import Finding


class TerminalListener:
    """Shows the case, the step, the objective and the remaining time.

    Args:
        console: Console to write to, usually standard error.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[steps]}"),
            TextColumn("objective {task.fields[objective]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task: TaskID | None = None

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def begin(self, case: Case, number: int, total: int) -> Watch:
        """Show a new bar for the case and return the function that updates it."""
        from ..audit.judge import client_name

        title = f"[{number}/{total}] {case.attack_name} · {client_name(case.client)} · batch {case.repeat + 1}"
        if not self.console.is_terminal:
            self.console.print(as_text(title))
        self.task = task = self.bar.add_task(visible(title), total=None, steps="", objective="–")

        def watch(done: int, steps: int, objective: float) -> None:
            self.bar.update(
                task, completed=done, total=steps, steps=f"{done}/{steps} steps", objective=f"{objective:.3g}"
            )

        return watch

    def end(self, finding: Finding, number: int, total: int) -> None:
        """Print the result of the case, and warnings in red, for example about an oracle that no real adversary has."""
        from ..report import wording as words

        if self.task is not None:
            self.bar.remove_task(self.task)
            self.task = None  # further findings of the same pass follow
        case = f"[{number}/{total}] {finding.attack} · {finding.client} · batch {finding.repeat + 1}"
        self.console.print(as_text(f"{case}: {_outcome(finding)}"))
        for alarm in filter(None, (words.warning(finding.knowledge), *finding.warnings)):
            self.console.print(as_text(alarm, "bold red"))


def _outcome(finding: Finding) -> str:
    if finding.cannot_judge:
        return f"cannot be judged: {finding.cannot_judge}"
    measure = finding.measure
    return (
        f"{measure.name} {measure.text(finding.measured.mean)}, "
        f"{measure.text(finding.mean_gain, signed=True)} over the control, {finding.seconds:.0f} s"
    )
