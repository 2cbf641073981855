"""The client's models: one file per architecture, all of torchvision's, and the user's own.

Weights are drawn from torch's global generator and nowhere else, so seed it before building.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

import torch
from torch import nn

from ..values.errors import AuditError
from ..values.memory import require_memory
from ..values.types import Modality, TextLayout
from . import _torchvision_models
from ._causes import in_one_line
from ._check import DoesNotTake, answer, input_check
from ._factory import from_factory
from ._named import NAMED_MODELS, ModelsOf, NamedModel
from ._torchvision_models import pretrained_state
from ._weights import load_weights
from .text_transformer import TextClassifier

COPIES = 3  # of the parameters that an audit holds at least: the client's, the adversary's, and an update
MIN_LENGTH = 64  # places of the position embedding at least, so that short texts do not make it tiny

Builder = Callable[[int, int, int], nn.Module]
"""`(num_classes, channels, size in pixels of the square side)` -> model."""

MODELS: Mapping[str, Builder] = ModelsOf(Modality.PICTURES)
"""Name in the audit file -> builder; torchvision's names come on top (`build`)."""

TEXT_MODELS: Mapping[str, Callable[..., nn.Module]] = ModelsOf(Modality.TEXT)
"""Name in the audit file -> builder `(num_classes, vocabulary, ...)`."""

TABLE_MODELS: Mapping[str, Callable[[int, int], nn.Module]] = ModelsOf(Modality.TABLE)
"""Name in the audit file -> builder `(num_classes, features of an encoded row)`."""


def build(name: str, *, num_classes: int, channels: int, size: int, cifar_stem: bool = False) -> nn.Module:
    """A model with fresh weights from torch's global generator.

    Args:
        name: One of `MODELS`, or any classifier of torchvision.
        num_classes: K, at least 1.
        channels: Of the pictures, at least 1.
        size: Side of the square pictures in pixels.
        cifar_stem: For torchvision's ResNet family: start with a 3x3 convolution of stride 1 and without max-pool.

    Returns:
        `[B, channels, size, size]` -> logits `[B, K]`.

    Raises:
        AuditError: An unknown name, numbers out of range, or a model that cannot be built for them.
    """
    for option, value in (("num_classes", num_classes), ("channels", channels), ("size", size)):
        if value < 1:
            raise AuditError(f"{name}: {option} must be at least 1, got {value}.")
    if name in _torchvision_models.names():
        return _within_memory(
            name,
            lambda: _torchvision_models.torchvision_model(name, num_classes, channels, size, cifar_stem=cifar_stem),
        )
    if name not in MODELS:
        near = difflib.get_close_matches(name, [*MODELS, *_torchvision_models.names()])
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        if name in NAMED_MODELS:
            raise AuditError(f"model: {name} takes no pictures. Known: {', '.join(MODELS)}.")
        raise AuditError(f"model: no model {name!r}.{hint} Known: {', '.join(MODELS)}, or any torchvision classifier.")
    if cifar_stem:
        raise AuditError(f"{name}: cifar_stem is for torchvision's resnet, resnext and wide_resnet models only.")
    return _within_memory(name, lambda: MODELS[name](num_classes, channels, size))


def build_text(name: str, *, num_classes: int, layout: TextLayout, length: int) -> nn.Module:
    """A model of text with fresh weights from torch's global generator.

    Args:
        name: One of `TEXT_MODELS`.
        num_classes: K.
        layout: Of the tokenizer, which sets the size of the embedding and the padding.
        length: Tokens of the longest text.

    Returns:
        `[B, L]` ids, or `[B, L, d]` embeddings -> logits `[B, K]`; its embedding is `token_embedding`.

    Raises:
        AuditError: Another name, or numbers that make it larger than this machine.
    """
    length = max(length, MIN_LENGTH)
    return build_for(
        Modality.TEXT, name, num_classes, layout.size, length=length, pad_id=layout.padding, examples="text"
    )


def build_table(name: str, *, num_classes: int, features: int) -> nn.Module:
    """A model of encoded rows `[B, features]` with fresh weights from torch's global generator.

    Raises:
        AuditError: A name that is not in `TABLE_MODELS`, or numbers that make it larger than this machine.
    """
    return build_for(Modality.TABLE, name, num_classes, features, examples="rows of a table")


def build_for(modality: Modality, name: str, *sizes: int, examples: str = "", **facts: int) -> nn.Module:
    """A model of any modality with fresh weights from torch's global generator.

    Args:
        modality: Of the examples.
        name: Of one of the modality's models in `NAMED_MODELS`.
        sizes: What its builder takes, in this order: K first.
        examples: What to call the examples in an error; the modality's name by default.
        facts: What its builder takes by name.

    Raises:
        AuditError: Another name, or numbers that make it larger than this machine.
    """
    known = ModelsOf(modality)
    if name not in known:
        kind, listed = examples or modality, ", ".join(known) or "none"
        raise AuditError(f"model.name: {name} does not take {kind}. Known: {listed}; or give a factory.")
    return _within_memory(name, lambda: known[name](*sizes, **facts))


def _within_memory(name: str, make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` returns, once its outline without numbers has shown that it fits into memory; else `AuditError`."""
    try:
        try:
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                outline = make()
        except NotImplementedError:  # RegNets read a parameter while they are built: they have no outline
            return make()
        size = sum(t.numel() * t.element_size() for t in (*outline.parameters(), *outline.buffers()))
        require_memory(COPIES * size, f"{name}: an audit of this model", "Take fewer classes or smaller examples.")
        return make()
    except (RuntimeError, MemoryError, TypeError, OverflowError) as error:  # each is said of sizes out of range
        raise AuditError(f"{name}: cannot be built so large: {in_one_line(error)}") from error


__all__ = [
    "MODELS",
    "NAMED_MODELS",
    "TABLE_MODELS",
    "TEXT_MODELS",
    "Builder",
    "DoesNotTake",
    "ModelsOf",
    "NamedModel",
    "TextClassifier",
    "answer",
    "build",
    "build_for",
    "build_table",
    "build_text",
    "from_factory",
    "input_check",
    "load_weights",
    "pretrained_state",
]
