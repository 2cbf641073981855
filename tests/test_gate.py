"""The gate: thresholds on the worst example, their units, and the exit code of a pipeline."""

import json
import math
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml

from comparison_cases import RUN, finding, run_folder, unjudged
from gradaudit.audit.config import make_config
from gradaudit.commands import cli
from gradaudit.report.gate import check, gate_facts, measures_of, require_measurable, weigh
from gradaudit.report.outcome import Run
from gradaudit.values.errors import AuditError
from gradaudit.values.measures import MEASURES
from gradaudit.values.scores import Score, Scores
from gradaudit.values.thresholds import Threshold, read_threshold, read_thresholds, threshold_measures
from gradaudit.values.types import Knowledge, Modality

PAGE = Path(__file__).resolve().parents[1] / "docs/gate.md"


def ranked(ranks, psnr=20.0, **changes):
    """A finding on two images with identification ranks; `psnr` is the mean of the two."""
    scores = {"psnr": Score.of((psnr - 1, psnr + 1)), "rank": Score.of(ranks, higher_is_better=False)}
    return finding(scores=Scores(scores), gallery=50, **{"psnr": psnr, **changes})


def other(modality, values, control=0.1, **changes):
    """A finding on texts or rows."""
    metric = MEASURES[modality].metric
    scores = (Scores({metric: Score.of(each)}) for each in (values, (control,) * len(values)))
    return finding(modality=modality, **dict(zip(("scores", "control"), scores, strict=True)), **changes)


def lines(findings, *texts):
    return [one.line for one in check(findings, texts)]


