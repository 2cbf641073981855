"""The facts of a finding about the protection of its update, from the client that the auditor simulates."""

from __future__ import annotations

import math
from typing import Any

from ..capture.captured_client import CapturedClient
from ..client.calibrated_noise import RECORD, UNCOUNTED, FoundNoise, noise_of, with_epsilon
from ..client.participant import Client, SharedUpdate
from ..inversion.parts.labels._search import search
from ..metrics.bounds import label_signal_to_noise
from ..protocol.local_training import rules_of
from ..protocol.observation import Observation
from ..values.errors import AuditError, guarded
from ..values.protection import Protection
from ..values.types import Batch, Modality
from .digests import digest_of
from .doubts import steps_of

CAPTURED = "The update was captured: there is none from before its defenses, so that their effect is not known."


def facts_of(shared: SharedUpdate | None, seen: Observation) -> dict[str, Any]:
    """Return the fields of a finding about its update, whatever the attack: its hash, and what protects it."""
    assert shared is not None  # of `Case`
    return {"update_sha256": digest_of(seen.update.tensors), "protection": protection_of(shared, seen)}


def protection_of(shared: SharedUpdate, seen: Observation) -> Protection | None:
    """Return what is known of the protection of an update, or `None` for a simulated client without defenses.

    Args:
        shared: The update that a client shares of its batch.
        seen: What the adversary sees of it, by which the layer of the classes is found.
    """
    client = shared.client
    captured = isinstance(client, CapturedClient)
    if not client.defenses and not captured:
        return None
    steps = steps_of(client, len(shared.batch))
    found = noise_of(client.defenses, steps=steps or 1, rounds=client.rounds)
    if steps is None and found.noise is not None and found.noise.unit == RECORD:
        found = FoundNoise(None, why_not=UNCOUNTED)
    size, length = _image(client, shared.batch)
    return Protection(
        effects=() if captured else with_epsilon(shared.log.effects(client.defenses), found, client.rounds),
        unknown=CAPTURED if captured else "",
        buffers=len(seen.update.buffers or {}),
        noise=found.noise,
        why_not=found.why_not,
        size=size,
        length=length,
        label_ratios=_label_ratios(shared, seen),
    )


def _image(client: Client, batch: Batch) -> tuple[int, float]:
    """Return the number of values of an image, and the smallest L2 norm of one, as the network sees it, in pixels.

    A network that is made to reveal its input reveals it normalised. An error of the normalised input is `std` times as
    large in pixels, channel by channel; the smallest `std` gives the most accurate estimate.
    """
    if batch.modality is not Modality.PICTURES or not len(batch):
        return 0, 0.0
    inputs = client.normalisation.apply(batch.inputs).flatten(1).double()
    shortest = min(client.normalisation.std) * float(inputs.norm(dim=1).min())
    return inputs.shape[1], float(f"{shortest:.3g}")


def _label_ratios(shared: SharedUpdate, seen: Observation) -> tuple[float, float] | None:
    """Return the smallest and the largest ratio of a class of the batch, where its bias has noise of known size."""
    batch, known = shared.batch, shared.log.biases
    if not known or not len(batch.labels) or not rules_of(shared.client.training.loss).classes:
        return None
    try:
        with guarded("labels"):
            name = search(seen).bias
    except AuditError:  # a model that takes no inputs but real ones; the ratio is not worth the audit
        return None
    if name not in known:
        return None
    bias, labels = known[name], batch.labels.tolist()
    if len(bias.signal) <= max(labels):
        return None
    found = label_signal_to_noise(bias.signal.tolist(), labels, math.sqrt(bias.variance))
    return float(f"{min(found):.3g}"), float(f"{max(found):.3g}")
