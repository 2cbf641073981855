"""Where information is destroyed: attacks on pixels, by an untrained network and by a generator, in and out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..inversion.run.gradient_matching import GradientMatching
from ..protocol.defenses.top_k import TopK
from ..protocol.local_training import FedAvg
from ..values.types import Knowledge
from . import _generator_rows as rows
from ._content_cells import ContentCell
from ._definition import Comparison, Study, Table
from ._sok_cells import RATE, STRANGER

STEPS = {"quick": 8, "default": 200, "paper": None}
CONTENTS = {"in": "cifar10_test.npz", "out": "textures_dtd_96.npz"}
SETTINGS: dict[str, dict[str, Any]] = {
    "intact": {"batch_size": 4},
    "batch 16": {"batch_size": 16, "labels": "uniform"},
    "4 local steps": {"batch_size": 4, "training": FedAvg(learning_rate=RATE, epochs=4)},
    "95 % pruned": {"batch_size": 4, "defense": TopK(0.05)},
}
ATTACKS: dict[str, Callable[[int | None], GradientMatching]] = {
    "Inverting Gradients": rows.pixels,
    "CI-Net": rows.untrained,
    "GI-PIP": rows.gi_pip,
    "GIAS": rows.gias,
    "GIFD": rows.gifd,
    "generator alone": lambda steps: rows.alone(),
}


def _name(attack: str, setting: str, where: str) -> str:
    return f"{attack}, {setting}, {where}"


def _cells(scale: str) -> tuple[ContentCell, ...]:
    network = "resnet18" if scale == "paper" else "fedavg-cnn"
    return tuple(
        ContentCell(
            _name(attack, setting, where),
            rows.filmed(make(STEPS[scale])),
            network,
            content=content,
            knowledge=STRANGER | Knowledge.GENERATOR | Knowledge.PUBLIC_DATA,
            **fields,
        )
        for setting, fields in SETTINGS.items()
        for where, content in CONTENTS.items()
        for attack, make in ATTACKS.items()
    )


def _ahead(claim: str, better: str, worse: str, setting: str, where: str) -> Comparison:
    words = {"in": "in distribution", "out": "out of distribution"}[where]
    return Comparison(
        f"{claim}, {setting}, {words}", _name(better, setting, where), _name(worse, setting, where), "psnr"
    )


STUDY = Study(
    name="generator-attacks",
    title="Priors where information is destroyed",
    paper="GIAS (arXiv:2110.14962), GIFD (arXiv:2308.04699), CI-Net (ICCV 2023), GI-PIP (ICASSP 2024)",
    about="A large batch, local steps that the adversary does not simulate, and pruning leave less in an update. "
    "Inverting Gradients searches among all images, CI-Net among those of an untrained network, GIAS and GIFD among "
    "those of a generator that was trained on CIFAR-10, and GI-PIP near those of an auto-encoder. Private images come "
    "from CIFAR-10 (in distribution) and from textures (out of distribution). Each row stands beside what the "
    "generator gives without the update.",
    cells={scale: _cells(scale) for scale in STEPS},
    repeats={"quick": 1, "default": 3, "paper": 10},
    tables=(
        Table(
            "Reconstructed images, in the distribution of the generator and out of it",
            {
                "PSNR, dB": "psnr",
                "gain over the mean image, dB": "gain",
                "SSIM": "ssim",
                "LPIPS": "lpips",
                "seconds": "seconds",
            },
            best="column",
            smaller=("lpips", "seconds"),
        ),
    ),
    comparisons=(
        *(
            _ahead(f"{better} leaks more than Inverting Gradients", better, "Inverting Gradients", setting, where)
            for better in ("GIAS", "CI-Net")
            for setting in SETTINGS
            for where in CONTENTS
        ),
        *(
            _ahead("GIAS leaks more than its generator alone", "GIAS", "generator alone", setting, where)
            for setting in SETTINGS
            for where in CONTENTS
        ),
    ),
    caveats=(
        rows.NEEDED,
        "--data names a folder with cifar10_test.npz and textures_dtd_96.npz. Every content has ten classes, the label "
        "modulo ten.",
        "Scales quick and default attack an untrained FedAvg CNN with the same number of steps for every attack; scale "
        "paper attacks an untrained ResNet-18 with each paper's own steps. Labels are granted.",
    ),
)
