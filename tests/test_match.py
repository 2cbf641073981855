"""The loop and its extension points, on clients small enough to know the answer."""

from dataclasses import dataclass, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from conftest import linear_net, make_batch
from gradaudit import Batch, Client, FedAvg, FedSGD, Knowledge, Level, Normalisation
from gradaudit.attacks import DLG, INVERTING_GRADIENTS
from gradaudit.inversion.parts.gradient_transforms import Noise
from gradaudit.inversion.parts.labels import KnownLabels
from gradaudit.inversion.parts.objectives import Cosine, Euclidean
from gradaudit.inversion.parts.optimisers import LBFGS, Adam
from gradaudit.inversion.parts.parametrisations import Pixels
from gradaudit.inversion.parts.part import (
    Candidate,
    GradientTransform,
    Objective,
    Parametrisation,
    Prior,
    Progress,
    Stage,
    Term,
)
from gradaudit.inversion.parts.priors import L2, TotalVariation
from gradaudit.inversion.run import keeper, loop
from gradaudit.inversion.run import stage as stage_module
from gradaudit.inversion.run.best import Best
from gradaudit.inversion.run.gradient_matching import GradientMatching
from gradaudit.inversion.run.loop import Outcome
from gradaudit.inversion.run.restarts import Target
from gradaudit.inversion.step.matching import Matching
from gradaudit.protocol.defenses import Clip as ClipDefense
from gradaudit.protocol.defenses import TopK
from gradaudit.values.errors import AttackFailed
from properties import short

GRANTED = Level.PRIORS | Knowledge.LABELS


def attack(**changes):
    stage = Stage(Pixels(), Adam(lr=0.1), steps=changes.pop("steps", 5), **changes.pop("stage", {}))
    base = GradientMatching("test", "", Euclidean(), KnownLabels(), (stage,))
    return replace(base, **changes)


@pytest.mark.parametrize("objective", [Euclidean(), Cosine()], ids=repr)
@pytest.mark.parametrize("batch_norm", ["eval", "train"])
def test_the_slope_is_the_gradient_of_the_loss(client, batch, objective, batch_norm):
    """Against finite differences of the loss as it is written down, in float64."""
    double = Client(client.model.double(), FedSGD(batch_norm=batch_norm), normalisation=client.normalisation)
    seen = double.share(Batch(batch.inputs.double(), batch.labels), GRANTED)
    matching = Matching(seen, objective)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    terms, at = [(Term(TotalVariation(), 0.3), TotalVariation()), (Term(L2(), 0.2), L2())], Progress(0, 10)
    slope = matching.slope(x, batch.labels, terms, at)

    def loss(inputs):
        priors = sum(term.weight * prior(inputs, at) for term, prior in terms)
        return matching.value(inputs, batch.labels, at) + priors

    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        direction = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        difference = (loss(x + 1e-6 * direction) - loss(x - 1e-6 * direction)) / 2e-6
        assert (slope.inputs * direction).sum().item() == pytest.approx(difference.item(), rel=1e-4, abs=1e-9)
    torch.testing.assert_close(slope.objective, matching.value(x, batch.labels, at))


def test_the_slope_reaches_trainable_labels(client, batch):
    double = Client(client.model.double())
    seen = double.share(Batch(batch.inputs.double(), batch.labels), Level.BASIC)
    matching, at = Matching(seen, Euclidean()), Progress(0, 1)
    x, logits = torch.randn(2, 1, 8, 8, dtype=torch.float64), torch.randn(2, 10, dtype=torch.float64)
    slope = matching.slope(x, logits, [], at)
    direction = torch.randn_like(logits)
    steps = [matching.value(x, logits + sign * 1e-6 * direction, at) for sign in (1, -1)]
    assert (slope.others[0] * direction).sum().item() == pytest.approx(((steps[0] - steps[1]) / 2e-6).item(), rel=1e-4)


