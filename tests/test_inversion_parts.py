import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradaudit import Knowledge, Level
from gradaudit.inversion.parts.gradient_transforms import ClipGradient, Noise, Sign
from gradaudit.inversion.parts.labels import (
    BiasCounts,
    ColumnMinimum,
    ErroneousConfidence,
    JointLabels,
    KnownLabels,
    LabelLeakagePlus,
    LabelLeakageStar,
    LearnedRecoveryBlock,
    MinimumVariation,
    MinimumVariationDirect,
    SoftLabels,
    WeightCounts,
)
from gradaudit.inversion.parts.objectives import (
    L1,
    Chord,
    Cosine,
    Euclidean,
    EuclideanL1,
    Growing,
    LayerwiseCosine,
    LayerwiseEuclidean,
    MeanStep,
    PerRound,
    PositionEmbedding,
    SquaredPlusPlain,
    WeightedCosine,
)
from gradaudit.inversion.parts.optimisers import Adam
from gradaudit.inversion.parts.parametrisations import Pixels
from gradaudit.inversion.parts.part import Progress, Term
from gradaudit.inversion.parts.priors import (
    L2,
    Edges,
    GroupConsistency,
    PatchBorder,
    SquaredTotalVariation,
    TotalVariation,
)
from gradaudit.inversion.parts.simulations import Bezier, Segment, Unrolled, UnrolledCopies
from gradaudit.inversion.step.matching import explains
from gradaudit.values.errors import AttackFailed

AT = Progress(0, 10)
OBJECTIVES = (
    Euclidean(),
    L1(),
    Cosine(),
    LayerwiseCosine(),
    LayerwiseCosine(floor=1e-7),
    EuclideanL1(alpha=0.5),
    Chord(),
    SquaredPlusPlain(),
    LayerwiseEuclidean(2.0, squared=True),
    PerRound(WeightedCosine(last=2.0)),
)
"""What is tried beside the defaults of every objective (tests/test_every_part.py)."""


def tensors(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator, dtype=dtype) for shape in ((4, 3), (3,), (2, 2)))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_objective_is_zero_at_the_truth_and_positive_elsewhere(objective):
    assert objective(tensors(), tensors(), AT).item() == pytest.approx(0, abs=1e-12)
    assert objective(tensors(1), tensors(), AT).item() > 0.1


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_objective_gradient_against_finite_differences(objective):
    candidate = tuple(t.requires_grad_() for t in tensors(1))
    assert torch.autograd.gradcheck(lambda *c: objective(c, tensors(), AT), candidate)


@pytest.mark.parametrize("objective", [Cosine(), LayerwiseCosine()], ids=repr)
def test_cosine_is_blind_to_scale_and_finite_at_zero(objective):
    scaled = tuple(7 * t for t in tensors(1))
    assert objective(scaled, tensors(), AT).item() == pytest.approx(objective(tensors(1), tensors(), AT).item())
    zero = tuple(torch.zeros_like(t, requires_grad=True) for t in tensors())
    value = objective(zero, tensors(), AT)
    assert value.item() == pytest.approx(1)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(value, zero))


def test_layerwise_cosine_leaves_out_what_is_rounding():
    """A tensor of 1e-9 of the largest has a direction, and it says nothing."""
    candidate, observed = (
        (torch.tensor([3.0, 4.0]), torch.tensor([1e-9])),
        (torch.tensor([3.0, 0.0]), torch.tensor([-1e-9])),
    )
    assert LayerwiseCosine()(candidate, observed, AT).item() == pytest.approx((1 - 3 / 5 + 2) / 2)
    heard = LayerwiseCosine(floor=1e-7)
    assert heard(candidate, observed, AT).item() == pytest.approx(1 - 3 / 5)
    pull = heard.pull(candidate, observed, AT)
    leaves = tuple(t.clone().requires_grad_() for t in candidate)
    expected = torch.autograd.grad(heard(leaves, observed, AT), leaves)
    found = [t.clone() for t in candidate]
    pull.combine(found, observed)
    assert pull.value.item() == pytest.approx(1 - 3 / 5)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert pull.squares.item() == pytest.approx(sum(float(t.pow(2).sum()) for t in expected))


def test_objectives_by_hand():
    candidate, observed = (
        (torch.tensor([3.0, 4.0]), torch.tensor([0.0])),
        (torch.tensor([3.0, 0.0]), torch.tensor([2.0])),
    )
    assert Euclidean()(candidate, observed, AT).item() == 20
    assert L1()(candidate, observed, AT).item() == 6
    assert LayerwiseEuclidean(0.5)(candidate, observed, AT).item() == pytest.approx(0.5 * (4 + 2))
    assert LayerwiseEuclidean(0.5, squared=True)(candidate, observed, AT).item() == pytest.approx(0.5 * (16 + 4))
    assert Cosine()(candidate, observed, AT).item() == pytest.approx(1 - 9 / (5 * math.sqrt(13)))
    assert LayerwiseCosine()(candidate, observed, AT).item() == pytest.approx((1 - 3 / 5 + 1) / 2)


