"""What the small gradient of a trained network still leaks."""

from dataclasses import replace

from ..attacks.hfgradinv import ATTACK as HFGRADINV
from ..attacks.inverting_gradients import EXACT as INVERTING_GRADIENTS
from ..inversion.parts.objectives.cosine import LayerwiseCosine
from ..inversion.run.gradient_matching import GradientMatching
from ._attack_cell import SCORES, SMALLER, AttackCell
from ._definition import Comparison, Study, Table
from ._hfgradinv_cells import STEPS, shorter


def _less(attack: GradientMatching, factor: float) -> GradientMatching:
    """Return the attack with its prior weights multiplied by `factor`."""
    stage = attack.stages[0]
    terms = tuple(replace(term, weight=factor * term.weight) for term in stage.terms)
    return replace(attack, stages=(replace(stage, terms=terms),))


def _cells(steps: int) -> tuple[AttackCell, ...]:
    ig, hf = (shorter(attack, steps) for attack in (INVERTING_GRADIENTS, HFGRADINV))
    rows = []
    for pick in ("any", "sure", "unsure"):
        rows += [(f"Inverting Gradients, {pick}", ig, {"pick": pick}), (f"HFGradInv, {pick}", hf, {"pick": pick})]
    rows += [
        ("HFGradInv, any, untrained", hf, {"trained": False}),
        ("HFGradInv, unsure, B 1", hf, {"pick": "unsure", "batch_size": 1}),
        ("HFGradInv, unsure, B 8", hf, {"pick": "unsure", "batch_size": 8}),
        ("HFGradInv, unsure, a tenth of the priors", _less(hf, 0.1), {"pick": "unsure"}),
        ("HFGradInv, unsure, ten times the priors", _less(hf, 10.0), {"pick": "unsure"}),
        ("HFGradInv, unsure, hundred times BatchNorm", _more_statistics(hf, 100.0), {"pick": "unsure"}),
        ("Inverting Gradients, unsure, layer by layer", replace(ig, objective=LayerwiseCosine()), {"pick": "unsure"}),
        ("Inverting Gradients, unsure, a tenth of the prior", _less(ig, 0.1), {"pick": "unsure"}),
    ]
    return tuple(AttackCell(name, attack, **{"trained": True, **setting}) for name, attack, setting in rows)  # type: ignore[arg-type]


def _more_statistics(attack: GradientMatching, factor: float) -> GradientMatching:
    stage = attack.stages[0]
    terms = (*stage.terms[:1], replace(stage.terms[1], weight=factor * stage.terms[1].weight))
    return replace(attack, stages=(replace(stage, terms=terms),))


STUDY = Study(
    name="trained-network",
    title="What the gradient of a trained network still leaks",
    paper="none: HFGradInv and Inverting Gradients, which attack trained networks in their papers",
    about="On images that a trained network classifies with confidence, its gradient is almost zero. Of twenty images "
    "of each class, sure is the one with the lowest loss and unsure the one with the highest loss; any is the first.",
    cells={scale: _cells(STEPS[scale]) for scale in ("quick", "default")},
    repeats={"quick": 2, "default": 4},
    tables=(Table("Reconstructed images", {**SCORES, "norm of the gradient": "norm"}, best="column", smaller=SMALLER),),
    comparisons=(
        Comparison("unsure images leak more than any", "HFGradInv, unsure", "HFGradInv, any", "gain"),
        Comparison("any images leak more than sure ones", "HFGradInv, any", "HFGradInv, sure", "gain"),
        Comparison("an untrained network leaks more", "HFGradInv, any, untrained", "HFGradInv, any", "gain"),
        Comparison("ten times the priors help", "HFGradInv, unsure, ten times the priors", "HFGradInv, unsure", "gain"),
        Comparison("a tenth of them helps", "HFGradInv, unsure, a tenth of the priors", "HFGradInv, unsure", "gain"),
        Comparison(
            "more weight on BatchNorm helps", "HFGradInv, unsure, hundred times BatchNorm", "HFGradInv, unsure", "gain"
        ),
        Comparison(
            "a cosine for each layer helps",
            "Inverting Gradients, unsure, layer by layer",
            "Inverting Gradients, unsure",
            "gain",
        ),
    ),
    caveats=(
        "Use --data cifar10_test.npz --weights resnet20=cifar10_resnet20.npz for a network with 91.7 % test accuracy. "
        "With --data alone, the network is trained briefly on that data.",
    ),
)