@pytest.mark.parametrize(
    "training",
    [FedSGD(), FedSGD(batch_norm="train"), FedAvg(learning_rate=0.1, epochs=2, minibatch_size=1, momentum=0.5)],
    ids=repr,
)
@pytest.mark.parametrize("defenses", [(), (TopK(0.3),), (ClipDefense(0.1),)], ids=repr)
@pytest.mark.parametrize("objective", [Euclidean(), Cosine()], ids=repr)
def test_the_objective_at_the_truth_is_zero(client, batch, training, defenses, objective):
    """For every protocol and known defense (a peer's cosine objective reads 2.0 there)."""
    victim = Client(client.model, training, defenses, client.normalisation)
    seen = victim.share(batch, ~Knowledge.NOTHING)
    truth = client.normalisation.apply(batch.inputs)
    assert Matching(seen, objective).value(truth, batch.labels, Progress(0, 1)).item() == pytest.approx(0, abs=1e-6)


def test_an_unknown_local_training_is_taken_for_one_step(client, batch):
    victim = Client(client.model, FedAvg(learning_rate=1e-3, epochs=2), normalisation=client.normalisation)
    seen = victim.share(batch, GRANTED)
    truth = client.normalisation.apply(batch.inputs)
    assert Matching(seen, Cosine()).value(truth, batch.labels, Progress(0, 1)).item() < 1e-3


def test_knowing_a_sparsifying_defense_helps(client, batch):
    victim = Client(client.model, FedSGD(), (TopK(0.2),), client.normalisation)
    truth = client.normalisation.apply(batch.inputs)
    distances = [
        Matching(victim.share(batch, facts), Cosine()).value(truth, batch.labels, Progress(0, 1)).item()
        for facts in (GRANTED, GRANTED | Knowledge.DEFENSE)
    ]
    assert distances[0] > 0.01
    assert distances[1] == pytest.approx(0, abs=1e-6)


@dataclass(frozen=True)
class Recorder(Prior):
    """Remembers when it was asked."""

    log: ClassVar[list] = []

    def __call__(self, inputs, at):
        self.log.append((at.step, at.candidates.shape))
        return inputs.sum() * 0


def test_terms_act_in_their_window_and_see_all_seeds(client, batch):
    Recorder.log.clear()
    windowed = attack(steps=10, seeds=3, stage={"terms": (Term(Recorder(), 1.0, start=0.5, stop=0.8),)})
    windowed(client.share(batch, GRANTED))
    assert [step for step, _ in Recorder.log] == [5] * 3 + [6] * 3 + [7] * 3
    assert Recorder.log[0][1] == (3, 2, 1, 8, 8)


def test_parts_may_hook_their_private_model(client, batch):
    @dataclass(frozen=True)
    class Features(Prior):
        def bind(self, seen):
            found = []
            seen.model[1].register_forward_pre_hook(lambda _, args: found.append(args[0]))

            def penalty(inputs, at):
                calls.append(len(found))
                return found.pop().mean()

            return penalty

    calls = []
    seen = client.share(batch, GRANTED)
    attack(steps=4, stage={"terms": (Term(Features(), 1.0),)})(seen)
    assert calls == [1, 1, 1, 1, 1]  # one forward pass a step, and one for the last iterate
    assert not any(m._forward_pre_hooks for m in seen.model.modules())


def test_seeds_are_as_good_as_the_best_of_them(client, batch):
    seen = client.share(batch, GRANTED)
    one, four = (attack(steps=20, seeds=seeds)(seen) for seeds in (1, 4))
    assert four.objective <= one.objective
    assert four.inputs.shape == one.inputs.shape


def test_restarts_are_chosen_by_objective(client, batch):
    seen = client.share(batch, GRANTED)
    several = attack(restarts=3)(seen)
    finals = [min(value for _, value in curve) for curve in several.trace]
    assert len(several.trace) == 3
    assert several.objective <= min(finals) + 1e-6


def test_the_result_is_the_best_iterate_not_the_last(client, batch):
    seen = client.share(batch, GRANTED)
    wild = attack(steps=30, stage={"gradient": ()})
    wild = replace(wild, stages=(replace(wild.stages[0], optimiser=Adam(lr=3.0)),))
    found = wild(seen)
    lowest = min(value for _, value in found.trace[0])
    assert found.objective <= lowest + 1e-6
    truth = seen.normalisation.apply(found.inputs)
    assert Matching(seen, Euclidean()).value(truth, batch.labels, Progress(0, 1)).item() == pytest.approx(
        found.objective, rel=1e-3
    )


