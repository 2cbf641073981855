"""Seeds: what an attack is called with leads neither to the client's noise nor to the choice of the batches."""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradaudit import Batch, Client, FedAvg, Knowledge, Level, LocalTraining, SecureAggregation, metrics
from gradaudit.audit import judge as audit
from gradaudit.audit.config import make_config
from gradaudit.audit.plan import draw, make_plan
from gradaudit.client.participant import own_seed
from gradaudit.protocol.defenses import GaussianNoise
from gradaudit.protocol.local_training import client_seed
from gradaudit.values.chance import child_seed, set_seed
from gradaudit.values.types import Reconstruction

NOISED = {
    "data": {"source": "photographs", "size": 16, "batch_size": 1},
    "model": {"name": "mlp", "num_classes": 10},
    "knowledge": ["BATCH_SIZE"],
    "defenses": [{"name": "gaussian-noise", "std": 0.3}],
    "attacks": ["dlg"],  # has no part in it
    "repeats": 3,
    "device": "cpu",
}
KNOWN = ("the client's training", "the client's defenses", "client 0", "client -1", "client 1", "the attack", "batch 0")


def inputs_of(seen, noise_seed):
    """The example that the first layer's gradient gives away once the noise is drawn again and taken off."""
    with torch.random.fork_rng():
        torch.manual_seed(noise_seed)
        clean = [g - 0.3 * torch.randn_like(g) for g in seen.update.values]
    weight, bias = clean[:2]
    row = int(bias.abs().argmax())
    return seen.normalisation.invert((weight[row] / bias[row]).view(1, *seen.input_shape)).clamp(0, 1)


@dataclass(frozen=True)
class Cheat:
    """Tries every seed that it can derive from its own and from small numbers, and keeps the most plausible example.

    It may even judge its guesses by the truth, which no attack can.
    """

    truth: torch.Tensor
    guesses: int = 10
    name: str = "cheat"
    needs: Knowledge = Knowledge.BATCH_SIZE

    def __call__(self, seen, *, seed=0, watch=None):
        roots = [seed, *range(self.guesses)]
        seeds = {*roots, *(child_seed(root, use) for root in roots for use in KNOWN)}
        seeds |= {child_seed(child_seed(root, "batch 0"), use) for root in roots for use in KNOWN}
        seeds |= {client_seed(root, k) for root in roots for k in (-1, 0, 1)}
        found = [inputs_of(seen, entry) for entry in seeds]
        best = max(found, key=lambda guess: float(metrics.psnr(guess, self.truth)))
        return Reconstruction(best, None, 0.0)


def test_no_attack_draws_the_clients_noise_again(tmp_path):
    for case in make_plan(make_config(NOISED), tmp_path).cases():
        found = audit.audit(replace(case, attack=Cheat(case.batch.inputs), attack_name="cheat"))
        assert (
            found.finding.scores.psnr.mean < 40
        )  # measured: at most 24.2 over 40 batches; the right seed gives above 60


def test_the_cheat_would_work_with_the_right_seed(tmp_path):
    """The test above can fail: whoever holds the batch draws the noise again, and has the example exactly."""
    for case in make_plan(make_config(NOISED), tmp_path).cases():
        seen = case.client.share(case.batch, case.knowledge, seed=case.chance)
        again = inputs_of(seen, own_seed("defenses", case.chance, case.batch))
        assert float(metrics.psnr(again, case.batch.inputs)) > 60


def test_the_client_draws_from_the_cases_chance(tmp_path):
    """Of a case with another seed the client's noise is another; of the same one the same."""
    shown = []

    class Looks(Cheat):
        def __call__(self, seen, *, seed=0, watch=None):
            shown.append(seen.update.values)
            return Reconstruction(torch.zeros_like(self.truth), None, 0.0)

    case = next(iter(make_plan(make_config(NOISED), tmp_path).cases()))
    for seed in (case.chance, case.chance, case.chance + 1):
        audit.audit(replace(case, chance=seed, attack=Looks(case.batch.inputs), attack_name="looks"))
    equal = [all(map(torch.equal, shown[0], other)) for other in shown[1:]]
    assert equal == [True, False]
    expected = case.client.share(case.batch, case.knowledge, seed=case.chance).update.values
    assert all(map(torch.equal, shown[0], expected))


def test_the_attack_gets_a_seed_of_its_own(tmp_path):
    plan = make_plan(make_config(NOISED), tmp_path)
    told = []

    @dataclass(frozen=True)
    class Listening:
        name: str = "listening"
        needs: Knowledge = Knowledge.NOTHING

        def __call__(self, seen, *, seed=0, watch=None):
            told.append(seed)
            return Reconstruction(torch.zeros(1, *seen.input_shape), None, 0.0)

    for case in plan.cases():
        audit.audit(replace(case, attack=Listening()))
    own = {seed for repeat in range(3) for seed in (plan.config.seed, repeat, plan.chance(repeat))}
    assert len(set(told)) == 3
    assert not own & set(told)


