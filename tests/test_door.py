"""The road from Python to the page: `gradaudit.run` is the engine of the command."""

import copy
import json
import os
import re
import stat
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import gradaudit as ga
from conftest import linear_net, make_batch, smooth_net
from gradaudit.attacks import DLG
from gradaudit.audit.config import make_config
from gradaudit.audit.plan import make_plan
from gradaudit.execution import Listener, Results, describe_run
from gradaudit.protocol.local_training.losses.mean_squared_error import MeanSquaredError
from gradaudit.report.auditing import carry_out
from gradaudit.values.columns import Column, TableLayout
from gradaudit.values.errors import AuditInterrupted
from gradaudit.values.types import Modality, TextLayout
from properties import short

KNOWN = ["priors", "LABELS"]
QUICK = short(DLG, 3)


class Exact:
    """Knows the pictures that the test tells it."""

    name, needs = "exact", ga.Knowledge.BATCH_SIZE

    def __init__(self, inputs):
        self.inputs = inputs

    def __repr__(self):
        return "Exact()"

    def __call__(self, seen, *, seed=0, watch=None):
        return ga.Reconstruction(self.inputs.clone(), None, objective=0.0)


class Grey(Exact):
    """Says mid grey, zero or padding, whatever it sees."""

    name = "grey"

    def __init__(self, kind=torch.float32):
        self.kind = kind

    def __call__(self, seen, *, seed=0, watch=None):
        value = 0.5 if seen.modality is Modality.PICTURES else 0
        guess = torch.full((seen.batch_size, *seen.input_shape), value, dtype=self.kind)
        return ga.Reconstruction(guess, None, objective=0.0)


@pytest.fixture
def net():
    return linear_net(pixels=16)


def small(seed=0, count=2):
    return make_batch(count, side=4, classes=5, seed=seed)


def test_one_batch_by_name_and_value_to_the_page(net, tmp_path):
    found = ga.run(ga.Client(net), small(), ["idlg", QUICK], KNOWN, out=tmp_path / "run", title="Mine")
    assert [finding.attack for finding in found.findings] == ["idlg", "dlg"]
    assert found.page == tmp_path / "run" / "report.html"
    text = found.page.read_text(encoding="utf-8")
    assert "<h1>Mine</h1>" in text
    assert "the control is mid grey" in text
    assert text.count("data:image/png;base64,") >= 6
    assert len((tmp_path / "run" / "trials.jsonl").read_text().splitlines()) == 2


def test_without_a_folder_the_run_lies_where_only_its_user_reads_and_goes_with_it(net, tmp_path):
    found = ga.run(ga.Client(net), small(), QUICK, KNOWN)
    folder = found.folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not (folder / "report.html").exists()
    assert found.page.is_file()
    copied = found.write(tmp_path / "kept")
    assert copied.read_text() == found.page.read_text()
    del found
    assert not folder.exists()
    assert copied.is_file()
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "images",
        "report.html",
        "results.jsonl",
        "run.json",
        "trials.jsonl",
    ]


def test_a_run_is_not_written_over_another(net, tmp_path):
    one, other = (ga.run(ga.Client(net), small(seed), QUICK, KNOWN) for seed in (0, 1))
    one.write(tmp_path / "kept")
    assert one.write(tmp_path / "kept").is_file()
    with pytest.raises(ga.AuditError, match="holds results of another configuration: data sha256 was"):
        other.write(tmp_path / "kept")


def numbers(findings):
    return [{**finding.to_json(), "seconds": 0} for finding in findings]


def test_it_is_the_engine_of_the_command(tmp_path):
    """The same case by hand and from an audit file: the same key, the same chance, the same numbers."""
    described = {
        "data": {"source": "photographs", "size": 16, "batch_size": 2},
        "model": {"name": "mlp", "num_classes": 10},
        "knowledge": KNOWN,
        "attacks": [{"name": "dlg", "set": {"stages.0.steps": 3}}],
    }
    plan = make_plan(make_config(described), tmp_path)
    (case,) = plan.cases()
    results = Results(tmp_path / "a", describe_run([plan], "Audit"))
    theirs = carry_out([plan], results, Listener())
    ours = ga.run(plan.client, case.batch, QUICK, KNOWN)
    assert (theirs.findings[0].case, theirs.findings[0].labels) == (ours.findings[0].case, ours.findings[0].labels)
    assert theirs.findings[0].client_value == ours.findings[0].client_value
    assert theirs.page.is_file()
    assert numbers(theirs.findings) == numbers(results.findings)


