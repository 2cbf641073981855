"""Causes in how the client prepares its images: their normalisation, their range and the order of their channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...values.types import Modality, Normalisation
from .assumed import Assumed, Cause, Suspect

Constants = tuple[float, ...]
NAMED: tuple[tuple[str, Constants, Constants], ...] = (
    ("no normalisation", (0.0,), (1.0,)),
    ("mean and standard deviation 0.5, that is, images in [-1, 1]", (0.5,), (0.5,)),
    ("ImageNet's mean and standard deviation", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ("CIFAR-10's mean and standard deviation", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ("CIFAR-10's mean and standard deviation (0.2023)", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    ("CIFAR-100's mean and standard deviation", (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    ("CLIP's mean and standard deviation", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    ("MNIST's mean and standard deviation", (0.1307,), (0.3081,)),
    ("Fashion-MNIST's mean and standard deviation", (0.2860,), (0.3530,)),
    ("no normalisation of pixels in [0, 255]", (0.0,), (1 / 255,)),
    ("a second division by 255", (0.0,), (255.0,)),
)
CAFFE = Normalisation((103.939 / 255, 116.779 / 255, 123.68 / 255), (1 / 255,) * 3)


def _normalisation(assumed: Assumed) -> Iterator[Suspect]:
    """Yield the client with every usual normalisation, and with its own on pixels in [0, 255]."""
    if assumed.batch.modality is not Modality.PICTURES:
        return
    channels, own = assumed.batch.inputs.shape[1], assumed.client.normalisation
    for what, mean, std in NAMED:
        if len(mean) in (1, channels) or channels == 1:
            found = Normalisation(_per_channel(mean, channels), _per_channel(std, channels))
            yield _with(assumed, found, f"the client used {what}")
    scaled = Normalisation(tuple(m / 255 for m in own.mean), tuple(s / 255 for s in own.std))
    yield _with(assumed, scaled, "the client normalised pixels in [0, 255] with the constants for [0, 1]")


def _channels(assumed: Assumed) -> Iterator[Suspect]:
    """Yield the client that takes its channels in the order blue, green, red."""
    if assumed.batch.modality is not Modality.PICTURES or assumed.batch.inputs.shape[1] != 3:
        return
    flipped = replace(assumed, batch=replace(assumed.batch, inputs=assumed.batch.inputs.flip(1)))
    own = assumed.client.normalisation
    what = "the client took the channels in the order blue, green, red"
    fix = "reverse the channels of the images in data"
    yield Suspect(flipped, what, fix)
    if len(set(own.mean)) > 1 or len(set(own.std)) > 1:
        turned = _with(flipped, Normalisation(own.mean[::-1], own.std[::-1]), "")
        yield Suspect(turned.assumed, f"{what}, after the normalisation", f"{fix}, and {turned.fix}")
    caffe = _with(flipped, CAFFE, "")
    yield Suspect(caffe.assumed, f"{what}, with pixels in [0, 255] minus Caffe's means", f"{fix}, and {caffe.fix}")


def _with(assumed: Assumed, found: Normalisation, sentence: str) -> Suspect:
    """Return the client with another normalisation."""
    mean, std = (", ".join(f"{value:.6g}" for value in values) for values in (found.mean, found.std))
    client = replace(assumed.client, normalisation=found)
    return Suspect(replace(assumed, client=client), sentence, f"set model.mean: [{mean}] and model.std: [{std}]")


def _per_channel(values: Constants, channels: int) -> Constants:
    """Return one value for each channel; constants for colours become their mean for grey images."""
    if len(values) == channels:
        return values
    return values * channels if len(values) == 1 else (sum(values) / len(values),) * channels


NORMALISATION = Cause("normalisation", "normalisation of the images", _normalisation)
CHANNELS = Cause("channel-order", "order of the channels", _channels)
