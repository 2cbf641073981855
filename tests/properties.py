"""Assertions that hold for every part and every attack."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from gradaudit import Knowledge
from gradaudit.attacks import constructors
from gradaudit.values.errors import MissingKnowledge

ON_TEXT = {"bag-of-words", "dager", "dlg-text", "lamp", "tag"}  # attacks tested in test_text_attacks and test_dager
ON_TRANSFORMERS = {"april", "april-patches", "gradvit"}  # tested in test_vision_transformers
ON_TABLES = {"inverting-gradients-table", "tableak"}  # tested in test_tableak


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
    before = deepcopy(seen.model.state_dict())
    modes = [module.training for module in seen.model.modules()]
    update = [tensor.clone() for tensor in seen.update.values]
    attack(seen)
    assert all(torch.equal(value, before[name]) for name, value in seen.model.state_dict().items())
    assert modes == [module.training for module in seen.model.modules()]
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in seen.model.modules())
    assert all(p.grad is None and p.requires_grad for p in seen.model.parameters())
    assert all(map(torch.equal, update, seen.update.values))


def assert_refuses_missing_knowledge(attack, share):
    """Every single fact that it needs is refused when it is missing; `share(knowledge)` gives an observation."""
    for flag in Knowledge:
        if flag in attack.needs:
            with pytest.raises(MissingKnowledge, match=f"{attack.name}.*needs {flag.name}"):
                attack(share(attack.needs & ~flag))
