"""The static risk of architectures whose answers are known by hand, and what a batch shows before it is shared."""

import io
import json
import math
import re
from functools import partial

import pytest
import torch
from rich.console import Console
from torch import nn
from torchvision.models import VisionTransformer

import gradaudit as ga
from gradaudit.attacks import linear_bias, r_gap
from gradaudit.data.sources import Photographs
from gradaudit.inspection import batch_risk, static_risk
from gradaudit.inspection.adapters import adapters_in_words
from gradaudit.inspection.batch_facts import d_snr
from gradaudit.inspection.equations import condition
from gradaudit.inspection.tracing import LayerPass, runnable, trace
from gradaudit.models import build
from gradaudit.models.cnn6 import _built
from gradaudit.models.text_transformer import tiny_bert, tiny_gpt2
from gradaudit.report import architecture_screen as screen
from gradaudit.values.errors import AuditError
from gradaudit.values.types import Modality


def mlp(act=nn.ReLU, bias=True, inputs=12, width=8):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width, bias=bias), act(), nn.Linear(width, 3, bias=bias))


def layers(found):
    return {layer.name: layer for layer in found.layers}


def gives(layer):
    return {one.attack: one for one in layer.gives}


def counted(layer):
    one = layer.equations
    return one.gradient, one.weight, one.unknowns, one.rank, one.deficit, one.measured


def test_a_perceptron_by_hand():
    found = static_risk(mlp(), (3, 2, 2))
    first, last = found.layers
    assert (first.name, first.kind, first.input_shape, first.output_shape) == ("1", "Linear", (12,), (8,))
    assert counted(first) == (96, 0, 12, 12, 0, True)
    assert counted(last) == (24, 0, 8, 8, 0, True)
    assert first.takes_example
    assert not last.takes_example
    assert found.parameters == 8 * 12 + 8 + 3 * 8 + 3 == 131
    assert [(one.batch_size, one.unknowns, one.ambiguous) for one in found.counts] == [
        (1, 12, False),
        (8, 96, False),
        (32, 384, True),
        (64, 768, True),
    ]
    assert {"linear-bias", "spear", "r-gap"} == gives(first).keys()
    assert gives(first)["linear-bias"].examples == 1
    assert gives(first)["spear"].examples == min(8, 12, int(8 * first.off) + 1)
    assert "scaled" not in gives(first)["r-gap"].sentence
    assert {"quotient", "labels"} == gives(last).keys()
    assert found.verdict.startswith("Private examples leave exactly: linear-bias at layer 1, for one example;")


def test_a_batch_shares_the_gradient_constraints():
    """11 examples have 132 unknowns in 96 equations, and 25 examples of 6 x 6 pixels have weight constraints, too."""
    found = static_risk(mlp(), (3, 2, 2), batch_size=11)
    assert counted(found.layers[0]) == (96, 0, 132, 12, 36, False)
    assert (11, 132, True) in [(one.batch_size, one.unknowns, one.ambiguous) for one in found.counts]
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.LeakyReLU(), nn.Flatten(), nn.Linear(32, 3))
    one = layers(static_risk(net, (1, 6, 6), batch_size=25))["0"].equations
    assert (one.gradient, one.weight, one.unknowns) == (18, 25 * 32, 25 * 36)
    assert one.deficit == 25 * 36 - 18 - 25 * 32


def test_an_inactive_unit_hides_its_weight_constraint():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
    net[0].bias.data = torch.tensor([-100.0, 100.0])  # the first filter is never active
    assert counted(static_risk(net, (1, 6, 6)).layers[0])[:3] == (18, 16, 36)
    net[1] = nn.LeakyReLU()
    assert counted(static_risk(net, (1, 6, 6)).layers[0])[:3] == (18, 32, 36)


