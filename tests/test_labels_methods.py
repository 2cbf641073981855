"""Each method on updates whose labels are known: where it must succeed, and where it must not."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gradaudit import Batch, Client, FedAvg, Knowledge, Level
from gradaudit.inversion.parts.labels import LABELS, BiasCounts, ErroneousConfidence, WeightCounts
from gradaudit.inversion.parts.labels._head import double_head, mean_head
from gradaudit.inversion.parts.labels._probe import Answers, ask, require_nonnegative_features, require_positive_masses
from gradaudit.inversion.parts.labels.label_of_one import label_of_one
from gradaudit.inversion.parts.labels.llg import LabelLeakage, impact_and_offsets
from gradaudit.inversion.parts.labels.mean_counts import expectation
from gradaudit.inversion.parts.labels.minimum_variation import _rescale, evolve, steadiest
from gradaudit.inversion.parts.labels.recovery_block import _present, simulate
from gradaudit.inversion.parts.labels.rlg import separable
from gradaudit.inversion.run.label_reading import read_labels
from gradaudit.models import build
from gradaudit.protocol.defenses import GaussianNoise
from gradaudit.values.errors import AttackFailed
from label_cases import COUNTING, GRANTED, NORMALISATION, mean_recall, observe, pictures, recall, relu_net

SETS = ("bias-sign", "gradinversion", "rlg")
HFGRADINV = ("hfgradinv", "hfgradinv-direct")
READERS = tuple(name for name in LABELS if name not in ("known", "joint"))


def resnet(classes):
    return build("resnet18", num_classes=classes, channels=3, size=32).eval()


# Known identities of the last layer


def told_the_truth(net, batch):
    """What no client would share: its own pictures as public ones, on which the equations hold exactly."""
    seen = Client(net, normalisation=NORMALISATION).share(batch, GRANTED, public=pictures(1))
    return replace(seen, public_data=batch.inputs)


def test_counts_are_exact_where_the_mean_probability_is():
    for seed in range(5):
        torch.manual_seed(seed)
        labels, net = torch.randint(10, (24,)), relu_net(activation=nn.SiLU())
        batch = Batch(pictures(24), labels)
        seen = told_the_truth(net, batch)
        found = read_labels(BiasCounts(inputs="public"), seen)
        assert found.labels.tolist() == sorted(labels.tolist())
        assert found.confidence == pytest.approx(1, abs=1e-4)


def test_the_last_layer_of_a_client_is_p_minus_y():
    labels, net = torch.tensor([3, 3, 5]), relu_net()
    batch = Batch(pictures(3), labels)
    seen = told_the_truth(net, batch)
    answers = ask(seen, "public", 99)
    residual = answers.probabilities - nn.functional.one_hot(labels, 10)
    assert torch.allclose(mean_head(seen).bias, residual.mean(0), atol=1e-6)
    assert torch.allclose(mean_head(seen).weight, residual.T @ answers.features / 3, atol=1e-6)


def test_llg_star_measures_what_batches_of_one_label_give():
    p = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]).double()
    answers = Answers(torch.tensor([[1.0, 1.0], [0.0, 4.0]]).double(), p)
    impact, offsets = impact_and_offsets(answers, 6)
    pulls = [
        ((0.2 - 1) * 2 + (0.6 - 1) * 4) / 2,
        ((0.3 - 1) * 2 + (0.3 - 1) * 4) / 2,
        ((0.5 - 1) * 2 + (0.1 - 1) * 4) / 2,
    ]
    assert impact == pytest.approx(sum(pulls) / 3 * (1 + 1 / 3) / 6)
    assert offsets.tolist() == pytest.approx([1.4, 0.9, 0.7])
    labelled = answers._replace(labels=torch.tensor([0, 2]))
    assert impact_and_offsets(labelled, 6)[1].tolist() == pytest.approx([2.4, 0.9, 1.0])


def test_separating_hyperplanes_by_hand():
    rows = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.5, 0.5], [0.0, 0.0]]).double()
    assert (separable(rows, 0) < 0).tolist() == [True, False, False, True, False, False]  # by r = (1, 0) and (0, 1)
    assert (separable(rows[[0, 2, 4]], 0) < 0).tolist() == [True, False, True]  # (0, 1) lies between the others


def test_steadiest_ranks_by_hand():
    features = torch.tensor([[5.0, 1.0, 0.0], [1.0, 7.0, 0.0]]).double()
    positions, means = steadiest(features, 1)  # sorted rows: 0 1 5 and 0 1 7; the zeros are dead, the ones never vary
    assert positions.tolist() == [1]
    assert means.tolist() == [1]
    assert len(steadiest(features, 20)[0]) == 2


@pytest.mark.parametrize("shares", [[3.2, 0.9, 3.9], [1.0, 1.0], [6.4, 0.8, 0.8], [1.5] * 6])
def test_evolution_finds_the_direction_of_the_shares(shares):
    shares = torch.tensor(shares).double()
    total = round(float(shares.sum()))
    found = evolve(shares, total + 1, 20, 200)
    assert int(found.sum()) == total + 1
    assert int(found.min()) >= 1

    def cosine(counts):
        return float(counts.double() @ shares / counts.double().norm() / shares.norm())

    rivals = torch.cartesian_prod(*[torch.arange(1, total + 2)] * len(shares))
    rivals = rivals[rivals.sum(1) == total + 1]
    assert cosine(found) >= max(map(cosine, rivals)) - 5e-3


# Recovery on networks


@pytest.mark.parametrize("method", READERS)
def test_one_example_is_read_by_every_method(method):
    for seed in range(6):
        torch.manual_seed(seed)
        label = torch.randint(10, (1,))
        found = read_labels(method, observe(label, relu_net()))
        assert found.applies, found.why_not
        assert found.labels.tolist() == label.tolist()
        assert 0 <= found.confidence <= 1


@pytest.mark.parametrize("method", SETS)
def test_distinct_labels_of_an_untrained_network(method):
    for seed in range(6):
        torch.manual_seed(seed)
        labels = torch.randperm(40)[:6]
        found = read_labels(method, observe(labels, relu_net(40)))
        assert found.labels.tolist() == sorted(labels.tolist())
        assert int(found.counts.sum()) == 6


@pytest.mark.parametrize("method", [*COUNTING, "afgi-learned"])
def test_counts_of_an_untrained_network(method):
    least = {"afgi-learned": 0.85}.get(method, 0.9)
    assert (
        mean_recall(method, relu_net, range(6)) > least > mean_recall(method, relu_net, range(30), control=True) + 0.1
    )


@pytest.mark.parametrize("method", ["llg", *HFGRADINV])
def test_counts_while_classes_outnumber_the_batch(method):
    options = {"size": 8, "classes": 20}
    control = mean_recall(method, relu_net, range(30), control=True, **options)
    assert mean_recall(method, relu_net, range(8), **options) > 0.9 > control + 0.4


def test_an_untrained_resnet_as_measured_before():
    """Ten classes, batch 24, N(0, 1) inputs: bias counts find 0.997 of the labels, iLRG 0.92, LLG 0.64, sets 0.38."""
    recalls = {name: [] for name in ("bias", "ilrg", "llg", "gradinversion")}
    for seed in range(4):
        torch.manual_seed(seed)
        labels = torch.randint(10, (24,))
        seen = observe(labels, resnet(10), channels=3, side=32, public=0)
        for name, values in recalls.items():
            values.append(recall(BiasCounts(inputs="noise") if name == "bias" else name, seen, labels))
    means = {name: sum(values) / len(values) for name, values in recalls.items()}
    assert means["bias"] > 0.97
    assert means["ilrg"] > 0.8
    assert 0.4 < means["llg"] < 0.85
    assert 0.3 < means["gradinversion"] < 0.42


def test_repeated_labels_are_counted_where_the_column_minimum_cannot():
    labels = [0, 0, 1, 1]
    for seed in range(3):
        torch.manual_seed(seed)
        seen = observe(labels, resnet(100), channels=3, side=32, public=40)
        for method in HFGRADINV:
            assert read_labels(method, seen).labels.tolist() == labels
        minimum = read_labels("gradinversion", seen)
        assert minimum.labels.tolist() == [0, 1]
        assert minimum.counts is None
        assert "2 classes found for 4 examples" in minimum.notes[0]


@pytest.mark.parametrize("method", ["bias-sign", "rlg", "bias-counts", "ilrg", "rlu"])
def test_signed_features_do_not_matter_to_these(method):
    options = {"size": 6, "classes": 40}
    make = partial(relu_net, activation=nn.Tanh())
    assert mean_recall(method, make, range(5), **options) > 0.85


def test_counts_at_the_head_of_a_network_without_bias():
    make = partial(relu_net, bias=False)
    for method in ("weight-counts", "llg-star", "rlu"):
        assert mean_recall(method, make, range(5)) > 0.88


def test_rlu_uses_the_classes_of_public_pictures():
    torch.manual_seed(0)
    labels = torch.randint(10, (24,))
    seen = observe(labels, relu_net())
    bare = Client(seen.model, normalisation=NORMALISATION).share(
        Batch(pictures(24), labels), GRANTED, public=pictures(64)
    )
    assert read_labels("rlu", seen).notes == ()
    assert "have no labels" in read_labels(ErroneousConfidence(), bare).notes[0]
    assert recall("rlu", bare, labels) > 0.9


# Failure where the literature has it


def fitted(seed):
    """A network sure of 48 random pictures, and these."""
    torch.manual_seed(seed)
    net, batch = relu_net(), Batch(pictures(48), torch.randint(10, (48,)))
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(NORMALISATION.apply(batch.inputs)), batch.labels).backward()
        optimiser.step()
    net.zero_grad(set_to_none=True)
    return net, batch


@pytest.mark.parametrize("method", ["bias-counts", "weight-counts"])
def test_a_trained_network_hides_its_counts(method):
    values = []
    for seed in range(6):
        net, batch = fitted(seed)
        seen = Client(net, normalisation=NORMALISATION).share(Batch(batch.inputs[:24], batch.labels[:24]), GRANTED)
        values.append(recall(method, seen, batch.labels[:24]))
    assert sum(values) / 6 < 0.85


@pytest.mark.parametrize("method", ["bias-counts", "llg", "ilrg"])
def test_noise_hides_the_counts(method):
    clear = mean_recall(method, relu_net, range(6), size=8, classes=20)
    noisy = mean_recall(method, relu_net, range(6), size=8, classes=20, defenses=(GaussianNoise(3.0),))
    assert clear > 0.85 > 0.6 > noisy


# Several local steps

AVERAGED = FedAvg(learning_rate=0.05, epochs=3, minibatch_size=6)


def test_the_mean_gradient_behind_a_weight_difference():
    torch.manual_seed(0)
    net, batch = relu_net(), Batch(pictures(8), torch.randint(10, (8,)))
    single = Client(net).share(batch, GRANTED)
    for rule in (FedAvg(learning_rate=1e-4), FedAvg(learning_rate=1e-5, epochs=4, momentum=0.5)):
        shared = Client(net, rule).share(batch, GRANTED)
        assert torch.allclose(mean_head(shared).weight, double_head(single).weight, rtol=0.02, atol=2e-3)


@pytest.mark.parametrize("method", [*COUNTING, "llg", *HFGRADINV, "bias-sign"])
def test_federated_averaging_leaks_counts_too(method):
    sets = method == "bias-sign"
    options = {"size": 12, "classes": 20, "training": AVERAGED}
    assert mean_recall(method, relu_net, range(5), **options) > (0.6 if sets else 0.8)


def test_interpolated_probabilities_beat_those_of_the_start():
    strong = FedAvg(learning_rate=0.5, epochs=10, minibatch_size=6)
    for cls in (BiasCounts, WeightCounts):
        means = [
            mean_recall(cls(inputs="public", between=between), relu_net, range(6), training=strong)
            for between in ("start", "average")
        ]
        assert means[1] > means[0]


def test_without_the_local_training_only_rules_without_a_scale_apply():
    seen = observe([0, 1, 1], relu_net(), granted=Level.BASIC | Knowledge.PUBLIC_DATA, training=AVERAGED)
    applies = {name for name in READERS if read_labels(name, seen).applies}
    assert applies == {"bias-sign", "gradinversion", "rlg", "llg", *HFGRADINV}
    assert read_labels("bias-counts", seen).why_not.endswith("Grant LOCAL_TRAINING.")


def test_llg_lifts_by_the_impact_of_its_formula():
    """(1 + 1/K) / B · Σ: with 1 / B alone the last of these six labels would be taken for another one of class 0."""
    shares = torch.tensor([0.1, 1 / 6 + 0.01, 0.4, 0.0])
    shares[3] = 1 - shares.sum()
    model = nn.Sequential(nn.Flatten(), nn.Sigmoid(), nn.Linear(1, 4, bias=False))
    model[2].weight.data = shares.log().view(4, 1) / torch.ones(()).sigmoid()
    batch = Batch(torch.ones(6, 1, 1, 1), torch.tensor([0, 0, 0, 0, 0, 1]))
    found = LabelLeakage().infer(Client(model).share(batch, Level.BASIC), 1)
    assert found.values.sort().values.tolist() == batch.labels.tolist()


def test_llg_star_lifts_by_the_impact_of_its_formula():
    probabilities = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]], dtype=torch.float64)
    answers = Answers(torch.tensor([[1.0], [3.0]], dtype=torch.float64), probabilities)
    impact, offsets = impact_and_offsets(answers, 5)
    pulls = [(1 * (a - 1) + 3 * (b - 1)) / 2 for a, b in zip(*probabilities.tolist(), strict=True)]
    assert impact == pytest.approx(sum(pulls) / 4 * (1 + 1 / 4) / 5)
    assert offsets.tolist() == pytest.approx([(a + 3 * b) / 2 for a, b in zip(*probabilities.tolist(), strict=True)])


def test_simulated_batches_have_the_gradient_of_their_labels():
    """The class sums of p - y vanish; where p is 0 the gradient is minus the labels' shares times the features."""
    torch.manual_seed(0)
    features = torch.rand(20, 3, dtype=torch.float64) + 0.5
    gradients, shares = simulate(Answers(features, torch.randn(20, 4, dtype=torch.float64).softmax(1)), 6, 5)
    assert gradients.shape == (5, 4, 3)
    torch.testing.assert_close(gradients.sum(1), torch.zeros(5, 3, dtype=torch.float64))
    torch.testing.assert_close(shares.sum(1), torch.ones(5, dtype=torch.float64))
    alike = Answers(torch.full((20, 3), 2.0, dtype=torch.float64), torch.zeros(20, 4, dtype=torch.float64))
    gradients, shares = simulate(alike, 6, 5)
    torch.testing.assert_close(gradients, -2 * shares.unsqueeze(2).expand(5, 4, 3))
    assert ((6 * shares).round() - 6 * shares).abs().max() < 1e-9


