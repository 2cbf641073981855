"""AFGI recovers photographs and their labels, fails through another network, and refuses the oracle unasked."""

from dataclasses import replace

import pytest
import torch

from gradaudit import Client, Knowledge, Level
from gradaudit.attacks import AFGI, INVERTING_GRADIENTS
from gradaudit.inversion.parts.part import Progress, Term
from gradaudit.inversion.parts.priors import ChannelMeans, Edges, TotalVariation
from gradaudit.values.errors import MissingKnowledge
from properties import short
from recovery import NORMALISATION, drawn, gain, kinked_net


def case(seed, size=1, labels=None):
    """Photographs, a client with a small network, and the control."""
    batch, control = drawn(seed, size, labels=labels)
    return batch, Client(kinked_net(), normalisation=NORMALISATION), control


def with_terms(*terms):
    return replace(AFGI, stages=(replace(AFGI.stages[0], terms=terms),))


def test_its_parameters():
    stage, other = AFGI.stages[0], INVERTING_GRADIENTS.stages[0]
    assert stage.steps == 10_000
    assert (stage.optimiser, stage.gradient) == (other.optimiser, other.gradient)
    assert [type(term.prior) for term in stage.terms] == [TotalVariation, ChannelMeans, Edges]
    assert AFGI.needs == Knowledge.BATCH_SIZE


def test_recovers_photographs_and_their_labels():
    gains = []
    for seed in range(4):
        batch, client, control = case(seed)
        found = short(AFGI, 100)(client.share(batch, Level.BASIC), seed=seed)
        assert torch.equal(found.labels, batch.labels)
        assert not found.labels_granted
        gains.append(gain(found, batch, control))
    assert min(gains) > 1, gains  # measured: 6.5 at least over 8 perturbed runs of these seeds, 2.1 over 30 others
    assert sum(gains) / 4 > 4, gains  # measured: 10.7, and 6.1 to 12.1 over other seeds


def test_reads_repeated_labels():
    for seed in range(4):
        batch, client, _ = case(seed, 4, [3, 7, 3, 3])
        assert short(AFGI, 1)(client.share(batch, Level.BASIC)).labels.tolist() == [3, 3, 3, 7]  # 132 of 132 runs


def test_fails_through_another_network():
    gains = []
    for seed in range(3):
        batch, client, control = case(seed)
        seen = replace(client.share(batch, Level.BASIC | Knowledge.LABELS), model=kinked_net())
        gains.append(gain(short(AFGI, 60)(seen, seed=seed), batch, control))
    assert sum(gains) / 3 < 1, gains  # measured: -2.1 over 8 perturbed runs, -2.9 to 0.3 over 20 others


@pytest.mark.parametrize("prior", [ChannelMeans("oracle"), Edges("oracle")], ids=repr)
def test_the_oracle_is_refused_without_its_flag(prior):
    batch, client, _ = case(0)
    attack = short(with_terms(Term(prior, 0.1)), 3)
    assert attack.needs == Knowledge.BATCH_SIZE | Knowledge.IMAGE_STATISTICS
    with pytest.raises(MissingKnowledge, match=r"oracle.* needs .*IMAGE_STATISTICS"):
        attack(client.share(batch, Level.MALICIOUS_SERVER | Knowledge.LABELS))
    assert attack(client.share(batch, attack.needs)).inputs.shape == batch.inputs.shape


# Measured: ratios of 1e-4 to 0.11 over 38 perturbed runs of the means, 0.12 to 0.84 over 58 of the edges.
@pytest.mark.parametrize(("prior", "most"), [(ChannelMeans("oracle"), 0.5), (Edges("oracle"), 0.95)], ids=repr)
def test_the_oracle_moves_the_guess_towards_the_truth(prior, most):
    """With it and nothing else to go by, the guess has the true means, or more of the true edges."""
    batch, client, _ = case(0)
    seen = client.share(batch, Level.BASIC | Knowledge.IMAGE_STATISTICS | Knowledge.LABELS)
    distance = prior.bind(seen)
    found, plain = (
        short(with_terms(Term(TotalVariation(), 1e-2), *terms), 40)(seen) for terms in ((Term(prior, 10.0),), ())
    )
    after, before = (distance(NORMALISATION.apply(guess.inputs), Progress(0, 1)) for guess in (found, plain))
    assert after < most * before
