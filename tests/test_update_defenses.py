"""Defenses that change the update: what each promises, and what an adversary that knows it reads off its result."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import gradaudit as ga
from gradaudit.inversion.parts.objectives.cosine import Cosine
from gradaudit.protocol.defenses import DEFENSES, Scene, describe
from gradaudit.protocol.defenses._quantising import quantised
from gradaudit.protocol.defenses.additive_noise import GaussianNoise, LaplaceNoise
from gradaudit.protocol.defenses.censor import Censor
from gradaudit.protocol.defenses.clipping import Clip
from gradaudit.protocol.defenses.deep_gradient_compression import DeepGradientCompression
from gradaudit.protocol.defenses.outpost import Outpost
from gradaudit.protocol.defenses.partial_sharing import PartialSharing
from gradaudit.protocol.defenses.qsgd import Qsgd
from gradaudit.protocol.defenses.random_k import RandomK
from gradaudit.protocol.defenses.sign_sgd import SignSgd
from gradaudit.protocol.defenses.sv_defense import SvDefense
from gradaudit.protocol.defenses.top_k import TopK
from gradaudit.protocol.defenses.uniform_quantisation import UniformQuantisation

RANDOM = (RandomK(0.3), Qsgd(2), UniformQuantisation(2), Outpost(), Censor(fallback="best"))
FIXED = (
    Clip(0.05),
    Clip(0.02, "tensor"),
    Clip(0.01, "value"),
    DeepGradientCompression(0.2),
    UniformQuantisation(3, "nearest"),
    SignSgd(),
    SignSgd(scaled=True),
    SvDefense(0.6),
    PartialSharing(("*.weight",)),
)
ALL = (*RANDOM, *FIXED)
COSINE = Cosine()


def distance(candidate, observed):
    return COSINE(candidate, observed, None)


def victim(defenses=(), rounds=1):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(6 * 36, 8))
    return ga.Client(net, defenses=defenses, rounds=rounds)


def private(seed=0, size=2):
    generator = torch.Generator().manual_seed(seed)
    return ga.Batch(torch.rand(size, 1, 8, 8, generator=generator), torch.tensor([3, 1, 5, 0][:size]))


def gradients(scale=1.0, seed=0):
    """Return a conv weight, a linear weight and its bias with entries of different sizes."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(scale * torch.randn(*shape, generator=generator) for shape in ((6, 2, 3, 3), (8, 40), (8,)))


def protected(defense, tensors, seed=0):
    torch.manual_seed(seed)
    return defense(ga.Update({f"{n}.weight": t for n, t in enumerate(tensors)})).values


@pytest.mark.parametrize("defense", ALL, ids=describe)
def test_it_changes_the_update_and_equal_seeds_agree(defense):
    client, batch = victim([defense]), private()
    shared = client.share(batch, "priors", seed=1).update.values
    assert not all(map(torch.equal, shared, client.train(batch).values))
    assert all(map(torch.equal, shared, client.share(batch, "priors", seed=1).update.values))
    other = client.share(batch, "priors", seed=2).update.values
    assert all(map(torch.equal, shared, other)) == (defense in FIXED)
    assert client.protected(batch)[1] == ()


@pytest.mark.parametrize(
    "defense",
    [
        Clip(1e9, "tensor"),
        Clip(1e9, "value"),
        RandomK(1.0),
        DeepGradientCompression(1.0),
        SvDefense(1.0),
        PartialSharing(("*",)),
    ],
    ids=describe,
)
def test_a_defense_without_effect_is_detected(defense):
    assert victim([defense]).protected(private())[1] == (defense,)