def test_rows_with_a_negative_entry_look_present():
    weight = torch.tensor([[0.5, -0.1, 0.2], [0.2, 0.3, 0.4], [0.0, 0.0, 0.0], [-1.0, -2.0, 3.0]])
    assert _present(SimpleNamespace(weight=weight)).tolist() == [True, False, False, True]
    with pytest.raises(AttackFailed, match="no class looks present"):
        _present(SimpleNamespace(weight=weight[1:3]))


def test_the_steadiest_positions_vary_least_for_their_size():
    features = torch.tensor([[1.0, 10.0, 100.0], [3.0, 11.0, 150.0], [2.0, 12.0, 130.0]])
    # Variations 0.5, 0.09 and 0.2: neither the smallest spread nor the largest mean.
    positions, means = steadiest(features, 2)
    assert positions.tolist() == [1, 2]
    torch.testing.assert_close(means, torch.tensor([11.0, 380 / 3]))
    dead = torch.cat([torch.zeros(3, 1), features], 1)
    assert steadiest(dead, 9)[0].tolist() == [2, 3, 1]


def test_evolution_finds_the_counts_of_largest_cosine():
    torch.manual_seed(0)
    found = evolve(torch.tensor([5.0, 1.0, 2.0]).double(), 8, 20, 200)
    assert found.tolist() == [5, 1, 2]


