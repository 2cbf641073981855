from copy import deepcopy

import pytest
import torch
from torch import nn

from conftest import make_batch, smooth_net
from gradaudit import Batch, Client, FedAvg, FedSGD, Knowledge, Level, Normalisation
from gradaudit.client.checking import _alike
from gradaudit.protocol.defenses import Clip, DpSgd, GaussianNoise, Precode, TopK
from gradaudit.values.errors import AuditError
from gradaudit.values.types import Update

EVERYTHING = ~Knowledge.NOTHING


def test_the_update_is_the_gradient_on_normalised_pictures(client, batch):
    seen = client.share(batch, Level.PRIORS)
    loss = nn.functional.cross_entropy(client.model((batch.inputs - 0.5) / 0.25), batch.labels)
    for found, wanted in zip(seen.update.values, torch.autograd.grad(loss, client.model.parameters()), strict=True):
        torch.testing.assert_close(found, wanted)
    assert list(seen.update.tensors) == [name for name, _ in client.model.named_parameters()]


@pytest.mark.parametrize(
    ("flag", "fact"),
    [
        (Knowledge.BATCH_SIZE, "batch_size"),
        (Knowledge.LABELS, "labels"),
        (Knowledge.DEFENSE, "defenses"),
        (Knowledge.BATCH_STATISTICS, "batch_statistics"),
    ],
)
def test_a_fact_is_none_unless_granted(client, batch, flag, fact):
    assert getattr(client.share(batch, Knowledge.NOTHING), fact) is None
    assert getattr(client.share(batch, EVERYTHING & ~flag), fact) is None
    assert getattr(client.share(batch, flag), fact) is not None


def test_several_local_steps_are_secret_and_one_is_public(batch):
    several = Client(smooth_net(), FedAvg(learning_rate=0.1, epochs=2))
    assert several.share(batch, Level.PRIORS).training is None
    assert several.share(batch, Level.TRAINING_DETAILS).training == several.training
    assert Client(smooth_net()).share(batch, Knowledge.NOTHING).training == FedSGD()


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_batch_norm_mode_is_stated_and_matters(batch, mode):
    model = smooth_net()
    seen = Client(model, FedSGD(batch_norm=mode)).share(batch, Knowledge.NOTHING)
    other = Client(model, FedSGD(batch_norm="eval" if mode == "train" else "train")).share(batch, Knowledge.NOTHING)
    assert seen.batch_norm == mode
    assert not torch.allclose(seen.update.values[0], other.update.values[0])


def test_nothing_but_what_is_granted_leaves(client, batch):
    seen = client.share(batch, Knowledge.NOTHING)
    assert seen.update.examples is None
    assert seen.update.buffers is None
    held = [value for value in vars(seen).values() if isinstance(value, torch.Tensor)]
    assert not held


def test_batch_statistics_are_those_of_the_batch(client, batch):
    statistics = client.share(batch, Knowledge.BATCH_STATISTICS).batch_statistics
    entering = client.model[0](client.normalisation.apply(batch.inputs))
    mean, variance = statistics["1"]
    torch.testing.assert_close(mean, entering.mean((0, 2, 3)))
    torch.testing.assert_close(variance, entering.var((0, 2, 3), unbiased=False))


def test_the_observation_holds_a_copy_of_the_model(client, batch):
    before = deepcopy(client.model.state_dict())
    seen = client.share(batch, EVERYTHING)
    for parameter in seen.model.parameters():
        parameter.data.zero_()
    assert all(torch.equal(value, before[name]) for name, value in client.model.state_dict().items())
    assert not any(m._forward_pre_hooks for m in client.model.modules())


