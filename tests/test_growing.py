"""Gradients from deep to shallow, element-wise dropout, and the quantised sign: HFGradInv's own parts."""

import math
from itertools import chain
from types import SimpleNamespace

import pytest
import torch

from gradaudit import Level
from gradaudit.inversion.parts.gradient_transforms import QuantisedSign
from gradaudit.inversion.parts.objectives import Cosine, Growing
from gradaudit.inversion.parts.part import Progress
from gradaudit.inversion.step.matching import Matching
from gradaudit.models import build
from gradaudit.values.errors import AttackFailed
from gradaudit.values.types import Update

END, LATE = Progress(1, 1), Progress(29, 30)


def update_of(name, classes=1000, size=224):
    """The names of a model's tensors, and where its parts lie; no memory is taken."""
    with torch.device("meta"):
        model = build(name, num_classes=classes, channels=3, size=size)
    return SimpleNamespace(update=Update(dict(model.named_parameters())), model=model)


def first_active(bound, step, steps):
    """The lowest number, counted from 1, with which all tensors up to the last are active."""
    found = [position + 1 for position in bound.active(Progress(step, steps))]
    assert found == list(range(found[0], found[-1] + 1))
    return found[0]


def changes(bound, steps):
    """Step -> first active tensor, where it changes."""
    starts = [first_active(bound, step, steps) for step in range(steps)]
    return {step: start for step, start in enumerate(starts) if step == 0 or start != starts[step - 1]}


# The timetable


def test_resnet34_follows_the_timetable_of_the_paper_s_code_exactly():
    seen = update_of("resnet34")
    starts = changes(Growing().bind(seen), 15_000)
    assert starts == {0: 100, 499: 90, 999: 80, 1499: 70, 1999: 60, 2499: 50, 2999: 40, 3499: 30, 3999: 25}
    names = list(seen.update.tensors)
    assert len(names) == 110
    assert [names[start - 1] for start in starts.values()] == [
        "layer4.1.conv2.weight",
        "layer4.0.bn1.bias",
        "layer3.4.bn2.weight",
        "layer3.3.conv1.weight",
        "layer3.1.bn1.bias",
        "layer3.0.bn1.weight",
        "layer2.2.conv2.weight",
        "layer2.0.downsample.1.bias",
        "layer2.0.conv2.weight",
    ]
    assert first_active(Growing(stepwise=False).bind(seen), 0, 15_000) == 25


@pytest.mark.parametrize(
    ("name", "first", "last", "front"),
    [
        ("resnet18", 56, 19, "layer2.0.conv2.weight"),
        ("resnet34", 100, 25, "layer2.0.conv2.weight"),
        ("resnet50", 146, 37, "layer2.0.conv2.weight"),
        ("vgg11", 20, 3, "features.3.weight"),
        ("vgg16", 29, 5, "features.5.weight"),
        ("vgg16_bn", 53, 9, "features.7.weight"),
        ("resnet20", 54, 12, "layer1.1.bn1.bias"),
        ("fedavg-cnn", 7, 2, "3"),
    ],
)
def test_other_networks_by_map_or_by_their_own_tensors(name, first, last, front):
    seen = update_of(name, size=32 if name in ("resnet20", "fedavg-cnn") else 224)
    bound, names = Growing().bind(seen), list(seen.update.tensors)
    starts = changes(bound, 600)
    assert starts[0] == first
    assert len(starts) <= 9
    assert max(starts) < 600 * 4 / 15
    assert list(starts.values())[-1] == last == first_active(bound, 599, 600)
    assert name == "fedavg-cnn" or names[last - 1] == front


def test_shortening_the_stage_shortens_the_timetable():
    bound = Growing().bind(update_of("resnet34"))
    assert changes(bound, 1_500) == {step * 50 - (step > 0): max(100 - 10 * step, 25) for step in range(9)}
    slower = Growing(every=1 / 10).bind(update_of("resnet34"))
    assert list(changes(slower, 300)) == [0, 29, 59, 89, 119, 149, 179, 209, 239]
    own = Growing(timetable=(90, 40, 10)).bind(update_of("resnet34"))
    assert list(changes(own, 300).values()) == [90, 50, 10]


