"""`gradaudit train auto-encoder`: the auto-encoder of GI-PIP."""

from __future__ import annotations

import typer

from .loading import load_attacks
from .training_options import (
    BatchSize,
    Minutes,
    Mirrored,
    NetworkWidth,
    Side,
    StepCount,
    TrainingData,
    TrainingDevice,
    TrainingSeed,
    WeightFile,
)
from .training_run import Request, carry_out


def add_to(group: typer.Typer) -> None:
    """Register the command with its group."""
    group.command("auto-encoder")(auto_encoder)


def auto_encoder(
    data: TrainingData,
    out: WeightFile,
    width: NetworkWidth = 12,
    size: Side = None,
    steps: StepCount = None,
    minutes: Minutes = None,
    batch_size: BatchSize = 64,
    flip: Mirrored = True,
    seed: TrainingSeed = 0,
    device: TrainingDevice = "auto",
) -> None:
    """Train the auto-encoder of GI-PIP, whose error says how unlike its training images an image is.

    Three convolutions (4 x 4, stride 2, ReLU) and back, trained by the mean squared error. The error on held-out images
    is printed: it is the tau that the attack gi-pip takes from the file. FILE.png shows held-out images above their
    reconstructions. The file holds the moving average of the weights in half precision.

    Ctrl-C leaves a usable file without scores; the same command goes on from there. docs/training.md says more.
    """
    load_attacks()
    from ..models.auto_encoders.conv_auto_encoder import ConvAutoEncoder
    from ..models.fitting.auto_encoder_task import auto_encoder_task

    request = Request(data, out, size, steps, minutes, batch_size, flip, seed, device)
    carry_out(
        request,
        lambda channels, side, _: auto_encoder_task("conv-auto-encoder", ConvAutoEncoder(channels, side, width)),
    )