@dataclass(frozen=True)
class Towards(Prior):
    """Pulls every pixel to one value, and remembers the iterates."""

    log: ClassVar[list] = []
    value: float = 2.0

    def __call__(self, inputs, at):
        self.log.append((at.step, inputs.detach().clone()))
        return (inputs - self.value).square().mean()


def totals(seen, labels, weight):
    """By hand: the distance and the total of every iterate that the prior was asked about."""
    matching, at = Matching(seen, Euclidean()), Progress(0, 1)
    distances = [float(matching.value(x, labels, at)) for _, x in Towards.log]
    penalties = [weight * float((x - Towards.value).square().mean()) for _, x in Towards.log]
    return distances, [d + p for d, p in zip(distances, penalties, strict=True)]


def test_iterates_compare_by_the_attacks_own_total(client, batch):
    """Here the prior wins over the distance, so that the iterate of lowest distance is an early one."""
    seen = client.share(batch, GRANTED)
    for restart_seed in range(3):
        Towards.log.clear()
        free = Stage(Pixels(box=False), Adam(lr=0.1), steps=30, terms=(Term(Towards(), 1e3),))
        found = attack(stages=(free,))(seen, seed=restart_seed)
        distances, wholes = totals(seen, batch.labels, 1e3)
        chosen = seen.normalisation.apply(found.inputs)
        nearest = min(range(len(wholes)), key=lambda i: (Towards.log[i][1] - chosen).abs().max())
        torch.testing.assert_close(Towards.log[nearest][1], chosen, atol=1e-5, rtol=0)
        assert nearest == wholes.index(min(wholes))
        assert nearest != distances.index(min(distances))
        assert found.objective == pytest.approx(distances[nearest], rel=1e-3)


def test_iterates_before_the_last_prior_acts_do_not_compete(client, batch):
    """They are of another loss: without the prior their total is low, however far they are from what it asks."""
    seen = client.share(batch, GRANTED)
    Towards.log.clear()
    late = Stage(Pixels(box=False), Adam(lr=0.1), steps=20, terms=(Term(Towards(), 1e3, start=0.5),))
    found = attack(stages=(late,))(seen)
    chosen = seen.normalisation.apply(found.inputs)
    assert {step for step, _ in Towards.log} == set(range(10, 21))
    assert min(float((x - chosen).abs().max()) for _, x in Towards.log) < 1e-5
    _, wholes = totals(seen, batch.labels, 1e3)
    assert min(value for _, value in found.trace[0][:10]) < min(wholes)  # or the test could not fail


def test_seeds_and_restarts_compare_by_their_total(client, batch):
    seen = client.share(batch, GRANTED)
    stage = Stage(Pixels(box=False), Adam(lr=0.1), steps=10, terms=(Term(Towards(), 1e3),))
    found = attack(stages=(stage,), restarts=3, together=False)(seen)
    alone, at = Matching(seen, Euclidean()), Progress(0, 1)

    def whole(guess):
        x = seen.normalisation.apply(guess.inputs)
        return float(alone.value(x, batch.labels, at)) + 1e3 * float((x - Towards.value).square().mean())

    with torch.random.fork_rng():
        Towards.log.clear()
        attack(stages=(stage,), restarts=3, together=False)(seen)
    lasts = [Towards.log[10 * r + r + 10][1] for r in range(3)]  # ten steps and the last iterate of every restart
    best = min(lasts, key=lambda x: float(alone.value(x, batch.labels, at)) + 1e3 * float((x - 2).square().mean()))
    assert whole(found) == pytest.approx(
        float(alone.value(best, batch.labels, at)) + 1e3 * float((best - 2).square().mean()), rel=1e-4
    )


@dataclass(frozen=True)
class Shift(Parametrisation):
    """Second stage: one offset per seed on top of what the first stage found."""

    def start(self, seen, seeds, previous):
        class Offset(Candidate):
            def __init__(self):
                self.base = previous.decode().detach()
                self.variables = {"offset": torch.zeros(seeds, 1, 1, 1, 1)}

            def decode(self):
                return self.base + self.variables["offset"]

        return Offset()


