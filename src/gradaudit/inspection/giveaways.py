"""What the gradient of each layer gives away exactly, by which attack, and up to which batch size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..inversion.network.chain import Link, homogeneous
from ..inversion.parts.labels._search import FoundHead
from .architecture import EquationCount, Giveaway
from .equations import is_linear, is_turned, matrix
from .tracing import LayerPass, ModelTrace

OFF = 0.02  # share of outputs without effect from which a layer has units that are off
SAME = 1e-3  # relative distance up to which a gradient is that of one call
NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)

Found = Iterator[tuple[str, Giveaway]]


@dataclass(frozen=True, eq=False)
class NetworkFacts:
    """What is known about a model before its layers are judged.

    Args:
        traced: A traced pass.
        head: The parameters whose gradients contain p - y.
        links: The chain of layers that R-GAP undoes, or none.
        chain: Why R-GAP does not apply, without a full stop, or empty.
        equations: Equations for one example, by name of the layer.
        probed: What attacks that tested their own condition on this model give: name of a parameter -> giveaway.
        refused: Name of a parameter -> why such an attack does not apply, without a full stop.
    """

    traced: ModelTrace
    head: FoundHead
    links: tuple[Link, ...]
    chain: str
    equations: Mapping[str, EquationCount | None]
    probed: tuple[tuple[str, Giveaway], ...]
    refused: Mapping[str, str]


def giveaways(facts: NetworkFacts) -> dict[str, list[Giveaway]]:
    """Return what each parameter's gradient gives away exactly: name of the parameter -> giveaways."""
    found: dict[str, list[Giveaway]] = {}
    for rule in (_first_layer, _chain, _tokens, _probed, _features, _labels, _statistics):
        for name, given in rule(facts):
            found.setdefault(name, []).append(given)
    return found


def takes_example(layer: LayerPass, inputs: Tensor) -> bool:
    """Return whether the input of a layer is the private example itself, perhaps flattened.

    Args:
        layer: The layer.
        inputs: What the model was given, `[B, ...]`.
    """
    if len(layer.inputs) != 1 or layer.inputs[0].shape[:1] != inputs.shape[:1]:
        return False
    entered = layer.inputs[0]
    if is_linear(layer.module):
        return entered.ndim == 2 and torch.equal(entered, inputs.flatten(1))
    return entered.shape == inputs.shape and torch.equal(entered, inputs)


def share_off(layer: LayerPass) -> float | None:
    """Return the share of a layer's outputs on which the model's output does not depend, or `None` if none was seen."""
    if not layer.slopes or not layer.slopes[0].numel():
        return None
    return float((layer.slopes[0] == 0).double().mean())


def per_example(layer: LayerPass, size: int) -> bool:
    """Return whether a linear layer runs once for each of `size` examples, and not once for each token or patch."""
    if not is_linear(layer.module) or len(layer.inputs) != 1:
        return False
    return layer.inputs[0].ndim == layer.slopes[0].ndim == 2 and len(layer.inputs[0]) == size


def is_sole(layer: LayerPass) -> bool:
    """Return whether the gradient of a linear layer is that of its one call, and its parameters enter nowhere else.

    For another layer, or without a gradient, the result is true.
    """
    if not is_linear(layer.module) or "weight" not in layer.gradients:
        return True
    if len(layer.inputs) != 1:
        return False
    entered, slopes = (one[0].flatten(0, -2) for one in (layer.inputs, layer.slopes))
    product = slopes.T @ entered
    own = {"weight": product.T if is_turned(layer.module) else product, "bias": slopes.sum(0)}
    return all(
        float((own[name] - value).norm()) <= SAME * float(own[name].norm())
        for name, value in layer.gradients.items()
        if name in own
    )


