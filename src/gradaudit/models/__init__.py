"""The client's models: one file for each architecture, all torchvision classifiers, and the user's own models.

Weights are drawn from torch's global generator only; seed it before building a model.
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

COPIES = 3  # least number of copies of the parameters in an audit: the client's, the adversary's, and an update
MIN_LENGTH = 64  # least number of positions of the position embedding, so that short texts do not make it tiny

Builder = Callable[[int, int, int], nn.Module]
"""`(num_classes, channels, size in pixels of the square side)` -> model."""

MODELS: Mapping[str, Builder] = ModelsOf(Modality.PICTURES)
"""Name in the audit file -> builder; `build` also takes torchvision's names."""

TEXT_MODELS: Mapping[str, Callable[..., nn.Module]] = ModelsOf(Modality.TEXT)
"""Name in the audit file -> builder `(num_classes, vocabulary, ...)`."""

TABLE_MODELS: Mapping[str, Callable[[int, int], nn.Module]] = ModelsOf(Modality.TABLE)
"""Name in the audit file -> builder `(num_classes, features of an encoded row)`."""


def build(name: str, *, num_classes: int, channels: int, size: int, cifar_stem: bool = False) -> nn.Module:
    """Return an image classifier with fresh weights from torch's global generator.

    Args:
        name: A name in `MODELS`, or any classifier of torchvision.
        num_classes: K, at least 1.
        channels: Channels of the images, at least 1.
        size: Side of the square images in pixels.
        cifar_stem: For torchvision's ResNet family: start with a 3x3 convolution of stride 1 and without max-pool.

    Returns:
        A model from `[B, channels, size, size]` to logits `[B, K]`.

    Raises:
        AuditError: The name is unknown, a number is out of range, or the model cannot be built for these numbers.
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
            raise AuditError(f"model: {name} takes no images. Known: {', '.join(MODELS)}.")
        raise AuditError(f"model: no model {name!r}.{hint} Known: {', '.join(MODELS)}, or any torchvision classifier.")
    if cifar_stem:
        raise AuditError(f"{name}: cifar_stem is for torchvision's resnet, resnext and wide_resnet models only.")
    return _within_memory(name, lambda: MODELS[name](num_classes, channels, size))


def build_text(name: str, *, num_classes: int, layout: TextLayout, length: int) -> nn.Module:
    """Return a text classifier with fresh weights from torch's global generator.

    Args:
        name: A name in `TEXT_MODELS`.
        num_classes: K.
        layout: Layout of the tokenizer, which sets the size of the embedding and the padding.
        length: Number of tokens of the longest text.

    Returns:
        A model from `[B, L]` ids, or `[B, L, d]` embeddings, to logits `[B, K]`; its embedding is `token_embedding`.

    Raises:
        AuditError: The name is not in `TEXT_MODELS`, or the model does not fit into the memory of this machine.
    """
    length = max(length, MIN_LENGTH)
    return build_for(
        Modality.TEXT, name, num_classes, layout.size, length=length, pad_id=layout.padding, examples="text"
    )


def build_table(name: str, *, num_classes: int, features: int) -> nn.Module:
    """Return a classifier of encoded rows `[B, features]` with fresh weights from torch's global generator.

    Raises:
        AuditError: The name is not in `TABLE_MODELS`, or the model does not fit into the memory of this machine.
    """
    return build_for(Modality.TABLE, name, num_classes, features, examples="rows of a table")


def build_for(modality: Modality, name: str, *sizes: int, examples: str = "", **facts: int) -> nn.Module:
    """Return a model of any modality with fresh weights from torch's global generator.

    Args:
        modality: Modality of the examples.
        name: Name of a model of this modality in `NAMED_MODELS`.
        sizes: Positional arguments of its builder, K first.
        examples: What to call the examples in errors; the name of the modality by default.
        facts: Keyword arguments of its builder.

    Raises:
        AuditError: There is no such model, or it does not fit into the memory of this machine.
    """
    known = ModelsOf(modality)
    if name not in known:
        kind, listed = examples or modality, ", ".join(known) or "none"
        raise AuditError(f"model.name: {name} does not take {kind}. Known: {listed}; or give a factory.")
    return _within_memory(name, lambda: known[name](*sizes, **facts))


def _within_memory(name: str, make: Callable[[], nn.Module]) -> nn.Module:
    """Return the model of `make` if it fits into memory; raise `AuditError` otherwise.

    The size is measured first on the meta device, where a model has no values.
    """
    try:
        try:
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                outline = make()
        except NotImplementedError:  # RegNets read a parameter while they are built, which the meta device cannot do
            return make()
        size = sum(t.numel() * t.element_size() for t in (*outline.parameters(), *outline.buffers()))
        require_memory(COPIES * size, f"{name}: an audit of this model", "Use fewer classes or smaller examples.")
        return make()
    except (RuntimeError, MemoryError, TypeError, OverflowError) as error:  # sizes out of range raise any of these
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
