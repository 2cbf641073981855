"""Learning to Invert: its parts, its trained inverters as files, and the hybrid that matches from its images."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from conftest import make_batch, smooth_net
from gradaudit import Batch, Client, FedAvg, FedSGD, Knowledge, Level, Normalisation
from gradaudit.attacks._inverter import Inverter, matched_error
from gradaudit.attacks._inverter_file import save_inverter
from gradaudit.attacks._inverter_training import TrainedInverter
from gradaudit.attacks._simulated_client import SimulatedClient
from gradaudit.attacks.lti import ATTACK
from gradaudit.audit.config import make_config
from gradaudit.audit.plan import make_plan
from gradaudit.inversion.attack import TimeLimit
from gradaudit.inversion.run import keeper
from gradaudit.inversion.run.refusal import attacked
from gradaudit.protocol.defenses.additive_noise import GaussianNoise
from gradaudit.protocol.defenses.clipping import Clip
from gradaudit.protocol.defenses.dp_sgd import DpSgd
from gradaudit.protocol.defenses.sign_sgd import SignSgd
from gradaudit.protocol.defenses.soteria import Soteria
from gradaudit.protocol.defenses.top_k import TopK
from gradaudit.values.errors import AttackFailed, AuditError, MissingKnowledge

TINY = replace(ATTACK, steps=8, minibatch=4, width=8)
TOLD = Level.BASIC | Knowledge.PUBLIC_DATA | Knowledge.DEFENSE | Knowledge.LOCAL_TRAINING
NORMALISATION = Normalisation((0.5,), (0.25,))
SIDE = 4


def public(count=40, seed=9):
    pictures = torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    return Batch(pictures, torch.arange(count) % 5)


def observed(*defenses, size=2, training=None, seed=0, facts=TOLD, known=None):
    torch.manual_seed(seed)
    batch = make_batch(size, 1, SIDE, 5, seed)
    client = Client(smooth_net(5, 1, SIDE), training or FedSGD(), defenses=defenses, normalisation=NORMALISATION)
    return batch, client.share(batch, facts, public=public() if known is None else known)


def test_hashing_is_the_sum_of_each_bin():
    inverter = Inverter(9, (1, 1, 2, 2), width=3, hashing=4 / 9)
    updates = torch.randn(3, 9)
    expected = torch.zeros(3, 4)
    for row in range(3):
        for entry in range(9):
            expected[row, inverter.bins[entry]] += updates[row, entry]
    assert torch.allclose(inverter.hashed(updates), expected)


def test_the_error_is_that_of_the_best_order():
    guess, truth = torch.rand(4, 3, 1, 2, 2, requires_grad=True), torch.rand(4, 3, 1, 2, 2)
    best = [
        min((one[list(order)] - other).square().mean() for order in itertools.permutations(range(3)))
        for one, other in zip(guess, truth, strict=True)
    ]
    error = matched_error(guess, truth)
    assert torch.allclose(error, torch.stack(best).mean())
    assert error < (guess - truth).square().mean()
    error.backward()
    assert guess.grad.any()


def test_statistics_of_all_updates_so_far():
    inverter, features = Inverter(5, (1, 1, 2, 2), width=3), 3 * torch.randn(50, 5) + 2
    for some in features.split((7, 30, 13)):
        inverter.notice(some)
    assert torch.allclose(inverter.mean, features.mean(0), atol=1e-5)
    assert torch.allclose((inverter.spread / inverter.count).sqrt(), features.std(0, unbiased=False), rtol=1e-4)


@pytest.mark.parametrize(
    ("defenses", "training"),
    [
        ((), FedSGD()),
        ((SignSgd(),), FedSGD()),
        ((TopK(0.1), Clip(0.1)), FedSGD()),
        ((Soteria(0.6),), FedSGD()),  # looks at more than the update
        ((DpSgd(0.5, 0.0, replace_batch_norm=True),), FedSGD()),  # acts on the training
        ((), FedAvg(learning_rate=0.5, epochs=2, minibatch_size=1)),
        ((TopK(0.1),), FedSGD(batch_norm="train")),
    ],
    ids=["none", "sign", "top-k and clip", "soteria", "dp-sgd", "local steps", "batch statistics"],
)
def test_a_simulated_update_is_the_clients(defenses, training):
    batch, seen = observed(*defenses, training=training)
    other = make_batch(2, 1, SIDE, 5, 7)
    client = SimulatedClient.of(attacked("lti", seen), 2)
    rows = client.updates(torch.stack([other.inputs, batch.inputs]), torch.stack([other.labels, batch.labels]))
    expected = torch.cat([tensor.flatten() for tensor in seen.update.values])
    assert torch.allclose(rows[1], expected, atol=1e-5 * float(expected.abs().max()))
    assert not torch.allclose(rows[0], expected, rtol=1e-2)


def test_every_simulated_update_has_noise_of_its_own():
    batch, seen = observed(GaussianNoise(0.1))
    client = SimulatedClient.of(attacked("lti", seen), 2)
    given = batch.inputs.expand(60, *batch.inputs.shape), batch.labels.expand(60, 2)
    noise = client.updates(*given) - replace(client, defenses=()).updates(*given)
    assert float(noise.std()) == pytest.approx(0.1, rel=0.1)
    assert float(noise.mean(0).abs().max()) < 0.1


def test_an_unknown_learning_rate_leaves_the_direction():
    _, seen = observed(training=FedAvg(learning_rate=0.5, epochs=2), facts=Level.BASIC | Knowledge.PUBLIC_DATA)
    client = SimulatedClient.of(attacked("lti", seen), 2)
    pictures = public().inputs[:6].unflatten(0, (3, 2))
    assert torch.allclose(client.updates(pictures, torch.zeros(3, 2).long()).norm(dim=1), torch.ones(3))


def test_granted_labels_order_the_images():
    """The update says which image has which label."""
    batch, seen = observed(facts=TOLD | Knowledge.LABELS)

    class Swapped(nn.Module):
        shape = (2, 1, SIDE, SIDE)

        def hashed(self, update):
            return update

        def forward(self, features):
            return batch.inputs.flip(0)[None]

    found = ATTACK.invert(attacked("lti", seen), TrainedInverter(Swapped(), 0.0, 1.0, 1, 1))
    assert torch.equal(found.inputs, batch.inputs)
    assert found.verified
    assert found.labels_granted


def test_a_resumed_training_gives_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "SECONDS", -1.0)
    _, seen = observed()
    whole = TINY(seen, seed=3)

    def stop(done, *_):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TINY(seen, seed=3, watch=stop, keep=tmp_path / "run")
    steps = []
    again = TINY(seen, seed=3, watch=lambda done, *_: steps.append(done), keep=tmp_path / "run")
    assert steps == [6, 7, 8]
    assert torch.equal(again.inputs, whole.inputs)
    assert again.trace == whole.trace
    keeper.forget(tmp_path / "run")
    assert not tmp_path.joinpath("run-inverter.pt").exists()


def test_a_time_limit():
    _, seen = observed()
    ticks = itertools.count()
    found = TINY(seen, watch=TimeLimit(4, clock=lambda: next(ticks)))
    assert 0 < found.cut[0] < 8
    assert "budget cut this attack" in found.notes[-1]
    with pytest.raises(AttackFailed, match="lti: the budget ended before the first step"):
        TINY(seen, watch=TimeLimit(0.0))


def test_says_what_it_cannot_train_on():
    with pytest.raises(AttackFailed, match="3 public images are too few to train on batches of 2"):
        TINY(observed(known=public(3))[1])
    wrong = public()
    wrong.labels[3] = 5
    with pytest.raises(AttackFailed, match="a public image has a label that is no class"):
        TINY(observed(known=wrong)[1])
    with pytest.raises(AttackFailed, match="there are none"):
        TINY(replace(observed()[1], public_data=None))


def test_public_images_without_labels():
    found = TINY(observed(known=public().inputs)[1])
    assert found.inputs.shape == (2, 1, SIDE, SIDE)
    assert "Trained on 32 simulated updates of 36 public images" in found.notes[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An inverter for sign, two images and the network of seed 0."""
    _, seen = observed(SignSgd())
    client = SimulatedClient.of(attacked("lti", seen), 2)
    found = TINY.learn(client, seen.public_data, seen.public_labels, seed=5)
    return save_inverter(tmp_path_factory.mktemp("inverter") / "sign.safetensors", found, TINY, client)


