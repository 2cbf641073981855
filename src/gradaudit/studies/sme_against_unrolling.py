"""SME, with one gradient per step, compared with attacks that simulate every local step (Zhu et al., 2023)."""

from dataclasses import replace

from ..attacks.agic import ATTACK as AGIC
from ..attacks.dlfa import ATTACK as DLFA
from ..attacks.nl_sme import ATTACK as NL_SME
from ..attacks.sme import ATTACK as SME
from ..inversion.parts.simulations.as_gradient import AsGradient
from ..inversion.parts.simulations.unrolled import Unrolled
from ..inversion.run.gradient_matching import GradientMatching
from ..protocol.local_training import FedAvg
from ._attack_cell import SCORES, SMALLER, AttackCell
from ._definition import Comparison, Study, Table
from ._hfgradinv_cells import shorter
from ._sok_cells import RATE, STRANGER, TOLD, gia_o

STEPS = {"quick": 30, "default": 150, "long": 150}
EPOCHS = {"quick": 3, "default": 5, "long": 5, "paper": 20}
UNROLLED = "Unrolling, an order of its own"
ROWS: dict[str, GradientMatching] = {
    "Update as gradient": replace(gia_o(None), simulation=AsGradient()),
    "AGIC": AGIC,
    "SME": SME,
    "NL-SME": NL_SME,
    UNROLLED: replace(gia_o(None), simulation=Unrolled(order="random")),
    "Unrolling, order known": replace(gia_o(None), simulation=Unrolled()),
    "DLFA": DLFA,
}


def _cells(scale: str) -> tuple[AttackCell, ...]:
    found = []
    for name, attack in ROWS.items():
        size, minibatch, rate = (50, 10, 0.004) if scale == "paper" else (4, 2, RATE)
        training = FedAvg(learning_rate=rate, epochs=EPOCHS[scale], minibatch_size=minibatch)
        found.append(
            AttackCell(
                name,
                attack if scale == "paper" else shorter(attack, STEPS[scale]),
                "fedavg-cnn",
                batch_size=size,
                knowledge=TOLD if attack.needs & ~STRANGER else STRANGER,
                training=replace(training, shuffle=name != "Unrolling, order known"),
                labels="uniform" if scale == "paper" else "distinct",
            )
        )
    return tuple(found)


STUDY = Study(
    name="sme-against-unrolling",
    title="SME compared with simulating every local step",
    paper="Surrogate model extension (Zhu et al., ICML 2023)",
    about="The client trains for several epochs on shuffled minibatches. The attacks above SME treat the update as one "
    "gradient of the initial model. SME and NL-SME treat it as a gradient of a model between the initial and the final "
    "one; they know only the number of images and the labels. The other attacks know the local training settings, but "
    "not the order, and simulate every step.",
    cells={scale: _cells(scale) for scale in EPOCHS},
    repeats={"quick": 2, "default": 4, "long": 10, "paper": 5},
    tables=(Table("Reconstructed images, and their cost", SCORES, best="column", smaller=SMALLER),),
    comparisons=(
        Comparison("SME above the update as a gradient", "SME", "Update as gradient", "psnr"),
        Comparison("SME above the update as a gradient", "SME", "Update as gradient", "ssim"),
        Comparison("SME above unrolling in another order", "SME", UNROLLED, "psnr"),
        Comparison("SME faster than unrolling", "SME", UNROLLED, "seconds", smaller=True),
        Comparison("SME faster than DLFA", "SME", "DLFA", "seconds", smaller=True),
        Comparison("SME above DLFA", "SME", "DLFA", "psnr"),
        Comparison("NL-SME above SME", "NL-SME", "SME", "psnr"),
    ),
    caveats=(
        "Scale default, and long with more batches: four images, minibatches of two, five epochs, ten local steps "
        "with learning rate 0.03, an untrained FedAvg CNN, 150 steps of every attack. Scale paper: fifty images, "
        "minibatches of ten, twenty epochs with learning rate 0.004, and every attack's own number of steps.",
        "In one row the order is known: its client does not shuffle. Times are CPU time, or wall-clock time on a GPU.",
        "The published values were not available.",
    ),
)
