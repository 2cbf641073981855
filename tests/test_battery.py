"""The standard battery: its attacks, what a budget cuts, what defenses cast doubt on, and the reference clients."""

import itertools
import json
import pickle
from dataclasses import dataclass, replace

import pytest
import torch

import gradaudit as ga
from conftest import linear_net, make_batch
from gradaudit.attacks import ATTACKS
from gradaudit.audit.battery import BATTERIES, STANDARD_1
from gradaudit.audit.budget import seconds_of
from gradaudit.audit.config import make_config
from gradaudit.audit.doubts import doubts
from gradaudit.audit.plan import make_plan
from gradaudit.commands.placing import require_judged
from gradaudit.execution import case_jobs
from gradaudit.execution.purse import Purse, Share
from gradaudit.inversion.attack import TimeLimit
from gradaudit.inversion.parts.objectives.euclidean import Euclidean
from gradaudit.inversion.parts.optimisers.adam import Adam
from gradaudit.inversion.parts.parametrisations.pixels import Pixels
from gradaudit.inversion.parts.part import Stage
from gradaudit.protocol.defenses import Clip, GaussianNoise, TopK
from gradaudit.report import render
from gradaudit.report.cases import Leak
from gradaudit.report.reference_clients import Calibration, ReferenceClient, calibration, standing
from gradaudit.values.deciding import deciding, refusals
from gradaudit.values.errors import AttackFailed, AuditError
from gradaudit.values.types import Knowledge, Modality
from test_report_page import RUN, finding, planned

IMAGES = {
    "data": {"source": "photographs", "size": 16, "batch_size": 1},
    "model": {"name": "lenet", "num_classes": 10},
    "knowledge": ["priors", "LABELS"],
}
STEPS = {"kind": "fedavg", "learning_rate": 0.01, "epochs": 2}
FAST = "inverting-gradients-fast"
SECOND = STANDARD_1.members[Modality.PICTURES][2].attack.name


def plan(tmp_path, **changes):
    return make_plan(make_config({**IMAGES, **changes}), tmp_path)


def names(made):
    return [name for name, _ in made.attacks]


class Steps(TimeLimit):
    """Time for so many steps: a second passes with every step."""

    def __init__(self, steps, watch=None):
        self.values = []
        super().__init__(steps, self._step, clock=lambda: len(self.values))

    def _step(self, done, steps, value):
        self.values.append(value)


@pytest.fixture
def seen(client, batch):
    return client.share(batch, Knowledge.BATCH_SIZE | Knowledge.LABELS)


def matching(*stages, **changes):
    stages = stages or (Stage(Pixels(), Adam(lr=0.05), steps=40),)
    return replace(ATTACKS["inverting-gradients"], objective=Euclidean(), stages=stages, together=False, **changes)


# Which attacks an audit gets


def test_standard_1_is_frozen():
    """It never changes: a better choice of attacks, or other parameters, is standard-2."""
    assert STANDARD_1.fingerprint == "c1f7ca908c45aa15"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [FAST, SECOND]),
        ({"model": {"name": "vit-tiny", "num_classes": 10}}, ["april-patches", FAST, SECOND]),
        ({"training": STEPS}, [FAST, SECOND, "sme"]),
        ({"data": {"source": "text"}, "model": {"name": "tiny-bert"}}, ["tag-short", "lamp-short"]),
        ({"data": {"source": "text"}, "model": {"name": "tiny-gpt2"}}, ["dager", "tag-short", "lamp-short"]),
        ({"data": {"source": "table"}, "model": {"name": "tabular-mlp"}}, ["tableak-short"]),
    ],
)
def test_the_default_is_the_battery_for_the_data_and_the_client(tmp_path, changes, expected):
    made = plan(tmp_path, **changes)
    assert names(made) == expected
    assert {origin.battery for origin in made.origins} == {"standard-1"}
    assert [entry.name for entry in made.config.attacks] == ["standard-1"]


def test_what_does_not_fit_is_left_out_with_a_sentence(tmp_path):
    assert plan(tmp_path).left_out == (
        "standard-1 without april-patches: it is for one example and one step of a vision transformer.",
        "standard-1 without sme: it is for the weight difference of several local steps.",
    )
    text = {"data": {"source": "text"}, "model": {"name": "tiny-bert"}}
    assert (
        "standard-1 without bag-of-words: the adversary does not know EMBEDDING_GRADIENT."
        in plan(tmp_path, **text).left_out
    )
    page = render([finding(tmp_path)], replace(RUN, left_out=plan(tmp_path).left_out), tmp_path)
    assert "<li>standard-1 without sme: it is for the weight difference" in page