def test_a_later_stage_starts_from_the_best_candidate(client, batch):
    seen = client.share(batch, GRANTED)
    first = attack(steps=20, seeds=2)
    second = replace(first, stages=(*first.stages, Stage(Shift(), Adam(lr=1e-4), steps=3)))
    assert second(seen).objective <= first(seen).objective + 1e-6
    assert len(second(seen).trace[0]) == 23


@dataclass(frozen=True)
class Growing(Objective):
    """Grows over the run, so that its own values would always choose the first iterate."""

    varies: ClassVar[bool] = True

    def __call__(self, candidate, observed, at):
        return Euclidean()(candidate, observed, at) * (1 + 100 * at.step)


def test_a_varying_objective_is_judged_by_a_fixed_measure(client, batch):
    seen = client.share(batch, GRANTED)
    varying = attack(steps=40, objective=Growing(), selection=Euclidean())(seen)
    start = attack(steps=1)(seen)
    assert varying.objective < 0.5 * start.objective


@dataclass(frozen=True)
class Late(GradientTransform):
    log: ClassVar[list] = []

    def __call__(self, gradient, at):
        self.log.append(at.fraction)
        return gradient


def test_transforms_are_told_the_progress(client, batch):
    Late.log.clear()
    attack(steps=4, stage={"gradient": (Late(),)})(client.share(batch, GRANTED))
    assert Late.log == [0, 0.25, 0.5, 0.75]


def test_progress_is_reported(client, batch):
    told = []
    attack(steps=4, restarts=2, together=False)(client.share(batch, GRANTED), watch=lambda *news: told.append(news))
    assert [done for done, _, _ in told] == list(range(1, 9))
    assert {total for _, total, _ in told} == {8}


def test_a_stage_ends_early_below_its_mark(client, batch):
    found = attack(steps=50, stage={"stop_below": 1e9})(client.share(batch, GRANTED))
    assert len(found.trace[0]) == 1


def test_a_stage_is_left_out_where_the_one_before_has_solved_it(client, batch):
    seen, told = client.share(batch, GRANTED), []
    first = Stage(Pixels(), Adam(lr=0.1), steps=10)
    lowest = attack(stages=(first,))(seen).objective

    def run(mark):
        told.clear()
        second = Stage(Pixels(afresh=True), Adam(lr=1e-9), steps=10, only_above=mark)
        return attack(stages=(first, second))(seen, watch=lambda *news: told.append(news))

    assert run(2 * lowest).objective == lowest
    assert len(told) == 10
    again = run(0.5 * lowest)
    assert again.objective > lowest  # begun afresh, and hardly moved
    assert [done for done, _, _ in told] == list(range(1, 21))
    assert len(again.trace[0]) == 20


def test_a_diverging_attack_is_an_error_that_names_the_step(client, batch):
    diverging = replace(attack(), stages=(Stage(Pixels(box=False), Adam(), steps=5, gradient=(Noise(3e38),)),))
    with pytest.raises(AttackFailed, match=r"test: the objective is no longer finite at step \d of 5. Try a smaller"):
        diverging(client.share(batch, GRANTED))


@dataclass(frozen=True)
class Breaking(GradientTransform):
    """Leaves the gradient alone until its step, then breaks it."""

    step: int = 0

    def __call__(self, gradient, at):
        return gradient * (torch.nan if at.step >= self.step else 1.0)


def test_the_lowest_iterate_before_a_divergence_counts(client, batch):
    """Where the run had come below its first total; otherwise the attack failed."""
    seen = client.share(batch, GRANTED)

    def until(broken):
        stage = Stage(Pixels(box=False), Adam(lr=0.05), steps=20, gradient=(Breaking(broken),))
        return attack(stages=(stage,))(seen, seed=1)

    found = until(10)
    assert (
        found.objective == attack(stages=(Stage(Pixels(box=False), Adam(lr=0.05), steps=10),))(seen, seed=1).objective
    )
    assert any("no longer finite at step 12 of 20" in note for note in found.notes)
    assert torch.isfinite(found.inputs).all()
    with pytest.raises(AttackFailed, match="no longer finite at step 2 of 20"):
        until(0)


