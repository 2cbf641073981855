"""The room that judges: assignment, scores, control, findings."""

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_batch, smooth_net
from gradaudit import Batch, Client, Finding, Knowledge, Level, Reconstruction, audit, metrics
from gradaudit.attacks import INVERTING_GRADIENTS
from gradaudit.errors import AttackFailed, AuditError
from gradaudit.finding import Score, Scores
from properties import short


def guess(inputs, labels=None):
    return Reconstruction(inputs, labels, objective=0.0)


def big_batch(size=4):
    return make_batch(size, side=16)


def test_the_truth_in_any_order_scores_100_db():
    batch = big_batch()
    scores = audit.score(batch, guess(batch.inputs[[2, 0, 3, 1]]), distractors=torch.rand(5, 1, 16, 16))
    assert scores.psnr.per_example == (100.0,) * 4
    assert scores.ssim.mean == pytest.approx(1)
    assert scores.rank.per_example == (1.0,) * 4
    assert scores.lpips is None
    assert "lpips" in scores.why_not


def test_scores_stay_with_their_example():
    batch = big_batch()
    noisy = batch.inputs.clone()
    noisy[2] = (noisy[2] + 0.2 * torch.randn(1, 16, 16)).clamp(0, 1)
    scores = audit.score(batch, guess(noisy[[3, 2, 1, 0]]))
    assert scores.psnr.per_example.index(min(scores.psnr.per_example)) == 2
    assert scores.psnr.worst_leak == 100
    assert scores.rank is None


def test_small_pictures_have_no_ssim():
    batch = make_batch(2)
    scores = audit.score(batch, guess(batch.inputs))
    assert scores.ssim is None
    assert "11" in scores.why_not["ssim"]


def test_a_guess_of_another_shape_is_refused():
    batch = make_batch(2)
    with pytest.raises(
        AuditError, match=r"returned pictures of shape \[3, 1, 8, 8\] for a batch of shape \[2, 1, 8, 8\]"
    ):
        audit.score(batch, guess(torch.rand(3, 1, 8, 8)))


def case(**changes):
    batch = big_batch()
    base = audit.Case(
        key="k",
        attack_name="mine",
        attack=short(INVERTING_GRADIENTS),
        client=Client(smooth_net(size=16)),
        batch=batch,
        knowledge=Level.PRIORS | Knowledge.LABELS,
        control=torch.full((1, 16, 16), 0.5),
        distractors=torch.rand(6, 1, 16, 16),
    )
    return replace(base, **changes)


def test_the_control_is_one_guess_for_every_example():
    found = audit.audit(case())
    expected = metrics.psnr(torch.full((4, 1, 16, 16), 0.5), case().batch.inputs)
    assert found.finding.control.psnr.per_example == pytest.approx(expected.tolist())
    assert found.finding.gain == pytest.approx(
        [a - b for a, b in zip(found.finding.scores.psnr.per_example, expected.tolist(), strict=True)]
    )
    assert found.finding.gallery == 7


class Oracle:
    """Returns what the test tells it, to see what the audit makes of it."""

    name, needs = "oracle", Knowledge.BATCH_SIZE

    def __init__(self, inputs, labels):
        self.answer = guess(inputs, labels)

    def __call__(self, seen, *, seed=0, watch=None):
        return self.answer


def test_labels_go_through_the_same_assignment():
    batch = big_batch()
    order = [2, 0, 3, 1]
    found = audit.audit(case(batch=batch, attack=Oracle(batch.inputs[order], batch.labels[order]))).finding
    assert found.label_accuracy == 1
    assert found.guessed_labels == found.labels == tuple(batch.labels.tolist())
    wrong = audit.audit(case(batch=batch, attack=Oracle(batch.inputs[order], batch.labels))).finding
    assert wrong.label_accuracy == 0


