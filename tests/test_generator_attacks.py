"""Attacks that search among the images of a generator: what they find and refuse, and what they are compared with."""

import json
from dataclasses import replace
from functools import cache

import pytest
import torch
from scipy.optimize import brentq
from torch import nn

from conftest import linear_net
from gradaudit import Batch, Client, Knowledge, Normalisation, metrics
from gradaudit.attacks import ATTACKS, with_generator
from gradaudit.audit import prior_only
from gradaudit.audit.config import make_config
from gradaudit.audit.judge import audit
from gradaudit.audit.plan import make_plan
from gradaudit.inversion.parts.labels.bias_sign import BiasSign
from gradaudit.inversion.parts.labels.joint import JointLabels
from gradaudit.inversion.parts.labels.known import KnownLabels
from gradaudit.inversion.parts.objectives import Cosine, MeanEuclidean
from gradaudit.inversion.parts.optimisers import Adam, CmaEs
from gradaudit.inversion.parts.parametrisations import Features, GeneratorWeights, Latent, Pixels
from gradaudit.inversion.parts.parametrisations.features import onto_l1_ball
from gradaudit.inversion.parts.parametrisations.latent import divergence
from gradaudit.inversion.parts.part import Stage
from gradaudit.inversion.run.gradient_matching import GradientMatching
from gradaudit.inversion.run.restarts import Target
from gradaudit.inversion.run.stage import Guesses, StageRun
from gradaudit.models.assets import save_asset
from gradaudit.models.generators.dcgan import DCGAN
from gradaudit.models.generators.trained_generator import Generator
from gradaudit.models.generators.untrained import Untrained
from gradaudit.protocol.defenses import Clip
from gradaudit.values.errors import AttackFailed, AuditError

GEN = Untrained(DCGAN(channels=1, size=8, latent=8, width=4))
OF_CLASS = Untrained(DCGAN(channels=1, size=8, classes=5, latent=4, width=4))
FACTS = Knowledge.BATCH_SIZE | Knowledge.GENERATOR
FIRST = Stage(Latent(GEN), Adam(lr=0.2), steps=40)


@cache
def network(generator=GEN):
    return generator.open()[0].double()


def hidden(random, size=1, generator=GEN):
    """Latent vectors that no attack knows."""
    return torch.randn(size, network(generator).latent, generator=random, dtype=torch.float64)


def made(seed, size=1, off=0.0, generator=GEN, labels=None):
    """Images of the generator at latent vectors that nobody else knows, and noise on them if they are to lie beside."""
    random = torch.Generator().manual_seed(100 + seed)
    images = network(generator)(hidden(random, size, generator), labels)
    images = images + off * torch.randn(images.shape, generator=random, dtype=torch.float64)
    classes = torch.randperm(5, generator=random)[:size] if labels is None else labels
    return Batch(images.clamp(0, 1), classes)


def client(seed, **options):
    torch.manual_seed(seed)
    return Client(linear_net(5, 64).double(), normalisation=Normalisation((0.5,), (0.25,)), **options)


def attack(*stages, **changes):
    parts = {"objective": Cosine(), "labels": KnownLabels(), **changes}
    return GradientMatching(name="searched", paper="none", stages=stages, **parts)


def psnr(found, batch):
    order = metrics.assign(found, batch.inputs)
    return float(metrics.psnr(found[order], batch.inputs).mean())


def gain(found, batch):
    """Beyond the better of grey and of what the generator makes of other latent vectors, in dB."""
    sample = made(900, len(batch)).inputs
    return psnr(found.inputs, batch) - max(psnr(guess, batch) for guess in (sample, torch.full_like(sample, 0.5)))


def share(seed, batch, facts=FACTS | Knowledge.LABELS, **options):
    return client(seed, **options).share(batch, facts)


def test_latent_vectors_are_found_for_a_batch_and_several_seeds():
    gains = []
    for seed in range(3):
        batch = made(seed, 2)
        found = attack(FIRST, seeds=2)(share(seed, batch), seed=seed)
        gains.append(gain(found, batch))
        assert found.notes == (f"The generator is not trained: {GEN!r}.",)
    assert sum(gains) / 3 > 4, gains


@pytest.mark.parametrize(
    "stage", [Stage(GeneratorWeights(GEN), Adam(lr=0.01), 30), Stage(Features(GEN, 1, 50.0), Adam(lr=0.1), 30)]
)
def test_what_the_generator_does_not_make_is_found_beside_its_images(stage):
    """By its weights and by its features, from the latent vectors of the stage before."""
    beyond = []
    for seed in range(3):
        batch = made(seed, off=0.3)
        found = attack(FIRST, stage, iterates=(40,))(share(seed, batch), seed=seed)
        ((_, nearest),) = found.iterates  # the first iterate of the second stage
        beyond.append(psnr(found.inputs, batch) - psnr(nearest, batch))
    assert sum(beyond) / 3 > 2, beyond


