"""The room that judges: assignment, scores, control, findings."""

import json
import math
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_batch, smooth_net
from gradaudit import Batch, Client, Finding, Knowledge, Level, Reconstruction, metrics
from gradaudit.attacks import INVERTING_GRADIENTS
from gradaudit.audit import judge as audit
from gradaudit.protocol.defenses import Clip
from gradaudit.values.errors import AttackFailed, AuditError
from gradaudit.values.finding import Score, Scores
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
        AuditError, match=r"returned images of shape \[3, 1, 8, 8\] for a batch of shape \[2, 1, 8, 8\]"
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


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64])
def test_numbers_that_torch_only_stores_are_refused(kind):
    batch = big_batch()
    with pytest.raises(AuditError, match=f"^mine: inputs must be a dense tensor of real numbers. Found {kind}"):
        audit.audit(case(batch=batch, attack=Oracle(batch.inputs.to(kind), None)))


def test_an_attack_that_fails_without_a_word_is_not_judged():
    class Silent(Oracle):
        def __call__(self, seen, *, seed=0, watch=None):
            raise AttackFailed(" ")

    finding = audit.audit(case(attack=Silent(None, None))).finding
    assert finding.cannot_judge == "it could not run, and gives no reason."


def test_a_broken_attack_is_named():
    class Broken(Oracle):
        def __call__(self, seen, *, seed=0, watch=None):
            raise RuntimeError("sizes do not match\nat line 3")

    with pytest.raises(AuditError, match=r"^mine: stopped with RuntimeError: sizes do not match\.$"):
        audit.audit(case(attack=Broken(None, None)))


def test_a_diverged_picture_scores_nothing():
    batch = big_batch()
    guess = torch.full_like(batch.inputs, torch.nan)
    guess[0] = batch.inputs[0]
    finding = audit.audit(case(batch=batch, attack=Oracle(guess, None))).finding
    assert sum(value < 1 for value in finding.scores.psnr.per_example) == len(guess) - 1
    assert sum(place > 6 for place in finding.scores.rank.per_example) == len(guess) - 1
    lost, values = guess[1:].numel(), guess.numel()
    assert finding.notes[-1].startswith(f"{lost} of {values} values of the reconstruction are NaN or infinity")


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_an_attack_that_returns_no_number_cannot_be_judged(number):
    batch = big_batch()
    finding = audit.audit(case(batch=batch, attack=Oracle(torch.full_like(batch.inputs, number), None))).finding
    assert "every value of the reconstruction is NaN or infinite" in finding.cannot_judge
    assert not finding.scored


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


def test_an_attack_may_hand_over_tensors_with_a_graph():
    """What a user's own attack returns is scored and shown, whatever its tensors hang on."""

    @dataclass(frozen=True)
    class Graphed:
        name: str = "graphed"
        needs: Knowledge = Knowledge.NOTHING

        def __call__(self, seen, *, seed=0, watch=None):
            return Reconstruction(
                torch.full((2, 1, 8, 8), 0.4, requires_grad=True) * 1, None, torch.ones((), requires_grad=True).detach()
            )

    batch = make_batch()
    case = audit.Case(
        "one",
        "graphed",
        Graphed(),
        Client(smooth_net()),
        batch,
        Level.BASIC,
        torch.full((1, 8, 8), 0.5),
        torch.rand(3, 1, 8, 8),
    )
    found = audit.audit(case)
    assert found.finding.scores.psnr.per_example == pytest.approx(
        metrics.psnr(torch.full((2, 1, 8, 8), 0.4), batch.inputs).tolist()
    )
    assert found.finding.control.psnr.per_example == pytest.approx(
        metrics.psnr(torch.full((2, 1, 8, 8), 0.5), batch.inputs).tolist()
    )
    assert found.finding.gallery == 4
    assert found.finding.objective == 1
    assert not found.reconstruction.requires_grad


@dataclass(frozen=True)
class Grey:
    """Returns grey pictures."""

    name: str = "grey"
    needs: Knowledge = Knowledge.NOTHING

    def __call__(self, seen, *, seed=0, watch=None):
        return Reconstruction(torch.full((2, 1, 8, 8), 0.4), None, 0.0)


def grey_case(control, **changes):
    case = audit.Case("one", "grey", Grey(), Client(smooth_net()), make_batch(), Level.BASIC, control, torch.empty(0))
    return replace(case, **changes)


