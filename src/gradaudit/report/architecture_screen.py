"""The static risk of an architecture as text on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from ..inspection import Architecture, BatchRisk, LayerRisk
from ..inspection.adapters import adapters_in_words
from ..values.terminal import Screen, as_text
from .inspection_screen import WIDTH, bullets, paragraphs, section

LEGEND = (
    "Equations: entries of the gradient + weight constraints, as R-GAP counts them; rank deficit: unknowns that they "
    "leave open for random inputs, given the derivative in the layer's output. ≥: counted, not measured."
)
D_SNR = "D-SNR above 1: the gradient of one example outweighs those of all others together."


def show(found: Architecture, console: Console | None = None) -> None:
    """Print the static risk to `console`, by default to standard output with at most 110 columns."""
    if console is None:
        console = Screen()
        console.width = min(console.width, WIDTH)
    console.print(as_text(_summary(found), style="dim"))
    console.print(as_text(found.verdict, style="bold"))
    console.print(as_text(found.caution))
    batch = f", batch of {found.batch_size}" if found.batch_size > 1 else ", one example"
    section(console, f"Layers in the order in which they run{batch}")
    headings = ("layer", "kind", "input", "weight", "equations", "unknowns", "rank deficit", "condition")
    _rows(console, headings, [layer_row(layer) for layer in found.layers])
    paragraphs(console, (LEGEND,), style="dim")
    section(console, "What each layer gives away exactly")
    bullets(console, tuple(_grouped(found.layers)))
    section(console, "Parameters against unknowns")
    paragraphs(console, tuple(count_lines(found)))
    if found.adapters:
        section(console, "LoRA")
        paragraphs(console, (adapters_in_words(found.adapters),))
    if found.on_batch is not None:
        _batch(console, found.on_batch)
    if found.notes:
        section(console, "Assumed")
        paragraphs(console, found.notes, style="dim")


def layer_row(layer: LayerRisk) -> tuple[str, ...]:
    """Return the cells of one layer: name, kind, shapes, equations, unknowns, rank deficit and condition number."""
    one = layer.equations
    counted = ("–", "–", "–")
    if one is not None:
        equations = f"{one.gradient} + {one.weight}" if one.weight else f"{one.gradient}"
        counted = (equations, f"{one.unknowns}", f"{'' if one.measured else '≥ '}{one.deficit}")
    times = f" (used {layer.calls} times)" if layer.calls > 1 else "" if layer.calls else " (not called)"
    return (
        layer.name or "(the model)",
        layer.kind + times,
        _x(layer.input_shape),
        _x(next((shape for shape in layer.shapes.values()), None)),
        *counted,
        "–" if layer.condition is None else "singular" if math.isinf(layer.condition) else f"{layer.condition:.3g}",
    )


def count_lines(found: Architecture) -> Iterable[str]:
    """Yield what the number of parameters says about each batch size."""
    if not found.counts:
        yield "Not counted: the tokens of a text are not continuous."
        return
    few = [one for one in found.counts if one.ambiguous]
    enough = [one for one in found.counts if not one.ambiguous]
    if few:
        sizes = ", ".join(f"{one.batch_size} ({one.unknowns} unknowns)" for one in few)
        yield (
            f"{found.parameters} parameters are fewer than the unknowns at batch size {sizes}: different batches share "
            "one update (SoK v2, theorem 4.3). What is known about images or rows may still single one out."
        )
    if enough:
        sizes = ", ".join(f"{one.batch_size} ({one.unknowns} unknowns)" for one in enough)
        yield f"{found.parameters} parameters are enough by counting at batch size {sizes}; that excludes nothing."


def _summary(found: Architecture) -> str:
    frozen = f", {found.frozen} frozen" if found.frozen else ""
    return f"{found.model} · inputs {_x(found.input_shape)} · {found.parameters} shared parameters{frozen}"


def _grouped(layers: Iterable[LayerRisk]) -> Iterable[str]:
    """Yield one line for each sentence, with all layers that it is about; what gives nothing exact comes last."""
    given: dict[str, list[str]] = {}
    nothing: dict[str, list[str]] = {}
    for layer in layers:
        for one in layer.gives:
            given.setdefault(one.sentence, []).append(layer.name or "the model")
        if layer.nothing:
            nothing.setdefault(layer.nothing, []).append(layer.name or "the model")
    for sentence, names in given.items():
        yield f"{_names(names)}: {sentence}"
    for reason, names in nothing.items():
        yield f"{_names(names)}: nothing exact: {reason}."


def _names(names: list[str], most: int = 4) -> str:
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def _batch(console: Console, found: BatchRisk) -> None:
    section(console, f"On {found.data}")
    rows = [
        (
            layer.name or "(the model)",
            "–" if layer.units is None else f"{layer.units}",
            "–" if layer.exclusive is None else f"{layer.exclusive}",
            "–" if layer.exclusive is None else f"{len(layer.examples)}",
            "–" if layer.d_snr is None else "∞" if math.isinf(layer.d_snr) else f"{layer.d_snr:.2f}",
        )
        for layer in found.layers
        if layer.units is not None or layer.d_snr is not None
    ]
    paragraphs(console, (exact_line(found),))
    _rows(console, ("layer", "units", "exclusive units", "examples with one", "D-SNR"), rows)
    paragraphs(console, (D_SNR, *found.notes), style="dim")


def exact_line(found: BatchRisk) -> str:
    """Return in one sentence which examples of a batch leave exactly through a unit that they alone activate."""
    if found.exact is None:
        return (
            "No linear layer with a bias takes the examples, so none leaves through a unit of its own. What other "
            "attacks read is listed above."
        )
    named = f" (number {', '.join(map(str, found.exact))}, from 0)" if found.exact else ""
    verb = "leaves" if len(found.exact) == 1 else "leave"
    return (
        f"{len(found.exact)} of {found.batch_size} examples {verb} exactly, because each alone activates a unit of the "
        f"layer that takes the examples{named}. This says nothing about other attacks."
    )


def _rows(console: Console, headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", justify="left" if number < 4 else "right")
    for row in rows:
        table.add_row(*map(as_text, row))
    console.print(Padding(table, (0, 0, 0, 2)))


def _x(shape: tuple[int, ...] | None) -> str:
    return "–" if shape is None else "×".join(map(str, shape)) or "1"
