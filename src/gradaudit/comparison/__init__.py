"""Results side by side: series of per-batch values, their paired differences, and the union of two folders."""

from .conflicts import Conflict, MergeConflict
from .folders import RunFolder, StudyTrial, open_folder
from .merging import Merged, merge
from .pairing import Paired, SideBySide, pair, side_by_side
from .series import BatchValues, ComparedQuantity, Series, read_series

__all__ = [
    "BatchValues",
    "ComparedQuantity",
    "Conflict",
    "MergeConflict",
    "Merged",
    "Paired",
    "RunFolder",
    "Series",
    "SideBySide",
    "StudyTrial",
    "merge",
    "open_folder",
    "pair",
    "read_series",
    "side_by_side",
]