def test_the_choice_of_batches_depends_on_the_data(tmp_path):
    """Seed 0 is the first that anybody would guess, and indices tell the labels of a source without any."""
    plan = make_plan(make_config(NOISED), tmp_path)
    chosen = [case.picture_names for case in plan.cases()]
    again = [case.picture_names for case in make_plan(make_config(NOISED), tmp_path).cases()]
    guessed = [draw(len(plan.source), 1, repeat, 0) for repeat in range(3)]
    assert chosen == again
    assert [(plan.source.picture_names[i],) for (i,) in guessed] != chosen


def test_the_same_seed_shuffles_other_batches_differently():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 12))
    training = FedAvg(learning_rate=0.1, minibatch_size=1, shuffle=True)
    orders = set()
    for pixel in range(8):
        batch = Batch(torch.rand(12, 1, 2, 2).index_fill(0, torch.tensor(0), pixel / 8), torch.arange(12))
        orders.add(tuple(training.orders(12, own_seed("training", 0, batch))[0].tolist()))
        again = Client(model, training).train(batch).values
        assert all(map(torch.equal, again, Client(model, training).train(batch).values))
    assert len(orders) == 8


def test_every_use_of_a_seed_draws_its_own():
    batch = Batch(torch.rand(1, 1, 2, 2), torch.tensor([0]))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    noisy = Client(model, defenses=[GaussianNoise(1.0)])
    first, again, other = (noisy.share(batch, Level.BASIC, seed=seed).update.values for seed in (1, 1, 2))
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))


@given(st.integers(0, 2**63 - 1), st.text(max_size=20))
def test_a_child_is_a_seed_for_torch(seed, purpose):
    child = child_seed(seed, purpose)
    torch.Generator().manual_seed(child)
    assert 0 <= child < 2**56
    assert child != child_seed(seed, purpose + "!")
    assert child != child_seed(seed + 1, purpose)


@pytest.mark.parametrize("nudge", [1e-7, -1e-7])
def test_rounding_of_pixels_changes_no_seed(nudge):
    pixels = torch.randint(0, 256, (3, 8, 8)) / 255
    assert child_seed(1, "use", pixels) == child_seed(1, "use", pixels + nudge)
    assert child_seed(1, "use", pixels) != child_seed(1, "use", 1 - pixels)


def noise_of(client, batch, seed):
    """What the defenses put on the update."""
    pairs = zip(client.protected(batch, seed=seed)[0].values, client.train(batch, seed=seed).values, strict=True)
    return torch.cat([(noisy - plain).flatten() for noisy, plain in pairs])


def test_noise_is_drawn_anew_for_every_batch_and_run():
    """Equal for equal runs; two clients that hold the same example draw apart, so that their mean is quieter."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 100))
    client = Client(model, defenses=[GaussianNoise(1.0)])
    one, other = (Batch(torch.full((1, 1, 8, 8), value), torch.tensor([0])) for value in (0.2, 0.7))
    relabelled = Batch(one.inputs, torch.tensor([1]))
    drawn = [noise_of(client, *run) for run in ((one, 0), (other, 0), (relabelled, 0), (one, 1))]
    assert torch.equal(drawn[0], noise_of(client, one, 0))
    alike = torch.corrcoef(torch.stack(drawn)) - torch.eye(4)
    assert alike.abs().max() < 0.1  # 6,500 entries: 8 standard deviations
    both = Batch(one.inputs.repeat(2, 1, 1, 1), one.labels.repeat(2))
    mean = noise_of(SecureAggregation(model, defenses=[GaussianNoise(1.0)], sizes=(1, 1)), both, 0)
    assert float(mean.std()) == pytest.approx(0.5**0.5, rel=0.05)


def test_training_draws_from_a_seed_that_only_the_client_knows(monkeypatch):
    """Neither the run's seed nor that of the defenses, and another one for another batch or run."""
    told, plain = [], LocalTraining.train

    def listening(self, *args, seed=None, **options):
        told.append(seed)
        return plain(self, *args, seed=seed, **options)

    monkeypatch.setattr(LocalTraining, "train", listening)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    one, other = (Batch(torch.full((1, 1, 2, 2), value), torch.tensor([0])) for value in (0.2, 0.7))
    for batch, seed in ((one, 3), (other, 3), (one, 4), (one, 3)):
        Client(model).train(batch, seed=seed)
    assert len(set(told)) == 3
    assert told[0] == told[3]
    assert not set(told) & {3, 4, own_seed("defenses", 3, one), own_seed("defenses", 4, one)}


def test_a_seed_is_torchs_own():
    """The same numbers as by `torch.manual_seed`, which takes a hundred times as long without an accelerator."""
    torch.manual_seed(2**40 + 7)
    expected = torch.rand(3)
    set_seed(2**40 + 7)
    assert torch.equal(torch.rand(3), expected)