@pytest.mark.parametrize(("name", "size", "second"), [("cnn6", 8, 36), ("cnn6", 12, 4), ("lenet", 8, None)])
def test_ranks_are_those_of_r_gap(name, size, second):
    net = build(name, num_classes=10, channels=3, size=size) if second is None else _built(10, 3, size, second)
    batch = ga.Batch(torch.rand(1, 3, size, size), torch.tensor([3]))
    notes = r_gap.ATTACK(ga.Client(net, normalisation=ga.Normalisation()).share(batch, "basic")).notes
    found = static_risk(net, (3, size, size))
    said = [
        f"{layer.name}: {one.gradient} + {one.weight} for {one.unknowns}, rank {one.rank}"
        for layer in found.layers
        if (one := layer.equations)
    ]
    assert notes[0] == f"Rank analysis, gradient constraints + weight constraints for unknowns: {'; '.join(said)}."
    left = re.findall(r"Layer (\w+) leaves (\d+) of (\d+)", " ".join(notes))
    lacking = [layer for layer in found.layers if layer.equations.deficit]
    assert {(name, int(count), int(all_)) for name, count, all_ in left} == {
        (layer.name, layer.equations.deficit, layer.equations.unknowns) for layer in lacking
    }
    assert bool(lacking) == (second == 4)
    assert ("r-gap" in gives(found.layers[0])) == (second != 4)
    if lacking:
        assert "R-GAP applies, but layer 2 leaves" in found.layers[0].nothing


def test_without_a_bias_one_example_is_known_up_to_a_factor_and_only_r_gap_knows_it():
    first = static_risk(mlp(bias=False), (3, 2, 2)).layers[0]
    assert {"outer product", "r-gap"} == gives(first).keys()
    assert gives(first)["outer product"].gives == "direction"
    assert "a scaled image may explain the update" in gives(first)["r-gap"].sentence
    found = static_risk(mlp(nn.GELU, bias=False), (3, 2, 2))
    assert [one.gives for one in found.layers[0].gives] == ["direction"]
    assert found.verdict.startswith("No attack that is known here recovers an example exactly")


def test_behind_a_smooth_activation_batches_are_mixtures():
    found = static_risk(mlp(nn.GELU), (3, 2, 2))
    assert found.layers[0].off == 0
    assert {"linear-bias"} == gives(found.layers[0]).keys()
    assert "mixture" in gives(found.layers[0])["linear-bias"].sentence
    assert "layer 2 (GELU) cannot be undone" in found.chain


def test_pools_and_norms_leave_nothing_exact_and_no_all_clear():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 10)
    )
    found = static_risk(net, (3, 8, 8))
    assert "R-GAP does not apply: layer 1 (BatchNorm2d) cannot be undone" in layers(found)["0"].nothing
    assert gives(layers(found)["1"])["BatchNorm buffers"].gives == "statistics"
    assert gives(layers(found)["5"])["labels"].gives == "labels"
    assert found.verdict.endswith("Exact are only: statistics, features, labels.")
    shown = shown_on_screen(found)
    assert "0: nothing exact: its gradient is a sum over positions" in shown
    assert "'Nothing exact' is not an all-clear" in shown


class Backwards(nn.Module):
    """Registered in the wrong order, with a layer that is used twice, one that is never used, and a function."""

    def __init__(self):
        super().__init__()
        self.head, self.twice, self.never, self.first = (
            nn.Linear(6, 3),
            nn.Linear(6, 6),
            nn.Linear(2, 2),
            nn.Linear(12, 6),
        )

    def forward(self, x):
        x = nn.functional.relu(self.first(x.flatten(1)), inplace=True)
        return self.head(self.twice(self.twice(x)))


def test_layers_come_in_the_order_in_which_they_run():
    found = static_risk(Backwards(), (3, 2, 2))
    assert [layer.name for layer in found.layers] == ["first", "twice", "head", "never"]
    assert [layer.calls for layer in found.layers] == [1, 2, 1, 0]
    assert layers(found)["twice"].equations.unknowns == 12
    assert "used 2 times" in layers(found)["twice"].nothing
    assert "never used" in layers(found)["never"].nothing
    assert {"linear-bias", "spear"} == gives(found.layers[0]).keys()
    assert 0.1 < found.layers[0].off < 0.9


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda net: net[1].requires_grad_(False), "it is frozen"),
        (lambda net: nn.init.zeros_(net[3].weight), "no gradient reaches it"),
    ],
)
def test_r_gap_is_not_claimed_where_a_layer_has_no_gradient(change, why):
    net = mlp()
    change(net)
    found = static_risk(net, (3, 2, 2))
    assert "No attack that is known here recovers an example exactly" in found.verdict
    assert why in found.layers[0].nothing