@pytest.mark.parametrize("defense", [*ALL, GaussianNoise(0.05), LaplaceNoise(0.05), TopK(0.2)], ids=describe)
def test_the_comparison_prefers_the_truth_and_has_slopes(defense):
    client, batch = victim([defense]), private()
    truth, observed = client.train(batch).values, client.share(batch, "priors").update.values
    other = victim().train(private(seed=9)).values
    away = tuple(-t for t in other)
    for found in (truth, other, away):
        leaves = tuple(t.clone().requires_grad_() for t in found)
        value = defense.mismatch(leaves, observed, distance)
        slopes = torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
        assert value >= -1e-6
        assert all(s.isfinite().all() for s in slopes)
    for measure in (
        lambda g: defense.mismatch(g, observed, distance),
        lambda g: sum((s - o).square().sum() for s, o in zip(defense.simulate(g, observed), observed, strict=True)),
        lambda g: -found if (found := defense.log_likelihood(observed, g)) is not None else torch.zeros(()),
    ):
        assert measure(truth) <= measure(away) + 1e-6
        assert measure(truth) <= measure(other) + 1e-6
    likelihood = defense.log_likelihood(observed, truth)
    assert likelihood is None or likelihood <= 1e-6
    zeros = tuple(torch.zeros_like(t).requires_grad_() for t in truth)
    slopes = torch.autograd.grad(defense.mismatch(zeros, observed, distance), zeros, allow_unused=True)
    assert all(s is None or s.isfinite().all() for s in slopes)


EXACT = [d for d in (*ALL, TopK(0.2)) if not isinstance(d, Outpost | Censor)]


@pytest.mark.parametrize("defense", EXACT, ids=describe)
def test_the_truth_explains_what_was_shared(defense):
    client, batch = victim([defense]), private()
    truth, observed = client.train(batch).values, client.share(batch, "priors").update.values
    for simulated, shared in zip(defense.simulate(truth, observed), observed, strict=True):
        torch.testing.assert_close(simulated, shared, atol=1e-6, rtol=1e-4)


# What each defense promises.


@given(st.floats(0.01, 20), st.sampled_from(["tensor", "value"]))
@settings(max_examples=20, deadline=None)
def test_clip_bounds_tensors_or_entries(norm, per):
    before = gradients()
    for was, now in zip(before, protected(Clip(norm, per), before), strict=True):
        if per == "tensor":
            assert now.norm().item() == pytest.approx(min(was.norm().item(), norm), rel=1e-4)
            torch.testing.assert_close(now / now.norm(), was / was.norm())
        else:
            assert now.abs().max().item() == pytest.approx(min(was.abs().max().item(), norm), rel=1e-6)
            assert torch.equal(now[was.abs() < norm], was[was.abs() < norm])


def test_the_description_of_clipping_names_only_another_kind():
    assert describe(Clip(1.0)) == "clip norm=1.0"
    assert describe(Clip(1.0, "tensor")) == "clip norm=1.0 per=tensor"
    assert not Clip(1.0).doubt.direction
    assert Clip(1.0, "value").doubt.direction


@given(st.floats(0.01, 1.0))
@settings(max_examples=15, deadline=None)
def test_random_k_keeps_its_share_as_it_was(keep):
    before = gradients()
    for was, now in zip(before, protected(RandomK(keep), before), strict=True):
        assert (now != 0).sum() == max(1, round(keep * was.numel()))
        assert torch.equal(now[now != 0], was[now != 0])


def test_random_k_chooses_at_random():
    ramp = torch.arange(1.0, 2001.0)
    kept = protected(RandomK(0.5), (ramp,))[0]
    assert kept.sum().item() == pytest.approx(ramp.sum().item() / 2, rel=0.1)


@given(st.integers(1, 16), st.sampled_from(["qsgd", "stochastic", "nearest"]))
@settings(max_examples=20, deadline=None)
def test_quantisation_gives_the_levels_it_says(bits, kind):
    before = gradients()
    defense = Qsgd(bits) if kind == "qsgd" else UniformQuantisation(bits, kind)
    for was, now in zip(before, protected(defense, before), strict=True):
        unit = (was.norm() if kind == "qsgd" else was.abs().max()).double() / (2**bits - 1)
        levels = now.double() / unit
        assert (levels - levels.round()).abs().max() < 0.02
        assert levels.abs().max().round() <= 2**bits - 1
        assert ((now - was).double().abs() / unit).max() < (0.51 if kind == "nearest" else 1.02)


@pytest.mark.parametrize("bits", [1, 3])
def test_stochastic_rounding_is_unbiased(bits):
    torch.manual_seed(0)
    value = torch.tensor([0.9, -0.3, 0.05, 0.0])
    many = quantised(value.expand(4000, 4), value.norm(), bits, stochastic=True)
    error = (many.mean(0) - value).abs()
    assert (error <= 5 * many.std(0) / math.sqrt(len(many)) + 1e-6).all()
    assert many.std(0)[1] > 0.01
    few = torch.stack([protected(Qsgd(bits), (value,), seed)[0] for seed in range(60)])
    assert ((few.mean(0) - value).abs() <= 5 * many.std(0) / math.sqrt(len(few)) + 1e-6).all()