def test_equal_calls_give_equal_numbers_and_other_seeds_others(net):
    client = ga.Client(net, defenses=[ga.defenses.GaussianNoise(0.1)])
    first, again, other = (ga.run(client, small(), QUICK, KNOWN, seed=seed) for seed in (1, 1, 2))
    strip = [[{**one, "pictures": 0} for one in numbers(run.findings)] for run in (first, again, other)]
    assert strip[0] == strip[1]
    assert strip[0][0]["objective"] != strip[2][0]["objective"]


def test_several_batches_and_clients_are_repeats_and_settings(net, tmp_path):
    plain, noisy = ga.Client(net), ga.Client(net, defenses=[ga.defenses.GaussianNoise(10.0)])
    batches = [small(seed) for seed in range(3)]
    found = ga.run([plain, noisy], (batch for batch in batches), QUICK, KNOWN, out=tmp_path / "run")
    assert [(finding.client, finding.repeat) for finding in found.findings] == [
        (name, repeat) for name in ("no defense", "gaussian-noise std=10.0") for repeat in range(3)
    ]
    assert {verdict.setting for verdict in found.verdicts} == {"no defense", "gaussian-noise std=10.0"}
    assert len({finding.case for finding in found.findings}) == 6


def test_a_client_trains_once_for_all_attacks(net, monkeypatch):
    calls, train = [], ga.Client.protected
    monkeypatch.setattr(ga.Client, "protected", lambda *a, **b: calls.append(1) or train(*a, **b))
    client = ga.Client(net, defenses=[ga.defenses.Clip(1e9)])
    found = ga.run(client, [small(0), small(1)], [QUICK, QUICK], KNOWN)
    assert len(found.findings) == 4
    assert found.findings[0].no_op_defenses
    assert len(calls) == 2


class Counting(ga.Listener):
    """Counts cases, and stops before one where it is told to."""

    def __init__(self, stop=None):
        self.begun, self.ended, self.stop = [], [], stop

    def begin(self, job, number, total):
        if number == self.stop:
            raise KeyboardInterrupt
        self.begun.append((job.title, number, total))

    def end(self, finding, number, total):
        self.ended.append(finding.case)


def test_ctrl_c_keeps_what_is_done_and_the_same_call_goes_on(net, tmp_path):
    arguments = (ga.Client(net), [small(0), small(1)], [QUICK, Grey()], KNOWN)
    with pytest.raises(AuditInterrupted, match=r"2 of 4 cases are kept in .*run. Make the same call again to resume"):
        ga.run(*arguments, out=tmp_path / "run", listener=Counting(stop=3))
    assert "Unfinished run: 2 of 4 cases" in (tmp_path / "run" / "report.html").read_text()
    rest = Counting()
    found = ga.run(*arguments, out=tmp_path / "run", listener=rest)
    assert len(found.findings) == 4
    assert [number for _, number, total in rest.begun] == [3, 4]
    assert "Unfinished" not in found.page.read_text()
    whole = ga.run(*arguments)
    assert numbers(found.findings) == numbers(whole.findings)


def test_ctrl_c_without_a_folder_leaves_nothing(net, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(KeyboardInterrupt):
        ga.run(ga.Client(net), small(), QUICK, KNOWN, listener=Counting(stop=1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"knowledge": ["priors"]}, "knowledge was 'BATCH_SIZE, LABELS', is 'BATCH_SIZE'"),
        ({"batches": small(5)}, "data sha256 was"),
        ({"attacks": "idlg"}, "attacks.0 value was"),
        ({"others": torch.rand(3, 1, 4, 4)}, "others sha256 was"),
        ({"client": ga.Client(linear_net(pixels=16), ga.FedAvg(learning_rate=0.1))}, "client was"),
    ],
)
def test_another_call_is_refused_with_the_difference(net, tmp_path, changes, what):
    call = {"client": ga.Client(net), "batches": small(), "attacks": QUICK, "knowledge": KNOWN}
    ga.run(**call, out=tmp_path / "run")
    with pytest.raises(ga.AuditError, match=re.escape(what)):
        ga.run(**{**call, **changes}, out=tmp_path / "run")


