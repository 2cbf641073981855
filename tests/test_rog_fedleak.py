"""The parts of ROG and FedLeak: enlarged small images, the largest entries of an update, gradient regularisation."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import gradaudit as ga
from gradaudit.attacks import constructors
from gradaudit.audit.overrides import override
from gradaudit.inversion.parts.objectives import L1, Cosine, LayerwiseCosine, TopEntries
from gradaudit.inversion.parts.optimisers import LBFGS, Adam, AnnealedAdam, Regularised
from gradaudit.inversion.parts.parametrisations import Coarse, Pixels, Upsampled
from gradaudit.inversion.parts.part import Progress, Stage
from gradaudit.protocol.defenses import GaussianNoise, TopK
from gradaudit.values.errors import AttackFailed

KNOWN = ("priors", "LABELS")
ROG, FEDLEAK = ga.attacks.ROG, ga.attacks.FEDLEAK
AT = Progress(0, 1)


def blobs(seed, size=1, side=16):
    """Smooth images, which a quarter of the side describes well, and distinct labels."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(size, 1, 4, 4, generator=generator)
    large = nn.functional.interpolate(small, size=(side, side), mode="bicubic").clamp(0, 1)
    return ga.Batch(large, torch.randperm(5, generator=generator)[:size])


def client(*defenses, side=16):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(8 * (side - 2) ** 2, 5))
    return ga.Client(net, defenses=defenses)


def error(found, batch):
    """Return the root mean squared error."""
    return float((found.inputs.clamp(0, 1) - batch.inputs).square().mean().sqrt())


def grey(batch):
    """Return the error of the control."""
    return float((batch.inputs - 0.5).square().mean().sqrt())


def cut(attack, steps, **changes):
    return replace(attack, stages=tuple(replace(stage, steps=steps, **changes) for stage in attack.stages))


WHOLE = replace(ROG, stages=(replace(ROG.stages[0], parametrisation=Upsampled(factor=1)),))


@pytest.mark.parametrize("seed", range(3))
def test_rog_finds_smooth_images_of_noisy_updates_where_whole_pixels_fit_the_noise(seed):
    batch = blobs(seed)
    seen = client(GaussianNoise(0.1, relative=True)).share(batch, KNOWN, seed=seed)
    found = cut(ROG, 60)(seen, seed=seed)
    assert error(found, batch) < grey(batch) / 3
    assert error(found, batch) < error(cut(WHOLE, 60)(seen, seed=seed), batch) / 2
    assert not found.verified


def test_a_later_stage_refines_the_small_image():
    """An image of more detail than a quarter of the side holds."""
    batch = ga.Batch(torch.rand(1, 1, 16, 16), torch.tensor([2]))
    seen = client().share(batch, KNOWN)
    short = cut(ROG, 40)
    fine = Stage(Pixels(), Adam(lr=0.05), steps=30)
    both = replace(short, stages=(*short.stages, fine))
    assert both(seen).objective < short(seen).objective / 2


def test_the_small_image_is_enlarged_with_bicubic_interpolation():
    seen = client().share(blobs(0), KNOWN)
    candidate = Upsampled().start(seen, 2, None)
    small = candidate.variables["pixels"]
    assert small.shape == (2, 1, 1, 4, 4)
    assert 0 <= small.min() < 0.2 < 0.8 < small.max() <= 1
    wanted = nn.functional.interpolate(small[:, 0], scale_factor=4, mode="bicubic")
    assert torch.equal(candidate.decode()[:, 0], wanted)
    assert not torch.equal(wanted, nn.functional.interpolate(small[:, 0], scale_factor=4, mode="bilinear"))
    with pytest.raises(AttackFailed, match="Upsampled: factor must be at least 1"):
        Upsampled(factor=0)
    assert Upsampled() != Coarse(4, False, "uniform")


def test_the_rate_is_annealed_to_a_tenth():
    part = AnnealedAdam(lr=0.05, floor=0.1)
    optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.05)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=100, eta_min=0.005)
    for step in range(100):
        assert 0.05 * part.scale(step, 100) == pytest.approx(reference.get_last_lr()[0])
        optimiser.step()
        reference.step()


def random_update(seed):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator) for shape in ((7, 9), (11,), (1,)))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_exactly_the_share_of_the_largest_observed_entries_is_compared(share):
    """The slope with respect to the candidate is not zero there, and nowhere else."""
    observed = random_update(0)
    candidate = [tensor.requires_grad_() for tensor in random_update(1)]
    slopes = torch.autograd.grad(TopEntries(L1(), share)(candidate, observed, AT), candidate)
    for slope, tensor in zip(slopes, observed, strict=True):
        used, count = slope != 0, max(1, round(share * tensor.numel()))
        assert int(used.sum()) == count
        assert tensor[used].abs().min() >= tensor.abs().flatten().sort(descending=True).values[count - 1]


