"""Labels and counts inferred from one update by every published method (after Ma et al., ICLR 2023, tables 1-5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..audit.attempt import attack_seed
from ..audit.label_audit import MEASURES, METHODS, score_methods
from ..client.participant import Client
from ..protocol.defenses import Defense, describe
from ..protocol.defenses.additive_noise import GaussianNoise
from ..protocol.defenses.top_k import TopK
from ..protocol.local_training import FedAvg, FedSGD, LocalTraining
from ..values.types import Knowledge
from ._bench import Bench
from ._definition import Figure, Study, StudyCurve, Table, Values

Distribution = Literal["uniform", "distinct", "one class", "dirichlet"]
GRANTED = Knowledge.BATCH_SIZE | Knowledge.LOCAL_TRAINING | Knowledge.PUBLIC_DATA


@dataclass(frozen=True)
class LabelCell:
    """One network with one kind of batch and one protocol.

    Args:
        network: Name of a model.
        batch_size: Number of examples in a batch, B.
        distribution: `uniform` draws every label from all classes, `distinct` draws no class twice, `one class` draws
            one class, `dirichlet` draws from class shares with concentration 0.5.
        trained: Whether the network has been trained on the data.
        defense: The client's defense, if any.
        local_steps: Number of local steps; more than one is FedAvg with minibatches of B / local_steps and learning
            rate 0.01.
    """

    network: str
    batch_size: int
    distribution: Distribution = "uniform"
    trained: bool = False
    defense: Defense | None = None
    local_steps: int = 1

    @property
    def name(self) -> str:
        """Name of the cell, such as `resnet18 untrained, B 24, uniform, top-k keep=0.2`."""
        extras = [f"{self.local_steps} local steps"] if self.local_steps > 1 else []
        extras += [describe(self.defense)] if self.defense else []
        state = "trained" if self.trained else "untrained"
        return ", ".join([f"{self.network} {state}", f"B {self.batch_size}", self.distribution, *extras])

    def missing(self, bench: Bench) -> str | None:
        """Return why the cell cannot be measured with this data, or `None`."""
        if self.trained and not bench.can_train(self.network):
            return f"a trained {self.network} needs --data with labels, or --weights {self.network}=FILE"
        if self.distribution == "distinct" and self.batch_size > bench.classes:
            return f"the data has {bench.classes} classes, fewer than {self.batch_size} distinct labels"
        return None

    def measure(self, bench: Bench, seed: int) -> Values:
        """Return the scores of every method on one update; columns are `method.measure`."""
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
    "recall": "Instance recall: fraction of the examples whose label was inferred",
    "counts": "Count accuracy: fraction of the classes whose count is correct",
    "existence": "Class existence accuracy: fraction of the classes correctly found present or absent",
    "error": "Count error: half the L1 distance of the counts, per example; 0 is perfect",
}

STUDY = Study(
    name="label-inference",
    title="Labels and counts from one update",
    paper="iLRG (Ma et al., ICLR 2023), the authors' logs",
    about="Every published method infers the labels from one update. All know the batch size, the local training "
    "settings and forty public images; none knows whether the network is trained, or the defense. A method whose "
    "conditions do not hold says so.",
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
        "The published values are for CIFAR-100 with a hundred classes and LeNet-5; this study uses the classes of the "
        "data and DLG's LeNet. With few classes, a batch contains all of them, so existence is easier and counts are "
        "more informative.",
        "The published ResNet-18 was trained for 10 epochs on all of CIFAR-100, ours for 8 on the available images.",
        "Top-k sparsifies every tensor here, including the ten entries of the head's bias, by which iLRG divides.",
    ),
)