def test_every_block_of_gifd_has_a_lower_objective_than_the_one_before():
    seen = share(0, made(0, off=0.15))
    whole = with_generator(ATTACKS["gifd"], GEN)
    stages = tuple(replace(stage, steps=10, terms=()) for stage in whole.stages)
    found = [replace(whole, stages=stages[:count], restarts=1)(seen, seed=1) for count in (1, 3, 7)]
    values = [one.objective for one in found]
    assert values[0] > values[1] == values[2]  # the generator has two blocks before its pixels
    assert any("after block 1, the generator's last, were skipped" in note for note in found[2].notes)
    assert not any("skipped" in note for note in found[1].notes)


def test_the_l1_ball_is_that_of_an_independent_solver():
    """The threshold as the root of the remaining length, instead of by sorting."""
    vectors = torch.randn(6, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 3
    radius = 20.0
    for vector, found in zip(vectors, onto_l1_ball(vectors, radius), strict=True):
        size = vector.abs()
        theta = brentq(lambda t, size=size: float((size - t).clamp_min(0).sum()) - radius, 0, float(size.max()))
        torch.testing.assert_close(found, vector.sign() * (size - theta).clamp_min(0))
    inside = vectors / 100
    assert torch.equal(onto_l1_ball(inside, radius), inside)


def test_features_stay_in_the_ball_of_their_own_image():
    candidate = Features(GEN, 0, 2.0).start(share(0, made(0, 2)), 3, None)
    features, centre = candidate.variables["features"], candidate.constants["centre"]
    features += torch.randn_like(features)
    features[:, 1] = centre[:, 1] + 1.5 / features[0, 1].numel()
    candidate.project()
    moved = (features - centre).abs().flatten(2).sum(2)
    torch.testing.assert_close(moved[:, 0], torch.full_like(moved[:, 0], 2.0))
    torch.testing.assert_close(moved[:, 1], torch.full_like(moved[:, 1], 1.5))


def test_every_image_has_weights_of_its_own():
    candidate = GeneratorWeights(GEN).start(share(0, made(0, 2)), 2, None)
    before = candidate.decode()
    for copies in candidate.variables.values():
        copies[0, 1] += 0.1
    changed = (candidate.decode() - before).abs().flatten(2).amax(2) > 1e-6
    assert changed.tolist() == [[False, True], [False, False]]


class Slope(torch.autograd.Function):
    """The backward pass of a sigmoid, which cannot be differentiated."""

    @staticmethod
    def forward(ctx, gradient, out):
        return gradient * out * (1 - out)

    @staticmethod
    def backward(ctx, _):
        raise RuntimeError("no second derivative")


class Once(torch.autograd.Function):
    """A sigmoid with that backward pass."""

    @staticmethod
    def forward(ctx, x):
        out = x.sigmoid()
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx, gradient):
        return Slope.apply(gradient, *ctx.saved_tensors)


class OnlyOnce(nn.Module):
    def forward(self, x):
        return Once.apply(x)


FEW = Untrained(DCGAN(channels=1, size=8, latent=3, width=4))
SEARCH = Stage(Latent(FEW), CmaEs(population=8), steps=10)


def blunt(seed):
    torch.manual_seed(seed)
    return Client(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), OnlyOnce(), nn.Linear(16, 5)).double())


def test_a_population_searches_where_there_is_no_second_derivative():
    gains = []
    for seed in range(3):
        batch = made(seed, generator=FEW)
        seen = blunt(seed).share(batch, FACTS | Knowledge.LABELS)
        with pytest.raises(RuntimeError, match="no second derivative"):
            attack(replace(FIRST, parametrisation=Latent(FEW)))(seen)
        gains.append(gain(attack(SEARCH)(seen, seed=seed), batch))
    assert sum(gains) / 3 > 4, gains


def test_the_best_point_of_all_populations_is_returned():
    """Not the best one of the last population."""
    for seed in range(3):
        wide = replace(SEARCH, optimiser=CmaEs(population=4, sigma0=3.0), steps=4)
        found = attack(wide)(share(seed, made(seed)), seed=seed)
        assert found.objective == min(value for _, value in found.trace[0])


def begun(stage, seen, **changes):
    """A stage in progress, before its first step."""
    target = Target(attack(stage, **changes), seen)
    return StageRun(stage, Guesses([target.restart(0)], 1, None, None), target.seen, None)


