"""What the studies of the SoK's tables share: the attack, the client's learning rate, and rows for a later attack."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..attacks.inverting_gradients import ATTACK as INVERTING_GRADIENTS
from ..inversion.parts.part import Term
from ..inversion.parts.priors.total_variation import TotalVariation
from ..inversion.run.gradient_matching import GradientMatching
from ..values.errors import AuditError
from ..values.types import Knowledge, Level
from ._attack_cell import AttackCell
from ._bench import Bench
from ._definition import Table, Values

PAPER = "SoK: Gradient Leakage in Federated Learning (Du et al., arXiv:2404.05403)"
RATE = 0.03
STRANGER = Level.BASIC | Knowledge.LABELS
TOLD = STRANGER | Knowledge.LOCAL_TRAINING
TABLES = (
    Table(
        "Pictures recovered",
        {"PSNR, dB": "psnr", "gain over the mean picture, dB": "gain", "SSIM": "ssim", "seconds": "seconds"},
        best="column",
        smaller=("seconds",),
    ),
    Table(
        "LPIPS: CIFAR-10 has 10 classes, CIFAR-100 has 100",
        {"10 classes": "lpips.10", "100 classes": "lpips.100"},
        digits=4,
        best="column",
        smaller=("lpips.10", "lpips.100"),
    ),
)
CAVEATS = (
    "Run it once per data set, with --data cifar10.npz and --data cifar100.npz. LPIPS is not available where its "
    "weights are not, and n/a then stands beside the published figure: compare the trend of SSIM and PSNR over the "
    "rows with that of LPIPS, not a number with a number.",
    "The learning rate, batch size and steps of the paper are not known. Ours: rate 0.03, at which local steps "
    "matter: on the untrained FedAvg CNN and four pictures of CIFAR-10 (two batches) the cosine between update and "
    "gradient is 0.95, 0.82, 0.72 and 0.65 after 2, 4, 6 and 8 steps (0.99 to 0.86 at 0.01; 0.85 to 0.20 at 0.1). "
    "It was not measured on ResNet-18. Labels are distinct and granted.",
    "The paper attacks ResNet-18. Scales quick and default take the untrained FedAvg CNN, which a CPU inverts in a few "
    "hundred steps; scale paper takes an untrained ResNet-18 and the attack's 4 800 steps.",
    "GIA-O is Inverting Gradients with total variation at 2e-2. GIA-L, by a generator, is not built yet; its published "
    "figures stand in rows that are left out.",
)


@dataclass(frozen=True)
class SoKCell(AttackCell):
    """An attack cell that tells LPIPS apart by the number of classes: one table holds the figures of two data sets."""

    def measure(self, bench: Bench, seed: int) -> Values:
        """As of any attack cell, with `lpips.K` for K classes."""
        values = super().measure(bench, seed)
        return {**values, f"lpips.{bench.classes}": values.get("lpips")}


@dataclass(frozen=True)
class NotBuilt:
    """A row of the paper whose attack does not exist here.

    Args:
        name: What the table calls it.
        why: Said where the cell is left out.
    """

    name: str
    why: str = "not built yet: attacks with a generator"

    def missing(self, bench: Bench) -> str | None:
        """Always why."""
        return self.why

    def measure(self, bench: Bench, seed: int) -> Values:
        """Raises `AuditError`."""
        raise AuditError(f"{self.name}: {self.why}.")


def gia_o(steps: int | None) -> GradientMatching:
    """The SoK's optimisation attack, in so many steps or in its own."""
    stage = INVERTING_GRADIENTS.stages[0]
    return replace(
        INVERTING_GRADIENTS,
        stages=(replace(stage, steps=steps or stage.steps, terms=(Term(TotalVariation(), weight=2e-2),)),),
    )