def test_weights_and_gradients_must_be_finite():
    broken = mlp()
    broken[1].weight.data[0, 0] = float("nan")
    with pytest.raises(AuditError, match=r"1\.weight contains NaN or infinity"):
        static_risk(broken, (3, 2, 2))
    with pytest.raises(AuditError, match=r"the gradient of 3\.weight on random inputs contains NaN"):
        static_risk(mlp(act=NegativeLog), (3, 2, 2))


class NegativeLog(nn.Module):
    def forward(self, x):
        return (-x.square()).log()


def test_shared_parameters_give_no_quotient():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3))
    assert "linear-bias" in gives(static_risk(net, (3, 2, 2)).layers[0])
    net[3].weight = net[1].weight
    found = layers(static_risk(net, (3, 2, 2)))
    assert not found["1"].gives
    assert not found["3"].gives
    assert "two layers share a parameter" in static_risk(net, (3, 2, 2)).chain
    assert "used elsewhere" in found["1"].nothing
    assert found["5"].gives
    assert batch_risk(net, torch.rand(4, 3, 2, 2), None).exact is None


class Sentences(nn.Module):
    def __init__(self, tied):
        super().__init__()
        self.tied, self.table, self.head = tied, nn.Embedding(30, 6), nn.Linear(6, 3)

    def forward(self, ids):
        features = self.table(ids).mean(1)
        return features @ self.table.weight.T if self.tied else self.head(features)


def test_an_embedding_gives_the_tokens_away_unless_it_is_the_output_layer_too():
    table = static_risk(Sentences(tied=False), (5,), modality=Modality.TEXT).layers[0]
    assert gives(table)["bag-of-words"].examples is None
    tied = layers(static_risk(Sentences(tied=True), (5,), modality=Modality.TEXT))
    assert "also the output layer" in tied["table"].nothing
    assert "never used" in tied["head"].nothing


@pytest.mark.parametrize(
    ("net", "what"),
    [
        (lambda: tiny_gpt2(3, 40, depth=3, width=32, pad_id=0), {"dager": ["0", "1"]}),
        (lambda: tiny_gpt2(3, 40, depth=2, width=32, pad_id=0), {"span test": ["0"]}),
        (lambda: tiny_gpt2(3, 40, depth=1, width=32, pad_id=0), {}),
        (lambda: tiny_bert(3, 40, depth=3, width=32), {"span test": ["0", "0", "0"]}),
    ],
    ids=["decoder", "shallow decoder", "one layer", "encoder"],
)
def test_attention_spans_the_tokens(net, what):
    found = static_risk(net(), (10,), modality=Modality.TEXT)
    told = {}
    for layer in found.layers:
        for attack in gives(layer).keys() & {"dager", "span test"}:
            told.setdefault(attack, []).append(re.findall(r"\.(\d)\.", layer.name)[0])
            assert gives(layer)[attack].examples == 3  # 3 texts of 10 tokens are fewer than 32
    assert told == what
    assert not found.counts
    assert found.verdict.startswith("Private texts" if "dager" in what else "The tokens of a batch leave exactly")


def test_vision_transformers_are_tried():
    net = VisionTransformer(8, 4, 1, 2, 16, 32, num_classes=3)
    net.conv_proj = nn.Conv2d(3, 16, 4, 4)
    nn.init.normal_(net.heads.head.weight)
    found = layers(static_risk(net, (3, 8, 8)))
    assert gives(found["conv_proj"])["april-patches"].examples == 1
    assert "the closed form is invalid" in found["encoder.layers.encoder_layer_0.self_attention"].nothing
    assert "a function of its parent uses it" in found["encoder.layers.encoder_layer_0.self_attention.out_proj"].nothing


