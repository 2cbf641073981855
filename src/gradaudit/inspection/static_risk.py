"""The static risk of an architecture: what its gradients give away exactly, before any update exists."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..models import answer
from ..values.errors import AuditError, guarded
from ..values.memory import require_memory
from ..values.types import Modality
from .adapters import adapters_of
from .architecture import Architecture, BatchCount, BatchRisk, Giveaway, LayerRisk
from .equations import chain_or_why_not, condition, count, for_batch, known_outputs
from .giveaways import NetworkFacts, giveaways, share_off, takes_example, why_nothing
from .probed_attacks import april_probes, dager_probes, head_of
from .tracing import LayerPass, ModelTrace, runnable, trace

EXAMPLES = 4
BATCHES = (1, 8, 32, 64)
WORST = {"texts": "Private texts", "examples": "Private examples", "tokens": "The tokens of a batch"}
SHAPE = "give --input-shape, such as 3x32x32 for an image, or one number for the tokens of a text or the cells of a row"


def static_risk(
    model: nn.Module,
    shape: tuple[int, ...],
    *,
    name: str = "",
    modality: Modality = Modality.PICTURES,
    batch_size: int | None = None,
    on_batch: BatchRisk | None = None,
    notes: tuple[str, ...] = (),
) -> Architecture:
    """Return the static risk of an architecture, in evaluation mode and with the weights that it has.

    Ranks and inactive units are those of random inputs. Nothing is trained, and the model is not modified.

    Args:
        model: The model.
        shape: Shape of one example.
        name: Name of the model to show; by default the name of its class.
        modality: Kind of the examples; for text, inputs are token ids.
        batch_size: Batch size for which equations are counted, 1 by default.
        on_batch: What a given batch shows.
        notes: Sentences on what was assumed.

    Raises:
        AuditError: The model has no trainable parameters or lazy ones, cannot take such examples, or its weights or
            gradients are not finite.
    """
    require_trainable(model)
    require_memory(32 * EXAMPLES * math.prod(shape), f"inputs of shape {list(shape)}", "Give a smaller --input-shape.")
    model = runnable(model)
    try:
        answer(model, shape, "cpu", modality)
    except AuditError as error:
        raise AuditError(f"{str(error).rstrip('.')}; {SHAPE}.") from error
    traced = trace(model, random_inputs(model, shape, modality))
    _require_finite(traced)
    facts = _facts(traced, shape, modality)
    found = giveaways(facts)
    layers = tuple(_layer(layer, facts, found, batch_size or 1) for layer in traced.layers)
    trained = [value.numel() for value in model.parameters() if value.requires_grad]
    return Architecture(
        model=name or type(model).__name__,
        modality=str(modality),
        input_shape=shape,
        batch_size=batch_size or 1,
        parameters=sum(trained),
        frozen=sum(value.numel() for value in model.parameters()) - sum(trained),
        layers=layers,
        counts=_counts(sum(trained), shape, modality, batch_size),
        chain=facts.chain,
        adapters=adapters_of(model),
        on_batch=on_batch,
        verdict=_verdict(layers),
        notes=notes,
    )


def require_trainable(model: nn.Module) -> None:
    """Raise `AuditError` if a model has no parameters, none that is trained, or one without values."""
    named = dict(model.named_parameters())
    if not named:
        raise AuditError("model: it has no parameters, so it learns nothing and shares nothing.")
    for name, value in named.items():
        if is_lazy(value):
            raise AuditError(f"model: {name} has no shape yet (a lazy layer); run the model once in its function.")
        if value.is_meta:
            raise AuditError(f"model: {name} is on the meta device, without values; build the model on the CPU.")
    if not any(value.requires_grad for value in named.values()):
        raise AuditError("model: all its parameters are frozen, so it shares nothing; unfreeze those that are trained.")


def _require_finite(traced: ModelTrace) -> None:
    """Raise `AuditError` if the weights of a model or their gradients on random inputs contain NaN or infinity."""
    for name, value in traced.model.named_parameters():
        if not value.isfinite().all():
            raise AuditError(f"model: {name} contains NaN or infinity; give --weights, or build it with finite values.")
    for layer in traced.layers:
        for name, value in layer.gradients.items():
            if not value.isfinite().all():
                raise AuditError(
                    f"model: the gradient of {layer.path(name)} on random inputs contains NaN or infinity, so nothing "
                    "can be said of it; check what the model computes from inputs in [0, 1]."
                )


def random_inputs(model: nn.Module, shape: tuple[int, ...], modality: Modality, count: int = EXAMPLES) -> Tensor:
    """Return `count` random inputs: numbers in [0, 1], or token ids for text."""
    generator = torch.Generator().manual_seed(0)
    if modality is not Modality.TEXT:
        like = next((value.dtype for value in model.parameters() if value.is_floating_point()), torch.float32)
        return torch.rand(count, *shape, generator=generator).to(like)
    tokens = vocabulary_of(model, shape)
    return torch.randint(min(1, tokens - 1), tokens, (count, *shape), generator=generator)


def vocabulary_of(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the number of tokens that the embedding table of the inputs has, or 2 if none takes them."""
    ids = torch.ones(1, *shape, dtype=torch.long)  # ones are neither positions nor segments
    sizes: list[int] = []

    def see(module: Any, args: tuple[Tensor, ...]) -> None:
        if args and torch.equal(args[0], ids):
            sizes.append(module.num_embeddings)

    hooks = [one.register_forward_pre_hook(see) for one in model.modules() if isinstance(one, nn.Embedding)]
    try:
        with torch.no_grad(), guarded(f"model: it cannot take the token 1 in inputs of shape {list(shape)}"):
            model(ids.clone())
    finally:
        for hook in hooks:
            hook.remove()
    return min(sizes, default=2)


