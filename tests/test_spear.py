"""SPEAR: exact batches behind a ReLU, and where the method must refuse or must not call its result verified."""

from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from torch import nn

import gradaudit as ga
from conftest import make_batch
from gradaudit import Batch, Client, FedAvg, Knowledge, Level
from gradaudit.attacks._sparse_batch import SparseBatch, certified
from gradaudit.attacks.spear import ATTACK
from gradaudit.data.modalities import ImageHandling, TableHandling
from gradaudit.data.sources.table_files import Tables
from gradaudit.inversion.attack import TimeLimit
from gradaudit.inversion.network.first_linear import first_linear
from gradaudit.inversion.network.sparse_columns import Hyperplanes, factors, halved
from gradaudit.models import build_table
from gradaudit.protocol.defenses import Clip, GaussianNoise, TopK
from gradaudit.values.errors import AttackFailed
from recovery import NORMALISATION, in_double, photographs
from text_cases import FlatText, random_texts

QUICK = replace(ATTACK, starts=64)
SIDE = 12


def mlp(units=300, inputs=3 * SIDE**2, activation=nn.ReLU, classes=10, **options):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, units, **options), activation(), nn.Linear(units, 50), nn.ReLU(),
        nn.Linear(50, classes),
    )  # fmt: skip


def case(seed, size=8, model=None, double=True, defenses=(), **options):
    torch.manual_seed(seed)
    source = photographs(SIDE)
    chosen = torch.randperm(len(source))[:size].tolist()
    batch = Batch(source.stack(chosen), torch.randint(10, (size,)))
    model = mlp() if model is None else model
    if double:
        batch, model = in_double(batch), model.double()
    return batch, Client(model, normalisation=NORMALISATION, defenses=defenses, **options)


def farthest(batch, found):
    matched = ImageHandling().match(batch, found)
    return float((matched.inputs - batch.inputs).abs().max()), matched.order


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("double", "largest"), [(True, 1e-9), (False, 1e-4)], ids=["double", "single"])
def test_recovers_a_batch_exactly_without_its_size_or_labels(seed, double, largest):
    batch, client = case(seed, double=double)
    found = QUICK(client.share(batch, Knowledge.NOTHING), seed=seed)
    error, order = farthest(batch, found)
    assert error < largest
    assert found.verified
    assert torch.equal(found.labels[order], batch.labels)


def test_granted_labels_give_the_order_and_a_time_limit_or_few_starts_end_the_search():
    batch, client = case(0)
    seen = client.share(batch, Level.BASIC | Knowledge.LABELS)
    found = QUICK(seen)
    assert found.verified
    assert torch.equal(found.labels, batch.labels)
    alone = [at for at in range(8) if int((batch.labels == batch.labels[at]).sum()) == 1]
    torch.testing.assert_close(found.inputs[alone], batch.inputs[alone])
    with pytest.raises(AttackFailed, match="spear: found 0 of 8 sparse columns in 0 starts"):
        ATTACK(seen, watch=TimeLimit(0.0))
    with pytest.raises(AttackFailed, match="in 2 starts: too many examples for 300 units and 432 inputs"):
        replace(ATTACK, starts=2, together=2)(seen)


