"""The data and networks of a study: labelled images, and networks that are optionally trained on them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import models
from ..data.modalities.images import IMAGENET
from ..data.sources import SOURCES, Source
from ..inversion.attack import Watch
from ..inversion.run.keeper import beside
from ..values.chance import child_seed
from ..values.errors import AuditError
from ..values.files import is_file, png
from ..values.records import content_name
from ..values.types import Batch, Normalisation

PICTURES = "pictures"
HELD_OUT = 200  # images held out from training, for private batches and public data


class Measuring:
    """What the current measurement of a worker reports and writes beside its values."""

    def __init__(self) -> None:
        self.watch: Watch | None = None  # called with the progress of an attack
        self.files: dict[str, bytes] = {}  # path relative to the folder of the run -> image
        self._checkpoint: Path | None = None

    @contextmanager
    def measuring(self, watch: Watch | None, checkpoint: Path | None) -> Iterator[None]:
        """Inside the block, attacks report to `watch` and keep checkpoints beside `checkpoint`."""
        self.watch, self._checkpoint, self.files = watch, checkpoint, {}
        try:
            yield
        finally:
            self.watch = self._checkpoint = None

    def take_over(self, other: Measuring) -> None:
        """Report and write for the measurement that `other` is in."""
        self.watch, self._checkpoint, self.files = other.watch, other._checkpoint, other.files

    def keep(self, name: str) -> Path | None:
        """Return the path for checkpoints of an attack in the current measurement, or `None`."""
        return self._checkpoint and beside(self._checkpoint, name)

    def show(self, name: str, picture: Tensor) -> None:
        """Save an image `[C, H, W]` in [0, 1] with the results of the run."""
        self.files[f"{PICTURES}/{name}.png"] = png(picture)


class Bench(Measuring):
    """The images and networks of one run of a study.

    Args:
        data: An `.npz` file with `images` and `labels`, or `None` for the built-in photographs, whose labels are
            indices, so that no network can be trained on them.
        weights: Network -> file of trained weights, or `torchvision` for its pretrained weights.
        device: Device of networks and private batches.
    """

    def __init__(
        self, data: Path | None = None, weights: dict[str, Path] | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.data, self.device = data and data.resolve(), torch.device(device)
        self.weights = {name: _absolute(path) for name, path in (weights or {}).items()}
        super().__init__()

    def __reduce__(self) -> tuple[Any, ...]:
        """Send the names of the files to another process, which opens them by itself."""
        return Bench, (self.data, self.weights, self.device)

    def open(self) -> Bench:
        """Return itself: files are opened when they are needed."""
        return self

    @property
    def uses_gpu(self) -> bool:
        """Whether the networks are on a GPU."""
        return self.device.type == "cuda"

    @cached_property
    def source(self) -> Source:
        """The data source."""
        return SOURCES["npz"](path=self.data).open() if self.data else SOURCES["photographs"](size=32).open()

    def identity(self) -> dict[str, str]:
        """Return hashes of the data and weights, which all measurements of one table must share."""
        files = {"--data": self.data, **{f"--weights {name}": path for name, path in self.weights.items()}}
        return {option: _content(path) for option, path in files.items() if path is not None}

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the data and the weights."""
        return content_name(self.identity())

    def chance(self, seed: int) -> int:
        """Return the seed of one measurement, which also depends on the data; all other seeds derive from it."""
        return child_seed(seed, "the study", self.source.fingerprint())

    @property
    def labelled(self) -> bool:
        """Whether the images have true labels."""
        return self.source.labels is not None

    @cached_property
    def labels(self) -> Tensor:
        """Labels `[N]`; the index modulo ten if the source has none."""
        found = self.source.labels
        return torch.arange(len(self.source)) % 10 if found is None else found

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return len(self.source.class_names) or int(self.labels.max()) + 1

    @property
    def normalisation(self) -> Normalisation:
        """ImageNet's normalisation for colour images, 0.5 for greyscale images."""
        return Normalisation(*IMAGENET) if self.source.shape[0] == 3 else Normalisation((0.5,), (0.5,))

    def batch(self, labels: Tensor, generator: torch.Generator) -> Batch:
        """Return images outside the training set with these labels, if the data has them, drawn with replacement."""
        return Batch(self.source.stack(self.draw(labels, generator)), labels)

    def draw(self, labels: Tensor, generator: torch.Generator) -> list[int]:
        """Return the indices of such images."""
        private = torch.arange(self.trained_on, len(self.source))
        chosen = []
        for label in labels.tolist():
            fitting = private[self.labels[private] == label] if self.labelled else private
            fitting = fitting if len(fitting) else private
            chosen.append(int(fitting[torch.randint(len(fitting), (1,), generator=generator)]))
        return chosen

    @cached_property
    def public(self) -> Batch:
        """Forty public images with their labels, the number that HFGradInv's label inference uses."""
        step = max(1, self.trained_on // 40)
        indices = (
            list(range(0, self.trained_on, step))[:40] if self.trained_on else list(range(min(40, len(self.source))))
        )
        return Batch(self.source.stack(indices), self.labels[indices])

    @property
    def trained_on(self) -> int:
        """Number of images at the start of labelled data used for training; photographs are all private."""
        return max(0, len(self.source) - max(HELD_OUT, len(self.source) // 5)) if self.labelled else 0

    def network(self, name: str, *, trained: bool, seed: int, size: int | None = None) -> nn.Module:
        """Return a network initialised from `seed`, or a trained one, which is the same for every seed.

        An untrained one may be for images of another `size` in pixels.
        """
        return (self._trained(name) if trained else self._fresh(name, seed, size)).to(self.device)

    def can_train(self, name: str) -> bool:
        """Return whether a trained network is available."""
        return name in self.weights or self.labelled

    def _fresh(self, name: str, seed: int, size: int | None = None) -> nn.Module:
        channels, full, _ = self.source.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return models.build(name, num_classes=self.classes, channels=channels, size=size or full)

    @lru_cache(maxsize=8)  # noqa: B019  (a bench lives as long as its run)
    def _trained(self, name: str) -> nn.Module:
        model = self._fresh(name, 0)
        if str(self.weights.get(name)) == "torchvision":
            model.load_state_dict(models.pretrained_state(name))
        elif name in self.weights:
            models.load_weights(model, self.weights[name])
        elif self.labelled:
            train(model, self.source.stack(range(self.trained_on)), self.labels[: self.trained_on], self.normalisation)
        else:
            raise AuditError(f"{name}: a trained network needs --data with labels, or --weights {name}=FILE.")
        return model.eval()


def _absolute(path: Path) -> Path:
    return path if str(path) == "torchvision" else path.resolve()


def _content(path: Path) -> str:
    """Return a hash of a file, or of the names and sizes in a folder, or the name of anything else."""
    if path.is_dir():
        return f"{path.name}, {content_name(sorted((file.name, file.stat().st_size) for file in path.iterdir()))}"
    if not is_file(path):
        return str(path)
    with path.open("rb") as file:
        return f"{path.name}, sha256 {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


def train(model: nn.Module, pictures: Tensor, labels: Tensor, normalisation: Normalisation, epochs: int = 8) -> None:
    """Train a model in place: Adam 1e-3, minibatches of 64, `epochs` passes, no augmentation.

    Args:
        model: The model.
        pictures: `[N, C, H, W]` in [0, 1].
        labels: `[N]` integers.
        normalisation: Normalisation of the images.
        epochs: Number of passes over the images.
    """
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(pictures), generator=generator).split(64):
            optimiser.zero_grad()
            logits = model(normalisation.apply(pictures[chosen]))
            nn.functional.cross_entropy(logits, labels[chosen]).backward()
            optimiser.step()
    optimiser.zero_grad()
