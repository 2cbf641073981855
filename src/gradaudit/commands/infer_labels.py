"""`gradaudit labels`: the labels that every method infers from an update, or the list of methods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..values.streams import stdout_kept
from ..values.terminal import echo
from .listings import label_rows, show
from .loading import load_attacks

if TYPE_CHECKING:
    from ..audit.label_audit import MethodResult


def add_to(app: typer.Typer) -> None:
    """Register the command with `app`."""
    app.command("labels")(labels)


def labels(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[AUDIT.YAML]", help="An audit file; its attacks are ignored. Without it, the methods are listed."
        ),
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", metavar="NAME", help="Run only this method (repeatable).")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the file (repeatable).")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document to standard output and nothing else.")
    ] = False,
) -> None:
    """Infer the labels of the client's batches with every method, or list the methods if no file is given.

    No attack runs, so this takes seconds. Recall is the fraction of examples whose label was inferred. Existence and
    counts are the fractions of the classes that are right. Error is half the L1 distance of the counts, per example. A
    method whose conditions do not hold says why instead of guessing.
    """
    if config is None:
        show(("name", "part", "needs", "description"), label_rows())
        return
    load_attacks()
    from ..audit.config import read_config
    from ..audit.label_audit import audit_labels, chosen_methods
    from ..audit.plan import make_plan

    methods = chosen_methods(method)
    with stdout_kept(as_json):
        described = read_config(config, changes or []).model_copy(update={"attacks": ()})
        results = audit_labels(make_plan(described, config.resolve().parent), methods)
    if as_json:
        echo(json.dumps({"methods": [result.to_json() for result in results]}, allow_nan=False))
    else:
        rows = sorted(
            results, key=lambda result: -(sum(result.scores["recall"]) / max(1, len(result.scores["recall"])))
        )
        show(("method", "recall", "counts", "existence", "error", "notes"), (_row(result) for result in rows))


def _row(result: MethodResult) -> tuple[str, ...]:
    if not result.applies:
        return (result.name, "–", "–", "–", "–", result.why_not or "")
    found = result.to_json()
    return (
        result.name,
        *(_cell(found[measure]) for measure in ("recall", "counts", "existence", "error")),
        " ".join(result.notes),
    )


def _cell(value: dict[str, Any]) -> str:
    bounds = "" if value["low"] is None else f" [{value['low']:.2f}, {value['high']:.2f}]"
    return f"{value['mean']:.2f}{bounds}"