@pytest.mark.parametrize("seed", range(3))
def test_two_classes_and_equal_activations_are_told_apart(seed):
    """Where all columns are one vector behind masks, differences of columns have more zeros than the columns."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(432, 300), nn.ReLU(), nn.Linear(300, 2))
    batch, client = case(seed, model=model)
    found = ATTACK(client.share(Batch(batch.inputs, batch.labels % 2), Level.BASIC), seed=seed)
    assert farthest(batch, found)[0] < 1e-6
    assert found.verified


@pytest.mark.parametrize(
    ("options", "knowledge", "verified"),
    [
        ({"training": FedAvg(learning_rate=0.1, epochs=5)}, Knowledge.LOCAL_TRAINING, True),
        ({"training": FedAvg(learning_rate=0.01)}, Knowledge.NOTHING, True),
        ({"training": FedAvg(learning_rate=0.01, epochs=3)}, Knowledge.NOTHING, False),
        ({"training": FedAvg(learning_rate=0.01, epochs=2, minibatch_size=4)}, Knowledge.LOCAL_TRAINING, False),
        ({"defenses": [Clip(0.1)]}, Knowledge.NOTHING, False),
    ],
    ids=["five steps", "unknown rate", "unknown steps", "unknown order", "unknown clipping"],
)
def test_what_multiplies_the_columns_alone_is_inverted_and_verified_where_it_is_known(options, knowledge, verified):
    batch, client = case(0, **options)
    found = QUICK(client.share(batch, Level.BASIC | knowledge))
    assert farthest(batch, found)[0] < 1e-9
    assert found.verified == verified
    assert any("Not verified: " in note for note in found.notes) != verified


def test_clipping_is_verified_by_who_knows_it():
    batch, client = case(0, defenses=[Clip(0.1)])
    assert ga.adaptive(QUICK)(client.share(batch, Level.BASIC | Knowledge.DEFENSE)).verified


@pytest.mark.parametrize("seed", range(3))
def test_noise_costs_accuracy_first_the_certificate_next_and_everything_at_last(seed):
    errors = []
    for scale in (1e-6, 1e-4):
        batch, client = case(seed, 4, defenses=[GaussianNoise(scale, relative=True)])
        found = QUICK(client.share(batch, Level.BASIC), seed=seed)
        errors.append(farthest(batch, found)[0])
        assert found.verified
    assert errors[0] < errors[1] / 10 < 1e-3
    for scale in (1e-2, 1.0):
        batch, client = case(seed, 4, defenses=[GaussianNoise(scale, relative=True)])
        with suppress(AttackFailed):
            assert not replace(QUICK, starts=16)(client.share(batch, Level.BASIC)).verified
    with pytest.raises(AttackFailed, match=r"spear: .*(no gap|noise or a defense)"):
        QUICK(client.share(batch, Level.BASIC))


def planes_of(seen):
    first = first_linear(seen.model, seen.input_shape)
    weight, bias = first.gradients(seen)
    of = factors(weight, seen.batch_size, 1e-16, 3.0)
    layer = first.layer
    return first, Hyperplanes(of, layer.weight.detach(), layer.bias.detach(), torch.Generator(), 16), (weight, bias)


def test_a_result_is_verified_only_if_noise_and_zeros_allow_it():
    batch, client = case(0, 2)
    seen = client.share(batch, Level.BASIC)
    first, planes, found = planes_of(seen)
    while len(planes.basis) < 2:
        planes.search()
    solved = SparseBatch.solved(seen, first, planes, found)
    assert solved.agreement > 0.99
    assert certified(seen, first, solved).verified
    turned = solved.columns + 0.05 * solved.columns.flip(0)
    longer = solved.columns * torch.tensor([1.0, 2.0])
    doubts = (
        ({"error": 0.1}, "noise on the update"),
        ({"agreement": 0.95}, "the worst example agree with"),
        ({"columns": turned}, "own gradient behind the first layer"),
        ({"columns": longer}, "own gradient behind the first layer"),
    )
    for change, why in doubts:
        doubted = certified(seen, first, replace(solved, **change))
        assert not doubted.verified
        assert why in doubted.notes[-1]
    with pytest.raises(AttackFailed, match=r"found 2 of 2 sparse columns .*agree with the model's own on (99|100)%"):
        replace(QUICK, agreement=1.01)(seen)


def test_a_column_is_kept_once_and_a_difference_of_two_never():
    """With one vector behind all masks, a difference of two columns is zero where both masks are equal."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(432, 300), nn.ReLU(), nn.Linear(300, 2))
    batch, client = case(1, 4, model=model)
    seen = client.share(Batch(batch.inputs, batch.labels % 2), Level.BASIC)
    _, planes, (weight, _) = planes_of(seen)
    columns = weight @ torch.linalg.pinv(NORMALISATION.apply(batch.inputs).flatten(1))
    head = model[3].weight[0] - model[3].weight[1]
    one, two = (column / (column / head)[column.abs() > 1e-9].median() for column in columns.T[:2])
    normal = planes.of.left.T @ (one - two)
    planes._keep(normal / normal.norm())
    assert not len(planes.normals)
    normal = planes.of.left.T @ one
    for _ in range(2):
        planes._keep(normal / normal.norm())
        assert len(planes.normals) == 1


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_sparse_update_is_never_verified(share):
    batch, client = case(0, 4, defenses=[TopK(share)])
    with suppress(AttackFailed):
        assert not replace(QUICK, starts=16)(client.share(batch, Level.BASIC)).verified


