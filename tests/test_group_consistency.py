"""Several guesses that agree: registration, the prior, and the noise that goes with them."""

from functools import cache

import pytest
import torch
from skimage.transform import warp

from gradaudit import Knowledge, Level, Normalisation
from gradaudit.data.sources import SOURCES
from gradaudit.inversion.parts.gradient_transforms import Langevin
from gradaudit.inversion.parts.labels import KnownLabels
from gradaudit.inversion.parts.moves import LangevinStep
from gradaudit.inversion.parts.objectives import Euclidean
from gradaudit.inversion.parts.optimisers import Adam
from gradaudit.inversion.parts.parametrisations import Pixels
from gradaudit.inversion.parts.part import Progress, Stage, Term
from gradaudit.inversion.parts.priors import GroupConsistency
from gradaudit.inversion.parts.priors._registration import registered, registered_mean
from gradaudit.inversion.run.gradient_matching import GradientMatching
from gradaudit.metrics import psnr
from gradaudit.values.errors import AttackFailed

SHIFTS = ((2.0, -1.5), (-2.5, 0.5), (0.5, 2.5), (1.0, 1.0), (-1.0, -2.5), (0.0, 0.0))  # of mean zero


def moved(picture, down, right):
    """`[C, H, W]`, by a share of a pixel; the border is repeated."""
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in picture.shape[1:]), indexing="ij")
    where = torch.stack([rows - down, columns - right]).numpy()
    return torch.stack([torch.from_numpy(warp(c.double().numpy(), where, order=3, mode="edge")) for c in picture])


@cache
def photographs():
    return SOURCES["photographs"](size=32, crops="whole").open()


def versions(index, noise=0.08):
    """A photograph `[1, 3, 32, 32]`, and seeds `[S, 1, 3, 32, 32]` that hold it shifted and noisy."""
    picture = photographs().stack([index])
    torch.manual_seed(index)
    seeds = torch.stack([moved(picture[0], *shift) for shift in SHIFTS]).unsqueeze(1).float()
    return picture, (seeds + noise * torch.randn_like(seeds)).clamp(0, 1)


@pytest.mark.parametrize("shift", [(2.0, 0.0), (-1.5, 2.5)])
def test_a_shifted_photograph_is_laid_over_the_other(shift):
    picture = photographs().stack([0])[0]
    back = registered(*(p.movedim(0, -1).double().numpy() for p in (moved(picture, *shift), picture)))
    inner = (slice(None), slice(4, -4), slice(4, -4))
    before, after = (
        (p[inner] - picture.double()[inner]).pow(2).mean()
        for p in (moved(picture, *shift), torch.from_numpy(back).movedim(-1, 0))
    )
    assert after < before / 20


def test_registration_improves_a_shifted_mean():
    gains = []
    for index in (0, 3, 6, 9):
        picture, seeds = versions(index)
        found = registered_mean(seeds)
        assert found.shape == picture.shape
        assert found.dtype == seeds.dtype
        gains.append(float(psnr(found.clamp(0, 1), picture) - psnr(seeds.mean(0), picture)))
    assert min(gains) > 0.3, gains
    assert sum(gains) / len(gains) > 1.5, gains


def test_registration_leaves_equal_and_flat_pictures():
    picture = versions(0)[0]
    equal = registered_mean(picture.expand(3, -1, -1, -1, -1))
    torch.testing.assert_close(equal, picture, atol=2e-2, rtol=0)
    flat = torch.full((2, 1, 3, 8, 8), 0.5)
    torch.testing.assert_close(registered_mean(flat), flat[0])


def test_group_consistency_by_hand():
    candidates = torch.tensor([1.0, 2.0, 6.0]).view(3, 1, 1, 1, 1).expand(3, 2, 1, 2, 2).clone()
    at = Progress(0, 10, candidates)
    assert [GroupConsistency()(x, at).item() for x in candidates] == [4, 1, 9]
    x = candidates[0].requires_grad_()
    (slope,) = torch.autograd.grad(GroupConsistency()(x, at), x)
    torch.testing.assert_close(slope, torch.full_like(x, 2 * (1 - 3) / 8))
    assert GroupConsistency()(x, Progress(0, 10, candidates[:1])).item() == 0
    assert GroupConsistency()(x, Progress(0, 10)).item() == 0
    with pytest.raises(AttackFailed, match="every must be at least 1"):
        GroupConsistency(every=0)