def test_a_broken_attack_is_named():
    class Broken(Oracle):
        def __call__(self, seen, *, seed=0, watch=None):
            raise RuntimeError("sizes do not match\nat line 3")

    with pytest.raises(AuditError, match=r"^mine: stopped with RuntimeError: sizes do not match\.$"):
        audit.audit(case(attack=Broken(None, None)))


def test_a_diverged_picture_scores_nothing():
    batch = big_batch()
    found = audit.audit(case(batch=batch, attack=Oracle(torch.full_like(batch.inputs, torch.nan), None)))
    assert found.finding.scores.psnr.mean < 1
    assert found.finding.scores.rank.mean > 6


def test_a_finding_survives_json():
    finding = audit.audit(case()).finding
    again = Finding.from_json(json.loads(json.dumps(finding.to_json(), allow_nan=False)))
    assert again == finding


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=6), st.floats() | st.just(math.nan))
def test_any_numbers_survive_json(values, objective):
    finding = audit.audit(CASE).finding if not FOUND else FOUND[0]
    FOUND[:] = [finding]
    changed = replace(
        finding,
        objective=objective,
        scores=Scores({"psnr": Score.of(tuple(values))}),
        control=Scores({"psnr": Score.of(tuple(values))}),
    )
    record = json.loads(json.dumps(changed.to_json(), allow_nan=False))
    again = Finding.from_json(record)
    assert again.scores == changed.scores
    assert record["psnr_gain"] == 0
    assert again.objective == objective or not math.isfinite(objective)


CASE = case(batch=Batch(big_batch().inputs, big_batch().labels))
FOUND = []


PICTURES = big_batch().inputs


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("pictures", "returned a value of type str, not a Reconstruction"),
        (guess(None), "inputs must be a tensor. Found a value of type NoneType"),
        (guess(PICTURES, [1, 2, 3, 4]), "labels must be a tensor. Found a value of type list"),
        (guess(PICTURES, torch.zeros(4)), r"labels must be \[4\] integers. Found torch.float32 \[4\]"),
        (guess(PICTURES, torch.zeros(3, dtype=torch.int64)), r"labels must be \[4\] integers. Found torch.int64 \[3\]"),
        (guess(PICTURES + 0j), "inputs must be a dense tensor of real numbers"),
        (replace(guess(PICTURES), objective="low"), "the fields of its Reconstruction are wrong: objective must be"),
        (replace(guess(PICTURES), notes=(1,)), "the fields of its Reconstruction are wrong: objective must be"),
    ],
)
def test_what_is_no_reconstruction_is_refused_in_one_line(answer, why):
    attack = Oracle(None, None)
    attack.answer = answer
    with pytest.raises(AuditError, match=f"^mine: {why}"):
        audit.audit(case(attack=attack))


def test_a_case_that_could_not_run_claims_nothing():
    class Unable(Oracle):
        def __call__(self, seen, *, seed=0, watch=None):
            raise AttackFailed("no gradient.")

    found = audit.audit(case(attack=Unable(None, None), repeat=3)).finding
    assert (found.cannot_judge, found.scored, found.verified) == ("no gradient.", False, False)
    assert (found.seed, found.repeat) == (0, 3)
    plain = audit.audit(case(attack=Unable(None, None), seed=5)).finding
    assert (plain.seed, plain.repeat) == (5, 0)


def test_what_comes_back_holds_no_graph():
    made = PICTURES.clone().requires_grad_()
    found = audit.audit(case(attack=Oracle(2 * made / 2, None)))
    assert not found.reconstruction.requires_grad
    assert found.finding.scores.psnr.mean == 100


def test_one_other_picture_is_a_gallery_and_none_is_not():
    found = audit.audit(case(attack=Oracle(PICTURES, None), distractors=torch.rand(1, 1, 16, 16))).finding
    assert (found.gallery, found.scores.rank.per_example) == (2, (1.0,) * 4)
    alone = audit.audit(case(attack=Oracle(PICTURES, None), distractors=torch.empty(0, 1, 16, 16))).finding
    assert alone.scores.rank is None
    assert alone.scores.why_not["rank"] == "no other pictures to tell it from"
