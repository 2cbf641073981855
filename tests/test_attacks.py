"""Every attack: its properties, and that it recovers what it could not know and fails where it must."""

from dataclasses import replace

import pytest
import torch

from conftest import linear_net, make_batch, smooth_net
from gradaudit import Batch, Client, Knowledge, Level, Normalisation, metrics
from gradaudit.attacks import AFGI, ATTACKS, DLG, GRADINVERSION, HFGRADINV, IDLG, INVERTING_GRADIENTS, MULTI_MODAL
from gradaudit.datasets import SOURCES
from gradaudit.defenses import GaussianNoise
from gradaudit.errors import AttackFailed
from gradaudit.inversion import labels
from gradaudit.inversion.optimisers import LBFGS
from gradaudit.inversion.refusal import needs_given
from gradaudit.models import build
from properties import (
    ON_TABLES,
    ON_TEXT,
    ON_TRANSFORMERS,
    assert_deterministic,
    assert_model_untouched,
    assert_refuses_missing_knowledge,
    assert_repr_rebuilds,
    short,
)

ELSEWHERE = {"grnn"}  # trains a generator, slowly: tests/test_grnn.py
LOCALLY = {"agic", "dlfa", "nl-sme", "sme"}  # on several local steps: tests/test_fedavg_attacks.py
ALL = [
    attack
    for attack in ATTACKS.values()
    if attack.name not in LOCALLY | ON_TEXT | ON_TABLES | ON_TRANSFORMERS | ELSEWHERE
]
TOLD = {"afgi", "hfgradinv"}  # reads labels where features are never negative; here they are the inputs themselves
PUBLIC = make_batch(6, seed=9).inputs  # for those that need public pictures
NORMALISATION = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def named(attack):
    return attack.name


@pytest.fixture(scope="module")
def photographs():
    return SOURCES["photographs"](size=32, crops="whole").open()


def without_priors(attack, **changes):
    """Priors of natural pictures would only disturb on random pixels."""
    return replace(attack, stages=tuple(replace(stage, terms=()) for stage in attack.stages), **changes)


def lone(seed=0):
    return make_batch(1, seed=seed)


def test_every_attack_is_rebuilt_from_its_repr():
    """What a finding records is the attack itself, of closed forms and of pairs too."""
    for attack in (*ATTACKS.values(), *MULTI_MODAL.values()):
        assert_repr_rebuilds(attack)


@pytest.mark.parametrize("attack", ALL, ids=named)
class TestProperties:
    def test_deterministic(self, attack, client):
        assert_deterministic(short(attack), client.share(lone(), attack.needs, public=PUBLIC))

    def test_model_untouched(self, attack, client):
        assert_model_untouched(short(attack), client.share(lone(), attack.needs, public=PUBLIC))

    def test_refuses_missing_knowledge(self, attack, client):
        assert_refuses_missing_knowledge(short(attack), lambda facts: client.share(lone(), facts))

    def test_says_where_it_comes_from(self, attack):
        assert attack.paper
        assert ATTACKS[attack.name] is attack

    @pytest.mark.parametrize("seed", range(3))
    def test_recovers_a_closed_form_client(self, attack, seed):
        """One linear layer with a bias: the input is grad_W[k] / grad_b[k], exactly (Phong et al., 2018)."""
        torch.manual_seed(seed)
        batch = make_batch(1, side=4, classes=5, seed=seed)
        told = Knowledge.LABELS if attack.name in TOLD else Knowledge.NOTHING
        seen = Client(linear_net()).share(batch, attack.needs | told)
        weight, bias = seen.update.values
        row = int(bias.abs().argmax())
        torch.testing.assert_close((weight[row] / bias[row]).view_as(batch.inputs), batch.inputs, atol=1e-5, rtol=0)
        slow = attack in (INVERTING_GRADIENTS, AFGI, GRADINVERSION, HFGRADINV)
        found = without_priors(short(attack, 500 if slow else 20), restarts=3, seeds=1)(seen)
        assert metrics.psnr(found.inputs, batch.inputs) > 30
        assert torch.equal(found.labels, batch.labels)


def test_the_papers_parameters():
    stage = INVERTING_GRADIENTS.stages[0]
    assert (stage.steps, stage.optimiser.lr, stage.terms[0].weight) == (4800, 0.1, 0.1)
    assert stage.optimiser.milestones == (3 / 8, 5 / 8, 7 / 8)
    assert DLG.stages[0].steps == IDLG.stages[0].steps == 300
    assert DLG.stages[0].optimiser == LBFGS(lr=1.0, inner=20, history=100)
    assert not DLG.stages[0].parametrisation.box
    assert all(len(attack.stages) == 1 for attack in (DLG, IDLG, INVERTING_GRADIENTS))


def lenet_gain(attack, seed, side=16, **options):
    """DLG's own setting: its LeNet with weights from U(-0.5, 0.5), one picture, nothing but the batch size granted."""
    source = SOURCES["photographs"](size=side, crops="whole").open()
    torch.manual_seed(seed)
    batch = Batch(source.stack([seed]), torch.tensor([seed % 10]))
    client = Client(build("lenet", num_classes=10, channels=3, size=side), **options)
    found = attack(client.share(batch, Level.BASIC), seed=seed)
    assert not found.labels_granted
    control = source.mean_except([seed]).unsqueeze(0)
    gain = float(metrics.psnr(found.inputs, batch.inputs) - metrics.psnr(control, batch.inputs))
    return gain, torch.equal(found.labels, batch.labels)


