"""Defenses of the model, the batch and one layer: Soteria, PRECODE, MixUp, InstaHide, and DP-SGD in whole audits."""

import pickle
from dataclasses import replace

import pytest
import torch
import yaml
from torch import nn
from torch.func import functional_call, grad, vmap

import gradaudit as ga
from gradaudit.audit.judge import audit
from gradaudit.protocol.defenses._acting import changed_batch
from gradaudit.protocol.defenses.dp_sgd import DpSgd
from gradaudit.protocol.defenses.instahide import InstaHide
from gradaudit.protocol.defenses.mixup import MixUp
from gradaudit.protocol.defenses.precode import Precode, VariationalBottleneck
from gradaudit.protocol.defenses.soteria import Soteria
from gradaudit.protocol.local_training import penalised
from gradaudit.values.types import Modality
from test_captured import Federation

FAST = ga.attacks.INVERTING_GRADIENTS_FAST
SMOOTH = replace(FAST, stages=(replace(FAST.stages[2], steps=30, terms=()), replace(FAST.stages[3], steps=30)))
ALL = (DpSgd(0.1, 0.5), Soteria(0.5), Precode(k=8), MixUp(k=2), InstaHide(k=2))


def dense():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.Sigmoid(), nn.Linear(32, 16), nn.Sigmoid(), nn.Linear(16, 5)
    )


def convolutional():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(8 * 36, 5))


def private(count=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return ga.Batch(torch.rand(count, 1, 8, 8, generator=generator), torch.arange(count) % 5)


def error(attack, client, batch, *more):
    """The mean squared error of a reconstruction; a guess at mid-grey has about 0.08."""
    seen = client.share(batch, ["priors", "LABELS", *more])
    return float((attack(seen).inputs - batch.inputs).square().mean())


# Every defense.


@pytest.mark.parametrize("defense", ALL, ids=lambda defense: defense.name)
def test_it_changes_the_update_and_the_client_seeds_it(defense):
    client, batch = ga.Client(dense(), defenses=[defense]), private(4)
    plain = ga.Client(client.model).train(batch) if defense.name != "precode" else None
    seen, again = (client.share(batch, "priors", seed=1).update.values for _ in range(2))
    assert all(map(torch.equal, seen, again))
    assert client.protected(batch)[1] == ()
    assert plain is None or not all(map(torch.equal, seen, plain.values))
    if defense.name != "soteria":  # it draws nothing
        assert not all(map(torch.equal, seen, client.share(batch, "priors", seed=2).update.values))


@pytest.mark.parametrize("defense", ALL, ids=lambda defense: defense.name)
def test_secure_aggregation_sums_what_each_client_defends(defense):
    whole, batch = ga.SecureAggregation(dense(), defenses=[defense], sizes=(3, 2)), private(5)
    member = ga.Client(whole.model, defenses=[defense])
    assert member.model is whole.model  # a model that is changed already stays as it is
    found, idle = whole.protected(batch)
    parts = [member.protected(part, seed=own)[0] for part, own in whole._parts(batch, 0)]
    assert idle == ()
    for one, left, right in zip(found.values, *(part.values for part in parts), strict=True):
        torch.testing.assert_close(one, 0.6 * left + 0.4 * right)


@pytest.mark.parametrize("defense", ALL, ids=lambda defense: defense.name)
def test_an_audit_runs_without_and_with_the_knowledge(defense):
    short = replace(FAST, stages=(replace(FAST.stages[0], steps=1),))
    client = ga.Client(dense(), ga.FedAvg(learning_rate=0.1, epochs=2, minibatch_size=1), defenses=[defense])
    run = ga.run(client, private(2), short, ["priors", "LABELS", "DEFENSE", "LOCAL_TRAINING"])
    assert [finding.adaptive for finding in run.findings] == [False, True]
    assert all(not finding.cannot_judge and not finding.no_op_defenses for finding in run.findings)
    assert defense.name in run.findings[0].client
    other = pickle.loads(pickle.dumps(client))
    assert all(map(torch.equal, other.train(private(2)).values, client.train(private(2)).values))


@pytest.mark.parametrize("defense", [Soteria(0), Soteria(0.004), MixUp()], ids=repr)
def test_a_defense_without_effect_is_named(defense):
    assert ga.Client(dense(), defenses=[defense]).protected(private(1))[1] == (defense,)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Soteria(-0.1), lambda: Soteria(1.1), lambda: Precode(k=0), lambda: Precode(beta=-1), lambda: MixUp(k=1),
        lambda: MixUp(k=4, upper=0.25), lambda: MixUp(upper=1.1), lambda: InstaHide(k=1),
    ],
)  # fmt: skip
def test_refuses_strengths_out_of_range(make):
    with pytest.raises(ga.AuditError, match=r"must be .*Found"):
        make()