@pytest.mark.parametrize(("full", "kind"), [(7, "SepCMA"), (8, "CMA")])
def test_a_population_above_its_limit_has_a_diagonal_covariance(full, kind):
    """For eight variables; both come closer, and say the lowest objective of each step."""
    stage = replace(SEARCH, parametrisation=Latent(GEN), optimiser=CmaEs(population=6, full=full))
    run = begun(stage, share(0, made(0)))
    values = [run.step(step, look=False).item() for step in range(10)]
    assert type(run.optimiser.searches[0]).__name__ == kind
    assert run.finish()[1].item() == pytest.approx(min(values))
    assert min(values) < 0.7 * values[0]


def test_a_population_compares_under_the_defense_that_is_known():
    """The total of the truth is 0 if the candidate's update is clipped like the client's."""
    facts = FACTS | Knowledge.LABELS | Knowledge.DEFENSE
    seen = share(0, made(0), facts, defenses=(Clip(0.01),))
    totals = []
    for view in (seen, replace(seen, defenses=None)):
        run = begun(replace(SEARCH, parametrisation=Latent(GEN)), view, objective=MeanEuclidean())
        run.candidate.variables["latent"].data[:] = hidden(torch.Generator().manual_seed(100))
        totals.append(run.asked.totals().item())
    assert totals[0] == pytest.approx(0, abs=1e-12)
    assert totals[1] > 0.1


def test_the_penalty_is_the_divergence_of_normal_distributions():
    z = torch.randn(2, 3, 9, dtype=torch.float64) * 2 + 1
    normal = torch.distributions.Normal
    mine = normal(z.mean(-1), z.std(-1, correction=0))
    standard = normal(torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(divergence(z), torch.distributions.kl_divergence(mine, standard))


@pytest.mark.parametrize("optimiser", [Adam(lr=0.1), CmaEs(population=6, sigma0=0.3)])
def test_a_penalty_on_the_variables_counts(optimiser):
    """With a weight beside which the update does not matter, by its slope and by its value."""
    stage = Stage(Latent(GEN, kld=1e3), optimiser, steps=25)
    run = begun(stage, share(0, made(0)))
    before = run.candidate.penalty().item()
    for step in range(25):
        run.step(step, look=False)
    candidate, scores = run.finish()
    after = candidate.penalty().item()
    assert after < 0.2 * before
    assert scores.item() == pytest.approx(after, abs=2)


@pytest.mark.parametrize("known", [True, False])
def test_a_conditional_generator_gets_the_labels_of_the_run(known):
    labels = torch.tensor([1, 3])
    batch = made(0, 2, generator=OF_CLASS, labels=labels)
    stage = replace(FIRST, parametrisation=Latent(OF_CLASS))
    search = attack(stage, labels=BiasSign())
    found = search(share(0, batch, FACTS | (Knowledge.LABELS if known else Knowledge.NOTHING)), seed=0)
    assert found.labels.tolist() == [1, 3]
    assert psnr(found.inputs, batch) > 20


def test_a_conditional_generator_makes_images_of_the_labels():
    labels = torch.tensor([1, 3])
    seen = share(0, made(0, 2, generator=OF_CLASS, labels=labels))
    candidate = Latent(OF_CLASS).start(seen, 3, None)
    z, images = candidate.variables["latent"], candidate.reported(seen)
    for seed in range(3):
        torch.testing.assert_close(images[seed], network(OF_CLASS)(z[seed], labels))


def refused(generator, seen=None, first=Latent, **changes):
    with pytest.raises(AttackFailed) as told:
        attack(Stage(first(generator), Adam(), 2), **changes)(seen or share(0, made(0)))
    return str(told.value)


def test_a_generator_that_does_not_fit_is_refused_with_the_fix(tmp_path):
    how = "gradaudit train generator"
    large = Untrained(DCGAN(channels=3, size=16, latent=4, width=4))
    for kind in (Latent, Features, GeneratorWeights):
        said = refused(large, first=kind)
        assert "makes images of 3 x 16 x 16, but the model takes 1 x 8 x 8" in said
        assert how in said
        assert "generator: FILE" in said
    assert "has 3 classes, but the model has 5" in refused(Untrained(replace(OF_CLASS.architecture, classes=3)))
    assert "Grant LABELS" in refused(OF_CLASS, share(0, made(0), FACTS), labels=JointLabels())
    missing = refused(Generator(str(tmp_path / "none.safetensors")))
    assert "no file at" in missing
    assert how in missing
    seen = share(0, made(0))
    for stage in (Features(GEN, 0), GeneratorWeights(GEN)):
        with pytest.raises(AttackFailed, match="Let a stage of Latent precede it"):
            attack(Stage(Pixels(), Adam(), 2), Stage(stage, Adam(), 2))(seen)
    with pytest.raises(AttackFailed, match="has the blocks 0 to 1 before its pixels"):
        attack(Stage(Features(GEN, 2), Adam(), 2))(seen)


FILE = """
{"data": {"source": "npz", "path": "data.npz"}, "model": {"name": "mlp"}, "knowledge": ["data-distribution", "LABELS"],
 "device": "cpu", "attacks": [{"name": "gias", "generator": "own.safetensors", "set": {"restarts": 1}}]}
"""


def own_file(folder, seed):
    architecture = DCGAN(channels=1, size=8, latent=4, width=4)
    state = Untrained(architecture, seed).open()[0].state_dict()
    facts = {"data": "invented images"}
    save_asset(folder / "own.safetensors", "generator", "dcgan", architecture.settings, facts, state)


@pytest.fixture
def folder(tmp_path):
    import numpy as np

    pictures = (made(0, 5).inputs.permute(0, 2, 3, 1) * 255).round().byte().numpy()
    np.savez(tmp_path / "data.npz", images=pictures, labels=np.arange(5))
    own_file(tmp_path, 0)
    return tmp_path


def planned(folder, **changes):
    return make_plan(make_config({**json.loads(FILE), **changes}), folder)


def test_an_audit_file_names_the_generator_of_all_stages(folder):
    """Relative to its folder; another file under the same name is another run."""
    plan = planned(folder)
    file = Generator(str(folder / "own.safetensors"))
    assert [stage.parametrisation.generator for stage in plan.attacks[0][1].stages] == [file, file]
    before = plan.identity(), plan.trial(0, 0)
    own_file(folder, 1)
    after = planned(folder)
    assert after.identity() != before[0]
    assert after.trial(0, 0) != before[1]
    (written,) = planned(folder, attacks=[{"name": "ggl", "generator": repr(GEN)}]).attacks
    assert written[1].stages[0].parametrisation.generator == GEN


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"name": "gias", "generator": "none.safetensors"}, "attacks.0: generator: no file at"),
        ({"name": "dlg", "generator": "own.safetensors"}, "attacks.0.generator: dlg: no stage of this attack uses"),
        ({"name": "gias", "generator": 3}, "attacks.0.generator: must be the name or the file"),
        (
            {"name": "gias", "generator": "Untrained(DCGAN(size=32, width=4))"},
            "makes images of 3 x 32 x 32, but the model",
        ),
    ],
)
def test_a_wrong_generator_is_refused_before_anything_runs(folder, entry, said):
    with pytest.raises(AuditError) as told:
        planned(folder, attacks=[entry])
    assert said in str(told.value)