# Thresholds and units


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        ("psnr-gain=6", 6, "6 dB"),
        ("psnr-gain=6dB", 6, "6 dB"),
        ("psnr-gain= 6.5 DB ", 6.5, "6.5 dB"),
        ("psnr-gain=.5e1db", 5, "5 dB"),
        ("psnr-gain=0", 0, "0 dB"),
        ("token-accuracy-gain=0.25", 0.25, "25 points"),
        ("token-accuracy-gain=25%", 0.25, "25 points"),
        ("cell-accuracy-gain=25 points", 0.25, "25 points"),
        ("label-accuracy=0.5", 0.5, "50 %"),
        ("label-accuracy=50%", 0.5, "50 %"),
        ("identified=1", 1, "1"),
        ("identified=10%", 0.1, "10 %"),
        ("recovered=0", 0, "0"),
    ],
)
def test_a_threshold_is_read_with_or_without_its_unit(text, value, shown):
    (found,) = read_thresholds([text], "--fail-over")
    assert found.value == pytest.approx(value)
    assert found.text() == shown
    assert found.counts == (text in ("identified=1", "recovered=0"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("psnr-gain=6%", "unknown unit %. The unit of psnr-gain is dB. Write it as psnr-gain=6dB."),
        ("label-accuracy=6dB", "unknown unit dB. The unit of label-accuracy is %. Write it as label-accuracy=50%."),
        ("identified=1 image", "The unit of identified is %, or none for a number of examples."),
        ("psnr=6", "unknown measure psnr. Did you mean psnr-gain? Known: psnr-gain,"),
        ("psnr-gain", "write it as MEASURE=VALUE, such as psnr-gain=6dB."),
        ("psnr-gain=", "should be a number with a unit, such as psnr-gain=6dB. Found ''."),
        ("psnr-gain=six", "should be a number with a unit"),
        ("psnr-gain=nan", "should be a number with a unit"),
        ("psnr-gain=6,5dB", "unknown unit ,5dB."),
        ("psnr-gain=-1", "should be a finite number of at least 0."),
        ("psnr-gain=1e999", "should be a finite number of at least 0."),
        ("label-accuracy=25", "is more than all, so nothing could reach it. The most is 1, or 100%."),
        ("token-accuracy-gain=101%", "is more than all"),
        ("identified=0.5", "a number of examples is whole. Write a share as identified=50%."),
    ],
)
def test_a_threshold_that_is_none_is_refused_in_one_line(text, said):
    with pytest.raises(AuditError, match=re.escape(said)) as caught:
        read_thresholds([text], "--fail-over")
    assert str(caught.value).startswith(f"--fail-over {text.strip()}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [True, None, [6], {"a": 1}, 10**400])
def test_a_value_of_the_file_is_a_number_or_text(given):
    with pytest.raises(AuditError, match="psnr-gain: should be"):
        read_threshold("psnr-gain", given, "psnr-gain")


def test_a_measure_is_given_once():
    with pytest.raises(AuditError, match="psnr-gain: is given twice"):
        read_thresholds(["psnr-gain=6", "psnr-gain=3dB"], "--fail-over")


def test_the_file_takes_thresholds_and_names_the_wrong_one():
    base = {"data": {"source": "photographs"}, "model": {"name": "mlp"}, "knowledge": ["priors"]}
    config = make_config({**base, "fail_over": {"psnr-gain": "6dB", "recovered": 0, "label-accuracy": 0.5}})
    assert [one.measure for one in read_thresholds(config.fail_over, "")] == [
        "psnr-gain",
        "recovered",
        "label-accuracy",
    ]
    assert make_config(yaml.safe_load(config.as_yaml())).fail_over == config.fail_over
    assert "fail_over" not in make_config(base).as_yaml()
    assert make_config(base, ["fail_over.psnr-gain=3dB"]).fail_over == {"psnr-gain": "3dB"}
    for wrong, said in ({"psnr-gain": "6%"}, "psnr-gain: unknown unit %"), ({"ssim": 1}, "ssim: unknown measure ssim"):
        with pytest.raises(AuditError, match=f"audit: fail_over: {said}"):
            make_config({**base, "fail_over": wrong})


def test_a_measure_belongs_to_a_modality():
    assert set(threshold_measures()) == {name for modality in MEASURES for name in measures_of(modality)}
    limits = read_thresholds(["psnr-gain=6"], "")
    require_measurable(limits, Modality.PICTURES, Knowledge(0))
    with pytest.raises(AuditError, match=r"psnr-gain: is not measured for texts\. Measures of texts: token-acc"):
        require_measurable(limits, Modality.TEXT, Knowledge(0))
    with pytest.raises(AuditError, match="identified: is not measured for rows"):
        require_measurable(read_thresholds(["identified=1"], ""), Modality.TABLE, Knowledge(0))
    with pytest.raises(AuditError, match="label-accuracy: the labels are granted"):
        require_measurable(read_thresholds(["label-accuracy=1"], ""), Modality.PICTURES, Knowledge.LABELS)


# What is compared


def test_a_gain_is_that_of_the_worst_example_over_all_attacks_and_not_the_mean():
    findings = [finding(psnr=14.0), finding("idlg", psnr=20.0, number=1), finding("tag", psnr=13.0, number=2)]
    assert max(one.mean_gain for one in findings) == 8
    assert lines(findings, "psnr-gain=8.5dB") == [
        "psnr-gain: 9 dB, at or above the threshold of 8.5 dB (idlg on no defense, batch 1, image 2)."
    ]
    assert lines(findings, "psnr-gain=9.1dB") == []
    (worst,) = check(findings, ["psnr-gain=3"])
    assert worst.cases == (findings[0].case, findings[1].case)
    assert (worst.value, worst.example, worst.finding.attack) == (9, 1, "idlg")


def test_a_threshold_that_is_met_is_reached_but_never_by_zero():
    assert lines([finding(psnr=20.0)], "psnr-gain=9")
    assert lines([finding(label_accuracy=0.5)], "label-accuracy=50%")
    assert Threshold("label-accuracy", 0.7).reached_by(float(np.float32(0.7)))  # 0.69999999
    for nothing in ("psnr-gain=0", "recovered=0", "identified=0%"):
        assert lines([ranked((2, 3), psnr=11.0)], nothing) == []
    assert lines([ranked((2, 3), psnr=11.5)], "psnr-gain=0")


def test_texts_and_rows_have_gains_of_their_own():
    text, table = other(Modality.TEXT, (0.2, 0.5)), other(Modality.TABLE, (0.3, 0.1))
    assert lines([text], "token-accuracy-gain=40%") == [
        "token-accuracy-gain: 40 points, at or above the threshold of 40 points (dlg on no defense, batch 1, text 2)."
    ]
    assert lines([table], "cell-accuracy-gain=0.2")
    assert lines([table], "cell-accuracy-gain=21%") == []
    with pytest.raises(AuditError, match="psnr-gain: could not be checked: no example with this measure"):
        check([text], ["psnr-gain=6"])


def test_labels_count_by_the_worst_case_that_inferred_them():
    findings = [finding(label_accuracy=0.5), finding("idlg", label_accuracy=1.0, number=1)]
    assert lines(findings, "label-accuracy=0.6") == [
        "label-accuracy: 100 %, at or above the threshold of 60 % (idlg on no defense, batch 1)."
    ]
    granted = [replace(one, labels_granted=True, label_accuracy=1.0) for one in findings]
    assert not lines([findings[0], granted[1]], "label-accuracy=0.6")
    with pytest.raises(AuditError, match="label-accuracy: could not be checked: the labels were granted"):
        check(granted, ["label-accuracy=0.6"])
    with pytest.raises(AuditError, match="no attack inferred the labels"):
        check([finding(label_accuracy=None)], ["label-accuracy=0.6"])


def test_an_identified_example_counts_once_and_the_worst_client_counts():
    same = [ranked((1, 9)), ranked((1, 4), attack="idlg", number=1)]
    apart = [ranked((1, 9), client="noise"), ranked((7, 1), attack="idlg", number=1, client="noise")]
    assert lines(same, "identified=2") == []
    assert lines([*same, *apart], "identified=2") == [
        "identified: 2 of 2 images, at or above the threshold of 2 (closest: idlg on noise, batch 1, image 2)."
    ]
    assert lines(same, "identified=50%")
    assert not lines(same, "identified=51%")
    assert lines(same, "identified=0")[0].startswith("identified: 1 of 2 images, and none is allowed (closest: ")
    (worst,) = check([*same, *apart], ["identified=2"])
    assert worst.cases == tuple(one.case for one in apart)


def test_a_recovered_example_is_identified_too():
    assert lines([ranked((1, 9), psnr=20.0)], "recovered=0")[0].startswith("recovered: 1 of 2 images, and none")
    assert lines([ranked((2, 9), psnr=20.0)], "recovered=0") == []
    assert lines([finding(psnr=20.0)], "recovered=2")  # without a gallery the gain decides


def test_a_sweep_is_compared_cell_by_cell():
    cells = [ranked((1, 9), grid={"seed": seed}, case=f"cell{seed}", seed=seed) for seed in (0, 1)]
    larger = [replace(cells[0], grid={"seed": 0}, repeat=repeat, case=f"more{repeat}") for repeat in (1, 2)]
    assert lines(cells, "identified=2") == []
    assert lines([*cells, *larger], "identified=4") == []  # only one of the two could reach it
    assert lines(cells, "identified=1")[0].endswith("(closest: dlg on no defense, batch 1, image 1, seed=0).")


# What could not be compared has not passed


def close(**changes):
    """The control of the second image is too close to the truth for any judgement."""
    control = Scores({"psnr": Score.of((12.0, 40.0))})
    return finding(scores=Scores({"psnr": Score.of((12.5, 41.0))}), control=control, **changes)


@pytest.mark.parametrize(
    ("findings", "text", "said"),
    [
        ([finding(psnr=12.0), unjudged(number=1)], "psnr-gain=6", "1 of 2 cases cannot be judged: dlg: the update"),
        ([close()], "psnr-gain=6", "1 of 2 images cannot be judged: the control"),
        ([finding(psnr=12.0)], "identified=1", "identified: could not be checked: there is no identification rank"),
        ([ranked((2, 9), psnr=12.0)], "identified=50", "a client has at most 2 images, so 50 cannot be reached"),
        ([finding(psnr=12.0), unjudged("", number=1)], "psnr-gain=6", "1 of 2 cases cannot be compared: there are no"),
        ([], "psnr-gain=6", "no case was computed"),
        ([finding(psnr=math.nan)], "psnr-gain=6", "psnr-gain: could not be checked"),
    ],
)
def test_what_was_not_judged_does_not_pass(findings, text, said):
    with pytest.raises(AuditError, match=re.escape(said)):
        check(findings, [text])


def test_labels_do_not_depend_on_the_control():
    assert check([close(label_accuracy=0.0)], ["label-accuracy=0.5"]) == ()


def test_a_leak_outranks_what_cannot_be_judged():
    assert lines([finding(psnr=20.0), unjudged(number=1)], "psnr-gain=6")
    assert weigh([close(psnr=30.0)], read_thresholds(["psnr-gain=0.4"], "")).exceeded


def test_a_run_must_be_whole(tmp_path):
    one = finding(psnr=12.0)
    whole = Run((one,), replace(RUN, planned=1), tmp_path)
    assert whole.fails("psnr-gain=6dB") == ()
    assert whole.fails("psnr-gain=0.5")[0].value == 1
    with pytest.raises(AuditError, match="3 of 4 cases were not computed"):
        Run((one,), RUN, tmp_path).fails("psnr-gain=6dB")
    with pytest.raises(AuditError, match="1 of 2 trials failed: dlg: out of memory"):
        Run((one,), replace(RUN, planned=2, failures=("dlg: out of memory",)), tmp_path).fails("psnr-gain=6dB")
    with pytest.raises(AuditError, match="none is given"):
        whole.fails()


def test_the_facts_of_a_test_report():
    facts = gate_facts([finding(psnr=20.0), unjudged(number=1)])
    assert facts["worst_psnr_gain_db"] == 9
    assert facts["verdict"].startswith("no defense: Recognisable: 2 of 2 images were recovered")
    assert (facts["knowledge"], facts["seed"]) == ("BATCH_SIZE", "0")
    assert gate_facts([])["knowledge"] == ""


# The command


@pytest.fixture
def linear(tmp_path):
    """An audit file on a network of one layer, whose gradient holds the image."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", images=rng.integers(0, 256, (12, 6, 6), dtype=np.uint8), labels=np.arange(12) % 3)
    (tmp_path / "mine.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3))\n"
    )
    described = {
        "data": {"source": "npz", "path": "x.npz", "batch_size": 1},
        "model": {"factory": "mine.py:make"},
        "knowledge": ["priors"],
        "attacks": [{"name": "idlg", "set": {"stages.0.steps": 25}}],
        "device": "cpu",
    }

    def write(**changes):
        path = tmp_path / "audit.yaml"
        path.write_text(yaml.safe_dump({**described, **changes}))
        return path

    return write


NOISE = [{"name": "gaussian-noise", "std": 10.0}]


def test_a_leaking_client_fails_and_a_defended_one_passes(gradaudit, linear, tmp_path):
    limits = ("--fail-over", "psnr-gain=6dB", "--fail-over", "recovered=0")
    code, out, err = gradaudit("audit", linear(), "--out", "leaking", *limits)
    assert code == 1, err
    found = [line for line in err.splitlines() if line.startswith("leak: ")]
    assert re.fullmatch(
        r"leak: psnr-gain: [\d.]+ dB, at or above the threshold of 6 dB \(idlg on no defense, batch 1, image 1\).",
        found[0],
    )
    assert found[1].startswith("leak: recovered: 1 of 1 image, and none is allowed")
    assert "Report: " in out
    assert (tmp_path / "leaking/report.html").is_file()
    code, out, err = gradaudit("audit", linear(defenses=NOISE), "--out", "defended", *limits)
    assert code == 0, err
    assert "gate: psnr-gain: " in out
    assert "below the threshold of 6 dB" in out
    assert "gate: recovered: 0 of 1 image, as required" in out


def test_another_threshold_computes_nothing_again(gradaudit, linear, tmp_path):
    path = linear(fail_over={"psnr-gain": "6dB"})
    assert gradaudit("audit", path, "--out", "run")[0] == 1
    journal, record = (tmp_path / "run/trials.jsonl").read_bytes(), tmp_path / "run/run.json"
    assert "fail_over:" in json.loads(record.read_text())["configuration"]
    code, out, err = gradaudit("audit", path, "--out", "run", "--fail-over", "psnr-gain=100dB", "--json")
    assert code == 0, err  # the command line replaces the file's
    assert "1 of 1 cases are already done" in err
    assert json.loads(out)["gate"] == {"exceeded": [], "unchecked": []}
    assert "gate: psnr-gain" in err
    assert (
        gradaudit("audit", linear(fail_over={"label-accuracy": 1}), "--out", "run", "--fail-over", "recovered=0")[0]
        == 1
    )
    assert gradaudit("audit", linear(), "--out", "run")[0] == 0
    code, out, err = gradaudit("report", "run", "--fail-over", "psnr-gain=6", "--junit", "ci/leak.xml")
    assert (code, err.count("leak: ")) == (1, 1)
    assert (tmp_path / "ci/leak.xml").is_file()
    assert gradaudit("report", "run")[0] == 0
    assert gradaudit("report", "run", "--fail-over", "token-accuracy-gain=1")[0] == 2
    assert (tmp_path / "run/trials.jsonl").read_bytes() == journal


@pytest.mark.parametrize(
    ("findings", "failures", "code", "said"),
    [
        ([finding(psnr=12.0), finding(psnr=12.0, repeat=1)], (), 0, ""),
        ([finding(psnr=20.0), finding(psnr=12.0, repeat=1)], (), 1, "leak: psnr-gain"),
        ([finding(psnr=20.0), unjudged(repeat=1)], (), 1, "error: 1 of 2 cases cannot be judged"),
        ([finding(psnr=12.0), unjudged(repeat=1)], (), 2, "error: 1 of 2 cases cannot be judged"),
        ([finding(psnr=12.0), close(repeat=1)], (), 2, "error: 1 of 4 images cannot be judged"),
        ([finding(psnr=12.0)], ("b",), 2, "error: 1 of 2 trials failed"),
        ([finding(psnr=20.0)], ("b",), 1, "error: 1 of 2 trials failed"),
        ([finding(psnr=12.0)], (), 2, "error: 1 of 2 cases were not computed"),
    ],
)
def test_a_leak_comes_before_a_doubt_and_a_doubt_before_a_pass(
    gradaudit,
    tmp_path,
    monkeypatch,
    findings,
    failures,
    code,
    said,
):
    from gradaudit import report
    from gradaudit.execution.journal import Failure

    monkeypatch.setattr(report, "write", lambda *_: tmp_path / "report.html")
    failed = [Failure(name, name, "out of memory") for name in failures]
    run_folder(tmp_path / "run", findings, replace(RUN, planned=2), failed)
    found, _, err = gradaudit("report", "run", "--fail-over", "psnr-gain=6dB")
    assert found == code, err
    assert said in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--fail-over", "psnr-gain=6%"), "error: --fail-over psnr-gain=6%: unknown unit %."),
        (("--fail-over", "cell-accuracy-gain=6%"), "cell-accuracy-gain: is not measured for images."),
        (("--fail-over", "label-accuracy=1", "--set", "knowledge=[priors, LABELS]"), "the labels are granted"),
        (
            ("--fail-over", "psnr-gain=6", "--shard", "1/2"),
            "error: --shard: a threshold or a JUnit file needs the whole",
        ),
        (("--junit", "."), "error: --junit .: is a folder. Name a file."),
        (("--set", "fail_over.psnr=6"), "fail_over: psnr: unknown measure psnr. Did you mean psnr-gain?"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(gradaudit, linear, tmp_path, options, said):
    code, _, err = gradaudit("audit", linear(), "--out", "run", *options)
    assert code == 2
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("changes", [{"fail_over": {"psnr-gain": 6}}, {"grid": {"fail_over.psnr-gain": [1, 2]}}])
def test_a_sweep_has_no_gate(gradaudit, linear, changes):
    code, _, err = gradaudit("sweep", linear(**{"grid": {"seed": [0, 1]}, **changes}), "--dry-run")
    assert code == 2
    assert "fail_over: a sweep has no gate" in err


# The page


def commands_of(text):
    """The command lines of a shell block or of the `run:` steps of a workflow."""
    return [shlex.split(line) for line in text.splitlines() if line.strip()]


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_workflow_and_the_commands_of_the_page_are_real():
    (workflow,) = map(yaml.safe_load, blocks("yml"))
    assert {"name", "jobs"} < set(workflow)
    (job,) = workflow["jobs"].values()
    assert all(("uses" in step) != ("run" in step) for step in job["steps"])
    ours = [words for step in job["steps"] if "run" in step for words in commands_of(step["run"])]
    ours = [words for words in [*ours, *commands_of("".join(blocks("sh")))] if words[0] == "gradaudit"]
    assert {words[1] for words in ours} == {"audit", "report"}
    group = typer.main.get_command(cli._all_commands())
    for _, name, *arguments in ours:
        context = group.commands[name].make_context(name, arguments)  # refuses unknown options
        assert read_thresholds(context.params["fail_over"], "--fail-over")


def test_the_page_names_every_measure():
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in threshold_measures())
