"""The weighted sum over clients."""

from dataclasses import replace

import pytest
import torch

from conftest import make_batch, smooth_net
from gradaudit import Batch, Client, FedAvg, FedSGD, Knowledge, Level, Normalisation, SecureAggregation
from gradaudit.protocol.defenses import Clip, GaussianNoise
from gradaudit.protocol.local_training import AggregatedTraining, client_seed, weighted_mean
from gradaudit.values.errors import AuditError

SIZES = (3, 1, 2)
KNOWN = Level.BASIC | Knowledge.LOCAL_TRAINING | Knowledge.LABELS


def federation(training=None, sizes=SIZES, **options):
    return SecureAggregation(
        smooth_net(), training or FedSGD(), normalisation=Normalisation((0.5,), (0.25,)), sizes=sizes, **options
    )


def alone(many):
    return Client(many.model, many.training, many.defenses, many.normalisation)


def test_fedsgd_over_clients_is_the_gradient_of_all_examples():
    many, batch = federation(), make_batch(6)
    for a, b in zip(many.train(batch).values, alone(many).train(batch).values, strict=True):
        torch.testing.assert_close(a, b)


def test_every_client_counts_by_its_examples():
    training = FedAvg(learning_rate=0.2, epochs=2, minibatch_size=2, batch_norm="train", share_buffers=True)
    many, batch = federation(training, sizes=(4, 2)), make_batch(6)
    seen = many.share(batch, Level.BASIC)
    first, second = (
        alone(many).train(Batch(batch.inputs[part], batch.labels[part])) for part in (slice(4), slice(4, 6))
    )
    for name, tensor in seen.update.tensors.items():
        torch.testing.assert_close(tensor, 2 / 3 * first.tensors[name] + 1 / 3 * second.tensors[name])
    mean = "1.running_mean"
    torch.testing.assert_close(seen.update.buffers[mean], 2 / 3 * first.buffers[mean] + 1 / 3 * second.buffers[mean])
    assert seen.update.buffers["1.num_batches_tracked"] == round(2 / 3 * 4 + 1 / 3 * 2)
    assert seen.update.examples == 6


@pytest.mark.parametrize("count", [1, 2, 100])
def test_the_mean_is_not_biased(count):
    """Equal updates average to themselves; a running mean with a fixed factor gives 0.75 of two and 0.63 of many."""
    update = (torch.randn(4, 3, dtype=torch.float64),)
    torch.testing.assert_close(weighted_mean([update] * count, [5] * count)[0], update[0])


def test_the_order_of_the_clients_does_not_matter():
    updates = [(torch.randn(5, dtype=torch.float64),) for _ in range(7)]
    sizes = [1, 5, 2, 9, 3, 3, 4]
    there, back = weighted_mean(updates, sizes)[0], weighted_mean(updates[::-1], sizes[::-1])[0]
    torch.testing.assert_close(there, back)
    torch.testing.assert_close(there, sum(n * u[0] for n, u in zip(sizes, updates, strict=True)) / 27)


def test_every_client_draws_for_itself():
    training = FedAvg(learning_rate=0.3, minibatch_size=1, shuffle=True, dropout=True)
    model = torch.nn.Sequential(*smooth_net().children(), torch.nn.Dropout(0.5))
    one = make_batch(3)
    twice = Batch(one.inputs.repeat(2, 1, 1, 1), one.labels.repeat(2))
    many = SecureAggregation(model, training, sizes=(3, 3))
    first, again, other = (many.train(twice, seed=seed).values[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    alike = Client(model, training).train(one, seed=client_seed(1, 1)).values[0]
    assert not torch.allclose(first, alike)
    orders = AggregatedTraining.of(replace(training, epochs=2), (9, 9)).orders(18, seed=4)
    assert len(orders) == 2
    assert torch.equal(orders[0][:9].sort().values, torch.arange(9))
    assert torch.equal(orders[0][9:].sort().values, torch.arange(9, 18))
    assert not torch.equal(orders[0][:9], orders[0][9:] - 9)


def test_every_client_defends_its_own_update():
    batch = make_batch(6)
    noisy = federation(defenses=[GaussianNoise(1.0)], sizes=(1,) * 6)
    noise = torch.cat(
        [(a - b).flatten() for a, b in zip(noisy.protected(batch)[0].values, noisy.train(batch).values, strict=True)]
    )
    assert float(noise.std()) == pytest.approx(6**-0.5, rel=0.05)
    clipped, idle = federation(defenses=[Clip(0.1), Clip(1e6)]).protected(batch)
    assert torch.stack([t.norm() for t in clipped.values]).norm() <= 0.1 + 1e-6
    assert idle == (Clip(1e6),)


def test_what_the_adversary_knows_of_the_clients():
    training = FedAvg(learning_rate=0.1, epochs=2)
    many, batch = federation(training), make_batch(6)
    for knowledge in (Knowledge.NOTHING, Knowledge.LABELS | Knowledge.LOCAL_TRAINING):
        seen = many.share(batch, knowledge)
        assert seen.clients is None
        assert not isinstance(seen.training, AggregatedTraining)
    assert many.share(batch, Level.BASIC).training is None
    seen = many.share(batch, KNOWN)
    assert seen.clients == SIZES
    assert seen.batch_size == 6
    assert seen.training == AggregatedTraining.of(training, SIZES)
    assert alone(many).share(batch, KNOWN).clients is None


def test_statistics_of_each_clients_own_batch_are_no_single_step():
    assert AggregatedTraining.of(FedSGD(), (2, 2)).single_step
    assert AggregatedTraining.of(FedSGD(batch_norm="train"), (4,)).single_step
    assert not AggregatedTraining.of(FedSGD(batch_norm="train"), (2, 2)).single_step
    many, batch = federation(FedSGD(batch_norm="train"), sizes=(2, 2)), make_batch(4)
    assert not torch.allclose(many.train(batch).values[0], alone(many).train(batch).values[0])


def test_steps_are_those_of_the_largest_client():
    training = FedAvg(learning_rate=0.1, epochs=3, minibatch_size=2)
    assert AggregatedTraining.of(training, (5, 2)).steps(7) == 9


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((), "at least one example for each client"), ((2, 0), "Found .2, 0."), ((2, 3), "5 examples together.*of 6")],
)
def test_refuses(sizes, message):
    with pytest.raises(AuditError, match=message):
        federation(sizes=sizes).share(make_batch(6), Level.BASIC)


