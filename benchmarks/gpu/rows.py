"""Run cases one by one in a process of their own, and write every row to Markdown and JSON lines at once."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch

Row = dict[str, Any]
POISONED = ("CUDA error", "device-side assert", "illegal memory access", "CUBLAS_STATUS", "cuDNN error")


class Case(NamedTuple):
    """One row: `call(*arguments)` returns its columns.

    Args:
        name: The first columns, which a failed row has too.
        call: A function of a module.
        arguments: Its arguments.
        seconds: Time after which its process is ended.
        finish: Adds columns in the main process.
    """

    name: Row
    call: Callable[..., Row]
    arguments: tuple[Any, ...] = ()
    seconds: float = 120.0
    finish: Callable[[Row], Row] = dict


class Report:
    """The rows so far, written to two files after each.

    Args:
        folder: The folder.
        heading: First lines of the Markdown.
    """

    def __init__(self, folder: Path, heading: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.heading = folder, heading
        self.rows: dict[str, list[Row]] = {}
        (folder / "gpu.jsonl").write_text("", encoding="utf-8")

    def add(self, part: str, row: Row) -> None:
        """Add a row to the table of a part, print it and write everything."""
        self.rows.setdefault(part, []).append(row)
        with (self.folder / "gpu.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"part": part, **row}, default=str) + "\n")
        tables = (f"## {name}\n\n{table(rows)}\n" for name, rows in self.rows.items())
        (self.folder / "gpu.md").write_text("\n".join([self.heading, "", *tables]), encoding="utf-8")
        print(f"[{part}]", ", ".join(f"{key} {_cell(value)}" for key, value in row.items()), flush=True)


def table(rows: list[Row]) -> str:
    """Return a Markdown table with the columns of all rows."""
    heads = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    lines += ["| " + " | ".join(_cell(row.get(head)) for head in heads) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(str(value).replace("|", "/").split())


class Hand:
    """One process that runs cases; it is replaced if a case breaks it or takes too long.

    Args:
        inline: Whether to run cases in this process instead, without a limit of time.
    """

    def __init__(self, inline: bool) -> None:
        self.inline = inline
        self.pool: ProcessPoolExecutor | None = None

    def run(self, case: Case) -> Row:
        """Return the columns of a case; `error` is one of them if it failed."""
        started = time.perf_counter()
        row = failed_as_row(case.call, case.arguments) if self.inline else self._elsewhere(case)
        if any(mark in str(row.get("error", "")) for mark in POISONED):
            self.end()  # an error of the device breaks every later call of its process
        return {**case.name, **row, "row s": round(time.perf_counter() - started, 2)}

    def _elsewhere(self, case: Case) -> Row:
        self.pool = self.pool or ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        try:
            return self.pool.submit(failed_as_row, case.call, case.arguments).result(case.seconds)
        except TimeoutError:
            self.end()
            return {"error": f"ended after {case.seconds:.0f} s"}
        except BrokenProcessPool as error:
            self.end()
            return {"error": f"its process died: {error}"}

    def end(self) -> None:
        """End the process; the next case gets a new one."""
        if self.pool is not None:
            for process in list((self.pool._processes or {}).values()):
                process.kill()
            self.pool.shutdown(wait=False, cancel_futures=True)
            self.pool = None


def failed_as_row(call: Callable[..., Row], arguments: tuple[Any, ...]) -> Row:
    """Return the columns of a call, or its error with the place where it was raised."""
    try:
        return call(*arguments)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        with suppress(Exception):
            torch.cuda.empty_cache()
        where = f"{Path(place.filename).name}:{place.lineno}"
        return {"error": f"{type(error).__name__}: {error} ({where})"[:400]}


def now_or_failed(future: Future[Row] | None, seconds: float) -> Row:
    """Return the row of a future; its error, if there is none in time."""
    if future is None:
        return {"error": "not run"}
    try:
        return future.result(max(0.1, seconds))
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:200]}


def run_part(part: str, cases: Iterable[Case], report: Report, hand: Hand, limit: float) -> None:
    """Run the cases of a part until its time is over; every case gets a row."""
    end = time.monotonic() + limit
    for case in cases:
        left = end - time.monotonic()
        if left <= 0:
            report.add(part, {**case.name, "error": f"not run: --limit {limit:.0f} is over"})
            continue
        row = hand.run(case._replace(seconds=min(case.seconds, left + 10)))
        try:
            row = case.finish(row)
        except Exception as error:
            row = {**row, "error": f"{type(error).__name__}: {error}"[:200]}
        report.add(part, row)
