"""What a hook inside a federation does with an update: it writes the capture, and may audit it within a time budget.

Nothing that happens here may stop the federation: every failure is one line in the log of `gradaudit.capture`.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..values.errors import AuditError, in_one_line, printable
from ..values.files import make_folder, write_whole
from .writing import capture_name, write_capture

LOG = logging.getLogger("gradaudit.capture")
AuditAction = Callable[[Path], Any] | str | Path | None
"""What to do with a capture: a callable of its path, the path of an audit file, or nothing."""


@dataclass(frozen=True)
class CaptureRecorder:
    """Writes captures into one folder and audits them, and never raises.

    Args:
        folder: Folder of the captures.
        audit: A callable that receives the path of each capture, or the path of an audit file, which
            `gradaudit audit` runs in a process of its own with `update.path` set to the capture.
        budget: Most seconds that an audit may take; `None` waits until it ends. An audit file's process is ended after
            that time, and its finished cases are kept. A callable cannot be ended: it goes on in the background, and
            only the message no longer waits for it.
    """

    folder: Path
    audit: AuditAction = None
    budget: float | None = None

    def __post_init__(self) -> None:
        if self.budget is not None and not self.budget > 0:
            raise AuditError(f"budget: should be a positive number of seconds. Found {self.budget}.")
        if not (self.audit is None or callable(self.audit) or isinstance(self.audit, (str, Path))):
            raise AuditError("audit: should be a function of the capture's path, or the path of an audit file.")

    def record(
        self,
        tensors: Mapping[str, Any],
        *,
        kind: str,
        round: int,
        node: str | int,
        examples: int | None = None,
        order: Sequence[str] | None = None,
        before: Mapping[str, Any] | None = None,
        direction: str | None = None,
        message: str = "train",
    ) -> Path | None:
        """Write one capture and audit it, and return its path, or `None` if it could not be written.

        Args:
            tensors: Name -> array, in the order in which they were sent.
            kind: As for `write_capture`.
            round: Number of the round.
            node: Name or number of the client.
            examples: Number of examples that the client reported, if any.
            order: Names of the tensors in the order in which they were sent; the order of `tensors` by default.
            before: Global weights of this round, if known.
            direction: Direction of a difference, if known.
            message: Kind of the message, for the name of the file.
        """
        with harmless(f"the update of node {node} in round {round} was not captured"):
            path = write_capture(
                Path(self.folder) / capture_name(round, node, message),
                tensors,
                kind=kind,
                round=round,
                node=node,
                examples=examples,
                order=list(tensors) if order is None else order,
                before=before,
                direction=direction,
            )
            with harmless(f"{path.name} was captured, but not audited"):
                self._inspect(path)
            return path
        return None

    def _inspect(self, path: Path) -> None:
        if callable(self.audit):
            _call(self.audit, path, self.budget)
        elif self.audit is not None:
            _run_file(Path(self.audit), path, self.budget)


@contextmanager
def harmless(what: str) -> Iterator[None]:
    """Log an error of the block as one line, which begins with `what`, and go on after the block."""
    try:
        yield
    except Exception as error:  # the federation goes on, whatever the audit's code raises
        reason = str(error) if isinstance(error, AuditError) else in_one_line(error)
        LOG.warning("%s", printable(f"gradaudit: {what}: {reason} The message goes on unchanged."))


def _call(audit: Callable[[Path], Any], path: Path, budget: float | None) -> None:
    """Call `audit` in a thread and wait for it at most `budget` seconds."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            audit(path)
        except BaseException as error:  # SystemExit too: it would end the thread without a word
            failed.append(error)

    thread = threading.Thread(target=work, name=f"gradaudit {path.name}", daemon=True)
    thread.start()
    thread.join(budget)
    if thread.is_alive():
        raise AuditError(f"the audit did not end within {budget:g} s and goes on in the background.")
    if failed:
        raise AuditError(in_one_line(failed[0])) from failed[0]


def _run_file(config: Path, path: Path, budget: float | None) -> None:
    """Run `gradaudit audit` on the capture in a process of its own, and keep what it prints beside its results."""
    out = make_folder(path.with_suffix(""))
    words = [sys.executable, "-m", "gradaudit", "audit", str(config), "--out", str(out)]
    words += ["--set", f"update.path={path.resolve()}"]
    start = time.monotonic()
    try:
        done = subprocess.run(words, capture_output=True, timeout=budget, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        write_whole(out / "audit.log", error.stdout or b"")
        raise AuditError(f"the audit was ended after {budget:g} s; its finished cases are in {out.name}.") from error
    write_whole(out / "audit.log", done.stdout + done.stderr)
    if done.returncode == 1:
        LOG.warning("gradaudit: %s leaks more than the audit file allows: %s", path.name, out / "report.html")
    elif done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise AuditError(
            f"gradaudit audit ended with exit code {done.returncode}: {last[-1] if last else 'no message'}"
        )
    else:
        took = time.monotonic() - start
        LOG.info("gradaudit: %s was audited in %.1f s: %s", path.name, took, out / "report.html")
