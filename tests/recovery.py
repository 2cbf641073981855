"""Small private data and networks, and how far a reconstruction gets beyond the control."""

from functools import cache

import torch
from torch import nn

from gradaudit import Batch, Normalisation, metrics
from gradaudit.data.sources import SOURCES

NORMALISATION = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@cache
def photographs(size):
    """The package's own photographs, shrunk to so many pixels."""
    return SOURCES["photographs"](size=size, crops="whole").open()


def kinked_net(size=8, channels=3, width=16, classes=10, act=nn.ReLU):
    """Two convolutions and a linear head, with kinks, and enough gradients for every pixel."""
    body = [nn.Conv2d(channels, width, 3, padding=1), act(), nn.Conv2d(width, width, 3, 2, 1), act(), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(width * (size // 2) ** 2, classes))


def drawn(seed, size=1, side=8, labels=None, classes=10):
    """So many photographs, their labels, distinct unless given, and the control: the mean of all others."""
    torch.manual_seed(seed)
    source = photographs(side)
    chosen = torch.randperm(len(source))[:size].tolist()
    labels = torch.randperm(classes)[:size] if labels is None else torch.tensor(labels)
    batch = Batch(source.stack(chosen), labels)
    return batch, source.mean_except(chosen).expand_as(batch.inputs)


def gain(found, batch, control):
    """Mean PSNR in dB beyond the control's, after the assignment."""
    order = metrics.assign(found.inputs, batch.inputs)
    return float((metrics.psnr(found.inputs[order], batch.inputs) - metrics.psnr(control, batch.inputs)).mean())


def likeness(found, batch):
    """Mean SSIM after the assignment: near zero for a guess without structure, whatever its brightness."""
    return float(metrics.ssim(found.inputs[metrics.assign(found.inputs, batch.inputs)], batch.inputs).mean())


def exactness(found, batch):
    """PSNR in dB, without a cap."""
    return float(-10 * (found.inputs - batch.inputs).double().pow(2).mean().log10())


def in_double(batch):
    """The batch in float64."""
    return Batch(batch.inputs.double(), batch.labels)
