"""A value that cannot be right is refused when it is made: in Python and in an audit file, in the same words."""

from dataclasses import dataclass, replace

import pytest

import gradaudit as ga
from conftest import make_batch, smooth_net
from gradaudit.attacks import ATTACKS, INVERTING_GRADIENTS, constructors
from gradaudit.audit.attack_entry import AttackEntry
from gradaudit.audit.config import make_config
from gradaudit.audit.resolve import make_attack
from gradaudit.inversion.parts.optimisers import LBFGS, Adam, RMSprop
from gradaudit.inversion.parts.optimisers.levenberg_marquardt import LevenbergMarquardt
from gradaudit.inversion.parts.parametrisations import Pixels
from gradaudit.inversion.parts.part import Prior, Stage, Term
from gradaudit.inversion.parts.priors import TotalVariation
from gradaudit.values.errors import AttackFailed, AuditError
from gradaudit.values.granting import FACTS, granted, level
from gradaudit.values.types import LEVELS

TERM = "Term(TotalVariation(), weight=0.1, {})"
# In Python, in an audit file under `attacks.0.set`, and what both say.
WRONG = {
    "step": (
        lambda: replace(INVERTING_GRADIENTS, step="direktional"),
        ("step", "direktional"),
        r"step: should be 'exact', 'directional' or 'auto'. Found 'direktional'",
    ),
    "init": (
        lambda: Pixels(init="gray"),
        ("stages.0.parametrisation", "Pixels(init='gray')"),
        r"Pixels.init: should be 'normal', 'uniform' or 'grey'. Found 'gray'",
    ),
    "a window that never opens": (
        lambda: Term(TotalVariation(), 0.1, start=0.5, stop=0.5),
        ("stages.0.terms", f"({TERM.format('start=0.5, stop=0.5')},)"),
        r"Term.start: should be below stop, 0.5, or it never acts. Found 0.5",
    ),
    "a window beyond the stage": (
        lambda: Term(TotalVariation(), 0.1, stop=1.5),
        ("stages.0.terms", f"({TERM.format('stop=1.5')},)"),
        r"Term.stop: should be less than or equal to 1. Found 1.5",
    ),
    "weight": (
        lambda: Term(TotalVariation(), -0.1),
        ("stages.0.terms.0.weight", -0.1),
        r"weight: should be greater than or equal to 0. Found -0.1",
    ),
    "steps": (
        lambda: Stage(Pixels(), Adam(), steps=-3),
        ("stages.0.steps", -3),
        r"steps: should be greater than or equal to 1. Found -3",
    ),
    "lr": (
        lambda: Adam(lr=-1),
        ("stages.0.optimiser.lr", -1),
        r"lr: should be greater than or equal to 0. Found -1",
    ),
    "warm_up": (
        lambda: Adam(warm_up=-0.1),
        ("stages.0.optimiser.warm_up", -0.1),
        r"warm_up: should be greater than or equal to 0. Found -0.1",
    ),
    "milestones": (
        lambda: Adam(milestones=(0.0, False)),
        ("stages.0.optimiser.milestones", [0.0, False]),
        r"milestones: should be a valid number. Found \(0.0, False\)",
    ),
    "a number as text": (
        lambda: RMSprop(momentum="much"),
        ("stages.0.optimiser", "RMSprop(momentum='much')"),
        r"RMSprop.momentum: should be a valid number. Found 'much'",
    ),
    "history": (
        lambda: LBFGS(history=0),
        ("stages.0.optimiser", "LBFGS(history=0)"),
        r"LBFGS.history: should be greater than or equal to 1. Found 0",
    ),
    "damping": (
        lambda: LevenbergMarquardt(damping=0.0),
        ("stages.0.optimiser", "LevenbergMarquardt(damping=0.0)"),
        r"LevenbergMarquardt.damping: should be greater than 0. Found 0.0",
    ),
    "a prior in place of an objective": (
        lambda: replace(INVERTING_GRADIENTS, objective=TotalVariation()),
        ("objective", "TotalVariation()"),
        r"objective: should be an instance of Objective. Found TotalVariation\(\)",
    ),
    "not a number": (
        lambda: Term(TotalVariation(), float("nan")),
        ("stages.0.terms.0.weight", float("nan")),
        r"weight: nan is out of range",
    ),
}
each = pytest.mark.parametrize("name", WRONG)


