"""Optimise a small image, enlarged with bicubic interpolation before the model (ROG; Yue et al., 2023)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from .coarse import Coarse


@dataclass(frozen=True)
class Upsampled(Coarse):
    """Pixels of a smaller image, enlarged with bicubic interpolation.

    Reconstruction from Obfuscated Gradient (Yue et al., USENIX Security 2023) searches for u of a sixteenth of the
    unknowns, min_u Σ_l ||∇ℓ(f(Up(u)), y)_l - g_l||², so that noise and compression on g have less to mislead. It is
    `Coarse` with another interpolation. Bicubic interpolation overshoots at edges: the enlarged image may leave the
    box by a few per cent even if u stays in it.

    Args:
        factor: Side of the image over the side of the small image, at least 1.
        box: Whether to clamp u to valid pixels, as in `Pixels`; ROG does not.
        init: Distribution of the first u, as in `Pixels`.
    """

    interpolation: ClassVar[str] = "bicubic"
    factor: int = 4
    box: bool = False
    init: Literal["normal", "uniform", "grey"] = "uniform"