def test_a_diverging_restart_is_dropped_and_said(client, batch):
    @dataclass(frozen=True)
    class Sometimes(Pixels):
        starts: ClassVar[list] = []

        def start(self, seen, seeds, previous):
            candidate = super().start(seen, seeds, previous)
            self.starts.append(1)
            if len(self.starts) == 1:
                candidate.variables["pixels"].fill_(torch.nan)
            return candidate

    unlucky = attack(restarts=2)
    unlucky = replace(unlucky, stages=(replace(unlucky.stages[0], parametrisation=Sometimes()),))
    found = unlucky(client.share(batch, GRANTED))
    assert torch.isfinite(found.inputs).all()
    assert "A restart was dropped" in found.notes[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"seeds": 0}, "seeds"),
        ({"steps": 0}, "Stage.steps: should be greater than or equal to 1"),
        ({"stages": ()}, "stages"),
    ],
)
def test_refuses_counts_below_one(changes, message):
    with pytest.raises(AttackFailed, match=message):
        attack(**changes)


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        (lambda update: {name: 0 * value for name, value in update.items()}, "zero in every value"),
        (
            lambda update: {name: torch.full_like(value, 3.0) for name, value in update.items()},
            "tensor of the update is constant",
        ),
        (lambda update: {}, "holds no values"),
    ],
    ids=["zero", "constant", "empty"],
)
def test_an_update_that_says_nothing_is_refused_not_verified(client, batch, tensors, why):
    """A guess of anything explains zeros: `verified` would mean nothing, and no gain would be no all-clear."""
    seen = client.share(batch, GRANTED)
    empty = replace(seen, update=replace(seen.update, tensors=tensors(seen.update.tensors)))
    with pytest.raises(AttackFailed, match=f"^test: .*{why}"):
        attack()(empty)


@dataclass(frozen=True)
class Blind(Objective):
    """Compares in a way that autograd does not see."""

    def __call__(self, candidate, observed, at):
        return Euclidean()(tuple(c.detach() for c in candidate), observed, at) + 0 * candidate[0].sum()


@pytest.mark.parametrize("restarts", [1, 2])
def test_an_objective_without_slope_is_refused_whatever_the_priors_do(client, batch, restarts):
    seen = client.share(batch, GRANTED)
    pulled = {"terms": (Term(TotalVariation(), 0.1),)}
    with pytest.raises(AttackFailed, match=r"^test: the objective does not depend differentiably on the input"):
        attack(objective=Blind(), stage=pulled, restarts=restarts)(seen)
    assert attack(stage=pulled, restarts=restarts)(seen).inputs.shape == batch.inputs.shape


def test_a_start_at_the_truth_is_no_lack_of_slope(client, batch):
    @dataclass(frozen=True)
    class Told(Pixels):
        def start(self, seen, seeds, previous):
            candidate = super().start(seen, seeds, previous)
            candidate.variables["pixels"].copy_(client.normalisation.apply(batch.inputs))
            return candidate

    stage = Stage(Told(), Adam(lr=1e-3), steps=2)
    assert attack(stages=(stage,))(client.share(batch, GRANTED)).verified


def test_verified_where_the_guess_explains_the_update():
    batch = make_batch(1, side=4, classes=5)
    client = Client(linear_net(), normalisation=Normalisation())
    seen = client.share(batch, GRANTED)
    exact = attack(steps=60)
    exact = replace(exact, stages=(Stage(Pixels(), LBFGS(line_search="strong-wolfe"), steps=60),))
    assert exact(seen).verified
    assert not short(INVERTING_GRADIENTS)(seen).verified


def test_without_the_batch_size_pixels_refuse(client, batch):
    from gradaudit.values.errors import MissingKnowledge

    with pytest.raises(
        MissingKnowledge, match=r"dlg: Pixels\(.*\) needs BATCH_SIZE, but the adversary knows only nothing"
    ):
        DLG(client.share(batch, Knowledge.NOTHING))


def test_the_best_values_are_kept_guess_by_guess():
    leaves = [torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), torch.tensor([1.0, 2.0, 3.0])]
    best = Best(leaves, 3)
    for scores in ([3.0, 3.0, torch.nan], [4.0, 1.0, torch.nan], [torch.nan, torch.inf, torch.nan]):
        best.offer(torch.tensor(scores))
        for leaf in leaves:
            leaf.mul_(10)
    best.restore()
    assert best.scores.tolist() == [3, 1, torch.inf]
    assert leaves[0].tolist() == [[1, 1], [20, 20], [3, 3]]
    assert leaves[1].tolist() == [1, 20, 3]