@each
def test_in_python(name):
    make, _, message = WRONG[name]
    with pytest.raises(AttackFailed, match=message):
        make()


@each
def test_in_an_audit_file(name, tmp_path):
    _, (path, new), message = WRONG[name]
    with pytest.raises(AuditError, match=message.split(": ", 1)[1] if ": " in message else message) as caught:
        make_attack(AttackEntry(name="inverting-gradients", set={path: new}), tmp_path, "attacks.0")
    assert str(caught.value).startswith(f"attacks.0.{path}: ")
    assert "\n" not in str(caught.value)


def test_lists_become_tuples_and_whole_numbers_stay():
    stage = Stage(Pixels(), Adam(lr=1, milestones=[0.5]), steps=3, terms=[Term(TotalVariation(), 1)])
    assert stage == Stage(Pixels(), Adam(lr=1, milestones=(0.5,)), steps=3, terms=(Term(TotalVariation(), 1),))
    assert hash(stage)
    assert repr(stage.optimiser).startswith("Adam(lr=1, milestones=(0.5,)")


def test_a_part_of_the_users_own_is_checked():
    with pytest.raises(AttackFailed, match=r"Own\.strength: should be a valid number. Found 'weak'"):
        Own(strength="weak")
    assert Own(2.0).strength == 2.0


@dataclass(frozen=True)
class Own(Prior):
    """A prior of the user's."""

    strength: float = 1.0


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=lambda attack: attack.name)
def test_no_attack_of_the_literature_is_refused(attack):
    assert replace(attack) == attack
    assert eval(repr(attack), {"__builtins__": {}}, constructors()) == attack


@pytest.mark.parametrize(
    ("given", "facts"),
    [
        ("priors", ga.Level.PRIORS),
        ("LABELS", ga.Knowledge.LABELS),
        (["priors", "LABELS"], ga.Level.PRIORS | ga.Knowledge.LABELS),
        (("priors", ga.Knowledge.LABELS), ga.Level.PRIORS | ga.Knowledge.LABELS),
        (ga.Level.BATCH_STATISTICS, ga.Level.BATCH_STATISTICS),
        ([], ga.Knowledge.NOTHING),
    ],
)
def test_facts_by_name_and_by_flag(given, facts):
    assert granted(given) == facts
    seen = ga.Client(smooth_net()).share(make_batch(1), given)
    assert seen.knowledge == facts
    assert (seen.labels is None) == (ga.Knowledge.LABELS not in facts)


def test_every_level_has_its_name():
    assert {name: level(name) for name in LEVELS} == LEVELS
    assert level("malicious-server") == ga.Level.MALICIOUS_SERVER


@pytest.mark.parametrize("given", ["prior", ["priors", "LABEL"], [3], 3, None, [["priors"]]])
def test_an_unknown_fact_is_named(given):
    with pytest.raises(AuditError, match=r"^knowledge: unknown fact .*Known: basic, priors"):
        ga.Client(smooth_net()).share(make_batch(1), given)


@pytest.mark.parametrize("name", ["LABELS", "prior", 3, None])
def test_an_unknown_level_is_named(name):
    with pytest.raises(AuditError, match=r"^level: unknown level .*Known: basic, priors"):
        level(name)


def test_the_file_takes_the_same_names():
    base = {"data": {"source": "photographs"}, "model": {"name": "mlp"}}
    for name in FACTS:
        assert make_config({**base, "knowledge": [name]}).granted == granted(name)