def test_blocks_choose_whose_gradients_are_used():
    seen = update_of("resnet34")
    ends = {(4,): 88, (4, 3): 49, (4, 3, 2): 22, (4, 3, 2, 1): 4, (4, 3, 2, 1, 0): 1}
    for blocks, last in ends.items():
        bound = Growing(blocks=blocks).bind(seen)
        assert first_active(bound, 0, 15_000) == 100
        assert first_active(bound, 14_999, 15_000) == last
        assert bound.active(END)[-1] == 109  # the classifier goes with the last block
    third = Growing(blocks=(3,)).bind(seen)
    assert [position + 1 for position in third.active(END)] == list(range(49, 88))
    assert third.active(Progress(0, 15_000)) == third.active(END)  # none of it is introduced yet
    assert len(third.active(Progress(1_600, 15_000))) == 18
    with pytest.raises(AttackFailed, match=r"no block 5. Known: \[0, 1, 2, 3, 4\]"):
        Growing(blocks=(5,)).bind(seen)


def test_blocks_of_a_vgg_and_of_any_other_network():
    names = {
        blocks: [list(seen.update.tensors)[position] for position in Growing(blocks=blocks).bind(seen).active(END)]
        for seen in [update_of("vgg11")]
        for blocks in ((1,), (2,), (5,))
    }
    assert names[(1,)] == ["features.0.weight", "features.0.bias"]
    assert names[(2,)] == ["features.3.weight", "features.3.bias"]
    assert names[(5,)][0] == "features.16.weight"
    assert names[(5,)][-1] == "classifier.6.bias"
    lenet = update_of("lenet", 10, 32)
    count = len(lenet.update.tensors)
    parts = [Growing(blocks=(block,)).bind(lenet).active(END) for block in range(1, 6)]
    assert list(chain(*parts)) == list(range(count))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"every": 0.0}, "every must be positive"),
        ({"timetable": (10, 5, 20)}, "first >= last >= 1"),
        ({"timetable": (10, 0, 2)}, "stride >= 1"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(AttackFailed, match=message):
        Growing(**fields)


# The distance


def tensors(seed, sizes=((40, 30), (30,), (20, 10), (10,)), dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator, dtype=dtype) for shape in sizes)


def test_without_its_components_it_is_the_cosine_of_what_is_active():
    ours, theirs = tuple(t.requires_grad_() for t in tensors(0)), tensors(1)
    objective = Growing(dropout=0.0, stepwise=False, timetable=(3, 1, 2))
    value, cosine = objective(ours, theirs, END), Cosine()(ours[1:], theirs[1:], END)
    assert value.item() == pytest.approx(cosine.item(), abs=1e-14)
    found = torch.autograd.grad(value, ours, allow_unused=True, materialize_grads=True)
    assert not found[0].any()
    for mine, other in zip(found[1:], torch.autograd.grad(cosine, ours[1:]), strict=True):
        torch.testing.assert_close(mine, other)


def test_dropout_by_hand_and_against_finite_differences():
    ours, theirs = tuple(t.requires_grad_() for t in tensors(0, ((5, 3), (4,)))), tensors(1, ((5, 3), (4,)))

    def masked(*candidate):
        torch.manual_seed(7)
        return Growing(timetable=(1, 1, 1))(candidate, theirs, LATE)

    torch.manual_seed(7)
    masks = [torch.rand_like(tensor) < 0.7 for tensor in ours]
    c, o = (torch.cat([t[mask] for t, mask in zip(side, masks, strict=True)]) for side in (ours, theirs))
    assert masked(*ours).item() == pytest.approx(1 - torch.cosine_similarity(c, o, dim=0).item())
    assert torch.autograd.gradcheck(masked, ours)


