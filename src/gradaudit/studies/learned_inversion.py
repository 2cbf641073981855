"""Learning to Invert against gradient matching, without a defense and under three that it is trained with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from ..attacks._inverter_training import TrainedInverter
from ..attacks._simulated_client import SimulatedClient
from ..attacks.inverting_gradients import EXACT as INVERTING_GRADIENTS
from ..attacks.lti import ATTACK as LTI
from ..attacks.lti import LearningToInvert
from ..attacks.lti_inverting_gradients import ATTACK as HYBRID
from ..client.participant import Client
from ..inversion.attack import Attack, Watch
from ..inversion.run.adaptive import Adaptive
from ..inversion.run.gradient_matching import GradientMatching
from ..inversion.run.refusal import attacked
from ..inversion.run.started import Started
from ..models.copying import private_copy
from ..protocol.defenses import Defense
from ..protocol.defenses.additive_noise import GaussianNoise
from ..protocol.defenses.sign_sgd import SignSgd
from ..protocol.defenses.top_k import TopK
from ..protocol.observation import Observation
from ..values.records import content_name
from ..values.types import Knowledge, Level, Modality, Reconstruction
from ._attack_cell import SCORES, AttackCell
from ._bench import Bench
from ._definition import Comparison, Study, Table, Values
from ._hfgradinv_cells import shorter

DEFENSES: dict[str, Defense | None] = {
    "no defense": None,
    "sign": SignSgd(),
    "top-k 1 %": TopK(0.01),
    "gaussian-noise 0.1": GaussianNoise(0.1),
}
LONGER = "eight times the steps"
TOLD = Level.BASIC | Knowledge.LABELS
_TRAINED: dict[str, TrainedInverter] = {}


@dataclass(frozen=True)
class SharedInverter:
    """Learning to Invert with an inverter that this process has trained already (`InversionCell`).

    Args:
        recipe: How it was trained.
        defense: The defense that it was trained with, if any.
    """

    recipe: LearningToInvert
    defense: Defense | None
    name: ClassVar[str] = "lti"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    modality: ClassVar[Modality] = Modality.PICTURES

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Return the images of one update."""
        return self.recipe.invert(attacked(self.name, seen), _TRAINED[repr(self)])


@dataclass(frozen=True)
class InversionCell(AttackCell):
    """One attack under one defense, on one image of the same network, so that an inverter is trained once for all.

    Args:
        inverter: The inverter that the attack uses, if any.
    """

    inverter: SharedInverter | None = None
    shares: ClassVar[bool] = True

    def missing(self, bench: Bench) -> str | None:
        """Return why the cell cannot be measured, or `None`."""
        return super().missing(bench) if bench.labelled else "public images need --data with labels"

    def client(self, bench: Bench, seed: int) -> Client:
        """Return the client, whose network is that of seed 0."""
        return super().client(bench, 0)

    def measure(self, bench: Bench, seed: int) -> Values:
        """Return the scores of one image, and of its inverter the held-out error and the seconds of the training."""
        if self.inverter is None:
            return super().measure(bench, seed)
        trained = self._trained(bench, self.inverter)
        facts = {"held-out error": trained.error, "mean image": trained.control, "training": trained.seconds}
        return {**super().measure(bench, seed), **facts}

    def _trained(self, bench: Bench, inverter: SharedInverter) -> TrainedInverter:
        if repr(inverter) not in _TRAINED:
            client, public = self.client(bench, 0), list(range(bench.trained_on))
            simulated = SimulatedClient(
                private_copy(client.model).eval(), client.training, bench.source.shape, self.batch_size, bench.classes,
                client.normalisation, (inverter.defense,) if inverter.defense else (),
            )  # fmt: skip
            images = bench.source.stack(public).to(bench.device)
            labels = torch.as_tensor(bench.labels[: len(public)]).to(bench.device)
            _TRAINED[repr(inverter)] = inverter.recipe.learn(
                simulated, images, labels, watch=bench.watch, keep=bench.keep(content_name(repr(inverter)))
            )
        return _TRAINED[repr(inverter)]


