"""A source of private examples, and of pictures in particular."""

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

# A mean over more pictures than this, each read from its own file, would take minutes; 2 000 give it to within
# 1 / sqrt(2000) = 2 % of the pixels' own spread.
LAZY_LIMIT = 20_000
LAZY_SAMPLE = 2_000
FINGERPRINTED = 1_000


class AnySource(Protocol):
    """Examples of any modality: what an audit asks of every source."""

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
        """Of one example as the model takes it; of texts, the longest."""
        ...

    def fingerprint(self) -> str:
        """SHA-256 that tells one source from another."""
        ...


@dataclass(frozen=True, eq=False)
class Source:
    """Pictures, and what is known of them.

    Args:
        name: As in the audit file.
        description: Where they come from, in words for the report.
        pictures: N pictures; `pictures[i]` is `[C, H, W]` float32 in [0, 1], all of one shape.
        labels: `[N]` integers, or targets of another loss, `[N, ...]`, or `None` where the source has none.
        class_names: Name of each class, or empty.
        picture_names: Name of each picture, or empty.
        attribution: Credit lines that the licences ask for.
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
        """`(C, H, W)` of every picture."""
        channels, height, width = self.pictures[0].shape
        return channels, height, width

    def stack(self, indices: Sequence[int]) -> Tensor:
        """The pictures at `indices` as `[len(indices), C, H, W]`."""
        return torch.stack([self.pictures[i] for i in indices]) if len(indices) else torch.empty(0, *self.shape)

    def mean_except(self, indices: Sequence[int]) -> Tensor | None:
        """Pixelwise mean of all pictures but those at `indices`: the control that knows the source, not the batch.

        Where more than 20 000 pictures would have to be read from files, every n-th stands for all, at most 2 000.

        Args:
            indices: Pictures to leave out; repetitions count once.

        Returns:
            `[C, H, W]` in [0, 1], or `None` where no picture is left.
        """
        counted, total = self._sum
        left_out = sorted(self._numbers(indices).intersection(counted))
        left = len(counted) - len(left_out)
        if left == 0:
            return None
        return ((total - sum_of(self.pictures, left_out, self.shape)) / left).float().clamp(0, 1)

    def distractors(self, indices: Sequence[int], count: int) -> Tensor:
        """Evenly spaced pictures outside `indices`: the others of a line-up.

        Args:
            indices: Pictures to leave out.
            count: How many are wanted, at least 0.

        Returns:
            `[min(count, pictures left), C, H, W]`.
        """
        left_out = self._numbers(indices)
        others = [i for i in range(len(self)) if i not in left_out]
        count = min(count, len(others))
        return self.stack([others[k * len(others) // count] for k in range(count)])

    def fingerprint(self) -> str:
        """SHA-256 over up to 1 000 evenly spaced pictures and all labels: tells one source from another."""
        digest = hashlib.sha256(repr((len(self), self.shape)).encode())
        for i in _spaced(len(self), FINGERPRINTED):
            digest.update(self.pictures[i].mul(255).round().to(torch.uint8).numpy().tobytes())
        if self.labels is not None:
            kept = self.labels if self.labels.is_floating_point() else self.labels.to(torch.int64)
            digest.update(kept.numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def _sum(self) -> tuple[range, Tensor]:
        """The numbers of the pictures that enter the mean, and their pixelwise sum."""
        in_memory = isinstance(self.pictures, (PixelArray, list, tuple))
        counted = range(len(self)) if in_memory or len(self) <= LAZY_LIMIT else _spaced(len(self), LAZY_SAMPLE)
        return counted, sum_of(self.pictures, counted, self.shape)

    def _numbers(self, indices: Sequence[int]) -> set[int]:
        return {range(len(self))[i] for i in indices}


def _spaced(length: int, most: int) -> range:
    """At most `most` evenly spaced numbers below `length`."""
    return range(0, length, max(1, -(-length // most)))


class SourceOptions(Protocol):
    """Options of a source in the audit file: a frozen dataclass whose fields are the keys."""

    def open(self) -> AnySource:
        """Read the examples; raises `AuditError` where that cannot be."""
        ...
