"""What averaging a gradient discards (Wang, Liang & He, ICLR blog posts 2024): one image, batches, priors, labels."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

from ..attacks.dlg import ATTACK as DLG
from ..inversion.parts.labels.known import KnownLabels
from ..inversion.parts.objectives.cosine import Cosine
from ..inversion.parts.objectives.euclidean import Euclidean
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.optimisers.lbfgs import LBFGS
from ..inversion.parts.part import Stage, Term
from ..inversion.parts.priors.total_variation import TotalVariation
from ..inversion.run.gradient_matching import GradientMatching
from ..values.measures import MEASURES
from ..values.types import Modality
from ._attack_cell import AttackCell
from ._definition import Comparison, Figure, Study, StudyCurve, Table
from ._film_cells import FilmCell, film_steps
from ._rank_cells import TOLERANCES, RankCell

STEPS = {"quick": 6, "default": 60, "paper": 300}
WEIGHTS = (1e-4, 1e-3, 1e-2, 1e-1)
PRIOR = 1e-3
BATCHES = {"quick": (1, 2), "default": (1, 2, 4, 8, 16), "paper": (1, 2, 4, 8, 16)}
PIXELS = {"quick": 8, "default": 16, "paper": 32}
RECOVERED = MEASURES[Modality.PICTURES].recovered_gain  # dB above the mean image, as in an audit
FULL = 0.99  # share of the unknowns from which the rank counts as full
OBJECTIVES = {"L2": Euclidean(), "cosine": Cosine()}
MLP, ONE, ONE_COSINE = "MLP, L2, B 1", "LeNet, L2, B 1", "LeNet, cosine, B 1"
TWO, TWO_L2 = "LeNet, cosine, B 2", "LeNet, L2, B 2"


def _attack(objective: str, steps: int, weight: float = 0.0) -> GradientMatching:
    """Return DLG with known labels, a line search, and total variation of this weight."""
    terms = (Term(TotalVariation(), weight=weight),) if weight else ()
    return _with(
        objective, replace(DLG.stages[0], optimiser=LBFGS(line_search="strong-wolfe"), steps=steps, terms=terms)
    )


def _adam(objective: str, steps: int) -> GradientMatching:
    """Return the same attack by Adam with as many evaluations: a line search stalls at the kinks of ReLU."""
    optimiser = Adam(lr=0.1, milestones=(3 / 8, 5 / 8, 7 / 8))
    return _with(objective, replace(DLG.stages[0], optimiser=optimiser, steps=steps * LBFGS().evaluations))


def _with(objective: str, stage: Stage) -> GradientMatching:
    films = film_steps(stage.steps)
    return replace(DLG, objective=OBJECTIVES[objective], labels=KnownLabels(), stages=(stage,), iterates=films)


def _prior(weight: float, pairs: bool = False) -> str:
    return f"{TWO}, TV {weight:g}{', repeated label' if pairs else ''}"


def _sweep(size: int) -> str:
    return f"LeNet, cosine, TV {PRIOR:g}, B {size}, any labels"


def _recovers(claim: str, cell: str) -> Comparison:
    return Comparison(f"{claim}: at least {RECOVERED:g} dB above the mean image", cell, "", "gain", mark=RECOVERED)


def _fails(claim: str, cell: str) -> Comparison:
    return Comparison(f"{claim}: below {RECOVERED:g} dB above the mean image", cell, "", "gain", True, RECOVERED)


def _cells(scale: str) -> tuple[AttackCell | RankCell, ...]:
    steps = STEPS[scale]

    def film(name: str, objective: str, weight: float = 0.0, **setting: Any) -> FilmCell:
        return FilmCell(name, _attack(objective, steps, weight), **{"network": "lenet", "batch_size": 2, **setting})

    return (
        FilmCell(MLP, _adam("L2", steps), network="mlp-4", batch_size=1),
        film(ONE, "L2", batch_size=1),
        film(ONE_COSINE, "cosine", batch_size=1),
        film(TWO_L2, "L2"),
        film(TWO, "cosine"),
        *(film(_prior(weight), "cosine", weight) for weight in WEIGHTS),
        film(f"{TWO_L2}, repeated label", "L2", labels="pairs"),
        film(f"{TWO}, repeated label", "cosine", labels="pairs"),
        film(_prior(PRIOR, pairs=True), "cosine", PRIOR, labels="pairs"),
        *(
            AttackCell(
                _sweep(size), replace(_attack("cosine", steps, PRIOR), iterates=()), "lenet", size, labels="uniform"
            )
            for size in BATCHES[scale]
        ),
        RankCell("mlp-4", 1, PIXELS[scale]),
        *(RankCell("lenet", size, PIXELS[scale]) for size in BATCHES[scale]),
    )


def _claims() -> tuple[Comparison, ...]:
    """Return the statements of the post, in its order."""
    tv = [_prior(weight) for weight in WEIGHTS]
    rises = list(pairwise(tv))
    return (
        _recovers("L2 recovers one image from an MLP", MLP),
        _recovers("L2 recovers one image from LeNet", ONE),
        _recovers("the cosine recovers one image from LeNet", ONE_COSINE),
        Comparison("LeNet leaves more pixels wrong than the MLP, L2", MLP, ONE, "wrong", smaller=True),
        Comparison("LeNet leaves more pixels wrong than the MLP, cosine", MLP, ONE_COSINE, "wrong", smaller=True),
        _fails("two images without a prior end in failure, cosine", TWO),
        _fails("two images without a prior end in failure, L2", TWO_L2),
        Comparison("two images are worse than one, cosine", ONE_COSINE, TWO, "gain"),
        Comparison("two images are worse than one, L2", ONE, TWO_L2, "gain"),
        *(Comparison(f"total variation {weight:g} helps", _prior(weight), TWO, "psnr") for weight in WEIGHTS),
        *(Comparison(f"faster: {more} above {less}", more, less, "early") for less, more in rises),
        *(Comparison(f"more blurred: {more} below {less}", more, less, "roughness", True) for less, more in rises),
        Comparison("more blurred: the largest weight below the truth", tv[-1], "", "roughness", True, 1.0),
        _fails("the smallest weight leaves nothing recognisable", tv[0]),
        _fails("repeated labels fail with a prior", _prior(PRIOR, pairs=True)),
        _fails("repeated labels fail without a prior", f"{TWO}, repeated label"),
        Comparison("repeated labels are worse than distinct", _prior(PRIOR), _prior(PRIOR, pairs=True), "gain"),
        Comparison("repeated labels are worse, no prior", TWO, f"{TWO}, repeated label", "gain"),
        Comparison("repeated labels are worse, L2, no prior", TWO_L2, f"{TWO_L2}, repeated label", "gain"),
        *_size_claims(),
    )


def _size_claims() -> tuple[Comparison, ...]:
    """Return the statements on the size of the gradient, for the networks of every scale."""
    found = []
    for scale, pixels in PIXELS.items():
        first, *others = BATCHES[scale]
        one, mlp = RankCell("lenet", first, pixels).name, RankCell("mlp-4", 1, pixels).name
        found.append(
            Comparison(
                f"an MLP's gradient determines one image at first order ({pixels} pixels)", mlp, "", "rank", mark=FULL
            )
        )
        found.append(
            Comparison(f"a CNN's gradient discards some of one image ({pixels} pixels)", one, "", "rank", True, FULL)
        )
        found += [
            Comparison(
                f"batch {size} discards more than 1 ({pixels} pixels)",
                one,
                RankCell("lenet", size, pixels).name,
                "rank",
            )
            for size in others
        ]
    sizes = BATCHES["paper"]
    return (
        *found,
        *(Comparison(f"batch {b} is worse than {a}", _sweep(a), _sweep(b), "gain") for a, b in pairwise(sizes)),
    )


def _rank_curves() -> tuple[StudyCurve, ...]:
    """Return one curve for each size of the images and each tolerance."""
    return tuple(
        StudyCurve(
            f"{tolerance:g}, {pixels} pixels",
            column,
            tuple((size, RankCell("lenet", size, pixels).name) for size in BATCHES[scale]),
        )
        for scale, pixels in PIXELS.items()
        for column, tolerance in TOLERANCES.items()
    )


STUDY = Study(
    name="information-discard",
    title="What averaging a gradient discards",
    paper="Understanding gradient inversion attacks from the prior knowledge perspective (Wang, Liang & He, ICLR blog "
    "posts 2024)",
    about="A gradient is an average over the batch and, in a convolution, over the positions of its kernel. The "
    "adversary knows the labels and matches the gradient by L2 or by the cosine: one image on an MLP and on LeNet, two "
    "images without a prior and with total variation of increasing weight, two images of one class, and batches of up "
    "to sixteen. Beside the attacks stands the numerical rank of the derivative of the gradient with respect to the "
    "batch: the share of the directions in which the batch can change that the gradient tells apart.",
    cells={scale: _cells(scale) for scale in STEPS},
    repeats={"quick": 1, "default": 5, "paper": 10},
    tables=(
        Table(
            "Reconstructed images",
            {
                "PSNR, dB": "psnr",
                "gain, dB": "gain",
                "SSIM": "ssim",
                "identified": "identified",
                "wrong pixels": "wrong",
                "PSNR after a tenth, dB": "early",
                "seconds": "seconds",
            },
            best="column",
            smaller=("wrong", "seconds"),
        ),
        Table(
            "Total variation as a multiple of the truth's; the smoothest is bold",
            {"total variation": "roughness"},
            best="column",
            smaller=("roughness",),
        ),
        Table(
            "Rank of the derivative of the gradient, as a share of the unknowns",
            {"tolerance 1e-3": "rank", "tolerance 1e-6": "strict", "entries for each unknown": "room"},
            digits=3,
            best="column",
        ),
    ),
    figures=(
        Figure(
            "Rank of LeNet over the batch size",
            "batch size",
            "share of the unknowns",
            _rank_curves(),
        ),
        Figure(
            "Attack over the batch size",
            "batch size",
            "gain over the mean image, dB",
            (
                StudyCurve(
                    f"cosine, total variation {PRIOR:g}",
                    "gain",
                    tuple((size, _sweep(size)) for size in BATCHES["paper"]),
                ),
            ),
        ),
    ),
    comparisons=_claims(),
    caveats=(
        "The post shows animations and no numbers. Its statements are tested as claims: recovered, failed and "
        f"recognisable are relative to the {RECOVERED:g} dB above the mean image from which an audit counts an image "
        "as recovered; a pixel is wrong if a channel is off by more than a tenth of the range; faster is a higher PSNR "
        "after a tenth of the steps; blurred is less total variation than that of the truth.",
        "The post states no optimiser, learning rate, number of steps, and no sizes of its MLP. Here LeNet is "
        "DLG's and is attacked by L-BFGS with a line search (20 iterations per step). The MLP has three hidden layers "
        "of 256 units with ReLU and is attacked by Adam with as many evaluations. All weights are untrained.",
        "The post takes the MLP's images from Flowers-17 and those of LeNet from CIFAR-10. Here one data set serves "
        "both.",
        "The post says of repeated labels that all current algorithms fail. Here only these attacks try.",
        "Batches with a repeated label hold other images than those with distinct labels, but for the first one, so "
        "that pairs share the network and one image. Labels of the batches of one to sixteen are drawn from all "
        "classes, as a batch of sixteen cannot have distinct ones of ten.",
        "The rank is measured on images averaged to 8 pixels at scale quick, to 16 at default, and at 32 at scale "
        "paper, where sixteen images have three times as many values as LeNet's gradient and the matrix takes several "
        "gigabytes. It is a local statement: full rank says that the gradient changes with every direction of the "
        "batch, not that an attack finds the batch.",
        "Films show the first measurement. A frame is the attack's own iterate after a number of steps; the last one "
        "is its result, the iterate of the lowest objective.",
    ),
)
