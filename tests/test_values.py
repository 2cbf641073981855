"""Golden values: what came out when it was last checked by hand and by other means, so that a change is seen.

Torch 2.8 and 2.15 give them alike on the CPU; the tolerances leave room for another BLAS, not for another formula.
"""

import pytest
import torch

from conftest import make_batch, smooth_net
from gradaudit import Client, FedAvg, FedSGD, Knowledge, Level, Normalisation, metrics
from gradaudit.attacks import ATTACKS
from properties import short

# Attack in five steps per stage -> mean pixel, and objective where it has not reached rounding.
ATTACKED = {
    "afgi": (0.51713, 0.048712),
    "agic": (0.51374, 0.0374992),
    "dlfa": (0.52693, 0.4762),
    "dlg": (0.48582, None),
    "gradinversion": (0.48486, 0.0029779),
    "grnn": (0.47600, 23.0905),
    "hfgradinv": (0.51222, 0.034267),
    "idlg": (0.48582, None),
    "inverting-gradients": (0.51617, 0.042660),
    "inverting-gradients-fast": (0.48582, None),
    "nl-sme": (0.46992, 0.0207841),
    "sme": (0.46992, 0.0209479),
}
LOCALLY = {"agic", "dlfa", "nl-sme", "sme"}  # on the update of two local steps
NORMS = {
    FedSGD(): 5.72452,
    FedSGD(batch_norm="train"): 5.67843,
    FedAvg(learning_rate=0.1, epochs=2, minibatch_size=1): 1.25806,
}


def client(training):
    torch.manual_seed(0)
    return Client(smooth_net(), training, normalisation=Normalisation((0.5,), (0.25,)))


@pytest.mark.parametrize("name", ATTACKED)
def test_attacks(name):
    facts = Level.BASIC | Knowledge.LABELS if name.startswith(("inverting", "hfgradinv")) else Level.BASIC
    facts = facts | ATTACKS[name].needs | Knowledge.LABELS if name in LOCALLY else facts
    training = FedAvg(learning_rate=0.1, epochs=2) if name in LOCALLY else FedSGD()
    batch = make_batch(1)
    found = short(ATTACKS[name], 5)(client(training).share(batch, facts), seed=0)
    pixel, objective = ATTACKED[name]
    assert found.inputs.mean().item() == pytest.approx(pixel, abs=1e-3)
    assert torch.equal(found.labels, batch.labels)
    if objective is None:
        assert found.objective < 1e-8
    else:
        assert found.objective == pytest.approx(objective, rel=0.01)


@pytest.mark.parametrize("training", NORMS, ids=repr)
def test_updates(training):
    values = client(training).train(make_batch(2)).values
    assert torch.stack([tensor.norm() for tensor in values]).norm().item() == pytest.approx(NORMS[training], rel=1e-4)


def test_metrics():
    generator = torch.Generator().manual_seed(0)
    guess, truth = (torch.rand(2, 3, 16, 16, generator=generator) for _ in range(2))
    assert metrics.psnr(guess, truth).tolist() == pytest.approx([7.8435, 7.9559], abs=1e-4)
    assert metrics.ssim(guess, truth).tolist() == pytest.approx([0.1164, -0.0674], abs=1e-4)
    assert metrics.assign(guess, truth).tolist() == [0, 1]
    assert metrics.identification_rank(guess, truth, guess[:1]).tolist() == [2, 1]


def test_attacks_of_release_0_1_find_the_types_that_they_import():
    from gradaudit import types

    assert types.Knowledge is Knowledge
    assert all(getattr(types, name).__module__ == "gradaudit.values.types" for name in types.__all__)
