"""The types that an attack of your own needs, under their module name of release 0.1; `gradaudit` exports them too."""

from .values.types import (
    Batch,
    Knowledge,
    Level,
    Modality,
    Normalisation,
    Reconstruction,
    TextLayout,
    Update,
    UpdateKind,
)

__all__ = [
    "Batch",
    "Knowledge",
    "Level",
    "Modality",
    "Normalisation",
    "Reconstruction",
    "TextLayout",
    "Update",
    "UpdateKind",
]
