"""Judges mutants, each in a process forked from one that has imported everything except the package.

The mutated module is loaded by an import hook; no source file is changed.
"""

from __future__ import annotations

import gc
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import NamedTuple

import pytest

from .mutate import Mutant, mutated
from .targets import ROOT, SOURCE

READY = [
    "torch",
    "torch.func",
    "torch.nn.functional",
    "torchvision.transforms",
    "torchvision.models",
    "torchvision.datasets",
    "numpy",
    "scipy.optimize",
    "scipy.stats",
    "skimage.metrics",
    "skimage.data",
    "sklearn.datasets",
    "pydantic",
    "yaml",
    "typer",
    "typer.testing",
    "rich",
    "jinja2",
    "PIL.Image",
    "safetensors.torch",
    "_pytest.assertion.rewrite",
    "hypothesis",
    "hypothesis.strategies",
    "hypothesis.extra.numpy",
    "transformers",
    "lpips",
    "torchmetrics",
    "torchmetrics.functional",
    "rouge_score.rouge_scorer",
]


PLUGIN = "_hypothesis_pytestplugin"  # the only plugin that the suite needs
REWRITTEN = "ignore::pytest.PytestAssertRewriteWarning"  # for modules that are imported before
ENDED = "the process ended"


class Job(NamedTuple):
    """A mutant with the tests that judge it; a job without a mutant checks that the tests pass."""

    mutant: Mutant | None
    tests: list[str]
    limit: float


class Judged(NamedTuple):
    """The outcome of a job.

    Args:
        job: The job.
        outcome: "killed", "timeout" or "survived".
        by: The first test that failed, or another reason.
        seconds: Wall-clock seconds.
    """

    job: Job
    outcome: str
    by: str
    seconds: float


class _Loader(SourceFileLoader):
    """Loads one module from a mutated syntax tree."""

    number = 0

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled mutant."""
        return compile(mutated(Path(self.path).read_text(encoding="utf-8"), self.number), self.path, "exec")


class _Finder(MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        parts = Path(mutant.module).with_suffix("").parts
        self.name = ".".join(("gradaudit", *(parts[:-1] if parts[-1] == "__init__" else parts)))
        self.loader = _Loader(self.name, str(SOURCE / mutant.module))
        self.loader.number = mutant.number

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        """Return a spec for the mutated module only."""
        if fullname != self.name:
            return None
        package = [str(Path(self.loader.path).parent)] if self.loader.path.endswith("__init__.py") else None
        return spec_from_file_location(
            fullname, self.loader.path, loader=self.loader, submodule_search_locations=package
        )


class _Failures:
    """A pytest plugin that records failed tests."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the name of a failed test."""
        if report.failed:
            self.names.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record a failed import as a failure."""
        if report.failed:
            self.names.append(report.nodeid)


def prepare() -> None:
    """Import all slow modules, but neither the package nor its tests."""
    os.chdir(ROOT)
    for place in (str(SOURCE.parent), str(ROOT)):
        if place in sys.path:
            sys.path.remove(place)
        sys.path.insert(0, place)
    for name in READY:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # loading plugins takes longer than most tests
    sys.modules["torch"].set_num_threads(1)
    gc.collect()
    gc.freeze()  # pytest's final garbage collection can skip these objects
    assert "gradaudit" not in sys.modules


def judge(jobs: Iterable[Job], workers: int) -> Iterator[Judged]:
    """Yield the outcomes of all jobs as they finish, with `workers` at once; call `prepare` before."""
    waiting, running = iter(jobs), {}
    left = True
    while left or running:
        while left and len(running) < workers:
            job = next(waiting, None)
            if job is None:
                left = False
            elif not job.tests:
                yield Judged(job, "survived", "no test runs it", 0.0)
            else:
                folder = Path(tempfile.mkdtemp(prefix="mutant-"))
                running[_start(job, folder)] = (job, folder, time.monotonic())
        for child, (job, folder, began) in list(running.items()):
            ended = os.waitpid(child, os.WNOHANG)[0] == child
            late = time.monotonic() - began > job.limit
            if not ended and late:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
            if ended or late:
                del running[child]
                yield Judged(job, *_verdict(folder / "verdict", ended), time.monotonic() - began)
                shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.02)


def _verdict(path: Path, ended: bool) -> tuple[str, str]:
    if not ended:
        return "timeout", "out of time"
    by = path.read_text(encoding="utf-8") if path.exists() else ENDED
    return ("killed", by) if by else ("survived", "")


def _start(job: Job, folder: Path) -> int:
    """Fork a child that runs the tests and writes the names of failing ones, at most one for a mutant."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    try:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        (folder / "verdict").write_text("\n".join(_failing(job, folder)), encoding="utf-8")
    finally:
        os._exit(0)


def _failing(job: Job, folder: Path) -> list[str]:
    """Return the failing tests, file by file; for a mutant only the first one."""
    if job.mutant is not None:
        sys.meta_path.insert(0, _Finder(job.mutant))
    failures = _Failures()
    by_file: dict[str, list[str]] = {}
    for test in job.tests:
        by_file.setdefault(test.split("::")[0], []).append(test)
    for number, tests in enumerate(by_file.values()):
        options = ["-q", "-W", REWRITTEN, "-p", PLUGIN, "-p", "no:cacheprovider", "--tb=no"]
        options += [f"--basetemp={folder / str(number)}"]
        code = pytest.main([*(["-x"] if job.mutant else []), *options, *tests], plugins=[failures])
        if code and not failures.names:
            failures.names.append(f"{tests[0]} (pytest ended with {int(code)})")
        if code and job.mutant is not None:
            return failures.names[:1]
    return failures.names
