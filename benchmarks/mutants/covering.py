"""The map from lines to the tests that run them, from one recorded run of the suite (`build/mutants/coverage.json`)."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

from .mutate import Mutant
from .recording import PARTS
from .targets import MAP, ROOT, SOURCE

FIRST = (40, 20.0)  # most tests of a mutant, and their most recorded seconds
SECOND = (150, 40.0)  # the same for a mutant that survived the first tests
LEFT_OUT = ("tests/test_house.py", "tests/test_report_browser.py")


def record(workers: int, files: Sequence[str] = ()) -> None:
    """Run the suite once and write the map, or run some of its files and update the map."""
    shutil.rmtree(PARTS, ignore_errors=True)
    command = [sys.executable, "-m", "pytest", "-p", "benchmarks.mutants.recording", "-p", "no:cacheprovider"]
    command += files or ["tests", *(f"--ignore={path}" for path in LEFT_OUT)]
    command += ["-n", str(workers), "--dist", "worksteal"] if workers > 1 else []
    paths = os.pathsep.join([str(SOURCE.parent), str(ROOT)])
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, check=False)
    merge(files)


def merge(files: Sequence[str] = ()) -> None:
    """Return one map from the records of all processes, and from the old map for all files except these."""
    seconds: dict[str, float] = {}
    lines: dict[str, dict[str, list[str]]] = {}
    shares = [json.loads(part.read_text(encoding="utf-8")) for part in sorted(PARTS.glob("*.json"))]
    if files and MAP.exists():
        before = json.loads(MAP.read_text(encoding="utf-8"))
        names = before["tests"]
        for found in before["lines"].values():
            for line, tests in found.items():
                found[line] = [names[i] for i in tests]
        spent = zip(names, before["seconds"], strict=True)
        kept = {name: taken for name, taken in spent if name.split("::")[0] not in files}
        shares.insert(0, {"seconds": kept, "lines": before["lines"]})
    for share in shares:
        seconds |= share["seconds"]
        for module, found in share["lines"].items():
            for line, tests in found.items():
                lines.setdefault(module, {}).setdefault(line, []).extend(t for t in tests if t in share["seconds"])
    names = sorted(seconds)
    places = {name: place for place, name in enumerate(names)}
    numbered = {
        module: {line: sorted(places[test] for test in set(tests)) for line, tests in found.items()}
        for module, found in sorted(lines.items())
    }
    written = {"tests": names, "seconds": [round(seconds[name], 3) for name in names], "lines": numbered}
    MAP.write_text(json.dumps(written, separators=(",", ":")), encoding="utf-8")


class Covering:
    """The recorded map from lines to tests."""

    def __init__(self) -> None:
        read = json.loads(MAP.read_text(encoding="utf-8"))
        self.tests: list[str] = read["tests"]
        self.seconds: list[float] = read["seconds"]
        self.words: dict[str, dict[str, set[str]]] = {}
        self.naming: dict[str, set[int]] = {}
        self.lines: dict[str, dict[int, list[int]]] = {
            module: {int(line): tests for line, tests in found.items()} for module, found in read["lines"].items()
        }

    @cached_property
    def places(self) -> dict[str, int]:
        """The number of each test."""
        return {test: place for place, test in enumerate(self.tests)}

    @cached_property
    def breadth(self) -> Counter[int]:
        """The number of target lines that each test runs."""
        return Counter(test for found in self.lines.values() for tests in found.values() for test in tests)

    def of(self, mutant: Mutant) -> list[str]:
        """Return the tests that run a mutant; tests that are fast and run few other lines come first.

        For a line that runs only at import, such as a default or an entry of a table, these are the tests that name the
        object it belongs to, then the tests of its class or function, or else of its module.
        """
        found = self._ran(mutant.module, range(mutant.line, mutant.end + 1))
        if found:
            return self._ordered(found)
        spans, module = _around(mutant), self._ran(mutant.module, range(1, 10**6))
        named = set().union(*(self._naming(name) for name, _, _ in spans))
        around = next(
            (ran for _, first, last in spans if (ran := self._ran(mutant.module, range(first, last + 1)))), set()
        )
        groups = (named & module, named - module, around - named)
        return [test for group in groups for test in self._ordered(group)]

    def _ordered(self, found: set[int]) -> list[str]:
        return [self.tests[i] for i in sorted(found, key=lambda i: (self.seconds[i] * self.breadth[i], i))]

    def _naming(self, name: str) -> set[int]:
        """Return the tests whose own lines contain a name."""
        if name not in self.naming:
            self.naming[name] = {i for i, test in enumerate(self.tests) if name and name in self._words(test)}
        return self.naming[name]

    def _words(self, test: str) -> set[str]:
        file, function = test.split("::")[0], test.split("::")[-1].split("[")[0]
        if file not in self.words:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
            self.words[file] = {node.name: set(re.findall(r"\w+", ast.unparse(node))) for node in functions}
        return self.words[file].get(function, set())

    def within(self, tests: Iterable[str], most: int, seconds: float) -> list[str]:
        """Return at most `most` of the tests that together take at most `seconds`, in their order."""
        chosen, spent = [], 0.0
        for test in tests:
            takes = self.seconds[self.places[test]]
            if len(chosen) < most and spent + takes <= seconds:
                chosen.append(test)
                spent += takes
        return chosen

    def seconds_of(self, tests: Iterable[str]) -> float:
        """Return the recorded seconds of tests."""
        return sum(self.seconds[self.places[test]] for test in tests)

    def _ran(self, module: str, lines: range) -> set[int]:
        known = self.lines.get(module, {})
        return {test for line, tests in known.items() if line in lines for test in tests}


def _around(mutant: Mutant) -> list[tuple[str, int, int]]:
    """Return name, first and last line of the functions, classes and tables around a mutant, the smallest first."""
    tree = ast.parse((SOURCE / mutant.module).read_text(encoding="utf-8"))
    spans = [("", 1, 10**6)]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            spans.append((node.name, node.lineno, node.end_lineno or node.lineno))
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name):
            spans.append((target.id, node.lineno, node.end_lineno or node.lineno))
    found = [span for span in spans if span[1] <= mutant.line <= span[2]]
    return sorted(found, key=lambda span: span[2] - span[1])