def test_others_make_the_control_and_the_gallery(net):
    batch, others = small(), torch.rand(4, 1, 4, 4)
    found = ga.run(ga.Client(net), batch, Exact(batch.inputs), KNOWN, others=torch.cat([others, batch.inputs]))
    finding = found.findings[0]
    assert finding.gallery == 5, "the private pictures among the others do not count"
    mean = others.mean(0).expand_as(batch.inputs)
    assert finding.control.psnr.per_example == pytest.approx(ga.metrics.psnr(mean, batch.inputs).tolist(), abs=1e-4)
    assert finding.scores.rank.per_example == (1.0, 1.0)
    assert not any("mid grey" in note for note in finding.notes)
    bare = ga.run(ga.Client(net), batch, Exact(batch.inputs), KNOWN).findings[0]
    grey = torch.full_like(batch.inputs, 0.5)
    assert bare.control.psnr.per_example == pytest.approx(ga.metrics.psnr(grey, batch.inputs).tolist(), abs=1e-4)
    assert bare.scores.rank is None
    assert "mid grey" in bare.notes[0]


def test_public_examples_are_the_control_unless_others_are_given(net):
    batch, public, others = small(), make_batch(5, side=4, classes=5, seed=9), torch.rand(3, 1, 4, 4)
    facts = ["data-distribution", "LABELS"]
    first = ga.run(ga.Client(net), batch, Grey(), facts, public=public).findings[0]
    second = ga.run(ga.Client(net), batch, Grey(), facts, public=public, others=others).findings[0]
    assert (first.gallery, second.gallery) == (6, 4)
    both = torch.cat([public.inputs, batch.inputs[:1]])
    warned = ga.run(ga.Client(net), batch, Grey(), facts, public=both).findings[0]
    assert "1 public image is private too" in warned.warnings[0]


LAYOUT = TableLayout((Column("colour", ("red", "green")), Column("size", (), 0.0, 1.0)))


def test_rows_of_a_table(tmp_path):
    rows = torch.tensor([[1.0, 0.0, 0.3], [0.0, 1.0, -0.2]])
    batch = ga.Batch(rows, torch.tensor([0, 1]), Modality.TABLE, table=LAYOUT)
    client = ga.Client(torch.nn.Linear(3, 2))
    others = torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 0.7]])
    found = ga.run(client, batch, Exact(rows), "priors", others=others)
    assert found.findings[0].scores["cell_accuracy"].mean == 1
    assert found.findings[0].control["cell_accuracy"].per_example == (0.5, 0.5)
    assert "No row lies outside the batch" in ga.run(client, batch, Exact(rows), "priors").findings[0].notes[0]
    html = found._repr_html_()
    assert "colour" in found.page.read_text()
    assert "green" in html
    with pytest.raises(ga.AuditError, match="rows need the columns of their table"):
        ga.run(client, replace(batch, table=None), Exact(rows), "priors")
    with pytest.raises(ga.AuditError, match=r"^others: "):
        ga.run(client, batch, Exact(rows), "priors", others=torch.rand(2, 7))


