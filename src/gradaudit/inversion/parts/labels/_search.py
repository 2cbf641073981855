"""Find the parameters whose gradients contain p - y by running the model forwards and backwards, not by their names.

For cross entropy the gradient of a term added to the logits is p - y, the probabilities minus the one-hot label, and
the gradient of a factor of the features is (p - y) times the features. Both are tested on the adversary's own inputs.
A linear layer, a convolution before a mean over the pixels and a bare parameter are therefore found alike, whereas
unused or hidden layers of the same shape are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ....models.copying import private_copy
from ....protocol.local_training import batch_norm_mode
from ....protocol.observation import Observation
from ....values.types import Modality

EXAMPLES = 4
CLASSES = 16  # number of logits whose derivatives are checked


@dataclass(frozen=True)
class FoundHead:
    """The names of the parameters of the classification layer.

    Args:
        weight: Name of the parameter whose gradient has the rows (p_k - y_k) times the features, or `None`.
        bias: Name of the parameter whose gradient is p - y, or has its signs, or `None`.
        exact: Whether the bias gradient is p - y itself; false if a later operation, such as ReLU and a mean over the
            pixels, scales it class by class.
        affine: Whether the logits are weight times features plus bias.
    """

    weight: str | None = None
    bias: str | None = None
    exact: bool = True
    affine: bool = False


def search(seen: Observation) -> FoundHead:
    """Return the parameters of the model whose gradients contain p - y, whether they were shared or not."""
    if seen not in _SEARCHED:
        _SEARCHED[seen] = _search(seen)
    return _SEARCHED[seen]


def run(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the logits `[n, K]`, those of the last round if the model joins several; the inputs are copied."""
    output = model(inputs.clone())
    return output if output.ndim == 2 else output[..., -1]


