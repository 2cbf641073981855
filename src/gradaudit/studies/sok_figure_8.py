"""A generator attack in and out of its distribution (Du et al., 2024, RQ3, figure 8)."""

from __future__ import annotations

from ..values.types import Knowledge
from . import _generator_rows as rows
from ._content_cells import ContentCell
from ._definition import Comparison, Study, Table
from ._sok_cells import PAPER, STRANGER

STEPS = {"quick": 8, "default": 400, "paper": None}
CONTENTS = {
    "CIFAR-10 (in distribution)": "cifar10_test.npz",
    "objects (CIFAR-100)": "cifar100_test.npz",
    "textures (DTD)": "textures_dtd_96.npz",
    "styles (PACS)": "pacs_96.npz",
    "flowers": "flowers_128.npz",
    "faces (ORL)": "faces_orl.npz",
}
IN, *OUT = CONTENTS
ATTACKS = {"GIA-O": rows.pixels, "GIA-L": rows.gias, "generator alone": lambda steps: rows.alone()}


def _name(attack: str, content: str) -> str:
    return f"{attack}, {content}"


def _cells(scale: str) -> tuple[ContentCell, ...]:
    return tuple(
        ContentCell(
            _name(attack, content),
            rows.filmed(make(STEPS[scale])),
            "resnet18" if scale == "paper" else "fedavg-cnn",
            content=file,
            knowledge=STRANGER | Knowledge.GENERATOR,
        )
        for content, file in CONTENTS.items()
        for attack, make in ATTACKS.items()
    )


STUDY = Study(
    name="sok-figure-8",
    title="A generator in and out of its distribution",
    paper=PAPER,
    about="GIA-L searches among the images of a generator that was trained on CIFAR-10. Private images come from "
    "CIFAR-10, and from five other distributions. GIA-O knows no distribution.",
    cells={scale: _cells(scale) for scale in STEPS},
    repeats={"quick": 1, "default": 6, "paper": 10},
    tables=(
        Table(
            "Reconstructed images",
            {
                "LPIPS": "lpips",
                "below the LPIPS bar": "recognisable",
                "PSNR, dB": "psnr",
                "gain over the mean image, dB": "gain",
                "SSIM": "ssim",
                "seconds": "seconds",
            },
            best="column",
            smaller=("lpips", "seconds"),
        ),
    ),
    comparisons=(
        *(
            Comparison(
                f"GIA-L leaks more in its distribution than of {content}",
                _name("GIA-L", IN),
                _name("GIA-L", content),
                column,
                smaller=column == "lpips",
            )
            for content in OUT
            for column in ("lpips", "gain")
        ),
        *(
            Comparison(
                f"GIA-O leaks more than GIA-L of {content}", _name("GIA-O", content), _name("GIA-L", content), "gain"
            )
            for content in CONTENTS
        ),
    ),
    caveats=(
        rows.NEEDED,
        "--data names a folder with these files. The paper trains BigGAN on ImageNet and takes places, textures, "
        "objects and styles at 256 px; there are no places here. Batches of four images of 32 px, ten classes for "
        "every content (the label modulo ten), labels granted.",
        "The first claims compare different images, batch by batch in the order of the seeds.",
        "Scales quick and default attack an untrained FedAvg CNN in 400 steps; scale paper an untrained ResNet-18.",
    ),
)