class Adapted(nn.Module):
    """A frozen layer with a LoRA adapter, under the names of peft."""

    def __init__(self, start):
        super().__init__()
        self.base, self.head = nn.Linear(12, 8).requires_grad_(False), nn.Linear(8, 3)
        self.lora_A = nn.ModuleDict({"default": nn.Linear(12, 3, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(3, 8, bias=False)})
        nn.init.normal_(self.lora_B["default"].weight, std=start)

    def forward(self, x):
        x = x.flatten(1)
        return self.head(torch.tanh(self.base(x) + self.lora_B["default"](self.lora_A["default"](x))))


def inside(rows, span):
    """The largest distance of rows from the span of others, relative to the rows."""
    basis = torch.linalg.qr(span.T).Q
    return float((rows - rows @ basis @ basis.T).norm() / rows.norm())


@pytest.mark.parametrize("start", [0.0, 0.5])
@pytest.mark.parametrize("examples", [2, 7])
def test_what_the_gradients_of_an_adapter_span(start, examples):
    net = Adapted(start).double()
    x, labels = torch.randn(examples, 12).double(), torch.arange(examples) % 3
    nn.functional.cross_entropy(net(x), labels).backward()
    a, b = net.lora_A["default"].weight, net.lora_B["default"].weight
    assert inside(b.grad, x @ a.detach().T) < 1e-12
    assert int(torch.linalg.matrix_rank(b.grad)) == min(3, examples)
    if start:
        assert inside(a.grad, x) < 1e-12
        assert int(torch.linalg.matrix_rank(a.grad)) == min(3, examples)
        assert (inside(x, a.grad[:examples]) < 1e-8) == (examples <= 3)  # all of the span for at most r rows
    else:
        assert not a.grad.any()
    found = static_risk(net.float(), (3, 2, 2))
    (adapter,) = found.adapters
    assert (adapter.rank, adapter.inputs, adapter.outputs, adapter.zero) == (3, 12, 8, "" if start else "B")
    assert ("the gradient of A is zero" in adapters_in_words(found.adapters)) == (not start)
    assert "frozen" in layers(found)["base"].nothing
    assert ("no gradient reaches it" in layers(found)["lora_A.default"].nothing) == (not start)
    assert (found.parameters, found.frozen) == (3 * 12 + 8 * 3 + 27, 12 * 8 + 8)


def test_a_model_without_adapters_has_no_line_about_them():
    assert adapters_in_words(static_risk(mlp(), (3, 2, 2)).adapters) == ""


@pytest.mark.parametrize(("seed", "inplace"), [(0, False), (1, False), (2, False), (0, True)])
def test_exclusive_units_give_their_examples_to_the_bias_attack(seed, inplace):
    torch.manual_seed(seed)
    net = mlp(lambda: nn.ReLU(inplace), inputs=192, width=60)
    pictures = Photographs(size=8).open().stack(range(8 * seed, 8 * seed + 8))
    batch = ga.Batch(pictures, torch.arange(8) % 3)
    risk = batch_risk(runnable(net), batch.inputs, batch.labels)
    first = risk.layers[0]
    flat = pictures.flatten(1)
    active = flat @ net[1].weight.detach().T + net[1].bias.detach() > 0
    alone = active.sum(0) == 1
    assert (first.units, first.exclusive) == (60, int(alone.sum()))
    assert risk.exact == first.examples == tuple(active[:, alone].any(1).nonzero().flatten().tolist())
    update = ga.Client(net, normalisation=ga.Normalisation()).train(batch).tensors
    quotients = update["1.weight"][alone] / update["1.bias"][alone].unsqueeze(1)
    near = torch.cdist(quotients.double(), flat.double()) / flat.norm(dim=1)
    assert float(near.min(1).values.max()) < 1e-3  # every exclusive unit holds an example
    assert set(near.argmin(1).tolist()) == set(risk.exact)
    several = [i for i in risk.exact if int((active[i] & alone).sum()) > 1]
    assert several
    seen = ga.Client(net, normalisation=ga.Normalisation()).share(batch, ga.Level.BASIC)
    found = linear_bias.ATTACK(seen).inputs.flatten(1)
    assert float((torch.cdist(found, flat).min(0).values / flat.norm(dim=1))[several].max()) < 1e-3


def test_no_unit_is_exclusive_where_none_is_off_or_none_takes_the_examples():
    batch, labels = torch.rand(4, 3, 8, 8), torch.arange(4) % 3
    smooth = batch_risk(mlp(nn.Tanh, inputs=192), batch, labels)
    assert (smooth.exact, smooth.layers[0].exclusive) == ((), None)
    normed = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()
    assert "in evaluation mode" in batch_risk(normed, batch, labels).notes[0]
    convolutional = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    found = batch_risk(convolutional, batch, labels)
    assert found.exact is None
    assert "none leaves through a unit of its own" in screen.exact_line(found)


def test_d_snr():
    assert d_snr(torch.tensor([3.0, 1.0, 1.0])) == 1.5
    assert d_snr(torch.tensor([3.0, 0.0])) == math.inf
    assert d_snr(torch.tensor([3.0])) is d_snr(torch.zeros(3)) is None
    net, x, labels = mlp(), torch.rand(3, 3, 2, 2), torch.tensor([0, 1, 1])
    norms = []
    for i in range(3):
        loss = nn.functional.cross_entropy(net(x[i : i + 1]), labels[i : i + 1])
        norms.append(float(torch.autograd.grad(loss, net[3].weight)[0].norm()))
    assert batch_risk(net, x, labels).layers[1].d_snr == pytest.approx(max(norms) / (sum(norms) - max(norms)))
    assert "were assumed" in batch_risk(net, x, None).notes[0]
    with pytest.raises(AuditError, match=r"--data: its labels run from 0 to 7, but the model has 3 classes"):
        batch_risk(net, x, torch.tensor([0, 7, 1]))


def test_condition_numbers():
    def of(weight):
        layer = nn.Linear(weight.shape[1], len(weight))
        layer.weight.data = weight
        return condition(LayerPass("", layer, {}, (), (), {}))

    assert of(torch.diag(torch.tensor([8.0, 4.0, 2.0]))) == pytest.approx(4)
    assert of(torch.ones(3, 3)) == math.inf
    wide = torch.eye(700, 1400)
    wide[0] *= 5
    assert of(wide) == pytest.approx(5)
    assert condition(LayerPass("", nn.LayerNorm(4), {}, (), (), {})) is None


def test_one_logit():
    """The sign of the only bias gradient is the label; without a bias even that stays open."""
    for bias in (True, False):
        net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 1, bias=bias))
        last = static_risk(net, (3, 2, 2)).layers[-1]
        assert ("labels" in gives(last)) == bias


