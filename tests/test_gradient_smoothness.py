"""IGSA: against an explicit Jacobian, by hand, and what it divides by."""

import doctest
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import gradaudit as ga
import gradaudit.metrics.gradient_smoothness as module
from conftest import make_batch
from gradaudit.client.update_map import update_map
from gradaudit.metrics.gradient_smoothness import SmoothnessEffort, gradient_smoothness, layer_norms
from gradaudit.metrics.linearisation import Linearised
from gradaudit.studies._smoothness import NOISE, Explained, entries_by_layer
from gradaudit.values.errors import AuditError


def small():
    """504 parameters in two layers."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.Sigmoid(), nn.Linear(12, 5))


def mapped(model):
    client, batch = ga.Client(model), make_batch(1, side=6, classes=5)
    return client, batch, update_map(client, batch)


def exact(update, inputs, layers, weights):
    """The formula at one point from the whole Jacobian: raw and relative."""
    line = Linearised(update, inputs)
    norms = [part.norm().item() for part in line.jacobian().split(layers)]
    sizes = [part.norm().item() for part in line.value.split(layers)]
    total = sum(weights)
    raw = sum(weight * norm for weight, norm in zip(weights, norms, strict=True)) / total
    relative = sum(w * norm / size for w, norm, size in zip(weights, norms, sizes, strict=True)) / total
    return 1 / raw, 1 / relative


def test_probes_agree_with_the_whole_jacobian():
    client, _, given = mapped(small())
    layers = entries_by_layer(client.training, client.model)
    assert layers == [36 * 12 + 12, 12 * 5 + 5]
    truth = exact(given.function, given.images, layers, (2, 1))
    one = SmoothnessEffort(points=1, radius=0.0, probes=16)
    for seed in range(3):
        found = gradient_smoothness(given.function, given.images, layers, one, seed)
        assert (found.raw, found.relative) == pytest.approx(truth, rel=0.25)
    many = gradient_smoothness(given.function, given.images, layers, replace(one, probes=200))
    assert (many.raw, many.relative) == pytest.approx(truth, rel=0.15)


def test_the_points_lie_at_the_radius_and_are_averaged():
    """The derivative of x²/2 is x: a norm at every point, by hand from the points that the map was asked for."""
    asked, inputs = [], torch.full((2, 9), 3.0, dtype=torch.float64)

    def update(x):
        asked.append(x.detach().clone())
        return (x * x / 2).flatten()

    found = gradient_smoothness(update, inputs, [18], SmoothnessEffort(points=4, radius=0.5, probes=1))
    assert len(asked) == 4
    assert all((x - inputs).norm(dim=1).tolist() == pytest.approx([0.5, 0.5]) for x in asked)
    assert not torch.equal(asked[0], asked[1])
    assert 1 / found.raw == pytest.approx(sum(x.norm().item() for x in asked) / 4)


def test_the_relative_form_does_not_see_the_scale_of_the_update():
    _, _, given = mapped(small())
    layers, how = [given.function(given.images).numel()], SmoothnessEffort(2, 0.01, 2)
    one, other = (
        gradient_smoothness(lambda x, k=factor: k * given.function(x), given.images, layers, how) for factor in (1, 100)
    )
    assert other.raw == pytest.approx(one.raw / 100)
    assert other.relative == pytest.approx(one.relative)


def test_a_constant_update_is_infinitely_smooth_and_bad_numbers_are_refused():
    inputs = torch.zeros(1, 3)
    found = gradient_smoothness(lambda x: torch.cat([0 * x[0], torch.ones(2)]), inputs, [3, 2])
    assert (found.raw, found.relative) == (math.inf, math.inf)
    assert layer_norms(Linearised(lambda x: 0 * x, inputs), [3], 1, torch.Generator()).tolist() == [0]
    with pytest.raises(AuditError, match="layers of 4 entries"):
        gradient_smoothness(lambda x: x[0], inputs, [4])
    for bad in ({"points": 0}, {"probes": 0}, {"radius": -1.0}):
        with pytest.raises(AuditError, match="at least 1"):
            gradient_smoothness(lambda x: x[0], inputs, [3], SmoothnessEffort(**bad))


def test_a_study_prints_all_three():
    client, batch, given = mapped(small())
    found = Explained(SmoothnessEffort(1, 0.0, 100), steps=40).of(client, batch, 0)
    truth = exact(given.function, given.images, [444, 65], (2, 1))
    assert (found["igsa"], found["igsa.relative"]) == pytest.approx(truth, rel=0.15)
    noise = NOISE * float(given.function(given.images).detach().norm())
    (row, _), *_ = ga.audit.recoverability(client, batch, [noise])
    assert found["determined"] == pytest.approx(1 - row.mean, abs=1e-4)
    assert 0.005 < found["determined"] < 0.999
    assert found["open"] == 0


def test_the_example():
    assert doctest.testmod(module, extraglobs={"torch": torch}).failed == 0
