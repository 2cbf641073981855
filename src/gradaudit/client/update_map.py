"""The update of a client as a differentiable function of its private images, at fixed labels and random numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor

from ..models.copying import private_copy
from ..protocol.defenses import ActsOn, Defense
from ..protocol.defenses.additive_noise import GaussianNoise
from ..protocol.defenses.clipping import Clip
from ..protocol.local_training import AggregatedTraining
from ..values.errors import AuditError, guarded
from ..values.types import Batch, Modality
from .aggregation import SecureAggregation
from .checking import require_trainable
from .participant import Client, own_seed

TEXT = "The inputs of texts and tables are tokens and categories, which have no derivative."


@dataclass(frozen=True, eq=False)
class UpdateMap:
    """A client's update as a function of its images.

    Args:
        function: Images `[B, C, H, W]` in [0, 1], float64 -> all shared tensors in one vector `[m]`, float64.
        images: The private images, float64.
        counts: Number of entries of each shared tensor.
        precision: Precision in which the client shares them.
        noise: Standard deviation of the Gaussian noise that the client adds to each entry; it is not in the function.
        left_out: The defenses that are neither part of the function nor this noise.
    """

    function: Callable[[Tensor], Tensor]
    images: Tensor
    counts: tuple[int, ...]
    precision: torch.dtype
    noise: float = 0.0
    left_out: tuple[Defense, ...] = ()


def update_map(client: Client, batch: Batch, *, seed: int = 0) -> UpdateMap:
    """Return the update of a client as a function of the images of a batch.

    It is the client's own local training in double precision, with its BatchNorm mode, the order of its examples, its
    dropout and its number of local steps. Labels and random numbers are fixed, as for an adversary that knows them.
    Defenses of the model are part of it, and so is clipping, if it comes first. Gaussian noise that comes next is
    stated beside the function. All other defenses are left out: what an update determines before them is at least as
    much as after them. Noise after one of them does not count, because a defense that enlarges the update would make
    the same noise hide less; nor do defenses of several clients, which act before the sum.

    Args:
        client: The client; several clients under secure aggregation give the sum of their updates.
        batch: The private images.
        seed: Seed as for `Client.share`.

    Raises:
        AuditError: The batch holds no images, the update is more than the shared tensors of one round, or the model
            cannot be trained on the batch in double precision.
    """
    _require_one_update(client, batch)
    device = next(client.model.parameters()).device
    precision = next(p.dtype for p in client.model.parameters() if p.is_floating_point())
    model, labels = private_copy(client.model).double(), batch.labels.clone()
    training = client.training
    if isinstance(client, SecureAggregation):
        training = AggregatedTraining.of(training, client.sizes)
    images = batch.inputs.to(device, torch.float64, copy=True)
    name = client.model_name
    require_trainable(model, batch, lambda one: client.normalisation.apply(one.inputs.double()), training.loss, name)
    drawn = own_seed("training", seed, batch)
    clips, noise, left_out = _acting(client)

    def function(pictures: Tensor) -> Tensor:
        with guarded(f"{name}: cannot be differentiated twice on a batch of shape {list(images.shape)}"):
            inputs = client.normalisation.apply(pictures)
            tensors = training(model, inputs, labels, differentiable=True, seed=drawn)
        for clip in clips:
            tensors = clip.protect(tensors)
        return torch.cat([tensor.flatten() for tensor in tensors])

    counts = tuple(parameter.numel() for parameter in training.shared_parameters(model).values())
    return UpdateMap(function, images, counts, precision, noise, left_out)


def _acting(client: Client) -> tuple[tuple[Clip, ...], float, tuple[Defense, ...]]:
    """Return the clipping that comes first, the standard deviation of the noise that comes next, and the rest."""
    acting = tuple(one for one in client.defenses if one.acts_on is not ActsOn.MODEL)
    if isinstance(client, SecureAggregation):
        return (), 0.0, acting
    clips = tuple(one for one in takewhile(lambda one: isinstance(one, Clip), acting) if isinstance(one, Clip))
    rest = acting[len(clips) :]
    if rest and isinstance(rest[0], GaussianNoise) and not rest[0].relative:
        return clips, rest[0].std, rest[1:]
    return clips, 0.0, rest


def _require_one_update(client: Client, batch: Batch) -> None:
    if batch.modality is not Modality.PICTURES:
        raise AuditError(f"recoverability: is for images. {TEXT}")
    if client.rounds > 1:
        raise AuditError(
            f"recoverability: is that of one update, and this client shares {client.rounds} of each batch. Set rounds "
            "to 1, and divide the noise by the square root of the number of rounds."
        )
    if client.training.share_buffers and any(True for _ in client.model.buffers()):
        raise AuditError(
            "recoverability: the client also shares the buffers of its model, such as BatchNorm's statistics, which "
            "have no derivative here and tell more of the batch. Set training.share_buffers to false."
        )
