"""Running a sweep, and writing its page even if it is interrupted."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..execution import Listener, Results
from ..execution.executors import Executor
from ..execution.sweep_jobs import SweepPlan, findings_of, run_sweep
from ..values.errors import AuditError, AuditInterrupted
from ..values.finding import Finding
from .auditing import AGAIN
from .sweep_page import write_sweep


def carry_out_sweep(
    plan: SweepPlan,
    results: Results,
    listener: Listener[Finding],
    *,
    executor: Executor | None = None,
    stop_on_error: bool = False,
    shard: tuple[int, int] = (1, 1),
) -> Path:
    """Run every trial that is not in `results` yet, and return the path of the page, which is always written.

    Args:
        plan: The sweep.
        results: The results of the sweep, in its folder.
        listener: Called with the progress.
        executor: Where the trials are computed; one after another in this process by default.
        stop_on_error: Whether the first trial that fails stops the sweep.
        shard: `(k, n)` runs the k-th of n parts.

    Raises:
        AuditError: `run_sweep` raises it, or the page cannot be written.
        AuditInterrupted: Ctrl-C was pressed; the message says how many trials are saved.
    """
    try:
        run_sweep(plan, results, listener, executor=executor, stop_on_error=stop_on_error, shard=shard)
    except BaseException as error:
        with suppress(AuditError):  # the error that stopped the sweep is the one to report
            _written(plan, results)
        if not isinstance(error, KeyboardInterrupt):
            raise
        kept = f"{len(findings_of(plan, results))} of {results.run.planned} trials are kept in {results.folder}"
        raise AuditInterrupted(f"interrupted: {kept}. {AGAIN}") from None
    return _written(plan, results)


def _written(plan: SweepPlan, results: Results) -> Path:
    return write_sweep(findings_of(plan, results), results.run, results.folder)
