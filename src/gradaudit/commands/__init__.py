"""The commands besides demo, audit and report: one module each, which registers its own command."""

import typer

from . import compare, inspect, listings, merge, study, sweep
from . import infer_labels as labels


def add_to(app: typer.Typer) -> None:
    """Register all of them with `app`."""
    for module in (inspect, labels, study, sweep, compare, merge, listings):
        module.add_to(app)
