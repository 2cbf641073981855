"""Trains a tiny federation with the own engine and in Flower's simulation, and prints both as JSON."""

import json
import sys
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn

import gradaudit as ga
from gradaudit.client.federation import train_federation
from gradaudit.client.federation_settings import Federation, partition
from gradaudit.client.flower_federation import train_in_flower
from gradaudit.protocol.defenses import Defense

LABELS = torch.arange(120) % 3


@dataclass(frozen=True)
class Fading(Defense):
    """Divides the update by the number of rounds in which this client took part, which it remembers."""

    name: ClassVar[str] = "fading"

    def apply(self, update, scene):
        scene.memory["rounds"] = scene.memory.get("rounds", 0) + 1
        shared = {name: tensor / scene.memory["rounds"] for name, tensor in update.tensors.items()}
        return replace(update, tensors=shared)


def gather(at):
    generator = torch.Generator().manual_seed(0)
    images = 0.6 * torch.rand(120, 1, 6, 6, generator=generator)
    for label in range(3):
        images[label == LABELS, :, 2 * label] += 0.4
    return ga.Batch(images[at], LABELS[at])


if __name__ == "__main__":
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 3))
    training = ga.FedAvg(learning_rate=0.3, minibatch_size=4, batch_norm="train")
    client = ga.Client(net, training, [ga.defenses.TopK(keep=0.5), Fading()])
    federation = Federation(clients=2, rounds=4, batch_size=8, examples=61, test_examples=50)
    parts = partition(120, LABELS, federation, 3)
    found = [engine(client, gather, parts, federation, 3).scores for engine in (train_federation, train_in_flower)]
    sys.stdout.write(f"\n{json.dumps(found)}\n")
