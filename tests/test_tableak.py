"""TabLeak and what it is made of: the maps of its rows, its pooling, and that it brings back rows it could not know."""

import math
from dataclasses import replace

import pytest
import torch

from gradaudit import Batch, Client, Knowledge, Level, Observation, Reconstruction, metrics
from gradaudit.attacks import inverting_gradients_table, tableak
from gradaudit.audit.plan import draw
from gradaudit.data.modalities import TableHandling
from gradaudit.data.sources.table_files import Tables
from gradaudit.inversion.parts.gradient_transforms import Noise
from gradaudit.inversion.parts.labels import JointLabels
from gradaudit.inversion.parts.parametrisations import TableRows
from gradaudit.inversion.parts.parametrisations.table_rows import decided
from gradaudit.inversion.parts.pools import Pooled, TableMedian
from gradaudit.inversion.run.ensemble import Ensemble
from gradaudit.inversion.run.gradient_matching import GradientMatching
from gradaudit.models import build_table
from gradaudit.values.columns import Column, TableLayout
from gradaudit.values.errors import AttackFailed
from gradaudit.values.types import Modality
from properties import (
    assert_deterministic,
    assert_model_untouched,
    assert_refuses_missing_knowledge,
    assert_repr_rebuilds,
    short,
)

FACTS = Level.BASIC | Knowledge.LABELS
LAYOUT = TableLayout(
    (
        Column("trade", ("farming", "crafts", "office")),
        Column("age", mean=40.0, std=10.0, minimum=20.0, maximum=80.0),
        Column("debt", mean=0.0, std=1.0),
        Column("home", ("couple", "single")),
    )
)  # D = 3 + 1 + 1 + 2 = 7; age lies in [-2, 4], debt anywhere
PEOPLE = Tables().open()


def share(batch: Batch, seed: int, facts: Knowledge = FACTS) -> Observation:
    torch.manual_seed(seed)
    width = batch.inputs.shape[1]
    return Client(build_table("tabular-mlp", num_classes=2, features=width)).share(batch, facts)


def few_rows(facts: Knowledge = FACTS) -> Observation:
    rows = LAYOUT.encode([("crafts", 50.0, 1.0, "couple"), ("office", 30.0, -2.0, "single")])
    return share(Batch(rows, torch.tensor([0, 1]), Modality.TABLE, table=LAYOUT), 0, facts)


def people(seed: int, size: int) -> tuple[Batch, list[int]]:
    indices = draw(len(PEOPLE), size, 0, seed)
    return TableHandling().gather(PEOPLE, indices, PEOPLE.labels[indices]), indices


def ensemble(members: int, steps: int) -> Ensemble:
    return replace(tableak.ATTACK, attack=short(tableak.MEMBER, steps), members=members)


def right(batch: Batch, guess: Reconstruction) -> tuple[torch.Tensor, torch.Tensor]:
    matched = TableHandling().match(batch, guess)
    return metrics.cells_right(matched.inputs, batch.inputs, batch.table), matched.order


def member(rows: list[list[float]], objective: float = 0.0) -> Reconstruction:
    return Reconstruction(torch.tensor(rows), torch.arange(len(rows)), objective)