def noise(seen: Observation, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Return inputs of the adversary's own: N(0, 1) in normalised space, or random tokens for text.

    Args:
        seen: The observation of the model that they are for.
        count: Number of inputs.
        generator: Generator on the CPU; torch's global one by default.
    """
    if seen.modality is Modality.TEXT:
        ids = torch.randint(_tokens(seen), (count, *seen.input_shape), generator=generator)
        return ids.to(seen.device)
    like = next(seen.model.parameters())
    if generator is None:
        return torch.randn(count, *seen.input_shape, device=like.device, dtype=like.dtype)
    return torch.randn(count, *seen.input_shape, generator=generator).to(like)


def features_of(weight: nn.Parameter, logits: Tensor) -> Tensor:
    """Return the features `[n, m]` that the weight multiplies: ∂logit_ik / ∂W_k, the same for every class k.

    Args:
        weight: The parameter named by `FoundHead.weight`, first dimension K.
        logits: `[n, K]`, with the graph to it; the graph is kept.
    """
    each = logits.shape[1]  # one pass suffices for K examples, each at a class of its own
    if float(logits.detach().logsumexp(1).abs().max()) < torch.finfo(logits.dtype).eps ** 0.5:
        # A final log-softmax couples every class with every other, but not the first with the logsumexp of the rest.
        each, logits = 1, logits - logits[:, 1:].logsumexp(1, keepdim=True)
    rows = []
    for start in range(0, len(logits), each):
        part = logits[start : start + each]
        own = torch.arange(len(part), device=part.device)
        (gradient,) = torch.autograd.grad(part[own, own].sum(), weight, retain_graph=True)
        rows.append(gradient.flatten(1)[: len(part)])
    return torch.cat(rows)


_SEARCHED: WeakKeyDictionary[Observation, FoundHead] = WeakKeyDictionary()


def _search(seen: Observation) -> FoundHead:
    model = private_copy(seen.model)
    weights, biases = _candidates(model, seen.classes)
    if not weights and not biases:
        return FoundHead()
    model.requires_grad_(False)
    for parameter in (*weights.values(), *biases.values()):
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad(), batch_norm_mode(model, seen.batch_norm):
            logits = run(model, noise(seen, EXAMPLES, torch.Generator().manual_seed(0)))
            return _tried(logits, weights, biases)
    except RuntimeError:  # the model detaches its own graph: no part of it can be trained
        return FoundHead()


def _tried(logits: Tensor, weights: Mapping[str, nn.Parameter], biases: Mapping[str, nn.Parameter]) -> FoundHead:
    labels = logits.argmin(1)  # where p - y is largest
    errors = (logits.softmax(1) - nn.functional.one_hot(labels, logits.shape[1])).detach().double()
    near = torch.finfo(logits.dtype).eps ** 0.5
    rows = [name for name, weight in weights.items() if _is_product(logits, labels, errors, weight, near)]
    sums = [name for name, bias in biases.items() if _is_sum(logits, labels, errors, bias, near)]
    weight = rows[-1] if rows else None
    bias = next((name for name in sums if weight and _home(name) == _home(weight)), sums[-1] if sums else None)
    if weight is None and bias is None:
        signed = [name for name, bias in biases.items() if _has_its_signs(logits, bias, near)]
        return FoundHead(bias=signed[-1], exact=False) if signed else FoundHead()
    affine = weight is not None and _is_affine(logits, weights[weight], biases[bias] if bias else None, near)
    return FoundHead(weight, bias, affine=affine)


def _candidates(model: nn.Module, classes: int) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """Return the parameters with the shape of a weight `[K, ...]` and those with the shape of a bias `[K]`."""
    named = {name: value for name, value in model.named_parameters() if value.is_floating_point()}
    weights = {name: value for name, value in named.items() if value.ndim > 1 and value.shape[0] == classes}
    biases = {name: value for name, value in named.items() if value.shape in ((classes,), (1, classes))}
    return weights, biases


def _gradient(value: Tensor, parameter: nn.Parameter) -> Tensor | None:
    (gradient,) = torch.autograd.grad(value, parameter, retain_graph=True, allow_unused=True)
    return None if gradient is None or not gradient.any() else gradient.double()


def _is_product(logits: Tensor, labels: Tensor, errors: Tensor, weight: nn.Parameter, near: float) -> bool:
    """Return whether each example's gradient is (p - y) hᵀ with some features h."""
    for example in range(2):
        gradient = _gradient(_loss(logits[example : example + 1], labels[example : example + 1]), weight)
        if gradient is None:
            return False
        gradient, error = gradient.flatten(1), errors[example]
        product = torch.outer(error, error @ gradient / error.square().sum())
        if not (gradient - product).norm() <= near * gradient.norm():
            return False
    return True


def _is_sum(logits: Tensor, labels: Tensor, errors: Tensor, bias: nn.Parameter, near: float) -> bool:
    gradient = _gradient(_loss(logits, labels), bias)
    return gradient is not None and bool((gradient.flatten() - errors.mean(0)).norm() <= near * errors.mean(0).norm())


def _has_its_signs(logits: Tensor, bias: nn.Parameter, near: float) -> bool:
    """Return whether every logit grows with its own entry of `bias` and depends on no other, for every example.

    A logit may also be constant, as behind an inactive unit, but not more than half of them.
    """
    chosen = torch.linspace(0, logits.shape[1] - 1, min(CLASSES, logits.shape[1])).long().tolist()
    alive = 0
    for label in chosen:
        for example in range(len(logits)):
            slope = _gradient(logits[example, label], bias)
            if slope is None:
                continue
            own = float(slope.flatten()[label])
            slope.view(-1)[label] = 0
            if not own > 0 or float(slope.abs().max()) > near * own:
                return False
            alive += 1
    return 2 * alive >= len(chosen) * len(logits)


def _is_affine(logits: Tensor, weight: nn.Parameter, bias: nn.Parameter | None, near: float) -> bool:
    own = features_of(weight, logits).double() @ weight.detach().flatten(1).double().T
    own = own if bias is None else own + bias.detach().flatten().double()
    return bool((own.softmax(1) - logits.detach().double().softmax(1)).abs().max() <= near)


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits, labels)


def _home(name: str) -> str:
    return name.rpartition(".")[0]


def _tokens(seen: Observation) -> int:
    if seen.text is not None:
        return seen.text.size
    return next((part.num_embeddings for part in seen.model.modules() if isinstance(part, nn.Embedding)), 2)