def why_nothing(layer: LayerPass, facts: NetworkFacts) -> str:
    """Return why a layer gives nothing exact away, in one sentence without a full stop."""
    if not layer.trained:
        return "it is frozen, so its gradient is not shared"
    if not layer.inputs:
        used = any(gradient.any() for gradient in layer.gradients.values())
        return "a function of its parent uses it, so its input was not seen" if used else "it is never used"
    if not any(gradient.any() for gradient in layer.gradients.values()):
        return "no gradient reaches it with these weights"
    refused = [facts.refused[name] for name in map(layer.path, layer.parameters) if name in facts.refused]
    if refused:
        return refused[0]
    if len(layer.inputs) > 1:
        return f"it is used {len(layer.inputs)} times in one forward pass, so its gradient is a sum"
    if not is_sole(layer):
        return "its parameters are used elsewhere, too, so its gradient is a sum"
    if isinstance(layer.module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        if any(link.name == layer.name for link in facts.links):
            return _open_chain(facts) or "R-GAP solves it on the way to the first layer"
        return f"its gradient is a sum over positions, and R-GAP does not apply: {facts.chain}"
    if isinstance(layer.module, NORMS):
        return "its gradient holds only one sum for each channel"
    if isinstance(layer.module, nn.Embedding):
        tied = "every row has a gradient, for example because the table is also the output layer"
        return tied if takes_example(layer, facts.traced.inputs) else "it holds positions or segments, not tokens"
    if per_example(layer, len(facts.traced.inputs)):
        return "without a bias, its gradient gives its input for one example up to a factor: features, not the example"
    if is_linear(layer.module):
        return "it runs on every token or patch, so that its gradient is a sum over them"
    return "no exact attack that is known here reads this kind of layer"


def _weight(layer: LayerPass) -> str:
    return layer.path("weight")


def _first_layer(facts: NetworkFacts) -> Found:
    """A linear layer that takes the example: the quotients of the bias attack, and SPEAR's factorisation."""
    for layer in facts.traced.layers:
        off = share_off(layer) if is_linear(layer.module) and takes_example(layer, facts.traced.inputs) else None
        if off is None or off == 1 or "weight" not in layer.trained or not is_sole(layer):
            continue
        outputs, inputs = matrix(layer.module).shape  # type: ignore[union-attr]
        if "bias" not in layer.trained:
            said = "One example up to a factor: the gradient is the outer product of the error and the example."
            yield _weight(layer), Giveaway("outer product", "direction", 1, said)
            continue
        batch = "every quotient of a batch is a mixture (cocktail-party unmixes it roughly), as no neuron is ever off"
        if off >= OFF:
            batch = "in a batch, every example that activates a neuron alone"
        said = f"One example exactly, by the quotient of weight and bias gradient (linear-bias); {batch}."
        yield _weight(layer), Giveaway("linear-bias", "examples", 1, said)
        if off >= OFF:
            most = min(outputs, inputs, int(off * outputs) + 1)
            said = (
                f"Whole batches, of no more than {most} examples (spear): the rank allows {min(outputs, inputs)}, and "
                f"each example must leave as many neurons off as there are other examples, of {outputs} neurons about "
                f"{off:.0%}. The search ends earlier: of CIFAR-10 it found 16 but not 32 images with 200 neurons, and "
                "128 with 1000."
            )
            yield _weight(layer), Giveaway("spear", "examples", most, said)


def _features(facts: NetworkFacts) -> Found:
    """A later linear layer with a bias: its input, for one example."""
    size = len(facts.traced.inputs)
    for layer in facts.traced.layers:
        if not per_example(layer, size) or takes_example(layer, facts.traced.inputs) or share_off(layer) == 1:
            continue
        if {"weight", "bias"} <= layer.trained.keys() and is_sole(layer):
            said = "Its input for one example, by the quotient of weight and bias gradient: features, not the example."
            yield _weight(layer), Giveaway("quotient", "features", 1, said)


def _chain(facts: NetworkFacts) -> Found:
    """The first layer of a chain that R-GAP undoes."""
    if not facts.links or _open_chain(facts):
        return
    unmeasured = [name for name, one in _counted(facts) if not one.measured]
    sure = "no layer leaves an unknown open"
    if unmeasured:
        sure = f"if the equations of {', '.join(unmeasured)} have full rank, which was not measured"
    twin = " Without biases, a scaled image may explain the update equally well." if homogeneous(facts.links) else ""
    said = (
        f"One image exactly (R-GAP), layer by layer from the last to this one: {sure}. Every layer amplifies rounding "
        f"errors by up to its condition number.{twin}"
    )
    yield facts.links[0].weight, Giveaway("r-gap", "examples", 1, said)


def _counted(facts: NetworkFacts) -> list[tuple[str, EquationCount]]:
    found = [(link.name, facts.equations.get(link.name)) for link in facts.links]
    return [(name, one) for name, one in found if one is not None]


def _open_chain(facts: NetworkFacts) -> str:
    """Return which layer of the chain leaves unknowns open or is not shared, or an empty string."""
    frozen = [link.name for link in facts.links if facts.equations.get(link.name) is None]
    if frozen:
        return f"R-GAP needs the gradient of every layer, and {frozen[-1]} is frozen"
    lacking = [(name, one) for name, one in _counted(facts) if one.deficit]
    if not lacking:
        return ""
    name, one = lacking[-1]
    return (
        f"R-GAP applies, but layer {name} leaves {'' if one.measured else 'at least '}{one.deficit} of {one.unknowns} "
        "unknowns open, so that its image is one of many"
    )


def _tokens(facts: NetworkFacts) -> Found:
    """An embedding table of the tokens, whose rows have a gradient only for those in the batch."""
    inputs = facts.traced.inputs
    for layer in facts.traced.layers:
        gradient = layer.gradients.get("weight")
        if not isinstance(layer.module, nn.Embedding) or gradient is None or not takes_example(layer, inputs):
            continue
        present = gradient.flatten(1).any(1).nonzero().flatten()
        if len(present) < len(gradient) and torch.isin(present, inputs).all():
            said = "Which tokens are in the batch, at any batch size, but not their order (bag-of-words)."
            yield _weight(layer), Giveaway("bag-of-words", "tokens", None, said)


def _probed(facts: NetworkFacts) -> Found:
    yield from facts.probed


def _labels(facts: NetworkFacts) -> Found:
    """The layer that computes the logits."""
    name = facts.head.bias or facts.head.weight
    if name is None:
        return
    why = "its weight gradient is (p - y) times the features"
    if facts.head.bias:
        why = "its bias gradient is p - y" if facts.head.exact else "its bias gradient has the signs of p - y"
    said = f"The label of one example, because {why}; of a batch mostly the classes, too (gradaudit labels)."
    yield name, Giveaway("labels", "labels", 1, said)


def _statistics(facts: NetworkFacts) -> Found:
    """BatchNorm with running statistics."""
    for layer in facts.traced.layers:
        if isinstance(layer.module, _BatchNorm) and layer.module.running_mean is not None and layer.inputs:
            said = (
                "Mean and variance of its input over the batch, for every channel, if the client trains in training "
                "mode, takes one step and sends the buffers."
            )
            yield _weight(layer), Giveaway("BatchNorm buffers", "statistics", None, said)


def most_texts(width: int, length: int) -> int:
    """Return the largest number of texts of `length` tokens that have fewer tokens than `width` in all."""
    return max(0, math.ceil(width / length) - 1)