def test_a_control_that_is_the_truth_leaves_no_room():
    """One example that can be judged is enough; without any the finding says why."""
    truth = make_batch().inputs
    assert audit.audit(grey_case(torch.full((1, 8, 8), 0.5))).finding.cannot_judge == ""
    one = torch.cat([truth[:1], torch.full((1, 1, 8, 8), 0.5)])
    found = audit.audit(grey_case(one)).finding
    assert (found.judgeable, found.cannot_judge) == ((False, True), "")
    why = audit.audit(grey_case(truth)).finding.cannot_judge
    assert why.startswith("a guess without the update already reaches 100.0 dB or more: the images hardly differ")
    assert f"between {float(truth.min()):.4g} and {float(truth.max()):.4g}" in why


def test_what_a_case_says_reaches_its_finding():
    defended = Client(smooth_net(), defenses=[Clip(1e9)])
    case = grey_case(
        torch.full((1, 8, 8), 0.5), client=defended, repeat=3, seed=7, notes=("Noted.",), warnings=("Warned.",)
    )
    found = audit.audit(case).finding
    assert (found.case, found.attack, found.client, found.repeat, found.seed) == (
        "one",
        "grey",
        "clip norm=1000000000.0",
        3,
        7,
    )
    assert (found.notes, found.warnings, found.no_op_defenses) == (
        ("Noted.",),
        ("Warned.",),
        ("clip norm=1000000000.0",),
    )
    assert found.labels == tuple(case.batch.labels.tolist())
    assert found.gallery == 1
    assert found.seconds > 0
    assert found.guessed_labels is None
    assert found.label_accuracy is None


def test_a_case_is_the_first_of_seed_0_unless_it_says_otherwise():
    case = grey_case(torch.full((1, 8, 8), 0.5))
    assert (case.seed, case.repeat, case.chance, case.public) == (0, 0, 0, None)


def test_an_attack_that_could_not_run_verified_nothing():
    @dataclass(frozen=True)
    class Fails(Grey):
        def __call__(self, seen, *, seed=0, watch=None):
            raise AttackFailed("no.")

    found = audit.audit(grey_case(torch.full((1, 8, 8), 0.5), attack=Fails()))
    assert found.finding.cannot_judge == "no."
    assert not found.finding.verified
    assert not found.finding.scored
    assert math.isnan(found.finding.objective)
    assert found.reconstruction is None


GUESS = Reconstruction(torch.full((2, 1, 8, 8), 0.4), None, 0.0)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (None, "returned a value of type NoneType, not a Reconstruction"),
        (replace(GUESS, inputs=None), "inputs must be a tensor"),
        (replace(GUESS, labels=[0, 1]), "labels must be a tensor"),
        (replace(GUESS, labels=torch.tensor([0.0, 1.0])), r"labels must be \[2\] integers. Found torch.float32 \[2\]"),
        (replace(GUESS, labels=torch.tensor([0])), r"labels must be \[2\] integers. Found torch.int64 \[1\]"),
        (replace(GUESS, inputs=GUESS.inputs.to(torch.complex64)), "inputs must be a dense tensor of real numbers"),
        (replace(GUESS, objective="far"), "the fields of its Reconstruction are wrong"),
        (replace(GUESS, trace=((1, 2),)), "the fields of its Reconstruction are wrong"),
        (replace(GUESS, notes=(3,)), "the fields of its Reconstruction are wrong"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_answer_that_is_none_is_refused_by_name(answer, complaint):
    @dataclass(frozen=True)
    class Answers(Grey):
        def __call__(self, seen, *, seed=0, watch=None):
            return answer

    with pytest.raises(AuditError, match=f"grey: {complaint}"):
        audit.audit(grey_case(torch.full((1, 8, 8), 0.5), attack=Answers()))


def test_one_other_picture_is_a_gallery_of_two():
    batch = big_batch(1)
    found = audit.score(batch, guess(batch.inputs), distractors=torch.zeros(1, 1, 16, 16))
    assert found.rank.per_example == (1,)
    assert audit.score(batch, guess(batch.inputs), distractors=torch.empty(0, 1, 16, 16)).rank is None


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
    assert alone.scores.why_not["rank"] == "there are no other images to compare with"
