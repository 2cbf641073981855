"""The options that all kinds of `gradaudit train` have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SIZE = "Side in pixels to which every image is cropped and resized; by default the images stay as they are."
TrainingData = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DATA",
        help="The public images: an .npz, a folder of images, photographs, SOURCE:PATH for another source of "
        "`gradaudit sources`, such as cifar10:data, or an audit file, whose data: is used.",
    ),
]
WeightFile = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="The file to write, with the ending .safetensors.")
]
Side = Annotated[int | None, typer.Option("--size", help=SIZE)]
StepCount = Annotated[int | None, typer.Option("--steps", help="Number of steps, each on one batch.")]
Minutes = Annotated[
    float | None, typer.Option("--minutes", help="Time of training; 20 by default if no --steps are given.")
]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Images of one step.")]
Mirrored = Annotated[bool, typer.Option("--flip/--no-flip", help="Mirror half of the images of every step.")]
TrainingSeed = Annotated[int, typer.Option("--seed", help="Seed of the weights, the batches and the held-out images.")]
TrainingDevice = Annotated[str, typer.Option("--device", help="Device: cpu, cuda or auto.")]
NetworkWidth = Annotated[
    int, typer.Option("--width", help="Channels of the first feature map; the next have twice as many.")
]