def text_client():
    class Words(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.token_embedding = torch.nn.Embedding(9, 4)
            self.head = torch.nn.Linear(4, 2)

        def forward(self, ids):
            return self.head(self.token_embedding(ids).mean(1))

    return ga.Client(Words())


def test_texts_are_numbers_of_tokens_and_their_control_is_padding():
    batch = ga.Batch(torch.tensor([[3, 4, 5], [6, 7, 8]]), torch.tensor([0, 1]), Modality.TEXT, text=TextLayout(9, 0))
    found = ga.run(text_client(), batch, Grey(torch.int64), "priors")
    finding = found.findings[0]
    assert "the control is padding" in finding.notes[0]
    assert finding.control["token_accuracy"].mean == 0
    with pytest.raises(ga.AuditError, match="others: texts can only come from a source"):
        ga.run(text_client(), batch, Grey(torch.int64), "priors", others=batch)


def test_an_attack_that_cannot_run_is_a_finding(net):
    class Failing(Grey):
        def __call__(self, seen, *, seed=0, watch=None):
            raise ga.AttackFailed("it is too dark.")

    found = ga.run(ga.Client(net), small(), [Failing(), Grey()], KNOWN)
    assert found.findings[0].cannot_judge == "it is too dark."
    records = found.to_records()
    assert (records[0]["psnr"], records[0]["cannot_judge"]) == (None, "it is too dark.")
    assert records[2]["psnr"] is not None
    assert "it is too dark" in found._repr_html_()


WRONG = {
    "client": ({"client": 3}, r"^client: should be a gradaudit.Client. Found 3"),
    "no client": ({"client": []}, r"^client: is an empty list"),
    "no batch": ({"batches": []}, r"^batches: should be a gradaudit.Batch, or several. Found"),
    "a tensor": ({"batches": torch.rand(1, 1, 4, 4)}, r"^batches: should be a gradaudit.Batch"),
    "mixed": (
        {"batches": [small(), ga.Batch(torch.rand(1, 3), torch.tensor([0]), Modality.TABLE)]},
        r"^batches: must contain one kind of data. Found images and rows",
    ),
    "no attack": ({"attacks": []}, r"^attacks: is empty"),
    "unknown": ({"attacks": ["dlgg"]}, r"^attacks.0: unknown attack dlgg. Did you mean dlg"),
    "a number": ({"attacks": [QUICK, 3]}, r"^attacks.1: should be an attack or the name of one .*Found 3"),
    "one number": ({"attacks": 3}, r"^attacks.0: should be an attack or the name of one"),
    "seed": ({"seed": -1}, r"^seed: should be a whole number of at least 0. Found -1"),
    "knowledge": ({"knowledge": "prior"}, r"^knowledge: unknown fact prior. Did you mean priors"),
    "lacking": ({"knowledge": [], "attacks": "dlg"}, r"needs BATCH_SIZE"),
    "public": ({"public": torch.rand(2, 1, 4, 4)}, r"^public: is given, but knowledge lacks PUBLIC_DATA"),
    "others": ({"others": torch.rand(2, 3, 4, 4)}, r"^others: needs images \[N, 1, 4, 4\]"),
    "for text": ({"attacks": "lamp"}, r"made for text, but the client trains on pictures"),
    "does not fit": ({"batches": make_batch(1)}, r"cannot take inputs"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_one_sentence(net, tmp_path, name):
    changes, message = WRONG[name]
    call = {"client": ga.Client(net), "batches": small(), "attacks": QUICK, "knowledge": KNOWN}
    with pytest.raises(ga.AuditError, match=message) as caught:
        ga.run(**{**call, **changes})
    assert "\n" not in str(caught.value)


def test_records_hold_each_example_once(net):
    batch = small()
    found = ga.run(ga.Client(net), [batch, small(1)], Exact(batch.inputs), KNOWN)
    records = found.to_records()
    assert [(record["batch"], record["example"]) for record in records] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert records[0]["psnr"] == 100
    assert records[2]["psnr"] < 60
    assert records[1]["label"] == int(batch.labels[1])
    for record in records:
        assert record["gain"] == pytest.approx(record["psnr"] - record["control_psnr"])
    assert len({record["gain"] for record in records}) == 4
    assert json.loads(json.dumps(records)) == records


def test_without_pandas_the_extra_is_named(net, monkeypatch):
    found = ga.run(ga.Client(net), small(), Grey(), KNOWN)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ga.AuditError, match=r"to_dataframe: needs pandas: `pip install 'gradaudit\[dataframe\]'`"):
        found.to_dataframe()


def test_a_data_frame_has_a_row_for_each_example(net):
    pytest.importorskip("pandas")
    found = ga.run(ga.Client(net), small(), Grey(), KNOWN)
    frame = found.to_dataframe()
    assert list(frame["example"]) == [0, 1]
    assert np.isfinite(frame["psnr"]).all()


def test_a_notebook_shows_pictures_side_by_side_and_nothing_else(net):
    batch = small()
    found = ga.run(ga.Client(net), batch, Exact(batch.inputs), KNOWN, title="<b>Mine</b>")
    html = found._repr_html_()
    assert html.count('<img src="data:image/png;base64,') == 6
    assert "&lt;b&gt;Mine" in html
    assert "<script" not in html
    assert "<style" not in html
    assert str(found.folder) not in html
    assert "Recognisable:" in html
    assert "mid grey" in html
    assert str(found.folder) in repr(found)
    assert "psnr" not in repr(found)


def test_a_model_in_half_precision_has_an_identity(tmp_path):
    client = ga.Client(copy.deepcopy(smooth_net()).bfloat16())
    found = ga.run(client, make_batch(1), Grey(), KNOWN, out=tmp_path / "run")
    assert found.findings[0].scored
    assert os.listdir(tmp_path / "run")


def test_examples_whose_labels_are_no_classes_have_records_too():
    """As every example has: a leak that is not listed would pass for none."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    client = ga.Client(model, training=ga.FedSGD(MeanSquaredError()))
    batch = ga.Batch(torch.rand(1, 1, 4, 4), torch.tensor([[0.1, 0.2, 0.3]]))
    found = ga.run(client, batch, QUICK, KNOWN)
    assert not found.findings[0].cannot_judge
    (record,) = found.to_records()
    assert record["label"] is None
    assert record["psnr"] == found.findings[0].scores.psnr.per_example[0]
