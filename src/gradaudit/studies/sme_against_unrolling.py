"""SME, which takes one gradient per step, against attacks that simulate every local step (Zhu et al., 2023)."""

from dataclasses import replace

from ..attacks.agic import ATTACK as AGIC
from ..attacks.dlfa import ATTACK as DLFA
from ..attacks.nl_sme import ATTACK as NL_SME
from ..attacks.sme import ATTACK as SME
from ..client.local_training import FedAvg
from ..inversion.parts.simulations.as_gradient import AsGradient
from ..inversion.parts.simulations.unrolled import Unrolled
from ..inversion.run.gradient_matching import GradientMatching
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
    title="One gradient on the way against every local step",
    paper="Surrogate model extension (Zhu et al., ICML 2023)",
    about="The client trains for several epochs on shuffled minibatches. Attacks above the line of SME take the "
    "update for one gradient at the start; SME and NL-SME for one somewhere on the way, knowing only the number of "
    "pictures and the labels; the others know the local training, not the order, and simulate every step.",
    cells={scale: _cells(scale) for scale in EPOCHS},
    repeats={"quick": 2, "default": 4, "long": 10, "paper": 5},
    tables=(Table("Pictures recovered, and what it takes", SCORES, best="column", smaller=SMALLER),),
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
        "Scale default, and long with more batches: four pictures, minibatches of two, five epochs, ten local steps at "
        "a rate of 0.03, an untrained FedAvg CNN, 150 steps of every attack. Scale paper: fifty pictures, minibatches "
        "of ten, twenty epochs at 0.004, and every attack's own number of steps.",
        "One row knows the order: its client does not shuffle. Seconds are of the processor, on the clock with a GPU.",
        "The published figures could not be read: no table of them is at hand.",
    ),
)
