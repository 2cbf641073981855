"""Faces in and out of the distribution of a generator of faces (Du et al., 2024, RQ3, figure 6)."""

from __future__ import annotations

from ..models.generators.trained_generator import Generator
from ..values.types import Knowledge
from . import _generator_rows as rows
from ._content_cells import ContentCell
from ._definition import Comparison, Study, Table
from ._sok_cells import PAPER, STRANGER

STEPS = {"quick": 4, "default": 200, "paper": None}
FACES = Generator("face_dcgan64")
CONTENTS = {"of the generator (in distribution)": FACES, "ORL (out of distribution)": "faces_orl.npz"}
IN, OUT = CONTENTS
ATTACKS = {
    "GIA-O": rows.pixels,
    "GIA-L": lambda steps: rows.gias(steps, FACES),
    "generator alone": lambda steps: rows.alone(FACES),
}


def _name(attack: str, content: str) -> str:
    return f"{attack}, faces {content}"


def _cells(scale: str) -> tuple[ContentCell, ...]:
    return tuple(
        ContentCell(
            _name(attack, content),
            rows.filmed(make(STEPS[scale])),
            "resnet18" if scale == "paper" else "fedavg-cnn",
            batch_size=1,
            content=given,
            size=64,
            knowledge=STRANGER | Knowledge.GENERATOR,
        )
        for content, given in CONTENTS.items()
        for attack, make in ATTACKS.items()
    )


STUDY = Study(
    name="sok-figure-6",
    title="Faces in and out of the distribution of a generator",
    paper=PAPER,
    about="GIA-L searches among the images of a generator of faces of 64 px. Private images are other images of that "
    "generator, the best case of an adversary, and photographs of the ORL collection.",
    cells={scale: _cells(scale) for scale in STEPS},
    repeats={"quick": 1, "default": 4, "paper": 20},
    tables=(
        Table(
            "Reconstructed faces",
            {
                "LPIPS": "lpips",
                "below the LPIPS bar": "recognisable",
                "PSNR, dB": "psnr",
                "gain over the mean image, dB": "gain",
                "identified": "identified",
                "seconds": "seconds",
            },
            best="column",
            smaller=("lpips", "seconds"),
        ),
    ),
    comparisons=(
        *(
            Comparison(
                "GIA-L leaks more in its distribution than out of it",
                _name("GIA-L", IN),
                _name("GIA-L", OUT),
                column,
                smaller=column == "lpips",
            )
            for column in ("lpips", "gain")
        ),
        Comparison("GIA-L leaks more than GIA-O in its distribution", _name("GIA-L", IN), _name("GIA-O", IN), "gain"),
        Comparison(
            "GIA-O leaks more than GIA-L out of its distribution", _name("GIA-O", OUT), _name("GIA-L", OUT), "gain"
        ),
    ),
    caveats=(
        "The generator `face_dcgan64` is searched for in the folder that GRADAUDIT_ASSETS names: the DCGAN of the "
        "package gan_face_generate, trained on synthetic faces. It never saw grey images, as those of ORL are.",
        "--data names a folder with faces_orl.npz. The paper shows examples and no averages. One image, ten classes, "
        "labels granted; scales quick and default attack an untrained FedAvg CNN, scale paper an untrained ResNet-18.",
    ),
)
