"""Whether semantic details come back (Du et al., 2024, RQ3, figure 7)."""

from __future__ import annotations

from ..models.generators.trained_generator import Generator
from ..values.types import Knowledge
from . import _generator_rows as rows
from ._content_cells import ContentCell
from ._definition import Comparison, Study, Table
from ._sok_cells import PAPER, STRANGER

STEPS = {"quick": 4, "default": 300, "paper": None}
IMAGENET = Generator("imagenet-dcgan")
ATTACKS = {
    "GIA-O": rows.pixels,
    "CI-Net": rows.untrained,
    "GIA-L": lambda steps: rows.gias(steps, IMAGENET),
}
NETWORKS = {"small CNN": "fedavg-cnn", "ResNet-20": "resnet20"}


def _name(attack: str, network: str) -> str:
    return f"{attack}, {network}"


def _cells(scale: str) -> tuple[ContentCell, ...]:
    return tuple(
        ContentCell(
            _name(attack, network),
            rows.filmed(make(STEPS[scale])),
            model,
            batch_size=1,
            content="imagenet_samples_224.npz",
            size=224 if scale == "paper" else 64,
            knowledge=STRANGER | Knowledge.GENERATOR,
        )
        for network, model in ({"ResNet-18": "resnet18"} if scale == "paper" else NETWORKS).items()
        for attack, make in ATTACKS.items()
    )


STUDY = Study(
    name="sok-figure-7",
    title="Semantic details",
    paper=PAPER,
    about="The paper finds that colours and backgrounds come back, and details such as the hands of a clock or digits "
    "do not. Here the coarse part of an image is its means over 4 x 4 pixels and the fine part is the rest; the gain "
    "of each over the mean image says which of them came back.",
    cells={scale: _cells(scale) for scale in STEPS},
    repeats={"quick": 1, "default": 4, "paper": 20},
    tables=(
        Table(
            "Coarse and fine parts of reconstructed images",
            {
                "coarse gain, dB": "coarse",
                "fine gain, dB": "fine",
                "LPIPS": "lpips",
                "below the LPIPS bar": "recognisable",
                "PSNR, dB": "psnr",
                "seconds": "seconds",
            },
            best="column",
            smaller=("lpips", "seconds"),
        ),
    ),
    comparisons=tuple(
        Comparison(f"{attack} returns {part} parts, {network}", _name(attack, network), "", column, mark=1.0)
        for network in NETWORKS
        for attack in ("GIA-O", "CI-Net")
        for part, column in (("coarse", "coarse"), ("fine", "fine"))
    ),
    caveats=(
        "--data names a folder with imagenet_samples_224.npz. The generator `imagenet-dcgan` is searched for in the "
        "folder that GRADAUDIT_ASSETS names; `gradaudit train generator --data imagenet.npz --size 64` makes one from "
        "images of ImageNet, of which far more than these are needed.",
        "The paper attacks a network with BatchNorm statistics as a prior and uses BigGAN. Here GIA-O has total "
        "variation alone, because the networks are untrained; images have 64 px (224 px at scale paper).",
    ),
)
