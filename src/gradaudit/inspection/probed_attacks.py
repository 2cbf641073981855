"""Attacks that test their own condition on the model: APRIL, DAGER, and the search for the classification layer."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ..attacks import april, april_patches
from ..inversion.network.spans import NAMES, attention_projections, full_rank, is_causal
from ..inversion.network.vision_transformer import first_projections, patch_embedding
from ..inversion.parts.labels._search import FoundHead, search
from ..protocol.local_training import CrossEntropy, LocalTraining
from ..protocol.observation import Observation
from ..values.errors import AttackFailed, in_one_line
from ..values.types import Knowledge, Modality, Normalisation, Update
from .architecture import Giveaway
from .equations import LARGE, is_linear, matrix
from .giveaways import most_texts
from .tracing import ModelTrace

EXACT = 1e-3  # relative error up to which an attack recovered the random image

Probed = tuple[list[tuple[str, Giveaway]], dict[str, str]]


def head_of(traced: ModelTrace, shape: tuple[int, ...], modality: Modality) -> FoundHead:
    """Return the parameters whose gradients contain p - y; none if the output is not logits `[B, K]`.

    With one logit, it is the last layer if that is linear with a bias: the sign of its bias gradient is the label.
    """
    output = traced.output
    if not isinstance(output, Tensor) or output.ndim != 2:
        return FoundHead()
    if output.shape[1] == 1:
        last = next((layer for layer in reversed(traced.layers) if layer.inputs), None)
        sole = last is not None and is_linear(last.module) and len(matrix(last.module)) == 1  # type: ignore[arg-type]
        return FoundHead(bias=last.path("bias")) if sole and "bias" in last.trained else FoundHead()  # type: ignore[union-attr]
    try:
        found = search(_seen(traced.model, traced.inputs[:1], shape, modality))
    except AttackFailed:
        return FoundHead()
    trained = {name for name, value in traced.model.named_parameters() if value.requires_grad}
    return replace(
        found,
        weight=found.weight if found.weight in trained else None,
        bias=found.bias if found.bias in trained else None,
    )


def april_probes(traced: ModelTrace, shape: tuple[int, ...]) -> Probed:
    """Return what both closed forms of APRIL give away, tried on a random image: giveaways and refusals by parameter.

    Both are empty for a model without a patch embedding.
    """
    model, logits = traced.model, traced.output
    try:
        patches = patch_embedding(model)
    except AttackFailed:
        return [], {}
    kernel = next(name for name, value in model.named_parameters() if value is patches.weight)
    if sum(value.numel() for value in model.parameters()) > LARGE:
        return [], {kernel: "the model is too large to try APRIL's closed form on it"}
    if len(shape) != 3 or not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        return [], {}
    given, refused = [], {}
    for attack, names in ((april_patches.ATTACK, (kernel,)), (april.ATTACK, _attention(model))):
        reason = _tried(attack, traced, shape)
        for name in names:
            if reason:
                refused[name] = reason
            else:
                said = f"One image exactly ({attack.name}), with the gradient of the position embedding."
                given.append((name, Giveaway(attack.name, "examples", 1, said)))
    return given, refused


def dager_probes(traced: ModelTrace, length: int) -> Probed:
    """Return what the span test of DAGER gives away at the first two attention layers of a model of tokens.

    Args:
        traced: A traced pass of token ids `[B, L]`.
        length: L.
    """
    model = traced.model
    named = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
    found = attention_projections(model, named)[:2]
    if not found:
        return [], {}
    width = len(found[0].gradient)
    most, tokens = most_texts(width, length), torch.unique(traced.inputs)[:length].unsqueeze(0)
    projections = [layer for layer in traced.layers if _is_projection(layer.name) and "weight" in layer.trained]
    parents = list(dict.fromkeys(_parent(layer.name) for layer in projections))[:2]
    weights = [[layer.path("weight") for layer in projections if _parent(layer.name) == parent] for parent in parents]
    if not most or not _spans(model, 0, tokens):
        why = "the span of its gradient does not hold every token of a text"
        return [], dict.fromkeys((name for names in weights for name in names), why)
    until = f"as long as the batch has fewer than {width} tokens ({most} texts of {length})"
    if len(found) == 2 and _is_decoder(model, found[1].module, tokens) and _spans(model, 1, tokens):
        given = Giveaway("dager", "texts", most, f"Whole texts (DAGER), {until}.")
        return [(name, given) for names in weights for name in names], {}
    said = (
        f"Which token stands at which position (the span test, DAGER's first step), {until}; the attack dager goes no "
        "further on this model."
    )
    return [(name, Giveaway("span test", "tokens", most, said)) for name in weights[0]], {}


def _is_decoder(model: nn.Module, module: nn.Module, tokens: Tensor) -> bool:
    """Return whether texts can be built from left to right: what enters `module` depends on no later token."""
    try:
        return is_causal(model, module, tokens)
    except (AttackFailed, RuntimeError, IndexError, ValueError):
        return False


def _spans(model: nn.Module, layer: int, tokens: Tensor) -> bool:
    """Return whether the gradient of an attention layer spans a dimension for every token of a text."""
    try:
        return full_rank(model, CrossEntropy(), layer, tokens)
    except (AttackFailed, RuntimeError, IndexError, ValueError):
        return False


def _attention(model: nn.Module) -> tuple[str, ...]:
    try:
        return first_projections(model).names
    except AttackFailed:
        return ()


def _tried(attack: april.ClosedForm, traced: ModelTrace, shape: tuple[int, ...]) -> str:
    """Return why an attack does not recover a random image, without a full stop, or an empty string."""
    image = torch.rand(1, *shape, generator=torch.Generator().manual_seed(1)).to(traced.inputs)
    try:
        found = attack(_seen(traced.model, image, shape, Modality.PICTURES)).inputs
    except AttackFailed as reason:
        return str(reason).split(". ")[0].rstrip(".")
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:  # the layout is one that it does not know
        return f"{attack.name}: could not run ({in_one_line(error).rstrip('.')})"
    gap = float((found - image).norm() / image.norm())
    return "" if gap <= EXACT else f"{attack.name}: a random image came back with a relative error of {gap:.0%}"


def _seen(model: nn.Module, inputs: Tensor, shape: tuple[int, ...], modality: Modality) -> Observation:
    """Return what an adversary sees of one step on one example of class 0."""
    training = LocalTraining()
    names = [name for name, value in model.named_parameters() if value.requires_grad]
    values = training(model, inputs, torch.zeros(len(inputs), dtype=torch.long))
    return Observation(
        model=model,
        update=Update(dict(zip(names, values, strict=True))),
        input_shape=shape,
        normalisation=Normalisation(),
        loss=CrossEntropy(),
        knowledge=Knowledge.BATCH_SIZE,
        batch_size=len(inputs),
        modality=modality,
    )


def _is_projection(name: str) -> bool:
    return name.rpartition(".")[2] in NAMES


def _parent(name: str) -> str:
    return name.rpartition(".")[0]
