"""The cell of most studies: one attack in one setting, measured batch by batch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np
import torch
from skimage.registration import phase_cross_correlation
from torch import Tensor

from ..audit.attempt import attack_seed
from ..audit.judge import match
from ..client.participant import Client
from ..data.modalities.images import score_pictures
from ..inversion.attack import Attack
from ..inversion.run.call import run_attack
from ..metrics import label_accuracy
from ..protocol.defenses import Defense
from ..protocol.local_training import FedSGD, LocalTraining
from ..protocol.observation import Observation
from ..values.errors import AttackFailed, AuditError
from ..values.types import Batch, Knowledge, Level, Reconstruction
from ._bench import Bench
from ._definition import Values, identity

LabelDraw = Literal["distinct", "pairs", "uniform"]
Pick = Literal["any", "sure", "unsure"]
CHOICES = 20  # number of images per class from which `sure` and `unsure` choose
SCORES = {
    "PSNR, dB": "psnr",
    "gain over the mean image, dB": "gain",
    "SSIM": "ssim",
    "LPIPS": "lpips",
    "below the LPIPS bar": "recognisable",
    "identified": "identified",
    "label accuracy": "labels",
    "seconds": "seconds",
}
SMALLER = ("lpips", "seconds")


@dataclass(frozen=True)
class AttackCell:
    """One attack on new batches of one client.

    All cells with the same batch size and labels attack the same batches, so cells can be compared in pairs.

    Args:
        name: Name in the table.
        attack: The attack.
        network: Name of a model.
        batch_size: Number of examples in a batch, B.
        trained: Whether the network has been trained on the data.
        labels: `distinct` draws no class twice, `pairs` draws every class twice, `uniform` draws from all classes.
        defense: The client's defense, if any.
        knowledge: The threat model.
        training: The client's local training.
        pick: Which image of a class: `any`, or of twenty the one with the lowest (`sure`) or highest loss (`unsure`).
    """

    name: str
    attack: Attack
    network: str = "resnet20"
    batch_size: int = 4
    trained: bool = False
    labels: LabelDraw = "distinct"
    defense: Defense | None = None
    knowledge: Knowledge = Level.BASIC | Knowledge.LABELS
    training: LocalTraining = FedSGD()
    pick: Pick = "any"

    def missing(self, bench: Bench) -> str | None:
        """Return why the cell cannot be measured, or `None`."""
        if self.trained and not bench.can_train(self.network):
            return f"a trained network needs --data with labels, or --weights {self.network}=FILE"
        if self.labels != "uniform" and bench.classes < self.batch_size:
            return f"{self.batch_size} distinct labels need as many classes; the data has {bench.classes}"
        return None

    def measure(self, bench: Bench, seed: int) -> Values:
        """Return the scores of one batch, averaged over its images; `norm` is the L2 norm of the update."""
        batch, indices = self._drawn(bench, seed)
        client = self.client(bench, seed)
        seen = client.share(batch, self.knowledge, seed=bench.chance(seed), public=bench.public)
        try:
            guess, seconds = self._attack(seen, bench, seed)
        except AttackFailed as failure:
            raise AuditError(f"{self.name}: {failure}") from failure
        norm = float(torch.stack([tensor.norm() for tensor in seen.update.values]).norm())
        scores, more = self.score(bench, batch, indices, guess), self.look(bench, seed, batch, guess)
        return {**scores, "seconds": seconds, "objective": guess.objective, "norm": norm, **more}

    def look(self, bench: Bench, seed: int, batch: Batch, guess: Reconstruction) -> Values:
        """Return further values of a reconstruction, and save images of it; this cell has none of either."""
        return {}

    def shared(self, bench: Bench, seed: int, knowledge: Knowledge) -> tuple[Batch, Observation]:
        """Return the private batch, and what another adversary sees of the same update."""
        batch, _ = self._drawn(bench, seed)
        seen = self.client(bench, seed).share(batch, knowledge, seed=bench.chance(seed), public=bench.public)
        return batch, seen

    def _drawn(self, bench: Bench, seed: int) -> tuple[Batch, list[int]]:
        """Return the private batch, and the positions of its images in the source."""
        generator = torch.Generator().manual_seed(bench.chance(seed))
        labels = self._labels(bench.classes, generator)
        indices = self._indices(bench, self.client(bench, seed), labels, generator)
        return Batch(bench.source.stack(indices), labels).to(bench.device), indices

    def _indices(self, bench: Bench, client: Client, labels: Tensor, generator: torch.Generator) -> list[int]:
        """Return the indices of the private images, drawn by the audit."""
        if self.pick == "any":
            return bench.draw(labels, generator)
        many = torch.tensor([bench.draw(labels, generator) for _ in range(CHOICES)])
        with torch.no_grad():
            pictures = client.normalisation.apply(bench.source.stack(many.flatten().tolist()).to(bench.device))
            logits = client.model.eval()(pictures)
            losses = torch.nn.functional.cross_entropy(
                logits, labels.repeat(CHOICES).to(bench.device), reduction="none"
            )
        losses = losses.cpu().view(CHOICES, -1)
        chosen = losses.argmin(0) if self.pick == "sure" else losses.argmax(0)
        return many.gather(0, chosen[None])[0].tolist()

    def client(self, bench: Bench, seed: int) -> Client:
        """Return the client."""
        return Client(
            bench.network(self.network, trained=self.trained, seed=seed),
            training=self.training,
            defenses=(self.defense,) if self.defense else (),
            normalisation=bench.normalisation,
        )

    @staticmethod
    def score(bench: Bench, batch: Batch, indices: list[int], guess: Reconstruction) -> dict[str, float | None]:
        """Return PSNR in dB, its gain over the mean of other images, SSIM, LPIPS, identification, label accuracy."""
        matched, truth = match(batch, guess), batch.inputs.cpu()
        control = bench.source.mean_except(indices)
        control = (torch.full_like(truth[0], 0.5) if control is None else control).expand_as(truth)
        gallery = bench.source.distractors(indices, 200)
        ours, theirs = (score_pictures(truth, pictures, gallery) for pictures in (matched.inputs, control))
        means = {name: score.mean for name in ("psnr", "ssim", "lpips", "recognisable") if (score := ours.get(name))}
        found: dict[str, float | None] = {**means, "gain": ours.psnr.mean - theirs.psnr.mean}
        found["offset"] = fmean(map(offset, truth, matched.inputs.nan_to_num()))
        if rank := ours.get("rank"):
            found["identified"] = sum(place == 1 for place in rank.per_example) / len(rank.per_example)
        if guess.labels is not None and not guess.labels_granted:
            found["labels"] = label_accuracy(guess.labels.cpu(), batch.labels.cpu(), matched.order)
        return found

    def _attack(self, seen: Observation, bench: Bench, seed: int) -> tuple[Reconstruction, float]:
        """Return the reconstruction and its CPU seconds, or its wall-clock seconds on a GPU."""
        clock = time.perf_counter if seen.device.type == "cuda" else time.process_time
        started = clock()
        keep = bench.keep(f"{identity(self)}-{seed}")
        chance = attack_seed(bench.chance(seed))
        return run_attack(self.attack, seen, seed=chance, watch=bench.watch, keep=keep), clock() - started

    def _labels(self, classes: int, generator: torch.Generator) -> Tensor:
        if self.labels == "uniform":
            return torch.randint(classes, (self.batch_size,), generator=generator)
        order = torch.randperm(classes, generator=generator)
        if self.labels == "pairs":
            return order[: -(-self.batch_size // 2)].repeat_interleave(2)[: self.batch_size]
        return order[: self.batch_size]


def offset(truth: Tensor, guess: Tensor) -> float:
    """Return the shift of a reconstruction `[C, H, W]` from the truth, in pixels (Guizar-Sicairos et al., 2008).

    It is found by cross-correlation of the greyscale images. It is meaningless for a reconstruction unlike the truth.
    """
    grey = [picture.mean(0).numpy() for picture in (truth, guess)]
    shift, _, _ = phase_cross_correlation(*grey, upsample_factor=10, normalization=None)
    return float(np.hypot(*shift))
