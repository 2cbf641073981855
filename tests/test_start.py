"""Matching that begins at the reconstruction of another attack, in Python and as `start:` in an audit file."""

from dataclasses import dataclass, replace

import pytest
import torch

from conftest import make_batch, smooth_net
from gradaudit import Client, Knowledge, Level, Reconstruction, metrics
from gradaudit.attacks.dlg_text import ATTACK as DLG_TEXT
from gradaudit.attacks.grnn import ATTACK as GRNN
from gradaudit.attacks.inverting_gradients import ATTACK as INVERTING_GRADIENTS
from gradaudit.attacks.inverting_gradients_fast import ATTACK as FAST
from gradaudit.attacks.lti import ATTACK as LTI
from gradaudit.audit.choosing import named_attacks
from gradaudit.audit.config import make_config
from gradaudit.audit.doubts import doubts
from gradaudit.inversion.attack import TimeLimit
from gradaudit.inversion.parts.optimisers.adam import Adam
from gradaudit.inversion.run.adaptive import adaptive
from gradaudit.inversion.run.started import Started
from gradaudit.protocol.defenses.additive_noise import GaussianNoise
from gradaudit.protocol.defenses.sign_sgd import SignSgd
from gradaudit.values.errors import AttackFailed, AuditError, MissingKnowledge
from gradaudit.values.types import Modality
from properties import assert_repr_rebuilds

FACTS = Level.BASIC | Knowledge.LABELS
NEAR = torch.linspace(0.1, 0.9, 32).view(2, 1, 4, 4)


def matching(steps=1, lr=1e-6, **changes):
    """Inverting Gradients in a few tiny steps, so that it stays where it starts."""
    stage = replace(INVERTING_GRADIENTS.stages[0], optimiser=Adam(lr=lr), steps=steps, terms=())
    return replace(INVERTING_GRADIENTS, stages=(stage,), **changes)


@dataclass(frozen=True)
class Told:
    """An attack that returns the same images always."""

    shift: float = 0.0
    name: str = "told"
    needs: Knowledge = Knowledge.BATCH_SIZE

    def __call__(self, seen, *, seed=0, watch=None):
        if seen.batch_size != 2:
            raise AttackFailed("told: knows two images only.")
        return Reconstruction(NEAR + self.shift, None, 0.0, notes=("Told.",))


def observed(size=2, facts=FACTS, defenses=()):
    batch = make_batch(size, 1, 4, 5)
    return batch, Client(smooth_net(5, 1, 4), defenses=defenses).share(batch, facts)


def test_begins_at_the_start():
    found = Started(matching(), Told())(observed()[1])
    assert torch.allclose(found.inputs, NEAR, atol=1e-4)
    assert found.notes[:2] == ("Started from the reconstruction of told.", "told: Told.")
    assert not torch.allclose(matching()(observed()[1]).inputs, NEAR, atol=0.1)


def test_further_seeds_begin_as_usual():
    """The best of them is returned: with two seeds that is not always the start."""
    attack = Started(matching(seeds=3, together=False), Told())
    seen = observed()[1]
    images = attack._from(Told()(seen), seen).stages[0].parametrisation.start(seen, 3, None).decode()
    assert torch.allclose(images[0], NEAR)
    assert not torch.allclose(images[1], NEAR, atol=0.1)
    assert not torch.allclose(images[1], images[2], atol=0.1)