def test_noise_depends_on_the_seed_and_leaves_the_global_state_alone(batch):
    client = Client(smooth_net(), defenses=[GaussianNoise(0.1)])
    state = torch.get_rng_state()
    first, again, other = (client.share(batch, Level.PRIORS, seed=seed).update.values[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


def test_idle_defenses_are_named(batch):
    client = Client(smooth_net(), defenses=[Clip(1e6), GaussianNoise(0.1)])
    assert client.protected(batch)[1] == (Clip(1e6),)


def test_of_two_equal_defenses_none_is_idle_if_one_acts(batch):
    shared = Client(smooth_net(), defenses=[TopK(0.1), TopK(0.1)]).prepare(batch)
    assert shared.idle == ()
    assert [effect.no_op for effect in shared.log.effects(shared.client.defenses)] == [False, True, False]
    assert Client(smooth_net(), defenses=[Clip(1e6), Clip(1e6)]).protected(batch)[1] == (Clip(1e6),)
    private = DpSgd(1e6, 0.0, replace_batch_norm=True)
    assert Client(smooth_net(), defenses=[private, private]).protected(batch)[1] == (private,)


def test_a_defense_of_the_model_is_named_once():
    with pytest.raises(AuditError, match="defenses: precode changes the model and is named twice"):
        Client(smooth_net(), defenses=[Precode(k=4), Precode(k=8)])


def test_defenses_act_in_their_order(batch):
    client = Client(smooth_net(), defenses=[GaussianNoise(1.0), Clip(0.5)])
    seen = client.share(batch, Level.PRIORS)
    assert torch.stack([t.norm() for t in seen.update.values]).norm() == pytest.approx(0.5, rel=1e-5)


class WrongShape(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 3, 3)

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize(
    ("model", "batch", "message"),
    [
        (WrongShape(), make_batch(), "must return logits"),
        (smooth_net(channels=3), make_batch(), "cannot take inputs"),
        (smooth_net(classes=3), Batch(make_batch().inputs, torch.tensor([1, 7])), "must be in 0...2.*Found 7"),
        (smooth_net(), Batch(make_batch().inputs, torch.tensor([1, -1])), "Found -1"),
        (smooth_net(), Batch(make_batch().inputs * 255, make_batch().labels), "in \\[0, 1\\]"),
        (smooth_net(), Batch(make_batch().inputs * torch.nan, make_batch().labels), "finite"),
        (smooth_net(), Batch(make_batch().inputs[0], make_batch().labels), "needs images"),
    ],
)
def test_refuses_a_batch_that_does_not_fit(model, batch, message):
    with pytest.raises(AuditError, match=message):
        Client(model).share(batch, Level.PRIORS)


def test_nan_in_the_update_is_named(client, batch):
    client.model[4].weight.data[0, 0] = torch.nan
    with pytest.raises(AuditError, match=r"update: .* hold NaN or infinity, first 0.weight"):
        client.share(batch, Level.PRIORS)


def test_train_mode_batch_norm_needs_more_than_one_value():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    with pytest.raises(AuditError, match="cannot train on a batch"):
        Client(net, FedSGD(batch_norm="train")).share(make_batch(1, side=2, classes=2), Level.PRIORS)


def test_normalisation_round_trip():
    normalisation = Normalisation((0.1, 0.2), (0.3, 0.4))
    pictures = torch.rand(3, 2, 4, 4)
    torch.testing.assert_close(normalisation.invert(normalisation.apply(pictures)), pictures)
    low, high = normalisation.box(pictures)
    torch.testing.assert_close(low.flatten(), torch.tensor([-1 / 3, -0.5]))
    torch.testing.assert_close(high.flatten(), torch.tensor([3.0, 2.0]))


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        ([], "holds no values"),
        ([torch.empty(0), torch.empty(2, 0)], "holds no values"),
        ([torch.zeros(2), torch.zeros(3, 2)], "is zero in every value"),
        ([torch.empty(0), torch.full((2,), 3.0), torch.full((3, 2), -1.0)], "every tensor of the update is constant"),
        ([torch.zeros(2), torch.tensor([1.0, 1.0, 1.001])], ""),
        ([torch.tensor([0.0, 1.0]), torch.ones(3)], ""),
    ],
)
def test_why_nothing_can_be_read_off_an_update(tensors, why):
    found = Update(dict(zip("abc", tensors, strict=False))).emptiness
    assert why in found
    assert bool(found) is bool(why)


@pytest.mark.parametrize("wrong", [-1, 10, 99])
def test_the_label_that_does_not_fit_is_named(client, wrong):
    batch = make_batch(3)
    labels = batch.labels.clone()
    labels[1] = wrong
    with pytest.raises(AuditError, match=rf"labels: must be in 0...9, .*Found {wrong};"):
        client.train(Batch(batch.inputs, labels))


def test_two_passes_may_differ_by_rounding_alone():
    logits = torch.tensor([[1000.0, 0.0], [3.0, -2.0]])
    assert _alike(logits, logits + 0.5)
    assert not _alike(logits, logits + 5)
    assert not _alike(logits, logits[:1])
    assert not _alike(logits, torch.cat([logits, logits]))
    broken = torch.tensor([[torch.nan, 1.0]])
    assert _alike(broken, broken)
    assert not _alike(broken, broken + 0.1)


def test_the_defense_is_told_where_it_is_granted():
    defended = Client(smooth_net(), defenses=[Clip(1.0)])
    for facts, told in ((Level.BASIC, None), (Level.BASIC | Knowledge.DEFENSE, (Clip(1.0),))):
        assert defended.share(make_batch(2), facts).defenses == told
    oracle = defended.share(make_batch(2), Level.BASIC | Knowledge.IMAGE_STATISTICS)
    assert oracle.image_statistics is not None
    assert defended.share(make_batch(2), Level.BASIC).image_statistics is None


class Rolls(nn.Module):
    """The first logit lies at `large`; the others change by up to `step` from pass to pass."""

    def __init__(self, large, step):
        super().__init__()
        self.layer, self.large, self.step, self.sign = nn.Linear(64, 3), large, step, 1

    def forward(self, x):
        self.sign *= -1
        return 1e-6 * self.layer(x.flatten(1)) + torch.tensor([self.large, self.sign * self.step, 0.0])


@pytest.mark.parametrize(("large", "step"), [(1e4, 1.0), (1.0, 1e-4), (1e-3, 1e-7)])
def test_rounding_is_told_by_the_largest_logit(large, step):
    """A difference of a ten-thousandth of the largest logit is rounding, of a tenth it is dice, at any scale."""
    batch = make_batch(classes=3)
    assert Client(Rolls(large, step)).train(batch).values
    with pytest.raises(AuditError, match="two passes over the same batch"):
        Client(Rolls(large, 1e3 * step)).train(batch)


def test_a_logit_that_is_nan_is_no_dice():
    """Rounding from pass to pass beside NaN: the update is named as what cannot be used, not the model's chance."""
    with pytest.raises(AuditError, match=r"update: .* hold NaN or infinity"):
        Client(Rolls(torch.nan, 1e-11)).train(make_batch(classes=3))


def test_the_label_that_does_not_fit_is_the_one_that_is_named():
    with pytest.raises(AuditError, match=r"must be in 0\.\.\.2.*Found 7"):
        Client(smooth_net(classes=3)).train(Batch(make_batch().inputs, torch.tensor([0, 7])))


def test_noise_is_that_of_seed_0_where_none_is_given(batch):
    client = Client(smooth_net(), defenses=[GaussianNoise(0.1)])
    assert torch.equal(client.protected(batch)[0].values[0], client.protected(batch, seed=0)[0].values[0])
    seen = [client.share(batch, Level.PRIORS, **options).update.values[0] for options in ({}, {"seed": 0})]
    assert torch.equal(*seen)
