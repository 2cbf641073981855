"""The commands besides demo, audit and report: one module each, which registers its own command.

They are imported when they are registered, so that the pytest plugin beside them loads without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer


def add_to(app: typer.Typer) -> None:
    """Register all of them with `app`."""
    from . import compare, inspect, listings, merge, recoverability, study, sweep, train, version
    from . import infer_labels as labels

    for module in (inspect, labels, recoverability, study, sweep, compare, merge, train, listings, version):
        module.add_to(app)
