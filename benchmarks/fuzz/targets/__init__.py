"""One file for each kind of thing that a user hands to the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..judge import Input
from ..mutate import Dice
from . import audit_files, tensor_files

Target = Callable[[Dice, Path], Input]
"""Makes the files of one input in its folder, and says the command line."""

TARGETS: dict[str, Target] = {
    "audit-file": audit_files.make,
    "update": tensor_files.update,
    "weights": tensor_files.weights,
}