class TestRows:
    def test_first_guess_is_uniform(self):
        rows = TableRows().start(few_rows(), 500, None).variables["rows"]
        assert rows.shape == (500, 2, 7)
        assert rows.abs().max() <= 1
        assert rows.var().item() == pytest.approx(1 / 3, rel=0.05)

    def test_maps_by_hand(self):
        candidate = TableRows(temperature=2.0).start(few_rows(), 1, None)
        candidate.variables["rows"] = torch.tensor([[[0.0, 0.0, 2 * math.log(2), math.log(3), 7.0, 0.0, 0.0]]])
        # shares 1 : 1 : 2; age -2 + 6 · 3/4; debt has no extremes; shares 1 : 1
        torch.testing.assert_close(candidate.decode(), torch.tensor([[[0.25, 0.25, 0.5, 2.5, 7.0, 0.5, 0.5]]]))

    def test_maps_can_be_left_out(self):
        rows = 9 * torch.randn(3, 2, 7)
        for softmax, bounds in ((False, False), (True, False), (False, True)):
            candidate = TableRows(softmax, bounds).start(few_rows(), 3, None)
            candidate.variables["rows"] = rows
            decoded = candidate.decode()
            for place, on in ((slice(0, 3), softmax), (slice(3, 4), bounds), (slice(5, 7), softmax)):
                assert torch.equal(decoded[..., place], rows[..., place]) is not on

    def test_the_extremes_and_the_simplex_hold_everywhere(self):
        candidate = TableRows().start(few_rows(), 4, None)
        candidate.variables["rows"] = 1e3 * torch.randn(4, 2, 7)
        decoded = candidate.decode()
        assert (decoded[..., :3].sum(-1) - 1).abs().max() < 1e-5
        assert decoded[..., 3].min() >= -2
        assert decoded[..., 3].max() <= 4

    @pytest.mark.parametrize("part", [TableRows(), TableRows(temperature=0.5), TableRows(False, False)], ids=repr)
    def test_a_later_stage_starts_where_the_one_before_ended(self, part):
        first = part.start(few_rows(), 2, None)
        torch.testing.assert_close(part.start(few_rows(), 2, first).decode(), first.decode())

    def test_reports_rows_that_a_table_can_hold(self):
        seen = few_rows()
        for part in (TableRows(), TableRows(False, False)):
            candidate = part.start(seen, 1, None)
            candidate.variables["rows"] = torch.tensor([[[0.1, 0.9, -3.0, 50.0, 50.0, 0.2, 0.1]]])
            found = candidate.reported(seen)
            torch.testing.assert_close(found, torch.tensor([[[0.0, 1.0, 0.0, 4.0, 50.0, 1.0, 0.0]]]))
        soft = TableRows(decide=False).start(seen, 1, None)
        assert torch.equal(soft.reported(seen), soft.decode())

    def test_refuses_pictures_and_a_temperature_of_zero(self, client, batch):
        with pytest.raises(AttackFailed, match="columns of a table, but the client trains on pictures"):
            TableRows().start(client.share(batch, FACTS), 1, None)
        with pytest.raises(AttackFailed, match="temperature must be positive"):
            TableRows(temperature=0)


class TestMedian:
    """Rows are [trade (3), age, debt, home (2)]; the members hold two people, in different order."""

    BEST = ([0.8, 0.1, 0.1, 0.0, 1.0, 0.6, 0.4], [0.1, 0.1, 0.8, 2.0, -1.0, 0.2, 0.8])
    SWAPPED = ([0.2, 0.1, 0.7, 2.1, -1.2, 0.4, 0.6], [0.6, 0.3, 0.1, 0.2, 1.2, 0.7, 0.3])
    THIRD = ([0.7, 0.2, 0.1, 0.1, 1.1, 0.8, 0.2], [0.0, 0.1, 0.9, 1.9, -1.1, 0.0, 1.0])

    def pooled(self, *members):
        return TableMedian().bind(few_rows())([member(list(rows)) for rows in members])

    def test_by_hand(self):
        found = self.pooled(self.BEST, self.SWAPPED, self.THIRD)
        # medians of the first: .7 .2 .1 | .1 | 1.1 | .7 .3; of the second: .1 .1 .8 | 2 | -1.1 | .2 .8
        wanted = [[1.0, 0, 0, 0.1, 1.1, 1, 0], [0, 0, 1.0, 2.0, -1.1, 0, 1]]
        torch.testing.assert_close(found.inputs, torch.tensor(wanted))
        assert found.labels.tolist() == [0, 1]
        entropy = -sum(p * math.log(p) for p in (0.7, 0.2, 0.1)) / math.log(3)
        assert found.confidence[0, 0].item() == pytest.approx(1 - entropy, abs=1e-6)
        # ages 0, .2 and .1: standard deviation .1
        assert found.confidence[0, 1].item() == pytest.approx(math.erf(0.319 / (0.1 * math.sqrt(2))), abs=1e-6)
        assert found.confidence.shape == (2, 4)

    def test_medians_that_do_not_sum_to_one_are_shares_all_the_same(self):
        apart = [[[0.0] * 3 + [0.0, 0.0, 1.0, 0.0]] for _ in range(3)]
        for place, rows in enumerate(apart):
            rows[0][place] = 1.0
        found = self.pooled(*apart)
        assert found.confidence[0, 0].item() == pytest.approx(0, abs=1e-6)  # every median is 0: nothing is known
        assert found.confidence[0, 3].item() == pytest.approx(1)

    def test_one_member_is_itself_and_sure_of_its_numbers(self):
        found = self.pooled(self.BEST)
        assert torch.equal(found.inputs, decided(torch.tensor(self.BEST), LAYOUT))
        assert found.confidence[:, 1:3].eq(1).all()
        with pytest.raises(AttackFailed, match="tolerance must be positive"):
            TableMedian(0)

    def test_a_column_of_one_category_is_certain(self):
        layout = TableLayout((Column("country", ("only",)), Column("age")))
        seen = replace(few_rows(), table=layout)
        found = TableMedian().bind(seen)([member([[0.3, 1.0]]), member([[0.2, 1.0]])])
        assert found.confidence.tolist() == [[1, 1]]


