"""What holds for every part of every room: a new part is tried here as soon as its file is there."""

import inspect
from dataclasses import fields, replace
from functools import reduce
from operator import or_

import pytest
import torch
from torch import nn

from conftest import make_batch
from demonstrations import case_of
from gradaudit import Client, FedAvg, FedSGD, Knowledge, Normalisation
from gradaudit.attacks import ATTACKS, EVERY_ATTACK, MULTI_MODAL, demonstration_of
from gradaudit.inversion import FAMILIES, part_names
from gradaudit.inversion.parts.gradient_transforms import GRADIENT_TRANSFORMS
from gradaudit.inversion.parts.labels import LABELS
from gradaudit.inversion.parts.objectives import OBJECTIVES
from gradaudit.inversion.parts.optimisers import OPTIMISERS
from gradaudit.inversion.parts.parametrisations import PARAMETRISATIONS
from gradaudit.inversion.parts.part import Progress
from gradaudit.inversion.parts.priors import PRIORS
from gradaudit.inversion.parts.simulations import SIMULATIONS
from gradaudit.values.discovery import example_of
from gradaudit.values.errors import AttackFailed
from gradaudit.values.types import Modality
from properties import assert_repr_rebuilds
from text_cases import ENCODED, FlatText, public_texts, random_texts

EVERY_FACT = reduce(or_, Knowledge)
PARTS = [kind for family in FAMILIES for kind in family.values()]


def registered(family):
    return pytest.mark.parametrize("part", [example_of(kind) for kind in family.values()], ids=repr)


class Patches(nn.Module):
    """Patches with a position embedding, BatchNorm that has seen data, and a linear head: layers for every prior."""

    def __init__(self, channels=1):
        super().__init__()
        self.conv_proj = nn.Conv2d(channels, 4, 2, 2)
        self.pos_embedding = nn.Parameter(torch.randn(1, 16, 4))
        self.norm = nn.BatchNorm2d(4)
        self.norm.running_mean.normal_()
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        patches = self.norm(self.conv_proj(x)).flatten(2).transpose(1, 2) + self.pos_embedding
        return self.head(patches.flatten(1).sigmoid())


def pictures(training, channels=1, facts=EVERY_FACT):
    torch.manual_seed(0)
    client = Client(
        Patches(channels).double().eval(), training, normalisation=Normalisation((0.5,) * channels, (0.25,) * channels)
    )
    batch = make_batch(2, channels)
    batch = replace(batch, inputs=batch.inputs.double())
    public = make_batch(6, channels, seed=9)
    return client.share(batch, facts, public=public)


def words():
    torch.manual_seed(0)
    batch = random_texts(2, ENCODED, 5, 5)
    return Client(FlatText(batch.inputs.shape[1])).share(batch, EVERY_FACT, public=public_texts())


def people():
    return case_of(demonstration_of("tableak"), 0).share(EVERY_FACT)


def large_pictures():
    """Grey images of 28 pixels, as the trained networks of this package know them."""
    torch.manual_seed(0)
    client = Client(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).double(), FedSGD())
    return client.share(replace(batch := make_batch(2, side=28), inputs=batch.inputs.double()), EVERY_FACT)


def settings():
    """Observations of every modality and of several local steps: a part must work with one of them at least."""
    yield pictures(FedSGD())
    yield pictures(FedSGD(), channels=3)
    yield pictures(FedAvg(learning_rate=0.1, epochs=2))
    yield words()
    yield people()
    yield large_pictures()


def first_that(works):
    """What `works` returns for the first setting that it does not refuse."""
    refusals = []
    for seen in settings():
        try:
            return works(seen)
        except AttackFailed as refusal:
            refusals.append(str(refusal))
    raise AssertionError("no setting of this test suits the part:\n" + "\n".join(refusals))


@pytest.mark.parametrize("kind", PARTS, ids=lambda kind: kind.__name__)
class TestEveryPart:
    def test_is_rebuilt_from_its_repr(self, kind):
        part = example_of(kind)
        assert_repr_rebuilds(part)
        assert hash(part) == hash(part)
        assert part_names()[kind.__name__] is kind

    def test_is_frozen_and_says_what_it_is(self, kind):
        assert kind.__dataclass_params__.frozen
        assert kind.__doc__
        assert not kind.__doc__.startswith(f"{kind.__name__}(")  # what dataclass writes where nobody did
        for field in fields(kind):
            assert f"{field.name}:" in inspect.getdoc(kind) or "Args:" not in kind.__doc__, field.name

    def test_works_with_equal_fields_alike(self, kind):
        assert example_of(kind) == example_of(kind)


NAMES = (
    (
        LABELS,
        "afgi afgi-learned bias-counts bias-sign gradinversion hfgradinv hfgradinv-direct idlg ilrg joint known llg "
        "llg-plus llg-star rlg rlu soft weight-counts",
    ),
    (
        PRIORS,
        "batch-norm-statistics channel-means edges embedding-length epoch-order group-consistency l2 patch-border "
        "squared-total-variation total-variation",
    ),
    (OPTIMISERS, "adam lbfgs levenberg-marquardt rmsprop"),
    (MULTI_MODAL, "mgia mgia-no-kd"),
)


@pytest.mark.parametrize(("registry", "names"), NAMES, ids=[registry.package for registry, _ in NAMES])
def test_names_that_audit_files_use_stay(registry, names):
    assert set(names.split()) <= set(registry)