@pytest.mark.parametrize("attack", [DLG, IDLG], ids=named)
def test_dlg_family_recovers_photographs_and_labels(attack):
    """In most runs almost exactly; now and then L-BFGS ends in a bad minimum, as the literature says."""
    gains, right = zip(*(lenet_gain(short(attack, 30), seed) for seed in range(4)), strict=True)
    assert sorted(gains)[1] > 20, gains
    assert sum(right) >= (4 if attack is IDLG else 3)


def test_dlg_fails_under_noise():
    gains = [lenet_gain(short(DLG, 15), seed, defenses=[GaussianNoise(0.1, relative=True)])[0] for seed in range(2)]
    assert max(gains) < 3, gains


def test_dlg_returns_the_labels_it_optimised():
    """A peer returns the argmax of its random first guess instead (2 of 8 right where 7 of 8 were optimised)."""
    right = 0
    for seed in range(8):
        torch.manual_seed(seed)
        batch = lone(seed)
        found = short(DLG, 30)(Client(smooth_net()).share(batch, Level.BASIC), seed=seed)
        right += int(torch.equal(found.labels, batch.labels))
    assert right >= 7


def inverting_case(photographs, seed, batch_size=1, named=None, **options):
    torch.manual_seed(seed)
    indices = torch.randperm(len(photographs))[:batch_size].tolist()
    indices = [photographs.picture_names.index(named)] if named else indices
    batch = Batch(photographs.stack(indices), torch.tensor(indices) % 10)
    client = Client(build("fedavg-cnn", num_classes=10, channels=3, size=32), normalisation=NORMALISATION, **options)
    return batch, client, photographs.mean_except(indices).expand_as(batch.inputs)


def inverting(steps, weight=2e-2):
    stage = INVERTING_GRADIENTS.stages[0]
    return replace(
        INVERTING_GRADIENTS, stages=(replace(stage, steps=steps, terms=(replace(stage.terms[0], weight=weight),)),)
    )


def gain(found, batch, control):
    order = metrics.assign(found.inputs, batch.inputs)
    return float((metrics.psnr(found.inputs[order], batch.inputs) - metrics.psnr(control, batch.inputs)).mean())


def likeness(found, batch):
    """Mean SSIM after the assignment: near zero for a guess without structure, whatever its brightness."""
    return float(metrics.ssim(found.inputs[metrics.assign(found.inputs, batch.inputs)], batch.inputs).mean())


def test_inverting_gradients_recovers_photographs(photographs):
    gains = []
    for seed in range(5):
        batch, client, control = inverting_case(photographs, seed)
        found = inverting(120)(client.share(batch, Level.PRIORS | Knowledge.LABELS), seed=seed)
        gains.append(gain(found, batch, control))
    assert min(gains) > 4, gains
    assert sum(gains) / 5 > 7, gains


@pytest.mark.parametrize("obstacle", ["wrong model", "strong noise"])
def test_inverting_gradients_fails_where_it_must(photographs, obstacle):
    """The update inverted through another network, or drowned in noise: no structure comes back."""
    for seed, name in enumerate(("astronaut", "chelsea")):
        batch, client, _ = inverting_case(photographs, seed, named=name)
        seen = client.share(batch, Level.PRIORS | Knowledge.LABELS)
        open_ = likeness(inverting(100)(seen, seed=seed), batch)
        if obstacle == "wrong model":
            hindered = replace(seen, model=build("fedavg-cnn", num_classes=10, channels=3, size=32))
        else:
            hindered = replace(client, defenses=(GaussianNoise(0.3),)).share(batch, seen.knowledge)
        found = likeness(inverting(100)(hindered, seed=seed), batch)
        assert open_ > 0.35
        assert found < open_ - 0.2


def test_repeated_labels_blend_the_pictures(photographs):
    """Two pictures of one class are told apart worse than two of different classes (Geiping et al., 2020)."""
    different, equal = [], []
    for seed in range(3):
        batch, client, control = inverting_case(photographs, seed, batch_size=2)
        for gains, classes in ((different, [0, 1]), (equal, [0, 0])):
            same = Batch(batch.inputs, torch.tensor(classes))
            found = inverting(120)(client.share(same, Level.PRIORS | Knowledge.LABELS), seed=seed)
            gains.append(gain(found, same, control))
    assert sum(different) > sum(equal), (different, equal)


def test_granted_labels_take_the_place_of_inferred_ones(client):
    batch = make_batch(3)
    facts = Level.BASIC | Knowledge.LABELS
    found = short(IDLG)(client.share(batch, facts))
    assert found.labels_granted
    assert torch.equal(found.labels, batch.labels)
    assert needs_given(IDLG, facts) == Knowledge.BATCH_SIZE
    with pytest.raises(AttackFailed, match="reads the label of one example"):
        short(IDLG)(client.share(batch, Level.BASIC))


def test_a_variant_is_a_replacement(client):
    variant = replace(short(INVERTING_GRADIENTS), name="mine", labels=labels.IDLG())
    assert variant.needs == Knowledge.BATCH_SIZE
    batch = lone()
    assert torch.equal(variant(client.share(batch, Level.BASIC)).labels, batch.labels)
