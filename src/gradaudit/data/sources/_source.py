"""The protocols of a source of private examples, and the source of images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from ...values.types import Modality
from ..image_arrays import PictureSequence, PixelArray, sum_of

# The mean over more images than this, each read from its own file, would take minutes. A sample of 2 000 gives it to
# within 1 / sqrt(2000) = 2 % of the standard deviation of the pixels.
LAZY_LIMIT = 20_000
LAZY_SAMPLE = 2_000
FINGERPRINTED = 1_000


class AnySource(Protocol):
    """A source of private examples of any modality, as an audit needs it."""

    modality: ClassVar[Modality]
    name: str
    description: str
    labels: Tensor | None
    class_names: tuple[str, ...]
    attribution: str

    def __len__(self) -> int:
        """Number of examples."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example as the model takes it; for text, of the longest one."""
        ...

    def fingerprint(self) -> str:
        """Return a SHA-256 that identifies the source."""
        ...


@dataclass(frozen=True, eq=False)
class Source:
    """A source of images, with labels and names if they are known.

    Args:
        name: Name of the source in the audit file.
        description: Where the images come from, in words for the report.
        pictures: N images; `pictures[i]` is `[C, H, W]` float32 in [0, 1], all of one shape.
        labels: `[N]` integers, or targets of another loss, `[N, ...]`, or `None` if the source has none.
        class_names: Name of each class, or empty.
        picture_names: Name of each image, or empty.
        attribution: Credit lines that the licences require.
    """

    modality: ClassVar[Modality] = Modality.PICTURES
    name: str
    description: str
    pictures: PictureSequence
    labels: Tensor | None = None
    class_names: tuple[str, ...] = ()
    picture_names: tuple[str, ...] = ()
    attribution: str = ""

    def __len__(self) -> int:
        return len(self.pictures)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Shape `(C, H, W)` of every image."""
        channels, height, width = self.pictures[0].shape
        return channels, height, width

    def stack(self, indices: Sequence[int]) -> Tensor:
        """Return the images at `indices` as `[len(indices), C, H, W]`."""
        return torch.stack([self.pictures[i] for i in indices]) if len(indices) else torch.empty(0, *self.shape)

    def mean_except(self, indices: Sequence[int]) -> Tensor | None:
        """Return the pixelwise mean of all images except those at `indices`: the control, which knows only the source.

        If more than 20 000 images would have to be read from files, every n-th one is used, at most 2 000.

        Args:
            indices: Images to omit; repetitions count once.

        Returns:
            `[C, H, W]` in [0, 1], or `None` if no image is left.
        """
        counted, total = self._sum
        left_out = sorted(self._numbers(indices).intersection(counted))
        left = len(counted) - len(left_out)
        if left == 0:
            return None
        return ((total - sum_of(self.pictures, left_out, self.shape)) / left).float().clamp(0, 1)

    def distractors(self, indices: Sequence[int], count: int) -> Tensor:
        """Return evenly spaced images outside `indices`: the distractors of the identification rank.

        Args:
            indices: Images to omit.
            count: Number of images, at least 0.

        Returns:
            `[min(count, images left), C, H, W]`.
        """
        left_out = self._numbers(indices)
        others = [i for i in range(len(self)) if i not in left_out]
        count = min(count, len(others))
        return self.stack([others[k * len(others) // count] for k in range(count)])

    def fingerprint(self) -> str:
        """Return the SHA-256 over up to 1 000 evenly spaced images and all labels, which identifies the source."""
        digest = hashlib.sha256(repr((len(self), self.shape)).encode())
        for i in _spaced(len(self), FINGERPRINTED):
            digest.update(self.pictures[i].mul(255).round().to(torch.uint8).numpy().tobytes())
        if self.labels is not None:
            kept = self.labels if self.labels.is_floating_point() else self.labels.to(torch.int64)
            digest.update(kept.numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def _sum(self) -> tuple[range, Tensor]:
        """The indices of the images that enter the mean, and their pixelwise sum."""
        in_memory = isinstance(self.pictures, (PixelArray, list, tuple))
        counted = range(len(self)) if in_memory or len(self) <= LAZY_LIMIT else _spaced(len(self), LAZY_SAMPLE)
        return counted, sum_of(self.pictures, counted, self.shape)

    def _numbers(self, indices: Sequence[int]) -> set[int]:
        return {range(len(self))[i] for i in indices}


def _spaced(length: int, most: int) -> range:
    """Return at most `most` evenly spaced numbers below `length`."""
    return range(0, length, max(1, -(-length // most)))


class SourceOptions(Protocol):
    """The options of a source in the audit file: a frozen dataclass whose fields are the keys."""

    def open(self) -> AnySource:
        """Read the examples and return the source; raise `AuditError` if they cannot be read."""
        ...
