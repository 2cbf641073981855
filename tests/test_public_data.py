"""Public data that holds private examples: they are left out, and the page says so in red."""

import json

import numpy as np
import pytest
import torch

from gradaudit import Batch, Client, Knowledge, Level
from gradaudit.audit.config import make_config
from gradaudit.audit.plan import make_plan
from gradaudit.commands import cli
from gradaudit.values.errors import AuditError

TOLD = Level.BASIC | Knowledge.PUBLIC_DATA
FACTS = {"model": {"name": "mlp", "num_classes": 10}, "knowledge": ["BATCH_SIZE", "LABELS", "PUBLIC_DATA"]}
ATTACK = {"name": "dlg", "set": {"stages.0.steps": 1}}


def pictures(count, seed):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def client():
    return Client(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)))


def test_private_examples_are_taken_out_with_their_labels():
    batch = Batch(pictures(3, 0), torch.arange(3))
    mixed = torch.cat([pictures(4, 1), batch.inputs[1:2] * 0.97 + 0.01, pictures(2, 2), batch.inputs[:1]])
    seen = client().share(batch, TOLD, public=Batch(mixed, torch.arange(8)))
    assert seen.public_labels.tolist() == [0, 1, 2, 3, 5, 6]
    assert torch.equal(seen.public_data, mixed[[0, 1, 2, 3, 5, 6]])
    assert torch.equal(client().share(batch, TOLD, public=pictures(4, 1)).public_data, pictures(4, 1))


def test_nothing_but_private_examples_is_no_public_data():
    batch = Batch(pictures(3, 0), torch.arange(3))
    with pytest.raises(AuditError, match="every example also occurs in the private batch"):
        client().share(batch, TOLD, public=batch.inputs)


@pytest.mark.parametrize(
    ("data", "public"),
    [
        ({"source": "photographs", "size": 16}, {"source": "photographs", "size": 16}),
        ({"source": "text"}, {"source": "text"}),
        ({"source": "table"}, {"source": "table"}),
    ],
    ids=lambda section: section["source"],
)
def test_the_same_source_twice_is_said(tmp_path, data, public):
    """The easiest mistake: the data file itself as public data."""
    model = {"text": "tiny-bert", "table": "tabular-mlp"}.get(data["source"], "mlp")
    plan = make_plan(
        make_config(
            {
                **FACTS,
                "data": {**data, "batch_size": 2},
                "public_data": public,
                "model": {"name": model, "num_classes": 10},
                "attacks": [
                    "bag-of-words"
                    if model == "tiny-bert"
                    else "inverting-gradients-table"
                    if model == "tabular-mlp"
                    else "dlg"
                ],
                "knowledge": [*FACTS["knowledge"], "EMBEDDING_GRADIENT"],
            }
        ),
        tmp_path,
    )
    (case,) = plan.cases()
    assert len(case.warnings) == 1
    assert "private too" in case.warnings[0]
    seen = case.client.share(case.batch, case.knowledge, seed=case.chance, public=case.public)
    total = len(case.public) if not isinstance(case.public, Batch) else len(case.public.inputs)
    assert 0 < len(seen.public_data) < total


def test_the_page_the_terminal_and_the_finding_say_it(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "private.npz", images=images[:8], labels=np.arange(8))
    np.savez(tmp_path / "public.npz", images=images[6:], labels=np.arange(6))
    sources = {key: {"source": "npz", "path": f"{key}.npz"} for key in ("private", "public")}
    file = {
        **FACTS,
        "data": {**sources["private"], "batch_size": 8},
        "public_data": sources["public"],
        "attacks": [ATTACK],
    }
    (tmp_path / "a.yaml").write_text(json.dumps(file))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["gradaudit", "audit", "a.yaml", "--out", "run", "--json"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    shown = capsys.readouterr()
    (finding,) = json.loads(shown.out)["findings"]
    assert finding["warnings"][0].startswith("2 public images are private too")
    assert "2 public images are private too" in shown.err
    assert '<p class="detail oracle">2 public images are private too' in (tmp_path / "run/report.html").read_text()
