import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradaudit import Update
from gradaudit.client.federation import update_bits
from gradaudit.protocol.defenses import DEFENSES, Clip, GaussianNoise, LaplaceNoise, TopK, describe
from gradaudit.values.discovery import example_of
from gradaudit.values.errors import AuditError

OWN = (kind for kind in DEFENSES.values() if not kind.requires)  # tests/federation tries those of other packages
EXAMPLES = (*map(example_of, OWN), GaussianNoise(0.1, relative=True))


def update():
    return Update({"weight": torch.randn(20, 30), "bias": torch.randn(7)}, examples=3)


@pytest.mark.parametrize("defense", EXAMPLES, ids=repr)
def test_keeps_names_shapes_and_the_rest(defense):
    before = update()
    copies = {name: tensor.clone() for name, tensor in before.tensors.items()}
    after = defense(before)
    assert list(after.tensors) == list(before.tensors)
    assert all(after.tensors[name].shape == tensor.shape for name, tensor in copies.items())
    assert all(torch.equal(before.tensors[name], tensor) for name, tensor in copies.items())
    assert after.examples == 3
    assert eval(repr(defense), {type(defense).__name__: type(defense)}) == defense
    assert type(defense).__doc__
    assert defense.paper


@pytest.mark.parametrize("defense", EXAMPLES, ids=repr)
def test_the_size_of_a_defended_update_is_known(defense):
    """A field of a defense must not hide the method."""
    assert 0 < update_bits((defense,), update()) <= 32 * 607


@pytest.mark.parametrize("defense", EXAMPLES, ids=repr)
def test_simulation_is_differentiable_and_no_farther_at_the_truth(defense):
    clean = update().values
    observed = defense.protect(clean)
    candidate = tuple(t.clone().requires_grad_() for t in clean)
    simulated = defense.simulate(candidate, observed)
    assert torch.autograd.grad(sum(t.sum() for t in simulated), candidate)
    farther, before = (
        sum((one - o).square().sum() for one, o in zip(ours, observed, strict=True)) for ours in (simulated, clean)
    )
    assert farther <= before


@pytest.mark.parametrize("defense", [TopK(0.5), Clip(1.0)], ids=repr)
def test_simulation_is_exact_at_the_truth(defense):
    clean = update().values
    observed = defense.protect(clean)
    for s, o in zip(defense.simulate(clean, observed), observed, strict=True):
        torch.testing.assert_close(s, o)


def test_noise_has_the_standard_deviation_it_says():
    zero = Update({"a": torch.zeros(200_000)})
    assert GaussianNoise(0.3)(zero).values[0].std().item() == pytest.approx(0.3, rel=0.02)
    assert LaplaceNoise(0.3)(zero).values[0].std().item() == pytest.approx(0.3 * math.sqrt(2), rel=0.02)
    assert LaplaceNoise(0.3)(zero).values[0].abs().mean().item() == pytest.approx(0.3, rel=0.02)


def test_relative_noise_scales_with_each_tensor():
    both = Update({"large": torch.full((100_000,), 10.0), "small": torch.full((100_000,), 0.1)})
    large, small = GaussianNoise(0.1, relative=True)(both).values
    assert large.std().item() == pytest.approx(1.0, rel=0.02)
    assert small.std().item() == pytest.approx(0.01, rel=0.02)


@given(st.floats(0.01, 1.0), st.integers(1, 50))
def test_top_k_keeps_the_largest(keep, size):
    tensor = torch.randperm(size).float() - size / 2 + 0.25
    kept = TopK(keep)(Update({"a": tensor})).values[0]
    count = max(1, round(keep * size))
    assert (kept != 0).sum() == count
    assert kept.abs().sum() == tensor.abs().sort(descending=True).values[:count].sum()


@given(st.floats(0.01, 100))
def test_clip_bounds_the_global_norm(norm):
    torch.manual_seed(0)
    before = update()
    after = Clip(norm)(before)
    lengths = [torch.cat([t.flatten() for t in u.values]).norm().item() for u in (before, after)]
    assert lengths[1] == pytest.approx(min(lengths[0], norm), rel=1e-4)


def test_clip_of_a_zero_update_is_zero():
    assert Clip(1.0)(Update({"a": torch.zeros(3)})).values[0].eq(0).all()


@pytest.mark.parametrize(
    "make", [lambda: GaussianNoise(-1), lambda: LaplaceNoise(-1), lambda: TopK(0), lambda: TopK(1.5), lambda: Clip(0)]
)
def test_refuses_parameters_out_of_range(make):
    with pytest.raises(AuditError, match="Found"):
        make()


def test_table_and_description():
    assert {"gaussian-noise", "laplace-noise", "top-k", "clip"} <= set(DEFENSES)
    assert describe(GaussianNoise(0.01)) == "gaussian-noise std=0.01"


def test_no_noise_at_all_is_allowed():
    update = Update({"w": torch.randn(3)})
    for defense in (GaussianNoise(0.0), LaplaceNoise(0.0), GaussianNoise(0.0, relative=True)):
        assert torch.equal(defense(update).values[0], update.values[0])
    for make in (GaussianNoise, LaplaceNoise):
        with pytest.raises(AuditError, match="at least 0"):
            make(-1e-9)


@pytest.mark.parametrize(
    "defense", [GaussianNoise(0.0), LaplaceNoise(0.0), GaussianNoise(0.0, relative=True)], ids=repr
)
def test_no_noise_leaves_the_update_as_it_is(defense):
    before = update()
    assert all(map(torch.equal, defense(before).values, before.values))


def test_a_guess_without_gradient_has_a_finite_slope_under_clipping():
    candidate = (torch.zeros(3, requires_grad=True), torch.zeros(2, 2, requires_grad=True))
    clipped = Clip(1.0).simulate(candidate, candidate)
    slopes = torch.autograd.grad(sum(t.sum() for t in clipped), candidate)
    assert all(torch.isfinite(slope).all() for slope in slopes)
