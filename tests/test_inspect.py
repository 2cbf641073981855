"""Inspections of updates of real photographs: labels, ranks, exact inputs, signs of a defense, screen, JSON, page."""

import io
import json
import re
from functools import lru_cache, partial

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from torch import nn

from gradaudit import Batch, Client, FedAvg, FedSGD
from gradaudit.capture import FileKind, Settings, capture
from gradaudit.data.sources import Photographs
from gradaudit.inspection import Reading, inspect
from gradaudit.inspection.grids import grid_levels
from gradaudit.inspection.label_facts import agree
from gradaudit.inspection.layers import exact_inputs, layer_facts, numerical_rank
from gradaudit.inspection.signs import nearest_round, signs
from gradaudit.models import build
from gradaudit.protocol.defenses import Clip, GaussianNoise, TopK
from gradaudit.report import inspection_lines as lines
from gradaudit.report import inspection_page as page
from gradaudit.report.inspection_screen import show

NETS = ("mlp", "lenet", "resnet18")


@lru_cache
def photographs():
    return Photographs(size=32).open()


@lru_cache
def network(name, seed=0, classes=10):
    torch.manual_seed(seed)
    return build(name, num_classes=classes, channels=3, size=32).eval()


def draw(size, seed, distinct=False):
    generator = torch.Generator().manual_seed(seed)
    source = photographs()
    pictures = source.stack(torch.randperm(len(source), generator=generator)[:size].tolist())
    labels = (
        torch.randperm(10, generator=generator)[:size] if distinct else torch.randint(10, (size,), generator=generator)
    )
    return Batch(pictures, labels)


def write(net, batch, path, training=None, defenses=(), change=None, buffers=False):
    """The client's update as a file, under the names of a data-parallel wrapper."""
    client = Client(net, training=training or FedSGD(), defenses=defenses)
    update = client.protected(batch)[0]
    tensors = {name: change(value) if change else value for name, value in update.tensors.items()}
    if buffers:
        own = dict(net.named_parameters())
        tensors = {name: own[name].detach() - value for name, value in tensors.items()} | dict(update.buffers)
    path = path / "update.safetensors"
    save_file({f"module.{name}": value.detach().clone().contiguous() for name, value in tensors.items()}, path)
    return path


def quantise(bits):
    def change(value):
        step = value.abs().max().clamp_min(1e-30) / (2 ** (bits - 1) - 1)
        return (value / step).round() * step

    return change


DEFENDED = {
    "nothing": {},
    "clipped": {"defenses": (Clip(0.5),)},
    "pruned": {"defenses": (TopK(0.1),)},
    "quantised": {"change": quantise(8)},
    "noised": {"defenses": (GaussianNoise(1e-3),)},
}


SMALL_NETS = [(name, seed) for name in ("mlp", "lenet", "resnet20") for seed in range(3)]


@pytest.mark.parametrize(
    ("defense", "name", "seed"),
    [
        *((defense, *network) for defense in DEFENDED for network in SMALL_NETS),
        ("nothing", "resnet18", 1),
        ("noised", "resnet18", 1),
    ],
)
def test_each_defense_is_recognised_and_no_other(defense, name, seed, tmp_path):
    net = network(name, seed % 2)
    path = write(net, draw((1, 4, 8)[seed], seed), tmp_path, **DEFENDED[defense])
    captured = capture(net, path)
    found = signs(captured.observation, layer_facts(captured.observation), captured.stored)
    assert {sign.defense for sign in found if sign.found} == ({defense} if defense != "nothing" else set())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (torch.sign, "2 levels"),
        (lambda value: value.half().float(), "float16"),
        (torch.Tensor.bfloat16, "The file stores it as bfloat16"),
        (quantise(4), "(4 bits)"),
    ],
)
def test_ways_of_quantising(change, says, tmp_path):
    net = network("lenet")
    found = inspect(capture(net, write(net, draw(4, 0), tmp_path, change=change))).signs[2]
    assert found.found
    assert says in found.evidence


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", ["mlp", "lenet"])
def test_nothing_is_seen_in_an_honest_update(name, seed, tmp_path):
    """Dead units leave equal shares of zeros in several tensors; that is no pruning."""
    net = network(name, seed)
    training = FedAvg(learning_rate=0.01, epochs=2) if seed % 2 else None
    found = inspect(capture(net, write(net, draw(1 + seed, seed), tmp_path, training)))
    assert found.no_defense, found.signs


