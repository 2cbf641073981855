"""HFGradInv as a whole: what it is made of, that each part can be switched, and that it recovers photographs."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from gradaudit import Batch, Client, Knowledge, Level, Normalisation, metrics
from gradaudit.attacks import HFGRADINV
from gradaudit.datasets import SOURCES
from gradaudit.inversion import part_names
from gradaudit.inversion.gradient_transforms import QuantisedSign
from gradaudit.inversion.labels import MinimumVariation
from gradaudit.inversion.objectives import Growing
from gradaudit.inversion.priors import BatchNormStatistics, TotalVariation
from gradaudit.inversion.refusal import needs_given
from gradaudit.overrides import override
from properties import short

NORMALISATION = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SIZE, PUBLIC = 16, 12


def normed_net(pictures, classes=10):
    """Convolutions with BatchNorm whose running statistics are those of `pictures`, and one linear head."""
    layers = []
    for entering, leaving, stride in ((3, 12, 1), (12, 24, 2), (24, 24, 1)):
        layers += [
            nn.Conv2d(entering, leaving, 3, stride, padding=1),
            nn.BatchNorm2d(leaving, momentum=None),
            nn.ReLU(),
        ]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(24 * (SIZE // 2) ** 2, classes)).train()
    with torch.no_grad():
        net(NORMALISATION.apply(pictures))
    return net.eval()


@pytest.fixture(scope="module")
def photographs():
    return SOURCES["photographs"](size=SIZE, crops="whole").open()


def case(photographs, seed, facts, labels=None, size=2):
    """A batch, what the adversary sees of it, and the mean picture."""
    torch.manual_seed(seed)
    order = torch.randperm(len(photographs)).tolist()
    chosen, public = order[:size], photographs.stack(order[size : size + PUBLIC])
    batch = Batch(photographs.stack(chosen), torch.tensor(labels) if labels else torch.randperm(10)[:size])
    client = Client(normed_net(public), normalisation=NORMALISATION)
    control = photographs.mean_except(chosen).expand_as(batch.inputs)
    return batch, client.share(batch, facts, public=public), control


def gain(found, batch, control):
    order = metrics.assign(found.inputs, batch.inputs)
    return float((metrics.psnr(found.inputs[order], batch.inputs) - metrics.psnr(control, batch.inputs)).mean())


def test_the_papers_parameters():
    stage = HFGRADINV.stages[0]
    assert len(HFGRADINV.stages) == HFGRADINV.seeds == HFGRADINV.restarts == 1
    assert stage.steps == 15_000
    total_variation, statistics = stage.terms
    assert (total_variation.prior, total_variation.weight, total_variation.start) == (TotalVariation(), 5e-3, 1 / 5)
    assert (statistics.prior, statistics.weight, statistics.start) == (
        BatchNormStatistics(multipliers=(1.3, 3.0)),
        1e-4,
        1 / 3,
    )
    assert [term.stop for term in stage.terms] == [1, 1]
    assert HFGRADINV.objective == Growing(dropout=0.3)
    assert stage.gradient == (QuantisedSign(),)
    rates = [stage.optimiser.lr * stage.optimiser.scale(step, 15_000) for step in (0, 5_624, 5_625, 9_375, 13_125)]
    assert rates == pytest.approx([0.1, 0.1, 0.033, 0.01089, 0.0035937])
    assert stage.parametrisation.box
    assert HFGRADINV.needs == Knowledge.BATCH_SIZE | Knowledge.PUBLIC_DATA
    assert needs_given(HFGRADINV, Knowledge.LABELS) == Knowledge.BATCH_SIZE
    assert isinstance(HFGRADINV.labels, MinimumVariation)
    assert HFGRADINV.deviations


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("stages.0.steps", 40),
        ("objective.dropout", 0.0),
        ("objective.stepwise", False),
        ("objective.blocks", [2]),
        ("objective.timetable", [3, 1, 1]),
        ("objective", "Cosine()"),
        ("stages.0.terms", []),
        ("stages.0.terms.0.weight", 0.1),
        ("stages.0.terms.1.prior.source", "client"),
        ("stages.0.terms.1.prior.multipliers", []),
        ("stages.0.gradient", "(Sign(),)"),
        ("stages.0.gradient.0.doubled", 0.5),
        ("stages.0.optimiser.milestones", []),
        ("stages.0.parametrisation.box", False),
        ("labels", "MinimumVariationDirect()"),
        ("selection", "Cosine()"),
    ],
)
def test_every_component_can_be_switched(photographs, path, value):
    _, seen, _ = case(photographs, 0, Level.BATCH_STATISTICS)
    whole = override(short(HFGRADINV, 24), "stages.0.terms.1.weight", 1e-2, part_names())
    changed = override(whole, path, value, part_names())
    assert changed != whole
    found, other = whole(seen), changed(seen)
    assert not torch.equal(found.inputs, other.inputs) or path in ("labels", "selection")


SMALL = override(short(HFGRADINV, 150), "stages.0.terms.0.weight", 0.1, part_names())  # as `deviations` advise


def test_recovers_photographs_with_their_labels(photographs):
    gains = []
    for seed in range(4):
        batch, seen, control = case(photographs, seed, Level.BASIC | Knowledge.PUBLIC_DATA)
        found = SMALL(seen, seed=seed)
        assert not found.labels_granted
        assert found.labels.tolist() == sorted(batch.labels.tolist())
        gains.append(gain(found, batch, control))
    assert min(gains) > 1.5, gains
    assert sum(gains) / 4 > 3, gains


def test_finds_nothing_through_another_model(photographs):
    for seed in range(2):
        batch, seen, control = case(photographs, seed, Level.BASIC | Knowledge.LABELS)
        torch.manual_seed(99)
        wrong = replace(seen, model=normed_net(photographs.stack(range(PUBLIC))))
        assert gain(SMALL(wrong, seed=seed), batch, control) < 0


def test_a_batch_of_one_class_is_counted(photographs):
    """Distinct labels are what other methods must assume (Ye et al., 2024, figure 4)."""
    batch, seen, _ = case(photographs, 0, Level.BASIC | Knowledge.PUBLIC_DATA, labels=[3, 3, 5], size=3)
    assert short(HFGRADINV, 1)(seen).labels.tolist() == batch.labels.tolist()


def test_it_runs_where_there_is_no_batch_norm(photographs):
    torch.manual_seed(0)
    batch = Batch(photographs.stack([0]), torch.tensor([4]))
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * (SIZE - 2) ** 2, 10))
    seen = Client(net, normalisation=NORMALISATION).share(batch, Level.BASIC | Knowledge.LABELS)
    found = short(HFGRADINV, 12)(seen)
    silent = override(short(HFGRADINV, 12), "stages.0.terms.1.weight", 0.0, part_names())(seen)
    assert torch.equal(found.inputs, silent.inputs)