@pytest.mark.parametrize("defense", [Soteria(0.5), Precode()], ids=repr)
def test_refuses_a_model_without_the_layer(defense):
    net = nn.Sequential(nn.Conv2d(1, 5, 8), nn.Flatten())
    with pytest.raises(ga.AuditError, match=f"{defense.name}: Sequential has no Linear layer"):
        ga.Client(net, defenses=[defense])


@pytest.mark.parametrize("defense", [Soteria(0.5), MixUp(), InstaHide()], ids=repr)
def test_refuses_inputs_that_are_no_real_numbers(defense):
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.token_embedding, self.head = nn.Embedding(7, 4), nn.Linear(12, 5)

        def forward(self, tokens):
            return self.head(self.token_embedding(tokens).flatten(1))

    batch = ga.Batch(torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([0, 1]), Modality.TEXT)
    with pytest.raises(ga.AuditError, match=rf"{defense.name}: needs inputs of real numbers.*int64"):
        ga.Client(Reader(), defenses=[defense]).protected(batch)


# Soteria.


def test_the_columns_of_the_smallest_scores_are_zero():
    net, batch = dense(), private(3)
    before, after = (ga.Client(net, defenses=d).protected(batch)[0].tensors for d in ([], [Soteria(0.25)]))
    features = nn.Sequential(*list(net)[:-1])
    jacobian = torch.autograd.functional.jacobian(features, batch.inputs)  # [3, 16, 3, 1, 8, 8]
    own = torch.stack([jacobian[i, :, i].flatten(1).norm(dim=1) for i in range(3)])
    scores = (own / (features(batch.inputs).abs() + 1e-10)).sum(0)
    zero = (after["5.weight"] == 0).all(0)
    assert set(zero.nonzero().flatten().tolist()) == set(scores.topk(4, largest=False).indices.tolist())
    assert torch.equal(after["5.weight"][:, ~zero], before["5.weight"][:, ~zero])
    assert all(torch.equal(after[name], before[name]) for name in before if name != "5.weight")


@pytest.mark.parametrize("seed", range(3))
def test_an_adaptive_attack_sees_through_soteria(seed):
    client, batch = ga.Client(dense(), defenses=[Soteria(0.6)]), private(seed=seed)
    assert error(SMOOTH, client, batch) > 0.03
    assert error(ga.adaptive(SMOOTH), client, batch, "DEFENSE") < 0.003


# PRECODE.