def test_the_model_is_not_changed():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    static_risk(net, (1, 6, 6))
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())
    assert trace(runnable(net.half()), torch.rand(2, 1, 6, 6)).layers


def shown_on_screen(found):
    console = Console(file=io.StringIO(), width=110)
    screen.show(found, console)
    return " ".join(console.file.getvalue().split())


@pytest.fixture
def inspect(gradaudit, tmp_path):
    """Run `gradaudit inspect` in `tmp_path`; gives (exit code, standard output, standard error)."""
    (tmp_path / "own.py").write_text(NETS)
    return partial(gradaudit, "inspect")


NETS = """
import torch
from torch import nn
def net(): return nn.Sequential(nn.Flatten(), nn.Linear(192, 40), nn.ReLU(), nn.Linear(40, 5))
def words(): return nn.Sequential(nn.Embedding(20, 4), nn.Flatten(), nn.Linear(24, 3))
def broken(): raise ValueError("no weights here")
def number(): return 3
def empty(): return nn.Flatten()
def meta():
    with torch.device("meta"): return nn.Linear(3, 2)
def lazy(): return nn.Sequential(nn.Flatten(), nn.LazyLinear(5))
def frozen(): return net().requires_grad_(False)
"""


def test_the_command_on_a_model_of_the_users(inspect):
    asked = ("--model", "own.py:net", "--input-shape", "3x8x8", "--data", "photographs", "--batch-size", "6")
    code, out, err = inspect(*asked, "--json")
    assert (code, err) == (0, "")
    data = json.loads(out)
    assert data["input_shape"] == [3, 8, 8]
    assert data["layers"][0]["equations"] == {
        "gradient": 7680,
        "weight": 0,
        "unknowns": 1152,
        "rank": 192,
        "deficit": 0,
        "measured": False,
    }
    assert data["on_batch"]["batch_size"] == data["batch_size"] == 6
    code, out, err = inspect(*asked)
    assert (code, err) == (0, "")
    screened = " ".join(out.split())
    for sentence in (data["verdict"], data["caution"], *(one["sentence"] for one in data["layers"][0]["gives"])):
        assert sentence in screened
    assert f"{len(data['on_batch']['exact'])} of 6 examples leave exactly" in screened


