"""Attacks made for several local steps: their properties, what they recover, and where they must fail."""

from dataclasses import replace

import pytest
import torch

from conftest import linear_net, make_batch, smooth_net
from gradaudit import Batch, Client, FedAvg, Knowledge, Level, Normalisation, metrics
from gradaudit.attacks import AGIC, ATTACKS, DLFA, INVERTING_GRADIENTS, NL_SME, SME
from gradaudit.datasets import SOURCES
from gradaudit.errors import AttackFailed
from gradaudit.inversion.attack import Term
from gradaudit.inversion.priors import TotalVariation
from gradaudit.inversion.rounds import joined
from gradaudit.inversion.simulations import AsGradient
from gradaudit.models import build
from properties import (
    assert_deterministic,
    assert_model_untouched,
    assert_refuses_missing_knowledge,
    assert_repr_rebuilds,
    short,
)

ALL = [AGIC, DLFA, NL_SME, SME]
NORMALISATION = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STRANGER = Level.BASIC | Knowledge.LABELS
TOLD = STRANGER | Knowledge.LOCAL_TRAINING
LONG = FedAvg(learning_rate=0.05, epochs=10)


def named(attack):
    return attack.name


@pytest.mark.parametrize("attack", ALL, ids=named)
class TestProperties:
    def share(self, attack, facts=None):
        client = Client(
            smooth_net(),
            FedAvg(learning_rate=0.1, epochs=2, minibatch_size=1, shuffle=True),
            normalisation=Normalisation((0.5,), (0.25,)),
        )
        return client.share(make_batch(2), attack.needs if facts is None else facts)

    def test_repr_rebuilds(self, attack):
        assert_repr_rebuilds(attack)
        assert ATTACKS[attack.name] is attack
        assert attack.paper
        assert attack.deviations

    def test_deterministic(self, attack):
        assert_deterministic(short(attack), self.share(attack))

    def test_model_untouched(self, attack):
        assert_model_untouched(short(attack), self.share(attack))

    def test_refuses_missing_knowledge(self, attack):
        assert_refuses_missing_knowledge(short(attack), lambda facts: self.share(attack, facts))

    @pytest.mark.parametrize("seed", range(3))
    def test_recovers_a_closed_form_client(self, attack, seed):
        """One step of a linear layer with a bias: the input is ΔW[k] / Δb[k]."""
        torch.manual_seed(seed)
        batch = make_batch(1, side=4, classes=5, seed=seed)
        seen = Client(linear_net(), FedAvg(learning_rate=1e-3)).share(batch, attack.needs | Knowledge.LABELS)
        bare = replace(attack, stages=tuple(replace(stage, terms=()) for stage in attack.stages))
        found = short(bare, 400)(seen)
        assert metrics.psnr(found.inputs, batch.inputs) > 30


def test_a_gradient_has_no_second_model():
    seen = Client(smooth_net()).share(make_batch(1), TOLD)
    for attack in (SME, NL_SME):
        with pytest.raises(AttackFailed, match="weight difference"):
            short(attack)(seen)


def shortened(attack, steps=100, weight=1e-2):
    """With total variation for small photographs."""
    stage = attack.stages[0]
    others = tuple(term for term in stage.terms if not isinstance(term.prior, TotalVariation))
    return replace(
        attack, stages=(replace(stage, steps=steps, terms=(Term(TotalVariation(), weight=weight), *others)),)
    )


@pytest.fixture(scope="module")
def photographs():
    return SOURCES["photographs"](size=16, crops="whole").open()


def gain(photographs, attack, training, seed, facts=STRANGER):
    """Mean gain in PSNR over the mean of all other pictures, of two pictures on the FedAvg CNN."""
    torch.manual_seed(seed)
    indices = torch.randperm(len(photographs))[:2].tolist()
    batch = Batch(photographs.stack(indices), torch.tensor(indices) % 10)
    client = Client(build("fedavg-cnn", num_classes=10, channels=3, size=16), training, normalisation=NORMALISATION)
    found = attack(client.share(batch, facts, seed=seed), seed=seed)
    control = photographs.mean_except(indices).expand_as(batch.inputs)
    order = metrics.assign(found.inputs, batch.inputs)
    return float((metrics.psnr(found.inputs[order], batch.inputs) - metrics.psnr(control, batch.inputs)).mean())


def test_sme_recovers_long_local_training_where_the_update_is_no_gradient(photographs):
    """Ten steps on one batch, the adversary knowing nothing of them (Zhu et al., 2023)."""
    near, flat = (
        [gain(photographs, shortened(attack), LONG, seed) for seed in range(3)] for attack in (SME, INVERTING_GRADIENTS)
    )
    assert min(near) > 4, near
    assert min(a - b for a, b in zip(near, flat, strict=True)) > 3, (near, flat)


def test_nl_sme_recovers_it_too(photographs):
    gains = [gain(photographs, shortened(NL_SME), LONG, seed) for seed in range(2)]
    assert min(gains) > 4, gains


def test_agic_recovers_few_small_steps_and_fails_on_many(photographs):
    few = FedAvg(learning_rate=0.01, epochs=2)
    near, far = ([gain(photographs, shortened(AGIC), training, seed) for seed in range(2)] for training in (few, LONG))
    assert min(near) > 4, near
    assert max(far) < 3, far


@pytest.mark.parametrize(
    "training",
    [replace(LONG, optimiser="adam", learning_rate=0.01), replace(LONG, learning_rate=0.15)],
    ids=["adam", "far"],
)
def test_sme_fails_where_the_way_is_no_segment(photographs, training):
    assert max(gain(photographs, shortened(SME), training, seed) for seed in range(2)) < 1


def test_dlfa_recovers_a_client_that_shuffles(photographs):
    """Minibatches of one in an order that the adversary does not know, where the update is no gradient."""
    training = FedAvg(learning_rate=0.05, epochs=2, minibatch_size=1, shuffle=True)
    copies, flat = (
        [gain(photographs, attack, training, seed, TOLD) for seed in range(2)]
        for attack in (
            shortened(DLFA, 60, 1e-3),
            replace(shortened(INVERTING_GRADIENTS, 60), simulation=AsGradient()),
        )
    )
    assert min(copies) > 4, copies
    assert min(a - b for a, b in zip(copies, flat, strict=True)) > 2, (copies, flat)


def test_agic_sees_more_in_two_rounds(photographs):
    """The same pictures in a second round, from where the first ended; the audit alone knows the truth."""
    for seed in range(3):
        torch.manual_seed(seed)
        indices = torch.randperm(len(photographs))[:2].tolist()
        batch = Batch(photographs.stack(indices), torch.tensor(indices) % 10)
        net, seen = build("fedavg-cnn", num_classes=10, channels=3, size=16), []
        for _ in range(2):
            client = Client(net, FedAvg(learning_rate=0.01, epochs=6), normalisation=NORMALISATION)
            seen.append(client.share(batch, STRANGER))
            with torch.no_grad():
                for name, moved in seen[-1].update.tensors.items():
                    net.get_parameter(name).sub_(moved)
        found = [shortened(AGIC, 60)(one, seed=seed).inputs for one in (seen[0], joined(seen))]
        one, two = (metrics.psnr(guess[metrics.assign(guess, batch.inputs)], batch.inputs).mean() for guess in found)
        assert two > one, seed
