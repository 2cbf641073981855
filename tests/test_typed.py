"""The public names carry types that a checker sees, and their examples run."""

import ast
import doctest
import inspect
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import gradaudit as ga
import typed_use

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {name for name in ga.__all__ if inspect.ismodule(getattr(ga, name))}
NAMES = sorted(set(ga.__all__) - ROOMS - {"__version__"})


def mypy(*arguments):
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed (it comes with the extra `test`)")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(ROOT / "build" / "mypy"), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_public_surface_is_typed_strictly():
    found = mypy()
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_checker_sees_types_and_not_anything(tmp_path):
    """Were a public name `Any`, a wrong type would go unseen."""
    wrong = tmp_path / "wrong.py"
    lines = ["import gradaudit as ga"]
    lines += [f"x_{name}: int = ga.{name}" for name in ga.__all__]
    lines += ["ga.run(3, 4, 5, 6)", 'ga.Client("model")']
    wrong.write_text("\n".join(lines) + "\n")
    found = mypy(wrong)
    faulty = {int(line.split(":")[1]) for line in found.stdout.splitlines() if ": error:" in line}
    assert faulty == set(range(2, len(lines) + 1)), found.stdout


def test_every_public_name_is_used_in_a_typed_way():
    text = Path(typed_use.__file__).read_text(encoding="utf-8")
    assert [name for name in ga.__all__ if f"ga.{name}" not in text] == []


def test_the_typed_use_runs(tmp_path):
    found = typed_use.everything(tmp_path / "run")
    assert [finding.attack for finding in found.findings] == ["black", "dlg"]
    assert "unknown level nonsense" in typed_use.refused()
    assert len(typed_use.rooms()) == len(ROOMS)


def test_what_a_checker_is_told_is_what_loads():
    """The names under TYPE_CHECKING and those of the lazy loading are the same, from the same modules."""
    tree = ast.parse(Path(ga.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert {name: module for name, module in told.items() if name not in ROOMS} == ga._HOME
    assert {name for name in told if name in ROOMS} == set(ga._ROOMS)


def test_the_marker_of_types_is_shipped():
    assert Path(ga.__file__).with_name("py.typed").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example_that_runs(name):
    value = getattr(ga, name)
    tests = doctest.DocTestFinder(recurse=False).find(value, name, globs={"ga": ga, "torch": torch})
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert any(test.examples for test in tests), f"{name} has no example"
    for test in tests:
        said = []
        runner.run(test, out=said.append)
        assert runner.summarize(verbose=False).failed == 0, "".join(said)