class TestEnsemble:
    @pytest.mark.parametrize("attack", [tableak.ATTACK, inverting_gradients_table.ATTACK], ids=lambda a: a.name)
    def test_repr_rebuilds(self, attack):
        assert_repr_rebuilds(attack)
        assert hash(attack) == hash(attack)

    def test_the_papers_parameters(self):
        stage = tableak.MEMBER.stages[0]
        assert (tableak.ATTACK.members, stage.steps, stage.optimiser.lr) == (30, 1_500, 0.06)
        assert tableak.ATTACK.pool.tolerance == metrics.cells.TOLERANCE

    def test_properties(self):
        attack = ensemble(3, 3)
        assert_deterministic(attack, few_rows())
        assert_model_untouched(attack, few_rows())
        assert_refuses_missing_knowledge(attack, few_rows)

    def test_neighbouring_seeds_share_no_member(self):
        attack = ensemble(3, 2)
        first, second = ({curve[0][1] for curve in attack(few_rows(), seed=seed).trace} for seed in (0, 1))
        assert len(first) == 3
        assert not first & second

    def test_speaks_of_the_pooled_guess(self):
        seen = few_rows()
        found = ensemble(3, 5)(seen)
        leaves = [*seen.model.parameters()]
        loss = torch.nn.functional.cross_entropy(seen.model(found.inputs), found.labels)
        update = torch.cat([g.flatten() for g in torch.autograd.grad(loss, leaves)])
        observed = torch.cat([g.flatten() for g in seen.update.values])
        cosine = torch.nn.functional.cosine_similarity(update, observed, dim=0).item()
        assert found.objective == pytest.approx(1 - cosine, abs=1e-5)
        assert "Pooled from 3 runs" in found.notes[0]
        assert not found.verified
        assert found.labels_granted

    def test_refuses_pictures_and_no_member(self, client, batch):
        with pytest.raises(AttackFailed, match=r"TableRows\(.*\) is made for table, but the client trains on pictures"):
            tableak.ATTACK(client.share(batch, FACTS))
        with pytest.raises(AttackFailed, match="members must be at least 1"):
            ensemble(0, 1)


@pytest.fixture(scope="module")
def runs():
    """Three batches of eight invented people: the batch, its rows' places, what is seen, and what TabLeak found."""
    found = []
    for seed in (1, 2, 3):
        batch, indices = people(seed, 8)
        seen = share(batch, seed)
        found.append((batch, indices, seen, ensemble(5, 250)(seen, seed=seed)))
    return found


def test_recovers_rows_over_several_seeds(runs):
    for batch, indices, _, found in runs:
        common = PEOPLE.common_except(indices).expand_as(batch.inputs)
        control = right(batch, Reconstruction(common, None, 0.0))[0].double().mean()
        assert right(batch, found)[0].double().mean() > control + 0.3


def test_fails_with_the_wrong_model(runs):
    for seed, (batch, _, seen, found) in enumerate(runs):
        torch.manual_seed(100 + seed)
        other = build_table("tabular-mlp", num_classes=2, features=PEOPLE.layout.width)
        wrong = ensemble(1, 250)(replace(seen, model=other), seed=seed)
        assert right(batch, wrong)[0].double().mean() < right(batch, found)[0].double().mean() - 0.2


