"""Inverting Gradients whose reconstruction is denoised afterwards, as in GUIDE (Carletti et al., 2025)."""

from dataclasses import replace

from ..inversion.parts.denoisers.tv_chambolle import TvChambolle
from ..inversion.run.denoised import Denoised
from ._demonstration import Demonstration, shortened
from .inverting_gradients_fast import ATTACK as FAST

ATTACK = Denoised(FAST, TvChambolle(weight=0.05))

# The demonstration's image is noise, which a strong filter would remove.
DEMONSTRATION = Demonstration(replace(ATTACK, attack=shortened(FAST, 5), denoiser=TvChambolle(weight=1e-3)))