def test_equal_examples_are_repeated_as_often_as_they_occur():
    batch, client = case(0, 4)
    batch = Batch(batch.inputs[[0, 0, 1, 2]], batch.labels[[0, 0, 1, 2]])
    found = QUICK(client.share(batch, Level.BASIC))
    assert farthest(batch, found)[0] < 1e-9
    assert found.verified
    assert "rank 3 is below the batch size 4" in found.notes[1]
    found = QUICK(client.share(Batch(batch.inputs, torch.tensor([1, 2, 3, 4])), Level.BASIC))
    assert not found.verified
    assert "Not verified: an example's own gradient" in found.notes[-1]


def frozen():
    model = mlp()
    model[1].requires_grad_(False)
    return model


REFUSED = {
    "sigmoid": (lambda: mlp(activation=nn.Sigmoid), "no ReLU follows it"),
    "tanh": (lambda: mlp(activation=nn.Tanh), "no ReLU follows it"),
    "gelu": (lambda: mlp(activation=nn.GELU), "no ReLU follows it"),
    "silu": (lambda: mlp(activation=nn.SiLU), "no ReLU follows it"),
    "no bias": (lambda: mlp(bias=False), "has no bias, whose gradient gives the scale"),
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(200, 10)),
        "first layer is not linear",
    ),
    "frozen": (frozen, "contains no gradient of 1.weight"),
    "few units": (lambda: mlp(units=6), "8 examples exceed the 6 dimensions"),
    "too few units": (lambda: mlp(units=20), "of 8 sparse columns in 64 starts: too many examples for 20 units"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_with_the_reason(name):
    make, why = REFUSED[name]
    torch.manual_seed(0)
    batch, client = case(0, model=make())
    with pytest.raises(AttackFailed, match=f"spear: .*{why}"):
        QUICK(client.share(batch, Level.BASIC))


def test_refuses_what_is_no_batch_of_numbers():
    with pytest.raises(AttackFailed, match="spear: the tokens of a text"):
        ATTACK(ga.Client(FlatText(6)).share(random_texts(1), "basic"))
    torch.manual_seed(0)
    batch = Batch(torch.rand(16, 1, 4, 4), torch.arange(16) % 10)
    found = replace(ATTACK, starts=512)(Client(mlp(inputs=16)).share(batch, Level.BASIC))
    assert farthest(batch, found)[0] < 1e-3
    batch = Batch(torch.rand(17, 1, 4, 4), torch.arange(17) % 10)
    with pytest.raises(AttackFailed, match="17 examples exceed the 16 dimensions"):
        QUICK(Client(mlp(inputs=16)).share(batch, Level.BASIC))


def test_linearly_dependent_examples_are_not_separated():
    one, two, three = make_batch(3, 1, 8).inputs.double()
    batch = Batch(torch.stack([one, two, three, (one + two + three) / 3]), torch.arange(4))
    seen = Client(mlp(inputs=64).double()).share(batch, Level.BASIC)
    with pytest.raises(AttackFailed, match=r"of 3 sparse columns .*the batch has 4 examples: .*linearly dependent"):
        QUICK(seen)


def test_rows_of_a_table():
    table = Tables().open()
    batch = TableHandling().gather(table, [3, 40], table.labels[[3, 40]])
    torch.manual_seed(0)
    model = build_table("tabular-mlp", num_classes=2, features=table.layout.width)
    found = QUICK(Client(model).share(batch, Level.BASIC))
    assert float(torch.cdist(found.inputs, batch.inputs).min(0).values.max()) < 1e-3
    assert found.verified


def test_the_rank_is_where_the_singular_values_fall():
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (40, 60))
    noise = torch.randn(40, 60, generator=generator, dtype=torch.float64)
    for scale in (0.0, 1e-3):
        of = factors(left @ right.T + scale * noise, None, 1e-16, 3.0)
        assert of.rank == 5
        assert float(of.noise.mean()) == pytest.approx(scale, rel=0.1, abs=1e-12)
    with pytest.raises(AttackFailed, match="no gap"):
        factors(noise, None, 1e-16, 3.0)


def test_a_half_space_is_told_from_the_meet_of_two():
    generator = torch.Generator().manual_seed(0)
    span = torch.linalg.qr(torch.randn(400, 10, generator=generator, dtype=torch.float64)).Q
    one, two = (span @ torch.randn(10, generator=generator, dtype=torch.float64) < 0 for _ in range(2))
    assert halved(one, span) > 0.97
    assert halved(two, span) > 0.97
    assert halved(one & two, span) < 0.9
