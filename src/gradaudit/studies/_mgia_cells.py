"""The cells of MGIA's study: one attack on one example of one data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..attacks.grnn import ATTACK as GRNN
from ..attacks.inverting_gradients import EXACT as INVERTING_GRADIENTS
from ..attacks.mgia import ALONE, NO_KD, SPLICING
from ..attacks.mgia import ATTACK as MGIA
from ..audit.attempt import attack_seed
from ..client.multimodal import MultiModalBatch, MultiModalClient, SplicedClient, spliced
from ..client.participant import Client
from ..data.described import Described, described, missing
from ..inversion.parts.labels.label_of_one import IDLG
from ..inversion.parts.objectives.cosine import Cosine
from ..inversion.run.gradient_matching import GradientMatching
from ..inversion.run.keeper import beside
from ..inversion.run.mutual import Distillation, MutualInversion
from ..metrics import psnr
from ..metrics.published_psnr import published_psnr
from ..models import build
from ..models.fused_net import FusedNet, Splice
from ..models.text_cnn import TextCNN
from ..protocol.local_training import DistilledCrossEntropy, FedSGD
from ..protocol.observation import Observation
from ..values.types import Level, Normalisation, Reconstruction
from ._bench import Bench
from ._definition import Values, identity

Method = Literal[
    "mgia", "mgia as published", "mgia cosine", "no-kd", "splicing", "dlg", "inverting-gradients", "grnn", "fused"
]
Effort = Literal["short", "paper"]
LOOKS = (2, 5, 10, 20, 50)
"""L-BFGS steps after which the image is scored."""
PAIRS: dict[str, MutualInversion] = {
    "mgia": MGIA,
    "mgia as published": replace(MGIA, distillation=Distillation(formula="published")),
    "mgia cosine": replace(MGIA, student=replace(ALONE, objective=Cosine())),
}


class MgiaCase(NamedTuple):
    """One private example and the public facts about its data."""

    data: Described
    batch: MultiModalBatch
    rows: Tensor  # [1, L]


@dataclass(frozen=True)
class MgiaCell:
    """One data set, one attack, one client.

    Args:
        data: Key of `data.described.DESCRIBED`.
        method: The attack.
        client: `distilled` trains the image network with `DistilledCrossEntropy`, as in MGIA's code; `plain` uses
            cross-entropy.
        effort: `paper` runs Inverting Gradients for 4 800 steps and GRNN for 1 000; `short` for a tenth and a fifth.
    """

    data: str
    method: Method
    client: Literal["distilled", "plain"] = "distilled"
    effort: Effort = "short"

    shares: ClassVar[bool] = True  # a phase without a teacher

    @property
    def name(self) -> str:
        """Name of the cell, such as `cifar100, mgia`."""
        return f"{self.data}, {self.method}" + (", plain client" if self.client == "plain" else "")

    def missing(self, bench: Bench) -> str | None:
        """Return which file of the data set is missing in the given folder, or `None`."""
        return missing(self.data, bench.data)

    def measure(self, bench: Bench, seed: int) -> Values:
        """Return the scores of one example: image, sentence and label."""
        return _measured(self, bench.data, seed, bench.keep(f"{identity(self)}-{seed}"))[0]


@dataclass(frozen=True)
class LookCell:
    """The image of a cell's run after a number of steps.

    Args:
        of: The cell.
        step: One of `LOOKS`.
    """

    of: MgiaCell
    step: int

    shares: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Name of the cell, such as `cifar100, mgia after 10 steps`."""
        return f"{self.of.name} after {self.step} steps"

    def missing(self, bench: Bench) -> str | None:
        """Return the same as the cell."""
        return self.of.missing(bench)

    def measure(self, bench: Bench, seed: int) -> Values:
        """Return the PSNR of the iterate, and save its image for the first example."""
        values, looks = _measured(self.of, bench.data, seed, bench.keep(f"{identity(self.of)}-{seed}"))
        if seed == 0 and looks and self.step in looks.pictures:
            bench.show(identity(self), looks.pictures[self.step])
            bench.show(f"{identity(self)}-truth", looks.truth[0])
        return {"apsnr": values.get(f"apsnr after {self.step}")}


class _Looks:
    """The images of a run after some of its steps.

    Args:
        found: A reconstruction with its iterates.
        truth: `[1, C, H, W]`.
        splice: Where the attack's input holds a sentence, too.
    """

    def __init__(self, found: Reconstruction, truth: Tensor, splice: Splice | None = None) -> None:
        self.truth = truth
        self.values: dict[str, float] = {}  # column -> PSNR
        self.pictures: dict[int, Tensor] = {}  # step -> [C, H, W]
        for step, inputs in found.iterates:
            pictures = splice.split(inputs)[0] if splice else inputs
            value = psnr(pictures, truth).item()
            for later in LOOKS:
                if later >= step:  # a run that ends early keeps its last image
                    self.values[f"apsnr after {later}"], self.pictures[later] = value, pictures[0]


Measured = tuple[Mapping[str, float | None], _Looks | None]


