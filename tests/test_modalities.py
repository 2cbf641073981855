"""Text and rows through the client, the observation and the room that judges."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from conftest import make_batch, smooth_net
from gradaudit import Batch, Client, Finding, Knowledge, Level, Normalisation, Reconstruction
from gradaudit.audit import judge as audit
from gradaudit.data.modalities import ImageHandling, TableHandling, TextHandling, handling_of, private_among
from gradaudit.data.modalities.table import written
from gradaudit.data.sources import SOURCES
from gradaudit.data.vocabulary import Words
from gradaudit.inversion.attack import Attack
from gradaudit.values.chance import child_seed
from gradaudit.values.columns import Column, TableLayout
from gradaudit.values.errors import AuditError, MissingKnowledge
from gradaudit.values.types import Modality, TextLayout
from places_model import READER, Places
from text_cases import FlatText

GRANTED = Level.BASIC | Knowledge.LABELS | Knowledge.EMBEDDING_GRADIENT


def text_batch(inputs=((3, 9, 2), (5, 4, 0)), lengths=(3, 2), **changes):
    base = Batch(
        torch.tensor(inputs), torch.tensor([0, 1]), Modality.TEXT, None if lengths is None else torch.tensor(lengths)
    )
    return dataclasses.replace(base, **changes)


LAYOUT = TableLayout((Column("age", mean=40, std=10), Column("colour", ("blue", "red"))))


def table_batch(rows=((50.0, "red"), (30.0, "blue")), **changes):
    base = Batch(LAYOUT.encode(rows), torch.tensor([0, 1]), Modality.TABLE, table=LAYOUT)
    return dataclasses.replace(base, **changes)


def client(**changes):
    return Client(Places(), **changes)


def test_batches_move_with_everything_they_hold():
    moved = text_batch(text=TextLayout(400)).to("cpu")
    assert moved.modality is Modality.TEXT
    assert moved.lengths.tolist() == [3, 2]
    assert moved.text == TextLayout(400)
    assert table_batch().to("cpu").table is LAYOUT


def test_the_observation_of_text():
    seen = client(normalisation=Normalisation((0.5,), (0.5,))).share(text_batch(text=TextLayout(400)), GRANTED)
    assert seen.modality is Modality.TEXT
    assert seen.input_shape == (3,)
    assert seen.lengths.tolist() == [3, 2]
    assert seen.text == TextLayout(400)
    assert seen.classes == 2
    assert seen.normalisation == Normalisation()
    assert "token_embedding.weight" in seen.update.tensors


def test_lengths_come_with_the_batch_size_and_default_to_no_padding():
    assert client().share(text_batch(), Knowledge.NOTHING).lengths is None
    assert client().share(text_batch(lengths=None), Level.BASIC).lengths.tolist() == [3, 3]


def test_the_embedding_gradient_is_kept_back_unless_granted():
    victim = client()
    seen = victim.share(text_batch(), Level.BASIC)
    assert set(seen.update.tensors) == {"places", "head.weight", "head.bias"}
    names = list(seen.assumed_training.shared_parameters(seen.model))
    assert names == list(seen.update.tensors)
    again = seen.assumed_training(seen.model, text_batch().inputs, text_batch().labels)
    assert all(torch.equal(a, b) for a, b in zip(again, seen.update.values, strict=True))


def test_a_model_of_an_embedding_alone_has_nothing_left_to_share():
    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.token_embedding = nn.Embedding(10, 2)

        def forward(self, inputs):
            return self.token_embedding(inputs).mean(1)

    with pytest.raises(AuditError, match="no trainable parameter besides its token embedding"):
        Client(Alone()).share(text_batch(), Level.BASIC)


@pytest.mark.parametrize(
    ("batch", "complaint"),
    [
        (
            text_batch(inputs=((3, 9, 400), (5, 4, 0))),
            r"ids must be in 0...399, the token embedding of Places. Found 400",
        ),
        (text_batch(inputs=((3, -1, 2), (5, 4, 0))), "Found -1"),
        (text_batch(inputs=((3.0, 1.0, 2.0), (5.0, 4.0, 0.0))), "token ids must be integers, not torch.float32"),
        (text_batch(lengths=(3, 4)), r"lengths must be \[B\] numbers from 1 to 3"),
        (text_batch(lengths=(3, 0)), r"lengths must be \[B\] numbers from 1 to 3"),
        (text_batch(labels=torch.tensor([0])), r"needs token ids \[B, L\] and labels \[B\]"),
        (text_batch(labels=torch.tensor([0, 2])), "labels: must be in 0...1"),
        (text_batch(text=TextLayout(400, 0, (5,), (4,))), "no token besides padding and markers"),
    ],
)
def test_text_that_does_not_fit_is_refused(batch, complaint):
    with pytest.raises(AuditError, match=complaint):
        client().train(batch)


def test_a_model_without_a_token_embedding_is_refused():
    with pytest.raises(AuditError, match=r"must offer its nn.Embedding as token_embedding"):
        Client(nn.Linear(3, 2)).train(text_batch())


@pytest.mark.parametrize(
    ("batch", "complaint"),
    [
        (table_batch(table=None), "rows of a table need their columns"),
        (table_batch(inputs=torch.zeros(2, 4)), r"finite floats \[B, 3\]"),
        (table_batch(inputs=torch.full((2, 3), torch.nan)), r"finite floats \[B, 3\]"),
        (table_batch(inputs=torch.tensor([[torch.nan, 0.0, 1.0], [0.0, 1.0, 0.0]])), r"finite floats \[B, 3\]"),
        (table_batch(inputs=torch.tensor([[0.0, 0.5, 0.5]] * 2)), "column colour is not one-hot"),
        (table_batch(inputs=torch.zeros(2, 1, 3)), r"needs encoded rows \[B, D\]"),
    ],
)
def test_rows_that_do_not_fit_are_refused(batch, complaint):
    with pytest.raises(AuditError, match=complaint):
        Client(nn.Linear(3, 2)).train(batch)


def test_the_observation_of_rows():
    seen = Client(nn.Linear(3, 2)).share(table_batch(), Level.BASIC)
    assert (seen.modality, seen.table, seen.classes, seen.lengths) == (Modality.TABLE, LAYOUT, 2, None)


def test_public_data_of_each_modality():
    known = Level.BASIC | Knowledge.PUBLIC_DATA
    public = torch.tensor([[1, 2, 3, 4, 5]])
    assert torch.equal(client().share(text_batch(), known, public=public).public_data, public)
    with pytest.raises(AuditError, match=r"public_data: needs token ids \[N, L\]"):
        client().share(text_batch(), known, public=torch.rand(1, 3))
    with pytest.raises(AuditError, match="public_data: rows must be finite"):
        Client(nn.Linear(3, 2)).share(table_batch(), known, public=torch.rand(1, 4))


def test_texts_are_matched_and_scored_through_one_assignment():
    batch = text_batch(inputs=((3, 9, 2), (5, 4, 0)))
    scores = audit.score(batch, Reconstruction(torch.tensor([[5, 4, 7], [3, 9, 1]]), None, 0.0))
    assert scores["token_accuracy"].per_example == pytest.approx((2 / 3, 1))
    assert scores["exact_match"].per_example == (0, 1)
    assert scores["edit_distance"].worst_leak == 0
    for name in ("rouge1", "rouge2", "rougeL"):
        assert (scores.get(name) is None) == (name in scores.why_not)


@pytest.mark.parametrize("guess", [torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 3)])
def test_a_guess_that_is_no_such_text_is_refused(guess):
    with pytest.raises(AuditError, match="the attack returned"):
        audit.score(text_batch(), Reconstruction(guess, None, 0.0))


def test_rows_are_matched_and_scored():
    batch = table_batch()
    guess = LAYOUT.encode([(32.0, "blue"), (90.0, "red")])
    scores = audit.score(batch, Reconstruction(guess, None, 0.0))
    assert scores["cell_accuracy"].per_example == (0.5, 1)
    assert scores["row_match"].per_example == (0, 1)


def test_the_controls_know_lengths_and_markers_but_no_text():
    source = SOURCES["text"]().open()
    handling = TextHandling(source.vocabulary)
    batch = handling.gather(source, [0, 1], torch.tensor([0, 1]))
    control, notes = handling.control(source, batch, [0, 1])
    assert control.shape == batch.inputs.shape
    assert not notes
    padded = torch.arange(control.shape[1])[None] >= batch.lengths[:, None]
    assert torch.equal(control[padded], batch.inputs[padded])
    found = handling.score(batch, control)
    assert found["token_accuracy"].mean < 0.4
    assert TextHandling().score(batch, batch.inputs)["token_accuracy"].mean == 1


def case(attack, batch, handling, granted=GRANTED):
    control = torch.zeros_like(batch.inputs)
    return audit.Case("k", "mine", attack, client(), batch, granted, control, torch.empty(0), handling=handling)


@pytest.mark.parametrize("seed", range(3))
def test_an_attack_on_text_is_audited(seed):
    torch.manual_seed(seed)
    assert isinstance(READER, Attack)
    source = SOURCES["text"]().open()
    handling = TextHandling(source.vocabulary)
    batch = handling.gather(source, [17 * seed], torch.tensor([1]))
    found = audit.audit(case(READER, batch, handling))
    assert found.finding.scores["exact_match"].mean == 1
    assert found.finding.gallery == 0
    assert found.finding.mean_gain > 0.9
    text = "".join(found.transcript.reconstruction[0].pieces).strip()
    assert text == source.texts[17 * seed].lower()
    assert not any(found.transcript.reconstruction[0].differs)
    assert all(found.transcript.control[0].differs)
    with pytest.raises(MissingKnowledge, match="EMBEDDING_GRADIENT"):
        audit.audit(case(READER, batch, handling, Level.BASIC | Knowledge.LABELS))


def test_a_finding_on_text_survives_json():
    source = SOURCES["text"]().open()
    handling = TextHandling(source.vocabulary)
    finding = audit.audit(case(READER, handling.gather(source, [3], torch.tensor([1])), handling)).finding
    record = json.loads(json.dumps(finding.to_json(), allow_nan=False))
    assert record["token_accuracy_gain"] == pytest.approx(1)
    assert "psnr_gain" not in record
    back = Finding.from_json(record)
    assert back == finding
    assert back.modality is Modality.TEXT


def test_a_finding_on_pictures_from_before_there_were_modalities_is_read():
    batch = make_batch(2)
    attack = dataclasses.make_dataclass("Oracle", ["name", "needs"], namespace={
        "__call__": lambda self, seen, seed=0, watch=None: Reconstruction(batch.inputs, batch.labels, 0.0)
    })("oracle", Knowledge.NOTHING)  # fmt: skip
    whole = audit.Case(
        "k",
        "mine",
        attack,
        Client(smooth_net()),
        batch,
        Level.BASIC,
        torch.full((1, 8, 8), 0.5),
        torch.rand(3, 1, 8, 8),
    )
    finding = audit.audit(whole).finding
    record = json.loads(json.dumps(finding.to_json()))
    assert {"psnr", "ssim", "lpips", "recognisable", "rank", "why_not"} == set(record["scores"])
    del record["modality"], record["transcript"]
    assert Finding.from_json(record) == finding


def test_other_sources_are_brought_into_the_same_ids_and_columns(tmp_path):
    words = SOURCES["text"]().open()
    (tmp_path / "t.txt").write_text("The red boat.\n")
    other = TextHandling(words.vocabulary).align(SOURCES["text"](path=tmp_path / "t.txt").open())
    assert other.vocabulary is words.vocabulary
    table = SOURCES["table"]().open()
    aligned = TableHandling(table.layout).align(table)
    torch.testing.assert_close(aligned.rows, table.rows, atol=1e-4, rtol=1e-4)
    (tmp_path / "t.csv").write_text("age,tenant\n1,yes\n2,no\n")
    with pytest.raises(AuditError, match="has the columns age, but needs age, school"):
        TableHandling(table.layout).align(SOURCES["table"](path=tmp_path / "t.csv").open())
    assert ImageHandling().align(words) is words


def test_the_confidence_in_a_cell_follows_its_row():
    batch = table_batch()
    guess = LAYOUT.encode([(30.0, "blue"), (50.0, "blue")])
    sure = torch.tensor([[0.25, 0.5], [0.75, 1.0]])
    attack = dataclasses.make_dataclass("Sure", ["name", "needs"], namespace={
        "__call__": lambda self, seen, seed=0, watch=None: Reconstruction(guess, None, 0.0, confidence=sure)
    })("sure", Knowledge.NOTHING)  # fmt: skip
    whole = audit.Case("k", "s", attack, Client(nn.Linear(3, 2)), batch, Level.BASIC, torch.zeros(3), torch.empty(0))
    found = audit.audit(whole).transcript.reconstruction
    assert [line.confidence for line in found] == [(0.75, 1.0), (0.25, 0.5)]
    assert [line.differs for line in found] == [(False, True), (False, False)]


def test_numbers_that_are_none_are_written_as_such():
    guess = torch.tensor([[torch.nan, 0.0, 1.0], [torch.inf, 1.0, 0.0]])
    transcript = TableHandling().transcribe(table_batch(), guess, table_batch().inputs)
    assert transcript.reconstruction[0].pieces == ("n/a", "red")
    assert json.loads(json.dumps(transcript.to_json(), allow_nan=False))["reconstruction"][0]["values"][0] is None
    assert type(transcript).from_json(transcript.to_json()).truth == transcript.truth


def test_lengths_reach_from_one_to_the_whole_row():
    model = FlatText()
    for lengths in ([1, 7], [7, 1]):
        Client(model).train(texts_of(lengths))
    for lengths in ([0, 7], [8, 1]):
        with pytest.raises(AuditError, match="lengths must be"):
            Client(model).train(texts_of(lengths))


def texts_of(lengths):
    """Two rows of seven words, so many of them counted."""
    return Batch(torch.arange(3, 17).view(2, 7), torch.tensor([0, 1]), Modality.TEXT, torch.tensor(lengths))


def test_numbers_of_a_cell_are_written_to_three_places():
    assert [written(value) for value in (2.0004, 2.0006, 1234.5678, -3.0, 1e20, -1e20, 0.1234)] == [
        "2", "2.001", "1235", "-3", "100000000000000000000", "-100000000000000000000", "0.1234",
    ]  # fmt: skip


def test_rows_with_one_broken_number_are_refused():
    layout = TableLayout((Column("age", mean=0.0, std=1.0),))
    rows = torch.tensor([[0.0], [torch.nan]])
    batch = Batch(rows, torch.tensor([0, 1]), Modality.TABLE, table=layout)
    with pytest.raises(AuditError, match="rows must be finite floats"):
        Client(torch.nn.Linear(1, 2)).train(batch)


def test_ids_that_no_token_has_are_shown_as_numbers():
    words = Words(("[PAD]", "[UNK]", "cat", "sat"))
    batch = text_batch(inputs=((2, 3, 2), (3, 2, 0)), text=words.layout)
    guess = torch.tensor([[2, 99, -1], [3, 4, 0]])
    handling = TextHandling(words)
    first, second = handling.transcribe(batch, guess, batch.inputs).reconstruction
    assert first.pieces == (" cat", " <99>", " <-1>")
    assert second.pieces == (" sat", " <4>")
    assert handling.score(batch, guess)["token_accuracy"].per_example == (pytest.approx(1 / 3), pytest.approx(1 / 2))


def test_a_text_of_one_token_is_a_text():
    assert client().train(text_batch(lengths=(3, 1))).values


def test_the_control_of_the_only_text_is_padding(tmp_path):
    (tmp_path / "t.txt").write_text("The red boat.\n")
    source = SOURCES["text"](path=tmp_path / "t.txt").open()
    handling = TextHandling(source.vocabulary)
    batch = handling.gather(source, [0], torch.tensor([0]))
    control, notes = handling.control(source, batch, [0])
    assert notes == ("No text lies outside the batch: the control is padding.",)
    assert handling.score(batch, control)["token_accuracy"].mean == 0


@pytest.mark.parametrize(
    ("batch", "handling"),
    [(table_batch(), TableHandling()), (Batch(torch.rand(2, 1, 8, 8), torch.tensor([0, 1])), ImageHandling())],
    ids=["table", "pictures"],
)
def test_examples_with_a_graph_are_read_as_any_others(batch, handling):
    """An attack may return what it optimised, and public data may come out of a network."""
    inputs = batch.inputs.clone().requires_grad_()
    matched = handling.match(batch, Reconstruction(inputs.flip(0), None, 0.0))
    assert not matched.inputs.requires_grad
    assert torch.equal(matched.inputs, batch.inputs)
    assert private_among(inputs, batch).tolist() == [True, True]
    assert child_seed(0, "noise", inputs) == child_seed(0, "noise", batch.inputs)


@pytest.mark.parametrize(
    ("cell", "text"),
    [(12345.0004, "12345"), (12345.4, "1.235e+04"), (0.12345, "0.1235"), (3e15, "3000000000000000"), ("red", "red")],
)
def test_whole_numbers_are_written_in_full_and_others_with_four_digits(cell, text):
    assert written(cell) == text


def test_private_examples_are_looked_for_once(monkeypatch):
    """Audit and client both ask; another batch, or other public examples, are another question."""
    asked = []
    kind = type(handling_of(Modality.PICTURES))
    monkeypatch.setattr(kind, "duplicates", lambda self, public, batch: asked.append(1) or torch.zeros(len(public)) > 0)
    public, other = torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8)
    batch, second = (Batch(torch.rand(1, 1, 8, 8), torch.tensor([0])) for _ in range(2))
    for pair in ((public, batch), (public, batch), (public, second), (other, batch), (other, batch)):
        private_among(*pair)
    assert len(asked) == 3
