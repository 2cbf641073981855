"""Soft labels of one example (Wang et al., 2024)."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from gradaudit import Level
from gradaudit.attacks import ATTACKS
from gradaudit.inversion.parts.labels import SoftLabels
from gradaudit.inversion.run.label_reading import read_labels
from gradaudit.protocol.local_training import CrossEntropy, LocalTraining
from gradaudit.protocol.observation import Observation
from gradaudit.values.types import Update
from label_cases import NORMALISATION, observe, pictures, relu_net, with_head


def soft_update(y, net):
    """One example with label `y` `[1, K]`; a client proper has integers, so this goes past it."""
    x = NORMALISATION.apply(pictures(1))
    training = LocalTraining()
    names = [name for name, _ in net.named_parameters()]
    update = Update(dict(zip(names, training(net, x, y), strict=True)))
    return Observation(
        net, update, (1, 8, 8), NORMALISATION, CrossEntropy(), knowledge=Level.BASIC, batch_size=1, training=training
    )


def label(form, classes, seed):
    first, second = torch.randperm(classes, generator=torch.Generator().manual_seed(seed))[:2]
    y = torch.zeros(1, classes)
    share = {"hard": 1.0, "smoothing": 0.8, "mixup": 0.2 + 0.6 * (seed % 7) / 7, "any": 0.5}[form]
    y[0, first] = share
    if form == "smoothing":
        y += 0.2 / classes
    elif form == "mixup":
        y[0, second] = 1 - share
    elif form == "any":
        y[0] += 0.5 * torch.linspace(0, 1, classes).softmax(0)
    return y


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.SiLU()], ids=repr)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("form", ["hard", "smoothing", "mixup"])
def test_recovers_the_label_of_one_example(form, bias, activation):
    for seed in range(12):
        torch.manual_seed(seed)
        y = label(form, 10, seed)
        found = read_labels("soft", soft_update(y, relu_net(bias=bias, activation=activation)))
        assert found.applies, found.why_not
        assert float((found.soft - y).abs().max()) < 2e-3
        assert found.labels.tolist() == y.argmax(1).tolist()
        assert found.confidence > 0.9


def test_with_a_bias_any_label_is_read_and_without_one_none_is_made_up():
    for seed in range(12):
        torch.manual_seed(seed)
        y = label("any", 10, seed)
        found = read_labels("soft", soft_update(y, relu_net()))
        assert float((found.soft - y).abs().max()) < 1e-4
        refused = read_labels("soft", soft_update(y, relu_net(bias=False)))
        assert not refused.applies
        assert "the loss stays above 1e-09" in refused.why_not


def test_a_confident_network_gives_no_false_label():
    accepted = 0
    for seed in range(12):
        torch.manual_seed(seed)
        net = relu_net(bias=False)
        with torch.no_grad():
            net[-1].weight *= 30  # probabilities near 0 and 1
        y = label("smoothing", 10, seed)
        found = read_labels("soft", soft_update(y, net))
        if found.applies:
            accepted += 1
            assert float((found.soft - y).abs().max()) < 5e-3
    assert accepted >= 10


def test_noise_is_no_label():
    torch.manual_seed(0)
    seen = soft_update(label("smoothing", 10, 0), relu_net(bias=False))
    noisy = with_head(seen, lambda t: t + 0.1 * t.std() * torch.randn_like(t))
    assert not read_labels("soft", noisy).applies
    wrong_size = with_head(soft_update(label("hard", 10, 0), relu_net()), lambda t: 3 * t)
    assert "yields no label" in read_labels("soft", wrong_size).why_not


def test_an_attack_matches_with_the_soft_label():
    y = label("mixup", 10, 1)
    seen = soft_update(y, relu_net())
    labels = SoftLabels().infer(seen, 2)
    assert not labels.trainable
    assert torch.allclose(labels.target(labels.of(0), CrossEntropy()), y, atol=1e-4)
    assert torch.equal(labels.decide(1), y.argmax(1))
    assert float(labels.counts.sum()) == pytest.approx(1, abs=1e-5)


def test_refuses_batches_and_two_classes():
    assert "of one example, but this update has 2" in read_labels("soft", observe([0, 1], relu_net())).why_not
    two = read_labels(SoftLabels(use_bias=False), observe([0], relu_net(2)))
    assert "every scale yields such a label" in two.why_not
    three = replace(observe([0], relu_net(3, bias=False)))
    assert read_labels(SoftLabels(form="smoothing"), three).labels.tolist() == [0]
    assert not read_labels(SoftLabels(form="mixup"), three).applies


def test_a_whole_attack_runs_with_soft_labels():
    y = label("mixup", 10, 1)
    whole = ATTACKS["inverting-gradients"]
    attack = replace(whole, labels=SoftLabels(), stages=(replace(whole.stages[0], steps=3),))
    found = attack(soft_update(y, relu_net()))
    assert found.labels.tolist() == y.argmax(1).tolist()