def test_dropout_is_fresh_at_every_evaluation_and_the_same_on_both_sides():
    ours, theirs = tuple(t.requires_grad_() for t in tensors(0)), tensors(1)
    objective = Growing(timetable=(1, 1, 1))
    kept = []
    for _ in range(50):
        found = torch.autograd.grad(objective(ours, theirs, LATE), ours)
        kept.append(torch.cat([gradient.flatten() != 0 for gradient in found]))
    share = torch.stack(kept).double()
    assert share.mean().item() == pytest.approx(0.7, abs=0.01)
    assert share.mean(0).std().item() == pytest.approx(math.sqrt(0.21 / 50), rel=0.1)  # independent entries
    assert len({objective(ours, theirs, LATE).item() for _ in range(5)}) == 5
    scaled = tuple(3 * tensor.detach() for tensor in ours)
    assert all(abs(objective(ours, scaled, LATE).item()) < 1e-12 for _ in range(5))
    zeros = tuple(torch.zeros_like(tensor) for tensor in theirs)
    assert objective(zeros, theirs, LATE).item() == objective(theirs, zeros, LATE).item() == 1
    exact = Cosine()(ours, theirs, END)
    assert objective(ours, theirs, END).item() == pytest.approx(exact.item())  # where iterates are compared


def test_it_pulls_through_the_whole_step(client, batch):
    """The slope of the candidate through either route is that of plain automatic differentiation."""
    seen = client.share(batch, Level.BASIC)
    x, at = torch.rand(batch.inputs.shape), Progress(3, 30)
    bound = Growing(dropout=0.0).bind(seen)
    leaf = x.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(seen.model(leaf), batch.labels)
    update = torch.autograd.grad(loss, list(seen.model.parameters()), create_graph=True)
    wanted = torch.autograd.grad(bound(update, seen.update.values, at), leaf)[0]
    for step, tolerance in (("exact", 1e-5), ("directional", 1e-2)):
        found = Matching(seen, bound, step).slope(x, batch.labels, (), at)
        gap = (found.inputs - wanted).norm() / wanted.norm()
        assert gap < tolerance


# The quantised sign


def test_quantised_sign_has_five_levels():
    line = torch.arange(-300, 301) / 100
    gradient = line.repeat(2, 1).view(2, 601, 1) * torch.tensor([1.0, 1e-6]).view(2, 1, 1)
    late = Progress(200, 15_000)
    levels = QuantisedSign()(gradient, late)
    assert sorted({round(float(level), 6) for level in levels.unique()}) == [-1, -0.6, -0.2, 0, 0.2, 0.6, 1]
    torch.testing.assert_close(levels[0], levels[1])  # each seed by its own median
    median = 1.5
    for value, level in ((0.24 * median, 0.2), (0.26 * median, 0.6), (0.74 * median, 0.6), (0.76 * median, 1.0)):
        nearest = (gradient[0, :, 0] - value).abs().argmin()
        assert levels[0, nearest, 0].item() == pytest.approx(level)
    assert not QuantisedSign()(torch.zeros(1, 3, 3), late).any()


def test_quantised_sign_is_doubled_over_the_first_101_of_15_000_steps():
    gradient = torch.randn(1, 50)
    once = QuantisedSign(doubled=0.0)(gradient, Progress(0, 15_000))
    for step, factor in ((0, 2), (100, 2), (101, 1), (14_999, 1)):
        torch.testing.assert_close(QuantisedSign()(gradient, Progress(step, 15_000)), factor * once)
    torch.testing.assert_close(QuantisedSign()(gradient, Progress(3, 600)), 2 * once)
    torch.testing.assert_close(QuantisedSign()(gradient, Progress(4, 600)), once)


@pytest.mark.parametrize(
    ("name", "first", "stride", "last"), [("resnet18", 56, 5, 19), ("resnet34", 100, 10, 25), ("resnet50", 146, 15, 37)]
)
def test_residual_networks_have_timetables_of_their_own(name, first, stride, last):
    starts = list(changes(Growing().bind(update_of(name)), 15_000).values())
    assert starts == [*range(first, last, -stride), last]