@lru_cache(maxsize=4096)
def _measured(cell: MgiaCell, folder: Path | None, seed: int, keep: Path | None = None) -> Measured:
    case = _case(cell.data, folder, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if cell.method in ("splicing", "fused"):
            return _one_network(cell, case, seed, keep)
        return _two_networks(cell, case, folder, seed, keep)


def _case(name: str, folder: Path | None, seed: int) -> MgiaCase:
    data = described(name, folder)
    index = int(torch.randperm(len(data.source), generator=torch.Generator().manual_seed(0))[seed % len(data.source)])
    rows = data.vectors.rows(data.sentences[index]).unsqueeze(0)
    batch = MultiModalBatch(data.source.stack([index]), data.vectors.encode(rows), data.labels[[index]])
    return MgiaCase(data, batch, rows)


def _two_networks(cell: MgiaCell, case: MgiaCase, folder: Path | None, seed: int, keep: Path | None) -> Measured:
    data, (channels, size, _) = case.data, case.data.source.shape
    text = Client(TextCNN(data.classes), normalisation=data.vectors.normalisation)
    image = Client(
        build("lenet", num_classes=data.classes, channels=channels, size=size),
        FedSGD(DistilledCrossEntropy() if cell.client == "distilled" else None),
    )
    seen = MultiModalClient(text, image).share(case.batch, Level.BASIC, seed=seed)
    of_text, of_picture = (beside(keep, kind) if keep else None for kind in ("text", "picture"))
    if cell.method in PAIRS:
        taught = _alone((cell.data, "text", folder, seed), seen[0], keep=of_text)
        pair = PAIRS[cell.method]
        pair = replace(pair, student=replace(pair.student, iterates=LOOKS))
        sentence, picture = pair.learn(seen, taught, seed=attack_seed(seed), keep=of_picture)
        return _measures(case, picture, sentence.inputs, _Looks(picture, case.batch.pictures))
    if cell.method in ("no-kd", "dlg"):  # the same two runs with another label
        taught = _alone((cell.data, "text", folder, seed), seen[0], keep=of_text)
        learnt = _alone((cell.data, cell.client, folder, seed), seen[1], keep=of_picture)
        picture = learnt if cell.method == "dlg" else replace(learnt, labels=NO_KD.fuse(taught, learnt))
        return _measures(case, picture, taught.inputs, _Looks(picture, case.batch.pictures))
    attack, words = _single(cell), None
    if cell.method == "inverting-gradients":  # a sentence has no total variation
        bare = replace(attack, stages=tuple(replace(stage, terms=()) for stage in attack.stages))
        words = bare(seen[0], seed=attack_seed(seed), keep=of_text).inputs
    return _measures(case, attack(seen[1], seed=attack_seed(seed), keep=of_picture), words)


def _one_network(cell: MgiaCell, case: MgiaCase, seed: int, keep: Path | None) -> Measured:
    data, vectors = case.data, case.data.vectors
    splice = Splice(data.source.shape, case.rows.shape[1], vectors.table.shape[1])
    channels, size, _ = splice.shape
    if cell.method == "fused":
        model: nn.Module = FusedNet(data.classes, splice)
    else:
        model = build("lenet", num_classes=data.classes, channels=channels, size=size)
    normalisation = spliced(Normalisation(), vectors.normalisation, splice)
    loss = DistilledCrossEntropy() if cell.client == "distilled" else None
    seen = SplicedClient(Client(model, FedSGD(loss), normalisation=normalisation), splice).share(
        case.batch, Level.BASIC, seed=seed
    )
    found = replace(SPLICING, iterates=LOOKS)(seen, seed=attack_seed(seed), keep=keep)
    pictures, text = splice.split(found.inputs)
    return _measures(case, replace(found, inputs=pictures), text, _Looks(found, case.batch.pictures, splice))


_RUNS: dict[tuple[str, str, Path | None, int], Reconstruction] = {}


def _alone(key: tuple[str, str, Path | None, int], seen: Observation, *, keep: Path | None = None) -> Reconstruction:
    """Return the result of a phase without a teacher, which several attacks share; it runs once per `key`."""
    if key not in _RUNS:
        _RUNS[key] = replace(ALONE, iterates=LOOKS)(seen, seed=attack_seed(key[-1]), keep=keep)
    return _RUNS[key]


def _single(cell: MgiaCell) -> GradientMatching:
    if cell.method == "grnn":
        return GRNN if cell.effort == "paper" else replace(GRNN, stages=(replace(GRNN.stages[0], steps=200),))
    attack = replace(INVERTING_GRADIENTS, labels=IDLG())
    stage = attack.stages[0]
    steps = stage.steps if cell.effort == "paper" else stage.steps // 10
    return replace(attack, stages=(replace(stage, steps=steps, terms=(replace(stage.terms[0], weight=1e-4),)),))


def _measures(case: MgiaCase, picture: Reconstruction, text: Tensor | None, looks: _Looks | None = None) -> Measured:
    """Return all columns; those of the sentence are `None` if the attack reconstructs none."""
    right = None if text is None else (case.data.vectors.decode(text) == case.rows).double()
    columns = {
        "apsnr": psnr(picture.inputs, case.batch.pictures).item(),
        "apsnr_published": published_psnr(picture.inputs, case.batch.pictures).item(),
        "rr_sentence": None if right is None else float(right.min()),
        "rr_token": None if right is None else float(right.mean()),
        "ra": float(torch.equal(picture.labels, case.batch.labels)) if picture.labels is not None else None,
    }
    return {**columns, **(looks.values if looks else {})}, looks
