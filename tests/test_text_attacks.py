"""Attacks on text: their properties, and that they recover what they could not know and fail where they must."""

from dataclasses import replace

import pytest
import torch

from conftest import linear_net, make_batch
from gradaudit import Client, Knowledge
from gradaudit.attacks import ATTACKS, bag_of_words, dlg_text, lamp, tag
from gradaudit.inversion.parts.optimisers import Adam
from gradaudit.inversion.parts.parametrisations import TokenEmbeddings
from gradaudit.protocol.defenses import GaussianNoise
from gradaudit.values.errors import AttackFailed
from properties import (
    assert_deterministic,
    assert_refuses_missing_knowledge,
    assert_repr_rebuilds,
)
from text_cases import DECODED, ENCODED, GRANTED, FlatText, accuracy, bert, gpt2, random_texts, share, short, texts

MATCHING = (dlg_text.ATTACK, tag.ATTACK, lamp.ATTACK)
SHARED_TABLE = Knowledge.BATCH_SIZE | Knowledge.EMBEDDING_GRADIENT


def named(attack):
    return attack.name


@pytest.mark.parametrize("attack", MATCHING, ids=named)
class TestProperties:
    def test_repr_rebuilds(self, attack):
        assert_repr_rebuilds(attack)

    def test_deterministic(self, attack):
        assert_deterministic(short(attack, 3), share(random_texts(1)))

    def test_refuses_missing_knowledge(self, attack):
        assert_refuses_missing_knowledge(short(attack, 2), lambda facts: share(random_texts(1), knowledge=facts))

    def test_refuses_pictures(self, attack):
        seen = Client(linear_net()).share(make_batch(1, side=4, classes=5), Knowledge.BATCH_SIZE | Knowledge.LABELS)
        with pytest.raises(AttackFailed, match="is made for text, but the client trains on pictures"):
            short(attack, 2)(replace(seen, knowledge=GRANTED))

    def test_model_untouched(self, attack):
        seen = share(random_texts(2))
        before = [tensor.clone() for tensor in (*seen.model.state_dict().values(), *seen.update.values)]
        found = short(attack, 3)(seen)
        assert all(map(torch.equal, before, [*seen.model.state_dict().values(), *seen.update.values]))
        assert found.inputs.shape == (2, *seen.input_shape)
        assert found.inputs.dtype == torch.int64


# Attack in five steps -> the first text, and the objective.
VALUES = {
    "bag-of-words": ([1, 31, 25, 30, 46, 2, 0, 0], 0.0),
    "dager": ([45, 25, 30, 31, 0, 0], None),
    "dlg-text": ([1, 43, 26, 5, 12, 2, 0, 0], 2.9126e-4),
    "lamp": ([1, 43, 12, 56, 26, 2, 0, 0], 0.143813),
    "tag": ([1, 43, 26, 29, 12, 2, 0, 0], 5.86073e-3),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name):
    attack, decodes = ATTACKS[name], name == "dager"
    batch = random_texts(2, DECODED if decodes else ENCODED)
    seen = share(batch, gpt2() if decodes else bert(), GRANTED | attack.needs)
    found = (short(attack, 5) if hasattr(attack, "stages") else attack)(seen, seed=0)
    text, objective = VALUES[name]
    assert found.inputs[0].tolist() == text
    assert found.objective == pytest.approx(objective, rel=0.01) if objective is not None else found.objective < 1e-5


def test_the_published_parameters():
    for attack in (dlg_text.ATTACK, tag.ATTACK):
        (stage,) = attack.stages
        assert (stage.steps, stage.optimiser) == (2500, Adam(lr=0.1))
        assert stage.parametrisation == TokenEmbeddings(length="free")
    assert tag.ATTACK.objective.alpha == 0.01
    first, second = lamp.ATTACK.stages
    assert (first.steps, first.moves[0].candidates, first.moves[0].permutations) == (1, 500, 500)
    assert (second.steps, second.optimiser.lr, second.optimiser.factor) == (2000, 0.01, 0.89)
    assert [second.optimiser.scale(step, 2000) for step in (0, 49, 50, 100)] == pytest.approx([1, 1, 0.89, 0.89**2])
    assert (second.moves[0].tries, second.moves[0].every, second.moves[0].burn_in) == (200, 75, 0.1)
    assert (second.moves[0].weight, second.terms[0].weight) == (0.2, 1.0)


def gentle(attack, steps):
    """With LAMP's start and a learning rate for a table this small; the published ones are measured in benchmarks."""
    optimiser = Adam(lr=0.02, cosine=attack is dlg_text.ATTACK)
    stage = replace(attack.stages[-1], parametrisation=TokenEmbeddings(length="start"), optimiser=optimiser)
    return short(replace(attack, stages=(*attack.stages[:-1], stage)), steps)


