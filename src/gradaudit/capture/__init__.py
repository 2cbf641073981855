"""Updates captured from a real federation: files, names, kinds, signs, and what BatchNorm's buffers reveal."""

from .kinds import Direction, FileKind
from .observe import SHAPES, Captured, Settings, capture, input_shape
from .statistics import Movement, agreed_steps, batch_statistics, movements
from .update_names import UpdateParts, fit, fits

__all__ = [
    "SHAPES",
    "Captured",
    "Direction",
    "FileKind",
    "Movement",
    "Settings",
    "UpdateParts",
    "agreed_steps",
    "batch_statistics",
    "capture",
    "fit",
    "fits",
    "input_shape",
    "movements",
]
