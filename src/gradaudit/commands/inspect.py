"""`gradaudit inspect`: what a captured update, or an architecture alone, reveals without any attack."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..values.errors import AuditError
from ..values.streams import stdout_kept
from ..values.terminal import echo
from .inspect_batch import GivenBatch, batch_of, determined, levels_of, show_determined
from .inspect_model import (
    ModelRequest,
    Resolved,
    one_thread,
    require_no_data,
    require_no_update,
    resolve,
    shape_of,
)
from .inspect_received import (
    ALARM,
    OtherDigests,
    ReceivedFile,
    check_received,
    check_resolved,
    check_sent,
    digests_of,
)

if TYPE_CHECKING:
    from torch import nn

    from ..capture import Captured, Settings
    from ..client.model_check import ModelCheck
    from ..inspection import Architecture, BatchRisk, Inspection
    from ..values.tensor_files import TensorFile

UPDATE = typer.Argument(
    metavar="UPDATE",
    help="The captured update: .safetensors, .pt, .pth or .npz. Without one, the architecture alone is inspected.",
)
MODEL = typer.Option(
    "--model", metavar="MODEL", help="package.module:function, file.py:function, or a name from `gradaudit models`."
)
WEIGHTS = typer.Option("--weights", help="File with the weights that the server sent to the client.")
KIND = typer.Option(
    "--kind", metavar="KIND", help="Kind of the update: gradient, weight-difference or weights; detected by default."
)
RATE = typer.Option("--learning-rate", help="Learning rate of the client's local training.")
STEPS = typer.Option(
    "--local-steps",
    help="Number of the client's local steps; by default read from BatchNorm's counters, if they were sent.",
)
SHAPE = typer.Option(
    "--input-shape",
    metavar="C,H,W",
    help="Shape of one example; by default, common shapes are tried. Without an update also one number: the tokens of "
    "a text, or the cells of a row.",
)
CLASSES = typer.Option("--num-classes", help="Number of classes; required for a model given by name.")
STEM = typer.Option("--cifar-stem", help="For torchvision's ResNets given by name: use the stem for 32-pixel images.")
MODE = typer.Option("--batch-norm", metavar="MODE", help="Mode of BatchNorm: eval or train; detected by default.")
SIGN = typer.Option(
    "--sign",
    metavar="WAY",
    help="Sign of a weight difference: before-minus-after, or after-minus-before (NVFlare, TensorFlow Federated, "
    "MONAI, FedOpt); by default determined from the last layer, if possible.",
)
SIZE = typer.Option("--batch-size", help="Number of examples in the batch, if known.")
DATA = typer.Option(
    "--data",
    metavar="DATA",
    help="Without an update: a folder of images, an .npz, a .csv of rows or texts, or photographs. Its first "
    "--batch-size examples (by default 8) show which of them leave exactly, and the D-SNR of every layer.",
)
NOISE = typer.Option(
    "--noise",
    metavar="S,S,...",
    help="With --data: bound what the gradient determines about each image at these standard deviations of noise on "
    "its entries, such as 0,1e-3, as `gradaudit recoverability` does; 0 is the rounding error of the numbers.",
)
JSON = typer.Option("--json", help="Print one JSON document to standard output and nothing else.")
OUT = typer.Option("--out", metavar="DIR", help="Write the result as a page, DIR/inspection.html.")


def add_to(app: typer.Typer) -> None:
    """Register the command with `app`."""
    app.command("inspect")(inspect)


def inspect(
    model: Annotated[str, MODEL],
    update: Annotated[Path | None, UPDATE] = None,
    weights: Annotated[Path | None, WEIGHTS] = None,
    kind: Annotated[str | None, KIND] = None,
    batch_size: Annotated[int | None, SIZE] = None,
    learning_rate: Annotated[float | None, RATE] = None,
    local_steps: Annotated[int | None, STEPS] = None,
    input_shape: Annotated[str | None, SHAPE] = None,
    num_classes: Annotated[int | None, CLASSES] = None,
    cifar_stem: Annotated[bool, STEM] = False,
    batch_norm: Annotated[str | None, MODE] = None,
    sign: Annotated[str | None, SIGN] = None,
    data: Annotated[str | None, DATA] = None,
    noise: Annotated[str | None, NOISE] = None,
    received: ReceivedFile = None,
    client_digest: OtherDigests = None,
    out: Annotated[Path | None, OUT] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Inspect a captured update without an attack: its tensors, labels, local steps, recoverable inputs, defenses.

    Without an update, inspect the architecture alone: the equations of every layer, and what its gradient would give
    away exactly. The weights that the server sent are searched for signs of a modified model.

    This takes seconds. The page contains recovered examples; the terminal output and the JSON do not. Exit code 0: the
    update or the model was read, whatever it leaks, and also if that cannot be judged, as the first line then says. 1:
    a detector of modified models raises an alarm. 2: an error, in one line.
    """
    asked = ModelRequest(model, weights, input_shape, num_classes, cifar_stem, batch_size, data)
    if update is None:
        require_no_update(kind, learning_rate, local_steps, batch_norm, sign, out)
        _without_update(asked, received, noise, client_digest, as_json)
        return
    require_no_data(data, noise, received, client_digest)
    from ..capture import Settings

    settings = Settings(
        kind=_kind(kind),
        batch_size=batch_size,
        learning_rate=learning_rate,
        local_steps=local_steps,
        input_shape=_shape(input_shape),
        batch_norm=_mode(batch_norm),
        sign=_sign(sign),
    )
    _one_update(update, asked, settings, out, as_json)