def test_defenses_beyond_ours(tmp_path):
    net = network("mlp")
    ways = {
        "the values were clamped": lambda value: value.clamp(-1e-3, 1e-3),
        "the same L2 norm": lambda value: value / value.norm(),
        "the smallest ones were removed": lambda value: value * (value.abs() > 2e-4),
    }
    for says, change in ways.items():
        found = inspect(capture(net, write(net, draw(4, 0), tmp_path, change=change))).signs
        assert any(sign.found and says in sign.evidence for sign in found), says


def test_weight_differences_show_no_defense(tmp_path):
    """Subtracting weights rounds to their grid, and cuts small values to zero; neither is a defense."""
    net = network("resnet18")
    training = FedAvg(learning_rate=0.001, epochs=3, batch_norm="train")
    found = inspect(capture(net, write(net, draw(4, 1), tmp_path, training, buffers=True)))
    assert found.no_defense, found.signs


def test_weight_decay_and_other_losses_are_no_noise(tmp_path):
    net = network("mlp")
    head = net[5].weight.detach()
    decay = write(
        net, draw(4, 0), tmp_path, change=lambda value: value + 0.1 * head if value.shape == head.shape else value
    )
    assert "weight decay" in inspect(capture(net, decay)).signs[3].evidence
    loss = FedSGD(lambda logits, labels: nn.functional.multi_margin_loss(logits, labels) + logits.square().mean())
    found = inspect(capture(net, write(net, draw(4, 0), tmp_path, loss))).signs[3]
    assert found.found is False
    assert "not cross-entropy" in found.evidence


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_local_steps_and_statistics_of_train_mode(steps, tmp_path):
    net = network("resnet20")
    training = FedAvg(learning_rate=0.01, epochs=steps, batch_norm="train")
    path = write(net, draw(4, 2), tmp_path, training, buffers=True)
    found = inspect(capture(net, path, Settings(batch_size=4)))
    assert found.holds == "weights"
    assert found.local_steps == found.batch_norm.steps == steps
    assert found.batch_norm.statistics == ("exact" if steps == 1 else "averaged")
    assert (found.batch_norm.channels, found.batch_norm.layers, found.batch_norm.mode) == (688, 19, "train")


@pytest.mark.parametrize("name", NETS)
def test_labels_and_batch_size_without_being_told(name, tmp_path):
    net, batch = network(name), draw(4, 5, distinct=True)
    found = inspect(capture(net, write(net, batch, tmp_path)))
    assert found.labels.batch_size == found.least_examples == 4
    assert found.labels.batch_size_read
    assert dict(found.labels.consensus) == dict.fromkeys(sorted(batch.labels.tolist()), 1)
    assert found.labels.agreement > 0.85
    assert any("labels of all 4 examples" in line for line in found.leaks)
    public = [reading for reading in found.labels.readings if reading.method == "hfgradinv"]
    assert public[0].lacks == ("PUBLIC_DATA",)


def test_one_example_and_its_features(tmp_path):
    net, batch = network("resnet18"), draw(1, 3)
    found = inspect(capture(net, write(net, batch, tmp_path)))
    (layer,) = found.layers
    assert (layer.rank, layer.recovered, layer.takes_example) == (1, 1, False)
    with torch.no_grad():
        features = nn.Sequential(*list(net.children())[:-1])(batch.inputs).flatten(1)
    torch.testing.assert_close(layer.in_memory.float(), features, atol=1e-4, rtol=1e-3)
    assert found.severity == 1


@pytest.mark.parametrize("size", [1, 2, 4, 16])
def test_a_linear_first_layer_gives_examples_away(size, tmp_path):
    net, batch = network("mlp"), draw(size, size)
    found = inspect(capture(net, write(net, batch, tmp_path)))
    first = found.layers[0]
    assert first.takes_example
    assert first.recovered == len(first.in_memory) >= 1
    distances = torch.cdist(first.in_memory.float(), batch.inputs.flatten(1)).min(1)
    assert (distances.values < 1e-2).all()
    assert len(distances.indices.unique()) == first.recovered
    assert found.severity == 2
    assert "as " in found.leaks[0]


def test_half_precision_still_gives_them_away(tmp_path):
    net, batch = network("mlp"), draw(2, 0)
    first = inspect(capture(net, write(net, batch, tmp_path, change=torch.Tensor.half))).layers[0]
    assert first.recovered >= 1
    near = torch.cdist(first.in_memory.float(), batch.inputs.flatten(1)).min(1).values
    assert (near < 0.05 * batch.inputs.flatten(1).norm(dim=1).min()).all()