def test_the_choice_depends_on_the_observed_update_alone():
    """Whatever the candidate holds elsewhere does not count, however large it is."""
    seen = client().share(blobs(0), KNOWN)
    observed = seen.update.values
    distance = TopEntries(Cosine(), 0.2).bind(seen)
    candidate = tuple(torch.randn_like(tensor) for tensor in observed)
    before = distance(candidate, observed, AT)
    chosen = [t.abs() >= t.abs().flatten().topk(max(1, round(0.2 * t.numel()))).values[-1] for t in observed]
    other = tuple(torch.where(mask, c, torch.full_like(c, 1e6)) for mask, c in zip(chosen, candidate, strict=True))
    assert torch.equal(distance(other, observed, AT), before)
    fewer = tuple(tensor.flip(0) for tensor in observed)  # another update: the choice follows it
    assert torch.equal(distance(candidate, fewer, AT), TopEntries(Cosine(), 0.2)(candidate, fewer, AT))
    assert not torch.equal(distance(candidate, fewer, AT), before)


@pytest.mark.parametrize("plain", [Cosine(), L1(), LayerwiseCosine()])
def test_all_entries_are_the_plain_objective(plain):
    candidate, observed = random_update(1), random_update(0)
    assert torch.equal(TopEntries(plain, 1.0)(candidate, observed, AT), plain(candidate, observed, AT))
    seen = client().share(blobs(0), KNOWN)
    short = cut(ga.attacks.INVERTING_GRADIENTS, 3)
    both = [replace(short, objective=objective)(seen) for objective in (plain, TopEntries(plain, 1.0))]
    assert torch.equal(both[0].inputs, both[1].inputs)
    with pytest.raises(AttackFailed, match="share: should be above 0"):
        TopEntries(plain, 0.0)


@pytest.mark.parametrize("inner", [Adam(lr=0.1, cosine=True), LBFGS(inner=3)], ids=["adam", "lbfgs"])
def test_without_a_blend_it_is_the_plain_optimiser_bit_for_bit(inner):
    seen = client().share(blobs(0), KNOWN)
    attack = cut(ga.attacks.INVERTING_GRADIENTS, 4, terms=(), gradient=())
    found = [
        cut(attack, 4, optimiser=optimiser)(seen).inputs
        for optimiser in (inner, Regularised(inner, blend=0.0), Regularised(inner, blend=0.5))
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert Regularised(inner, blend=0.0).evaluations == inner.evaluations
    assert Regularised(inner).evaluations == 2 * inner.evaluations


def bowl(x):
    """A smooth function of each of several points `[S, n]`."""
    return (x.sin() + 0.3 * x.roll(1, -1) ** 2 * x).square().sum(-1)


def test_the_blended_slope_is_that_of_the_penalised_function():
    """∇(D + λ |∇D|) by double backward, which the optimiser never computes; two candidates do not mix."""
    start = torch.tensor([[0.3, -0.7, 1.1], [0.9, 0.2, -0.4]], dtype=torch.float64)
    rho, blend = 1e-4, 0.6
    leaf = start.clone().requires_grad_()
    optimiser, _ = Regularised(Adam(lr=0.0), rho, blend).build([leaf], 10)

    def closure():
        leaf.grad = torch.autograd.grad(bowl(leaf).sum(), leaf)[0]
        return bowl(leaf).sum()

    assert optimiser.step(closure) == bowl(start).sum()
    assert torch.equal(leaf, start)  # Adam's rate is 0, and the moved point is undone
    for point, found in zip(start, leaf.grad, strict=True):
        x = point.clone().requires_grad_()
        (slope,) = torch.autograd.grad(bowl(x), x, create_graph=True)
        (bent,) = torch.autograd.grad(slope.norm(), x)
        assert torch.allclose(found, (slope + rho * blend * bent).detach(), atol=1e-7)
        assert not torch.allclose(found, slope.detach(), atol=1e-6)
        moved = (point + rho * slope / slope.norm()).detach().requires_grad_()
        (there,) = torch.autograd.grad(bowl(moved), moved)
        assert torch.allclose(found, ((1 - blend) * slope + blend * there).detach(), rtol=1e-12)


def test_a_flat_place_is_not_moved():
    leaf = torch.zeros(2, 3, requires_grad=True)
    optimiser, _ = Regularised(Adam(lr=0.1)).build([leaf], 10)

    def closure():
        leaf.grad = torch.zeros_like(leaf)
        return leaf.sum()

    optimiser.step(closure)
    assert torch.equal(leaf, torch.zeros(2, 3))
    assert not leaf.grad.isnan().any()


@pytest.mark.parametrize("attack", [ROG, FEDLEAK], ids=lambda attack: attack.name)
def test_the_attacks_are_values_that_work_with_everything(attack, tmp_path):
    """Restarts, checkpoints, an adaptive adversary, and changed steps."""
    short = override(attack, "stages.0.steps", 4, constructors(), at="attacks.0")
    assert eval(repr(short), dict(constructors())) == short
    short = replace(short, restarts=2)
    seen = client(TopK(0.5)).share(blobs(0), (*KNOWN, "DEFENSE"))
    found = short(seen, keep=tmp_path / "run")
    assert len(found.trace) == 2
    assert torch.equal(short(seen, keep=tmp_path / "run").inputs, found.inputs)
    assert math.isfinite(ga.adaptive(short)(seen).objective)


@pytest.mark.parametrize("seed", range(3))
def test_fedleak_recovers_images_from_a_third_of_the_entries(seed):
    batch = blobs(seed, side=8)
    attack = cut(FEDLEAK, 60, terms=(), optimiser=Regularised(Adam(lr=0.2, cosine=True)))
    assert attack.objective.share == pytest.approx(0.3)
    assert error(attack(client(side=8).share(batch, KNOWN), seed=seed), batch) < grey(batch) / 5
