"""R-GAP: one image layer by layer, its scalar equation and its linear ones by hand, and a reason where it fails."""

import math
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from scipy.optimize import brentq
from torch import nn

import gradaudit as ga
from conftest import make_batch
from gradaudit.attacks._last_layer import roots, starts
from gradaudit.attacks._layer_equations import _Convolution
from gradaudit.attacks.r_gap import ATTACK
from gradaudit.inversion.network.chain import Link, chain_of, undone
from gradaudit.models import build
from gradaudit.models.cnn6 import _built
from gradaudit.protocol.defenses import GaussianNoise, TopK
from gradaudit.protocol.local_training.losses.binary_cross_entropy import BinaryCrossEntropy
from gradaudit.protocol.local_training.losses.mean_squared_error import MeanSquaredError
from gradaudit.values.errors import AttackFailed
from recovery import NORMALISATION, drawn, exactness, gain, kinked_net

BINARY = ga.FedSGD(BinaryCrossEntropy())


def share(model, batch, training=None, knowledge="basic", defenses=()):
    client = ga.Client(model, training or ga.FedSGD(), defenses=defenses, normalisation=NORMALISATION)
    return client.share(batch, knowledge)


def cnn6(seed=0, classes=10, size=16, second=36):
    torch.manual_seed(seed)
    return _built(classes, 3, size, second)


def test_the_layer_sizes_of_the_paper():
    for name, second in (("cnn6", 36), ("cnn6-d", 20)):
        model = build(name, num_classes=1, channels=3, size=32)
        convolutions = [module for module in model if isinstance(module, nn.Conv2d)]
        shapes = [
            (one.in_channels, one.out_channels, one.kernel_size[0], one.stride[0], one.padding[0])
            for one in convolutions
        ]
        assert shapes[0] == (3, 12, 4, 2, 2)
        assert shapes[1:3] == [(12, second, 3, 2, 1), (second, 36, 3, 1, 1)]
        assert shapes[3:] == [(36, 36, 3, 1, 1), (36, 64, 3, 2, 1), (64, 128, 3, 1, 1)]
        assert model[-1].weight.shape == (1, 3200)
        assert not any(name.endswith("bias") for name, _ in model.named_parameters())


@pytest.mark.parametrize("seed", range(3))
def test_one_image_is_exact(seed):
    """In the client's single precision; with one logit neither the label nor the sign is known."""
    batch, control = drawn(seed, side=8)
    single = ga.Batch(batch.inputs, torch.tensor([seed % 2]))
    for case, training, classes in ((batch, None, 10), (single, BINARY, 1)):
        found = ATTACK(share(cnn6(seed, classes, 8), case, training))
        assert exactness(found, case) > 80
        assert gain(found, case, control) > 40
        assert found.verified
        assert torch.equal(found.labels, case.labels)
        assert len(found.notes) == 1
        assert "; 4: 11664 + 324 for 324, rank 324;" in found.notes[0]


def test_too_few_filters_leave_unknowns_and_the_notes_say_in_which_layer():
    batch, _ = drawn(0, side=16)
    found = ATTACK(share(cnn6(second=4), batch))
    assert not found.verified
    assert exactness(found, batch) < 30
    (told,) = [note for note in found.notes if "undetermined" in note]
    left, unknowns = (int(word) for word in told.removeprefix("Layer 2 leaves ").split()[:3:2])
    assert unknowns == 972
    assert 972 - left <= 4 * 108 + 4 * 25  # rank: no more than there are equations
    assert left > 0


@pytest.mark.parametrize("act", [nn.ReLU, nn.Sigmoid], ids=lambda act: act.__name__)
def test_other_activations_with_biases(act):
    torch.manual_seed(0)
    batch, control = drawn(0, side=8)
    found = ATTACK(share(kinked_net(width=24, act=act), batch))
    assert found.verified
    assert gain(found, batch, control) > 40


