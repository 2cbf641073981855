"""DP-SGD: the gradient of every example is clipped at every local step, and nobody else can draw the noise."""

import math
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import gradaudit as ga
from gradaudit.audit.doubts import remarks
from gradaudit.client.participant import own_seed
from gradaudit.protocol.defenses import RoundWork, describe
from gradaudit.protocol.defenses.dp_sgd import BatchNormReplacement, DpSgd
from gradaudit.values.chance import child_seed

NORM = 0.1


def network(*first, width=6):
    torch.manual_seed(0)
    return nn.Sequential(*first, nn.Flatten(), nn.Linear(16, width), nn.Sigmoid(), nn.Linear(width, 5))


def private(count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, 4, 4, generator=generator) * torch.linspace(1, 0.1, count).view(-1, 1, 1, 1)
    return ga.Batch(images, torch.arange(count) % 5)


def by_hand(net, inputs, labels, norm=NORM):
    """The sum of the gradients of the examples, each clipped to the norm, by a loop."""
    total = [torch.zeros_like(p) for p in net.parameters()]
    lengths = []
    for x, y in zip(inputs.split(1), labels.split(1), strict=True):
        found = torch.autograd.grad(nn.functional.cross_entropy(net(x), y), list(net.parameters()))
        lengths.append(math.sqrt(sum(float(g.square().sum()) for g in found)))
        for one, g in zip(total, found, strict=True):
            one += g * min(1, norm / lengths[-1])
    return total, lengths


