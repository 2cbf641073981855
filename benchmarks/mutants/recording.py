"""A pytest plugin that records which test runs which target lines, and for how long, as one JSON file per process."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from inspect import getsource

import coverage
import pytest

from .targets import BUILD, ROOT, SOURCE, modules

SLOW = ("subprocess", "chromium", "flwr")  # a test whose source names one of these starts other programs
PARTS = BUILD / "parts"


class Recording:
    """The record of one process."""

    def __init__(self) -> None:
        self.coverage = coverage.Coverage(data_file=None, include=[str(SOURCE / name) for name in modules()])
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Run the test in a coverage context of its own and measure its time."""
        self.coverage.switch_context(item.nodeid)
        began = time.perf_counter()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.perf_counter() - began

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record a test that did not pass."""
        if not report.passed:
            self.failed.add(report.nodeid)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Skip tests that start other programs."""
        items[:] = [item for item in items if not any(word in getsource(item.function) for word in SLOW)]

    def pytest_sessionfinish(self) -> None:
        """Write the record of this process."""
        self.coverage.stop()
        data, lines = self.coverage.get_data(), {}
        for file in data.measured_files():
            found = {line: [t for t in tests if t] for line, tests in data.contexts_by_lineno(file).items()}
            lines[os.path.relpath(file, SOURCE)] = found
        seconds = {test: spent for test, spent in self.seconds.items() if test not in self.failed}
        PARTS.mkdir(parents=True, exist_ok=True)
        part = PARTS / f"{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}.json"
        part.write_text(json.dumps({"seconds": seconds, "lines": lines}), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    """Record in the processes that run tests, not in the one that distributes them."""
    assert config.rootpath == ROOT
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        config.pluginmanager.register(Recording(), "mutants-recording")