def _one_update(update: Path, asked: ModelRequest, settings: Settings, out: Path | None, as_json: bool) -> None:
    """Print what an update reveals, and write its page if a folder is given."""
    with stdout_kept(as_json):
        captured, found = _look(update, asked, settings)
        page = _page(out, found, captured)
    if as_json:
        echo(json.dumps(found.to_json(), allow_nan=False))
    else:
        from ..report.inspection_screen import show

        show(found)
        if page is not None:
            echo(f"Page: {page.resolve()}")
    _exit(found.received)


def _exit(found: ModelCheck | None) -> None:
    """End with exit code 1 if a detector raises an alarm."""
    if found is not None and found.alarms:
        raise typer.Exit(ALARM)


def _look(update: Path, asked: ModelRequest, settings: Settings) -> tuple[Captured, Inspection]:
    from ..capture import capture
    from ..capture.opening import open_update
    from ..inspection import inspect as look
    from ..models import load_weights

    opened = open_update(update, asked.weights)
    network = _build(asked, settings, opened.file)
    if opened.before is not None:
        load_weights(network, opened.before)
    with one_thread():
        captured = capture(network, opened.file, opened.settings(settings))
        found = look(captured, model=asked.model, weights=opened.before.name if opened.before else "")
        return captured, found if opened.before is None else replace(found, received=check_sent(network))


def _without_update(
    asked: ModelRequest, received: Path | None, noise: str | None, digests: list[str] | None, as_json: bool
) -> None:
    """Print what a model reveals alone; with received weights, only what the detectors find in them."""
    if received is None:
        _alone(asked, noise, digests_of(digests), as_json)
    elif noise is not None:
        raise AuditError("--noise: is for the architecture alone. Leave out --received, or --noise.")
    else:
        _received(asked, received, digests_of(digests), as_json)


def _received(asked: ModelRequest, file: Path, digests: dict[str, str] | None, as_json: bool) -> None:
    """Print what the detectors find in received weights, and end with exit code 1 if there is an alarm."""
    with stdout_kept(as_json), one_thread():
        found = check_received(asked, file, digests)
    if as_json:
        echo(json.dumps({"received": found.to_json()}, allow_nan=False))
    else:
        from ..report.received_screen import show

        show(found)
    _exit(found)


def _alone(asked: ModelRequest, noise: str | None, digests: dict[str, str] | None, as_json: bool) -> None:
    """Print the static risk of an architecture, what a batch determines, and signs of a modified model."""
    with stdout_kept(as_json), one_thread():
        levels = levels_of(asked, noise)
        resolved = resolve(asked)
        batch = batch_of(asked, resolved)
        found = _architecture(asked, resolved, batch)
        rows = determined(resolved, batch, levels)
        check = check_resolved(resolved, batch, digests)
    if as_json:
        from ..report.determined import to_json

        more = {"recoverability": [to_json(row) for row in rows], "received": check.to_json()}
        echo(json.dumps({**found.to_json(), **more}, allow_nan=False))
    else:
        from ..report.architecture_screen import show
        from ..report.received_screen import show as show_check

        show(found)
        show_determined(rows)
        show_check(check)
    _exit(check)


def _architecture(asked: ModelRequest, found: Resolved, batch: GivenBatch | None) -> Architecture:
    """Return the static risk of a model, and of a batch if there is one.

    Raises:
        AuditError: The model cannot take its examples, or its weights or gradients are not finite.
    """
    from ..inspection import batch_risk, static_risk
    from ..inspection.tracing import runnable

    on_batch: BatchRisk | None = None
    if batch is not None:
        on_batch = batch_risk(runnable(found.model), batch.inputs, batch.labels, batch.words)
    return static_risk(
        found.model,
        found.shape,
        name=asked.model,
        modality=found.modality,
        batch_size=asked.batch_size if batch is None else len(batch.inputs),
        on_batch=on_batch,
        notes=found.notes,
    )


def _build(asked: ModelRequest, settings: Settings, file: TensorFile) -> nn.Module:
    """Return the model of a factory, or the named model for the first input shape that fits the update."""
    from ..capture.opening import model_for, model_of

    if not asked.named:
        return model_of(asked.model, Path.cwd())
    classes = asked.required_classes
    return model_for(file, asked.model, classes, settings.input_shape, cifar_stem=asked.cifar_stem)[0]


def _page(out: Path | None, found: Inspection, captured: Captured) -> Path | None:
    if out is None:
        return None
    from ..report.inspection_page import write
    from ..values.files import make_folder

    return write(found, captured.observation.input_shape, make_folder(out, option="--out"))


def _kind(text: str | None):  # noqa: ANN202 (importing the type would import torch)
    from ..capture import FileKind
    from ..capture.opening import KINDS

    if text not in (None, "auto", *KINDS):
        raise AuditError(f"--kind: must be {', '.join(FileKind)}. Found {text}.")
    return None if text is None else KINDS.get(text)


def _sign(text: str | None):  # noqa: ANN202 (importing the type would import torch)
    from ..capture import Direction

    if text is not None and text not in list(Direction):
        raise AuditError(f"--sign: must be {' or '.join(Direction)}. Found {text}.")
    return None if text is None else Direction(text)


def _mode(text: str | None):  # noqa: ANN202 (a literal)
    if text not in (None, "eval", "train"):
        raise AuditError(f"--batch-norm: must be eval or train. Found {text}.")
    return text


def _shape(text: str | None) -> tuple[int, ...] | None:
    return shape_of(text, (3,), "C,H,W as positive integers, such as 3,32,32")
