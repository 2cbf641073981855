"""Trials on a Ray cluster: a node that dies loses nothing, and the numbers are those of one process."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import gradaudit as package
from gradaudit.execution.executors import ray_cluster
from gradaudit.values.errors import AuditError
from test_cli import audit_file  # noqa: F401  (fixtures)

HERE = Path(__file__).parent


@pytest.mark.skipif(not find_spec("ray"), reason="Ray is not installed: pip install 'gradaudit[ray]'")
def test_a_node_that_dies_loses_nothing_and_the_numbers_are_equal(tmp_path):
    paths = os.pathsep.join([str(HERE), str(Path(package.__file__).parents[1])])
    environment = {**os.environ, **ray_cluster.QUIET, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    script = [sys.executable, HERE / "ray_run.py", tmp_path / "run", tmp_path / "found.json"]
    shown = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=200, cwd=HERE)
    assert shown.returncode == 0, shown.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["squares"] == [(10 + number) ** 2 for number in range(16)]
    assert found["failed"] == ["square 99: ZeroDivisionError: by nothing."]
    assert found["numbers"] == list(range(1, 17))
    assert found["workers"] >= 2
    assert found["equal"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", r"--ray-address 127.0.0.1:1: no answer \(Connection refused\). `ray start --head` starts one."),
        ("127.0.0.1:99999", r"--ray-address 127.0.0.1:99999: no answer"),
        ("here", r"--ray-address here: write it as HOST:PORT, such as 10.0.0.1:6379."),
    ],
)
def test_an_address_that_does_not_answer_is_one_line(address, message):
    with pytest.raises(AuditError, match=message):
        ray_cluster._require_answer(address)


def test_without_ray_it_says_how_to_get_it(gradaudit, audit_file, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "ray", None)
    code, out, err = gradaudit("audit", audit_file(), "--out", "run", "--executor", "ray")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == ("error: --executor ray: needs Ray 2.50 or later: `pip install 'gradaudit[ray]'`.")