def test_total_variation_by_hand():
    picture = torch.tensor([[0.0, 1.0], [3.0, 3.0]]).view(1, 1, 2, 2)
    # |dx|: 1, 0 -> mean 0.5; |dy|: 3, 2 -> mean 2.5
    assert TotalVariation()(picture, AT).item() == 3
    assert TotalVariation()(torch.cat([picture, 0 * picture]), AT).item() == 1.5


@given(st.floats(-3, 3), st.integers(1, 3), st.integers(2, 9))
@settings(max_examples=30)
def test_total_variation_of_a_constant_is_zero(value, channels, side):
    assert TotalVariation()(torch.full((2, channels, side, side + 1), value), AT).item() == 0


def test_l2_by_hand():
    assert L2()(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(2, 1, 1, 2), AT).item() == 7.5


@pytest.mark.parametrize(
    "prior", [TotalVariation(), L2(), SquaredTotalVariation(), GroupConsistency(), PatchBorder(patch=2)], ids=repr
)
def test_prior_gradient_against_finite_differences(prior):
    inputs = torch.randn(2, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: prior(x, AT), (inputs,))


def test_gradient_transforms_by_hand():
    gradient = torch.tensor([[[3.0, -4.0]], [[0.3, 0.0]]])  # two seeds
    assert Sign()(gradient, AT).tolist() == [[[1, -1]], [[1, 0]]]
    torch.testing.assert_close(ClipGradient(1.0)(gradient, AT), torch.tensor([[[0.6, -0.8]], [[0.3, 0.0]]]))
    noisy = Noise(0.5)(torch.zeros(1, 100_000), AT)
    assert noisy.std().item() == pytest.approx(0.5, rel=0.02)


def test_schedules():
    stepped = Adam(milestones=(3 / 8, 5 / 8, 7 / 8))
    assert [stepped.scale(step, 4800) for step in (0, 1799, 1800, 2999, 3000, 4199, 4200, 4799)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    )
    cosine = Adam(cosine=True, warm_up=0.1)
    assert cosine.scale(0, 100) == pytest.approx(0.1)
    assert cosine.scale(10, 100) == pytest.approx(1)
    assert cosine.scale(55, 100) == pytest.approx(0.5)
    assert cosine.scale(100, 100) == pytest.approx(0, abs=1e-9)


def test_a_term_acts_in_its_window():
    term = Term(L2(), 1.0, start=0.2, stop=0.5)
    assert [step for step in range(10) if term.acts(Progress(step, 10))] == [2, 3, 4]
    assert all(Term(L2(), 1.0).acts(Progress(step, 10)) for step in range(11))


def test_pixels_start_and_project(client, batch):
    seen = client.share(batch, Level.BASIC)
    low, high = seen.normalisation.box(batch.inputs)
    assert Pixels().start(seen, 3, None).decode().shape == (3, 2, 1, 8, 8)
    inside = Pixels(init="uniform").start(seen, 1, None).decode()
    assert (inside >= low).all()
    assert (inside <= high).all()
    wild, free = (Pixels(box=box).start(seen, 1, None) for box in (True, False))
    for candidate in (wild, free):
        candidate.variables["pixels"].mul_(100)
        candidate.project()
    assert wild.decode().min() == low.min()
    assert free.decode().abs().max() > 50
    torch.testing.assert_close(Pixels().start(seen, 3, wild).decode(), wild.decode())


def test_joint_labels_are_a_leaf_per_seed(client, batch):
    labels = JointLabels().infer(client.share(batch, Level.BASIC), 4)
    assert labels.trainable
    assert labels.values.shape == (4, 2, 10)
    assert labels.decide(1).shape == (2,)


def test_known_labels_are_those_granted(client, batch):
    labels = KnownLabels().infer(client.share(batch, Knowledge.LABELS), 1)
    assert labels.granted
    assert torch.equal(labels.values, batch.labels)


def test_parts_that_need_the_batch_size_say_so(client, batch):
    with pytest.raises(AttackFailed, match="needs the batch size"):
        Pixels().start(client.share(batch, Knowledge.NOTHING), 1, None)