def test_starts_a_coarse_stage():
    coarse = replace(FAST, stages=(replace(FAST.stages[1], optimiser=Adam(lr=1e-6), steps=1, terms=()),))
    found = Started(coarse, Told())(observed()[1])
    means = torch.nn.functional.avg_pool2d(NEAR, 2)
    assert torch.allclose(torch.nn.functional.avg_pool2d(found.inputs, 2), means, atol=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_helps_where_matching_is_stuck(seed):
    """Large weights saturate the sigmoids, so that the objective is flat far from the image."""
    torch.manual_seed(seed)
    model = smooth_net(5, 1, 4)
    with torch.no_grad():
        model[0].weight.mul_(40)
    batch = make_batch(2, 1, 4, 5, seed)
    seen = Client(model).share(batch, FACTS)
    attack = matching(40, 0.02)
    near = (batch.inputs + 0.15 * torch.randn_like(batch.inputs)).clamp(0, 1)

    @dataclass(frozen=True)
    class Near(Told):
        def __call__(self, seen, *, seed=0, watch=None):
            return Reconstruction(near, None, 0.0)

    alone, before, after = (
        float(metrics.psnr(found, batch.inputs).mean())
        for found in (attack(seen, seed=seed).inputs, near, Started(attack, Near())(seen, seed=seed).inputs)
    )
    assert after > alone + 3
    assert after > before + 1


def test_the_adaptive_form_tells_both_of_the_defense():
    known = []

    @dataclass(frozen=True)
    class Listening(Told):
        def __call__(self, seen, *, seed=0, watch=None):
            known.append(seen.defenses)
            return super().__call__(seen)

    seen = observed(facts=FACTS | Knowledge.DEFENSE, defenses=(SignSgd(),))[1]
    found = adaptive(Started(matching(), Listening()))(seen)
    assert known == [(SignSgd(),)]
    assert torch.allclose(found.inputs, NEAR, atol=1e-4)


def test_says_why_its_start_failed():
    with pytest.raises(AttackFailed, match=r"told-inverting-gradients: its start failed\. told: knows two images only"):
        Started(matching(), Told())(observed(1)[1])
    with pytest.raises(AttackFailed, match="its start returned no 2 finite images"):
        Started(matching(), Told(float("nan")))(observed()[1])


def test_half_of_the_time_is_the_starts(tmp_path):
    ticks, given = iter(range(1000)), []

    @dataclass(frozen=True)
    class Timed(Told):
        def __call__(self, seen, *, seed=0, watch=None, keep=None):
            given.append((watch.end, keep))
            return super().__call__(seen)

    limit = TimeLimit(100, clock=lambda: next(ticks))
    Started(matching(), Timed())(observed()[1], watch=limit, keep=tmp_path / "run")
    assert given[0][0] < 60
    assert given[0][1] == tmp_path / "run-start"


def test_needs_and_repr():
    attack = Started(matching(), LTI)
    assert attack.needs == LTI.needs | INVERTING_GRADIENTS.needs
    assert_repr_rebuilds(attack)
    with pytest.raises(MissingKnowledge, match="lti-inverting-gradients: needs PUBLIC_DATA"):
        attack(observed()[1])


@pytest.mark.parametrize(
    ("attack", "start", "why"),
    [
        (INVERTING_GRADIENTS, DLG_TEXT, "start: dlg-text is made for text; only an attack on pictures"),
        (DLG_TEXT, LTI, "start: dlg-text is made for text"),
        (GRNN, LTI, "start: grnn does not begin at images, as its first stage optimises GRNNGenerator"),
    ],
    ids=["start of text", "attack of text", "generator"],
)
def test_refuses_what_cannot_start(attack, start, why):
    with pytest.raises(AttackFailed, match=why):
        Started(attack, start)


FILE = {
    "data": {"source": "photographs", "size": 8},
    "model": {"name": "mlp"},
    "knowledge": ["priors", "LABELS", "PUBLIC_DATA"],
}


def named(tmp_path, entry, changes=(), **more):
    config = make_config({**FILE, "attacks": [entry], **more}, changes)
    return named_attacks(config.attacks, tmp_path, config.granted, Modality.PICTURES)


def test_a_start_in_an_audit_file(tmp_path):
    entry = {"name": "inverting-gradients", "start": "lti", "set": {"start.steps": 5, "stages.0.steps": 7}}
    ((name, attack),) = named(tmp_path, entry)
    assert name == attack.name == "lti-inverting-gradients"
    assert (attack.start.steps, attack.attack.stages[0].steps) == (5, 7)
    same = ["attacks.0.start=lti", "attacks.0.start.steps=5", "attacks.0.stages.0.steps=7"]
    assert named(tmp_path, "inverting-gradients", same) == ((name, attack),)


def test_a_file_without_start_says_nothing_of_it():
    entries = ["dlg", {"name": "dlg", "start": "lti"}]
    assert make_config({**FILE, "attacks": entries}).model_dump(mode="json")["attacks"] == [
        {"name": "dlg", "set": {}},
        {"name": "dlg", "start": "lti", "set": {}},
    ]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"name": "inverting-gradients", "start": "ltj"}, r"attacks.0.start: unknown attack ltj. Did you mean lti\?"),
        ({"name": "linear-bias", "start": "lti"}, "attacks.0.start: linear-bias is not by gradient matching"),
        ({"name": "inverting-gradients", "start": "dager"}, "attacks.0.start: dager is made for text"),
        ({"name": "standard-1", "start": "lti"}, "attacks.0.start: standard-1 is a battery"),
        ({"name": "dlg", "start": 3}, "attacks.0.start"),
    ],
    ids=lambda entry: str(entry.get("start")) if isinstance(entry, dict) else "",
)
def test_refuses_a_wrong_start_in_a_file(tmp_path, entry, why):
    with pytest.raises(AuditError, match=why):
        named(tmp_path, entry)


def test_the_needs_of_the_start_must_be_granted(tmp_path):
    with pytest.raises(MissingKnowledge, match="lti-dlg: needs PUBLIC_DATA"):
        named(tmp_path, {"name": "dlg", "start": "lti"}, knowledge=["priors", "LABELS"])


def test_lti_is_not_doubted_under_a_defense_that_it_knows():
    (naive,) = doubts(LTI, (SignSgd(),), FACTS)
    assert naive.startswith("Unreliable under sign: it was trained on updates without this defense")
    assert not doubts(adaptive(LTI), (SignSgd(), GaussianNoise(0.1)), FACTS | Knowledge.DEFENSE)
