"""Post-processing of the update: privacy against utility (Du et al., 2024, figure 15, research question 6)."""

from ..client.federation_settings import Federation
from ..protocol.defenses import Defense
from ..protocol.defenses.additive_noise import GaussianNoise
from ..protocol.defenses.clipping import Clip
from ..protocol.defenses.qsgd import Qsgd
from ..protocol.defenses.top_k import TopK
from ._defense_cells import TABLES, DefenseCell
from ._definition import Comparison, Figure, Study, StudyCurve
from ._generator_rows import NEEDED
from ._sok_cells import PAPER, gia_l, gia_o

PLAIN = "no defense"
FAMILIES: dict[str, tuple[tuple[float, Defense], ...]] = {
    "quantisation, bits": tuple((bits, Qsgd(bits)) for bits in (8, 4, 2, 1)),
    "sparsification, share kept": tuple((keep, TopK(keep)) for keep in (0.5, 0.1, 0.05, 0.01)),
    "clipping, norm": tuple((norm, Clip(norm)) for norm in (1.0, 0.1, 0.01, 0.001)),
    "perturbation, std": tuple((std, GaussianNoise(std)) for std in (1e-4, 1e-3, 1e-2, 1e-1)),
}
ROUNDS = {"quick": 10, "default": 60, "paper": 2000}
STEPS = {"quick": 60, "default": 150, "paper": 4800}


def _name(family: str, strength: float) -> str:
    return f"{family} {strength:g}"


def _with_generator(name: str) -> str:
    return f"GIA-L, {name}"


def _cells(scale: str) -> tuple[DefenseCell, ...]:
    network = "resnet18" if scale == "paper" else "fedavg-cnn"
    federation = Federation(rounds=ROUNDS[scale], batch_size=8, examples=3200, test_examples=800)
    rows: list[tuple[str, Defense | None]] = [(PLAIN, None)]
    rows += [(_name(family, value), one) for family, members in FAMILIES.items() for value, one in members]
    by_pixels = [DefenseCell(name, one, gia_o(STEPS[scale]), network, federation=federation) for name, one in rows]
    by_generator = [DefenseCell(_with_generator(name), one, gia_l(STEPS[scale]), network) for name, one in rows]
    return (*by_pixels, *by_generator)


def _curves(column: str) -> tuple[StudyCurve, ...]:
    """Return one curve for each family, over the number of its strength, the weakest first."""
    return tuple(
        StudyCurve(
            family,
            column,
            ((0, PLAIN), *((place + 1, _name(family, value)) for place, (value, _) in enumerate(members))),
        )
        for family, members in FAMILIES.items()
    )


STUDY = Study(
    name="sok-figure-15",
    title="Post-processing: what it hides, and what it costs",
    paper=PAPER,
    about="Quantisation, sparsification, clipping and perturbation, each at four strengths from weak to strong. GIA-O "
    "attacks one gradient of two images, once without and once with knowledge of the defense, and so does GIA-L in "
    "rows of its own; the federation of four clients uses the defense in every round, and its accuracy is measured at "
    "equal rounds.",
    cells={scale: _cells(scale) for scale in STEPS},
    repeats={"quick": 1, "default": 3, "paper": 10},
    tables=TABLES,
    figures=(
        Figure("Gain of the naive attack", "strength, weak to strong", "dB", _curves("naive.gain")),
        Figure("Gain of the adaptive attack", "strength, weak to strong", "dB", _curves("adaptive.gain")),
        Figure("Accuracy", "strength, weak to strong", "share", _curves("accuracy")),
    ),
    comparisons=(
        *(
            Comparison(
                f"quantisation at 1 bit leaks less than {name}",
                _name("quantisation, bits", 1),
                name,
                column,
                smaller=True,
            )
            for column in ("naive.gain", "adaptive.gain")
            for name in (
                _name("sparsification, share kept", 0.01),
                _name("clipping, norm", 0.001),
                _name("perturbation, std", 1e-2),
            )
        ),
        *(
            Comparison(f"GIA-L leaks more than GIA-O under {name}", _with_generator(name), name, "naive.gain")
            for name in (
                _name("quantisation, bits", 1),
                _name("sparsification, share kept", 0.01),
                _name("perturbation, std", 1e-2),
            )
        ),
        Comparison("quantisation at 4 bits costs accuracy", PLAIN, _name("quantisation, bits", 4), "accuracy"),
        Comparison("clipping to 0.1 costs accuracy", PLAIN, _name("clipping, norm", 0.1), "accuracy"),
        Comparison(
            "clipping to 0.1 protects against GIA-O", _name("clipping, norm", 0.1), PLAIN, "naive.gain", smaller=True
        ),
    ),
    caveats=(
        "The paper states no strengths. It reports that quantisation has the best trade-off, with at most 5 % of "
        "accuracy lost on ResNet-18 and CIFAR-100, and that clipping takes the accuracy from 80 to about 40 % and "
        "hardly protects.",
        "The paper trains ResNet-18 and ResNet-34 to the end. Scales quick and default use the FedAvg CNN and a short "
        "training of FedSGD, so that accuracies compare with each other and not with the paper's.",
        "GIA-L is GIAS with a DCGAN of CIFAR-10, as in the studies of tables I and II.",
        NEEDED,
    ),
)