def test_the_restart_of_the_lowest_score_is_returned(client, batch):
    """Wherever it stands among them, and whatever its objective alone."""
    seen = client.share(batch, GRANTED)
    for scores in ([1.0, 3.0, 2.0], [3.0, 1.0, 2.0], [3.0, 2.0, 1.0]):
        target = Target(attack(restarts=3), seen)
        for number, score in enumerate(scores):
            labels, inputs = target.restart(number).labels.of(0), torch.full((2, 1, 8, 8), score)
            loop = SimpleNamespace(notes=(), traces=[()], time=SimpleNamespace(taken=0, cut=False))
            target.add(Outcome(score, 10 - score, inputs, inputs, labels, None, labels, {}), loop)
        found = target.reconstruction()
        assert found.objective == 9
        assert (found.inputs == 1).all()


@pytest.mark.parametrize(
    ("steps", "changes"), [(2, {}), (30, {"selection": Euclidean(), "objective": Growing()})], ids=["alone", "measured"]
)
def test_the_best_iterate_is_returned_where_the_last_is_far_from_it(client, batch, steps, changes):
    """Steps so wide that the distance goes up and down; a varying objective is compared by its fixed measure."""
    seen = client.share(batch, GRANTED)
    Towards.log.clear()
    wild = Stage(Pixels(box=False), Adam(lr=3.0), steps=steps, terms=(Term(Towards(), 1e-9),))
    found = attack(stages=(wild,), **changes)(seen)
    distances, _ = totals(seen, batch.labels, 1e-9)
    chosen = seen.normalisation.apply(found.inputs)
    nearest = min(range(len(distances)), key=lambda i: (Towards.log[i][1] - chosen).abs().max())
    assert nearest == distances.index(min(distances))
    assert found.objective == pytest.approx(min(distances), rel=1e-3)
    assert distances[-1] > 1.2 * min(distances)  # or the test could not fail


def test_the_objective_is_looked_at_at_even_steps_and_at_the_last(client, batch, monkeypatch):
    monkeypatch.setattr(loop, "POINTS", 5)
    told, seen = [], client.share(batch, GRANTED)
    two = (Stage(Pixels(), Adam(lr=0.1), steps=12), Stage(Pixels(), Adam(lr=0.1), steps=3))
    found = attack(stages=two, restarts=2, together=False)(seen, watch=lambda *news: told.append(news[:2]))
    looks = [1, 3, 5, 7, 9, 11, 12, 13, 14, 15]
    assert told == [(step, 30) for step in looks] + [(15 + step, 30) for step in looks]
    assert [[step for step, _ in curve] for curve in found.trace] == [looks, looks]


def test_a_stage_ends_where_it_gains_too_little(client, batch):
    """At the first look that is not so much below the one before, and not before the second look."""
    found = attack(steps=40, stage={"stop_flat": 0.127})(client.share(batch, GRANTED))
    shares = [after / before for (_, before), (_, after) in pairwise(found.trace[0])]
    assert 1 < len(shares) < 39
    assert all(share <= 0.873 for share in shares[:-1])
    assert shares[-1] > 0.873


def test_a_run_is_kept_where_a_stage_ends_and_when_it_is_due(client, batch, monkeypatch, tmp_path):
    seen, kept = client.share(batch, GRANTED), []
    plain = keeper.Keeper.save
    monkeypatch.setattr(keeper.Keeper, "save", lambda self, state: (kept.append(state["step"]), plain(self, state)))
    two = (Stage(Pixels(), Adam(lr=0.1), steps=4), Stage(Pixels(), Adam(lr=0.1), steps=9, stop_below=1e9))
    attack(stages=two)(seen, keep=tmp_path / "a")
    assert kept == [4, 9]  # the second stage ended at its first step
    kept.clear()
    monkeypatch.setattr(keeper, "SECONDS", -1.0)
    attack(stages=two)(seen, keep=tmp_path / "b")
    assert kept == [1, 2, 3, 4, 9]


