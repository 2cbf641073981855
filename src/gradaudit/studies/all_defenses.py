"""Every defense at a published strength, under attacks that do not know it and that do."""

from ..client.federation_settings import Federation
from ..protocol.defenses import Defense
from ..protocol.defenses.additive_noise import GaussianNoise, LaplaceNoise
from ..protocol.defenses.censor import Censor
from ..protocol.defenses.clipping import Clip
from ..protocol.defenses.deep_gradient_compression import DeepGradientCompression
from ..protocol.defenses.dp_sgd import DpSgd
from ..protocol.defenses.instahide import InstaHide
from ..protocol.defenses.mixup import MixUp
from ..protocol.defenses.outpost import Outpost
from ..protocol.defenses.partial_sharing import PartialSharing
from ..protocol.defenses.precode import Precode
from ..protocol.defenses.qsgd import Qsgd
from ..protocol.defenses.random_k import RandomK
from ..protocol.defenses.sign_sgd import SignSgd
from ..protocol.defenses.soteria import Soteria
from ..protocol.defenses.sv_defense import SvDefense
from ..protocol.defenses.top_k import TopK
from ..protocol.defenses.uniform_quantisation import UniformQuantisation
from ._defense_cells import TABLES, DefenseCell
from ._definition import Study
from ._sok_cells import gia_o

SHARED = {"fedavg-cnn": ("3.*", "6.*"), "resnet20": ("*conv*", "*bn*")}


def _defenses(network: str) -> dict[str, Defense | None]:
    """Return the rows of the table; the strengths are those of the papers, or of studies that compare them."""
    return {
        "no defense": None,
        "gaussian-noise 1e-3": GaussianNoise(1e-3),
        "laplace-noise 1e-3": LaplaceNoise(1e-3),
        "clip 1": Clip(1.0),
        "clip 0.1 per tensor": Clip(0.1, per="tensor"),
        "clip 1e-3 per value": Clip(1e-3, per="value"),
        "top-k 10 %": TopK(0.1),
        "random-k 10 %": RandomK(0.1),
        "dgc 1 %": DeepGradientCompression(0.01),
        "qsgd 4 bits": Qsgd(4),
        "uniform-quantisation 4 bits": UniformQuantisation(4),
        "uniform-quantisation 1 bit": UniformQuantisation(1),
        "sign": SignSgd(),
        "dp-sgd C 1, noise 0.01": DpSgd(1.0, 0.01, replace_batch_norm=True),
        "dp-sgd C 1, noise 1": DpSgd(1.0, 1.0, replace_batch_norm=True),
        "soteria 60 %": Soteria(0.6),
        "precode": Precode(),
        "mixup 4": MixUp(),
        "instahide 4": InstaHide(),
        "outpost": Outpost(),
        "censor": Censor(),
        "sv-defense 0.9": SvDefense(0.9),
        "partial-sharing": PartialSharing(SHARED[network]),
    }


def _federation(rounds: int) -> Federation:
    return Federation(rounds=rounds, batch_size=8, examples=3200, test_examples=800)


def _cells(rounds: dict[str, int], steps: int, batch_size: int = 2) -> tuple[DefenseCell, ...]:
    return tuple(
        DefenseCell(
            f"{network}, {name}",
            defense,
            gia_o(steps),
            network,
            batch_size,
            federation=None if isinstance(defense, Soteria) else _federation(rounds[network]),
        )
        for network in rounds
        for name, defense in _defenses(network).items()
    )


STUDY = Study(
    name="defenses",
    title="Every defense, and the adversary that knows it",
    paper="each defense's own, as `gradaudit defenses` lists them",
    about="Every defense at a published strength. The attack (Inverting Gradients with total variation of weight 2e-2) "
    "sees one gradient of two images of distinct classes (scale deep: of one image) on an untrained network, once "
    "without and once with knowledge of the defense. Labels are granted to it, and read from the same update beside "
    "it. Accuracy is that of a federation of four clients that uses the defense in every round: FedSGD, minibatches of "
    "8, the server's usual step size, equal rounds.",
    cells={
        "quick": _cells({"fedavg-cnn": 10}, 60),
        "default": _cells({"fedavg-cnn": 60}, 150),
        "deep": _cells({"resnet20": 40}, 400, batch_size=1),
        "paper": _cells({"fedavg-cnn": 2000, "resnet20": 2000}, 4800),
    },
    repeats={"quick": 1, "default": 3, "deep": 3, "paper": 10},
    tables=TABLES,
    caveats=(
        "Adaptive above naive is paired: both attacks face the same update. An interval above 0 says that knowing the "
        "defense helps this attack.",
        "Strengths are absolute, as in the papers, so that the same number is another strength on another network.",
        "The accuracy is that of a short training, far from convergence: it says what a defense costs at equal rounds, "
        "not what a finished training loses.",
        "The attacked client has BatchNorm in evaluation mode, which is easier to attack; the federation trains with "
        "the statistics of its batches. An untrained ResNet-20 in that mode does not normalise: on some seeds its "
        "gradient is zero, and nothing comes back without a defense either.",
        "Under mixup and instahide the score is against the private images, not against their mixture.",
        "Soteria's accuracy is not measured: each update takes one backward pass for each feature of the last layer.",
        "DP-SGD replaces BatchNorm by GroupNorm; its noise multipliers are per round.",
    ),
)
