"""The head is found by running the model: whatever its layers are called, and in whatever order they were defined."""

import warnings
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from gradaudit import Batch, Client, FedAvg, Knowledge, Level
from gradaudit.inversion.parts.labels import LABELS
from gradaudit.inversion.parts.labels._head import double_head, find_head, signed_head
from gradaudit.inversion.parts.labels._probe import ask
from gradaudit.inversion.parts.labels._search import FoundHead
from gradaudit.inversion.run.label_reading import read_labels
from gradaudit.models import TEXT_MODELS, build_text
from gradaudit.values.errors import AttackFailed
from gradaudit.values.types import Modality, TextLayout

CLASSES = 6
BODY = partial(nn.Conv2d, 1, 5, 3, padding=1)
READERS = tuple(name for name in LABELS if name not in ("known", "joint"))


class Net(nn.Module):
    """A body, then `forward` in one line: `parts` are its modules and parameters in the order of definition."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.run(self, x)


def linear():
    return nn.Linear(320, CLASSES)


def legacy(norm):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return norm(linear())


def features(net, x):
    return net.body(x).relu().flatten(1)


def plain(net, x):
    return net.head(features(net, x))


EXACT = {
    "linear": lambda: Net(plain, body=BODY(), head=linear()),
    "without bias": lambda: Net(plain, body=BODY(), head=nn.Linear(320, CLASSES, bias=False)),
    "1x1 convolution and mean": lambda: Net(
        lambda net, x: net.head(net.body(x).relu()).mean((2, 3)), body=BODY(), head=nn.Conv2d(5, CLASSES, 1)
    ),
    "3x3 convolution and mean": lambda: Net(
        lambda net, x: net.head(net.body(x).relu()).mean((2, 3)), body=BODY(), head=nn.Conv2d(5, CLASSES, 3, 2, 1)
    ),
    "whole convolution": lambda: Net(
        lambda net, x: net.head(net.body(x)).flatten(1), body=BODY(), head=nn.Conv2d(5, CLASSES, 8)
    ),
    "bare parameters": lambda: Net(
        lambda net, x: nn.functional.linear(features(net, x), net.matrix, net.shift),
        body=BODY(),
        matrix=nn.Parameter(torch.randn(CLASSES, 320) / 20),
        shift=nn.Parameter(torch.zeros(CLASSES)),
    ),
    "log softmax": lambda: Net(lambda net, x: plain(net, x).log_softmax(1), body=BODY(), head=linear()),
    "temperature": lambda: Net(
        lambda net, x: nn.functional.linear(features(net, x), net.head.weight) / 0.1, body=BODY(), head=linear()
    ),
    "idle head defined later": lambda: Net(
        lambda net, x: (plain(net, x), net.aux(features(net, x))) if net.training else plain(net, x),
        body=BODY(),
        head=linear(),
        aux=linear(),
    ),
    "hidden layer defined later": lambda: Net(
        lambda net, x: net.head(net.hidden(x.flatten(1)).sigmoid()),
        head=nn.Linear(CLASSES, CLASSES),
        hidden=nn.Linear(64, CLASSES),
    ),
}
BIAS_ONLY = {
    "weight norm": lambda: Net(plain, body=BODY(), head=parametrizations.weight_norm(linear())),
    "spectral norm": lambda: Net(plain, body=BODY(), head=parametrizations.spectral_norm(linear())),
    "legacy weight norm": lambda: Net(plain, body=BODY(), head=legacy(nn.utils.weight_norm)),
    "maximum over the pixels": lambda: Net(
        lambda net, x: net.head(net.body(x).relu()).amax((2, 3)), body=BODY(), head=nn.Conv2d(5, CLASSES, 1)
    ),
    "cosine head with a shift": lambda: Net(
        lambda net, x: nn.functional.linear(features(net, x), nn.functional.normalize(net.head.weight), net.head.bias),
        body=BODY(),
        head=linear(),
    ),
}
SIGNS = {
    "ReLU and mean": lambda: Net(
        lambda net, x: net.head(net.body(x).relu()).relu().mean((2, 3)), body=BODY(), head=nn.Conv2d(5, CLASSES, 1)
    ),
    "mean of two heads": lambda: Net(
        lambda net, x: (net.one(features(net, x)).tanh() + net.two(features(net, x)).tanh()) / 2,
        body=BODY(),
        one=linear(),
        two=linear(),
    ),
}
NONE = {
    "softmax": lambda: Net(lambda net, x: plain(net, x).softmax(1), body=BODY(), head=linear()),
    "cosine head": lambda: Net(
        lambda net, x: nn.functional.linear(features(net, x), nn.functional.normalize(net.head.weight)),
        body=BODY(),
        head=nn.Linear(320, CLASSES, bias=False),
    ),
    "graph cut": lambda: Net(
        lambda net, x: plain(net, x).detach() + 0 * net.aux.sum(),
        body=BODY(),
        head=linear(),
        aux=nn.Parameter(torch.ones(2)),
    ),
}


def share(make, labels, training=None, knowledge=Level.BASIC, seed=0):
    torch.manual_seed(seed)
    net = make().eval()
    batch = Batch(torch.rand(len(labels), 1, 8, 8), torch.tensor(labels))
    return net, batch, Client(net, training or FedAvg(learning_rate=None)).share(batch, knowledge)


def residual(net, batch):
    return (net(batch.inputs).softmax(1) - nn.functional.one_hot(batch.labels, CLASSES)).detach().double()


@pytest.mark.parametrize("kind", [*EXACT, *BIAS_ONLY])
def test_the_gradient_of_the_head_is_p_minus_y(kind):
    net, batch, seen = share({**EXACT, **BIAS_ONLY}[kind], [1, 3, 3, 5])
    head, error = double_head(seen), residual(net, batch)
    assert (head.rows is None) == (kind in BIAS_ONLY)
    if head.bias is not None:
        torch.testing.assert_close(head.bias, error.mean(0), atol=1e-6, rtol=1e-4)
    if head.rows is not None:
        assert torch.linalg.matrix_rank(head.rows, rtol=1e-5) <= 4
        span = torch.linalg.lstsq(error.T, head.rows).solution
        torch.testing.assert_close(error.T @ span, head.rows, atol=1e-6, rtol=1e-3)
        entered = ask(seen, "noise", 9)
        assert entered.features.shape == (9, head.rows.shape[1])


@pytest.mark.parametrize("kind", EXACT)
def test_features_times_the_error_are_the_gradient(kind):
    net, batch, seen = share(EXACT[kind], [1, 3, 3, 5], knowledge=Level.BASIC | Knowledge.PUBLIC_DATA)
    seen = replace(seen, public_data=batch.inputs, public_labels=batch.labels)  # no client would share them
    found = ask(seen, "public", 4)
    torch.testing.assert_close(
        residual(net, batch).T @ found.features / 4, double_head(seen).weight, atol=1e-6, rtol=1e-3
    )


@pytest.mark.parametrize("kind", [*EXACT, *BIAS_ONLY, *SIGNS])
@pytest.mark.parametrize("labels", [[2], [1, 3, 3, 5]])
def test_the_classes_are_read_wherever_the_head_lies(kind, labels):
    _, _, seen = share({**EXACT, **BIAS_ONLY, **SIGNS}[kind], labels)
    readings = {name: read_labels(name, seen) for name in READERS}
    has_bias = signed_head(seen).bias is not None
    assert readings["bias-sign"].applies == has_bias
    if has_bias and kind not in SIGNS:
        assert readings["bias-sign"].labels.tolist() == sorted(set(labels))
    if len(labels) == 1:
        assert readings["idlg"].labels.tolist() == labels
    for name, reading in readings.items():
        assert reading.applies or reading.why_not, name
    assert readings["bias-counts"].applies == (has_bias and kind not in SIGNS)
    assert readings["weight-counts"].applies <= (kind in EXACT)


@pytest.mark.parametrize("kind", SIGNS)
def test_behind_a_nonlinearity_only_signs_are_read(kind):
    """Over many batches nothing wrong is named, and the methods that need sizes say why they do not apply."""
    for seed in range(20):
        labels = torch.randint(CLASSES, (4,), generator=torch.Generator().manual_seed(seed)).tolist()
        _, _, seen = share(SIGNS[kind], labels, seed=seed)
        assert {*read_labels("bias-sign", seen).labels.tolist()} <= {*labels}
    for method in ("bias-counts", "ilrg", "llg", "rlg"):
        assert "only the signs are informative" in read_labels(method, seen).why_not


@pytest.mark.parametrize("kind", NONE)
def test_a_model_without_such_a_layer_says_so(kind):
    _, _, seen = share(NONE[kind], [1, 3])
    for method in READERS:
        assert not read_labels(method, seen).applies
    assert "no layer with 6 outputs whose gradient contains p - y" in read_labels("bias-sign", seen).why_not


def test_a_head_that_does_not_travel_is_named():
    net = EXACT["linear"]()
    net.head.requires_grad_(False)
    _, _, seen = share(lambda: net, [1, 3])
    with pytest.raises(AttackFailed, match=r"the client did not share head.weight and head.bias"):
        find_head(seen)


def test_behind_batch_norm_the_shift_is_the_bias():
    def make():
        norm = nn.BatchNorm1d(CLASSES)
        norm.running_var.uniform_(0.5, 2)
        norm.running_mean.normal_()
        return nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES, bias=False), norm)

    net, batch, seen = share(make, [1, 3, 3])
    assert find_head(seen) == FoundHead(bias="2.bias")
    torch.testing.assert_close(double_head(seen).bias, residual(net, batch).mean(0), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
def test_every_precision(kind):
    assert find_head(share(lambda: EXACT["linear"]().to(kind), [1])[2]) == FoundHead(
        "head.weight", "head.bias", True, True
    )


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_a_model_of_text_is_asked_with_tokens(name):
    torch.manual_seed(0)
    layout = TextLayout(20)
    net = build_text(name, num_classes=4, layout=layout, length=6).eval()
    batch = Batch(torch.randint(1, 20, (1, 6)), torch.tensor([2]), Modality.TEXT, text=layout)
    seen = Client(net).share(batch, Level.BASIC)
    assert read_labels("idlg", seen).labels.tolist() == [2]
    assert read_labels("bias-counts", seen).applies or "no bias" in read_labels("bias-counts", seen).why_not