def test_rounding_to_nearest_is_the_nearest():
    value = torch.tensor([3.0, 1.4, -1.6, 0.4])
    assert protected(UniformQuantisation(2, "nearest"), (value,))[0].tolist() == [3.0, 1.0, -2.0, 0.0]


def test_signs_and_their_scale():
    value = torch.tensor([[3.0, -1.0], [0.0, 4.0]])
    assert protected(SignSgd(), (value,))[0].tolist() == [[1, -1], [0, 1]]
    assert protected(SignSgd(scaled=True), (value,))[0].tolist() == [[2, -2], [0, 2]]


@given(st.floats(0.05, 0.99))
@settings(max_examples=15, deadline=None)
def test_sv_defense_keeps_the_smallest_sufficient_rank(energy):
    before = gradients()
    after = protected(SvDefense(energy), before)
    for was, now in zip(before[:2], after[:2], strict=True):
        squares = torch.linalg.svdvals(was.flatten(1)).double().square()
        rank = int(torch.linalg.matrix_rank(now.flatten(1), rtol=1e-4))
        assert squares[:rank].sum() >= (energy - 1e-6) * squares.sum()
        assert squares[: rank - 1].sum() <= (energy + 1e-6) * squares.sum()
        assert (was - now).square().sum().item() == pytest.approx(squares[rank:].sum().item(), rel=1e-3, abs=1e-4)
    assert torch.equal(after[2], before[2])


def test_partial_sharing_shares_what_matches_and_says_if_nothing_does():
    client = victim([PartialSharing(("*.bias", "3.*"))])
    before, after = client.train(private()), client.share(private(), "priors").update
    assert [name for name, t in after.tensors.items() if t.any()] == ["0.bias", "3.weight", "3.bias"]
    assert torch.equal(after.tensors["3.weight"], before.tensors["3.weight"])
    assert PartialSharing(("3.*",)).compared(client.model, ["0.bias", "3.bias"]) == ["3.bias"]
    with pytest.raises(ga.AuditError, match=r"partial-sharing: no tensor matches head\.\*"):
        victim([PartialSharing(("head.*",))]).share(private(), "priors")


def test_outpost_prunes_and_perturbs_where_the_fisher_information_is_large():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(50, 40))
    model[0].weight.data.normal_(std=0.5)
    gradient = torch.randn(40, 50) * torch.linspace(0.1, 1, 50)  # the last columns have the most information
    before = ga.Update({"0.weight": gradient})
    scene = Scene(model, torch.rand(1, 50), torch.tensor([0]), nn.functional.cross_entropy)
    now = Outpost(phi=0.4, prune_base=0.8, noise_base=0.8).apply(before, scene).values[0]
    assert (now[:, :30] == 0).float().mean() > 0.8
    noise = now[:, 30:][gradient[:, 30:].abs() < 0.3]
    assert noise.std().item() == pytest.approx(0.8 * 0.25, rel=0.15)
    many = replace(scene, steps=25)
    changed = [not torch.equal(Outpost(beta=0.125).apply(before, many).values[0], gradient) for _ in range(300)]
    assert sum(changed) / 300 == pytest.approx(1 / (1 + 0.125 * 24), abs=0.1)


def test_censor_is_orthogonal_tensor_by_tensor_and_as_long():
    for scale in (1e-3, 1.0, 100.0):
        for was, now in zip(gradients(scale), protected(Censor(), gradients(scale)), strict=True):
            assert now.norm().item() == pytest.approx(was.norm().item(), rel=1e-5)
            assert abs(torch.cosine_similarity(was.flatten(), now.flatten(), 0)) < 1e-6
    assert protected(Censor(), (torch.tensor([2.0]), torch.zeros(3)))[0].item() == 0


