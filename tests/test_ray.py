"""What is said where Ray cannot be used; tests/federation/test_ray_cluster.py runs on a real cluster."""

import sys

import pytest

from gradaudit.execution.executors import ray_cluster
from gradaudit.values.errors import AuditError
from test_cli import audit_file  # noqa: F401  (fixtures)


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
