"""What the cells of a study work with: labelled pictures, and networks, trained on them where asked."""

from __future__ import annotations

import hashlib
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import models
from ..data.modalities.images import IMAGENET
from ..data.sources import SOURCES, Source
from ..inversion.run.keeper import forget
from ..values.chance import child_seed
from ..values.errors import AuditError
from ..values.files import is_file, write_picture
from ..values.types import Batch, Normalisation

HELD_OUT = 200  # pictures kept from training, for private batches and public data


class Bench:
    """Pictures and networks of one run of a study.

    Args:
        data: `.npz` with `images` and `labels`, or `None` for the built-in photographs (their labels are indices, and
            nothing can be trained on them).
        weights: Network -> weights file of a trained one, or `torchvision` for its pretrained ones.
        device: Where networks and private batches lie.
    """

    def __init__(
        self, data: Path | None = None, weights: dict[str, Path] | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.data, self.weights, self.device = data, weights or {}, torch.device(device)
        self.unfinished: Path | None = None  # where long attacks are kept while they run
        self._kept: list[Path] = []
        self.pictures: Path | None = None  # where cells put pictures for the page

    @cached_property
    def source(self) -> Source:
        """The pictures."""
        return SOURCES["npz"](path=self.data).open() if self.data else SOURCES["photographs"](size=32).open()

    def identity(self) -> dict[str, str]:
        """What measurements must have in common to stand in one table: data and weights, by their content."""
        files = {"--data": self.data, **{f"--weights {name}": path for name, path in self.weights.items()}}
        return {option: _content(path) for option, path in files.items() if path is not None}

    def keep(self, name: str) -> Path | None:
        """Where a long attack of the measurement in progress is kept while it runs, if anywhere."""
        if self.unfinished is None:
            return None
        self._kept.append(self.unfinished / name)
        return self._kept[-1]

    def forget(self) -> None:
        """The measurement is on the disk: what was kept for it goes."""
        while self._kept:
            forget(self._kept.pop())

    def show(self, name: str, picture: Tensor) -> None:
        """Put a picture `[C, H, W]` in [0, 1] beside the results of the run, if there is one."""
        if self.pictures is not None:
            write_picture(self.pictures / f"{name}.png", picture)

    def chance(self, seed: int) -> int:
        """The seed from which batch, client and attack of one measurement draw theirs; the data enters it."""
        return child_seed(seed, "the study", self.source.fingerprint())

    @property
    def labelled(self) -> bool:
        """Whether the pictures' labels mean anything."""
        return self.source.labels is not None

    @cached_property
    def labels(self) -> Tensor:
        """`[N]`; the index modulo ten where the source has none."""
        found = self.source.labels
        return torch.arange(len(self.source)) % 10 if found is None else found

    @property
    def classes(self) -> int:
        """K."""
        return len(self.source.class_names) or int(self.labels.max()) + 1

    @property
    def normalisation(self) -> Normalisation:
        """ImageNet's, or 0.5 for grey."""
        return Normalisation(*IMAGENET) if self.source.shape[0] == 3 else Normalisation((0.5,), (0.5,))

    def batch(self, labels: Tensor, generator: torch.Generator) -> Batch:
        """Pictures outside the training set with these labels where the data has them, drawn with replacement."""
        return Batch(self.source.stack(self.draw(labels, generator)), labels)

    def draw(self, labels: Tensor, generator: torch.Generator) -> list[int]:
        """The indices of such pictures."""
        private = torch.arange(self.trained_on, len(self.source))
        chosen = []
        for label in labels.tolist():
            fitting = private[self.labels[private] == label] if self.labelled else private
            fitting = fitting if len(fitting) else private
            chosen.append(int(fitting[torch.randint(len(fitting), (1,), generator=generator)]))
        return chosen

    @cached_property
    def public(self) -> Batch:
        """Forty pictures that the adversary may hold, with their labels (as many as HFGradInv's label stage takes)."""
        step = max(1, self.trained_on // 40)
        indices = (
            list(range(0, self.trained_on, step))[:40] if self.trained_on else list(range(min(40, len(self.source))))
        )
        return Batch(self.source.stack(indices), self.labels[indices])

    @property
    def trained_on(self) -> int:
        """The first pictures of labelled data are for training; photographs are all private."""
        return max(0, len(self.source) - max(HELD_OUT, len(self.source) // 5)) if self.labelled else 0

    def network(self, name: str, *, trained: bool, seed: int) -> nn.Module:
        """A network with fresh weights from `seed`, or a trained one (the same for every seed)."""
        return (self._trained(name) if trained else self._fresh(name, seed)).to(self.device)

    def can_train(self, name: str) -> bool:
        """Whether a trained network can be had."""
        return name in self.weights or self.labelled

    def _fresh(self, name: str, seed: int) -> nn.Module:
        channels, size, _ = self.source.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return models.build(name, num_classes=self.classes, channels=channels, size=size)

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


def _content(path: Path) -> str:
    """Tells files by their bytes, and anything else, such as a folder, by its name."""
    if not is_file(path):
        return str(path)
    with path.open("rb") as file:
        return f"{path.name}, sha256 {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


def train(model: nn.Module, pictures: Tensor, labels: Tensor, normalisation: Normalisation, epochs: int = 8) -> None:
    """Plain training in place: Adam 1e-3, minibatches of 64, `epochs` passes, no augmentation.

    Args:
        model: Trained in place.
        pictures: `[N, C, H, W]` in [0, 1].
        labels: `[N]` integers.
        normalisation: Applied to the pictures.
        epochs: Passes.
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
