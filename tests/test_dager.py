"""DAGER: exact texts of a decoder, graceful loss under noise, and a refusal with its reason where it cannot work."""

from dataclasses import replace

import pytest
import torch

from gradaudit import Batch, Client, FedAvg, Knowledge
from gradaudit.attacks.dager import ATTACK
from gradaudit.data.sources.texts import Texts
from gradaudit.inversion.network.spans import Span, attention_projections, entering, full_rank, is_causal
from gradaudit.protocol.defenses import GaussianNoise
from gradaudit.values.errors import AttackFailed, MissingKnowledge
from gradaudit.values.types import Modality, TextLayout
from text_cases import bert, gpt2, random_texts, share, texts

FACTS = Knowledge.BATCH_SIZE
WORDS = TextLayout(1000, 0)


def decoder(seed=0, **options):
    return gpt2(seed, **({"vocabulary": 1000, "width": 128, "length": 24} | options))


def observed(batch, model=None, **options):
    return share(batch, model or decoder(), FACTS, **options)


def exact(found, batch):
    """How many of the texts came back to the last token, in whatever row."""
    rows = [tuple(row) for row in found.inputs.tolist()]
    return sum(rows.count(row) >= count for row, count in counts(batch).items())


def counts(batch):
    rows = [tuple(row) for row in batch.inputs.tolist()]
    return {row: rows.count(row) for row in rows}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lengths", ["known", "unknown"])
def test_eight_texts_come_back_exactly(seed, lengths):
    batch = random_texts(8, WORDS, 4, 9, seed)
    seen = observed(batch, decoder(seed))
    seen = seen if lengths == "known" else replace(seen, lengths=None)
    found = ATTACK(seen, seed=seed)
    assert exact(found, batch) == 8
    assert found.objective < 1e-4
    assert (found.inputs != 0).sum(1).tolist() == batch.lengths.tolist() or lengths == "unknown"


def test_texts_that_repeat_and_begin_alike():
    rows = [[7, 8, 9, 10], [7, 8, 9, 10], [7, 8, 9], [12, 8], [20, 9, 9]]
    batch = texts(rows, WORDS)
    assert exact(ATTACK(observed(batch)), batch) == len(counts(batch)) == 4


def test_a_token_at_two_places_opens_the_first_span_and_the_second_closes_it():
    """(242 at 1) and (242 at 2) put the difference of the places into the span: 30 then fits place 2 as well."""
    batch = texts([[5, 242, 30, 31], [6, 30, 242, 32], [7, 33, 34, 35]], WORDS)
    found = ATTACK(observed(batch))
    assert exact(found, batch) == 3
    assert any("14 tokens lie inside the first span" in note for note in found.notes), found.notes


def test_the_real_vocabulary_of_gpt2(shared_data):
    pytest.importorskip("tokenizers")
    files = shared_data / "cola_dev.tsv", shared_data / "gpt2_encoder.json", shared_data / "gpt2_vocab.bpe"
    if not all(file.is_file() for file in files):
        pytest.skip("CoLA or the vocabulary of GPT-2 is not there")
    source = Texts(files[0], tokenizer=files[1], merges=files[2]).open()
    for seed in range(2):
        chosen = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed)).tolist()
        chosen = [i for i in chosen if len(source.ids[i]) <= 12][:8]
        inputs, lengths = source.stack(chosen)
        layout = source.vocabulary.layout
        batch = Batch(inputs, torch.arange(8) % 2, Modality.TEXT, lengths, layout)
        model = gpt2(seed, vocabulary=layout.size, width=128, pad_id=layout.padding, length=24)
        found = ATTACK(Client(model).share(batch, FACTS), seed=seed)
        assert exact(found, batch) == 8
        assert torch.equal((found.inputs != layout.padding).sum(1), lengths)


