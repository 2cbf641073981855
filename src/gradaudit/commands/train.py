"""`gradaudit train`: the networks that attacks with a prior need, trained on images that are like the client's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..values.errors import AuditError
from .training_run import Request, carry_out

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
Steps = Annotated[int | None, typer.Option("--steps", help="Number of steps, each on one batch.")]
Minutes = Annotated[
    float | None, typer.Option("--minutes", help="Time of training; 20 by default if no --steps are given.")
]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Images of one step.")]
Mirrored = Annotated[bool, typer.Option("--flip/--no-flip", help="Mirror half of the images of every step.")]
TrainingSeed = Annotated[int, typer.Option("--seed", help="Seed of the weights, the batches and the held-out images.")]
TrainingDevice = Annotated[str, typer.Option("--device", help="Device: cpu, cuda or auto.")]

group = typer.Typer(
    help="Train a network that attacks with a prior need, on public images that are like the client's.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def add_to(app: typer.Typer) -> None:
    """Register the group of commands with `app`."""
    app.add_typer(group, name="train")


@group.command("generator")
def generator(
    data: TrainingData,
    out: WeightFile,
    architecture: Annotated[str, typer.Option(help="Architecture: dcgan or wgan-gp.")] = "dcgan",
    conditional: Annotated[
        bool, typer.Option("--conditional", help="Give the generator the class of its image; needs labels.")
    ] = False,
    width: Annotated[
        int | None, typer.Option(help="Channels of the largest feature map; 64 (dcgan) or 128 (wgan-gp) by default.")
    ] = None,
    latent: Annotated[
        int | None, typer.Option(help="Width of the latent vector; 100 (dcgan) or 128 (wgan-gp) by default.")
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(
            help="Kernel of DCGAN's last layer: 1 as in the code of GIAS (by default), or 4 as in PyTorch's tutorial, "
            "which makes a step several times faster."
        ),
    ] = None,
    augment: Annotated[
        bool,
        typer.Option("--augment/--no-augment", help="Shift and brighten what the critic sees (DiffAugment)."),
    ] = True,
    size: Side = None,
    steps: Steps = None,
    minutes: Minutes = None,
    batch_size: BatchSize = 64,
    flip: Mirrored = True,
    seed: TrainingSeed = 0,
    device: TrainingDevice = "auto",
) -> None:
    """Train a generator of images like the client's, for attacks that search its latent space.

    DCGAN is trained by binary cross-entropy (Adam 2e-4), WGAN-GP by the Wasserstein distance with gradient penalty
    (Adam 1e-4, five steps of the critic for one of the generator); the file holds the moving average of the weights in
    half precision. Two scores on held-out images are printed: their mean squared distance to the nearest sample, beside
    that to the nearest training image, and their PSNR after a search for their latent vectors. Look at the samples
    (FILE.png) before you use the generator. A run of 20 minutes on one core gives rough images of 28 to 32 pixels.

    Ctrl-C leaves a usable file without scores; the same command goes on from there. docs/training.md says more.
    """
    from dataclasses import fields, replace

    from ..models.fitting.generator_task import RIVALRIES, Rivalry, generator_task
    from ..models.generators import GENERATORS
    from ..values.validation import suggest

    kind = GENERATORS.get(architecture)
    if kind is None:
        raise AuditError(f"--architecture: unknown generator {architecture}{suggest(architecture, GENERATORS)}")
    if last is not None and "last" not in {field.name for field in fields(kind)}:
        raise AuditError(f"--last: {architecture} has no such choice. Leave it out, or take dcgan.")
    sizes = {"width": width, "latent": latent, "last": last}
    given = {key: value for key, value in sizes.items() if value is not None}
    request = Request(data, out, size, steps, minutes, batch_size, flip, seed, device, labelled=conditional)
    rivalry = replace(RIVALRIES.get(architecture, Rivalry()), augment=augment)

    def task(channels: int, side: int, classes: int):  # noqa: ANN202  (the package of the type is heavy)
        return generator_task(architecture, kind(channels=channels, size=side, classes=classes, **given), rivalry)

    carry_out(request, task)


@group.command("auto-encoder")
def auto_encoder(
    data: TrainingData,
    out: WeightFile,
    width: Annotated[int, typer.Option(help="Channels of the first feature map; the others have 2 and 4 times.")] = 12,
    size: Side = None,
    steps: Steps = None,
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
    from ..models.auto_encoders.conv_auto_encoder import ConvAutoEncoder
    from ..models.fitting.auto_encoder_task import auto_encoder_task

    request = Request(data, out, size, steps, minutes, batch_size, flip, seed, device)
    carry_out(
        request,
        lambda channels, side, _: auto_encoder_task("conv-auto-encoder", ConvAutoEncoder(channels, side, width)),
    )


@group.command("denoiser")
def denoiser(
    data: TrainingData,
    out: WeightFile,
    width: Annotated[int, typer.Option(help="Channels of the first feature map; the others have 2 and 4 times.")] = 32,
    size: Side = None,
    steps: Steps = None,
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
    from ..models.denoising.noise_unet import NoiseUNet
    from ..models.fitting.denoiser_task import denoiser_task

    request = Request(data, out, size, steps, minutes, batch_size, flip, seed, device)
    carry_out(request, lambda channels, side, _: denoiser_task("noise-unet", NoiseUNet(channels, side, width)))