def test_labels_are_inferred_where_they_are_not_granted(tmp_path):
    assert names(plan(tmp_path, knowledge=["priors"])) == [FAST, SECOND]


def test_attacks_beside_a_battery_keep_their_own_seed(tmp_path):
    made = plan(tmp_path, attacks=["dlg", "standard-1", FAST])
    assert names(made) == ["dlg", FAST, SECOND, FAST]
    assert [origin.seed for origin in made.origins] == [None, 0, 0, None]
    assert made.trial(1, 0) != made.trial(3, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attacks": [{"name": "standard-1", "set": {"restarts": 2}}]}, r"attacks.0.set: standard-1 is a battery"),
        ({"attacks": ["standard-1", "standard-1"]}, r"attacks.1: standard-1 is named twice"),
        ({"attacks": ["standard-2"]}, r"unknown attack standard-2"),
        ({"knowledge": []}, r"attacks.0: no attack of standard-1 fits this audit: .* does not know BATCH_SIZE"),
        ({"budget": "10"}, r"budget: write a number above 0 and a unit, such as 90s"),
        ({"budget": 600}, r"budget: write a number above 0 and a unit, such as 90s, 10m or 1.5h. Found 600"),
    ],
)
def test_refuses(tmp_path, changes, message):
    with pytest.raises(AuditError, match=message):
        plan(tmp_path, **changes)


@dataclass(frozen=True)
class Telling:
    """Reports its seed as its objective."""

    name: str = "telling"
    needs: Knowledge = Knowledge.NOTHING

    def __call__(self, seen, *, seed, watch=None):
        return ga.Reconstruction(torch.zeros(2, *seen.input_shape), None, objective=float(seed))


def test_the_seed_of_a_battery_is_that_of_every_audit(client, batch, monkeypatch):
    member = replace(STANDARD_1.members[Modality.PICTURES][1], attack=Telling(), seed=5)
    monkeypatch.setitem(BATTERIES, "standard-1", replace(STANDARD_1, members={Modality.PICTURES: (member,)}))
    found = [ga.run(client, batch, ["standard-1", Telling()], "priors", seed=seed).findings for seed in (0, 1)]
    assert [one[0].objective for one in found] == [5, 5]
    assert found[0][1].objective != found[1][1].objective
    assert [one.battery for one in found[0]] == ["standard-1", ""]


# What a budget cuts


@pytest.mark.parametrize("steps", [1, 7, 39])
def test_a_cut_attack_returns_its_best_iterate_by_its_own_objective(seen, steps):
    cut = Steps(steps)
    found = matching(Stage(Pixels(), Adam(lr=0.9), steps=40))(seen, seed=1, watch=cut)  # it jumps about
    assert found.cut == (steps, 40)
    assert len(cut.values) == steps
    assert found.objective <= min(cut.values) + 1e-6
    assert f"The budget cut this attack at step {steps} of 40" in found.notes[-1]


def test_a_limit_that_does_not_cut_changes_nothing(seen):
    free, limited = matching()(seen, seed=1), matching()(seen, seed=1, watch=Steps(1000))
    assert torch.equal(free.inputs, limited.inputs)
    assert limited.cut is None
    assert limited.notes == free.notes


def test_a_stage_that_begins_afresh_does_not_lose_what_was_found(seen):
    first = Stage(Pixels(), Adam(lr=0.05), steps=30)
    whole = matching(first)(seen, seed=1)
    found = matching(first, Stage(Pixels(afresh=True), Adam(lr=1e-6), steps=30))(seen, seed=1, watch=Steps(33))
    assert found.cut == (33, 60)
    assert torch.equal(found.inputs, whole.inputs)


def test_no_step_is_no_result(seen):
    with pytest.raises(AttackFailed, match=r"the budget ended before the first step. Give a larger budget"):
        matching()(seen, seed=1, watch=Steps(0))


def test_restarts_share_the_time(seen):
    found = matching(restarts=2)(seen, seed=1, watch=Steps(30))
    assert [len(curve) for curve in found.trace] == [15, 15]
    assert found.cut == (30, 80)


def test_updates_in_one_pass_are_cut_together(client, seen):
    other = client.share(make_batch(seed=3), Knowledge.BATCH_SIZE | Knowledge.LABELS)
    attack = replace(matching(), together=True)
    found = attack.many([seen, other], seeds=[0, 1], watch=Steps(6))
    assert [one.cut for one in found] == [(6, 40), (6, 40)]