def close(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_every_example_is_clipped_not_the_batch():
    net, batch = network(), private()
    _, lengths = by_hand(net, batch.inputs, batch.labels)
    norm = sum(sorted(lengths)[1:3]) / 2  # two examples are clipped, two are not
    total, _ = by_hand(net, batch.inputs, batch.labels, norm)
    found = ga.Client(net, defenses=[DpSgd(norm, 0.0)]).train(batch).values
    close(found, [g / 4 for g in total])
    whole = ga.Client(net, defenses=[ga.defenses.Clip(norm)]).protected(batch)[0].values
    assert max(float((one - other).abs().max()) for one, other in zip(found, whole, strict=True)) > 1e-3
    bound = sum(float(g.square().sum()) for g in ga.Client(net, defenses=[DpSgd(NORM, 0.0)]).train(batch).values)
    assert math.sqrt(bound) <= NORM * 1.0001


def test_federated_averaging_clips_at_every_step():
    net, batch = network(), private()
    training = ga.FedAvg(learning_rate=0.5, epochs=3, minibatch_size=2)
    found = ga.Client(net, training, defenses=[DpSgd(NORM, 0.0)]).train(batch).values
    moving = network()
    for _ in range(3):
        for x, y in zip(batch.inputs.split(2), batch.labels.split(2), strict=True):
            total, _ = by_hand(moving, x, y)
            with torch.no_grad():
                for p, g in zip(moving.parameters(), total, strict=True):
                    p -= 0.5 * g / 2
    close(found, [p - q for p, q in zip(net.parameters(), moving.parameters(), strict=True)])


def test_a_model_that_cannot_be_mapped_gives_the_same():
    class Asks(nn.Module):
        def forward(self, x):
            return x if float(x.sum()) > -1 else x + 1  # a decision on a value, which vmap refuses

    batch = private()
    mapped, looped = (ga.Client(net, defenses=[DpSgd(NORM, 0.0)]).train(batch) for net in (network(), network(Asks())))
    close(mapped.values, looped.values)


def test_the_clipped_sum_and_the_noise_are_those_of_opacus():
    pytest.importorskip("opacus")
    from opacus import PrivacyEngine

    net, batch, results = network(width=400), private(), {}
    for multiplier in (0.0, 2.0):
        theirs = network(width=400)
        loader = DataLoader(TensorDataset(batch.inputs, batch.labels), batch_size=4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hooks, optimiser, _ = PrivacyEngine().make_private(
                module=theirs,
                optimizer=torch.optim.SGD(theirs.parameters(), lr=1.0),
                data_loader=loader,
                noise_multiplier=multiplier,
                max_grad_norm=NORM,
                poisson_sampling=False,
                wrap_model=False,
            )
            nn.functional.cross_entropy(theirs(batch.inputs), batch.labels).backward()
            optimiser.pre_step()
        found = ga.Client(net, defenses=[DpSgd(NORM, multiplier)]).train(batch).values
        results[multiplier] = found, [p.grad for p in theirs.parameters()]
        hooks.cleanup()
    for one, other in zip(*results[0.0], strict=True):
        torch.testing.assert_close(one, other, rtol=2e-4, atol=1e-7)  # Opacus adds 1e-6 to each norm
    ours, theirs = (
        torch.cat([(noisy - clean).flatten() for noisy, clean in zip(results[2.0][i], results[0.0][i], strict=True)])
        for i in (0, 1)
    )
    assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.1)
    assert float(ours.std()) == pytest.approx(2.0 * NORM / 4, rel=0.1)


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_epsilon_is_that_of_opacus(accountant):
    accountants = pytest.importorskip("opacus.accountants")
    account = accountants.create_accountant(accountant)
    for _ in range(6):
        account.step(noise_multiplier=1.1, sample_rate=0.05)
    defense = DpSgd(1.0, 1.1, dataset_size=80, accountant=accountant)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = account.get_epsilon(delta=1e-5)
    assert defense.account(4).epsilon(6) == pytest.approx(expected, rel=1e-9)


def test_the_report_states_epsilon_of_one_round_and_of_all():
    pytest.importorskip("opacus")
    training = ga.FedAvg(learning_rate=0.1, epochs=2, minibatch_size=2)
    client = ga.Client(network(), training, defenses=[DpSgd(1.0, 1.0, sample_rate=0.1, rounds=50)])
    (said,) = remarks(client, 4)
    account = client.defenses[0].account()
    assert f"epsilon {account.epsilon(4):.4g} in this round of 4 steps and {account.epsilon(200):.4g} in 50" in said
    assert "delta 1e-05" in said
    assert "no guarantee" in DpSgd(1.0, 0.0).remarks(RoundWork(client.model, 1, 4))[0]
    assert DpSgd(1.0, 0.0).account().epsilon(1) == math.inf
    assert "no amplification" in DpSgd(1.0, 1.0).remarks(RoundWork(client.model, 1, 4))[0]


def test_without_opacus_the_report_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("gradaudit.protocol.defenses._privacy_account.find_spec", lambda name: None)
    with pytest.raises(ga.AuditError, match=r"pip install 'gradaudit\[dp\]'"):
        DpSgd(1.0, 1.0).account().epsilon(1)
    assert "gradaudit[dp]" in DpSgd(1.0, 1.0).remarks(RoundWork(network(), 1, 4))[0]


def test_the_noise_has_the_stated_deviation_and_the_client_seeds_it():
    batch = private()
    shared = ga.Client(network(width=400), defenses=[DpSgd(NORM, 3.0, expected_batch_size=8)])
    clean = ga.Client(network(width=400), defenses=[DpSgd(NORM, 0.0, expected_batch_size=8)]).train(batch)
    seen, again, other = (shared.share(batch, "priors", seed=seed).update.values for seed in (1, 1, 2))
    noise = torch.cat([(one - two).flatten() for one, two in zip(seen, clean.values, strict=True)])
    assert float(noise.std()) == pytest.approx(3.0 * NORM / 8, rel=0.1)
    assert all(map(torch.equal, seen, again))
    assert not torch.equal(seen[0], other[0])


def test_a_defense_without_effect_is_named():
    batch, idle = private(), DpSgd(1e6, 0.0)
    assert ga.Client(network(), defenses=[idle]).protected(batch)[1] == (idle,)
    steps = ga.FedAvg(learning_rate=0.1, epochs=2, minibatch_size=2)
    assert ga.Client(network(), steps, defenses=[idle]).protected(batch)[1] == (idle,)
    for active in (DpSgd(NORM, 0.0), DpSgd(1e6, 1e-9), DpSgd(1e6, 0.0, expected_batch_size=9)):
        assert ga.Client(network(), defenses=[active]).protected(batch)[1] == ()


def test_nobody_else_can_draw_the_noise():
    """An attack knows its own seed, maybe that of the run, and the defense; the client's seed needs the batch."""
    net, batch, seed, defense = network(), private(), 7, DpSgd(NORM, 5.0)
    seen = ga.Client(net, defenses=[defense]).share(batch, ["priors", "LABELS", "BATCH_SIZE", "DEFENSE"], seed=seed)
    clean = ga.Client(net, defenses=[DpSgd(NORM, 0.0)]).train(batch).values

    def left(guess):
        """What is left of the noise after the noise of a guessed seed is subtracted, relative to before."""
        with torch.random.fork_rng():
            torch.manual_seed(guess)
            drawn = [defense.noise_multiplier * defense.norm * torch.randn_like(g) / len(batch) for g in clean]
        noise = [one - two for one, two in zip(seen.update.values, clean, strict=True)]
        gap = sum(float((n - d).square().sum()) for n, d in zip(noise, drawn, strict=True))
        return gap / sum(float(n.square().sum()) for n in noise)

    assert left(own_seed("training", seed, batch)) < 1e-6  # this is how the client draws it
    roots = [seed, child_seed(seed, "the attack"), child_seed(seed, "the run"), 0, 1]
    purposes = ["the client's training", "the client's defenses", "the client's batch", "the attack", describe(defense)]
    guessed = [*roots, *(child_seed(root, purpose) for root in roots for purpose in purposes)]
    known = (seen.labels, torch.zeros_like(batch.inputs), repr(defense), describe(defense))
    guessed += [child_seed(root, purpose, fact) for root in roots for purpose in purposes for fact in known]
    guessed += [child_seed(seed, "the client's training", torch.zeros_like(batch.inputs), seen.labels)]
    assert min(map(left, guessed)) > 1


def test_batch_norm_is_refused_or_replaced():
    net, batch = network(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.Conv2d(1, 6, 1), nn.BatchNorm2d(6)), private()
    net[-3] = nn.Linear(96, 6)
    net.double()
    for mode in ("eval", "train"):
        with pytest.raises(ga.AuditError, match=r"layer 1 is BatchNorm2d.*GroupNorm.*replace_batch_norm: true"):
            ga.Client(net, ga.FedSGD(batch_norm=mode), defenses=[DpSgd(1.0, 1.0)])
    client = ga.Client(net, defenses=[DpSgd(NORM, 0.0, replace_batch_norm=True)])
    replaced = [layer for layer in client.model.modules() if isinstance(layer, BatchNormReplacement)]
    assert [layer.num_groups for layer in replaced] == [1, 2]  # gcd(32, channels)
    assert isinstance(net[1], nn.BatchNorm2d)  # the given model is not changed
    close(client.train(batch).values, [g / 4 for g in by_hand(client.model, batch.inputs.double(), batch.labels)[0]])
    assert "replaced 2 BatchNorm layers" in remarks(client, 4)[0]
    assert ga.Client(client.model, defenses=client.defenses).model is client.model  # nothing is left to replace


@pytest.mark.parametrize(
    "fields",
    [
        {"norm": 0}, {"norm": math.inf}, {"noise_multiplier": -1}, {"delta": 0}, {"delta": 1}, {"sample_rate": 0},
        {"sample_rate": 1.1}, {"dataset_size": 0}, {"sample_rate": 0.1, "dataset_size": 9}, {"expected_batch_size": 0},
        {"accountant": "gdp"}, {"rounds": 0},
    ],
)  # fmt: skip
def test_refuses_parameters_out_of_range(fields):
    with pytest.raises(ga.AuditError, match=f"dp-sgd: .*{next(iter(fields))}.* Found"):
        DpSgd(**{"norm": 1.0, "noise_multiplier": 1.0, **fields})


def test_the_likelihood_is_highest_at_the_truth_and_has_a_slope_everywhere():
    net, batch, defense = network(), private(1), DpSgd(NORM, 0.01)
    observed = ga.Client(net, defenses=[defense]).train(batch).values
    truth = ga.Client(net).train(batch).values
    other = ga.Client(net).train(private(1, seed=5)).values
    away = tuple(-t.clone().requires_grad_() for t in truth)
    best, worse, zero = (
        float(defense.log_likelihood(observed, tensors)) for tensors in (truth, other, [0 * t for t in truth])
    )
    assert best > worse > zero - 1e-6
    assert best <= 0
    value = defense.mismatch(away, observed, None)
    assert float(value.detach()) > 1
    assert any(bool(slope.any()) for slope in torch.autograd.grad(value, away))


def test_several_rounds_tell_the_noise_and_average_it():
    net, batch = network(width=100), private(1)
    seen = ga.Client(net, defenses=[DpSgd(NORM, 0.5)], rounds=9).share(batch, "priors")
    rounds = (seen.update.values, *seen.rounds)
    clean = ga.Client(net, defenses=[DpSgd(NORM, 0.0)]).train(batch).values
    found = DpSgd.estimated(rounds)
    assert found.noise_multiplier * found.norm == pytest.approx(0.5 * NORM, rel=0.1)
    gaps = [
        sum(float((one - two).square().sum()) for one, two in zip(tensors, clean, strict=True))
        for tensors in (rounds[0], found.joined(rounds))
    ]
    assert gaps[1] < gaps[0] / 6
    for few in (rounds[:1], (rounds[0], rounds[0])):
        with pytest.raises(ga.AttackFailed, match="dp-sgd"):
            DpSgd.estimated(few)


def test_the_clients_of_a_sum_draw_noise_of_their_own():
    one = private(1)
    twice = ga.Batch(one.inputs.repeat(2, 1, 1, 1), one.labels.repeat(2))  # two clients with the same example
    noisy, plain = (
        ga.SecureAggregation(network(width=400), defenses=[DpSgd(NORM, m)], sizes=(1, 1)).share(twice, "priors")
        for m in (1.0, 0.0)
    )
    pairs = zip(noisy.update.values, plain.update.values, strict=True)
    noise = torch.cat([(left - right).flatten() for left, right in pairs])
    assert float(noise.std()) == pytest.approx(NORM / math.sqrt(2), rel=0.1)  # equal noise would not average


def test_a_client_can_be_sent_to_another_process():
    net = network(nn.BatchNorm2d(1))
    client = ga.Client(net, defenses=[DpSgd(NORM, 1.0, replace_batch_norm=True)])
    other = pickle.loads(pickle.dumps(client))
    batch = private()
    assert all(map(torch.equal, client.protected(batch)[0].values, other.protected(batch)[0].values))
