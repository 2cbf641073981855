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

SHOWN = 8  # labels in a sentence
PAIRS = 6  # examples up to which all exchanges of two labels are tried
ORDER = "give the labels in data in the order of the images"


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
    labels = assumed.batch.labels
    told = ", ".join(map(str, changed[:SHOWN].tolist())) + (", ..." if len(changed) > SHOWN else "")
    found, shift = replace(assumed, batch=replace(assumed.batch, labels=changed)), changed - labels
    if len(labels) > 1 and bool((shift == shift[0]).all()):
        step = int(shift[0])
        what = f"every label of the client is {abs(step)} {'larger' if step > 0 else 'smaller'} than that of the batch"
        return Suspect(found, f"{what} ({told})", "count the labels in data from the same number as the client does")
    if changed.sort().values.equal(labels.sort().values):
        return Suspect(found, f"the client saw the labels of the batch in another order ({told})", ORDER)
    return Suspect(found, f"the client trained with other labels ({told})", "correct the labels in data")


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
    found = torch.linalg.lstsq(features.T.cpu(), rest.T.cpu(), driver="gelsd").solution  # [B, K], near the one-hot labels
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