def test_traces_of_restarts_in_one_pass_are_those_of_each_alone(client, batch):
    """The lowest of its own seeds, and the result is the best of all."""
    seen = client.share(batch, GRANTED)
    one_pass, apart = (attack(restarts=3, seeds=2, together=way)(seen, seed=4) for way in (True, False))
    for mine, theirs in zip(one_pass.trace, apart.trace, strict=True):
        assert [step for step, _ in mine] == [step for step, _ in theirs]
    assert len({curve[0][1] for curve in one_pass.trace}) == 3
    assert one_pass.trace[0][0][1] == pytest.approx(apart.trace[0][0][1], rel=1e-4)
    assert one_pass.objective == pytest.approx(min(curve[-1][1] for curve in one_pass.trace), rel=0.5)


def test_a_pass_ends_where_all_its_restarts_do(client, batch):
    """One restart below its mark waits for the others."""
    seen = client.share(batch, GRANTED)
    start = [curve[0][1] for curve in attack(steps=1, restarts=3, together=True)(seen).trace]
    between = sorted(start)[1]
    found = attack(steps=30, restarts=3, together=True, stage={"stop_below": between})(seen)
    lengths = {len(curve) for curve in found.trace}
    assert len(lengths) == 1
    assert 1 < lengths.pop() < 30
    assert all(curve[-1][1] < between for curve in found.trace)


def test_a_measured_run_compares_where_it_looks(client, batch, monkeypatch):
    """Every second iterate, counted from the first, and the last."""
    monkeypatch.setattr(loop, "POINTS", 4)
    asked, plain = [], stage_module.Guesses.scores
    monkeypatch.setattr(
        stage_module.Guesses,
        "scores",
        lambda self, candidate, at: (asked.append(candidate.decode().clone()), plain(self, candidate, at))[1],
    )
    Towards.log.clear()
    stage = Stage(Pixels(box=False), Adam(lr=0.5), steps=8, terms=(Term(Towards(), 1e-9, stop=0.999),))
    attack(stages=(stage,), selection=Euclidean(), objective=Growing())(client.share(batch, GRANTED))
    iterates = [x for _, x in Towards.log][:8]
    found = [next(i for i, x in enumerate(iterates) if torch.equal(x, one[0])) for one in asked[:4]]
    assert found == [0, 2, 4, 6]


def test_an_attack_without_selection_takes_no_measure_of_its_own(client, batch):
    seen = client.share(batch, GRANTED)
    assert Target(attack(), seen).selection is None
    assert Target(attack(selection=Euclidean()), seen).selection is not None
    assert Target(attack(objective=Growing()), seen).selection is not None


def test_a_later_stage_is_counted_where_it_is_left_out(client, batch):
    """The steps of a stage that is left out count as done."""
    told = []
    stages = [Stage(Pixels(), Adam(lr=0.1), steps=2) for _ in range(3)]
    stages[1] = replace(stages[1], only_above=1e9)
    found = attack(stages=tuple(stages))(client.share(batch, GRANTED), watch=lambda *news: told.append(news[:2]))
    assert told == [(1, 6), (2, 6), (5, 6), (6, 6)]
    assert [step for step, _ in found.trace[0]] == [1, 2, 5, 6]


def test_a_guess_that_moves_in_one_pixel_is_not_flat(client, batch):
    """Flat is a slope of exactly 0 everywhere, at an objective that is not 0."""
    model = linear_net(pixels=64)
    model[1].weight.data[:, 1:] = 0
    seen = Client(model).share(Batch(batch.inputs, torch.tensor([0, 1])), GRANTED)
    matching = Matching(seen, Euclidean())
    assert not matching.flat(torch.rand(2, 1, 8, 8), torch.tensor([0, 1]))
    assert not matching.flat(batch.inputs, torch.tensor([0, 1]))  # at the truth the objective is 0


def test_iterates_compete_only_where_every_last_prior_acts(client, batch):
    """One that acts all the time does not stand in for one that comes late."""
    seen = client.share(batch, GRANTED)
    Towards.log.clear()
    terms = (Term(L2(), 1e-9), Term(Towards(), 1e3, start=0.5))
    found = attack(stages=(Stage(Pixels(box=False), Adam(lr=0.1), steps=20, terms=terms),))(seen)
    chosen = seen.normalisation.apply(found.inputs)
    assert min(float((x - chosen).abs().max()) for _, x in Towards.log) < 1e-5
