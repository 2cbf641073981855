"""The features that the gradient of the last layer separates, as a prior."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from conftest import make_batch, smooth_net
from gradaudit import Client, FedAvg, Knowledge, Level
from gradaudit.attacks.inverting_gradients import ATTACK
from gradaudit.inversion.parts.part import Progress, Term
from gradaudit.inversion.parts.priors import HeadFeatures
from gradaudit.values.errors import AttackFailed
from properties import short

AT = Progress(0, 10)
KNOWN = Level.BASIC | Knowledge.LABELS


def bound(model, batch, training=None, scale=1.0):
    """The penalty of one update, which may be multiplied by anything, and the observation."""
    seen = Client(model, **({"training": training} if training else {})).share(batch, KNOWN)
    tensors = {name: scale * tensor for name, tensor in seen.update.tensors.items()}
    seen = replace(seen, update=replace(seen.update, tensors=tensors))
    return HeadFeatures().bind(seen), seen


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_is_zero_at_the_truth_whatever_the_scale(size, scale):
    batch = make_batch(size)
    penalty, seen = bound(smooth_net(), batch, scale=scale)
    truth = seen.normalisation.apply(batch.inputs)
    assert penalty(truth, AT).item() == pytest.approx(0, abs=1e-5)
    assert penalty(truth.flip(-1), AT) > 1e-3
    if size > 1:
        assert penalty(truth.roll(1, 0), AT) > 1e-3  # an image at another's place


def test_by_hand_for_one_example():
    """One linear layer: its features are the pixels, and the penalty is 1 - cos of the two pictures."""
    batch = make_batch(1, side=4, classes=5)
    penalty, seen = bound(nn.Sequential(nn.Flatten(), nn.Linear(16, 5)), batch)
    guess = torch.rand(1, 1, 4, 4).requires_grad_()
    cosine = torch.cosine_similarity(guess.flatten(1), seen.normalisation.apply(batch.inputs).flatten(1))
    found = penalty(guess, AT)
    assert found.item() == pytest.approx(1 - cosine.item(), rel=1e-3)
    assert torch.autograd.grad(found, guess)[0].abs().sum() > 0


def test_uses_the_features_of_these_inputs_after_other_forward_passes():
    penalty, seen = bound(smooth_net(), make_batch(2))
    one, other = (torch.rand(2, 1, 8, 8) for _ in range(2))
    alone = penalty(one, AT).item()
    seen.model(other)
    assert penalty(one, AT).item() == alone
    seen.model(one)
    assert penalty(one, AT).item() == alone


def test_more_examples_than_classes_have_no_penalty_at_the_truth():
    """Only the part of the features that the gradient determines is compared."""
    batch = replace(make_batch(5, classes=5), labels=torch.tensor([0, 1, 1, 2, 2]))
    penalty, seen = bound(smooth_net(3), batch)
    assert penalty(seen.normalisation.apply(batch.inputs), AT).item() == pytest.approx(0, abs=1e-4)


def test_is_zero_without_a_linear_last_layer():
    model = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.Sigmoid(), nn.Conv2d(4, 10, 3), nn.Flatten())
    penalty, _ = bound(model, make_batch(2))
    guess = torch.rand(2, 1, 8, 8).requires_grad_()
    found = penalty(guess, AT)
    assert found == 0
    assert not torch.autograd.grad(found, guess)[0].any()


def test_needs_the_labels_and_a_model(client, batch):
    assert HeadFeatures().needs == Knowledge.LABELS
    with pytest.raises(AttackFailed, match="needs the labels"):
        HeadFeatures().bind(client.share(batch, Level.BASIC))
    with pytest.raises(AttackFailed, match="must be bound"):
        HeadFeatures()(batch.inputs, AT)


def test_acts_in_an_attack_on_several_local_steps():
    """The simulated steps move the model; the prior runs a pass of its own, at the parameters as sent."""
    stage = replace(short(ATTACK, 12).stages[0], terms=(Term(HeadFeatures(), weight=1e3),))
    batch = make_batch(2)
    for training in (None, FedAvg(learning_rate=0.1, epochs=2)):
        penalty, seen = bound(smooth_net(), batch, training)
        seen = replace(seen, knowledge=seen.knowledge | Knowledge.LOCAL_TRAINING, training=training)
        found = replace(ATTACK, stages=(stage,))(seen, seed=0)
        grey = torch.full_like(found.inputs, 0.5)
        far, near = (penalty(seen.normalisation.apply(inputs), AT) for inputs in (grey, found.inputs))
        assert near < 0.7 * far
