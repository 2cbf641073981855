"""A realistic client: train-mode BatchNorm, local epochs, minibatches, a trained network and secure aggregation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from ..audit.battery import STANDARD_1, Fit
from ..client.aggregation import SecureAggregation
from ..client.participant import Client
from ..inversion.run.gradient_matching import GradientMatching
from ..protocol.local_training import FedAvg, FedSGD, LocalTraining
from ..values.measures import MEASURES
from ..values.types import Knowledge, Level, Modality
from ._attack_cell import SCORES, SMALLER
from ._bench import Bench
from ._definition import Comparison, Figure, Study, StudyCurve, Table
from ._design_cell import DesignCell

SHARE = {"quick": 0.01, "default": 0.4, "paper": 1.0}  # of the battery's steps
NETWORK = "fedavg-cnn-bn"
PIXELS = {"quick": 8, "default": 16, "paper": None}
IMAGES = {"quick": 2, "default": 32, "paper": 64}  # of each client
MINIBATCH = {"quick": 1, "default": 32, "paper": 32}
CLIENTS = {"quick": 2, "default": 8, "paper": 8}
RECOVERED = MEASURES[Modality.PICTURES].recovered_gain
KNOWN = Level.BASIC | Knowledge.LOCAL_TRAINING
MEMBERS = {member.attack.name: member for member in STANDARD_1.members[Modality.PICTURES]}
LADDER = ("control", "trained", "training mode", "one batch", "two epochs", "realistic")
STEPPED = "inverting-gradients-short"  # the attack of the steps between


@dataclass(frozen=True)
class SummedCell(DesignCell):
    """An attack on the sum of several clients, with the same training, of `batch_size` images in all.

    Args:
        clients: Number of clients, which have equally many images.
    """

    clients: int = 1

    def client(self, bench: Bench, seed: int) -> Client:
        """Return the client, or all of them under secure aggregation."""
        one = super().client(bench, seed)
        if self.clients == 1:
            return one
        sizes = (self.batch_size // self.clients,) * self.clients
        return SecureAggregation(
            one.model, one.training, one.defenses, one.normalisation, model_name=one.model_name, sizes=sizes
        )


def _shorter(attack: GradientMatching, share: float) -> GradientMatching:
    """Return an attack with this share of the steps of every stage, at least one."""
    return replace(attack, stages=tuple(replace(one, steps=max(1, round(share * one.steps))) for one in attack.stages))


def _settings(scale: str) -> dict[str, tuple[LocalTraining, int, int]]:
    """Return the steps from the control to the realistic client: local training, images in all, clients."""
    images, count = IMAGES[scale], CLIENTS[scale]
    one_step, epochs = (
        FedSGD(batch_norm="train"),
        FedAvg(learning_rate=0.01, epochs=2, minibatch_size=MINIBATCH[scale], batch_norm="train", shuffle=True),
    )
    rows = (
        (FedSGD(), 1, 1),
        (FedSGD(), 1, 1),
        (one_step, 1, 1),
        (one_step, images, 1),
        (epochs, images, 1),
        (epochs, images * count, count),
    )
    return dict(zip(LADDER, rows, strict=True))


def _name(attack: str, setting: str) -> str:
    return f"{attack}, {setting}"


def _applies(attack: str, setting: str, training: LocalTraining) -> bool:
    """Return whether a member of the battery is measured in a setting."""
    member = MEMBERS[attack]
    fits = member.fit is Fit.ANY or (member.fit is Fit.SEVERAL_STEPS and not training.single_step)
    return fits and (setting in (LADDER[0], LADDER[-1]) or attack == STEPPED)


def _cells(scale: str) -> tuple[SummedCell, ...]:
    return tuple(
        SummedCell(
            _name(attack, setting),
            _shorter(MEMBERS[attack].attack, SHARE[scale]),  # type: ignore[arg-type]
            NETWORK,
            images,
            trained=setting != LADDER[0],
            labels="uniform",
            knowledge=KNOWN,
            training=training,
            size=PIXELS[scale],
            clients=clients,
        )
        for setting, (training, images, clients) in _settings(scale).items()
        for attack in MEMBERS
        if _applies(attack, setting, training)
    )


def _claims() -> tuple[Comparison, ...]:
    found = []
    for cell in _cells("paper"):
        attack, _, setting = cell.name.partition(", ")
        if setting == LADDER[0]:
            claim = f"{attack}: the control leaks, at least {RECOVERED:g} dB above the mean image"
            found.append(Comparison(claim, cell.name, "", "gain", mark=RECOVERED))
        if setting == LADDER[-1]:
            claim = f"{attack}: the realistic client leaks less than {RECOVERED:g} dB above the mean image"
            found.append(Comparison(claim, cell.name, "", "gain", smaller=True, mark=RECOVERED))
    for before, after in pairwise(LADDER):
        one, other = _name(STEPPED, before), _name(STEPPED, after)
        found.append(Comparison(f"{STEPPED}: {after} leaks less than {before}", one, other, "gain"))
    return tuple(found)


STUDY = Study(
    name="realistic-client",
    title="A realistic client, beside a control that leaks",
    paper="none: what the negative results of the field leave open (Hatamizadeh et al., arXiv:2202.06924; Zhu et al., "
    "arXiv:2409.19301)",
    about="Eight clients train a trained network for two epochs in minibatches of 32 with BatchNorm in training mode, "
    "and the server sees the sum of their updates. Every attack of the standard battery that applies tries it, with "
    "labels that it infers and with full knowledge of the local training. The positive control is one image of one "
    "client, one gradient in evaluation mode of the untrained network; between them, one condition is added at a time.",
    cells={scale: _cells(scale) for scale in SHARE},
    repeats={"quick": 1, "default": 2, "paper": 5},
    tables=(Table("Reconstructed images", SCORES, best="column", smaller=SMALLER),),
    figures=(
        Figure(
            "Gain from the control to the realistic client",
            "conditions added",
            "dB",
            (
                StudyCurve(
                    STEPPED, "gain", tuple((float(n), _name(STEPPED, setting)) for n, setting in enumerate(LADDER))
                ),
            ),
        ),
    ),
    comparisons=_claims(),
    caveats=(
        f"It needs --data with labels, or --weights {NETWORK}=FILE. Without weights the network is trained briefly on "
        "the data.",
        "The network is small, because the control has to leak: of an untrained ResNet-20 the battery recovers nothing "
        "in as many steps (0.6 to 0.8 dB above the mean image), so that nothing could be said of its trained form.",
        "A realistic client from which nothing comes back is judged only as far as the control leaks in the same "
        "number of steps: where the control does not leak, the row says nothing.",
        "Scale quick has 1 % of the battery's steps, images of 8 pixels and two clients with two images. Scale default "
        "has 40 % of the steps, images of 16 pixels and 256 images in all. Scale paper has the whole battery, the "
        "images of the data and 512 images.",
        "The clients' shuffling is not known to the adversary. april-patches is left out, because it is for vision "
        "transformers.",
    ),
)
