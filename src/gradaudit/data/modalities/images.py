"""The handling of images: `[B, C, H, W]` in [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize

from ... import metrics, models
from ...metrics.psnr import PSNR
from ...values.errors import AuditError
from ...values.measures import Compared
from ...values.scores import Scores
from ...values.types import Batch, Modality, Normalisation, Reconstruction
from ..sources._source import Source
from ._handling import CONTROL, Handling, Matched, ModelOptions, require_batch, require_shape

GALLERY = 999  # most distractors in the gallery of an image,
GALLERY_VALUES = 50_000_000  # and most values of all distractors together
SKETCH = 16  # side of the downscaled images that are compared to find duplicates
FLAT = 0.01  # standard deviation below which a downscaled image has no content
SAME = (0.90, 0.995)  # bounds of the correlation from which two images are duplicates
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CHANCE = 3e-6  # share of pairs of public images that may be at least as similar as duplicates


@dataclass(frozen=True)
class ImageHandling(Handling):
    """The handling of images for a model with a given number of channels.

    Args:
        channels: Channels of the model. If the source has another number, grey images are repeated and colour images
            averaged; `None` leaves images as they are.
    """

    modality: ClassVar[Modality] = Modality.PICTURES
    rule: ClassVar[str] = (
        f"An image counts as recovered if its PSNR is at least {PSNR.recovered_gain:.0f} dB above that of the control, "
        "and the ground truth is the nearest of all images in the gallery. Traces: no image is recovered, but the PSNR "
        f"of one is at least {PSNR.trace_gain:.0f} dB above that of the control, or more images are identified than "
        "chance allows (binomial test, 1 %). "
    ) + CONTROL.format(
        noun="image", control="the mean of the source's images outside the batch, mid grey if there are none"
    )
    keys: ClassVar[tuple[str, ...]] = ("channels", "mean", "std", "cifar_stem")
    drawn: ClassVar[bool] = True
    ranked: ClassVar[bool] = True
    channels: int | None = None

    @classmethod
    def of(cls, source: Source, options: ModelOptions) -> tuple[ImageHandling, tuple[int, ...]]:
        """Return the handling of images with the channels of the options, or with those of the source."""
        own = source.shape[0]
        channels = options.channels or own
        if channels not in (1, own) and own != 1:
            raise AuditError(f"model.channels: cannot convert images of {own} channels to {channels} input channels.")
        return cls(channels), (channels, *source.shape[1:])

    def build(
        self, name: str, source: Source, shape: tuple[int, ...], classes: int, options: ModelOptions
    ) -> nn.Module:
        """Return a model of this package, or any torchvision classifier."""
        return models.build(name, num_classes=classes, channels=shape[0], size=shape[1], cifar_stem=options.cifar_stem)

    def normalisation(self, options: ModelOptions, shape: tuple[int, ...]) -> Normalisation:
        """Return the normalisation of the options; by default ImageNet's for colour and 0.5 otherwise."""
        channels = shape[0]
        default = IMAGENET if channels == 3 else ((0.5,) * channels,) * 2
        mean, std = options.mean or default[0], options.std or default[1]
        for key, values in (("mean", mean), ("std", std)):
            if len(values) != channels:
                raise AuditError(f"model.{key}: needs one value per channel, {channels}. Found {len(values)}.")
        return Normalisation(mean, std)

    def unlike(self, truth: Tensor) -> str:
        """Return the two possible reasons for images: they hardly differ, or have a wrong scale."""
        reach = f"their values lie between {float(truth.min()):.4g} and {float(truth.max()):.4g}"
        return f"{super().unlike(truth)}, or were read in a wrong scale ({reach})"

    def check(self, batch: Batch, model: nn.Module, name: str) -> None:
        """Raise `AuditError` if the batch is not `[B, C, H, W]` in [0, 1] with labels."""
        require_batch(batch, 4, "images [B, C, H, W]")
        _check_range(batch.inputs, "batch")

    def check_public(self, public: Tensor, batch: Batch) -> None:
        """Raise `AuditError` if public images differ from the private ones in shape or range."""
        like = batch.inputs
        if public.ndim != 4 or not len(public) or public.shape[1:] != like.shape[1:]:
            wanted = ", ".join(map(str, like.shape[1:]))
            raise AuditError(f"public_data: needs images [N, {wanted}]. Found {list(public.shape)}.")
        _check_range(public, "public_data")

    def gather(self, source: Source, indices: list[int], labels: Tensor) -> Batch:
        """Return the images at `indices`, with these labels."""
        return Batch(self._shown(source.stack(indices)), labels)

    def control(self, source: Source, batch: Batch, indices: list[int]) -> tuple[Tensor, tuple[str, ...]]:
        """Return the pixelwise mean of all other images, `[C, H, W]`, or mid grey if there are none."""
        mean = source.mean_except(indices)
        if mean is not None:
            return self._shown(mean), ()
        grey = torch.full(source.shape, 0.5)
        return self._shown(grey), ("No picture lies outside the batch: the control is mid grey.",)

    def source_of(self, batch: Batch, others: Tensor | None) -> Source:
        """Return a source of the batch's images, followed by `others` `[N, C, H, W]`."""
        return Source("batches", "", [*batch.inputs.cpu(), *(() if others is None else others)])

    def distractors(self, source: Source, indices: list[int]) -> Tensor:
        """Return up to 999 other images, `[N, C, H, W]`."""
        return self._shown(source.distractors(indices, min(GALLERY, GALLERY_VALUES // math.prod(source.shape))))

    def duplicates(self, public: Tensor, batch: Batch) -> Tensor:
        """Return which public images `[N, C, H, W]` are private, perhaps saved again, brightened or resized: `[N]`.

        Images are downscaled to 16 x 16 and compared by their correlation over pixels and channels, which a change of
        brightness or contrast does not affect. Two images are duplicates if their correlation is at least as high as
        that of all but three in a million pairs of public images, bounded by 0.90 and 0.995. An image without content,
        such as a black one, must have the same values. Rates of misses and false alarms: docs/threat-model.md.
        """
        theirs, ours = _sketches(public), _sketches(batch.inputs)
        shapes, truths = _shapes(theirs), _shapes(ours)
        same = shapes @ truths.T >= _alike(shapes)
        shown = (shapes != 0).any(1)
        plain = torch.cdist(theirs, ours, p=math.inf) <= 0.5 / 255
        return torch.where(shown[:, None], same, plain).any(1)

    def match(self, batch: Batch, guess: Reconstruction) -> Matched:
        """Return the assignment of least total squared error."""
        require_shape(batch, guess, "images")
        pictures = guess.inputs.detach().cpu()
        order = metrics.assign(pictures, batch.inputs.cpu())
        return Matched(pictures[order], order)

    def _shown(self, pictures: Tensor) -> Tensor:
        return pictures if self.channels is None else to_channels(pictures, self.channels)


def _sketches(pictures: Tensor) -> Tensor:
    """Return downscaled images, `[N, C * 16 * 16]` float64 on the CPU; images below 16 pixels keep their size."""
    size = [min(SKETCH, side) for side in pictures.shape[-2:]]
    return adaptive_avg_pool2d(pictures.detach().cpu().float(), size).flatten(1).double()


def _shapes(sketches: Tensor) -> Tensor:
    """Return downscaled images without mean, scaled to L2 norm 1; zeros for an image without content."""
    centred = sketches - sketches.mean(1, keepdim=True)
    seen = centred.square().mean(1, keepdim=True).sqrt() >= FLAT
    return torch.where(seen, normalize(centred, dim=1), 0.0)


def _alike(shapes: Tensor) -> float:
    """Return the correlation from which two images are duplicates, from the similarity of public ones `[N, D]`."""
    pairs = (shapes @ shapes.T).triu(1).flatten()
    allowed = int(CHANCE * len(shapes) * (len(shapes) - 1) / 2)
    highest = float(pairs.topk(allowed + 1).values[-1])
    return min(max(highest, SAME[0]), SAME[1])


def score_pictures(truth: Tensor, pictures: Tensor, distractors: Tensor | None = None) -> Scores:
    """Return all metrics of `pictures` against `truth`, both `[B, C, H, W]` in [0, 1] and in the same order."""
    return metrics.scores_of(Modality.PICTURES, Compared(pictures, truth, distractors))


def to_channels(pictures: Tensor, channels: int) -> Tensor:
    """Return `[..., C, H, W]` as `[..., channels, H, W]`: grey is repeated, colour is averaged."""
    if pictures.shape[-3] == channels:
        return pictures
    grey = pictures.mean(-3, keepdim=True)
    return grey.expand(*pictures.shape[:-3], channels, *pictures.shape[-2:]).clone()


def _check_range(pictures: Tensor, at: str) -> None:
    if not pictures.is_floating_point():
        raise AuditError(
            f"{at}: images must be floating point in [0, 1], not {pictures.dtype}. Divide 8-bit images by 255."
        )
    if not torch.isfinite(pictures).all() or pictures.min() < 0 or pictures.max() > 1:
        raise AuditError(f"{at}: images must be finite and in [0, 1]. Divide 8-bit images by 255.")