@pytest.mark.parametrize("sign", [1, -1], ids=["towards", "away"])
@pytest.mark.parametrize("objective", [one for one in OBJECTIVES if hasattr(one, "pull")], ids=repr)
def test_closed_forms_are_value_gradient_and_its_square(objective, sign):
    """Also where the two updates point away from each other, and neither has length 1."""
    observed = tuple(3 * t for t in tensors())
    candidate = tuple(sign * (o + 0.5 * t) for o, t in zip(observed, tensors(1), strict=True))
    leaves = tuple(t.clone().requires_grad_() for t in candidate)
    value = objective(leaves, observed, AT)
    gradient = torch.autograd.grad(value, leaves)
    pull = objective.pull(candidate, observed, AT)
    found = [t.clone() for t in candidate]
    pull.combine(found, observed)
    torch.testing.assert_close(pull.value, value.detach())
    torch.testing.assert_close(pull.squares, sum(g.square().sum() for g in gradient))
    for mine, theirs in zip(found, gradient, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("objective", [Cosine(), Chord(), LayerwiseCosine(), WeightedCosine()], ids=repr)
def test_the_opposite_update_is_the_farthest(objective):
    """2, not 0: an update of the other sign explains nothing."""
    opposite = tuple(-2 * t for t in tensors())
    assert objective(opposite, tensors(), AT).item() == pytest.approx(2)
    if hasattr(objective, "pull"):
        assert objective.pull(opposite, tensors(), AT).value.item() == pytest.approx(2)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_another_update_explains_nothing_whatever_its_size(scale):
    observed = tuple(scale * t.float() for t in tensors())
    assert explains(tuple(1.0001 * t for t in observed), observed)
    assert not explains(tuple(1.1 * t for t in observed), observed)


def test_layers_weigh_more_and_more():
    """By hand: weights 1, 5.5 and 10."""
    one, other = (tuple(torch.tensor([entry]) for entry in side) for side in ((1.0, 2.0, -1.0), (1.0, 1.0, 1.0)))
    inner, ours, theirs = 1 + 5.5 * 2 - 10, 1 + 5.5 * 4 + 10, 1 + 5.5 + 10
    assert WeightedCosine()(one, other, AT).item() == pytest.approx(1 - inner / math.sqrt(ours * theirs))
    assert WeightedCosine(last=1.0)(one, other, AT).item() == pytest.approx(1 - 2 / math.sqrt(6 * 3))


def test_distances_by_hand():
    one, other = (torch.tensor([3.0, 4.0]), torch.tensor([0.0])), (torch.tensor([3.0, 0.0]), torch.tensor([2.0]))
    apart = math.sqrt((3 / 5 - 3 / math.sqrt(13)) ** 2 + (4 / 5) ** 2 + (2 / math.sqrt(13)) ** 2)
    assert Chord()(one, other, AT).item() == pytest.approx(apart**2 / 2)
    assert EuclideanL1(alpha=0.5)(one, other, AT).item() == pytest.approx(20 + 0.5 * 6)


@pytest.mark.parametrize(
    "part",
    [
        EuclideanL1(alpha=0.01),
        Growing(dropout=0.3, stepwise=True, blocks=(), timetable=None, every=1 / 30),
        LayerwiseCosine(floor=0.0),
        LayerwiseEuclidean(scale=1.0, squared=False),
        MeanStep(decay=1.0, first=1.0, last=1.0),
        PositionEmbedding(Euclidean(), weight=1.0),
        WeightedCosine(last=10.0),
        Edges(every=0.01, threshold=0.5, softness=0.2),
        GroupConsistency(registered=False, every=100),
        ErroneousConfidence(pictures=1000),
        LabelLeakagePlus(samples=512),
        LabelLeakageStar(samples=64),
        LearnedRecoveryBlock(pictures=256, width=64, steps=200, lr=3e-3),
        MinimumVariation(pictures=40, ranks=20, population=20, generations=200),
        MinimumVariationDirect(pictures=40, ranks=20),
        SoftLabels(use_bias=True, tolerance=1e-9, bound=1e3, points=4000),
        ColumnMinimum(strict=True),
        BiasCounts(samples=64),
        WeightCounts(samples=64),
        Bezier(alpha=0.5, rate=1e-3, control_rate=1e-2),
        Segment(alpha=0.5, rate=1e-3),
        Unrolled("batch", "known", checkpoint=False),
        UnrolledCopies(checkpoint=False),
    ],
    ids=lambda part: type(part).__name__,
)
def test_a_part_without_arguments_has_these_numbers(part):
    """Of the papers, or ours where the part says so: no default changes without being noticed."""
    assert type(part)() == part


def test_known_labels_without_any_are_refused(client, batch):
    with pytest.raises(AttackFailed, match="needs labels, but none were granted"):
        KnownLabels().infer(client.share(batch, Level.BASIC), 1)
