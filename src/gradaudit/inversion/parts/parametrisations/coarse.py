"""Optimise a smaller picture and show it enlarged: large shapes first, details in a later stage."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from ....client.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge, Modality
from ..part import Candidate, Parametrisation
from .pixels import Pixels


@dataclass(frozen=True)
class Coarse(Parametrisation):
    """One variable, `pixels` `[S, B, C, ceil(H / factor), ceil(W / factor)]`, enlarged bilinearly to `[H, W]`.

    Bilinear interpolation averages, so that what lies in the box stays in it, and a constant stays constant.

    Args:
        factor: Side of the picture over the side of what is optimised, at least 1.
        box: Clamp to valid pixels, as `Pixels`.
        init: First guess, as `Pixels`, at the small size.
    """

    independent: ClassVar[bool] = True
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    modality: ClassVar[Modality] = Modality.PICTURES
    factor: int = 2
    box: bool = True
    init: Literal["normal", "uniform", "grey"] = "normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factor < 1:
            raise AttackFailed(f"Coarse: factor must be at least 1. Found {self.factor}.")

    def start(self, seen: Observation, seeds: int, previous: Candidate | None) -> Candidate:
        """Random small pixels, or local means of what the previous stage decodes to."""
        channels, *size = seen.input_shape
        small = (channels, *(-(-side // self.factor) for side in size))
        pixels = Pixels(self.box, self.init).start(replace(seen, input_shape=small), seeds, None)
        if previous is not None:
            whole = previous.decode().detach()
            means = adaptive_avg_pool2d(whole.flatten(0, 1), small[1:])
            pixels.variables["pixels"] = means.view(*whole.shape[:2], *small)
        return _Enlarged(pixels, tuple(size))


class _Enlarged(Candidate):
    def __init__(self, small: Candidate, size: tuple[int, ...]) -> None:
        self.small, self.size, self.variables = small, size, small.variables

    def decode(self) -> Tensor:
        small = self.variables["pixels"]
        large = interpolate(small.flatten(0, 1), size=self.size, mode="bilinear", align_corners=False)
        return large.view(*small.shape[:3], *self.size)

    def project(self) -> None:
        self.small.project()