def test_the_scalar_equation_of_one_logit():
    """<G, W> = -μ / (1 + e^μ): one root where the example is misclassified, otherwise two or none."""
    for margin in (-2.0, -0.1, 0.3, 1.0, 3.0):
        wrong = 1 / (1 + math.exp(margin))
        found = roots(torch.tensor([margin * wrong], dtype=torch.float64).numpy(), None)
        assert len(found) == (1 if margin < 0 else 2)
        assert min(abs(one - wrong) for one in found) < 1e-12
        for one in found:
            other = margin * wrong / one
            assert other / (1 + math.exp(other)) == pytest.approx(margin * wrong, rel=1e-9)
    assert not roots(torch.tensor([0.28], dtype=torch.float64).numpy(), None)  # the largest value is 0.27846


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("bias", [False, True])
def test_the_last_layer_against_autograd(classes, bias):
    for seed in range(3):
        torch.manual_seed(seed)
        layer = nn.Linear(6, classes, bias=bias).double()
        x, label = torch.randn(1, 6).double(), torch.tensor([seed % max(classes, 2)])
        logits = layer(x)
        logits.retain_grad()
        loss = BinaryCrossEntropy() if classes == 1 else nn.functional.cross_entropy
        loss(logits, label).backward()
        groups = starts(layer, layer.weight.grad, layer.bias.grad if bias else None)
        right = [one for group in groups for one in group if one.label == int(label)]
        near = min(right, key=lambda one: float((one.inputs - x).norm()))
        torch.testing.assert_close(near.inputs, x)
        torch.testing.assert_close(near.error, logits.grad)


def test_twin_data():
    """Where the prediction is right, an image scaled by the ratio of both roots gives the same update."""
    torch.manual_seed(0)
    model = _built(1, 1, 8, 36).double()
    dark = ga.Batch(make_batch(1, side=8).inputs.double() * 0.3 + 0.04, torch.tensor([1]))
    model[-1].weight.data *= 0.9 / model(dark.inputs).item()  # the margin is 0.9
    value = 0.9 / (1 + math.exp(0.9))
    ratio = brentq(lambda margin: margin / (1 + math.exp(margin)) - value, 1.3, 5) / 0.9
    client = ga.Client(model, BINARY)
    bright = ga.Batch(dark.inputs * ratio, dark.labels)
    own, twin = client.train(dark), client.train(bright)
    for name, tensor in own.tensors.items():
        torch.testing.assert_close(tensor, twin.tensors[name])
    found = ATTACK(client.share(dark, "basic"))
    assert found.verified
    assert "2 scaled versions of the image explain the update" in found.notes[-1]
    torch.testing.assert_close(found.inputs, bright.inputs)


def convolution(**options):
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3, bias=False, **options).double()
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64)
    z = layer(x)
    k = torch.randn_like(z)
    (gradient,) = torch.autograd.grad(z, layer.weight, k)
    link = Link("0", layer, (2, 6, 6), ())
    return (
        _Convolution(link, k[0].flatten(1), z[0].detach().flatten(1), torch.ones_like(z[0].flatten(1)) > 0),
        x,
        gradient,
    )


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": 2}], ids=str)
def test_the_equations_of_a_convolution_against_autograd(options):
    equations, x, gradient = convolution(**options)
    left = equations.forward(x.flatten())
    weight, constraints = left.split([equations.error.numel(), gradient.numel()])
    torch.testing.assert_close(weight, (equations.output * equations.scale).flatten())
    torch.testing.assert_close(constraints, (gradient * equations.grown).flatten())
    rows = torch.randn_like(left)
    torch.testing.assert_close(left @ rows, x.flatten() @ equations.adjoint(rows))
    dense = torch.stack([equations.forward(unit) for unit in torch.eye(x.numel(), dtype=torch.float64)], 1)
    assert equations.rank() == int(torch.linalg.matrix_rank(dense))
    solved = equations.solve(gradient.flatten(1))
    assert solved.residual < 1e-10
    assert (solved.deficit == 0) == torch.allclose(solved.inputs, x)


