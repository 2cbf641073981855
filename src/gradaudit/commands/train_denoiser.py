"""`gradaudit train denoiser`: a denoiser that is told the noise level."""

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
    group.command("denoiser")(denoiser)


def denoiser(
    data: TrainingData,
    out: WeightFile,
    width: NetworkWidth = 32,
    size: Side = None,
    steps: StepCount = None,
    minutes: Minutes = None,
    batch_size: BatchSize = 64,
    flip: Mirrored = True,
    seed: TrainingSeed = 0,
    device: TrainingDevice = "auto",
) -> None:
    """Train a denoiser for Gaussian noise of 0.02 to 0.3, for attacks that denoise their candidate on the way.

    A small U-Net with the noise level as an input, trained by the mean squared error. The PSNR of held-out images
    before and after denoising is printed. FILE.png shows noisy images above the denoised ones. The file holds the
    moving average of the weights in half precision.

    Ctrl-C leaves a usable file without scores; the same command goes on from there. docs/training.md says more.
    """
    load_attacks()
    from ..models.denoising.noise_unet import NoiseUNet
    from ..models.fitting.denoiser_task import denoiser_task

    request = Request(data, out, size, steps, minutes, batch_size, flip, seed, device)
    carry_out(request, lambda channels, side, _: denoiser_task("noise-unet", NoiseUNet(channels, side, width)))