def test_updates_one_after_another_share_the_time(client, seen):
    other = client.share(make_batch(seed=3), Knowledge.BATCH_SIZE | Knowledge.LABELS)
    found = matching().many([seen, other], seeds=[0, 1], watch=Steps(30))
    assert [one.cut for one in found] == [(15, 40), (15, 40)]


def test_what_a_case_leaves_goes_to_those_after_it():
    now = itertools.chain([0, 10], itertools.repeat(110))
    purse = Purse(160, 4, clock=lambda: next(now))
    assert purse.draw(1) == 40
    assert purse.draw(1) == 50  # the first took 10 of its 40: (160 - 10) / 3
    assert purse.draw(2) == 50  # the second took too long
    assert Purse(160, 4, workers=2, clock=lambda: 0).draw(1) == 80
    assert Purse(160, 1, workers=2, clock=lambda: 0).draw(1) == 160


def test_a_share_is_drawn_when_its_job_is_sent_to_another_process():
    purse = Purse(90, 3, clock=lambda: 0)
    sent = pickle.loads(pickle.dumps(Share(purse, 1)))
    assert (sent.draw(), sent.draw(), purse.cases) == (30, 30, 2)


def test_a_resumed_run_does_not_spend_its_budget_twice(tmp_path):
    made = plan(tmp_path, repeats=2, attacks=["dlg"], budget="10m")
    jobs = list(case_jobs.jobs_of(made, 0))
    done = {jobs[0].trials[0]: finding(tmp_path, seconds=100.0)}
    funded_jobs = case_jobs.funded(jobs, {0: made.seconds}, done)
    assert funded_jobs[1].share.purse.seconds == 500
    assert funded_jobs[1].share.purse.cases == 1
    assert case_jobs.funded(jobs, {0: None}, done) == jobs


def test_a_budget_below_one_step_cannot_be_judged(client, batch):
    found = ga.run(client, batch, "dlg", "priors", budget="0.000001s")
    assert "the budget ended before the first step" in found.findings[0].cannot_judge
    with pytest.raises(AuditError, match=r"--fast: write"):
        seconds_of("soon", "--fast")


def test_a_finding_says_where_it_was_cut(client, batch, monkeypatch):
    monkeypatch.setattr(case_jobs, "TimeLimit", lambda seconds, watch: Steps(7))
    found = ga.run(client, batch, matching(), ["priors", "LABELS"], budget="10m").findings[0]
    assert found.cut == (7, 40)
    assert any("cut this attack at step 7 of 40" in note for note in found.notes)
    assert ga.Finding.from_json(json.loads(json.dumps(found.to_json()))) == found


# What the page says


def member(folder, case, attack=FAST, **changes):
    return finding(
        folder, case, **{"attack": attack, "attack_value": f"{attack}()", "battery": "standard-1", **changes}
    )


def both(folder, **changes):
    second = {"gains": (3.0,), **changes}
    return [member(folder, "a", **changes), member(folder, "b", SECOND, **second)]


def refusing(folder):
    return finding(
        folder, "c", attack="april-patches", battery="standard-1", optional=True, cannot_judge="april-patches: no ViT.",
        scores=ga.values.scores.Scores({}), control=ga.values.scores.Scores({}),
    )  # fmt: skip


def test_the_page_says_that_it_is_the_worst_case_over_the_battery(tmp_path):
    page = render(both(tmp_path), planned(2), tmp_path)
    assert f"Battery standard-1: worst case over 2 attacks; the closest reconstruction is by {FAST}." in page
    page = render([*both(tmp_path), finding(tmp_path, "c", (1.0,))], planned(3), tmp_path)
    assert "Battery standard-1: worst case over 3 attacks, 1 of them named beside it" in page


def test_a_closed_form_that_refuses_does_not_stop_the_verdict(tmp_path):
    found = [*both(tmp_path, gains=(0.0,), ranks=(50,)), refusing(tmp_path)]
    page = render(found, planned(3), tmp_path)
    assert "Nothing recognisable" in page
    assert "standard-1 without april-patches: no ViT." in page
    require_judged(found, planned(3))
    alone = [refusing(tmp_path)]
    assert deciding(alone) == alone
    assert refusals(alone) == []
    with pytest.raises(AuditError, match="1 of 1 cases cannot be judged"):
        require_judged(alone, RUN)


