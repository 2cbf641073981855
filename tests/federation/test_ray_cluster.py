"""Trials on a Ray cluster: a node that dies loses nothing, and the numbers are those of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import gradaudit as package
from gradaudit.execution.executors import ray_cluster

HERE = Path(__file__).parent
TESTS = HERE.parent


def test_a_node_that_dies_loses_nothing_and_the_numbers_are_equal(tmp_path):
    paths = os.pathsep.join([str(TESTS), str(Path(package.__file__).parents[1])])
    environment = {**os.environ, **ray_cluster.QUIET, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    script = [sys.executable, HERE / "ray_run.py", tmp_path / "run", tmp_path / "found.json"]
    shown = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=400, cwd=HERE)
    assert shown.returncode == 0, shown.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["squares"] == [(10 + number) ** 2 for number in range(16)]
    assert found["failed"] == ["square 99: ZeroDivisionError: by nothing."]
    assert found["numbers"] == list(range(1, 17))
    assert found["workers"] >= 2
    assert found["equal"]
