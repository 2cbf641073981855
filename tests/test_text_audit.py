"""Audit files on text and on a table, from the command line to the page."""

import json
import re
from pathlib import Path

import pytest

from gradaudit.audit.config import make_config, read_config
from gradaudit.audit.plan import make_plan
from gradaudit.execution import Listener, Results, describe_run, run
from gradaudit.report import write
from gradaudit.values.errors import AuditError

HERE = Path(__file__).parent
TEXT = {
    "data": {"source": "text"},
    "model": {"factory": "places_model.py:places"},
    "knowledge": ["basic", "LABELS", "EMBEDDING_GRADIENT"],
    "attacks": ["places_model.py:READER"],
    "repeats": 2,
}
STEPS = {"stages.0.steps": 5}
TABLE = {
    "data": {"source": "table", "batch_size": 3},
    "model": {"name": "tabular-mlp"},
    "knowledge": ["basic", "LABELS"],
    "attacks": [{"name": "inverting-gradients-table", "set": STEPS}],
}


def audited(config, folder, at=HERE):
    plan = make_plan(make_config(config), at)
    results = Results(folder, describe_run([plan], "An audit"))
    run([plan], results, Listener())
    return results, write(results.findings, results.run, folder).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    return folder, *audited(TEXT, folder)


@pytest.fixture(scope="module")
def table_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    return folder, *audited(TABLE, folder)


def test_the_page_shows_text_beside_what_came_back(text_run):
    _, results, page = text_run
    assert "Recognisable:" in page
    assert "2 of 2 texts were recovered (mean token accuracy 100 %" in page
    assert "This report contains private texts." in page
    assert page.count('<tr class="reconstruction recovered">') == 2
    assert "<img" not in page
    for finding in results.findings:
        kept = json.loads((text_run[0] / finding.transcript).read_text(encoding="utf-8"))
        sentence = "".join(kept["truth"][0]["pieces"]).strip()
        assert page.count(f"<td> {sentence}</td>") == 2  # private and reconstruction, nothing marked
    rows = re.findall(r'<tr class="control">.*?</tr>', page)
    assert all("<mark>" in row for row in rows)
    assert not re.search(r'<tr class="reconstruction[^>]*>.*?<mark>', page)


def test_a_text_run_goes_on_and_its_page_can_be_written_again(text_run):
    folder, results, page = text_run
    again, rewritten = audited(TEXT, folder)
    assert len(again.findings) == 2
    assert again.findings == results.findings
    assert rewritten == page


def test_findings_of_text_hold_scores_but_no_sentence(text_run):
    folder, results, _ = text_run
    lines = (folder / "trials.jsonl").read_text(encoding="utf-8")
    for finding in results.findings:
        kept = json.loads((folder / finding.transcript).read_text(encoding="utf-8"))
        assert "".join(kept["truth"][0]["pieces"]).strip() not in lines


def test_the_page_shows_rows_beside_what_came_back(table_run):
    folder, results, page = table_run
    assert "This report contains private rows." in page
    for name in ("age", "school", "savings", "cell accuracy"):
        assert f'<th scope="col">{name}</th>' in page
    assert page.count('<tr class="truth">') == 3
    kept = json.loads((folder / results.findings[0].transcript).read_text(encoding="utf-8"))
    wrong = sum(sum(line["differs"]) for kind in ("reconstruction", "control") for line in kept[kind])
    assert page[page.index("<h2>Reconstructions</h2>") :].count("<mark>") == wrong + 1  # the legend's own
    assert "cell accuracy in %" in page
    assert "row match" in page