def fewer_edits(attack):
    stages = [
        replace(stage, moves=tuple(replace(m, tries=40, every=40) if hasattr(m, "tries") else m for m in stage.moves))
        for stage in attack.stages
    ]
    return replace(attack, stages=tuple(stages))


def ascending(seed):
    """Five words that follow one another in the public texts."""
    return texts([[12 * seed + 5 + k for k in range(5)]], ENCODED)


def flat(seed):
    torch.manual_seed(seed)
    return FlatText()


@pytest.mark.parametrize("attack", MATCHING, ids=named)
def test_recovers_texts(attack):
    """Texts of 5 words out of 57, which a guess would hit in 2 of 100 places."""
    for seed in range(4):
        batch = ascending(seed)
        found = fewer_edits(gentle(attack, 60))(share(batch, flat(seed)), seed=seed)
        assert accuracy(found, batch) == 1  # measured: 56 of 56 perturbed runs of each


# Measured: 1 and 0.8 over 8 perturbed runs, at least 0.4 over 15 others of each; a guess has 0.02.
@pytest.mark.parametrize(("model", "steps"), [("encoder", 80), ("decoder", 60)])
def test_lamp_reads_a_text_out_of_a_transformer(model, steps):
    batch = ascending(0) if model == "encoder" else random_texts(1, DECODED, 5, 5)
    net = bert(spread=0.1) if model == "encoder" else gpt2(width=32)
    assert accuracy(fewer_edits(gentle(lamp.ATTACK, steps))(share(batch, net)), batch) >= 0.4


@pytest.mark.parametrize("attack", MATCHING, ids=named)
def test_noise_hides_texts(attack):
    right = []
    for seed in range(4):
        batch = random_texts(1, ENCODED, 5, 5, seed)
        seen = share(batch, flat(seed), defenses=(GaussianNoise(4.0, relative=True),))
        right.append(accuracy(fewer_edits(gentle(attack, 60))(seen, seed=seed), batch))
    assert sum(right) / 4 <= 0.4, right  # measured: at most 0.2 over 29 perturbed runs of each


@pytest.mark.parametrize(("make", "layout"), [(bert, ENCODED), (gpt2, DECODED)])
@pytest.mark.parametrize("seed", range(3))
def test_bag_of_words_is_exact(make, layout, seed):
    batch = random_texts(4, layout, 3, 8, seed)
    found = bag_of_words.ATTACK(share(batch, make(seed), SHARED_TABLE))
    words = set(batch.inputs.unique().tolist())
    assert set(found.inputs.unique().tolist()) == words
    assert torch.equal(found.inputs == 0, batch.inputs == 0)
    assert f"{len(words - set(layout.special))} different tokens of 60" in found.notes[0]
    assert found.inputs.shape == batch.inputs.shape


def test_bag_of_words_without_lengths():
    batch = random_texts(3, ENCODED, 3, 8)
    found = bag_of_words.ATTACK(replace(share(batch, bert(), SHARED_TABLE), lengths=None))
    assert set(batch.inputs.unique().tolist()) - {0} <= set(found.inputs.unique().tolist())


def test_bag_of_words_fills_up_with_the_commonest():
    batch = texts([[9, 9, 9, 9, 5]], DECODED)
    found = bag_of_words.ATTACK(share(batch, gpt2(), SHARED_TABLE)).inputs.flatten().tolist()
    assert set(found) == {5, 9}


def test_bag_of_words_under_noise():
    """A gap tells long rows from noise; where noise drowns them there is none, and the attack says so."""
    batch = random_texts(2, DECODED, 5, 8)
    mild = share(batch, gpt2(), SHARED_TABLE, defenses=(GaussianNoise(1e-6),))
    found = bag_of_words.ATTACK(mild)
    assert set(found.inputs.unique().tolist()) == set(batch.inputs.unique().tolist())
    assert "separated by a gap" in found.notes[1]
    drowned = share(batch, gpt2(), SHARED_TABLE, defenses=(GaussianNoise(1.0),))
    with pytest.raises(AttackFailed, match="no gap separates large rows from small"):
        bag_of_words.ATTACK(drowned)


def test_bag_of_words_needs_the_gradient_of_the_table():
    batch = random_texts(1)
    assert_refuses_missing_knowledge(bag_of_words.ATTACK, lambda facts: share(batch, knowledge=facts))
    held = share(batch)
    with pytest.raises(AttackFailed, match="contains no gradient of the embedding table"):
        bag_of_words.ATTACK(replace(held, knowledge=SHARED_TABLE))


def test_a_shared_table_helps_the_search():
    """The words are known: what is left is their order."""
    batch = random_texts(1, ENCODED, 6, 6)
    words = set(batch.inputs.unique().tolist())
    found = gentle(dlg_text.ATTACK, 20)(share(batch, knowledge=GRANTED | SHARED_TABLE))
    assert set(found.inputs.unique().tolist()) <= words
