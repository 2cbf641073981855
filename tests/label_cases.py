"""Updates for the tests of label inference, and how well their labels were read."""

from dataclasses import replace

import torch
from torch import nn

from gradaudit import Batch, Client, Knowledge, Level, Normalisation
from gradaudit.inversion.run.label_reading import read_labels
from gradaudit.metrics import instance_recall
from gradaudit.protocol.local_training import LocalTraining
from gradaudit.values.types import Update

GRANTED = Level.BASIC | Knowledge.PUBLIC_DATA | Knowledge.LOCAL_TRAINING
NORMALISATION = Normalisation((0.5,), (0.29,))
COUNTING = ("llg-plus", "llg-star", "weight-counts", "bias-counts", "ilrg", "afgi", "rlu")


def relu_net(classes=10, width=64, bias=True, activation=None):
    """8 x 8 grey pictures through one hidden layer."""
    body = [nn.Flatten(), nn.Linear(64, width), activation or nn.ReLU()]
    return nn.Sequential(*body, nn.Linear(width, classes, bias=bias)).eval()


def pictures(size, channels=1, side=8):
    """Uniform noise under a random brightness: a little variety between examples."""
    return torch.rand(size, channels, side, side) * (0.3 + 0.7 * torch.rand(size, 1, 1, 1))


def observe(labels, net, *, granted=GRANTED, public=64, training=None, defenses=(), side=8, channels=1):
    """What the server sees of a batch with these labels; half the public pictures' classes occur by chance."""
    labels = torch.as_tensor(labels)
    classes = next(m for m in reversed(list(net.modules())) if isinstance(m, nn.Linear)).out_features
    batch = Batch(pictures(len(labels), channels, side), labels)
    held = Batch(pictures(public, channels, side), torch.randint(classes, (public,))) if public else None
    client = Client(net, training or LocalTraining(), defenses, NORMALISATION)
    return client.share(batch, granted, public=held)


def with_head(seen, change):
    """The observation with its last layer's gradient changed by `change(tensor)`."""
    tensors = dict(seen.update.tensors)
    for name in list(tensors)[-2:]:
        tensors[name] = change(tensors[name])
    return replace(seen, update=Update(tensors, seen.update.kind, examples=seen.update.examples))


def recall(method, seen, labels):
    """Instance recall of a reading that must apply."""
    found = read_labels(method, seen)
    assert found.applies, found.why_not
    return instance_recall(found.tally, torch.bincount(torch.as_tensor(labels), minlength=found.classes))


def mean_recall(method, make_net, seeds=range(10), size=24, classes=10, control=False, **options):
    """Over several batches of random labels; of the control, random guesses."""
    values = []
    for seed in seeds:
        torch.manual_seed(seed)
        labels = torch.randint(classes, (size,))
        if control:
            guess = torch.bincount(torch.randint(classes, (size,)), minlength=classes)
            values.append(instance_recall(guess, torch.bincount(labels, minlength=classes)))
        else:
            values.append(recall(method, observe(labels, make_net(classes), **options), labels))
    return sum(values) / len(values)
