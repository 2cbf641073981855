"""A run as JUnit XML: its cases, its counts, and names that no XML may hold."""

from dataclasses import replace
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comparison_cases import RUN, finding, unjudged
from gradaudit.commands import cli
from gradaudit.report.gate import weigh
from gradaudit.report.junit import junit_of, junit_of_error
from gradaudit.values.characters import visible
from gradaudit.values.errors import AuditInterrupted
from gradaudit.values.thresholds import read_thresholds
from test_gate import close, linear, ranked  # noqa: F401  (a fixture among them)

ANY = st.text(st.characters(exclude_categories=()), max_size=12)  # surrogates and control characters too


def document(findings, *texts, **changes):
    run = replace(RUN, **{"planned": len(findings), **changes})
    return Xml.fromstring(junit_of(findings, run, weigh(findings, read_thresholds(texts, ""))))


def counts(root):
    return {name: int(root.get(name)) for name in ("tests", "failures", "errors", "skipped")}


def test_one_test_case_for_each_case():
    root = document(
        [finding(psnr=20.0), finding("idlg", psnr=12.0, number=1), unjudged(attack="tag", number=2, repeat=1)],
        "psnr-gain=6dB",
        planned=5,
        failures=("april on no defense: out of memory",),
    )
    assert (root.tag, root.get("name")) == ("testsuite", "gradaudit")
    assert counts(root) == {"tests": 5, "failures": 1, "errors": 3, "skipped": 0}
    assert float(root.get("time")) == pytest.approx(1.5 + 1.5 + 2.5)
    cases = {(case.get("classname"), case.get("name")): case for case in root.findall("testcase")}
    assert list(cases) == [
        ("no defense", "dlg batch 1"),
        ("no defense", "idlg batch 1"),
        ("no defense", "tag batch 2"),
        ("gradaudit", "april on no defense"),
        ("gradaudit", "unfinished"),
    ]
    leak, fine, doubt, failed, missing = cases.values()
    assert leak.find("failure").get("type") == "LeakOverThreshold"
    assert leak.find("failure").get("message").startswith("psnr-gain: 9 dB, at or above the threshold of 6 dB")
    assert leak.get("time") == "1.500"
    assert list(fine) == []
    assert doubt.find("error").attrib == {"type": "CannotBeJudged", "message": "the update holds nothing."}
    assert failed.find("error").get("type") == "TrialFailed"
    assert failed.find("error").text == "april on no defense: out of memory"
    assert missing.find("error").get("message") == "1 of 5 cases were not computed."
    facts = {one.get("name"): one.get("value") for one in root.findall("properties/property")}
    assert facts["worst_psnr_gain_db"] == "9.0"
    assert {"verdict", "knowledge", "seed", "version"} < set(facts)


def test_every_case_that_leaks_says_its_own_value():
    root = document([finding(psnr=20.0), finding("idlg", psnr=30.0, number=1)], "psnr-gain=6dB", "label-accuracy=0.5")
    first, second = root.iter("failure")
    assert first.text.splitlines()[0].startswith("psnr-gain: 9 dB")
    assert second.text.splitlines()[0].startswith("psnr-gain: 19 dB")
    assert [text.splitlines()[1].partition(":")[0] for text in (first.text, second.text)] == ["label-accuracy"] * 2


def test_cases_fail_for_a_number_only_if_all_together_reach_it():
    findings = [ranked((1, 9)), ranked((5, 9), attack="idlg", number=1), ranked((7, 1), attack="tag", number=2)]
    assert counts(document(findings, "identified=3%"))["failures"] == 2
    assert counts(document(findings[:2], "identified=51%"))["failures"] == 0
    failures = list(document(findings, "identified=2").iter("failure"))
    assert failures[0].text.startswith("1 of 2 images in this case. identified: 2 of 2")
    assert failures[1].text.startswith("identified: 2 of 2")


def test_cells_of_a_sweep_have_names_of_their_own():
    root = document([finding(grid={"seed": seed}, seed=seed) for seed in (0, 1)])
    assert [case.get("name") for case in root.findall("testcase")] == ["dlg batch 1, seed=0", "dlg batch 1, seed=1"]


def test_a_threshold_that_could_not_be_checked_is_an_error():
    root = document([close(psnr=12.0)], "psnr-gain=6dB", "identified=1")
    assert counts(root)["errors"] == 2
    assert {one.get("type") for one in root.iter("error")} == {"ThresholdNotChecked"}
    assert counts(document([close(psnr=12.0)]))["errors"] == 0


@settings(max_examples=25)
@given(ANY, ANY, ANY, ANY)
def test_no_name_breaks_the_document(attack, client, reason, line):
    findings = [
        replace(finding(psnr=30.0), attack=attack, client=client),
        unjudged(attack=attack, client=client, number=1, reason=reason or "x"),
    ]
    root = document(findings, "psnr-gain=6dB", planned=3, failures=(line,))
    case, doubt, _ = root.findall("testcase")
    assert case.get("classname") == visible(client)
    assert case.get("name") == visible(f"{attack} batch 1")
    assert doubt.find("error").get("message") == visible(reason or "x")
    assert counts(root) == {"tests": 3, "failures": 1, "errors": 2, "skipped": 0}
    assert Xml.fromstring(junit_of_error(line)).find("testcase/error").get("message") == visible(line)


def test_the_file_is_written_whatever_happens(gradaudit, linear, tmp_path):  # noqa: F811
    """If the gate fails, if it passes, and if the audit stops with an error after an earlier pass."""
    path, file = linear(), tmp_path / "ci/leak.xml"
    options = ("--out", "run", "--set", "attacks.0.stages.0.steps=1", "--junit", "ci/leak.xml")
    code, _, err = gradaudit("audit", path, *options)
    assert code == 0, err
    assert counts(Xml.parse(file).getroot()) == {"tests": 1, "failures": 0, "errors": 0, "skipped": 0}
    code, _, err = gradaudit("audit", path, *options, "--fail-over", "identified=3")
    assert code == 2
    assert Xml.parse(file).getroot().find("testcase/error").get("type") == "ThresholdNotChecked"
    code, _, err = gradaudit("audit", path, *options, "--set", "seed=5")
    assert code == 2
    assert "seed was 0, is 5" in Xml.parse(file).getroot().find("testcase/error").get("message")
    gradaudit("audit", path, *options)
    code, _, err = gradaudit("audit", "nowhere.yaml", "--junit", "ci/leak.xml")
    assert code == 2
    assert counts(Xml.parse(file).getroot()) == {"tests": 1, "failures": 0, "errors": 1, "skipped": 0}
    assert [path.name for path in file.parent.iterdir()] == ["leak.xml"]


@pytest.mark.parametrize(
    ("error", "told"),
    [(AuditInterrupted("interrupted: 1 of 2."), "interrupted: 1 of 2."), (KeyboardInterrupt(), "KeyboardInterrupt.")],
)
def test_an_interrupted_audit_leaves_no_pass(gradaudit, linear, tmp_path, monkeypatch, error, told):  # noqa: F811
    def stopped(*_):
        raise error

    monkeypatch.setattr(cli, "_audit", stopped)
    (tmp_path / "leak.xml").write_text("an earlier pass")
    assert gradaudit("audit", linear(), "--junit", "leak.xml")[0] == 130
    assert Xml.parse(tmp_path / "leak.xml").getroot().find("testcase/error").get("message") == told