def test_what_an_attack_keeps_beside_it_is_no_attack():
    """TabLeak's member, MGIA's phases, and what another module imports."""
    assert not {"tableak-member", "mgia-splicing"} & set(EVERY_ATTACK)
    assert not set(MULTI_MODAL) & set(ATTACKS)
    assert EVERY_ATTACK.home("dlg").__name__ == "gradaudit.attacks.dlg"


def update(seen, seed):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in seen.update.values)


@registered(OBJECTIVES)
class TestEveryObjective:
    def test_is_zero_at_the_truth_and_positive_elsewhere(self, part):
        seen = pictures(FedSGD())
        distance, at = part.bind(seen), Progress(0, 10)
        observed = tuple(t.double() for t in seen.update.values)
        assert distance(observed, observed, at).item() == pytest.approx(0, abs=1e-12)
        assert distance(update(seen, 1), observed, at).item() > 1e-3

    def test_gradient_against_finite_differences(self, part):
        """At the end of a run, where nothing is left out at random."""
        seen = pictures(FedSGD())
        distance, at = part.bind(seen), Progress(10, 10)
        leaves = tuple(t.requires_grad_() for t in update(seen, 1))
        assert torch.autograd.gradcheck(lambda *c: distance(c, update(seen, 0), at), leaves, fast_mode=True)


@registered(PRIORS)
def test_every_prior_is_a_finite_number_with_a_finite_slope(part):
    def slope(seen):
        shape = (seen.batch_size, *seen.input_shape)
        if seen.modality is Modality.TEXT:
            shape = (*shape, seen.model.token_embedding.embedding_dim)
        torch.manual_seed(1)
        guesses = torch.randn(3, *shape, dtype=seen.update.values[0].dtype)
        leaf = guesses[0].clone().requires_grad_()
        value = part.bind(seen)(leaf, Progress(5, 10, candidates=guesses))
        return value, torch.autograd.grad(value, leaf, allow_unused=True)[0]

    value, found = first_that(slope)
    assert value.ndim == 0
    assert torch.isfinite(value)
    assert found is not None
    assert torch.isfinite(found).all()


@registered(GRADIENT_TRANSFORMS)
def test_every_transform_keeps_the_shape(part):
    gradient = torch.randn(2, 3, 1, 4, 4)
    before = gradient.clone()
    found = part.bind(pictures(FedSGD()))(gradient, Progress(0, 10, lr=0.1))
    assert found.shape == gradient.shape
    assert torch.isfinite(found).all()
    assert torch.equal(gradient, before)


@registered(PARAMETRISATIONS)
def test_every_parametrisation_starts_decodes_and_reports(part):
    def started(seen):
        return seen, part.start(seen, 3, None)

    seen, candidate = first_that(started)
    assert all(len(variable) == 3 for variable in candidate.variables.values())
    decoded = candidate.decode()
    assert decoded.shape[0] == 3
    assert decoded.requires_grad or not any(v.requires_grad for v in candidate.variables.values())
    with torch.no_grad():
        candidate.project()
    assert candidate.reported(seen).shape[0] == 3


@registered(SIMULATIONS)
def test_every_simulation_makes_an_update(part):
    seen = pictures(FedAvg(learning_rate=0.1, epochs=2))
    bound = part.bind(seen)
    own = bound.start(1)
    assert set(bound.rates) == set(own)
    torch.manual_seed(1)
    inputs, labels = torch.randn(seen.batch_size, *seen.input_shape, dtype=torch.float64), seen.labels
    variables = {name: value[0] for name, value in own.items()}
    try:
        found = bound(inputs, labels, variables)
    except AttackFailed:  # one that takes a copy of the batch for every epoch
        found = bound(torch.cat([inputs, inputs]), labels.repeat(2), variables)
    assert [t.shape for t in found] == [t.shape for t in seen.update.values]


@registered(LABELS)
def test_every_label_inference_answers_or_says_why_not(part):
    seen = pictures(FedSGD())
    torch.manual_seed(0)
    try:
        found = part.infer(seen, 2)
    except AttackFailed as failure:
        refusal = str(failure)
    else:
        refusal = ""
        assert found.values.shape[-2 if found.trainable else -1] == seen.batch_size
    assert not refusal or refusal.endswith(".")


WANTED = torch.tensor([2.0, 4.0, 6.0])


@registered(OPTIMISERS)
def test_every_optimiser_comes_closer(part):
    """To the direction of WANTED, by a distance and, for those that take them, by the updates themselves."""
    leaf = torch.full((1, 3), 0.1, requires_grad=True)
    part = replace(part, lr=0.01) if part.rate is None and hasattr(part, "lr") else part
    seen = []

    def loss():
        found = 1 - torch.cosine_similarity(leaf + leaf**3, WANTED.unsqueeze(0))
        seen.append(found.item())
        return found

    class Asked:
        totals = staticmethod(loss)

        def __call__(self, seed):
            return (leaf[seed] + leaf[seed] ** 3,), (WANTED,)

    optimiser, schedule = part.build([leaf], 100, Asked())

    def closure():
        optimiser.zero_grad()
        found = loss().squeeze()
        found.backward()
        return found

    for _ in range(100):
        optimiser.step(closure)
        schedule.step()
    assert min(seen) < 0.5 * seen[0]
    assert part.evaluations >= 1