def test_censor_keeps_the_draw_with_the_lowest_loss_and_otherwise_the_gradient():
    model = nn.Sequential(nn.Linear(2, 2, bias=False)).double()
    inputs, labels, seen = torch.rand(3, 2).double(), torch.tensor([0, 1, 1]), []

    def never(logits, _):
        seen.append(float(logits.sum()))
        return torch.tensor(float(len(seen)))  # the first evaluation is that before any step

    def falling(logits, _):
        return torch.tensor(-float(never(logits, _)))

    update = ga.Update({"0.weight": torch.randn(2, 2).double()})
    kept = Censor(draws=5).apply(update, Scene(model, inputs, labels, never))
    assert torch.equal(kept.values[0], update.values[0])
    assert len(seen) == 6
    assert not torch.equal(
        Censor(5, fallback="best").apply(update, Scene(model, inputs, labels, never)).values[0], kept.values[0]
    )
    torch.manual_seed(0)
    last = Censor(draws=3, learning_rate=1.0).apply(update, Scene(model, inputs, labels, falling)).values[0]
    moved = (inputs @ (model[0].weight - last).T).sum()
    assert float(moved.detach()) == pytest.approx(seen[-1])


# Deep gradient compression over rounds.


def reference_compression(gradient, rounds, count, momentum):
    """Return what every round sends, entry by entry in plain Python (Lin et al., 2018, algorithm 4)."""
    velocity, held, sent = [0.0] * len(gradient), [0.0] * len(gradient), []
    for _ in range(rounds):
        velocity = [momentum * u + g for u, g in zip(velocity, gradient, strict=True)]
        held = [v + u for v, u in zip(held, velocity, strict=True)]
        chosen = sorted(range(len(held)), key=lambda i: -abs(held[i]))[:count]
        sent.append([held[i] if i in chosen else 0.0 for i in range(len(held))])
        for i in chosen:
            velocity[i] = held[i] = 0.0
    return sent


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_dgc_sends_later_what_it_held_back(momentum):
    generator = torch.Generator().manual_seed(3)
    gradient = torch.randn(20, generator=generator, dtype=torch.float64)
    defense, memory, sent = DeepGradientCompression(0.2, momentum), {}, []
    scene = Scene(nn.Identity(), gradient, gradient, nn.functional.cross_entropy, memory=memory)
    for _ in range(60):
        sent.append(defense.apply(ga.Update({"a": gradient}), scene).values[0])
    expected = torch.tensor(reference_compression(gradient.tolist(), 60, 4, momentum), dtype=torch.float64)
    torch.testing.assert_close(torch.stack(sent), expected)
    if not momentum:
        held = memory["accumulated"][0]
        torch.testing.assert_close(sum(sent) + held, 60 * gradient)
        assert held.norm() < 0.2 * (60 * gradient).norm()
    joined = defense.joined([(one,) for one in sent])[0]
    torch.testing.assert_close(joined, gradient * (joined != 0))
    assert (joined != 0).sum() >= 19


def test_the_rounds_of_a_client_share_its_memory_and_the_adversary_joins_them():
    client, batch = victim([DeepGradientCompression(0.1)], rounds=12), private()
    seen = client.share(batch, ["priors", "DEFENSE"])
    rounds = (seen.update.values, *seen.rounds)
    truth = client.train(batch).values
    first, joined = ((t != 0) for t in (rounds[0][2], DeepGradientCompression(0.1).joined(rounds)[2]))
    assert joined.sum() > 2 * first.sum()
    for g, j in zip(truth, DeepGradientCompression(0.1).joined(rounds), strict=True):
        torch.testing.assert_close(j[j != 0], g[j != 0], rtol=1e-3, atol=1e-7)
    again = client.share(batch, "priors")
    assert all(map(torch.equal, again.rounds[-1], rounds[-1]))


# What the adversary reads off the updates.


def several(defense, count=1, seed=0):
    return [protected(defense, gradients(seed=seed), one) for one in range(count)]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_bits_are_read_off_the_levels(bits):
    assert UniformQuantisation.estimated(several(UniformQuantisation(bits))) == UniformQuantisation(bits)
    nearest = UniformQuantisation(bits, "nearest")
    assert UniformQuantisation.estimated(several(nearest, 2)) == nearest
    assert UniformQuantisation.estimated(several(UniformQuantisation(bits), 2)).rounding == "stochastic"
    for seed in range(3):
        assert Qsgd.estimated(several(Qsgd(bits), 4, seed)) == Qsgd(bits)


@pytest.mark.parametrize("bits", [1, 2])
def test_few_bits_are_told_apart_by_the_variance_of_the_rounding(bits):
    small = (torch.randn(20, generator=torch.Generator().manual_seed(0)),)
    assert Qsgd.estimated([protected(Qsgd(bits), small, seed) for seed in range(8)]) == Qsgd(bits)


