"""A client whose examples each consist of an image, a sentence and one label."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..models.fused_net import Splice
from ..protocol.observation import Observation
from ..values.errors import AuditError
from ..values.granting import Granted
from ..values.types import Batch, Normalisation
from .participant import Client


@dataclass(frozen=True, eq=False)
class MultiModalBatch:
    """A private batch of image-text pairs with labels. Only the client and the audit may hold one.

    Args:
        pictures: `[B, C, H, W]`, in [0, 1].
        text: `[B, 1, L, width]`, word vectors scaled to [0, 1] (`WordVectors.encode`). The model takes a sentence as
            an image of one channel, whose normalisation restores the vectors.
        labels: `[B]`, integers in [0, K), one label for each pair.

    Raises:
        AuditError: The numbers of images, sentences and labels differ.
    """

    pictures: Tensor
    text: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if not len(self.pictures) == len(self.text) == len(self.labels):
            found = f"{len(self.pictures)}, {len(self.text)} and {len(self.labels)}"
            raise AuditError(f"batch: needs as many images as sentences and labels. Found {found}.")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class MultiModalClient:
    """A client with one network for each modality, trained on the same examples; it shares both updates.

    Args:
        text: The client of the sentences; its normalisation is that of the word vectors.
        image: The client of the images.
    """

    text: Client
    image: Client

    def share(self, batch: MultiModalBatch, knowledge: Granted, *, seed: int = 0) -> tuple[Observation, Observation]:
        """Return what the adversary sees of the text update and of the image update; see `Client.share`."""
        return (
            self.text.share(Batch(batch.text, batch.labels), knowledge, seed=seed),
            self.image.share(Batch(batch.pictures, batch.labels), knowledge, seed=seed),
        )


@dataclass(frozen=True, eq=False)
class SplicedClient:
    """A client with one network that takes both modalities as one spliced input; it shares one update.

    Args:
        client: Its model takes inputs of shape `splice.shape`, such as `FusedNet` or an image network with that many
            channels.
        splice: The layout of the joint input.
    """

    client: Client
    splice: Splice

    def share(self, batch: MultiModalBatch, knowledge: Granted, *, seed: int = 0) -> Observation:
        """Return what the adversary sees; `Splice.split` separates a reconstruction into image and text."""
        joined = self.splice.join(batch.pictures, batch.text)
        return self.client.share(Batch(joined, batch.labels), knowledge, seed=seed)


def spliced(pictures: Normalisation, text: Normalisation, splice: Splice) -> Normalisation:
    """Return the normalisation of a spliced input: each plane is normalised as its modality is."""
    mean, std = pictures.mean, pictures.std
    if len(mean) == 1:
        mean, std = mean * splice.picture[0], std * splice.picture[0]
    return Normalisation((*mean, *text.mean * splice.planes), (*std, *text.std * splice.planes))