def test_the_divergence_is_part_of_the_loss_to_second_order():
    torch.manual_seed(0)
    layer = VariationalBottleneck(6, 3, beta=0.7).double().eval()
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    direction = [torch.randn_like(p) for p in layer.parameters()]

    def explicit(x):
        mean, log_variance = layer.encoder(x).chunk(2, dim=-1)
        spread = torch.distributions.Normal(mean, (log_variance / 2).exp())
        unit = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
        divergence = torch.distributions.kl_divergence(spread, unit).sum(1).mean()
        return layer.decoder(mean).sin().mean() + 0.7 * divergence

    found = []
    for loss in (penalised(layer(x).sin().mean(), layer.modules()), explicit(x)):
        first = torch.autograd.grad(loss, [*layer.parameters(), x], create_graph=True)
        along = sum((g * d).sum() for g, d in zip(first, direction, strict=False))
        found.append((*first, *torch.autograd.grad(along, x)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
    near = 1e-6  # the same second derivative as a difference, as the directional step takes it
    moved = {n: p + near * d for (n, p), d in zip(layer.named_parameters(), direction, strict=True)}
    shifted = torch.autograd.grad(penalised(functional_call(layer, moved, (x,)).sin().mean(), layer.modules()), x)[0]
    torch.testing.assert_close((shifted - found[0][-2]) / near, found[0][-1], rtol=1e-3, atol=1e-6)


def test_the_gradients_of_the_examples_can_be_mapped():
    layer, inputs = VariationalBottleneck(6, 3, beta=0.7).eval(), torch.randn(4, 6)
    start = dict(layer.named_parameters())

    def loss(parameters, x):
        return penalised(functional_call(layer, parameters, (x[None],)).sin().mean(), layer.modules())

    mapped = vmap(grad(loss), (None, 0))(start, inputs)
    whole = torch.autograd.grad(penalised(layer(inputs).sin().mean(), layer.modules()), list(start.values()))
    for one, other in zip(mapped.values(), whole, strict=True):
        torch.testing.assert_close(one.mean(0), other)
    batch = private(3)
    both = ga.Client(dense(), defenses=[Precode(k=8), DpSgd(0.1, 0.0)]).train(batch)
    assert float(torch.cat([t.flatten() for t in both.values]).norm()) <= 0.1001


def test_the_bottleneck_is_inserted_once_and_the_same_at_server_and_client():
    net = dense()
    torch.manual_seed(3)
    one = Precode(k=8).change_model(net)
    torch.manual_seed(4)
    other = Precode(k=8).change_model(net)
    assert [name for name, _ in one.named_parameters()][-6:] == [
        f"5.{name}" for name in (*(f"0.{a}.{b}" for a in ("encoder", "decoder") for b in ("weight", "bias")),
                                 "1.weight", "1.bias")
    ]  # fmt: skip
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))
    assert Precode(k=8).change_model(one) is one
    assert isinstance(net[5], nn.Linear)


def test_the_client_alone_draws_random_numbers():
    client, batch = ga.Client(dense(), defenses=[Precode(k=8)], rounds=2), private()
    seen = client.share(batch, ["priors", "LABELS", "DEFENSE"])
    assert not torch.equal(seen.update.values[0], seen.rounds[0][0])
    assumed = seen.assumed_training
    first, second = (assumed(seen.model, batch.inputs, batch.labels) for _ in range(2))
    assert all(map(torch.equal, first, second))
    assert not torch.equal(first[0], seen.update.values[0])


@pytest.mark.parametrize("seed", range(3))
def test_an_adaptive_attack_sees_through_precode(seed):
    client, batch = ga.Client(convolutional(), defenses=[Precode(k=16)]), private(seed=seed)
    assert error(SMOOTH, client, batch) > 0.03
    assert error(ga.adaptive(SMOOTH), client, batch, "DEFENSE") < 0.003


def test_one_example_of_a_dense_network_is_a_quotient_under_precode():
    batch = private()
    sent = ga.Client(dense(), defenses=[Precode()]).share(batch, "priors").update.tensors
    unit = sent["1.bias"].abs().argmax()
    torch.testing.assert_close(sent["1.weight"][unit] / sent["1.bias"][unit], batch.inputs.flatten(), rtol=0, atol=1e-3)


# MixUp and InstaHide.