def test_one_example_by_the_weight_alone():
    """Where features have signs, the row that points away from the others is the label's."""
    weight = torch.tensor([[1.0, -2.0, 3.0], [0.1, -0.2, 0.3], [-20.0, 40.0, -60.0], [0.5, -1.0, 1.5]])
    assert label_of_one(SimpleNamespace(bias=None, weight=weight)).item() == 2
    uneven = torch.tensor([[0.001, 0.0], [0.0, 100.0], [-1.0, -1.0]])
    assert label_of_one(SimpleNamespace(bias=None, weight=uneven)).item() == 2
    positive = torch.tensor([[0.0, 0.0], [2.0, 1.0], [-1.0, -0.5]])
    assert label_of_one(SimpleNamespace(bias=None, weight=positive)).item() == 2
    with pytest.raises(AttackFailed, match="no entry of the last layer's bias gradient is negative"):
        label_of_one(SimpleNamespace(bias=torch.tensor([0.0, 1.0]), weight=weight))


def test_a_reading_draws_from_its_seed():
    seen = observe([1, 2, 2], relu_net(), public=0)
    part = BiasCounts(inputs="noise", samples=3)
    first, again, other = (ask_counts(part, seen, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def ask_counts(part, seen, seed):
    """The confidence, which depends on the noise."""
    torch.rand(seed)  # what was drawn before does not matter
    return read_labels(part, seen, seed=seed).confidence


@pytest.mark.parametrize("between", ["average", "start", "end"])
def test_the_expectation_lies_in_the_middle_of_the_steps(between):
    """Of T steps at (T - 1) / 2T of the way; of one step at its start."""
    several = observe([1, 2, 3, 4], relu_net(), training=FedAvg(learning_rate=0.5, epochs=2, minibatch_size=2))
    start, end = (ask(several, "public", 64, end=end).probabilities for end in (False, True))
    way = {"average": 3 / 8, "start": 0.0, "end": 1.0}[between]
    found = expectation(several, "public", 64, between).probabilities
    torch.testing.assert_close(found, start.lerp(end, way))
    assert (start - end).abs().max() > 1e-3
    one = observe([1, 2, 3, 4], relu_net(), training=FedAvg(learning_rate=0.5))
    torch.testing.assert_close(
        expectation(one, "public", 64, "average").probabilities, ask(one, "public", 64).probabilities
    )


def test_features_may_be_negative_by_rounding_alone():
    class Shifted(nn.Module):
        def __init__(self, by):
            super().__init__()
            self.by, self.linear = by, nn.Linear(64, 10)

        def forward(self, x):
            return self.linear(x.flatten(1).abs() + self.by)

    fine, broken = (observe([1, 2], Shifted(by)) for by in (0.0, -1.0))
    require_nonnegative_features(fine)
    require_positive_masses(fine)
    with pytest.raises(AttackFailed, match="can be negative"):
        require_nonnegative_features(broken)
    with pytest.raises(AttackFailed, match="can sum to zero or less"):
        require_positive_masses(broken)


def test_counts_are_rescaled_above_one_of_each():
    assert _rescale(torch.tensor([[1, 1], [3, 1], [5, 3]]), 6).tolist() == [[3, 3], [5, 1], [4, 2]]
