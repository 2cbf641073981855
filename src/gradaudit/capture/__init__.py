"""Updates captured from a real federation: files, names, kinds, and what BatchNorm's buffers tell."""

from .kinds import Direction, FileKind
from .names import Parts, fit, fits
from .observe import SHAPES, Captured, Settings, capture, input_shape
from .statistics import Movement, agreed_steps, batch_statistics, movements

__all__ = [
    "SHAPES",
    "Captured",
    "Direction",
    "FileKind",
    "Movement",
    "Parts",
    "Settings",
    "agreed_steps",
    "batch_statistics",
    "capture",
    "fit",
    "fits",
    "input_shape",
    "movements",
]
