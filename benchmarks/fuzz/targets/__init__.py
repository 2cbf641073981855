"""The targets of the fuzzer: one file for each kind of input of the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..judge import Input
from ..mutate import Dice
from . import audit_files, options, parts, pictures, rows, runs, tensor_files, user_code

Target = Callable[[Dice, Path], Input]
"""A function that creates the files of one input in its folder, and returns the command line."""

TARGETS: dict[str, Target] = {
    "audit-file": audit_files.make,
    "update": tensor_files.update,
    "weights": tensor_files.weights,
    "npz": pictures.archive,
    "pictures": pictures.folder_of,
    "table": rows.table,
    "text": rows.text,
    "options": options.make,
    "parts": parts.make,
    "results": runs.results,
    "kept": runs.kept,
    "user-code": user_code.make,
}