def test_activations_are_undone():
    z = torch.linspace(-3, 3, 41, dtype=torch.float64).requires_grad_()
    for activation in (nn.LeakyReLU(0.2), nn.Sigmoid(), nn.Tanh(), nn.ReLU()):
        (slope,) = torch.autograd.grad(activation(z).sum(), z)
        back, found, known = undone(activation, activation(z).detach())
        torch.testing.assert_close(back[known], z.detach()[known])
        torch.testing.assert_close(found, slope)
        assert bool(known.all()) != isinstance(activation, nn.ReLU)


@pytest.mark.parametrize("defense", [GaussianNoise(0.1, relative=True), TopK(0.3)], ids=["noise", "top-k"])
def test_a_defense_contradicts_the_equations(defense):
    batch, _ = drawn(0, side=8)
    found, seen = None, share(cnn6(size=8), batch, defenses=[defense])
    with suppress(AttackFailed):  # most often the equations contradict each other
        found = ATTACK(seen)
    assert found is None or (not found.verified and found.objective > 0.05 and exactness(found, batch) < 40)
    with pytest.raises(AttackFailed, match=r"contradict each other|no root fits"):
        ATTACK(share(cnn6(size=8), batch, defenses=[GaussianNoise(1.0, relative=True)]))


def test_another_model_contradicts_the_equations():
    batch, _ = drawn(0, side=8)
    seen = share(cnn6(size=8), batch)
    with pytest.raises(AttackFailed, match=r"contradict each other|no root fits"):
        ATTACK(replace(seen, model=cnn6(1, size=8)))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(512, 10)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)).flatten(1))


POOLED = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 10))
REFUSED = {
    "pooling": (POOLED, "layer 1 .MaxPool2d. cannot be undone"),
    "function": (Functional(), "the model is not a chain"),
    "groups": (nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.Flatten(), nn.Linear(216, 10)), "one group"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_another_architecture_is_refused_with_the_reason(name):
    model, why = REFUSED[name]
    with pytest.raises(AttackFailed, match=f"r-gap: .*{why}"):
        ATTACK(share(model, drawn(0, side=8)[0]))


def test_what_else_is_refused():
    one, two = drawn(0, side=8)[0], drawn(0, 2, side=8)[0]
    model, number = cnn6(size=8), ga.Batch(one.inputs, torch.tensor([0.5]))
    with pytest.raises(AttackFailed, match="solves for one example; this update is the mean over 2"):
        ATTACK(share(model, two))
    with pytest.raises(AttackFailed, match="several local steps"):
        ATTACK(share(model, one, ga.FedAvg(learning_rate=0.1, epochs=2), "training-details"))
    with pytest.raises(AttackFailed, match="Grant LOCAL_TRAINING"):
        ATTACK(share(model, one, ga.FedAvg(learning_rate=0.1)))
    with pytest.raises(AttackFailed, match="cross entropy"):
        ATTACK(share(cnn6(classes=1, size=8), number, ga.FedSGD(MeanSquaredError())))


def test_a_weight_difference_and_the_adaptive_adversary():
    batch, control = drawn(0, side=8)
    found = ATTACK(share(cnn6(size=8), batch, ga.FedAvg(learning_rate=1.0), "training-details"))
    assert gain(found, batch, control) > 40
    client = ga.Client(
        cnn6(size=8), defenses=[GaussianNoise(1e-3, relative=True)], normalisation=NORMALISATION, rounds=8
    )
    seen = client.share(batch, ["basic", "DEFENSE"])
    assert exactness(ga.adaptive(ATTACK)(seen), batch) > exactness(ATTACK(seen), batch) + 3


def test_a_chain_in_the_order_in_which_it_runs():
    links = chain_of(cnn6(size=8), (3, 8, 8))
    assert [link.name for link in links] == ["0", "2", "4", "6", "8", "10", "13"]
    assert [len(link.activations) for link in links] == [1] * 6 + [0]
    assert links[-1].shape == (512,)
