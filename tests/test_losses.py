"""Losses over outputs of any shape: the client takes them, granted labels give the pictures away, classes are shown."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from gradaudit import Batch, Client, FedAvg, FedSGD, Knowledge, Level
from gradaudit.attacks import ATTACKS, DLG, INVERTING_GRADIENTS
from gradaudit.audit.config import make_config
from gradaudit.audit.judge import Case, audit
from gradaudit.audit.label_audit import audit_labels
from gradaudit.audit.plan import make_plan
from gradaudit.data.sources import SOURCES
from gradaudit.inversion.parts.optimisers import Adam
from gradaudit.inversion.parts.parametrisations import Pixels
from gradaudit.inversion.parts.part import Stage
from gradaudit.inversion.run.label_reading import read_labels
from gradaudit.protocol.local_training import LOSSES, CrossEntropy
from gradaudit.protocol.local_training.losses import rules_of
from gradaudit.protocol.local_training.losses.binary_cross_entropy import BinaryCrossEntropy, MultiLabel
from gradaudit.protocol.local_training.losses.mean_squared_error import MeanSquaredError
from gradaudit.protocol.local_training.losses.pixel_cross_entropy import PixelCrossEntropy
from gradaudit.protocol.local_training.losses.sum_of_heads import SumOfHeads
from gradaudit.report import render
from gradaudit.values.errors import AttackFailed, AuditError
from gradaudit.values.finding import RunRecord
from recovery import NORMALISATION, drawn, gain

GRANTED = Level.PRIORS | Knowledge.LABELS


class TwoHeads(nn.Module):
    """A body, and a classifier and a number on top of it."""

    def __init__(self, named):
        super().__init__()
        self.body, self.kind, self.age, self.named = body(), nn.Linear(512, 4), nn.Linear(512, 1), named

    def forward(self, inputs):
        features = self.body(inputs)
        found = self.kind(features), self.age(features)
        return dict(zip(("kind", "age"), found, strict=True)) if self.named else found


class Squeezed(nn.Module):
    """One number for each example, `[B]`."""

    def __init__(self):
        super().__init__()
        self.inner = net(1)

    def forward(self, inputs):
        return self.inner(inputs).squeeze(1)


def body():
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.Sigmoid(), nn.Conv2d(8, 8, 3, padding=1), nn.Sigmoid(), nn.Flatten()]
    return nn.Sequential(*layers)


def net(width):
    return nn.Sequential(body(), nn.Linear(512, width))


def mask_net():
    return nn.Sequential(body(), nn.Linear(512, 192), nn.Unflatten(1, (3, 8, 8)))


CASES = {
    "cross-entropy": (lambda: net(4), CrossEntropy(), lambda: torch.tensor([2])),
    "binary-cross-entropy": (lambda: net(1), BinaryCrossEntropy(), lambda: torch.tensor([1])),
    "binary, [B]": (Squeezed, BinaryCrossEntropy(), lambda: torch.tensor([0])),
    "multi-label": (lambda: net(4), MultiLabel(), lambda: torch.tensor([[1, 0, 1, 0]])),
    "multi-label, floats": (lambda: net(4), MultiLabel(), lambda: torch.tensor([[1.0, 0, 0.5, 0]])),
    "mean-squared-error": (lambda: net(2), MeanSquaredError(), lambda: torch.tensor([[1.5, -2.0]])),
    "regression, [B]": (Squeezed, MeanSquaredError(), lambda: torch.tensor([2.5])),
    "pixel-cross-entropy": (mask_net, PixelCrossEntropy(), lambda: (torch.arange(64).view(1, 8, 8) // 7) % 3),
    "a tuple": (
        lambda: TwoHeads(False),
        SumOfHeads(("cross-entropy", "mean-squared-error")),
        lambda: torch.tensor([[3.0, 0.7]]),
    ),
    "a dictionary": (
        lambda: TwoHeads(True),
        SumOfHeads((CrossEntropy(), MeanSquaredError())),
        lambda: torch.tensor([[1.0, -0.7]]),
    ),
}
WITHOUT_LOGITS = [name for name in CASES if name != "cross-entropy"]


def case(name, seed):
    """The client of one loss, a batch of one picture, and the control."""
    torch.manual_seed(seed)
    make, loss, labels = CASES[name]
    client = Client(make(), FedSGD(loss), normalisation=NORMALISATION)
    batch, control = drawn(seed, 1, labels=[0])
    return client, replace(batch, labels=labels()), control


@cache
def attack(seeds=1):
    stage = Stage(Pixels(), Adam(lr=0.1, milestones=(0.5, 0.75, 0.9)), steps=250)
    return replace(INVERTING_GRADIENTS, stages=(stage,), seeds=seeds, together=seeds > 1)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", CASES)
def test_granted_labels_give_the_picture_away(name, seed):
    client, batch, control = case(name, seed)
    found = attack()(client.share(batch, GRANTED), seed=seed)
    assert gain(found, batch, control) > 12


def test_every_loss_of_the_room_has_a_case():
    assert {type(loss) for _, loss, _ in CASES.values()} == set(LOSSES.values()) - {LOSSES["distilled-cross-entropy"]}


@pytest.mark.parametrize("name", WITHOUT_LOGITS)
def test_labels_are_not_inferred_where_there_is_no_logit_for_each_class(name):
    client, batch, _ = case(name, 1)
    seen = client.share(batch, Level.PRIORS)
    with pytest.raises(AttackFailed, match=r"labels cannot be inferred under .* Grant LABELS") as said:
        DLG(seen)
    assert "\n" not in str(said.value)
    for method in ("llg", "bias-sign", "ilrg", "idlg"):
        reading = read_labels(method, seen)
        assert not reading.applies
        assert "labels cannot be inferred under" in reading.why_not


def judged(name, attack_, knowledge):
    client, batch, control = case(name, 1)
    return audit(Case("k", "a", attack_, client, batch, knowledge, control, torch.empty(0))).finding


@pytest.mark.parametrize("name", WITHOUT_LOGITS)
@pytest.mark.parametrize("inferring", ["dlg", "idlg", "gradinversion"])
def test_an_attack_that_infers_labels_cannot_be_judged(name, inferring):
    finding = judged(name, ATTACKS[inferring], Level.BATCH_STATISTICS)
    assert "labels cannot be inferred under" in finding.cannot_judge
    assert type(finding).from_json(finding.to_json()).examples == 1


@pytest.mark.parametrize("name", CASES)
def test_a_finding_holds_labels_where_they_are_classes(name):
    finding = judged(name, attack(), GRANTED)
    classes = CASES[name][1].classes
    assert bool(finding.labels) == classes == (finding.label_accuracy is not None)
    assert (finding.guessed_labels is not None) == classes
    assert not finding.cannot_judge
    assert finding.examples == 1
    assert type(finding).from_json(finding.to_json()).examples == 1


@pytest.mark.parametrize("name", ["multi-label, floats", "mean-squared-error", "pixel-cross-entropy", "a tuple"])
def test_several_steps_and_several_guesses_take_any_labels(name):
    client, batch, control = case(name, 2)
    steps = replace(client, training=FedAvg(client.training.loss, learning_rate=0.01, epochs=2))
    for one, guessing in ((steps, attack()), (client, attack(seeds=2))):
        found = guessing(one.share(batch, GRANTED | Knowledge.LOCAL_TRAINING), seed=1)
        assert gain(found, batch, control) > 12


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("cross-entropy", torch.tensor([4]), "must be in 0...3, the classes of Sequential. Found 4"),
        (
            "cross-entropy",
            torch.tensor([0.5]),
            r"takes classes \[B\], integers. Found float32 \[1\]; fix the labels, or",
        ),
        ("binary-cross-entropy", torch.tensor([2]), "must be 0 or 1 under binary cross entropy. Found 2 to 2"),
        ("binary-cross-entropy", torch.tensor([1.0]), r"classes \[B\], integers 0 or 1. Found float32"),
        ("multi-label", torch.tensor([[1, 0, 1]]), r"labels \[B, 4\] in \[0, 1\].* Found int64 \[1, 3\]"),
        ("multi-label", torch.tensor([[1, 0, 2, 0]]), r"must lie in \[0, 1\]"),
        ("mean-squared-error", torch.tensor([[1.0]]), r"targets \[1, 2\].*Found float32 \[1, 1\]"),
        ("mean-squared-error", torch.tensor([[1.0, torch.nan]]), "a target is NaN"),
        ("pixel-cross-entropy", torch.zeros(1, 4, 4, dtype=torch.int64), r"masks \[1, 8, 8\].*Found int64 \[1, 4, 4\]"),
        ("pixel-cross-entropy", torch.full((1, 8, 8), 3), "must be in 0...2.*Found 3 to 3"),
        ("a tuple", torch.zeros(1, 3), r"labels \[B\], or \[B, 2\] with a column for each head"),
        ("a tuple", torch.tensor([[9.0, 0.0]]), "must be in 0...3"),
    ],
)
def test_labels_that_do_not_fit_are_said_with_the_fix(name, labels, message):
    client, batch, _ = case(name, 1)
    with pytest.raises(AuditError, match=message):
        client.train(replace(batch, labels=labels))


@pytest.mark.parametrize(
    ("name", "model", "found"),
    [
        ("cross-entropy", mask_net, r"logits \[1, classes\]. Found \[1, 3, 8, 8\]"),
        ("binary-cross-entropy", lambda: net(2), r"one logit for each example, \[1\] or \[1, 1\]. Found \[1, 2\]"),
        ("mean-squared-error", mask_net, r"numbers \[1\] or \[1, D\]. Found"),
        ("pixel-cross-entropy", lambda: net(3), r"logits \[1, classes, H, W\]. Found \[1, 3\]"),
        ("a tuple", lambda: net(3), r"a tuple or dictionary of .* Found \[1, 3\]"),
        ("cross-entropy", lambda: TwoHeads(False), r"logits \[1, classes\]. Found tuple of \[\[1, 4\], \[1, 1\]\]"),
    ],
)
def test_outputs_that_do_not_fit_are_said(name, model, found):
    client, batch, _ = case(name, 1)
    with pytest.raises(AuditError, match=f"must return {found}"):
        replace(client, model=model()).train(batch)


def test_heads_need_a_loss_that_there_is():
    with pytest.raises(AuditError, match=r"no loss 'hinge' for a head\. Known: binary-cross-entropy, cross-entropy"):
        SumOfHeads(("hinge",))
    with pytest.raises(AuditError, match="at least one loss"):
        SumOfHeads()


def test_a_plain_function_is_taken_for_one_over_logits():
    client, batch, _ = case("cross-entropy", 1)
    plain = replace(client, training=FedSGD(nn.functional.cross_entropy))
    assert rules_of(nn.functional.cross_entropy).inferable
    assert all(map(torch.equal, client.train(batch).values, plain.train(batch).values))


def test_a_regression_of_texts_keeps_whole_lengths():
    """Lengths are numbers of tokens, whatever the labels are."""

    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.token_embedding, self.head = nn.Embedding(9, 4), nn.Linear(4, 1)

        def forward(self, ids):
            vectors = ids if ids.is_floating_point() else self.token_embedding(ids)
            return self.head(vectors.mean(1)).squeeze(1)

    batch = Batch(torch.tensor([[1, 2, 3]]), torch.tensor([0.5]), "text")
    batch = replace(batch, modality=type(Batch(batch.inputs, batch.labels).modality)("text"))
    seen = Client(Words(), FedSGD(MeanSquaredError())).share(batch, GRANTED)
    assert seen.lengths.tolist() == [3]
    assert seen.lengths.dtype == torch.int64


def audited(folder, loss, model="lenet", **arrays):
    """One finding, and the page, of an audit file over an .npz of eight small pictures."""
    pictures = np.random.default_rng(0).integers(0, 255, (8, 8, 8, 3), dtype=np.uint8)
    np.savez(folder / "x.npz", images=pictures, **arrays)
    raw = {
        "data": {"source": "npz", "path": "x.npz"},
        "model": {"name": model},
        "training": {"loss": loss},
        "attacks": [{"name": "inverting-gradients", "set": {"stages.0.steps": 2}}, "dlg"],
        "knowledge": ["basic"],
    }
    granted = {**raw, "knowledge": ["basic", "LABELS"], "attacks": raw["attacks"][:1]}
    plans = [
        make_plan(make_config(one), folder, number=i) for i, one in enumerate((granted, {**raw, "attacks": ["dlg"]}))
    ]
    return plans, [audit(case).finding for plan in plans for case in plan.cases()]


TARGETS = {
    "mean-squared-error": np.linspace(-1, 1, 8),
    "multi-label": np.eye(8, 3, dtype=np.uint8),
    "binary-cross-entropy": None,
}


@pytest.mark.parametrize("loss", TARGETS)
def test_an_audit_file_names_a_loss(tmp_path, loss):
    arrays = {"labels": np.arange(8) % 2} if TARGETS[loss] is None else {"targets": TARGETS[loss]}
    plans, (granted, inferring) = audited(tmp_path, loss, **arrays)
    assert type(plans[0].client.training.loss) is LOSSES[loss]
    assert f"loss: {loss}" in plans[0].config.as_yaml()
    assert not granted.cannot_judge
    assert "labels cannot be inferred" in inferring.cannot_judge
    run = RunRecord("t", "", "eight pictures", 2)
    page = render([replace(granted, case="a"), replace(inferring, case="b", no_op_defenses=())], run, tmp_path)
    assert "Cannot be judged" in page
    assert "1 image" in page
    assert ("label 0" in page or "label 1" in page) == (TARGETS[loss] is None)


@pytest.mark.parametrize(
    ("loss", "arrays", "message"),
    [
        (
            "cross-entropy",
            {"targets": np.linspace(0, 1, 8)},
            r"are not classes but float32 \[8\].*multi-",
        ),
        ("mean-squared-error", {}, "npz has no labels, and training.loss: .* needs some. Give an .npz with targets"),
        ("hinge", {}, "training.loss: unknown loss hinge. Known: binary-cross-entropy, cross-entropy"),
        ({"name": "cross-entropy", "x": 1}, {}, "training.loss.x: unknown key"),
        ("pixel-cross-entropy", {"targets": np.zeros((8, 8, 8), int)}, r"must return logits \[1, classes, H, W\]"),
        ("multi-label", {"targets": np.zeros((3, 2))}, r"it must be numbers \[8, ...\]"),
        ("multi-label", {"targets": np.full((8, 2), np.nan)}, "contains NaN or infinity"),
    ],
)
def test_an_audit_file_that_does_not_fit_its_loss_is_refused(tmp_path, loss, arrays, message):
    with pytest.raises(AuditError, match=message):
        audited(tmp_path, loss, **arrays)


def test_masks_are_not_resized(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 8, 8, 3), np.uint8), targets=np.zeros((2, 8, 8), int))
    with pytest.raises(AuditError, match="size would resize the images but not the masks"):
        SOURCES["npz"](tmp_path / "x.npz", size=4).open()


def test_the_default_loss_is_not_written_out():
    """The identity of earlier runs stays, so that they can be continued."""
    raw = {"data": {"source": "photographs"}, "model": {"name": "lenet"}, "knowledge": ["basic"]}
    assert "loss" not in make_config(raw).as_yaml()


def test_label_inference_alone_says_that_there_is_nothing_to_infer(tmp_path):
    (plan, _), _ = audited(tmp_path, "mean-squared-error", targets=TARGETS["mean-squared-error"])
    with pytest.raises(AuditError, match="no label can be inferred, as its output has no logit for each class"):
        audit_labels(plan, ("llg",))
