"""GradInversion: what it recovers, what its group is worth, and where its labels mislead it."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from conftest import make_batch
from gradaudit import Client, Knowledge, Level, Normalisation
from gradaudit.attacks import gradinversion
from gradaudit.inversion.parts.labels import ColumnMinimum
from gradaudit.inversion.parts.moves import LangevinStep
from gradaudit.inversion.parts.part import Term
from gradaudit.inversion.parts.priors import BatchNormStatistics, GroupConsistency, TotalVariation
from gradaudit.values.errors import AttackFailed
from recovery import NORMALISATION, drawn, exactness, gain, photographs

ATTACK = gradinversion.ATTACK
CLASSES = 20
WEIGHTS = {TotalVariation: 1e-3, BatchNormStatistics: 1e-4}  # for a network and pictures this small


def network(others):
    """Small, untrained, with BatchNorm statistics of other photographs."""
    first = [nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16, momentum=None), nn.ReLU()]
    second = [nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32, momentum=None), nn.ReLU()]
    model = nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(32 * 16, CLASSES))
    with torch.no_grad():
        model.train()(NORMALISATION.apply(others))
    return model.eval()


def case(seed, labels):
    """Photographs, their client, and the mean of all others."""
    batch, control = drawn(seed, len(labels), labels=labels)
    source = photographs(8)
    inside = {tuple(picture.flatten().tolist()) for picture in batch.inputs}
    every = source.stack(range(len(source)))
    others = torch.stack([picture for picture in every if tuple(picture.flatten().tolist()) not in inside])
    return batch, Client(network(others), normalisation=NORMALISATION), control


def attack(steps, seeds=1):
    """The value, shortened and weighted for small networks."""
    stage = ATTACK.stages[0]
    terms = [replace(term, weight=WEIGHTS.get(type(term.prior), term.weight)) for term in stage.terms]
    terms = [
        replace(term, prior=replace(term.prior, every=50)) if getattr(term.prior, "registered", False) else term
        for term in terms
    ]
    return replace(ATTACK, stages=(replace(stage, steps=steps, terms=tuple(terms)),), seeds=seeds)


def test_the_papers_parameters():
    stage = ATTACK.stages[0]
    assert (stage.steps, stage.optimiser.lr, ATTACK.seeds, ATTACK.objective.scale) == (20_000, 0.1, 8, 1e-3)
    assert [stage.optimiser.scale(step, 20_000) for step in (0, 49, 50, 10_025)] == pytest.approx([0.02, 1, 1, 0.5])
    assert stage.optimiser.scale(19_999, 20_000) < 1e-6
    assert stage.moves == (LangevinStep(0.2),)
    assert ATTACK.needs == Knowledge.BATCH_SIZE
    lazy, registered = (term for term in stage.terms if isinstance(term.prior, GroupConsistency))
    assert (lazy.prior.registered, registered.prior.registered) == (False, True)
    assert lazy.stop == registered.start


def test_it_recovers_photographs_and_their_labels():
    gains = []
    for seed in range(3):
        batch, client, control = case(seed, [3, 7, 12])
        found = attack(80, seeds=2)(client.share(batch, Level.BASIC), seed=seed)
        assert torch.equal(found.labels, batch.labels)
        assert not found.labels_granted
        gains.append(gain(found, batch, control))
    assert sum(gains) / 3 > 2.5, gains  # measured: 6.9 over 4 perturbed runs, 3.7 to 7.7 over 15 others


def test_a_wrong_model_gives_nothing():
    batch, client, control = case(0, [3, 7, 12])
    seen = client.share(batch, Level.BASIC)
    other = case(1, [3, 7, 12])[1].model
    # Measured: 0.2 over 8 perturbed runs, -2.1 to 1.4 over 30 others.
    assert gain(attack(60)(replace(seen, model=other)), batch, control) < 2


def test_repeated_labels_are_named_wrongly_and_cost_pictures():
    """Ye et al. (2024) report [0, 0, 1, 1] read as [0, 1, 198, 298]: a set is all that the rule can tell."""
    distinct, repeated = [], []
    for seed in range(2):
        for labels, gains in (([0, 1, 2, 3], distinct), ([0, 0, 1, 1], repeated)):
            batch, client, control = case(seed, labels)
            found = attack(80)(client.share(batch, Level.BASIC), seed=seed)
            gains.append(gain(found, batch, control))
            assert {0, 1} <= set(found.labels.tolist())
            assert (found.labels.tolist() == labels) == (labels[1] == 1)
            assert len(set(found.labels.tolist())) == 4
            assert any("some label repeats" in note for note in found.notes) == (labels[1] == 0)
    assert sum(distinct) > sum(repeated) + 1, (distinct, repeated)  # measured: 5.3 at least, 2.8 over 20 other pairs


def test_column_minimum_strictly_and_as_published():
    batch, client, _ = case(0, [0, 0, 1, 1])
    seen = client.share(batch, Level.BASIC)
    assert ColumnMinimum().read(seen).values.tolist() == [0, 1]
    with pytest.raises(AttackFailed, match="found 2 of 4 labels"):
        ColumnMinimum().infer(seen, 1)
    loose = ColumnMinimum(strict=False).infer(seen, 1)
    assert len(loose.values) == 4
    assert loose.notes[-1] == "2 classes were named that have no negative entry: some label repeats."


def pooling_gain(seed):
    """PSNR that a group of four seeds gains over the best of four alone, in dB, where the update hides details.

    Behind a pooling nothing but the group moves what lies within a pool, where this picture is flat. There each seed
    stands where it began, at numbers of variance 1, and the group at their mean, of variance 1/4.
    """
    torch.manual_seed(seed)
    batch = make_batch(1, 3, 4, seed=seed)
    flat = batch.inputs.repeat_interleave(2, 2).repeat_interleave(2, 3)
    batch = replace(batch, inputs=0.45 + 0.1 * flat)  # within the reach of a short search
    net = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(48, 10))
    seen = Client(net, normalisation=Normalisation((0.5,), (0.05,))).share(batch, Level.BASIC | Knowledge.LABELS)
    stage, exact = attack(80, seeds=4).stages[0], []
    for terms in ((), (Term(GroupConsistency(), 0.01),)):
        bare = replace(ATTACK, seeds=4, stages=(replace(stage, terms=terms, moves=()),))
        exact.append(exactness(bare(seen, seed=seed), batch))
    return exact[1] - exact[0]


def test_the_group_is_worth_something():
    assert pooling_gain(0) > 1.5  # measured: 2.9 to 5.4 over 38 perturbed runs


def test_the_statistics_of_the_batch_itself_must_be_granted():
    terms = tuple(
        replace(term, prior=BatchNormStatistics(source="client"))
        if isinstance(term.prior, BatchNormStatistics)
        else term
        for term in ATTACK.stages[0].terms
    )
    told = replace(ATTACK, stages=(replace(ATTACK.stages[0], terms=terms),))
    assert told.needs == Knowledge.BATCH_SIZE | Knowledge.BATCH_STATISTICS
