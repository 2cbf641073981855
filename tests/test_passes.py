"""Updates that share a pass: the findings are those of one case after another."""

import json

import pytest

from test_cli import audit_file  # noqa: F401  (fixtures)

ATTACKS = [{"name": "inverting-gradients", "set": {"stages.0.steps": 30}}, "dlg"]
APART = [{"name": "inverting-gradients", "set": {"stages.0.steps": 30, "together": False}}]


def findings(gradaudit, path, out):
    code, shown, problem = gradaudit("audit", path, "--out", out, "--json")
    assert code == 0, problem
    return json.loads(shown)["findings"]


def test_findings_are_those_of_one_after_another(gradaudit, audit_file, tmp_path):  # noqa: F811
    together = findings(gradaudit, audit_file(repeats=3, attacks=ATTACKS[:1]), tmp_path / "a")
    apart = findings(gradaudit, audit_file(repeats=3, attacks=APART), tmp_path / "b")
    assert [one["case"] for one in together] == [one["case"] for one in apart]
    for one, other in zip(together, apart, strict=True):
        assert one["scores"]["psnr"]["mean"] == pytest.approx(other["scores"]["psnr"]["mean"], abs=0.2)
        assert any("one pass" in note for note in one["notes"])
        assert not any("one pass" in note for note in other["notes"])


def test_an_attack_that_cannot_share_runs_beside_one_that_can(gradaudit, audit_file, tmp_path):  # noqa: F811
    found = findings(
        gradaudit,
        audit_file(
            repeats=2,
            data={"source": "photographs", "size": 16, "batch_size": 1},
            attacks=[ATTACKS[0], {"name": "dlg", "set": {"stages.0.steps": 2}}],
        ),
        tmp_path / "a",
    )
    assert len({one["case"] for one in found}) == 4


def test_what_is_done_is_not_done_again(gradaudit, audit_file, tmp_path):  # noqa: F811
    path = audit_file(repeats=3, attacks=ATTACKS[:1])
    before = findings(gradaudit, path, tmp_path / "a")
    lines = (tmp_path / "a" / "trials.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "a" / "trials.jsonl").write_text(lines[1])
    again = findings(gradaudit, path, tmp_path / "a")
    assert {one["case"] for one in again} == {one["case"] for one in before}
    psnr = {one["case"]: one["scores"]["psnr"]["mean"] for one in before}
    for one in again:
        assert one["scores"]["psnr"]["mean"] == psnr[one["case"]]