@pytest.mark.parametrize("defense", ["pruned", "quantised", "noised"])
def test_no_example_is_claimed_from_a_disturbed_update(defense, tmp_path):
    net = network("mlp")
    found = inspect(capture(net, write(net, draw(4, 0), tmp_path, **DEFENDED[defense])))
    assert not any(layer.recovered for layer in found.layers)
    assert found.severity < 2


def test_contradictions_are_noted(tmp_path):
    net = network("mlp")
    path = write(net, draw(4, 0), tmp_path)
    assert any("rank 4 requires 4" in note for note in inspect(capture(net, path, Settings(batch_size=2))).notes)
    turned = write(net, draw(1, 0), tmp_path, FedAvg(learning_rate=0.1), change=torch.neg)
    notes = inspect(capture(net, turned, Settings(learning_rate=0.1))).notes
    assert any("after minus before" in note for note in notes)


def test_a_part_of_an_update(tmp_path):
    net = network("lenet")
    path = tmp_path / "update.npz"
    update = Client(net).train(draw(2, 0))
    np.savez(path, **{name: value.numpy() for name, value in list(update.tensors.items())[:-2]})
    found = inspect(capture(net, path))
    assert found.contents.unshared == ("7.weight", "7.bias")
    assert found.contents.share < 1
    assert found.layers == ()
    assert found.signs[3].found is None
    assert found.labels is None
    assert "the client did not share 7.weight and 7.bias" in found.unjudged
    assert found.verdict == f"Cannot be judged: {found.unjudged}."


def screen_and_page(found):
    console = Console(file=io.StringIO(), width=110, highlight=False)
    show(found, console)
    return " ".join(console.file.getvalue().split()), page.render(found, (3, 32, 32))


