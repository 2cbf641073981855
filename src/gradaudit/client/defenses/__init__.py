"""Defenses that a client applies to its update before it leaves, one file each."""

from ._defense import Defense, describe
from .additive_noise import GaussianNoise, LaplaceNoise
from .clipping import Clip
from .top_k import TopK

DEFENSES: dict[str, type[Defense]] = {cls.name: cls for cls in (GaussianNoise, LaplaceNoise, TopK, Clip)}

__all__ = ["DEFENSES", "Clip", "Defense", "GaussianNoise", "LaplaceNoise", "TopK", "describe"]