def test_a_trained_inverter_is_used(trained):
    _, seen = observed(SignSgd())
    found = replace(TINY, trained=str(trained))(seen)
    assert torch.equal(found.inputs, TINY(seen, seed=5).inputs)
    assert found.cut is None


def test_a_trained_inverter_needs_the_defense_that_it_was_trained_with(trained):
    attack = replace(TINY, trained=str(trained))
    assert attack.needs == TINY.needs | Knowledge.DEFENSE
    with pytest.raises(MissingKnowledge, match="lti: needs DEFENSE"):
        attack(observed(SignSgd(), facts=TOLD & ~Knowledge.DEFENSE)[1])


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"seed": 1}, "its model has other weights"),
        ({"size": 1}, "its batch size is 2, and this client's is 1"),
        ({"defenses": (TopK(0.5),)}, r"its defenses is .*SignSgd.*, and this client's is .*TopK"),
        ({"training": FedAvg(learning_rate=0.5)}, "its training is "),
    ],
    ids=["model", "batch size", "defense", "training"],
)
def test_refuses_an_inverter_of_another_client(trained, other, why):
    other = dict(other)
    _, seen = observed(*other.pop("defenses", (SignSgd(),)), **other)
    with pytest.raises(AttackFailed, match=rf"is for another client: .*{why}.*gradaudit train inverter"):
        replace(TINY, trained=str(trained))(seen)


def test_refuses_an_inverter_for_other_images_before_anything_runs(trained, tmp_path):
    entry = {"name": "lti", "set": {"trained": str(trained)}}
    document = {
        "data": {"source": "photographs", "size": 16, "batch_size": 2},
        "model": {"name": "mlp", "num_classes": 10},
        "public_data": {"source": "photographs", "size": 16},
        "knowledge": ["basic", "PUBLIC_DATA", "DEFENSE"],
        "attacks": [entry],
    }
    with pytest.raises(AuditError, match=r"attacks.0: lti: trained: .* its image shape is .*client's is \(3, 16, 16\)"):
        make_plan(make_config(document), tmp_path)


def test_refuses_what_is_no_inverter(trained, tmp_path):
    _, seen = observed(SignSgd())
    with pytest.raises(AttackFailed, match="no file at"):
        replace(TINY, trained=str(tmp_path / "none.safetensors"))(seen)
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
    with pytest.raises(AttackFailed, match="is no trained inverter of this version"):
        replace(TINY, trained=str(tmp_path / "a.pt"))(seen)


@pytest.mark.parametrize("wrong", [{"hashing": 1.5}, {"held_out": 1.0}, {"steps": 0}, {"rate": 0.0}])
def test_checks_its_fields(wrong):
    with pytest.raises(AttackFailed):
        replace(ATTACK, **wrong)
