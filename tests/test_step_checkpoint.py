"""Activation checkpointing gives the same gradients from less memory."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from gradaudit import Batch, Client, FedSGD, Knowledge, Level
from gradaudit.attacks import INVERTING_GRADIENTS
from gradaudit.inversion.parts.objectives import Cosine
from gradaudit.inversion.parts.part import Progress
from gradaudit.inversion.step.checkpoint import blocks
from gradaudit.inversion.step.matching import Matching
from gradaudit.inversion.step.one_step import assumed_step
from gradaudit.models import build

AT = Progress(0, 10)


def share(network, size=32, batch_norm="eval"):
    torch.manual_seed(0)
    model = build(network, num_classes=10, channels=3, size=size)
    private = Batch(torch.rand(2, 3, size, size), torch.arange(2))
    return private, Client(model, FedSGD(batch_norm=batch_norm)).share(private, Level.PRIORS | Knowledge.LABELS)


@pytest.mark.parametrize("step", ["exact", "directional"])
@pytest.mark.parametrize(
    ("network", "batch_norm"),
    [("resnet18", "eval"), ("resnet18", "train"), ("fedavg-cnn", "eval"), ("vit-tiny", "eval")],
)
def test_the_gradient_is_the_same(network, batch_norm, step):
    side = 16 if network == "resnet18" else 32
    private, seen = share(network, side, batch_norm)
    x = torch.randn(2, 3, side, side)
    plain, kept = (
        Matching(seen, Cosine(), step, assumed_step(seen, checkpoint=on)).slope(x, private.labels, [], AT)
        for on in (False, True)
    )
    torch.testing.assert_close(kept.inputs, plain.inputs, rtol=1e-3, atol=1e-3 * plain.inputs.std().item())
    assert "forward" not in seen.model.__dict__


@pytest.mark.parametrize(("network", "count"), [("resnet18", 8), ("vit-tiny", 12), ("convnet-64", 1), ("resnet20", 9)])
def test_blocks_are_what_the_network_is_made_of(network, count):
    assert len(blocks(build(network, num_classes=10, channels=3, size=32))) == count
    assert blocks(nn.Linear(3, 4)) == []


def test_the_graph_holds_less():
    private, seen = share("resnet18", size=64)
    held = []
    for on in (False, True):
        saved = {}
        parameters = {p.data_ptr() for p in seen.model.parameters()}

        def pack(tensor, saved=saved, parameters=parameters):
            if tensor.data_ptr() not in parameters:
                saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = assumed_step(seen, checkpoint=on).loss(torch.randn(2, 3, 64, 64), private.labels)
        held.append(sum(saved.values()))
        del loss
    assert held[1] < 0.6 * held[0]


def test_an_attack_runs_checkpointed():
    _, seen = share("resnet20")
    stage = replace(INVERTING_GRADIENTS.stages[0], steps=3)
    plain, kept = (replace(INVERTING_GRADIENTS, stages=(stage,), checkpoint=on)(seen) for on in (False, True))
    assert kept.objective == pytest.approx(plain.objective, abs=1e-4)
    assert kept.notes == ()
