"""The parts of attacks on text: embeddings, their length, objective, language model, reorderings, gaps."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradaudit import Knowledge
from gradaudit.attacks import LAMP
from gradaudit.inversion.network.gaps import widest_gap
from gradaudit.inversion.network.tokens import mean_length, possible_tokens
from gradaudit.inversion.parts.moves import RandomStart, TokenEdits
from gradaudit.inversion.parts.moves.token_edits import EDITS, reordered
from gradaudit.inversion.parts.moves.trigram import NGrams, Trigram
from gradaudit.inversion.parts.objectives import EuclideanL1
from gradaudit.inversion.parts.parametrisations import Pixels, TokenEmbeddings
from gradaudit.inversion.parts.part import Progress, Term
from gradaudit.inversion.parts.priors import EmbeddingLength, TotalVariation
from gradaudit.values.errors import AttackFailed
from text_cases import ENCODED, VOCABULARY, public_texts, random_texts, share, texts

AT = Progress(0, 1)


@pytest.fixture
def batch():
    return random_texts(3)


@pytest.fixture
def seen(batch):
    return share(batch)


def guess_of(seen, tokens, seeds=1):
    """A candidate that holds the embeddings of `tokens` `[B, L]`, however they are scaled."""
    candidate = TokenEmbeddings().start(seen, seeds, None)
    table = seen.model.token_embedding.weight.detach()
    candidate.variables["embeddings"].copy_(7 * table[tokens].expand_as(candidate.variables["embeddings"]))
    candidate.project()
    return candidate


def test_framing_tokens_are_put_back_to_the_last_bit(seen, batch):
    candidate = TokenEmbeddings().start(seen, 2, None)
    embeddings = candidate.variables["embeddings"]
    assert embeddings.shape == (2, *batch.inputs.shape, 32)
    embeddings.normal_()
    before = embeddings.clone()
    candidate.project()
    known = torch.isin(batch.inputs, torch.tensor(ENCODED.special))
    table = seen.model.token_embedding.weight
    assert torch.equal(embeddings[:, known], table[batch.inputs[known]].expand(2, -1, -1))
    assert torch.equal(embeddings[:, ~known], before[:, ~known])
    assert torch.equal(candidate.reported(seen)[:, known], batch.inputs[known].expand(2, -1))
    assert not torch.isin(candidate.reported(seen)[:, ~known], torch.tensor(ENCODED.special)).any()


def test_without_lengths_only_the_opening_is_known(seen, batch):
    candidate = TokenEmbeddings().start(replace(seen, lengths=None), 1, None)
    assert candidate.frame.free.sum() == batch.inputs.numel() - len(batch)
    assert (candidate.reported(seen)[:, :, 0] == 1).all()


def test_embeddings_of_tokens_are_reported_as_these_tokens(seen, batch):
    assert torch.equal(guess_of(seen, batch.inputs, 2).reported(seen), batch.inputs.expand(2, -1, -1))


def test_a_shared_table_limits_the_guess(batch):
    seen = share(batch, knowledge=Knowledge.BATCH_SIZE | Knowledge.EMBEDDING_GRADIENT)
    words = set(batch.inputs.unique().tolist()) - set(ENCODED.special)
    assert set(possible_tokens(seen).nonzero().flatten().tolist()) == words
    assert set(possible_tokens(share(batch)).nonzero().flatten().tolist()) == set(range(3, VOCABULARY))
    reported = TokenEmbeddings().start(seen, 1, None).reported(seen)
    assert set(reported.unique().tolist()) <= words | set(ENCODED.special)


@pytest.mark.parametrize("length", ["free", "start", "always"])
def test_lengths_of_the_first_guess(seen, length):
    candidate = TokenEmbeddings(length=length).start(seen, 2, None)
    norm = mean_length(seen.model.token_embedding.weight.detach())
    free = candidate.frame.free

    def lengths():
        return candidate.variables["embeddings"].norm(dim=-1)[:, free]

    if length == "free":
        assert lengths().mean().item() == pytest.approx(math.sqrt(32), rel=0.05)
    else:
        torch.testing.assert_close(lengths(), norm.expand_as(lengths()))
    candidate.variables["embeddings"].mul_(3)
    candidate.project()
    assert bool((lengths() - norm).abs().max() < 1e-5) == (length == "always")


def test_a_guess_of_tokens_and_a_later_stage(seen):
    first = TokenEmbeddings(init="tokens").start(seen, 2, None)
    table = seen.model.token_embedding.weight
    torch.testing.assert_close(first.decode(), table[first.reported(seen)])
    assert torch.equal(TokenEmbeddings().start(seen, 2, first).decode(), first.decode())


def test_a_part_of_another_modality_is_refused_before_the_search(seen):
    attack = replace(LAMP, stages=(replace(LAMP.stages[0], terms=(Term(TotalVariation(), 0.1),)), LAMP.stages[1]))
    with pytest.raises(AttackFailed, match=r"lamp: TotalVariation\(\) is made for pictures"):
        attack(seen)


def test_pictures_are_refused(client):
    from conftest import make_batch

    with pytest.raises(AttackFailed, match="on text needs a model with a token_embedding"):
        TokenEmbeddings().start(client.share(make_batch(), Knowledge.BATCH_SIZE), 1, None)


def test_euclidean_l1_by_hand():
    sides = (torch.tensor([3.0, 4.0]), torch.tensor([0.0])), (torch.tensor([3.0, 0.0]), torch.tensor([2.0]))
    assert EuclideanL1(alpha=0.5)(*sides, AT).item() == 20 + 0.5 * 6


def test_embedding_length_by_hand(seen, batch):
    table = seen.model.token_embedding.weight.detach()
    penalty = EmbeddingLength(target=2.0).bind(seen)
    embeddings = table[batch.inputs].clone()
    words = batch.inputs != 0
    embeddings[words] = torch.nn.functional.normalize(torch.randn_like(embeddings[words]), dim=-1) * 5
    assert penalty(embeddings, AT).item() == pytest.approx(9, rel=1e-5)  # padding does not count
    assert EmbeddingLength().bind(seen)(table[3:].unsqueeze(0), AT).item() < 1e-4
    embeddings = embeddings.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: EmbeddingLength(1.0).bind(seen)(x, AT), (embeddings[:1, :3],))


def counted(rows, history, word, vocabulary):
    """Witten-Bell, word for word, with dictionaries."""
    if len(history) == 0:
        shorter, counts = 1 / vocabulary, Counter(w for row in rows for w in row)
    else:
        shorter = counted(rows, history[1:], word, vocabulary)
        size = len(history)
        counts = Counter(
            row[i + size] for row in rows for i in range(len(row) - size) if tuple(row[i : i + size]) == tuple(history)
        )
    total, kinds = sum(counts.values()), len(counts)
    return (counts[word] + kinds * shorter) / (total + kinds) if total else shorter


ROWS = [[1, 2, 3, 4], [1, 2, 4], [5, 2, 3], [3, 3, 3, 3, 3]]


def test_trigram_against_counting_by_hand():
    padded = torch.tensor([row + [0] * (5 - len(row)) for row in ROWS])
    model = NGrams(padded, 8, pad_id=0)
    for row in (*ROWS, [1, 2, 3], [7, 6, 5], [2, 3, 3, 4], [4]):
        chances = [counted(ROWS, row[max(0, i - 2) : i], word, 8) for i, word in enumerate(row)]
        expected = -sum(map(math.log, chances)) / len(row)
        tokens = torch.tensor([row + [0] * (6 - len(row))])
        assert model(tokens).item() == pytest.approx(expected)


def test_trigram_probabilities_sum_to_one():
    model = NGrams(torch.tensor([row[:3] for row in ROWS]), 8, pad_id=None)
    for history in ([1, 2], [3, 3], [7, 7], [2, 4]):
        texts = torch.tensor([[*history, word] for word in range(8)])
        total = model(texts) * 3 - model(texts[:, :2]) * 2  # nats of the last word
        assert total.neg().exp().sum().item() == pytest.approx(1)


def test_trigram_prefers_the_order_of_the_public_texts(seen):
    model = Trigram().bind(seen)
    public = public_texts().inputs
    shuffled = public.clone()
    shuffled[:, 1:7] = shuffled[:, 1:7].flip(1)
    assert model(public).shape == (len(public),)
    assert model(public).max() < model(shuffled).min() - 1


def test_trigram_needs_public_text(seen):
    assert Trigram().needs == Knowledge.PUBLIC_DATA
    assert TokenEdits(weight=0).needs == Knowledge.NOTHING
    with pytest.raises(AttackFailed, match="counts words in public text"):
        Trigram().bind(replace(seen, public_data=None))


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), *[st.integers(0, n - 1)] * 3)), st.sampled_from(EDITS))
@settings(max_examples=200)
def test_edits_are_permutations(drawn, kind):
    assert sorted(reordered(drawn[0], kind, *drawn[1:])) == list(range(drawn[0]))


def test_edits_by_hand():
    assert reordered(5, "swap", 0, 3, 0) == [3, 1, 2, 0, 4]
    assert reordered(5, "move", 0, 3, 0) == [1, 2, 3, 0, 4]
    assert reordered(5, "move-span", 2, 1, 0) == [1, 2, 0, 3, 4]
    assert reordered(5, "move-span", 1, 2, 3) == [0, 3, 4, 1, 2]
    assert reordered(5, "prefix-to-end", 2, 0, 0) == [2, 3, 4, 0, 1]
    with pytest.raises(AttackFailed, match=r"TokenEdits.edits: should be 'swap', 'move'"):
        TokenEdits(edits=("delete",))
    with pytest.raises(AttackFailed, match="edits must be some of"):
        TokenEdits(edits=())
    with pytest.raises(AttackFailed, match="every must be at least 1"):
        TokenEdits(every=0)


def test_token_edits_restore_an_order_that_scores_best():
    """A score that counts misplaced words: every move keeps or lowers it, for each seed and sentence on its own."""
    batch = random_texts(2, seed=3)
    seen = share(batch)
    candidate = guess_of(seen, batch.inputs, seeds=2)
    truth = candidate.variables["embeddings"].clone()
    for seed, turn in ((0, 1), (1, 2)):
        for row, free in enumerate(candidate.frame.free):
            at = free.nonzero().flatten()
            candidate.variables["embeddings"][seed, row, at] = truth[seed, row, at.roll(turn)]

    def score():
        return (candidate.variables["embeddings"] - truth).norm(dim=-1).gt(1e-6).sum((1, 2)).double()

    move = TokenEdits(tries=150, every=2, burn_in=0.3, weight=0.0).bind(seen)
    scores = [score()]
    for step in range(12):
        move(candidate, score, Progress(step, 12))
        scores.append(score())
        assert (scores[-1] <= scores[-2]).all()
        if step < 4 or step % 2:
            assert torch.equal(scores[-1], scores[-2])  # before the burn-in and in between nothing moves
    assert scores[-1].tolist() == [0, 0]
    assert torch.equal(candidate.variables["embeddings"], truth)


def test_token_edits_follow_the_language_where_the_score_is_silent():
    batch = texts([[12, 10, 13, 11, 14]], ENCODED)  # public texts go 10, 11, 12, 13, 14
    seen = share(batch)
    candidate = guess_of(seen, batch.inputs)
    move = TokenEdits(tries=300, every=1, burn_in=0.0, weight=0.2).bind(seen)
    for step in range(3):
        move(candidate, lambda: torch.zeros(1), Progress(step, 3))
    assert candidate.reported(seen).flatten().tolist() == [1, 10, 11, 12, 13, 14, 2]


def test_random_start_takes_the_best_of_all(seen):
    candidate = TokenEmbeddings(length="start").start(seen, 2, None)
    offered = []

    def score():
        offered.append(candidate.variables["embeddings"][..., 0].sum((1, 2)))
        return offered[-1]

    RandomStart(30, 20)(candidate, score, Progress(0, 1))
    assert len(offered) == 51
    torch.testing.assert_close(
        candidate.variables["embeddings"][..., 0].sum((1, 2)), torch.stack(offered).min(0).values
    )
    RandomStart(30, 20)(candidate, score, Progress(1, 2))
    assert len(offered) == 51  # only at the first step


def test_moves_refuse_pictures(client):
    from conftest import make_batch

    seen = client.share(make_batch(), Knowledge.BATCH_SIZE)
    candidate = Pixels().start(seen, 1, None)
    with pytest.raises(AttackFailed, match="reorders tokens"):
        RandomStart()(candidate, lambda: torch.zeros(1), Progress(0, 1))


def test_widest_gap_by_hand():
    values = torch.tensor([3e-6, 1e-6, 0.5, 2e-6, 0.7])
    gap = widest_gap(values)
    assert (gap.count, gap.ratio) == (3, pytest.approx(0.5 / 3e-6, rel=1e-4))
    assert 3e-6 < gap.threshold < 0.5
    assert widest_gap(values, most=2).count == 1
    assert widest_gap(values, least=4).count == 4
    assert widest_gap(values, descending=True).count == 2


def test_padding_alone_is_left_out_of_the_mean_length():
    """A word that shares some entries with the padding's embedding is a word."""
    seen = share(texts([[5, 6, 7, 8]], ENCODED))
    table = seen.model.token_embedding.weight.detach()
    word = table[ENCODED.padding].clone()
    word[0] += 3
    rows = torch.stack([word, table[ENCODED.padding], word])[None]
    found = EmbeddingLength(target=0.0).bind(seen)(rows, Progress(0, 1))
    assert found.item() == pytest.approx(word.norm().item() ** 2, rel=1e-5)
