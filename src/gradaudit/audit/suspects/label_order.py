"""The labels that the client trained with, where they are not those of the batch in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...inversion.parts.labels._search import features_of, search
from ...models.copying import private_copy
from ...protocol.local_training import batch_norm_mode, rules_of
from ...values.types import Knowledge, Modality, Update, UpdateKind
from .assumed import Assumed, Cause, Suspect

SHOWN = 6  # examples in a sentence
PAIRS = 6  # examples up to which all exchanges of two labels are tried


def _labels(assumed: Assumed) -> Iterator[Suspect]:
    """Yield the client with the labels that the last layer's gradient shows, and with simple changes of their order."""
    labels = assumed.batch.labels
    if not rules_of(assumed.trained.loss).classes or labels.is_floating_point():
        return
    seen = [labels.tolist()]
    for changed in (*_read_off(assumed), *_moved(labels)):
        if changed.tolist() not in seen:
            seen.append(changed.tolist())
            yield _suspect(assumed, changed)


def _suspect(assumed: Assumed, changed: Tensor) -> Suspect:
    """Return the client with other labels; the sentence names examples by their place, never a label."""
    labels = assumed.batch.labels
    found, shift = replace(assumed, batch=replace(assumed.batch, labels=changed)), changed - labels
    if bool((shift == shift[0]).all()):
        step = int(shift[0])
        what = f"every label of the client is {abs(step)} {'larger' if step > 0 else 'smaller'} than that of the batch"
        return Suspect(found, what, "count the labels in data from the same number as the client does")
    if changed.sort().values.equal(labels.sort().values):
        where = [(i, j) for i, j in enumerate(_places(labels, changed), 1) if i != j]
        told = "; ".join(f"example {i} has the label of example {j}" for i, j in where[:SHOWN])
        more = "; and so on" if len(where) > SHOWN else ""
        what = f"the client trained with the labels of the batch in another order ({told}{more})"
        return Suspect(found, what, "give the labels in data in the order of the examples")
    share = f"{int((shift != 0).sum())} of {len(labels)}"
    return Suspect(found, f"the client trained with other labels for {share} examples", "correct the labels in data")


def _places(labels: Tensor, changed: Tensor) -> list[int]:
    """Return for each example the place, from 1, of the example whose label it has now; its own where that is right."""
    left = [i for i in range(len(labels)) if labels[i] != changed[i]]
    places = list(range(1, len(labels) + 1))
    for i in tuple(left):
        source = next(j for j in left if labels[j] == changed[i])
        left.remove(source)
        places[i] = source + 1
    return places


def _moved(labels: Tensor) -> Iterator[Tensor]:
    """Yield the labels counted from another number, rotated, reversed, and with two exchanged."""
    yield labels + 1
    if labels.min() > 0:
        yield labels - 1
    yield labels.flip(0)
    yield from (labels.roll(by) for by in {1, -1} if len(labels) > 1)
    if len(labels) <= PAIRS:
        for i, j in combinations(range(len(labels)), 2):
            changed = labels.clone()
            changed[[i, j]] = labels[[j, i]]
            yield changed


def _read_off(assumed: Assumed) -> Iterator[Tensor]:
    """Yield the labels that explain the gradient of the last layer best: in the batch's own classes, and in any.

    The gradient of the last layer's weight is the mean of (p - y) times the features. The features and p are known, so
    that the labels y follow by least squares; after several local steps only approximately.
    """
    training, batch = assumed.trained, assumed.batch
    gradient = dict(assumed.target.tensors)
    if training.kind is UpdateKind.WEIGHT_DIFFERENCE and training.learning_rate is not None:
        gradient = {k: v / (training.learning_rate * training.steps(len(batch))) for k, v in gradient.items()}
    seen = assumed.client.observed(Update(gradient), batch, Knowledge.BATCH_SIZE)
    name = search(seen).weight
    if name is None or name not in gradient:
        return
    model = private_copy(assumed.client.model)
    with torch.enable_grad(), batch_norm_mode(model, training.batch_norm):
        logits = model(_normalised(assumed))
        features = features_of(dict(model.named_parameters())[name], logits)  # type: ignore[arg-type]
    features, shares = features.detach().double(), logits.detach().double().softmax(1)
    rest = shares.T @ features - len(batch) * gradient[name].flatten(1)
    found = torch.linalg.lstsq(features.T.cpu(), rest.T.cpu(), driver="gelsd").solution  # [B, K], near one-hot
    if not found.isfinite().all():
        return
    columns = linear_sum_assignment(found[:, batch.labels.cpu()].numpy(), maximize=True)[1]
    yield batch.labels[torch.from_numpy(columns).to(batch.labels.device)]
    yield found.argmax(1).to(batch.labels)


def _normalised(assumed: Assumed) -> Tensor:
    batch, client = assumed.batch, assumed.client
    inputs = client.normalisation.apply(batch.inputs) if batch.modality is Modality.PICTURES else batch.inputs
    return inputs.to(next(client.model.parameters()).dtype) if inputs.is_floating_point() else inputs


LABELS = Cause("label-order", "order of the labels", _labels)