@pytest.mark.parametrize("defense", [MixUp(k=3, upper=0.5), InstaHide(k=3, upper=0.5)], ids=repr)
def test_a_mixture_is_a_weighted_mean_with_the_same_weights_for_all(defense):
    inputs, labels = torch.eye(6), torch.arange(6) % 4
    mixed, targets = changed_batch([defense], inputs, labels, 4, seed=0)
    weights = mixed.abs()  # of one-hot inputs the mixture shows the weights of its members
    assert bool(((weights > 0).sum(1) == 3).all())
    torch.testing.assert_close(weights.sum(1), torch.ones(6))
    assert float(weights.max()) <= 0.5
    assert len({tuple(sorted(round(float(w), 5) for w in row if w)) for row in weights}) == 1
    torch.testing.assert_close(targets, weights @ nn.functional.one_hot(labels, 4).float())
    assert bool((mixed < 0).any()) == isinstance(defense, InstaHide)
    other = changed_batch([defense], inputs, labels, 4, seed=1)[0]
    assert not torch.equal(mixed, other)


def test_a_bound_that_chance_hardly_meets_holds_too():
    weights = MixUp(k=5, upper=0.2001).weights(5)
    assert float(weights.max()) <= 0.2001 + 1e-6
    assert float(weights.sum()) == pytest.approx(1)


def test_one_example_gets_signs_and_no_mixture():
    inputs, labels = torch.rand(1, 1, 20, 20), torch.tensor([2])
    hidden, same = InstaHide().change_batch(inputs, labels, 4)
    assert same is labels
    assert torch.equal(hidden.abs(), inputs)
    assert 0.3 < float((hidden < 0).double().mean()) < 0.7
    with pytest.raises(ga.AuditError, match="mixup: needs one class for each example"):
        MixUp().change_batch(torch.rand(2, 1, 3, 3), torch.zeros(2, 3, 3, dtype=torch.int64), 4)


# Files.


@pytest.mark.parametrize(
    ("defense", "weights"),
    [(DpSgd(0.1, 0.5), "r0.pt"), (MixUp(), "r0.pt"), (Precode(k=4), "r0.pt"), (Precode(k=4), "changed.pt")],
    ids=["dp-sgd", "mixup", "precode", "precode-weights"],
)
def test_a_captured_update_with_a_declared_defense(defense, weights, tmp_path):
    site = Federation(tmp_path, "deeper", size=2)
    client = ga.Client(site.net, defenses=[defense])
    torch.save(client.model.state_dict(), tmp_path / "changed.pt")
    torch.save(dict(client.protected(site.batch)[0].tensors), tmp_path / "u.pt")
    entry = {"name": defense.name, **{key: value for key, value in vars(defense).items() if value is not None}}
    schedule = site.schedule(
        "u.pt",
        defenses=[entry],
        update={"before": weights, "kind": "gradient"},
        knowledge=["priors", "LABELS", "DEFENSE"],
        attacks=[{"name": "inverting-gradients", "set": {"stages.0.steps": 1}}],
    )
    findings = [audit(case).finding for case in schedule.cases()]
    assert [finding.adaptive for finding in findings] == [False, True]
    assert all(not finding.cannot_judge for finding in findings)
    assert list(schedule.client.sent.tensors) == list(client.train(site.batch).tensors)


def test_a_sweep_over_the_noise_of_an_audit_file(gradaudit, tmp_path):
    sweep = {
        "data": {"source": "photographs", "size": 8, "batch_size": 2},
        "model": {"name": "mlp", "num_classes": 10},
        "knowledge": ["priors", "LABELS"],
        "defenses": [{"name": "dp-sgd", "norm": 1.0, "noise_multiplier": 1.0}],
        "attacks": [{"name": "inverting-gradients", "set": {"stages.0.steps": 2}}],
        "device": "cpu",
        "grid": {"defenses.0.noise_multiplier": [0.0, 2.0]},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    code, _, err = gradaudit("sweep", "sweep.yaml", "--out", "run", "--executor", "serial")
    assert code == 0, err
    pages = [page.read_text(encoding="utf-8") for page in (tmp_path / "run").rglob("*.html")]
    assert any("noise_multiplier" in page for page in pages)
    assert any("no guarantee of differential privacy" in page for page in pages)
