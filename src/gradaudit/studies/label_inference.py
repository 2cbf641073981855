"""Labels and counts read off one update by every published method (after Ma et al., ICLR 2023, tables 1-5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..audit.judge import attack_seed
from ..audit.label_audit import MEASURES, METHODS, score_methods
from ..client.defenses import Defense, describe
from ..client.defenses.additive_noise import GaussianNoise
from ..client.defenses.top_k import TopK
from ..client.local_training import FedAvg, FedSGD, LocalTraining
from ..client.participant import Client
from ..values.types import Knowledge
from ._bench import Bench
from ._definition import Figure, Study, StudyCurve, Table, Values

Distribution = Literal["uniform", "distinct", "one class", "dirichlet"]
GRANTED = Knowledge.BATCH_SIZE | Knowledge.LOCAL_TRAINING | Knowledge.PUBLIC_DATA


@dataclass(frozen=True)
class LabelCell:
    """One network, one kind of batch, one protocol.

    Args:
        network: Name of a model.
        batch_size: B.
        distribution: `uniform` draws every label from all classes, `distinct` none twice, `dirichlet` from class
            shares drawn with concentration 0.5.
        trained: Whether the network has been trained on the data.
        defense: Applied to the update.
        local_steps: More than one is FedAvg with minibatches of B / local_steps at a learning rate of 0.01.
    """

    network: str
    batch_size: int
    distribution: Distribution = "uniform"
    trained: bool = False
    defense: Defense | None = None
    local_steps: int = 1

    @property
    def name(self) -> str:
        """Such as `resnet18, B 24, uniform, top-k keep=0.2`."""
        extras = [f"{self.local_steps} local steps"] if self.local_steps > 1 else []
        extras += [describe(self.defense)] if self.defense else []
        state = "trained" if self.trained else "untrained"
        return ", ".join([f"{self.network} {state}", f"B {self.batch_size}", self.distribution, *extras])

    def missing(self, bench: Bench) -> str | None:
        """A trained network needs labelled data or weights; distinct labels need as many classes."""
        if self.trained and not bench.can_train(self.network):
            return f"a trained {self.network} needs --data with labels, or --weights {self.network}=FILE"
        if self.distribution == "distinct" and self.batch_size > bench.classes:
            return f"the data has {bench.classes} classes, fewer than {self.batch_size} distinct labels"
        return None

    def measure(self, bench: Bench, seed: int) -> Values:
        """Every method on one update; columns are `method.measure`."""
        chance = bench.chance(seed)
        generator = torch.Generator().manual_seed(chance)
        batch = bench.batch(self._labels(bench.classes, generator), generator)
        client = Client(
            bench.network(self.network, trained=self.trained, seed=seed),
            training=self._training(),
            defenses=(self.defense,) if self.defense else (),
            normalisation=bench.normalisation,
        )
        seen = client.share(batch, GRANTED, seed=chance, public=bench.public)
        found = score_methods(seen, batch.labels, METHODS, attack_seed(chance))
        return {f"{method}.{measure}": found[method].get(measure) for method in METHODS for measure in MEASURES}

    def _labels(self, classes: int, generator: torch.Generator) -> Tensor:
        if self.distribution == "distinct":
            return torch.randperm(classes, generator=generator)[: self.batch_size]
        shares = torch.ones(classes)
        if self.distribution == "one class":
            shares = torch.nn.functional.one_hot(torch.randint(classes, (), generator=generator), classes).float()
        if self.distribution == "dirichlet":
            shares = torch._standard_gamma(torch.full((classes,), 0.5), generator).clamp_min(1e-6)
        return torch.multinomial(shares, self.batch_size, replacement=True, generator=generator)

    def _training(self) -> LocalTraining:
        if self.local_steps == 1:
            return FedSGD()
        return FedAvg(learning_rate=0.01, minibatch_size=-(-self.batch_size // self.local_steps))


SIZES = (4, 16, 64, 256, 1024)
CURVES = tuple(LabelCell("lenet", size) for size in SIZES)
DEEP = LabelCell("resnet18", 24)
OTHERS = (
    DEEP,
    LabelCell("resnet18", 8, "distinct"),
    LabelCell("resnet18", 24, "one class"),
    LabelCell("resnet18", 24, "dirichlet"),
    LabelCell("vgg11", 24),
    LabelCell("vit-tiny", 24),
    LabelCell("resnet18", 24, defense=GaussianNoise(1e-3)),
    LabelCell("resnet18", 24, defense=GaussianNoise(1e-2)),
    LabelCell("resnet18", 24, defense=TopK(0.2)),
    LabelCell("resnet18", 24, local_steps=4),
    LabelCell("resnet18", 24, trained=True),
    LabelCell("resnet20", 24, trained=True),
    LabelCell("fedavg-cnn", 24, trained=True),
)
QUICK = (CURVES[0], CURVES[2], LabelCell("fedavg-cnn", 24))
SEVERAL = tuple(name for name in METHODS if name not in ("idlg", "soft"))  # those two read single examples
SHOWN = ("bias-counts", "ilrg", "llg", "llg-star", "gradinversion", "hfgradinv", "rlg", "bias-sign")
TITLES = {
    "recall": "Instance recall: share of the examples whose label was read",
    "counts": "Count accuracy: share of the classes whose number was read",
    "existence": "Class existence accuracy: share of the classes told rightly present or absent",
    "error": "Count error: half the L1 distance of the counts, per example; 0 is perfect",
}

STUDY = Study(
    name="label-inference",
    title="Labels and counts from one update",
    paper="iLRG (Ma et al., ICLR 2023), the authors' logs",
    about="Every published method reads the labels of one update. All know the batch size, the local training and "
    "forty public pictures; none knows the network's state or the defense. A method outside its conditions says so.",
    cells={"quick": QUICK, "default": (*CURVES, *OTHERS)},
    repeats={"quick": 2, "default": 5},
    tables=tuple(Table(title, {name: f"{name}.{measure}" for name in SEVERAL}) for measure, title in TITLES.items()),
    figures=(
        Figure(
            "Instance recall over the batch size, untrained LeNet",
            "batch size",
            "recall",
            tuple(
                StudyCurve(name, f"{name}.recall", tuple((cell.batch_size, cell.name) for cell in CURVES))
                for name in SHOWN
            ),
        ),
    ),
    reported={
        CURVES[2].name: {"ilrg.counts": 1.0, "gradinversion.existence": 1.0, "rlg.existence": 1.0},
        CURVES[3].name: {"ilrg.counts": 0.997, "rlg.existence": 0.16},
        CURVES[4].name: {"ilrg.counts": 0.851, "rlg.existence": 0.02},
        DEEP.name: {"ilrg.recall": 1.0, "ilrg.counts": 1.0, "ilrg.existence": 1.0},
        OTHERS[6].name: {"ilrg.recall": 1.0, "ilrg.counts": 1.0},
        OTHERS[7].name: {"ilrg.recall": 0.985, "ilrg.counts": 0.97, "ilrg.existence": 0.98},
        OTHERS[8].name: {"ilrg.recall": 0.90, "ilrg.counts": 0.957},
        OTHERS[10].name: {"ilrg.recall": 0.678, "ilrg.counts": 0.891, "ilrg.existence": 0.921},
    },
    caveats=(
        "The published figures are for CIFAR-100 with its hundred classes and LeNet-5; here the data's own classes and "
        "DLG's LeNet. With few classes a batch holds each of them, so that existence says less and counts more.",
        "The published trained ResNet-18 had 10 epochs on all of CIFAR-100; ours has 8 on the pictures at hand.",
        "Top-k here sparsifies every tensor, the ten entries of the head's bias too; iLRG divides by that bias.",
    ),
)
