"""`gradaudit train generator`: images like the client's, from a latent vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..values.errors import AuditError
from .loading import load_attacks
from .training_options import (
    BatchSize,
    Minutes,
    Mirrored,
    Side,
    StepCount,
    TrainingData,
    TrainingDevice,
    TrainingSeed,
    WeightFile,
)
from .training_run import Request, carry_out

if TYPE_CHECKING:
    from ..models.fitting.task import Task
    from ..models.generators import GeneratorArchitecture

ArchitectureName = Annotated[str, typer.Option("--architecture", help="Architecture: dcgan or wgan-gp.")]
Conditional = Annotated[
    bool, typer.Option("--conditional", help="Give the generator the class of its image; needs labels.")
]
Width = Annotated[
    int | None,
    typer.Option("--width", help="Channels of the largest feature map; 64 (dcgan) or 128 (wgan-gp) by default."),
]
LatentWidth = Annotated[
    int | None, typer.Option("--latent", help="Width of the latent vector; 100 (dcgan) or 128 (wgan-gp) by default.")
]
LastKernel = Annotated[
    int | None,
    typer.Option(
        "--last",
        help="Kernel of DCGAN's last layer: 1 as in the code of GIAS (by default), or 4 as in PyTorch's tutorial, with "
        "which a step is several times faster.",
    ),
]
Augmented = Annotated[
    bool | None,
    typer.Option(
        "--augment/--no-augment",
        help="Shift and brighten what the critic sees (DiffAugment); by default only for dcgan.",
        show_default=False,
    ),
]


def add_to(group: typer.Typer) -> None:
    """Register the command with its group."""
    group.command("generator")(generator)


def generator(
    data: TrainingData,
    out: WeightFile,
    architecture: ArchitectureName = "dcgan",
    conditional: Conditional = False,
    width: Width = None,
    latent: LatentWidth = None,
    last: LastKernel = None,
    augment: Augmented = None,
    size: Side = None,
    steps: StepCount = None,
    minutes: Minutes = None,
    batch_size: BatchSize = 64,
    flip: Mirrored = True,
    seed: TrainingSeed = 0,
    device: TrainingDevice = "auto",
) -> None:
    """Train a generator of images like the client's, for attacks that search its latent space.

    DCGAN is trained by binary cross-entropy (Adam 2e-4), WGAN-GP by the Wasserstein distance with gradient penalty
    (Adam 3e-4, five steps of the critic for one of the generator); the file holds the moving average of the weights in
    half precision. Two scores on held-out images are printed: their mean squared distance to the nearest sample, beside
    that to the nearest training image, and their PSNR after a search for their latent vectors. Look at the samples
    (FILE.png) before you use the generator. A run of 20 minutes on one core gives rough images of 28 to 32 pixels.

    Ctrl-C leaves a usable file without scores; the same command goes on from there. docs/training.md says more.
    """
    load_attacks()
    from dataclasses import replace

    from ..models.fitting.generator_task import RIVALRIES, Rivalry, generator_task

    kind = _kind(architecture, last)
    sizes = {"width": width, "latent": latent, "last": last}
    given = {key: value for key, value in sizes.items() if value is not None}
    request = Request(data, out, size, steps, minutes, batch_size, flip, seed, device, labelled=conditional)
    rivalry = RIVALRIES.get(architecture, Rivalry())
    if augment is not None:
        rivalry = replace(rivalry, augment=augment)

    def task(channels: int, side: int, classes: int) -> Task:
        return generator_task(architecture, kind(channels=channels, size=side, classes=classes, **given), rivalry)

    carry_out(request, task)


def _kind(architecture: str, last: int | None) -> type[GeneratorArchitecture]:
    """Return the class of an architecture; raise `AuditError` if there is none, or it has no such last layer."""
    from dataclasses import fields

    from ..models.generators import GENERATORS
    from ..values.validation import suggest

    kind = GENERATORS.get(architecture)
    if kind is None:
        raise AuditError(f"--architecture: unknown generator {architecture}{suggest(architecture, GENERATORS)}")
    if last is not None and "last" not in {field.name for field in fields(kind)}:
        raise AuditError(f"--last: {architecture} has no such choice. Leave it out, or take dcgan.")
    return kind