@pytest.mark.parametrize("keep", [0.05, 0.3])
def test_shares_are_read_off_the_zeros(keep):
    for kind in (TopK, RandomK, DeepGradientCompression):
        assert kind.estimated(several(kind(keep))).keep == pytest.approx(keep, abs=0.01)


def test_bounds_are_read_off_norms_and_magnitudes():
    for given_ in (Clip(0.5), Clip(0.5, "tensor"), Clip(0.5, "value")):
        found = Clip.estimated(several(given_))
        assert (found.norm, found.per) == (pytest.approx(0.5, rel=1e-4), given_.per)


def test_noise_is_read_off_the_difference_of_rounds():
    assert GaussianNoise.estimated(several(GaussianNoise(0.2), 8)).std == pytest.approx(0.2, rel=0.1)
    assert LaplaceNoise.estimated(several(LaplaceNoise(0.2), 8)).scale == pytest.approx(0.2, rel=0.15)
    for kind in (GaussianNoise, LaplaceNoise):
        with pytest.raises(ga.AttackFailed, match=rf"{kind.name}: its strength needs at least two rounds"):
            kind.estimated(several(kind(0.2)))
        with pytest.raises(ga.AttackFailed, match="the rounds are equal"):
            kind.estimated([gradients(), gradients()])


def test_signs_ranks_and_shared_tensors_are_read_off():
    assert SignSgd.estimated(several(SignSgd())) == SignSgd()
    assert SignSgd.estimated(several(SignSgd(scaled=True))) == SignSgd(scaled=True)
    found = SvDefense.estimated(several(SvDefense(0.7)))
    assert 0.2 < found.energy <= 0.7
    again = found.protect(several(SvDefense(0.7))[0])
    assert all(torch.linalg.matrix_rank(t.flatten(1), rtol=1e-4) >= 1 for t in again[:2])
    mixed = (*gradients()[:2], torch.zeros(8))
    assert PartialSharing.estimated([mixed]) == PartialSharing(("*",))
    assert (Censor.estimated(several(Censor())), Outpost.estimated(several(Outpost()))) == (Censor(), Outpost())


@pytest.mark.parametrize(
    "kind", [TopK, RandomK, DeepGradientCompression, Qsgd, UniformQuantisation, SignSgd, SvDefense, PartialSharing]
)
def test_what_is_not_to_be_seen_cannot_be_estimated(kind):
    with pytest.raises(ga.AttackFailed, match=f"^{kind.name}: "):
        kind.estimated([gradients()])


@pytest.mark.parametrize("kind", [TopK, RandomK])
def test_sparse_rounds_are_joined_entry_by_entry(kind):
    one, other = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([3.0, 2.0, 0.0])
    assert kind(0.5).joined([(one,), (other,)])[0].tolist() == [2, 2, 0]


def test_only_the_block_that_truncation_hides_is_not_compared():
    observed = SvDefense(0.5).protect(gradients()[1:2])
    left, values, right = torch.linalg.svd(observed[0], full_matrices=False)
    rank = int((values > 1e-4 * values[0]).sum())
    by_left, by_right = left[:, :rank] @ left[:, :rank].T, right[:rank].T @ right[:rank]
    other = torch.randn(8, 40, generator=torch.Generator().manual_seed(1))
    hidden = other - by_left @ other
    hidden = hidden - hidden @ by_right
    assert SvDefense(0.5).mismatch((observed[0] + hidden,), observed, distance) < 1e-5
    right_only = (other - by_left @ other) @ by_right
    for seen in (by_left @ (other - other @ by_right), right_only):
        assert SvDefense(0.5).mismatch((observed[0] + seen,), observed, distance) > 1e-2


def test_off_the_support_only_what_is_too_large_counts():
    observed = (torch.tensor([3.0, -2.0, 0.0, 0.0]),)
    small, large = (torch.tensor([3.0, -2.0, value, 0.0]) for value in (1.9, 2.5))
    assert TopK(0.5).mismatch((small,), observed, distance) == pytest.approx(0, abs=1e-6)
    assert TopK(0.5).mismatch((large,), observed, distance) == pytest.approx(0.25 / 13, rel=1e-4)
    assert TopK(0.5).log_likelihood(observed, (large,)) == pytest.approx(-0.25)