def test_confidence_tells_right_cells_from_wrong_ones():
    sure, unsure = [], []
    for seed in (0, 1):
        batch, _ = people(seed, 16)
        found = ensemble(5, 200)(share(batch, seed), seed=seed)
        assert found.confidence.min() >= 0
        assert found.confidence.max() <= 1
        cells, order = right(batch, found)
        good, ranked = cells.flatten().double(), found.confidence[order].flatten().argsort(descending=True)
        middle = len(good) // 2
        sure.append(good[ranked[:middle]].mean().item())
        unsure.append(good[ranked[middle:]].mean().item())
    assert sum(sure) > sum(unsure) + 0.2  # ten points on average


def test_adult(shared_data):
    """Above Inverting Gradients and above the most common cells, on real rows."""
    source = Tables(shared_data / "adult.csv", missing="category").open()
    gains = []
    for seed in (0, 1):
        indices = draw(len(source), 4, 0, seed)
        batch = TableHandling().gather(source, indices, source.labels[indices])
        seen = share(batch, seed)
        ours, theirs = (
            right(batch, attack(seen, seed=seed))[0].double().mean()
            for attack in (ensemble(3, 300), short(inverting_gradients_table.ATTACK, 300))
        )
        common = source.common_except(indices).expand_as(batch.inputs)
        assert ours > right(batch, Reconstruction(common, None, 0.0))[0].double().mean() + 0.1
        gains.append(float(ours - theirs))
    assert sum(gains) / len(gains) > 0.05


def test_an_ensemble_without_a_member_says_why():
    spoilt = replace(tableak.MEMBER.stages[0], steps=3, gradient=(Noise(3e38),))
    attack = replace(ensemble(2, 3), attack=replace(tableak.MEMBER, stages=(spoilt,)))
    with pytest.raises(AttackFailed, match="no longer finite"):
        attack(few_rows())


def test_a_member_that_is_lost_is_left_out_and_said(monkeypatch):
    seen, plain = few_rows(), GradientMatching.many

    def losing(self, *args, **options):
        found = plain(self, *args, **options)
        return [found[0], AttackFailed("lost."), AttackFailed("lost."), found[3]]

    monkeypatch.setattr(GradientMatching, "many", losing)
    found = ensemble(4, 5)(seen)
    objectives = sorted(
        one.objective for one in plain(ensemble(4, 5).attack, [seen] * 4, seeds=ensemble(4, 5)._seeds(0))
    )
    assert found.notes[0].startswith("Pooled from 2 runs, whose objectives range from ")
    assert found.notes.count("A run was dropped: lost.") == 1
    assert len(found.trace) == 2
    low, high = (float(word.rstrip(";")) for word in (found.notes[0].split()[8], found.notes[0].split()[10]))
    assert objectives[0] * 0.99 <= low < high <= objectives[-1] * 1.01


def test_a_pooled_guess_is_verified_where_it_explains_the_update():
    seen = few_rows()
    rows = LAYOUT.encode([("crafts", 50.0, 1.0, "couple"), ("office", 30.0, -2.0, "single")])
    value, verified = ensemble(1, 1)._judged(seen, Pooled(rows, torch.tensor([0, 1]), None))
    assert value == pytest.approx(0, abs=1e-6)
    assert verified
    value, verified = ensemble(1, 1)._judged(seen, Pooled(rows + 0.1, torch.tensor([0, 1]), None))
    assert value > 1e-4
    assert not verified
    value, verified = ensemble(1, 1)._judged(seen, Pooled(rows, None, None))
    assert math.isnan(value)
    assert not verified


def test_an_ensemble_needs_what_its_parts_need():
    attack = ensemble(2, 1)
    assert attack.needs == attack.attack.needs | attack.pool.needs
    assert attack.pool in attack.parts
    known = replace(attack, attack=replace(attack.attack, labels=JointLabels()))
    assert known.pool.needs in known.needs


def test_the_seeds_of_members_are_drawn_from_all_there_are():
    seeds = ensemble(30, 1)._seeds(0)
    assert seeds == ensemble(30, 1)._seeds(0)
    assert len({*seeds, *ensemble(30, 1)._seeds(1)}) == 60
    assert max(seeds) > 2**60
    first, again = (ensemble(1, 2)(few_rows(), **seed) for seed in ({}, {"seed": 0}))
    assert torch.equal(first.inputs, again.inputs)
    assert first.objective == again.objective
