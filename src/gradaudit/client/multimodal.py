"""A client whose examples have a picture, a sentence and one label."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..models.fused_net import Splice
from ..values.errors import AuditError
from ..values.granting import Granted
from ..values.types import Batch, Normalisation
from .observation import Observation
from .participant import Client


@dataclass(frozen=True, eq=False)
class MultiModalBatch:
    """Private examples in two modalities. Only the client and the audit may hold one.

    Args:
        pictures: `[B, C, H, W]`, in [0, 1].
        text: `[B, 1, L, width]`, word vectors scaled to [0, 1] (`WordVectors.encode`); to the model a sentence is a
            picture of one channel, whose normalisation takes it back to the vectors.
        labels: `[B]`, integers in [0, K), one for both.

    Raises:
        AuditError: The numbers of examples differ.
    """

    pictures: Tensor
    text: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if not len(self.pictures) == len(self.text) == len(self.labels):
            found = f"{len(self.pictures)}, {len(self.text)} and {len(self.labels)}"
            raise AuditError(f"batch: needs as many pictures as sentences and labels. Found {found}.")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class MultiModalClient:
    """A network for each modality, trained on the same examples; both updates are shared.

    Args:
        text: Takes the sentences; its normalisation is the word vectors' own.
        image: Takes the pictures.
    """

    text: Client
    image: Client

    def share(self, batch: MultiModalBatch, knowledge: Granted, *, seed: int = 0) -> tuple[Observation, Observation]:
        """What the adversary sees of the text's update and of the picture's, in this order; see `Client.share`."""
        return (
            self.text.share(Batch(batch.text, batch.labels), knowledge, seed=seed),
            self.image.share(Batch(batch.pictures, batch.labels), knowledge, seed=seed),
        )


@dataclass(frozen=True, eq=False)
class SplicedClient:
    """One network for both modalities, which takes them as one input; one update is shared.

    Args:
        client: With a model for `splice.shape`, such as `FusedNet` or a network for pictures with that many channels.
        splice: The layout.
    """

    client: Client
    splice: Splice

    def share(self, batch: MultiModalBatch, knowledge: Granted, *, seed: int = 0) -> Observation:
        """What the adversary sees; `Splice.split` takes a reconstruction apart again."""
        joined = self.splice.join(batch.pictures, batch.text)
        return self.client.share(Batch(joined, batch.labels), knowledge, seed=seed)


def spliced(pictures: Normalisation, text: Normalisation, splice: Splice) -> Normalisation:
    """The normalisation of a spliced input: each plane as its modality."""
    mean, std = pictures.mean, pictures.std
    if len(mean) == 1:
        mean, std = mean * splice.picture[0], std * splice.picture[0]
    return Normalisation((*mean, *text.mean * splice.planes), (*std, *text.std * splice.planes))