KNOWN = Calibration(
    "standard-1", "", "2026-11-26", "0.2.0", "test pictures", ("BATCH_SIZE", "LABELS"),
    tuple(ReferenceClient(f"net {gain}", gain) for gain in (1.0, 5.0, 13.0, 20.0)),
)  # fmt: skip


def said(found):
    leaks = [Leak(one, i, (one.repeat, i)) for one in found for i in range(one.examples) if one.scored]
    return standing(found, leaks, KNOWN)


def test_a_page_compares_with_the_reference_clients(tmp_path):
    assert said(both(tmp_path)) == (
        "Leaks more than 3 of 4 reference clients (standard-1, 2026-11-26; test pictures): the mean gain over the "
        "control is +14.0 dB."
    )
    assert "more than all 4 reference" in said(both(tmp_path, gains=(30.0,)))
    assert "more than none of the 4 reference" in said(both(tmp_path, gains=(0.5,)))
    assert "net 20.0: +20.0 dB; net 13.0: +13.0 dB; net 5.0" in KNOWN.listing


@pytest.mark.parametrize(
    "changes",
    [
        {"cut": (3, 10)},
        {"knowledge": ("BATCH_SIZE",)},
        {"battery": "standard-0"},
        {"battery": ""},
        {"cannot_judge": "it could not run."},
    ],
)
def test_nothing_is_said_of_what_cannot_be_compared(tmp_path, changes):
    first, second = both(tmp_path)
    assert said([first, replace(second, **changes)]) == ""
    assert said([first]) == ""


def test_the_reference_clients_are_those_of_this_battery():
    known = calibration()
    assert known.fingerprint == BATTERIES[known.battery].fingerprint
    assert len(known.clients) == 10
    assert known.date >= "2026-11-26"


def test_the_page_lists_the_reference_clients(tmp_path):
    page = render(both(tmp_path), planned(2), tmp_path)
    assert "of 10 reference clients (standard-1, " in page
    assert calibration().clients[0].name in page
    assert "reference clients" not in render([finding(tmp_path)], RUN, tmp_path)


# What defenses cast doubt on


@pytest.mark.parametrize(
    ("attack", "defense", "granted", "words"),
    [
        ("inverting-gradients", GaussianNoise(0.1), Knowledge.NOTHING, "a lower objective means more fitted noise"),
        ("inverting-gradients", GaussianNoise(0.1), Knowledge.DEFENSE, "a lower objective means more fitted noise"),
        ("april-patches", GaussianNoise(0.1), Knowledge.NOTHING, "its equations hold up to the noise only"),
        ("dlg", TopK(0.1), Knowledge.NOTHING, "count as observed zeros"),
        ("dlg", TopK(0.1), Knowledge.DEFENSE, ""),
        ("dlg", Clip(1.0), Knowledge.NOTHING, "compares lengths"),
        ("inverting-gradients", Clip(1.0), Knowledge.NOTHING, ""),
        ("april-patches", Clip(1.0), Knowledge.NOTHING, ""),
    ],
)
def test_a_defense_casts_doubt_on_an_attack(attack, defense, granted, words):
    found = doubts(ATTACKS[attack], [defense], granted)
    assert len(found) == bool(words)
    assert all(words in line and defense.name in line for line in found)


def test_a_finding_carries_the_doubt_unless_the_defense_did_nothing(batch):
    one = make_batch(1, side=4, classes=5)
    for norm, doubted in ((1e-3, True), (1e6, False)):
        client = ga.Client(linear_net(), defenses=(Clip(norm),))
        found = ga.run(client, one, ga.attacks.demonstration_of("dlg").attack, "priors").findings[0]
        assert any("Unreliable under clip" in note for note in found.notes) == doubted


# The command


def test_the_command_lists_the_battery_and_takes_a_budget(gradaudit, tmp_path):
    code, shown, _ = gradaudit("attacks")
    assert code == 0
    assert "standard-1" in shown
    (tmp_path / "a.yaml").write_text(json.dumps({**IMAGES, "attacks": ["dlg"]}))
    code, _, problem = gradaudit("audit", tmp_path / "a.yaml", "--budget", "10 minutes")
    assert code == 2
    assert "--budget: write a number above 0 and a unit" in problem
    code, _, problem = gradaudit("audit", tmp_path / "a.yaml", "--budget", "0.000001s", "--out", tmp_path / "r")
    assert code == 2
    assert "the budget ended before the first step" in problem
    assert "budget: 0.000001s" in (tmp_path / "r" / "report.html").read_text()
