"""The BatchNorm prior: its value, its three sources, and that it reaches the candidate by every route."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from conftest import make_batch, smooth_net
from gradaudit import Batch, Client, FedAvg, FedSGD, Knowledge, Level, Normalisation
from gradaudit.attacks import INVERTING_GRADIENTS
from gradaudit.inversion.parts.objectives import Euclidean
from gradaudit.inversion.parts.part import Progress, Term
from gradaudit.inversion.parts.priors import BatchNormStatistics
from gradaudit.inversion.run.restarts import Target
from gradaudit.inversion.step.matching import Matching
from gradaudit.values.errors import AttackFailed, MissingKnowledge

AT = Progress(0, 10)
FACTS = Level.BATCH_STATISTICS | Knowledge.LABELS
NORMALISATION = Normalisation((0.5,), (0.25,))
SOURCES = ("public", "client", "buffers")


def two_norms(train=False):
    """Two BatchNorm layers with statistics of their own, and a counter at 0."""
    torch.manual_seed(3)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3)]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(3 * 6 * 6, 10)).eval()
    for norm in (net[1], net[4]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return net


def share(training=None, size=3):
    batch = make_batch(size)
    client = Client(two_norms(), training or FedSGD(), normalisation=NORMALISATION)
    seen = client.share(batch, FACTS)
    return replace(seen, model=deepcopy(seen.model)), NORMALISATION.apply(batch.inputs)


def by_hand(net, x, targets, train=False, multipliers=(1.0, 1.0)):
    """Σ of norms, with features computed by functions and moments by their definition."""
    entering, total = nn.functional.conv2d(x, net[0].weight, net[0].bias, padding=1), 0.0
    for norm, (mean, variance), weight in zip((net[1], net[4]), targets, multipliers, strict=True):
        own = entering.sum((0, 2, 3)) / (entering.numel() // entering.shape[1])
        spread = ((entering - own.view(1, -1, 1, 1)) ** 2).sum((0, 2, 3)) / (entering.numel() // entering.shape[1])
        total = total + weight * (((own - mean) ** 2).sum().sqrt() + ((spread - variance) ** 2).sum().sqrt())
        if norm is net[1]:
            centre, scale = (own, spread) if train else (norm.running_mean, norm.running_var)
            after = (entering - centre.view(1, -1, 1, 1)) / (scale.view(1, -1, 1, 1) + norm.eps).sqrt()
            entering = nn.functional.conv2d(torch.relu(after), net[3].weight, net[3].bias)
    return total


def running(net):
    return [(norm.running_mean, norm.running_var) for norm in (net[1], net[4])]


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_value_and_slope_against_an_independent_computation(mode):
    seen, x = share(FedSGD(batch_norm=mode))
    x = (x + 0.3 * torch.randn_like(x)).requires_grad_()
    expected = by_hand(seen.model, x, running(seen.model), train=mode == "train")
    found = BatchNormStatistics().bind(seen)(x, AT)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    slopes = [torch.autograd.grad(value, x)[0] for value in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-6)


def test_multipliers_count_for_the_first_layers():
    seen, x = share()
    expected = [by_hand(seen.model, x, running(seen.model), multipliers=pair).item() for pair in ((1.3, 1), (1.3, 3))]
    for multipliers, value in zip(((1.3,), (1.3, 3.0)), expected, strict=True):
        bound = BatchNormStatistics(multipliers=multipliers).bind(replace(seen, model=deepcopy(seen.model)))
        assert bound(x, AT).item() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(
    ("source", "training"),
    [
        ("client", FedSGD()),
        ("client", FedSGD(batch_norm="train")),
        ("buffers", FedSGD(batch_norm="train", share_buffers=True)),
        ("buffers", FedAvg(learning_rate=0.1, batch_norm="train", share_buffers=True)),
    ],
)
def test_zero_at_the_truth_and_nowhere_else(source, training):
    for seed in range(3):
        seen, x = share(training, size=2 + seed)
        bound = BatchNormStatistics(source).bind(seen)
        assert bound(x, AT).item() < 1e-4
        assert bound(x.flip(0), AT).item() < 1e-4  # blind to the order
        assert bound(torch.randn_like(x), AT).item() > 0.3


@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
def test_buffers_are_read_as_torch_wrote_them(momentum):
    """Two training passes of torch alone: a layer without a momentum averages over all batches."""
    net = two_norms()
    for norm in (net[1], net[4]):
        norm.momentum = momentum
    for seed in range(2):
        x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        after = deepcopy(net).train()
        after(x)
        seen = Client(net, FedSGD(batch_norm="train")).share(make_batch(4), FACTS)
        seen = replace(seen, update=replace(seen.update, buffers=dict(after.named_buffers())))
        bound = BatchNormStatistics("buffers").bind(seen)
        assert bound(x, AT).item() < 1e-4
        entering = nn.functional.conv2d(x, net[0].weight, net[0].bias, padding=1).transpose(0, 1).flatten(1)
        torch.testing.assert_close(bound.layers[0].mean, entering.mean(1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(bound.layers[0].variance, entering.var(1, unbiased=True), rtol=1e-4, atol=1e-5)
        net.load_state_dict(after.state_dict())


def test_buffers_after_several_steps_are_a_mean_that_weighs_the_last_ones_most():
    training = FedAvg(learning_rate=1e-6, minibatch_size=1, batch_norm="train", share_buffers=True)
    seen, x = share(training, size=3)
    bound = BatchNormStatistics("buffers").bind(seen)
    entering = nn.functional.conv2d(x, seen.model[0].weight, seen.model[0].bias, padding=1)
    weights = torch.tensor([0.81, 0.9, 1.0]) * 0.1 / (1 - 0.9**3)
    expected = (entering.mean((2, 3)) * weights.unsqueeze(1)).sum(0)
    torch.testing.assert_close(bound.layers[0].mean, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("step", ["exact", "directional"])
@pytest.mark.parametrize("source", SOURCES)
def test_the_slope_reaches_the_candidate_in_the_pass_of_the_step(source, step, checkpoint):
    """With the prior, minus without it, is the prior's own slope; no further pass through the model is made."""
    seen, truth = share(FedSGD(batch_norm="train", share_buffers=True))
    attack = replace(INVERTING_GRADIENTS, objective=Euclidean(), step=step, checkpoint=checkpoint)
    target = Target(attack, seen)
    prior, x = BatchNormStatistics(source), torch.randn_like(truth)
    term, passes = Term(prior, weight=2.0), []
    bound = prior.bind(target.seen)
    target.seen.model.register_forward_pre_hook(lambda *_: passes.append(1))
    plain, both = (target.matching.slope(x, seen.labels, terms, AT).inputs for terms in ((), [(term, bound)]))
    assert len(passes) == 2
    leaf = x.clone().requires_grad_()
    alone = prior.bind(replace(seen, model=deepcopy(seen.model)))(leaf, AT)
    expected = 2 * torch.autograd.grad(alone, leaf)[0]
    torch.testing.assert_close(both - plain, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


@pytest.mark.parametrize("training", [FedAvg(learning_rate=0.1, epochs=2, minibatch_size=2), FedAvg(learning_rate=0.1)])
def test_with_local_steps_the_pass_is_at_the_parameters_as_sent(training):
    seen, truth = share(training)
    prior, x = BatchNormStatistics("client"), torch.randn_like(truth)
    matching = Matching(seen, Euclidean())
    plain = matching.slope(x, seen.labels, (), AT).inputs
    both = matching.slope(x, seen.labels, [(Term(prior, weight=1.0), prior.bind(seen))], AT).inputs
    targets = [seen.batch_statistics[name] for name in ("1", "4")]
    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad(by_hand(two_norms(), leaf, targets), leaf)[0]
    torch.testing.assert_close(both - plain, expected, rtol=1e-3, atol=1e-4)


def test_a_score_between_the_steps_disturbs_nothing():
    seen, truth = share()
    bound, matching = BatchNormStatistics().bind(seen), Matching(seen, Euclidean())
    x = torch.randn_like(truth)
    first = bound(x, AT)
    matching.value(x + 1, seen.labels, AT)
    assert bound(x, AT) == first
    assert not bound.entered


def test_without_batch_norm_it_is_nothing():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    plain = Client(net, FedSGD(batch_norm="train", share_buffers=True))
    untrained = Client(nn.Sequential(nn.BatchNorm2d(1), *net))
    silent = Client(nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), *net))
    for source, client in (*((source, plain) for source in SOURCES), ("public", silent), ("public", untrained)):
        seen = client.share(make_batch(2), FACTS)
        x = torch.rand(2, 1, 8, 8, requires_grad=True)
        value = BatchNormStatistics(source).bind(seen)(x, AT)
        assert value.item() == 0
        assert not torch.autograd.grad(value, x)[0].any()


