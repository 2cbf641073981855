"""What holds for every attack, tried on the small case that comes with it (`Demonstration`)."""

from contextlib import suppress
from functools import cache

import pytest
import torch

from demonstrations import case_of
from gradaudit.attacks import EVERY_ATTACK, demonstration_of
from gradaudit.protocol.defenses import GaussianNoise
from gradaudit.values.errors import AttackFailed
from properties import assert_refuses_missing_knowledge, assert_repr_rebuilds, untouched

SEEDS = range(3)


@pytest.fixture(params=EVERY_ATTACK, scope="module")  # one attack after the other: a worker runs each one once
def name(request):
    return request.param


@pytest.fixture(scope="module")
def shown(name):
    found = demonstration_of(name)
    assert found is not None, f"{EVERY_ATTACK.home(name).__name__} offers no DEMONSTRATION of {name}"
    return found


@cache
def observed(name, seed):
    case = case_of(demonstration_of(name), seed)
    return case, case.share()


@cache
def recovered(name, seed):
    """What the attack finds, with its state before and after."""
    case, seen = observed(name, seed)
    state = torch.get_rng_state()
    with untouched(*seen) if isinstance(seen, tuple) else untouched(seen):
        found = case.attack(seen, seed=seed)
    return found, torch.equal(state, torch.get_rng_state())


class Enough(Exception):  # noqa: N818
    """Ends an attack whose beginning is known."""


def beginning(case, seen, seed, looks=3):
    """The objective at the first looks at an attack, which is not run to its end."""
    objectives = []

    def watch(_done, _of, objective):
        objectives.append(objective)
        if len(objectives) == looks:
            raise Enough

    with suppress(Enough):
        case.attack(seen, seed=seed, watch=watch)
    assert objectives
    return objectives


def inputs(found):
    return [one.inputs for one in (found if isinstance(found, tuple) else (found,))]


def test_says_where_it_comes_from(name):
    attack = EVERY_ATTACK[name]
    assert attack.paper
    assert attack.name == name
    assert EVERY_ATTACK.home(name).__doc__
    assert all(isinstance(sentence, str) and len(sentence) > 1 for sentence in attack.deviations)


def test_is_rebuilt_from_its_repr(name, shown):
    """What a finding records is the attack itself."""
    assert_repr_rebuilds(EVERY_ATTACK[name])
    assert_repr_rebuilds(shown.attack)


def test_shows_itself(name, shown):
    """The demonstration is of this attack, shortened: it asks for nothing else."""
    assert type(shown.attack) is type(EVERY_ATTACK[name])
    assert shown.attack.needs == EVERY_ATTACK[name].needs


@pytest.mark.parametrize("seed", SEEDS)
def test_recovers_its_demonstration(name, shown, seed):
    gain = observed(name, seed)[0].gain(recovered(name, seed)[0])
    assert gain > shown.least, gain


def test_touches_neither_model_nor_update_nor_the_global_random_state(name, shown):
    assert recovered(name, 0)[1]  # `recovered` watches the model and the update


def test_equal_seeds_give_equal_results(name, shown):
    case, seen = observed(name, 0)
    first = recovered(name, 0)[0]
    assert all(map(torch.equal, inputs(first), inputs(case.attack(seen, seed=0))))


def test_other_seeds_begin_elsewhere(name, shown):
    if shown.seeded:
        begun, again, other = (beginning(*observed(name, 0), seed) for seed in (0, 0, 1))
        assert begun == again != other


def test_refuses_missing_knowledge(name, shown):
    case = observed(name, 0)[0]
    said = getattr(shown.attack, "teacher", shown.attack).name  # of two phases, the first one refuses
    assert_refuses_missing_knowledge(shown.attack, case.share, said)


def test_fails_under_a_strong_defense(name, shown):
    """Noise of ten times the largest entry: nothing is left to read."""
    case = case_of(shown, 1, (GaussianNoise(10.0, relative=True),))
    try:
        gain = case.gain(case.attack(case.share(), seed=1))
    except AttackFailed:
        gain = 0.0
    assert gain < shown.least / 2
