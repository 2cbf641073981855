"""Models of the user's own: what they do to their input, to themselves and to the process never falsifies an audit."""

import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

from gradaudit import Batch, Client, FedAvg, Knowledge, Level
from gradaudit.attacks import DLG
from gradaudit.audit import judge as audit
from gradaudit.models.copying import private_copy
from gradaudit.values.errors import AuditError

KNOWN = Level.BASIC | Knowledge.LABELS


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Sigmoid(), nn.Flatten(), nn.Linear(256, 5))


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        return self.net(x - 0.1)


class InPlace(Wrapped):
    """Works on its input itself, as `x.sub_(mean)` and `nn.ReLU(inplace=True)` do."""

    def forward(self, x):
        return self.net(x.sub_(0.1))


class Keeps(Wrapped):
    """Keeps what it saw, with and without its history, and in a list."""

    def forward(self, x):
        self.features = self.net[:2](x - 0.1)
        self.seen = [x.detach(), self.features]
        return self.net[2:](self.features)


def legacy(norm):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = net()
        norm(made[3])
        return made


def batch():
    return Batch(torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(3)), torch.tensor([2]))


def case(model, **changes):
    attack = replace(DLG, stages=(replace(DLG.stages[0], steps=15),))
    mine = audit.Case(
        "k", "dlg", attack, Client(model), batch(), KNOWN, torch.full((1, 8, 8), 0.5), torch.rand(4, 1, 8, 8)
    )
    return replace(mine, **changes)


def psnr(model):
    return audit.audit(case(model)).finding.scores.psnr.mean


@pytest.mark.parametrize("model", [InPlace, Keeps])
def test_the_numbers_are_those_of_the_plain_twin(model):
    """A model that works in place reads and writes a copy; what it keeps is no part of it."""
    mine = case(model())
    found = audit.audit(mine)
    assert found.finding.scores.psnr.mean == psnr(Wrapped()) > 50
    assert torch.equal(mine.batch.inputs, batch().inputs)


def test_several_local_steps_read_the_batch_unchanged():
    training = FedAvg(learning_rate=0.1, epochs=3)
    plain, in_place = (Client(model(), training).train(batch()).values for model in (Wrapped, InPlace))
    assert all(map(torch.equal, plain, in_place))


def test_the_adversary_gets_nothing_that_the_model_kept():
    """A network that keeps its features would hand the private ones over with its copy."""
    client = Client(Keeps())
    client.model(torch.rand(1, 1, 8, 8))  # of the user's own, before
    seen = client.share(batch(), KNOWN)
    held = [value for value in vars(seen.model).values() if isinstance(value, torch.Tensor)]
    assert held
    assert all(value.grad_fn is None for value in held)
    private = client.model.net[:2](batch().inputs - 0.1)
    assert not any(value.shape == private.shape and torch.allclose(value, private) for value in held)


@pytest.mark.parametrize(
    "norm",
    [nn.utils.weight_norm, nn.utils.spectral_norm, nn.utils.parametrizations.weight_norm],
    ids=["weight_norm", "spectral_norm", "parametrised"],
)
def test_normalised_weights_are_audited(norm):
    model = legacy(norm)
    model(batch().inputs)  # leaves a weight with a history behind
    copied = private_copy(model)
    torch.testing.assert_close(copied(batch().inputs), model(batch().inputs))
    assert audit.audit(case(model)).finding.scores.psnr.mean > 30


@pytest.mark.parametrize(("precision", "least"), [(torch.float64, 60), (torch.float16, 35), (torch.bfloat16, 20)])
def test_every_precision_is_audited(precision, least):
    """Half precision hides less than one might hope: the adversary computes in single precision."""
    assert psnr(net().to(precision)) > least


class Raises(Wrapped):
    error = KeyError("no such key")

    def forward(self, x):
        raise self.error


class Exits(Raises):
    error = SystemExit(0)


class Unspeakable(Exception):  # noqa: N818
    def __str__(self):
        raise RuntimeError


class Grumbles(Raises):
    error = Unspeakable()


class Nothing(Wrapped):
    def forward(self, x):
        return None


class Dropping(Wrapped):
    def forward(self, x):
        return self.net(nn.functional.dropout(x))


class OneLogit(Wrapped):
    def forward(self, x):
        return self.net(x)[:, :1]


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (Raises, "stopped with KeyError: 'no such key'"),
        (Exits, "stopped with SystemExit: 0"),
        (Grumbles, "stopped with Unspeakable"),
        (Nothing, "must return logits .* Found NoneType"),
        (Dropping, "two passes over the same batch in evaluation mode give different logits"),
        (OneLogit, "one logit, over which cross entropy is 0"),
    ],
)
def test_a_model_that_cannot_be_audited_is_refused_in_one_line(model, why):
    mine = case(model())
    mine.batch.labels[:] = 0
    with pytest.raises(AuditError, match=why) as refusal:
        audit.audit(mine)
    assert "\n" not in str(refusal.value)


def test_rounding_from_pass_to_pass_is_no_dice():
    class Rounds(Wrapped):
        def forward(self, x):
            return super().forward(x) * (1 + 1e-6 * torch.randn(()))

    assert Client(Rounds()).share(batch(), KNOWN).update.values


def test_a_head_that_is_frozen_or_saturated_cannot_be_judged():
    class Saturated(Wrapped):
        def forward(self, x):
            return 1e4 * nn.functional.one_hot(torch.tensor([2]), 5) + 0 * super().forward(x)

    finding = audit.audit(case(Saturated())).finding
    assert finding.cannot_judge.startswith("the update is zero in every value")
    assert not finding.scored
