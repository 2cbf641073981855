"""What the studies of the SoK's tables share: the attack, the learning rate, and rows that are not implemented."""

from __future__ import annotations

from dataclasses import dataclass

from ..inversion.run.gradient_matching import GradientMatching
from ..values.types import Knowledge, Level
from ._attack_cell import AttackCell
from ._bench import Bench
from ._definition import Table, Values
from ._generator_rows import NEEDED, gias, pixels, unmade

PAPER = "SoK: Gradient Leakage in Federated Learning (Du et al., arXiv:2404.05403)"
RATE = 0.03
STRANGER = Level.BASIC | Knowledge.LABELS
WITH_GENERATOR = STRANGER | Knowledge.GENERATOR
TOLD = STRANGER | Knowledge.LOCAL_TRAINING
TABLES = (
    Table(
        "Reconstructed images",
        {"PSNR, dB": "psnr", "gain over the mean image, dB": "gain", "SSIM": "ssim", "seconds": "seconds"},
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
    "Run it once per data set, with --data cifar10.npz and --data cifar100.npz. Without its weights, LPIPS is n/a "
    "beside the published value. In that case, compare the trends of SSIM and PSNR with that of LPIPS, not single "
    "values.",
    "The paper does not state the learning rate, batch size and number of steps. Here the learning rate is 0.03, at "
    "which local steps matter: on the untrained FedAvg CNN and four images of CIFAR-10 (two batches), the cosine "
    "between update and gradient is 0.95, 0.82, 0.72 and 0.65 after 2, 4, 6 and 8 steps (0.99 to 0.86 at 0.01; 0.85 "
    "to 0.20 at 0.1). It was not measured on ResNet-18. Labels are distinct and granted.",
    "The paper attacks ResNet-18. Scales quick and default use the untrained FedAvg CNN, which a CPU inverts in a few "
    "hundred steps; scale paper uses an untrained ResNet-18 and the attack's 4 800 steps.",
    "GIA-O is Inverting Gradients with total variation of weight 2e-2. GIA-L is GIAS with a DCGAN of CIFAR-10, also "
    "for CIFAR-100: half of the steps for the latent vectors, half for the weights, one restart (all of the paper's at "
    "scale paper).",
    NEEDED,
)


@dataclass(frozen=True)
class SoKCell(AttackCell):
    """An attack cell whose LPIPS column depends on the number of classes: one table has the values of two data sets."""

    def missing(self, bench: Bench) -> str | None:
        """Return why the cell cannot be measured, such as a generator that nobody has trained."""
        return super().missing(bench) or unmade(self.attack, bench.source.shape)

    def measure(self, bench: Bench, seed: int) -> Values:
        """Return the values of an attack cell, with `lpips.K` for K classes."""
        values = super().measure(bench, seed)
        return {**values, f"lpips.{bench.classes}": values.get("lpips")}


def gia_o(steps: int | None) -> GradientMatching:
    """Return the SoK's optimisation attack with `steps` steps, or with its own number if `None`."""
    return pixels(steps)


def gia_l(steps: int | None) -> GradientMatching:
    """Return the SoK's attack with a generator: GIAS with `steps` steps in all, or with its own number if `None`."""
    return gias(steps)


def both(steps: int | None) -> dict[str, GradientMatching]:
    """Return the SoK's two attacks by their names."""
    return {"GIA-O": gia_o(steps), "GIA-L": gia_l(steps)}
