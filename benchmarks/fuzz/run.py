"""Runs one command line in this process, and records its output, exit code, duration and side effects."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import torch

from gradaudit.commands import cli

from .study import offered

SECONDS = 20
GRACE = 5
CACHE = os.path.join(tempfile.gettempdir(), "torchinductor")  # created by torch when it is imported
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGING = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.chmod", "os.truncate", "os.symlink", "os.link")


class Hang(BaseException):
    """Raised if the command runs longer than any input may take."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one command line.

    Args:
        code: Exit code; 0 if `main` returned.
        out: Standard output.
        err: Standard error.
        seconds: Wall-clock seconds.
        error: Traceback of an exception other than `SystemExit` from `main`, or empty.
        place: The type of the exception and the line that raised it.
        outside: Files that were changed outside the folder, and network addresses that were connected to.
    """

    code: int
    out: str
    err: str
    seconds: float
    error: str = ""
    place: str = ""
    outside: tuple[str, ...] = ()


class _Watch:
    """Python's audit hook; it cannot be removed, so it is active only while a folder is set."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.found: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple) -> None:
        if self.folder is None:
            return
        if event == "socket.connect":
            self.found.append(f"{event} {arguments[1]!r}")
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if (writes or event in CHANGING) and isinstance(arguments[0], (str, bytes, os.PathLike)):
            path = os.path.abspath(os.fsdecode(arguments[0]))
            path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
            if not path.startswith((self.folder, CACHE, "/dev/null", "/proc/")):
                self.found.append(f"{event} {path}")


_watch = _Watch()


def execute(argv: Sequence[str], folder: Path, seconds: int = SECONDS) -> Outcome:
    """Run `gradaudit ARGV` in `folder`, restore the state of the process, and return the outcome."""
    said = [open(folder.parent / name, "w+b") for name in ("out", "err")]  # noqa: SIM115  (closed where they are read)
    error = place = ""
    code = 0
    with offered(), _state_kept(), _streams_in(*(file.fileno() for file in said)):
        os.chdir(folder)
        sys.argv = ["gradaudit", *argv]
        _watch.folder, _watch.found = os.path.realpath(folder), []
        began = time.monotonic()
        try:
            with _alarm(seconds):
                cli.main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        except BaseException as raised:  # any exception is a fault to report
            code, error, place = 1, traceback.format_exc(), raised_at(raised)
        took = time.monotonic() - began
        _watch.folder = None
    out, err = map(_text, said)
    return Outcome(code, out, err, took, error, place, tuple(_watch.found))


def raised_at(error: BaseException) -> str:
    """Return the type of an exception and the last function of this package in its traceback.

    An example is `KeyError audit.py:match`.
    """
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "gradaudit" in Path(frame.filename).parts] or frames
    return f"{type(error).__name__} {Path(ours[-1].filename).name}:{ours[-1].name}:{ours[-1].lineno}"


def _text(file: IO[bytes]) -> str:
    with file:
        file.seek(0)
        return file.read().decode("utf-8", "replace")


@contextlib.contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    """Interrupt the context after `seconds` as Ctrl-C does, and abort it five seconds later if it has not ended."""

    def kill(*_: object) -> NoReturn:
        raise Hang

    def stop(*_: object) -> NoReturn:
        signal.signal(signal.SIGALRM, kill)
        signal.alarm(GRACE)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _streams_in(*files: int) -> Iterator[None]:
    """Redirect standard output and error into two files, also for C libraries."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept, before = [os.dup(1), os.dup(2)], (sys.stdout, sys.stderr)
    for number, file in enumerate(files, 1):
        os.dup2(file, number)
    ours = [io.TextIOWrapper(os.fdopen(os.dup(n), "wb"), encoding="utf-8", write_through=True) for n in (1, 2)]
    sys.stdout, sys.stderr = ours
    try:
        yield
    finally:
        for stream in ours:
            with contextlib.suppress(OSError, ValueError):
                stream.close()
        sys.stdout, sys.stderr = before
        for number, file in enumerate(kept, 1):
            os.dup2(file, number)
            os.close(file)


@contextlib.contextmanager
def _state_kept() -> Iterator[None]:
    """Restore the state of the process that user code may change."""
    here, argv, path, modules, environment = os.getcwd(), sys.argv, list(sys.path), set(sys.modules), dict(os.environ)
    kind, threads = torch.get_default_dtype(), torch.get_num_threads()
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.resetwarnings()
        for ignored in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", ignored)
        try:
            yield
        finally:
            os.chdir(here)
            sys.argv, sys.path[:] = argv, path
            os.environ.clear()
            os.environ.update(environment)
            torch.set_default_dtype(kind)
            torch.set_grad_enabled(True)
            torch.set_num_threads(threads)
            for name in set(sys.modules) - modules:
                if name.startswith(("_gradaudit_own", "fuzz_")):
                    del sys.modules[name]
