"""AFGI recovers photographs and their labels, fails through another network, and refuses the oracle unasked."""

from dataclasses import replace

import pytest
import torch

from gradaudit import Batch, Client, Knowledge, Level, Normalisation, metrics
from gradaudit.attacks import AFGI, INVERTING_GRADIENTS
from gradaudit.datasets import SOURCES
from gradaudit.errors import MissingKnowledge
from gradaudit.inversion.attack import Progress, Term
from gradaudit.inversion.priors import ChannelMeans, Edges, TotalVariation
from gradaudit.models import build
from properties import short

NORMALISATION = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def photographs():
    return SOURCES["photographs"](size=32, crops="whole").open()


def case(photographs, seed, size=1, labels=None):
    torch.manual_seed(seed)
    indices = torch.randperm(len(photographs))[:size].tolist()
    labels = torch.tensor(indices) % 10 if labels is None else torch.tensor(labels)
    client = Client(build("fedavg-cnn", num_classes=10, channels=3, size=32), normalisation=NORMALISATION)
    return Batch(photographs.stack(indices), labels), client, photographs.mean_except(indices)


def scores(found, batch, control):
    """Mean gain over the control in dB, and mean SSIM."""
    pictures = found.inputs[metrics.assign(found.inputs, batch.inputs)]
    gain = metrics.psnr(pictures, batch.inputs) - metrics.psnr(control.expand_as(batch.inputs), batch.inputs)
    return float(gain.mean()), float(metrics.ssim(pictures, batch.inputs).mean())


def with_terms(*terms):
    return replace(AFGI, stages=(replace(AFGI.stages[0], terms=terms),))


def test_its_parameters():
    stage, other = AFGI.stages[0], INVERTING_GRADIENTS.stages[0]
    assert stage.steps == 10_000
    assert (stage.optimiser, stage.gradient) == (other.optimiser, other.gradient)
    assert [type(term.prior) for term in stage.terms] == [TotalVariation, ChannelMeans, Edges]
    assert AFGI.needs == Knowledge.BATCH_SIZE


def test_recovers_photographs_and_their_labels(photographs):
    gains = []
    for seed in range(4):
        batch, client, control = case(photographs, seed)
        found = short(AFGI, 100)(client.share(batch, Level.BASIC), seed=seed)
        assert torch.equal(found.labels, batch.labels)
        assert not found.labels_granted
        gains.append(scores(found, batch, control)[0])
    assert min(gains) > 2, gains
    assert sum(gains) / 4 > 4.5, gains


def test_reads_repeated_labels(photographs):
    for seed in range(4):
        batch, client, _ = case(photographs, seed, labels=[3, 7, 3, 3], size=4)
        assert short(AFGI, 1)(client.share(batch, Level.BASIC)).labels.tolist() == [3, 3, 3, 7]


def test_fails_through_another_network(photographs):
    for seed in (1, 3):
        batch, client, control = case(photographs, seed)
        seen = client.share(batch, Level.BASIC | Knowledge.LABELS)
        other = replace(seen, model=build("fedavg-cnn", num_classes=10, channels=3, size=32))
        right, wrong = (scores(short(AFGI, 80)(s, seed=seed), batch, control) for s in (seen, other))
        assert wrong[0] < right[0] - 3
        assert wrong[1] < right[1] - 0.2


@pytest.mark.parametrize("prior", [ChannelMeans("oracle"), Edges("oracle")], ids=repr)
def test_the_oracle_is_refused_without_its_flag(photographs, prior):
    batch, client, _ = case(photographs, 0)
    attack = short(with_terms(Term(prior, 0.1)), 3)
    assert attack.needs == Knowledge.BATCH_SIZE | Knowledge.IMAGE_STATISTICS
    with pytest.raises(MissingKnowledge, match=r"oracle.* needs .*IMAGE_STATISTICS"):
        attack(client.share(batch, Level.MALICIOUS_SERVER | Knowledge.LABELS))
    assert attack(client.share(batch, attack.needs)).inputs.shape == batch.inputs.shape


@pytest.mark.parametrize("prior", [ChannelMeans("oracle"), Edges("oracle")], ids=repr)
def test_the_oracle_moves_the_guess_towards_the_truth(photographs, prior):
    """With it and nothing else to go by, the guess has the true means, or more of the true edges."""
    batch, client, _ = case(photographs, 0)
    seen = client.share(batch, Level.BASIC | Knowledge.IMAGE_STATISTICS | Knowledge.LABELS)
    distance = prior.bind(seen)
    found, plain = (
        short(with_terms(Term(TotalVariation(), 1e-2), *terms), 40)(seen) for terms in ((Term(prior, 10.0),), ())
    )
    after, before = (distance(NORMALISATION.apply(guess.inputs), Progress(0, 1)) for guess in (found, plain))
    assert after < 0.5 * before
