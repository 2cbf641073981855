"""Optimise a smaller image and enlarge it: large shapes first, details in a later stage."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge, Modality
from ..part import Candidate, Parametrisation
from .pixels import Pixels


@dataclass(frozen=True)
class Coarse(Parametrisation):
    """Pixels of a smaller image, enlarged bilinearly.

    The variable is `pixels` `[S, B, C, ceil(H / factor), ceil(W / factor)]`, enlarged to `[H, W]`. Bilinear
    interpolation averages, so that pixels inside the box stay inside, and a constant stays constant.

    Args:
        factor: Side of the image over the side of the small image, at least 1.
        box: Whether to clamp to valid pixels, as in `Pixels`.
        init: Distribution of the first candidate, as in `Pixels`, at the small size.
    """

    independent: ClassVar[bool] = True
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    modality: ClassVar[Modality] = Modality.PICTURES
    continues: ClassVar[bool] = True
    interpolation: ClassVar[str] = "bilinear"
    factor: int = 2
    box: bool = True
    init: Literal["normal", "uniform", "grey"] = "normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factor < 1:
            raise AttackFailed(f"{type(self).__name__}: factor must be at least 1. Found {self.factor}.")

    def start(self, seen: Observation, seeds: int, previous: Candidate | None) -> Candidate:
        """Return random small pixels, or local means of the previous stage's images."""
        channels, *size = seen.input_shape
        small = (channels, *(-(-side // self.factor) for side in size))
        pixels = Pixels(self.box, self.init).start(replace(seen, input_shape=small), seeds, None)
        if previous is not None:
            whole = previous.decode().detach()
            means = adaptive_avg_pool2d(whole.flatten(0, 1), small[1:])
            pixels.variables["pixels"] = means.view(*whole.shape[:2], *small)
        return _Enlarged(pixels, tuple(size), self.interpolation)


class _Enlarged(Candidate):
    def __init__(self, small: Candidate, size: tuple[int, ...], mode: str) -> None:
        self.small, self.size, self.mode, self.variables = small, size, mode, small.variables

    def decode(self) -> Tensor:
        small = self.variables["pixels"]
        large = interpolate(small.flatten(0, 1), size=self.size, mode=self.mode, align_corners=False)
        return large.view(*small.shape[:3], *self.size)

    def project(self) -> None:
        self.small.project()