def _rows(
    name: str,
    defense: Defense | None,
    steps: int,
    recipe: LearningToInvert,
    network: str = "lenet",
    trained: bool = False,
) -> tuple[InversionCell, ...]:
    """Return the attacks under one defense."""
    stage = INVERTING_GRADIENTS.stages[0]
    smooth = replace(INVERTING_GRADIENTS, stages=(replace(stage, terms=HYBRID.stages[0].terms),))
    alone = shorter(smooth, steps)
    inverter, blind = SharedInverter(recipe, defense), SharedInverter(recipe, None)
    hybrid: Attack = Started(_within(HYBRID.attack, steps), inverter)
    attacks: dict[str, tuple[Attack, SharedInverter | None]] = {"Inverting Gradients": (alone, None)}
    if defense is None:
        attacks[f"Inverting Gradients, {LONGER}"] = (shorter(smooth, 8 * steps), None)
        raw = SharedInverter(replace(recipe, standardise=False), None)
        attacks["LTI, features not standardised"] = (raw, raw)
    else:
        longer = Adaptive(shorter(smooth, 8 * steps))
        attacks |= {
            "Inverting Gradients, adaptive": (Adaptive(alone), None),
            f"Inverting Gradients, adaptive, {LONGER}": (longer, None),
            "LTI, untold": (blind, blind),
        }
    attacks["LTI"] = (inverter, inverter)
    attacks["LTI, then matching"] = (hybrid, inverter)
    told = TOLD | Knowledge.DEFENSE if defense is not None else TOLD
    naive = ("Inverting Gradients", "LTI, untold")
    return tuple(
        InversionCell(
            f"{name}, {label}", attack, network, 1, labels="uniform", defense=defense,
            knowledge=TOLD if label in naive else told, inverter=used, trained=trained,
        )
        for label, (attack, used) in attacks.items()
    )  # fmt: skip


def _within(attack: GradientMatching, steps: int) -> GradientMatching:
    return shorter(attack, min(steps, attack.stages[0].steps))


def _cells(steps: int, recipe: LearningToInvert) -> tuple[InversionCell, ...]:
    return tuple(cell for name, defense in DEFENSES.items() for cell in _rows(name, defense, steps, recipe))


def _trained_rows() -> tuple[InversionCell, ...]:
    """Return the attacks on a trained ResNet-20, on images of which it is not sure, so that their gradient is large."""
    rows = _rows("no defense", None, 150, replace(LTI, steps=500), "resnet20", trained=True)
    return tuple(replace(row, pick="unsure") for row in rows if "not standardised" not in row.name)


def _claims() -> tuple[Comparison, ...]:
    found = []
    for name, defense in DEFENSES.items():
        told = "Inverting Gradients" if defense is None else "Inverting Gradients, adaptive"
        found += [
            Comparison(f"{name}: LTI above {told}", f"{name}, LTI", f"{name}, {told}", "gain"),
            Comparison(f"{name}: LTI above {LONGER}", f"{name}, LTI", f"{name}, {told}, {LONGER}", "gain"),
            Comparison(f"{name}: matching after LTI helps", f"{name}, LTI, then matching", f"{name}, LTI", "gain"),
            Comparison(
                f"{name}: LTI as a start helps matching", f"{name}, LTI, then matching", f"{name}, {told}", "gain"
            ),
        ]
    raw = "no defense, LTI, features not standardised"
    return (*found, Comparison("standardised features help LTI", "no defense, LTI", raw, "gain"))


STUDY = Study(
    name="learned-inversion",
    title="Learning to Invert and gradient matching under defenses",
    paper="Learning to Invert (Wu et al., arXiv:2210.10880)",
    about="One image, one gradient of an untrained LeNet, labels granted. LTI trains one network for each defense on "
    "updates of public images that it defends in the same way, and attacks every image with it; untold, it has trained "
    "without the defense. Inverting Gradients has a total variation of weight 0.01 and, adaptive, compares under the "
    "defense. LTI, then matching is the same from LTI's image, with a tenth of the learning rate.",
    cells={
        "quick": _cells(60, replace(LTI, steps=40)),
        "default": _cells(300, replace(LTI, steps=500)),
        "trained": _trained_rows(),
        "paper": _cells(
            4_800, replace(LTI, steps=40_000, minibatch=256, rate=1e-4, width=3_000, hashing=1.0, standardise=False)
        ),
    },
    repeats={"quick": 2, "default": 6, "trained": 6, "paper": 20},
    tables=(
        Table("Reconstructed images", {k: v for k, v in SCORES.items() if k != "label accuracy"}, best="column",
              smaller=("lpips", "seconds")),
        Table(
            "Inverters: mean squared error on held-out public images",
            {"LTI": "held-out error", "mean image": "mean image", "wall-clock seconds of training": "training"},
            digits=4,
            smaller=("held-out error", "mean image", "training"),
        ),
    ),
    comparisons=_claims(),
    caveats=(
        "All images face the same network, so that the intervals are over images, not over networks.",
        "The training images are the first four fifths of the data, the private ones are among the others. The paper "
        "trains on 50 000 images.",
        "The noise is absolute, as in the paper. DLG's LeNet has large weights and a large gradient, so that it is "
        "weaker here than on a LeNet with the usual initialisation.",
        "Scale trained attacks a trained ResNet-20 (--weights resnet20=FILE) without a defense, on the image with the "
        "highest loss of twenty of a class. Its private images may have been among those that it was trained on.",
        "Seconds are those of an attack without the training of the inverter, which is stated beside them.",
    ),
)  # fmt: skip