def test_a_finding_says_which_generator_and_what_it_scores_alone(folder):
    short = {"stages.0.steps": 2, "stages.1.steps": 1, "restarts": 1}
    plan = planned(folder, attacks=[{"name": "gias", "generator": "own.safetensors", "set": short}])
    notes = " ".join(audit(plan.case(0, 0)).finding.notes)
    assert "The generator is dcgan own.safetensors (SHA-256" in notes
    assert "trained on invented images" in notes
    assert "The generator alone, at random latent vectors, scores" in notes


def test_the_control_of_a_generator_is_its_images_whatever_the_update():
    batch = made(3)
    search = attack(replace(FIRST, terms=ATTACKS["gias"].stages[0].terms))
    alone = prior_only(client(0), batch, search, knowledge=FACTS, seconds=1e9)
    other = prior_only(client(1), batch, search, knowledge=FACTS, seconds=1e9)
    assert (alone.why_not, alone.recovered) == ("", 0)
    assert alone.score == other.score
    assert psnr(attack(FIRST)(share(0, batch), seed=0).inputs, batch) > alone.score + 8


def test_a_trained_generator_of_faces_can_be_cut_after_every_block(shared_data):
    path = shared_data / "weights" / "face_dcgan64.npz"
    if not path.is_file():
        pytest.skip("the generator of faces is not there")
    faces = Generator(str(path))
    torch.manual_seed(0)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 5))
    seen = Client(model).share(Batch(torch.rand(1, 3, 64, 64), torch.tensor([1])), FACTS)
    latent = Latent(faces).start(seen, 1, None)
    whole = latent.decode()
    assert whole.shape == (1, 1, 3, 64, 64)
    for block in range(4):
        torch.testing.assert_close(Features(faces, block).start(seen, 1, latent).decode(), whole)
    torch.testing.assert_close(GeneratorWeights(faces).start(seen, 1, latent).decode(), whole)