def test_the_plain_means_slope_is_that_of_all_seeds_together():
    """E moves with the seeds, but Σ (x_s - E) = 0, so taking it as constant changes nothing."""
    candidates = torch.randn(3, 2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    whole = sum((x - candidates.mean(0)).pow(2).mean() for x in candidates)
    (together,) = torch.autograd.grad(whole, candidates)
    at = Progress(0, 10, candidates.detach())
    for s in range(3):
        x = candidates[s].detach().requires_grad_()
        torch.testing.assert_close(torch.autograd.grad(GroupConsistency()(x, at), x)[0], together[s])


def test_it_is_registered_anew_every_so_many_steps(client, batch, monkeypatch):
    asked = []
    room = "gradaudit.inversion.parts.priors.group_consistency.registered_mean"
    monkeypatch.setattr(room, lambda pixels: asked.append(pixels) or pixels.mean(0))
    prior = GroupConsistency(registered=True, every=4)
    first, second = (prior.bind(client.share(batch, Level.BASIC)) for _ in range(2))
    for step in range(9):
        candidates = torch.randn(2, 2, 1, 8, 8)
        for x in candidates:
            first(x, Progress(step, 9, candidates))
    assert len(asked) == 3
    assert all(pixels.min() >= 0 and pixels.max() <= 1 for pixels in asked)
    second(candidates[0], Progress(8, 9, candidates))
    assert len(asked) == 4, "the last mean belongs to the run, not to the part"
    with pytest.raises(AttackFailed, match=r"registers images \[B, C, H, W\]. Found \[7\]"):
        prior.bind(client.share(batch, Level.BASIC))(torch.zeros(3, 7), Progress(0, 9, torch.zeros(2, 3, 7)))


@pytest.mark.parametrize("registered", [False, True])
def test_it_pulls_shifted_seeds_to_one_picture(registered):
    """Nothing but the prior: the seeds meet, and where they are laid over each other nearer to the photograph."""
    gains = []
    for index in (0, 6):
        picture, seeds = versions(index)
        seeds, bound = seeds.clone(), GroupConsistency(registered, every=20)
        run = bound.bind(_Plain())
        spread = seeds.var(0).mean()
        for step in range(60):
            at = Progress(step, 60, seeds.clone())
            leaves = [x.clone().requires_grad_() for x in seeds]
            slopes = [torch.autograd.grad(run(x, at), x)[0] for x in leaves]
            seeds -= 0.05 * seeds[0].numel() * torch.stack(slopes)
        assert seeds.var(0).mean() < spread / 50
        gains.append(float(psnr(seeds.mean(0).clamp(0, 1), picture) - psnr(versions(index)[1].mean(0), picture)))
    assert min(gains) > 0.5 if registered else max(map(abs, gains)) < 0.1, gains


class _Plain:
    """What the prior reads of an observation."""

    normalisation = Normalisation()


def test_where_labels_repeat_seeds_may_disagree_on_the_order():
    """Two seeds with the pictures the other way round: the mean is a blend of both, as the docstring says."""
    pictures = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    at = Progress(0, 1, torch.stack([pictures, pictures.flip(0)]))
    assert GroupConsistency()(pictures, at).item() == 0.25
    assert GroupConsistency()(torch.full_like(pictures, 0.5), at).item() == 0


def test_langevin_noise_scales_with_the_learning_rate():
    zero = torch.zeros(2, 50_000)
    for lr in (0.1, 0.01):
        assert Langevin(0.2)(zero, Progress(0, 1, lr=lr)).std().item() == pytest.approx(0.2 * lr, rel=0.02)
    assert Langevin(0.2)(zero + 3, Progress(0, 1)).eq(3).all()


def test_langevin_step_moves_and_stays_in_the_box(client, batch):
    candidate = Pixels(init="grey").start(client.share(batch, Level.BASIC), 2, None)
    before = candidate.decode().clone()
    LangevinStep(0.5)(candidate, lambda: torch.zeros(2), Progress(0, 1, lr=0.2))
    assert (candidate.decode() - before).std().item() == pytest.approx(0.1, rel=0.15)
    LangevinStep(100)(candidate, lambda: torch.zeros(2), Progress(0, 1, lr=1.0))
    low, high = client.normalisation.box(before)
    assert candidate.decode().min() == low.min()
    assert candidate.decode().max() == high.max()


@pytest.mark.parametrize("noise", [{"gradient": (Langevin(0.2),)}, {"moves": (LangevinStep(0.2),)}])
def test_the_loop_tells_the_noise_its_rate(client, batch, noise):
    """With the rate at zero the noise is too: a run of no step stands where a run without noise does."""
    facts = Level.BASIC | Knowledge.LABELS

    def run(lr, **options):
        stage = Stage(Pixels(), Adam(lr=lr), steps=3, terms=(Term(GroupConsistency(), 0.1),), **options)
        attack = GradientMatching("x", "y", Euclidean(), KnownLabels(), (stage,), seeds=2)
        return attack(client.share(batch, facts), seed=0).inputs

    assert torch.equal(run(0.0), run(0.0, **noise))
    assert not torch.equal(run(0.1), run(0.1, **noise))