def test_it_refuses_what_is_not_there():
    seen, _ = share(FedSGD(batch_norm="train"))
    with pytest.raises(AttackFailed, match=r"no buffers were sent with the update. Set share_buffers"):
        BatchNormStatistics("buffers").bind(seen)
    still, _ = share(FedSGD(share_buffers=True))
    with pytest.raises(AttackFailed, match="the running statistics did not change"):
        BatchNormStatistics("buffers").bind(still)
    with pytest.raises(AttackFailed, match="contains no batch statistics"):
        BatchNormStatistics("client").bind(replace(seen, batch_statistics={}))
    with pytest.raises(AttackFailed, match=r"source: should be 'public', 'client' or 'buffers'\. Found 'mine'"):
        BatchNormStatistics("mine")
    with pytest.raises(AttackFailed, match="must be bound"):
        BatchNormStatistics()(torch.rand(1, 1, 8, 8), AT)


def test_what_it_needs_follows_its_source():
    assert BatchNormStatistics("client").needs == Knowledge.BATCH_STATISTICS
    assert BatchNormStatistics("public").needs == BatchNormStatistics("buffers").needs == Knowledge.NOTHING
    stage = INVERTING_GRADIENTS.stages[0]
    stage = replace(stage, steps=2, terms=(Term(BatchNormStatistics("client"), weight=1.0),))
    attack = replace(INVERTING_GRADIENTS, stages=(stage,))
    assert Knowledge.BATCH_STATISTICS in attack.needs
    seen = Client(smooth_net()).share(make_batch(2), Level.BASIC | Knowledge.LABELS)
    with pytest.raises(MissingKnowledge, match="needs BATCH_STATISTICS"):
        attack(seen)


def test_a_layer_that_has_seen_data_in_either_statistic_counts():
    """Only a layer that still holds both initial values, 0 and 1, is left out."""
    inputs = torch.rand(2, 1, 8, 8)
    for mean, variance, counts in ((0.0, 1.0, False), (0.1, 1.0, True), (0.0, 1.5, True)):
        model = smooth_net()
        model[1].running_mean.fill_(mean)
        model[1].running_var.fill_(variance)
        seen = Client(model).share(Batch(inputs, torch.tensor([0, 1])), Level.BASIC)
        assert bool(BatchNormStatistics().bind(seen)(inputs, Progress(0, 1)) > 0) is counts