def _facts(traced: ModelTrace, shape: tuple[int, ...], modality: Modality) -> NetworkFacts:
    pictures = modality is Modality.PICTURES
    links, why_not = chain_or_why_not(traced, shape) if pictures else ((), "it solves for images")
    given, refused = ([], {}) if modality is not Modality.PICTURES else april_probes(traced, shape)
    if modality is Modality.TEXT:
        given, refused = dager_probes(traced, shape[0])
    head = head_of(traced, shape, modality)
    facts = NetworkFacts(traced, head, links, why_not, {}, tuple(given), refused)
    known = known_outputs(links, traced.inputs[:1])
    return replace(facts, equations={layer.name: count(layer, known) for layer in traced.layers})


def _layer(layer: LayerPass, facts: NetworkFacts, found: dict[str, list[Giveaway]], batch_size: int) -> LayerRisk:
    equations = facts.equations[layer.name]
    if equations is not None and batch_size > 1:
        equations = for_batch(equations, batch_size)
    given = tuple(one for name in layer.parameters for one in found.get(layer.path(name), ()))
    entered = layer.inputs[0] if layer.inputs else None
    return LayerRisk(
        name=layer.name,
        kind=type(layer.module).__name__,
        shapes={name: tuple(value.shape) for name, value in layer.parameters.items()},
        trainable=sum(value.numel() for value in layer.trained.values()),
        calls=len(layer.inputs),
        takes_example=takes_example(layer, facts.traced.inputs),
        input_shape=None if entered is None else tuple(entered.shape[1:]),
        output_shape=tuple(layer.slopes[0].shape[1:]) if layer.slopes else None,
        equations=equations,
        condition=condition(layer),
        off=share_off(layer),
        gives=given,
        nothing="" if given else why_nothing(layer, facts),
    )


def _counts(
    parameters: int, shape: tuple[int, ...], modality: Modality, batch_size: int | None
) -> tuple[BatchCount, ...]:
    if modality is Modality.TEXT:
        return ()
    each, sizes = math.prod(shape), sorted({*BATCHES, *([batch_size] if batch_size else [])})
    return tuple(BatchCount(size, size * each, parameters < size * each) for size in sizes)


def _verdict(layers: tuple[LayerRisk, ...]) -> str:
    """Return the worst that a layer gives away exactly, in one sentence."""
    for gives, what in WORST.items():
        found: dict[str, tuple[Giveaway, LayerRisk]] = {}
        for layer in layers:
            for one in layer.gives:
                if one.gives == gives:
                    found.setdefault(one.attack, (one, layer))
        if found:
            named = [f"{attack} at {_place(layer)}, {_reach(one)}" for attack, (one, layer) in found.items()]
            return f"{what} leave exactly: {'; '.join(named)}."
    other = dict.fromkeys(one.gives for layer in layers for one in layer.gives)
    besides = f" Exact are only: {', '.join(other)}." if other else ""
    return f"No attack that is known here recovers an example exactly from this architecture.{besides}"


def _place(layer: LayerRisk) -> str:
    return f"layer {layer.name}" if layer.name else "the model's only layer"


def _reach(one: Giveaway) -> str:
    if one.examples is None:
        return "at any batch size"
    return "for one example" if one.examples == 1 else f"for at most {one.examples} examples"