def test_noise_costs_texts_one_after_the_other():
    recovered = dict.fromkeys((0.0, 1e-5, 1e-3, 1e-1), 0)
    for noise in recovered:
        for seed in range(3):
            batch = random_texts(4, WORDS, 4, 7, seed)
            defenses = (GaussianNoise(noise, relative=True),) if noise else ()
            found = ATTACK(observed(batch, decoder(seed), defenses=defenses))
            recovered[noise] += exact(found, batch)
            assert found.objective < 0.05 or noise > 1e-4
    assert recovered[0.0] == recovered[1e-5] == 12
    assert recovered[1e-1] <= 1
    assert recovered[1e-1] <= recovered[1e-3] <= 12


def test_noise_without_lengths_is_refused():
    batch = random_texts(4, WORDS, 4, 7)
    seen = observed(batch, defenses=(GaussianNoise(0.1, relative=True),))
    with pytest.raises(AttackFailed, match="no gap"):
        ATTACK(replace(seen, lengths=None))


def test_a_weight_difference_of_one_small_step():
    batch = random_texts(4, WORDS, 4, 7)
    client = Client(decoder(), FedAvg(learning_rate=1e-2))
    assert exact(ATTACK(client.share(batch, FACTS)), batch) == 4


def test_an_encoder_is_refused():
    batch = random_texts(2)
    with pytest.raises(AttackFailed, match="TextClassifier is an encoder"):
        ATTACK(share(batch, bert(), FACTS))


def test_as_many_tokens_as_dimensions_are_refused():
    batch = random_texts(8, WORDS, 8, 9)
    with pytest.raises(AttackFailed, match="tokens fill all 64 dimensions"):
        ATTACK(observed(batch, decoder(width=64)))
    with pytest.raises(AttackFailed, match=r"no gap|no token continues"):
        ATTACK(replace(observed(batch, decoder(width=64)), lengths=None))


def test_a_model_too_shallow_is_refused():
    with pytest.raises(AttackFailed, match="does not span the tokens of a text"):
        ATTACK(observed(random_texts(2, WORDS, 6, 9), decoder(depth=2)))


def test_frozen_attention_is_refused():
    model = decoder()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("c_attn" not in name)
    with pytest.raises(AttackFailed, match="two attention layers, and the update shares 0"):
        ATTACK(observed(random_texts(2, WORDS), model))


def test_knowledge_and_data():
    from conftest import linear_net, make_batch

    with pytest.raises(MissingKnowledge, match="dager: needs BATCH_SIZE"):
        ATTACK(share(random_texts(1, WORDS), decoder(), Knowledge.NOTHING))
    with pytest.raises(AttackFailed, match="dager: is made for text, but the client trains on pictures"):
        ATTACK(Client(linear_net()).share(make_batch(1, side=4, classes=5), FACTS))


def test_properties():
    batch = random_texts(2, WORDS)
    seen = observed(batch)
    first, again = ATTACK(seen, seed=1), ATTACK(seen, seed=1)
    assert torch.equal(first.inputs, again.inputs)
    before = [tensor.clone() for tensor in (*seen.model.state_dict().values(), *seen.update.values)]
    ATTACK(seen)
    assert all(map(torch.equal, before, [*seen.model.state_dict().values(), *seen.update.values]))
    assert not any(module._forward_pre_hooks for module in seen.model.modules())


def test_rows_that_enter_attention_lie_in_its_span():
    """The fact behind it, without the attack: rows of the private texts at rounding, others far off."""
    batch = random_texts(4, WORDS, 4, 7)
    seen = observed(batch)
    for projection in attention_projections(seen.model, seen.update.tensors)[:2]:
        span = Span(projection.gradient, None, clear=3.0)
        rows = entering(seen.model, projection.module, batch.inputs)[batch.inputs != 0]
        assert span.rank <= len(rows)
        assert span.distance(rows).max() < 1e-4
        assert span.distance(torch.randn(100, 128)).min() > 0.5


def test_causal_and_full_rank_are_measured():
    probe = torch.arange(3, 11).unsqueeze(0)
    for model, causal in ((gpt2(), True), (bert(), False)):
        update = dict(model.named_parameters())
        module = attention_projections(model, update)[1].module
        assert is_causal(model, module, probe) == causal
    loss = torch.nn.functional.cross_entropy
    assert full_rank(gpt2(), loss, 1, probe)
    assert not full_rank(gpt2(depth=2), loss, 1, probe)
