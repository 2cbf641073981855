"""The self-check: what the real client did otherwise is named, one cause at a time, and nothing else is blamed."""

import doctest
from dataclasses import replace

import pytest
import torch
from torch import nn

import gradaudit as ga
from gradaudit.audit import self_check
from gradaudit.audit.closeness import ObservedTarget
from gradaudit.audit.suspects import CAUSES, Assumed
from gradaudit.audit.suspects.local_work import DROPOUT
from gradaudit.values.types import UpdateKind

HALF = (0.5, 0.5, 0.5)


def network(seed=0, dropout=0.0):
    """A smooth network with BatchNorm, whose running statistics are those of no batch, on 8 x 8 colour images."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.Sigmoid(), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(96, 8)).eval()
    model[1].running_mean.normal_(0, 0.3)
    model[1].running_var.uniform_(0.3, 1.5)
    return model


def private(seed=0, size=4):
    generator = torch.Generator().manual_seed(seed + 100)
    labels = torch.randperm(7, generator=generator)[:size]  # class 7 stays free, so that labels can be one larger
    return ga.Batch(torch.rand(size, 3, 8, 8, generator=generator), labels)


def one_step(seed=0):
    return ga.Client(network(seed), ga.FedSGD(), normalisation=ga.Normalisation(HALF, (0.25,) * 3))


def several(seed=0, **details):
    training = ga.FedAvg(**{"learning_rate": 0.1, "epochs": 2, "minibatch_size": 2, **details})
    return replace(one_step(seed), training=training)


def trained(client, **changes):
    return replace(client, training=replace(client.training, **changes))


def scaled(update, factor):
    return replace(update, tensors={name: factor * tensor for name, tensor in update.tensors.items()})


def frozen(client, *names):
    other = network()
    other.load_state_dict(client.model.state_dict())
    for name, parameter in other.named_parameters():
        parameter.requires_grad_(name not in names)
    return replace(client, model=other)


def summed(client, batch):
    return trained(client, loss=lambda z, y: nn.functional.cross_entropy(z, y, reduction="sum")).train(batch)


def relabelled(client, batch, labels):
    return client.train(replace(batch, labels=labels))


def with_zeros(client, batch):
    """The update of a client that froze its first layer and sends zeros for it."""
    whole, part = client.train(batch), frozen(client, "0.weight", "0.bias").train(batch)
    return replace(whole, tensors={k: part.tensors.get(k, torch.zeros_like(v)) for k, v in whole.tensors.items()})


def without(client, batch):
    update = client.train(batch)
    return replace(update, tensors={name: tensor for name, tensor in update.tensors.items() if name != "1.weight"})


def normalised(client, mean, std):
    return replace(client, normalisation=ga.Normalisation(mean, std))


# name of the cause, the client that is declared, and what the real one sends
PLANTED = {
    "sign": ("sign", one_step, lambda c, b: scaled(c.train(b), -1)),
    "batch-norm": ("batch-norm", one_step, lambda c, b: trained(c, batch_norm="train").train(b)),
    "batch-norm after steps": ("batch-norm", several, lambda c, b: trained(c, batch_norm="train").train(b)),
    "no normalisation": ("normalisation", one_step, lambda c, b: normalised(c, (0.0,) * 3, (1.0,) * 3).train(b)),
    "imagenet": (
        "normalisation",
        one_step,
        lambda c, b: normalised(c, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).train(b),
    ),
    "255": ("normalisation", one_step, lambda c, b: normalised(c, (0.0,) * 3, (1 / 255,) * 3).train(b)),
    "bgr": ("channel-order", one_step, lambda c, b: c.train(replace(b, inputs=b.inputs.flip(1)))),
    "labels": ("label-order", one_step, lambda c, b: relabelled(c, b, b.labels[[1, 2, 3, 0]])),
    "labels after steps": ("label-order", several, lambda c, b: relabelled(c, b, b.labels[[2, 0, 3, 1]])),
    "labels from 1": ("label-order", one_step, lambda c, b: relabelled(c, b, b.labels + 1)),
    "sum": ("loss-reduction", one_step, summed),
    "rate": ("learning-rate", one_step, lambda c, b: trained(c, learning_rate=0.03).train(b)),
    "rate after steps": ("learning-rate", several, lambda c, b: trained(c, learning_rate=0.37).train(b)),
    "epochs": ("local-steps", several, lambda c, b: trained(c, epochs=5).train(b)),
    "minibatches": ("local-steps", several, lambda c, b: trained(c, minibatch_size=1).train(b)),
    "steps": ("local-steps", one_step, lambda c, b: trained(c, learning_rate=0.5, epochs=6).train(b)),
    "frozen": ("frozen-tensors", one_step, with_zeros),
    "missing": ("frozen-tensors", several, without),
    "weight decay": ("weight-decay", several, lambda c, b: trained(c, weight_decay=0.02).train(b)),
    "momentum": ("optimiser", several, lambda c, b: trained(c, momentum=0.9).train(b)),
    "mean step": ("weight", several, lambda c, b: trained(c, update="gradient").train(b)),
}


CORE = ("sign", "batch-norm", "no normalisation", "labels", "sum", "rate", "frozen")
CASES = [(name, seed) for name in PLANTED for seed in range(3 if name in CORE else 1)]


@pytest.mark.parametrize(("planted", "seed"), CASES)
def test_a_planted_mismatch_is_named(planted, seed):
    cause, declare, send = PLANTED[planted]
    client, batch = declare(seed), private(seed)
    found = self_check(client, batch, send(client, batch), pairs=False)
    assert [one.name for one in found.causes] == [cause], found.sentences
    assert found.state == "explained"
    assert found.causes[0].gap.error < found.tolerance < found.declared.error


@pytest.mark.parametrize("declare", [one_step, several])
@pytest.mark.parametrize("seed", range(3))
def test_a_client_that_did_as_declared_has_no_cause(declare, seed):
    client, batch = declare(seed), private(seed)
    found = self_check(client, batch, client.train(batch))
    assert (found.state, found.causes, found.tried) == ("reproduced", (), ())
    assert found.declared.error < 1e-6


def test_another_batch_is_blamed_on_nothing():
    client = one_step()
    found = self_check(client, private(0), client.train(private(1)), pairs=False)
    assert (found.state, found.causes) == ("unexplained", ())
    assert {"sign", "batch-norm", "normalisation", "channel-order", "label-order"} <= {one.name for one in found.tried}
    assert len(found.tried) <= len(CAUSES)
    assert "Are these the true examples" in " ".join(found.sentences)


def test_two_mismatches_are_named_together_and_not_as_one():
    client, batch = one_step(), private()
    grey = normalised(client, (0.0,) * 3, (1.0,) * 3)
    for sent, both in (
        (scaled(trained(client, batch_norm="train").train(batch), -1), {"batch-norm", "sign"}),
        (trained(grey, learning_rate=0.03).train(batch), {"normalisation", "learning-rate"}),
    ):
        found = self_check(client, batch, sent)
        assert {one.name for one in found.causes} == both, found.sentences
        assert found.causes[1].gap.error < found.tolerance < found.causes[0].gap.error


def test_batch_norm_in_train_mode_takes_the_normalisation_out():
    """The first layer is followed by BatchNorm, so that no update of such a client depends on the constants."""
    client, batch = one_step(), private()
    found = self_check(client, batch, normalised(trained(client, batch_norm="train"), HALF, HALF).train(batch))
    assert [one.name for one in found.causes] == ["batch-norm"]


def test_dropout_is_recognised_by_the_spread_of_its_runs():
    client, batch = replace(one_step(), model=network(dropout=0.4)), private()
    active = trained(client, dropout=True)
    for seed in range(3):
        sent = active.train(batch, seed=77 + seed)
        found = DROPOUT.suspects(Assumed(client, batch, ObservedTarget.of(sent, client.model)))
        assert [one.assumed.gap.near for one in found] == [True]
    assert [one.name for one in self_check(client, batch, sent, pairs=False).causes] == ["dropout"]
    assert self_check(active, batch, sent).state == "reproduced"
    other = active.train(replace(batch, inputs=batch.inputs**4, labels=(batch.labels + 2) % 7))
    assert not Assumed(active, batch, ObservedTarget.of(other, client.model)).gap.near


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_rounding_to_half_precision_is_no_mismatch(stored):
    client, batch = one_step(), private()
    update = client.train(batch)
    rounded = replace(update, tensors={name: tensor.to(stored).float() for name, tensor in update.tensors.items()})
    assert self_check(client, batch, rounded).state == "reproduced"
    found = self_check(client, batch, scaled(rounded, -1), pairs=False)
    assert [one.name for one in found.causes] == ["sign"]


def test_a_difference_of_coarse_weights_is_undecided():
    client, batch = several(), private()
    sent = trained(client, learning_rate=1e-3).train(batch)
    weights = dict(client.model.named_parameters())
    after = {name: (weights[name] - tensor).detach().bfloat16().float() for name, tensor in sent.tensors.items()}
    coarse = replace(sent, tensors={name: (weights[name] - tensor).detach() for name, tensor in after.items()})
    assert ObservedTarget.of(coarse, client.model).blunt
    assert self_check(client, batch, coarse).state == "undecided"


def test_a_small_unexplained_difference_is_called_close():
    client, batch = one_step(), private()
    update, noise = client.train(batch), torch.Generator().manual_seed(0)
    off = {k: v + 0.01 * v.std() * torch.randn(v.shape, generator=noise) for k, v in update.tensors.items()}
    found = self_check(client, batch, replace(update, tensors=off), pairs=False)
    assert found.state == "close", found.sentences


def test_of_two_that_explain_it_the_closer_is_named():
    """At a low learning rate, twice as many steps and twice the rate are nearly the same."""
    client, batch = several(learning_rate=3e-4), private()
    client = replace(client, model=client.model.double())
    found = self_check(client, batch, trained(client, epochs=4).train(batch), pairs=False)
    near = [one.name for one in found.tried if one.gap.near]
    assert near[0] == found.causes[0].name == "local-steps"
    assert "learning-rate" in near


def test_the_fix_is_a_key_of_the_audit_file():
    client, batch = one_step(), private()
    found = self_check(client, batch, trained(client, learning_rate=0.03).train(batch))
    assert found.causes[0].fix == "set training: {kind: fedavg, learning_rate: 0.03}"
    found = self_check(client, batch, relabelled(client, batch, batch.labels.flip(0)))
    assert "example 1 has the label of example 4" in found.causes[0].sentence
    assert found.seconds > 0


def test_no_time_is_said():
    client, batch = one_step(), private()
    found = self_check(client, batch, client.train(private(1)), seconds=0)
    assert found.state == "unexplained"
    assert "no time to try: sign of the difference" in found.sentences[-1]


def test_an_empty_update_is_refused():
    client, batch = one_step(), private()
    with pytest.raises(ga.AuditError, match="zero in every value"):
        self_check(client, batch, scaled(client.train(batch), 0))


def test_the_check_changes_nothing():
    client, batch = one_step(), private()
    state = {name: tensor.clone() for name, tensor in client.model.state_dict().items()}
    before = torch.random.get_rng_state()
    self_check(client, batch, relabelled(client, batch, batch.labels.flip(0)), pairs=False)
    assert all(tensor.equal(state[name]) for name, tensor in client.model.state_dict().items())
    assert torch.random.get_rng_state().equal(before)
    assert [p.requires_grad for p in client.model.parameters()] == [True] * 6


def test_its_example_runs():
    found = doctest.DocTestFinder(recurse=False).find(self_check, "self_check", globs={"ga": ga, "torch": torch})
    assert doctest.DocTestRunner().run(found[0]).failed == 0


def test_kinds_agree():
    assert several().train(private()).kind is UpdateKind.WEIGHT_DIFFERENCE
