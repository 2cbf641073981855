"""The stage of federated training (Du et al., 2024, figure 10, research question 4)."""

from dataclasses import replace

from ..client.federation_settings import Federation
from ..metrics.gradient_smoothness import SmoothnessEffort
from ..models.small_classifiers import SmallClassifier
from ..protocol.local_training import FedAvg
from ._deep_cells import SOLVERS
from ._definition import Comparison, Figure, Study, StudyCurve, Table
from ._design_cell import leaks_more
from ._smoothness import CAVEAT, TABLE, Explained, correlations
from ._sok_cells import PAPER, STRANGER, gia_o
from ._stage_cell import StageCell

ALL = ("vgg11", "vgg16", "resnet18", "resnet50", "densenet121", "googlenet", "inception_v3")
NETWORKS = {"quick": ("resnet18",), "default": ("vgg11", "resnet18"), "paper": ALL}
ROUNDS = {"quick": (0, 2), "default": (0, 2, 5, 10, 20), "paper": (0, *range(5, 101, 5))}
STEPS = {"quick": 5, "default": 60, "paper": None}
EXPLAINED = {
    "quick": Explained(SmoothnessEffort(points=1, probes=1), steps=1),
    "default": Explained(SmoothnessEffort(points=1, probes=3), steps=2),
    "paper": Explained(),
}
FEDERATION = {
    "quick": Federation(clients=2, batch_size=32, examples=200, test_examples=100),
    "default": Federation(clients=4, batch_size=128, examples=4000, test_examples=500),
    "paper": Federation(clients=10, batch_size=500, examples=8000, test_examples=2000),
}
LOCAL = FedAvg(learning_rate=0.05, minibatch_size=32, momentum=0.9, batch_norm="train", shuffle=True)
SOLVED = "resnet18"  # the network whose layers residual R-GAP solves
SOLVER = f"{SOLVED} by residual R-GAP"


def _name(network: str, rounds: int) -> str:
    return f"{network}, round {rounds}"


def _cells(scale: str) -> tuple[StageCell, ...]:
    found: list[StageCell] = []
    for network in NETWORKS[scale]:
        for rounds in ROUNDS[scale]:
            cell = StageCell(
                _name(network, rounds),
                gia_o(STEPS[scale]),
                batch_size=1,
                knowledge=STRANGER,
                design=SmallClassifier(network),
                size=SmallClassifier(network).size,
                explained=EXPLAINED[scale],
                rounds=rounds,
                federation=FEDERATION[scale],
                local=LOCAL,
            )
            found.append(cell)
            if network == SOLVED:
                found.append(replace(cell, name=_name(SOLVER, rounds), attack=SOLVERS[scale], explained=None))
    return tuple(found)


CELLS = {scale: _cells(scale) for scale in STEPS}


def _measured(network: str) -> dict[int, str]:
    """Return round -> name of the cell of all scales, in order."""
    found = {
        cell.rounds: cell.name for cells in CELLS.values() for cell in cells if cell.name.startswith(f"{network},")
    }
    return dict(sorted(found.items()))


def _curves(column: str) -> tuple[StudyCurve, ...]:
    return tuple(
        StudyCurve(network, column, tuple((float(number), name) for number, name in _measured(network).items()))
        for network in (*ALL, SOLVER)
    )


def _claims() -> tuple[Comparison, ...]:
    """Return, for every network and the last round of each scale, that the leak falls as the network learns."""
    found: list[Comparison] = []
    for network in ALL:
        for last in (ROUNDS["default"][-1], ROUNDS["paper"][-1]):
            start, end = _name(network, 0), _name(network, last)
            for row in (network, SOLVER) if network == SOLVED else (network,):
                claim = f"{row}: leaks more before training than after {last} rounds"
                found += leaks_more(claim, _name(row, 0), _name(row, last))
            found.append(Comparison(f"{network}: has learned after {last} rounds", end, start, "accuracy"))
            for column in ("igsa", "igsa.relative"):
                claim = f"{network}: smoother before training than after {last} rounds"
                found.append(Comparison(claim, start, end, column))
    return tuple(found)


STUDY = Study(
    name="sok-figure-10",
    title="The stage of training",
    paper=PAPER,
    about="Networks of four families are trained from fresh weights by FedAvg. After some rounds the gradient of one "
    "image is attacked on the model of that round, in evaluation mode; accuracy on held-out images and the smoothness "
    "of the gradient are measured on the same model. The adversary knows the label. Of ResNet-18 residual R-GAP, "
    "which the paper does not have, solves the layers.",
    cells=CELLS,
    repeats={"quick": 1, "default": 4, "paper": 5},
    tables=(
        Table(
            "Leak and accuracy",
            {
                "PSNR, dB": "psnr",
                "gain over the mean image, dB": "gain",
                "SSIM": "ssim",
                "LPIPS": "lpips",
                "accuracy": "accuracy",
                "norm of the gradient": "norm",
                "seconds": "seconds",
            },
            digits=3,
            best="column",
            smaller=("lpips", "seconds"),
        ),
        TABLE,
    ),
    figures=(
        Figure("PSNR over the rounds", "round", "dB", _curves("psnr")),
        Figure("Accuracy over the rounds", "round", "accuracy", _curves("accuracy")),
        Figure("IGSA over the rounds", "round", "IGSA", _curves("igsa")),
        Figure("Relative IGSA over the rounds", "round", "IGSA, relative", _curves("igsa.relative")),
    ),
    comparisons=_claims(),
    correlations=tuple(
        one for network in ALL for one in correlations(("psnr",), tuple(_measured(network).values()), network)
    ),
    caveats=(
        "It needs --data with labels, such as cifar10_test.npz. The paper shows curves and no numbers: attacks work in "
        "the early rounds only, fail once the accuracy is stable, and IGSA falls with them.",
        "Scale quick trains ResNet-18 for 2 rounds. Scale default trains VGG-11 and ResNet-18 for 20 short rounds on "
        "4 000 images, far from a stable accuracy, as seven networks take hours on a CPU. Scale paper trains all seven "
        "for 100 rounds; the paper's VGG-19 and ResNet-152 are left out.",
        "The networks are torchvision's. VGGs have one linear layer; Inception-v3 sees images enlarged to 75 pixels. "
        "The strides of the others are made for 224 pixels, so that their first features of 32-pixel images are small.",
        "The attacked image may belong to the training images. The paper states no local training; here clients take "
        "one epoch of SGD with momentum in minibatches of 32.",
        CAVEAT,
    ),
)
