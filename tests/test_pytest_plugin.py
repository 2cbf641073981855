"""Audits as tests: the fixture, the assertion, and a plugin that does not make pytest slower."""

import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import torch

import gradaudit as ga
from comparison_cases import finding, unjudged
from conftest import linear_net, make_batch
from gradaudit.commands.pytest_plugin import leak_audit  # noqa: F401  (the fixture, also where it is not installed)
from properties import short
from test_gate import close, other, ranked

ROOT = Path(__file__).resolve().parents[1]
BATCH = make_batch(1, side=4, classes=5)
KNOWN = {"attacks": short(ga.attacks.IDLG, 25), "knowledge": "priors"}


def test_a_leaking_client_fails(leak_audit, tmp_path, request):  # noqa: F811
    run = leak_audit(linear_net(), BATCH, **KNOWN)
    assert run.folder == tmp_path / "leak-audit-1"
    assert (run.folder / "report.html").is_file()
    with pytest.raises(AssertionError) as caught:
        ga.assert_no_leak(run, psnr_gain_db=6)
    verdict, worst = str(caught.value).splitlines()
    assert verdict.startswith("no defense: Recognisable: 1 of 1 image was recovered")
    assert re.fullmatch(
        r"psnr-gain: [\d.]+ dB, at or above the threshold of 6 dB \(idlg on no defense, batch 1, image 1\)\. "
        r"Its scores: PSNR [\d.]+ dB, control [\d.]+ dB\.",
        worst,
    )
    recorded = dict(request.node.user_properties)
    assert recorded["gradaudit.worst_psnr_gain_db"] > 6
    assert recorded["gradaudit.verdict"] == verdict


def test_a_defended_client_passes(leak_audit):  # noqa: F811
    client = ga.Client(linear_net(), defenses=[ga.defenses.GaussianNoise(10.0)])
    runs = [leak_audit(client, BATCH, **KNOWN, seed=seed) for seed in (0, 1)]
    assert [run.folder.name for run in runs] == ["leak-audit-1", "leak-audit-2"]
    ga.assert_no_leak(runs[0], psnr_gain_db=6, recovered=0)
    ga.assert_no_leak([finding for run in runs for finding in run.findings])


def test_without_attacks_the_battery_runs_as_in_an_audit_file(leak_audit):  # noqa: F811
    run = leak_audit(linear_net(), BATCH, budget="0.2s")
    assert {finding.battery for finding in run.findings} == {"standard-1"}
    assert [finding.attack for finding in run.findings] == ["inverting-gradients-fast", "inverting-gradients-short"]


def test_the_example_of_the_page_runs(leak_audit):  # noqa: F811
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/gate.md").read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(compile(block, "gate.md", "exec"), names)
    torch.manual_seed(0)
    names["test_my_client_does_not_leak"](lambda *given, **options: leak_audit(*given, **{**options, **KNOWN}))


def test_without_a_threshold_the_gain_of_a_recovered_example_counts():
    ga.assert_no_leak(finding(psnr=16.9))
    with pytest.raises(AssertionError, match="psnr-gain: 6 dB, at or above the threshold of 6 dB"):
        ga.assert_no_leak(finding(psnr=17.0))
    text = ga.values.types.Modality.TEXT
    ga.assert_no_leak(other(text, (0.3,)))
    with pytest.raises(AssertionError, match="token-accuracy-gain: 25 points"):
        ga.assert_no_leak(other(text, (0.35,)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"psnr_gain_db": 9}, "psnr-gain: 9 dB"),
        ({"label_accuracy": 0.5}, "label-accuracy: 50 %, at or above"),
        ({"identified": 0}, "identified: 1 of 2 images, and none is allowed .* rank 1 of 50"),
        ({"recovered": 1}, "recovered: 1 of 2 images"),
    ],
)
def test_every_threshold_fails(options, said):
    with pytest.raises(AssertionError, match=said):
        ga.assert_no_leak(ranked((1, 9), label_accuracy=0.5), **options)
    table = other(ga.values.types.Modality.TABLE, (0.3,))
    with pytest.raises(AssertionError, match="cell-accuracy-gain: 20 points"):
        ga.assert_no_leak(table, cell_accuracy_gain=0.2)


@pytest.mark.parametrize("result", [[], unjudged(), close(), [finding(psnr=12.0), unjudged(number=1)]])
def test_what_cannot_be_judged_fails_too(result):
    with pytest.raises(AssertionError, match="it cannot be asserted that nothing leaks: "):
        ga.assert_no_leak(result)


def test_wrong_arguments_are_errors_and_no_leak():
    with pytest.raises(ga.AuditError, match="label-accuracy: is more than all"):
        ga.assert_no_leak(finding(), label_accuracy=50)
    with pytest.raises(ga.AuditError, match=r"should get a gradaudit.Run or findings. Found 3"):
        ga.assert_no_leak([3])


def test_the_entry_point_is_the_plugin():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (module,) = project["entry-points"]["pytest11"].values()
    assert hasattr(import_module(module), "leak_audit")


def test_pytest_starts_without_torch(tmp_path):
    """In a process of its own: the plugin, its fixture and a collected test load nothing heavy."""
    (tmp_path / "conftest.py").write_text(
        "import sys\n"
        "def pytest_collection_finish(session):\n"
        "    assert 'gradaudit.commands.pytest_plugin' in sys.modules\n"
        "    assert not {'torch', 'numpy', 'typer', 'rich', 'pydantic', 'jinja2'} & set(sys.modules)\n"
    )
    (tmp_path / "test_mine.py").write_text("import gradaudit\ndef test_mine(leak_audit):\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-p", "gradaudit.commands.pytest_plugin", "-p", "no:cacheprovider"]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(Path(ga.__file__).parents[1])}
    command += ["-W", "error", "-q", "--junitxml", str(tmp_path / "tests.xml"), str(tmp_path)]
    found = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "1 passed" in found.stdout