def test_likelihoods_of_noise_are_those_of_torch():
    observed, candidate = gradients(seed=1), gradients(seed=2)
    nothing = tuple(map(torch.zeros_like, observed))
    cases = (
        (GaussianNoise(0.3), lambda c: torch.distributions.Normal(c, 0.3)),
        (LaplaceNoise(0.3), lambda c: torch.distributions.Laplace(c, 0.3)),
    )
    for defense, law in cases:
        ours, theirs = (
            defense.log_likelihood(observed, candidate) - defense.log_likelihood(observed, nothing),
            sum(
                (law(c).log_prob(o) - law(z).log_prob(o)).sum()
                for c, o, z in zip(candidate, observed, nothing, strict=True)
            ),
        )
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-3)
    assert GaussianNoise(0.0).log_likelihood(observed, candidate) is None


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Clip(-1), "clip: norm must be positive. Found .*-1"),
        (lambda: Clip(1, "layer"), "clip: per must be update, tensor or value. Found .*layer"),
        (lambda: RandomK(0), "random-k: keep must be in .0, 1.. Found .*keep=0"),
        (lambda: DeepGradientCompression(2), "dgc: keep must be in .* Found .*keep=2"),
        (lambda: DeepGradientCompression(0.1, 1.0), "dgc: momentum must be in .* Found .*momentum=1.0"),
        (lambda: Qsgd(17), "qsgd: bits must be from 1 to 16. Found .*17"),
        (lambda: Qsgd(1.5), "qsgd: bits must be from 1 to 16. Found .*1.5"),
        (lambda: UniformQuantisation(0), "uniform-quantisation: bits must be from 1 to 16. Found .*0"),
        (lambda: UniformQuantisation(4, "up"), "uniform-quantisation: rounding must be .* Found .*up"),
        (lambda: SignSgd(2), "sign: scaled must be true or false. Found .*2"),
        (lambda: SvDefense(1.1), "sv-defense: energy must be in .* Found .*1.1"),
        (lambda: Outpost(phi=0), "outpost: phi must be in .* Found .*phi=0"),
        (lambda: Outpost(prune_base=1), "outpost: prune_base must be in .* Found .*prune_base=1"),
        (lambda: Outpost(noise_base=-1), "outpost: noise_base must be .* Found .*-1"),
        (lambda: Outpost(beta=-1), "outpost: beta must be .* Found .*-1"),
        (lambda: Censor(0), "censor: draws must be .* Found .*draws=0"),
        (lambda: Censor(learning_rate=0), "censor: learning_rate must be positive. Found .*=0"),
        (lambda: Censor(fallback="none"), "censor: fallback must be gradient or best. Found .*none"),
        (lambda: PartialSharing(()), "partial-sharing: shared must be .* Found"),
        (lambda: PartialSharing("*"), "partial-sharing: shared must be .* Found"),
    ],
)
def test_strengths_out_of_range_are_named(make, said):
    with pytest.raises(ga.AuditError, match=f"^{said}"):
        make()


def test_they_are_listed_under_their_names():
    names = {"clip", "random-k", "dgc", "qsgd", "uniform-quantisation", "sign", "sv-defense", "outpost", "censor"}
    assert names | {"partial-sharing"} <= set(DEFENSES)


# Recovery: the adversary that knows the defense sees what the other one cannot.

SHORT = replace(
    ga.attacks.INVERTING_GRADIENTS,
    stages=(replace(ga.attacks.INVERTING_GRADIENTS.stages[0], steps=60, terms=()),),
)


def error(attack, client, batch, known):
    """Return the mean squared error of a reconstruction."""
    seen = client.share(batch, ["priors", "LABELS", *known])
    return float((attack(seen).inputs - batch.inputs).square().mean())


@pytest.mark.parametrize(
    "defense",
    [RandomK(0.05), DeepGradientCompression(0.05), Clip(0.02, "tensor"), PartialSharing(("0.*",)), Outpost()],
    ids=describe,
)
def test_knowing_the_defense_recovers_more(defense):
    client = victim([defense])
    for seed in range(3):
        batch = private(seed, 1)
        naive, known = (
            error(SHORT, client, batch, ()),
            error(ga.adaptive(SHORT), client, batch, ("DEFENSE",)),
        )
        assert known < naive / 2
