"""Assertions that hold for every part and every attack."""

from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from gradaudit import Knowledge
from gradaudit.attacks import constructors
from gradaudit.values.errors import MissingKnowledge


def short(attack, steps=3):
    """The attack, cut to a few steps."""
    return replace(attack, stages=tuple(replace(stage, steps=steps) for stage in attack.stages))


def assert_repr_rebuilds(value):
    """`eval(repr(x)) == x` with nothing but the public parts and attacks in scope."""
    assert eval(repr(value), {"__builtins__": {}}, constructors()) == value


def assert_deterministic(attack, seen):
    """Equal seeds give equal results, other seeds others; the global random state stays."""
    state = torch.get_rng_state()
    first, again = (attack(seen, seed=1) for _ in range(2))
    assert torch.equal(first.inputs, again.inputs)
    assert first.objective == again.objective
    assert not torch.equal(first.inputs, attack(seen, seed=2).inputs)
    assert torch.equal(state, torch.get_rng_state())


def assert_model_untouched(attack, seen):
    """Parameters, buffers, mode, hooks and gradients are as before, and so is the update."""
    with untouched(seen):
        attack(seen)


@contextmanager
def untouched(*observations):
    """Fails where what runs within changes a model or an update."""
    before = [(deepcopy(seen.model.state_dict()), [t.clone() for t in seen.update.values]) for seen in observations]
    modes = [[module.training for module in seen.model.modules()] for seen in observations]
    yield
    for seen, (state, update), training in zip(observations, before, modes, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in seen.model.state_dict().items())
        assert training == [module.training for module in seen.model.modules()]
        assert not any(m._forward_pre_hooks or m._forward_hooks for m in seen.model.modules())
        assert all(p.grad is None and p.requires_grad for p in seen.model.parameters())
        assert all(map(torch.equal, update, seen.update.values))


def assert_refuses_missing_knowledge(attack, share, name=None):
    """Every single fact that it needs is refused when it is missing; `share(knowledge)` gives an observation."""
    name = name or attack.name
    for flag in Knowledge:
        if flag in attack.needs:
            with pytest.raises(MissingKnowledge, match=f"{name}.*needs {flag.name}"):
                attack(share(attack.needs & ~flag))
