"""Learning to Invert (Wu, Chen, Guo & Weinberger, UAI 2023): a network learns to map updates to images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ..inversion.attack import Watch
from ..inversion.parts.label_values import Labels
from ..inversion.parts.objectives.cosine import Cosine
from ..inversion.parts.part import require_batch_size
from ..inversion.run.allowance import cut_note
from ..inversion.run.keeper import Keeper
from ..inversion.run.refusal import attacked, require_fit
from ..inversion.step.matching import END, Matching
from ..protocol.observation import Observation
from ..values.errors import AttackFailed
from ..values.files import is_file
from ..values.types import Knowledge, Modality, Reconstruction
from ._certificate import label_of_one
from ._demonstration import Demonstration
from ._inverter_file import assumes_defense, client_facts, load_inverter, require_image_shape, weights_digest
from ._inverter_training import InverterRecipe, TrainedInverter, train
from ._simulated_client import SimulatedClient


@dataclass(frozen=True)
class LearningToInvert(InverterRecipe):
    """Images from an update in one pass of a network that was trained on simulated updates of public images.

    The adversary knows the model and draws batches of public images. It computes the update that the client would share
    of each of them, with the client's own defenses if they are granted, so that any defense is adapted to. A network
    of three linear layers learns to map these updates back to the images, by the mean squared error under the best
    order of each batch. The training is for one state of the model; `gradaudit train inverter` does it once for many
    updates. Labels are not used. If they are granted, the images are put in the order in which their update is nearest
    to the observed one; of a single image the label is that of iDLG.

    The observation holds no public image that equals a private one. A `trained` inverter may have been trained on
    private images, which the adversary cannot tell.

    Args:
        trained: File of `gradaudit train inverter`, in an audit file relative to it; empty trains on the public images
            of the observation.
        name: Name in the literature.
        paper: arXiv id.
        deviations: Differences from the paper.
    """

    trained: str = ""
    name: str = "lti"
    paper: str = "arXiv:2210.10880"
    deviations: tuple[str, ...] = (
        "1 000 steps of 64 new updates each (published: 200 passes over the updates of 50 000 images in minibatches of "
        "256), with Adam at 1e-3 (published: 1e-4) and hidden layers of 1 000 units (published: 3 000)",
        "a quarter as many features as entries; on LeNet the paper does not hash",
        "features are standardised",
        "the network at its lowest error on held-out public images is used, not the last one",
        "a public image without a label gets a random class each time it is drawn",
    )
    modality: ClassVar[Modality] = Modality.PICTURES
    doubt: ClassVar[str] = (
        "it was trained on updates without this defense. An adversary that knows the defense (DEFENSE) trains with it "
        "and may recover more"
    )

    @property
    def needs(self) -> Knowledge:
        """BATCH_SIZE and PUBLIC_DATA; also DEFENSE if the `trained` inverter knows one."""
        told = bool(self.trained) and assumes_defense(Path(self.trained))
        return Knowledge.BATCH_SIZE | Knowledge.PUBLIC_DATA | (Knowledge.DEFENSE if told else Knowledge.NOTHING)

    def require_inputs(self, shape: tuple[int, ...]) -> None:
        """Raise `AttackFailed` if the `trained` inverter is for images of another shape."""
        if self.trained:
            require_image_shape(Path(self.trained), shape)

    def by_content(self) -> LearningToInvert:
        """Return the attack with the name and the SHA-256 of its `trained` file in place of its path, if it has one."""
        path = Path(self.trained)
        if not self.trained or not is_file(path):
            return self
        return replace(self, trained=f"{path.name}, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}")

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Return the images; the objective is the cosine distance, or NaN if their labels are not known.

        Args:
            seen: What the adversary sees.
            seed: Seed of the training.
            watch: Called after every step with its error; a `TimeLimit` ends the training.
            keep: Path of the checkpoints of the training.

        Raises:
            MissingKnowledge: The batch size or the public data was not granted.
            AttackFailed: There are too few public images, a label of them is no class, or the `trained` file is for
                another client.
        """
        require_fit(self, seen.knowledge, seen.modality)
        seen = attacked(self.name, seen)
        client = SimulatedClient.of(seen, require_batch_size(seen, self))  # type: ignore[arg-type]
        found = self._inverter(client, seen, seed, watch, keep)
        return self.invert(seen, found)

    def learn(
        self,
        client: SimulatedClient,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        seed: int = 0,
        watch: Watch | None = None,
        keep: Path | None = None,
    ) -> TrainedInverter:
        """Return an inverter for the updates of a client.

        Args:
            client: The client as the adversary knows it.
            images: `[N, C, H, W]` in [0, 1], the public images.
            labels: `[N]`, or `None` without labels.
            seed: Seed of the training; equal seeds give equal results on the CPU.
            watch: Called after every step with its error; a `TimeLimit` ends the training.
            keep: Path of the checkpoints.

        Raises:
            AttackFailed: There are too few images, a label is no class, or there is no time for a step.
        """
        keeper = None
        if keep is not None:
            shown = {"images": images} if labels is None else {"images": images, "labels": labels}
            facts = [repr(self), seed, client_facts(client), weights_digest(shown)]
            identity = hashlib.sha256(repr(facts).encode()).hexdigest()
            keeper = Keeper(keep.with_name(f"{keep.name}-inverter.pt"), identity)
        return train(self, client, images, labels, name=self.name, seed=seed, watch=watch, keeper=keeper)

    def invert(self, seen: Observation, found: TrainedInverter) -> Reconstruction:
        """Return the images of one update by an inverter that was trained for its client; `seen` may be hooked."""
        client = SimulatedClient.of(seen, found.inverter.shape[0])
        with torch.no_grad():
            update = client.flat([tensor[None] for tensor in seen.update.values])
            images = found.inverter(found.inverter.hashed(update))[0].to(seen.update.values[0])
        labels = label_of_one(seen) if seen.labels is not None or len(images) == 1 else None
        cut = (found.done, found.steps) if found.done < found.steps else None
        result = Reconstruction(
            inputs=images,
            labels=None,
            objective=float("nan"),
            trace=(found.curve,),
            notes=(*found.notes, *([cut_note(*cut)] if cut else [])),
            cut=cut,
        )
        return result if labels is None else _explained(seen, result, labels)

    def _inverter(
        self, client: SimulatedClient, seen: Observation, seed: int, watch: Watch | None, keep: Path | None
    ) -> TrainedInverter:
        """Return the inverter of the file, or a new one."""
        if self.trained:
            found = load_inverter(Path(self.trained), client, self.name)
            return replace(found, curve=((found.done, found.error),), steps=found.done)  # cut by no limit of this run
        if seen.public_data is None:
            raise AttackFailed(f"{self.name}: trains on public images, and there are none. Give public_data.")
        return self.learn(client, seen.public_data, seen.public_labels, seed=seed, watch=watch, keep=keep)


def _explained(seen: Observation, found: Reconstruction, labels: Labels) -> Reconstruction:
    """Return the images in the order of their labels, with the distance between their update and the observed one."""
    matching, given = Matching(seen, Cosine().bind(seen)), labels.values
    inputs = seen.normalisation.apply(found.inputs)
    order = list(range(len(inputs)))

    def distance(order: list[int]) -> float:
        return float(matching.value(inputs[order], given, END))

    best = distance(order)
    for one, other in combinations(order, 2):
        swapped = list(order)
        swapped[one], swapped[other] = order[other], order[one]
        value = distance(swapped)
        if value < best:
            best, order = value, swapped
    return replace(
        found,
        inputs=found.inputs[order],
        labels=given if given.dtype == torch.int64 else None,
        objective=best,
        verified=matching.explained(inputs[order], given),
        labels_granted=labels.granted,
    )


ATTACK = LearningToInvert()

DEMONSTRATION = Demonstration(replace(ATTACK, steps=60, width=192, hashing=1.0, rate=5e-3), examples=1, least=0.8)