EMPTY = {
    "zero": (lambda update: {n: torch.zeros_like(v) for n, v in update.tensors.items()}, "is zero in every value"),
    "constant": (
        lambda update: {n: torch.full_like(v, 0.5) for n, v in update.tensors.items()},
        "every tensor of the update is constant",
    ),
    "only buffers": (lambda update: {"bn1.running_mean": torch.zeros(16)}, "contains no trainable parameter"),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_an_update_that_holds_nothing_cannot_be_judged(kind, tmp_path):
    net = network("resnet20")
    make, why = EMPTY[kind]
    tensors = make(Client(net).train(draw(2, 0)))
    save_file(tensors, tmp_path / "u.safetensors")
    found = inspect(capture(net, tmp_path / "u.safetensors", Settings(batch_size=2)))
    assert (found.severity, found.labels, found.layers, found.signs, found.leaks) == (0, None, (), (), ())
    assert found.verdict.startswith("Cannot be judged: ")
    assert why in found.verdict
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["verdict"] == found.verdict
    for text in screen_and_page(found):
        assert "Cannot be judged:" in text
        assert why in text
        assert "Nothing can be read" not in text
        assert "Signs of a defense: not checked" in text


def test_weights_that_did_not_change_cannot_be_judged(tmp_path):
    net = network("lenet")
    save_file(net.state_dict(), tmp_path / "u.safetensors")
    found = inspect(capture(net, tmp_path / "u.safetensors"))
    assert found.holds == "weights"
    assert found.verdict.startswith("Cannot be judged: the update is zero in every value")


def test_buffers_alone_still_tell_the_steps(tmp_path):
    net = network("resnet18")
    update = Client(net, FedAvg(learning_rate=0.01, epochs=2, batch_norm="train")).train(draw(2, 0))
    save_file({name: value.contiguous() for name, value in update.buffers.items()}, tmp_path / "u.safetensors")
    found = inspect(capture(net, tmp_path / "u.safetensors"))
    assert found.severity == 1
    assert any("exactly 2 local steps" in line for line in found.leaks)
    assert found.unjudged == "the file contains no trainable parameter"
    assert "Labels: the file contains no trainable parameter." in found.not_looked_for


def test_no_method_is_never_told_as_no_leak(tmp_path):
    """Behind a softmax no gradient holds p - y: the labels were not looked for, and the first line says so."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(3600, 10, bias=False), nn.Softmax(1)).eval()
    found = inspect(capture(net, write(net, draw(4, 0), tmp_path), Settings(batch_size=4)))
    assert found.labels is None
    assert found.severity == 0
    assert found.verdict.startswith("Cannot be judged: the update contains no layer with 10 outputs")
    assert any(line.startswith("Private examples: no linear layer that takes them") for line in found.not_looked_for)
    for text in screen_and_page(found):
        assert "Cannot be judged: the update contains no layer with 10 outputs" in text
        assert "Not checked: Labels" in text


def test_another_loss_gives_no_labels(tmp_path):
    loss = FedSGD(lambda logits, labels: nn.functional.multi_margin_loss(logits, labels) + logits.square().mean())
    net = network("lenet")
    found = inspect(
        capture(net, write(net, draw(4, 0), tmp_path, loss), Settings(batch_size=4, kind=FileKind.GRADIENT))
    )
    assert found.labels is None
    assert "the loss was not cross-entropy" in found.unjudged


def test_nothing_says_what_was_looked_for(tmp_path):
    """Of an update whose examples and labels noise hides, the methods that were tried are named."""
    net = network("mlp")
    found = inspect(
        capture(net, write(net, draw(4, 0), tmp_path, **DEFENDED["noised"]), Settings(kind=FileKind.GRADIENT))
    )
    assert any(line.startswith("Labels, with ") for line in found.looked_for)
    assert (
        "Private examples: the update is noised, which destroys the ratio of weight to bias gradient."
        in found.not_looked_for
    )


def test_whole_weights_in_half_precision_give_no_example(tmp_path):
    """Their difference is a grid of a few steps, on which rows are equal by chance."""
    net, training = network("mlp").bfloat16().float(), FedAvg(learning_rate=0.01)
    update = Client(net, training).train(draw(4, 0))
    own = dict(net.named_parameters())
    torch.save(
        {name: (own[name] - value).detach().bfloat16() for name, value in update.tensors.items()}, tmp_path / "u.pt"
    )
    found = inspect(capture(net, tmp_path / "u.pt"))
    assert found.holds == "weights"
    assert not any(layer.recovered for layer in found.layers)


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_float8_is_told_as_quantised(kind, tmp_path):
    net = network("lenet")
    update = Client(net).train(draw(4, 0)).tensors
    scale = 100 / max(float(value.abs().max()) for value in update.values())  # within what both kinds can hold
    save_file({name: (scale * value).to(kind) for name, value in update.items()}, tmp_path / "u.safetensors")
    found = inspect(capture(net, tmp_path / "u.safetensors", Settings(kind=FileKind.GRADIENT)))
    assert found.signs[2].found
    assert "The file stores it as float8" in found.signs[2].evidence


def test_the_consensus_is_the_answer_that_agrees_most():
    def reading(says, counts):
        return Reading("method", True, says, counts, 1.0)

    readings = (reading("counts", {1: 2.0, 2: 1.0}), reading("counts", {1: 1.0, 2: 1.0, 3: 1.0}))
    readings += (reading("counts", {1: 2.0, 2: 1.0}), reading("classes", {1: 1.0, 2: 1.0}))
    consensus, agreement, agreeing = agree(readings)
    assert consensus == {1: 2, 2: 1}
    assert agreeing == 3
    assert agreement == pytest.approx((1 + 2 / 3 + 1 + 1) / 4)
    assert agree(()) == ({}, 0.0, 0)


def test_numbers_by_hand():
    assert nearest_round(1.0)[0] == 1.0
    assert nearest_round(0.4999999)[0] == 0.5
    assert nearest_round(1.5000001)[0] == 1.5
    assert nearest_round(1.2345)[0] is None
    assert nearest_round(0.0)[0] is None
    assert grid_levels(torch.arange(-8.0, 8.0)) == 16
    assert grid_levels(torch.randn(1000)) is None
    assert numerical_rank(torch.randn(40, 3) @ torch.randn(3, 30)) == (3, True)
    assert numerical_rank(torch.randn(600, 4) @ torch.randn(4, 700)) == (4, True)
    assert numerical_rank(torch.zeros(3, 3)) == (0, False)
    inputs, alone = torch.rand(4, 9), torch.eye(4).repeat(3, 1) * torch.rand(12, 1)
    parts = torch.cat([alone, torch.rand(8, 4)])
    found = exact_inputs(parts @ inputs, parts.sum(1)).float()
    torch.testing.assert_close(torch.cdist(found, inputs).min(0).values, torch.zeros(4), atol=1e-5, rtol=0)
    assert len(found) == 4


def test_the_screen_says_what_the_json_says(tmp_path):
    net = network("resnet18")
    training = FedAvg(learning_rate=0.01, epochs=3, batch_norm="train")
    found = inspect(capture(net, write(net, draw(4, 2), tmp_path, training, buffers=True), Settings(batch_size=4)))
    console = Console(file=io.StringIO(), width=110, highlight=False)
    show(found, console)
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert "in_memory" not in json.dumps(data)
    assert data["local_steps"] == 3
    assert data["contents"]["tensors"]["fc.bias"] == [10]
    text = " ".join([found.verdict, lines.label_lead(found), *(row.cells[-1] for row in lines.sign_rows(found))])
    assert f"{data['labels']['classes']} classes" in text
    assert found.verdict == data["verdict"] == "Facts about the batch can be read off this update without an attack."
    assert found.verdict in console.file.getvalue()
    for line in (*data["looked_for"], *data["not_looked_for"]):
        assert " ".join(line.split()[:4]) in console.file.getvalue()
    for sign in data["signs"]:
        assert " ".join(sign["evidence"].split()[:8]) in text


@pytest.fixture
def gradaudit(gradaudit, tmp_path):
    """Run `gradaudit inspect` in `tmp_path`; gives (exit code, standard output, standard error)."""
    save_file(network("mlp").state_dict(), tmp_path / "before.safetensors")
    write(network("mlp"), draw(4, 4), tmp_path)
    return partial(gradaudit, "inspect")


MODEL = ("update.safetensors", "--model", "mlp", "--num-classes", "10", "--weights", "before.safetensors")


def test_the_command_from_end_to_end(gradaudit, tmp_path):
    code, out, err = gradaudit(*MODEL, "--json")
    assert (code, err) == (0, "")
    data = json.loads(out)
    code, out, err = gradaudit(*MODEL, "--out", "run")
    assert (code, err) == (0, "")
    screen = " ".join(out.split())
    for line in (*data["leaks"], *data["open"], *data["notes"], *(sign["evidence"] for sign in data["signs"])):
        assert " ".join(line.split()[:5]) in screen
    html = (tmp_path / "run/inspection.html").read_text()
    assert "<script" not in html
    assert not re.search(r"(src|href)=\"(?!data:)", html)
    assert html.count("<img ") == data["layers"][0]["recovered"] > 0
    for line in data["leaks"]:
        assert line in html
    assert f"Page: {tmp_path / 'run/inspection.html'}" in out


def test_a_factory_of_the_users(gradaudit, tmp_path):
    text = "import torch\ndef net():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 5))\n"
    (tmp_path / "mine.py").write_text(text)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    batch = Batch(torch.rand(1, 3, 8, 8), torch.tensor([3]))
    torch.save(dict(Client(net).train(batch).tensors), tmp_path / "u.pt")
    code, out, err = gradaudit("u.pt", "--model", "mine.py:net", "--input-shape", "3,8,8", "--json")
    assert (code, err) == (0, "")
    data = json.loads(out)
    assert data["labels"]["consensus"] == {"3": 1}
    assert data["layers"][0]["recovered"] == 1
    assert data["severity"] == 2


def test_a_page_without_pictures():
    found = inspect(capture_of_lenet())
    assert "<img" not in page.render(found, (3, 32, 32))


def capture_of_lenet():
    from pathlib import Path
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        return capture(network("lenet"), write(network("lenet"), draw(2, 0), Path(folder)))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nothing.pt", "--model", "mlp", "--num-classes", "10"), "update: no file at nothing.pt"),
        (("update.safetensors", "--model", "mlp"), "--num-classes is required for a model that is given by name"),
        (("update.safetensors", "--model", "lenet", "--num-classes", "10"), "update: update.safetensors"),
        (("update.safetensors", "--model", "mlpp", "--num-classes", "10"), "Did you mean mlp"),
        ((*MODEL, "--input-shape", "3,32"), "--input-shape: must be C,H,W"),
        ((*MODEL, "--batch-size", "2147483648"), "--batch-size: must be at most 1000000. Found 2147483648"),
        ((*MODEL, "--learning-rate", "inf"), "--learning-rate: must be positive and finite. Found inf"),
        ((*MODEL, "--input-shape", "²,8,8"), "--input-shape: must be C,H,W"),
        ((*MODEL, "--input-shape", f"1,8,{'9' * 5000}"), "--input-shape: must be C,H,W"),
        ((*MODEL, "--kind", "nonsense"), "--kind: must be gradient, weight-difference, weights"),
        ((*MODEL, "--batch-norm", "off"), "--batch-norm: must be eval or train"),
        ((*MODEL, "--sign", "plus"), "--sign: must be before-minus-after or after-minus-before"),
        ((*MODEL, "--batch-size", "0"), "--batch-size: must be at least 1"),
        ((*MODEL, "--out", "before.safetensors"), "--out before.safetensors: cannot be created"),
    ],
)
def test_errors_of_the_command(gradaudit, arguments, says):
    code, out, err = gradaudit(*arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1
