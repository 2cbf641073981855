"""The text classifiers: ids and embeddings agree, padding does not count, second derivatives exist."""

import sys

import pytest
import torch

from gradaudit.models import TEXT_MODELS
from gradaudit.protocol.local_training import FedSGD
from gradaudit.values.errors import AuditError
from text_cases import DECODED, ENCODED, bert, gpt2, random_texts

MODELS = {"encoder": (bert, ENCODED), "decoder": (gpt2, DECODED)}


@pytest.fixture(params=MODELS)
def case(request):
    make, layout = MODELS[request.param]
    return make(), random_texts(3, layout)


def test_embeddings_stand_for_ids(case):
    model, batch = case
    assert model(batch.inputs).shape == (3, 2)
    assert torch.equal(model(model.token_embedding(batch.inputs)), model(batch.inputs))


def test_padding_does_not_count(case):
    model, batch = case
    longer = torch.nn.functional.pad(batch.inputs, (0, 4), value=model.pad_id)
    torch.testing.assert_close(model(longer), model(batch.inputs))
    alone = model(batch.inputs[1:2, : batch.lengths[1]])
    torch.testing.assert_close(alone, model(batch.inputs)[1:2])


def test_word_order_counts(case):
    model, batch = case
    swapped = batch.inputs.clone()
    swapped[:, [1, 2]] = swapped[:, [2, 1]]
    assert (model(swapped) - model(batch.inputs)).abs().max() > 1e-5


def test_second_derivative_against_finite_differences(case):
    model, batch = case
    model = model.double()
    embeddings = model.token_embedding(batch.inputs).detach().requires_grad_()
    free = (batch.inputs != 0).unsqueeze(-1)

    def length(x):
        return sum(g.pow(2).sum() for g in FedSGD()(model, x, batch.labels, differentiable=True))

    (slope,) = torch.autograd.grad(length(embeddings), embeddings)
    way = torch.randn_like(embeddings) * free
    with torch.no_grad():
        rise = (length(embeddings + 1e-5 * way) - length(embeddings - 1e-5 * way)) / 2e-5
    assert float((slope * way).sum()) == pytest.approx(float(rise), rel=1e-5)


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_errors_name_the_option(name, monkeypatch):
    with pytest.raises(AuditError, match="width must be a multiple of heads"):
        TEXT_MODELS[name](2, 100, width=10, heads=3, pad_id=0)
    with pytest.raises(AuditError, match="pad_id must be a token of the vocabulary of 100"):
        TEXT_MODELS[name](2, 100, pad_id=100)
    with pytest.raises(AuditError, match="at least 1"):
        TEXT_MODELS[name](0, 100, pad_id=0)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(AuditError, match=r"gradaudit\[text\]"):
        TEXT_MODELS[name](2, 100, pad_id=0)