def test_the_kind_of_the_examples_follows_from_the_model(inspect):
    for arguments, kind in (
        (("own.py:words", "--input-shape", "6"), "text"),
        (("own.py:net", "--input-shape", "192"), "table"),
        (("tabular-mlp", "--num-classes", "2", "--input-shape", "20", "--json"), "table"),
        (("fedavg-cnn", "--num-classes", "10", "--input-shape", "1,8,8"), "pictures"),
    ):
        code, out, _ = inspect("--model", *arguments, "--json")
        assert (code, json.loads(out)["modality"]) == (0, kind)


def test_noise_bounds_what_the_gradient_of_the_batch_determines(inspect):
    asked = ("--model", "own.py:net", "--input-shape", "3x8x8", "--data", "photographs", "--batch-size", "1")
    code, out, _ = inspect(*asked, "--noise", "0,1e3", "--json")
    exact, hidden = json.loads(out)["recoverability"]
    assert code == 0
    assert exact["mean"] < 1e-6  # a linear layer with a bias determines one image
    assert hidden["mean"] > 0.99
    assert "What the gradient determines" in inspect(*asked, "--noise", "0")[1]
    state = mlp(inputs=192, width=40).state_dict()
    torch.save({"1.weight": 0 * state["1.weight"], "1.bias": 0 * state["1.bias"] - 1, "3.weight": torch.ones(5, 40),
                "3.bias": torch.zeros(5)}, "off.pt")  # fmt: skip
    code, out, _ = inspect(*asked, "--weights", "off.pt", "--noise", "1e-6", "--json")
    assert json.loads(out)["recoverability"][0]["mean"] > 0.99  # no unit is active


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("own.py:broken",), "own.py:broken raised ValueError: no weights here"),
        (("own.py:number",), "own.py:number returned a value of type int, not a torch.nn.Module"),
        (("own.py:empty",), "own.py:empty returned a model without parameters"),
        (("own.py:meta",), "is on the meta device"),
        (("own.py:lazy", "--input-shape", "3x8x8"), "has no shape yet"),
        (("own.py:frozen", "--input-shape", "3x8x8"), "all its parameters are frozen"),
        (("own.py:net",), "Give --input-shape: 3 numbers for an image"),
        (("own.py:net", "--input-shape", "3x9x9"), "cannot take images of shape [3, 9, 9]"),
        (("own.py:net", "--input-shape", "3xx9"), "--input-shape: must be 3 numbers for an image"),
        (("own.py:net", "--input-shape", "999999999,999999999"), "Give a smaller --input-shape"),
        (("own.py:net", "--kind", "gradient"), "--kind: is about a captured update"),
        (("own.py:net", "--out", "run"), "--out: is about a captured update"),
        (("own.py:net", "--batch-size", "0"), "--batch-size: must be from 1"),
        (("own.py:net", "--input-shape", "3x8x8", "--noise", "0"), "--noise: is for a batch of your own"),
        (("own.py:net", "--data", "photographs", "--input-shape", "3x8x8", "--noise", "x"), "--noise: must be numbers"),
        (("own.py:net", "--data", "photographs", "--input-shape", "3x8x8", "--noise", "nan"), "--noise: must be"),
        (("own.py:net", "--input-shape", "3x8x8", "--data", "nothing"), "--data: must be a folder of images"),
        (("own.py:net", "--input-shape", "3x8x8", "--data", "no.npz"), "no.npz"),
        (("own.py:net", "--input-shape", "3x8x8", "--data", "photographs", "--batch-size", "999"), "is more than the"),
        (("own.py:words", "--input-shape", "6", "--data", "text"), "--data: its vocabulary is larger"),
        (("mlp",), "--num-classes is required"),
        (("mlp", "--num-classes", "10", "--input-shape", "3x8x9"), "takes square images"),
        (("tabular-mlp", "--num-classes", "2"), "--input-shape is required for tabular-mlp"),
        (("tabular-mlp", "--num-classes", "2", "--input-shape", "3,8,8"), "takes one number"),
    ],
)
def test_errors_of_the_command(inspect, arguments, says):
    code, out, err = inspect("--model", *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1
