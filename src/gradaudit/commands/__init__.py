"""Commands beyond the audit itself, one module each; each adds itself to the command line."""

import typer

from . import infer_labels as labels
from . import inspect, listings, study


def add_to(app: typer.Typer) -> None:
    """Register them all."""
    for module in (inspect, labels, study, listings):
        module.add_to(app)