@pytest.mark.parametrize("of", ["text_run", "table_run"])
def test_such_pages_refer_to_nothing_outside(of, request):
    page = request.getfixturevalue(of)[2]
    assert all(address.startswith("data:") for address in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert "<script" not in page
    text = re.sub(r"<code>.*?</code>|<pre>.*?</pre>", "", page, flags=re.S).partition("</style>")[2]
    assert not re.search("pictures|images", text)


def test_hostile_text_stays_text(tmp_path):
    (tmp_path / "t.txt").write_text("<script>alert(1)</script> & more words\nanother line <b>\n")
    (tmp_path / "places_model.py").write_text((HERE / "places_model.py").read_text())
    _, page = audited({**TEXT, "data": {"source": "text", "path": "t.txt"}, "repeats": 1}, tmp_path / "run", tmp_path)
    assert "<script" not in page.lower()


def test_a_damaged_transcript_is_named(text_run, tmp_path):
    results = text_run[1]
    (tmp_path / "examples").mkdir()
    for finding in results.findings:
        (tmp_path / finding.transcript).write_text("{}")
    with pytest.raises(AuditError, match=r"examples/.*json: not a transcript"):
        write(results.findings, results.run, tmp_path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (["model={name: fedavg-cnn}"], "model.name: fedavg-cnn does not take text. Known: tiny-bert, tiny-gpt2"),
        (["model.mean=[0.5]"], "model.mean: is for pictures, but data holds texts"),
        (["model.channels=1"], "model.channels: is for pictures"),
        (["data.batch_size=61"], "61 is more than the 60 texts of text"),
        (["data.tokeniser=x"], "data.tokeniser: unknown key.*tokenizer"),
        (["data.path=gone.tsv"], "text: cannot read .*gone.tsv"),
        (["knowledge=[basic, LABELS]"], "needs EMBEDDING_GRADIENT, but the adversary knows only BATCH_SIZE, LABELS"),
        (["attacks=[dlg]"], r"dlg: Pixels\(.*\) is made for pictures, but the client trains on text\."),
        (["attacks=[tableak]"], r"tableak: TableRows\(.*\) is made for table, but the client trains on text"),
        (["attacks=[april]"], "april: is made for pictures"),
        (["attacks=[mgia]"], "attacks.0: mgia takes two updates of the same examples.*`gradaudit study mgia`"),
        (["public_data={source: table}", "knowledge.0=data-distribution"], "holds table, but data holds text"),
    ],
)  # fmt: skip
def test_an_audit_file_of_text_that_does_not_fit_says_why(changes, complaint, tmp_path):
    import yaml

    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(TEXT))
    with pytest.raises(AuditError, match=complaint):
        make_plan(read_config(path, changes), HERE)


def test_a_picture_audit_does_not_take_a_model_of_text(tmp_path):
    config = {"data": {"source": "photographs"}, "model": {"name": "tiny-gpt2"}, "knowledge": ["priors", "LABELS"]}
    with pytest.raises(AuditError, match="model: tiny-gpt2 takes no images"):
        make_plan(make_config(config), tmp_path)


def test_public_text_comes_in_the_private_vocabulary():
    known = ["basic", "LABELS", "EMBEDDING_GRADIENT", "PUBLIC_DATA"]
    plan = make_plan(make_config({**TEXT, "public_data": {"source": "text"}, "knowledge": known}), HERE)
    assert len(plan.public) == 60
    case = next(iter(plan.cases()))
    seen = case.client.share(case.batch, case.knowledge, public=case.public)
    assert seen.public_data.shape == (59, 11)  # without the private one
    assert seen.public_labels.bincount().sum() == 59


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-gpt2"])
def test_the_transformers_are_built_for_the_vocabulary(name):
    pytest.importorskip("transformers")
    plan = make_plan(make_config({**TEXT, "model": {"name": name}, "data": {"source": "text", "batch_size": 2}}), HERE)
    case = next(iter(plan.cases()))
    assert plan.client.model.token_embedding.num_embeddings == plan.source.vocabulary.layout.size
    assert case.batch.inputs.shape[0] == 2
    seen = case.client.share(case.batch, case.knowledge)
    assert seen.classes == 2


def test_the_command_line_prints_the_measure(tmp_path, monkeypatch, capsys):
    import yaml
    from typer.testing import CliRunner

    from gradaudit.commands.cli import app

    (tmp_path / "a.yaml").write_text(yaml.safe_dump({**TEXT, "repeats": 1}))
    (tmp_path / "places_model.py").write_text((HERE / "places_model.py").read_text())
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["audit", "a.yaml"])
    assert found.exit_code == 0, found.output
    assert "token accuracy" in found.stdout
    assert "100 %" in found.stdout