def test_a_call_without_a_seed_takes_seed_0():
    many, batch = federation(defenses=[GaussianNoise(1.0)]), make_batch(6)
    one = alone(many)
    for client in (many, one):
        for call in (client.train, lambda b, c=client, **o: c.protected(b, **o)[0]):
            for plain, zero in zip(call(batch).values, call(batch, seed=0).values, strict=True):
                assert torch.equal(plain, zero)
        shared = (client.share(batch, Level.BASIC, **seed).update.values for seed in ({}, {"seed": 0}))
        assert all(map(torch.equal, *shared))


def test_clients_sizes_may_be_a_list_and_their_training_is_checked():
    assert federation(sizes=[3, 1, 2]).sizes == (3, 1, 2)
    training = AggregatedTraining(sizes=[3, 1, 2], shared="*")
    assert (training.sizes, training.shared) == ((3, 1, 2), ("*",))
    assert hash(training) == hash(AggregatedTraining(sizes=(3, 1, 2)))
    with pytest.raises(AuditError, match="epochs must be at least 1"):
        AggregatedTraining(epochs=0, sizes=(1,))
    with pytest.raises(AuditError, match=r"3 clients hold 6 examples\. Found 5"):
        training.train(smooth_net(), torch.rand(5, 1, 8, 8), torch.arange(5))
    alone_ = AggregatedTraining(learning_rate=0.1, sizes=(2,))
    update, _ = alone_.train(smooth_net(), torch.rand(2, 1, 8, 8), torch.arange(2))
    assert len(update) == len(list(smooth_net().parameters()))


def test_sizes_may_come_as_a_list():
    batch = make_batch(6)
    seen = federation(sizes=list(SIZES)).share(batch, KNOWN)
    assert seen.clients == SIZES
    listed = AggregatedTraining(sizes=list(SIZES))
    assert listed == AggregatedTraining(sizes=SIZES) == seen.training
    assert hash(listed) == hash(seen.training)


def test_the_training_of_several_clients_is_checked_as_that_of_one():
    with pytest.raises(AuditError, match="epochs must be at least 1"):
        AggregatedTraining(epochs=0, sizes=(1,))
    assert AggregatedTraining(sizes=(1,), shared="4.*").shared == ("4.*",)


def test_one_client_alone_is_a_client():
    training = FedAvg(learning_rate=0.2, epochs=2, minibatch_size=2, batch_norm="train")
    model, batch = smooth_net(), make_batch(4)
    found, buffers = AggregatedTraining.of(training, (4,)).train(model, batch.inputs, batch.labels)
    wanted, kept = training.train(model, batch.inputs, batch.labels)
    assert all(map(torch.equal, found, wanted))
    assert {name: buffer.tolist() for name, buffer in buffers.items()} == {n: b.tolist() for n, b in kept.items()}


def test_chance_is_that_of_the_seed_and_of_0_where_none_is_given():
    training = FedAvg(learning_rate=0.3, minibatch_size=1, shuffle=True)
    many, batch = federation(training, defenses=[GaussianNoise(1.0)]), make_batch(6)
    draws = (
        many.train,
        lambda batch, **options: many.protected(batch, **options)[0],
        lambda batch, **options: many.share(batch, KNOWN, **options).update,
    )
    for draw in draws:
        plain, zero, one = (draw(batch, **options).values[0] for options in ({}, {"seed": 0}, {"seed": 1}))
        assert torch.equal(plain, zero)
        assert not torch.equal(zero, one)


def test_a_federation_of_one_shares_what_the_client_does():
    many, batch = federation(sizes=(6,), defenses=[Clip(0.1)]), make_batch(6)
    assert (many.defenses, many.model_name) == ((Clip(0.1),), "Sequential")
    for a, b in zip(many.share(batch, KNOWN).update.values, alone(many).share(batch, KNOWN).update.values, strict=True):
        torch.testing.assert_close(a, b)


def test_a_defense_that_changed_one_update_is_not_idle():
    many, batch = federation(sizes=(1, 1)), make_batch(2)
    one, other = (alone(many).train(Batch(batch.inputs[k : k + 1], batch.labels[k : k + 1])).values for k in range(2))
    lengths = [torch.stack([tensor.norm() for tensor in values]).norm() for values in (one, other)]
    between = Clip(float(sum(lengths) / 2))
    assert replace(many, defenses=(between,)).protected(batch)[1] == ()
