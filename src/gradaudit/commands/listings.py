"""Commands that list what is available, and what cannot run on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import typer
from rich.table import Table

from ..values.terminal import Screen

ListingRow = tuple[str, ...]


def add_to(app: typer.Typer) -> None:
    """Register the listing commands with `app`."""
    for name, (headings, rows, text) in LISTINGS.items():
        app.command(name, help=text)(_printer(headings, rows))


def _printer(headings: ListingRow, rows: Callable[[], Iterable[ListingRow]]) -> Callable[[], None]:
    return lambda: show(headings, rows())


def show(headings: ListingRow, rows: Iterable[ListingRow]) -> None:
    """Print a table with these headings and rows to standard output."""
    table = plain_table(headings)
    for row in rows:
        table.add_row(*row)
    Screen().print(table)


def plain_table(headings: ListingRow) -> Table:
    """Return a table without rules whose first column is never truncated."""
    table = Table(box=None, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=number == 0)
    return table


def _attacks() -> Iterable[ListingRow]:
    from ..attacks import ATTACKS, EVERY_ATTACK, MULTI_MODAL
    from ..inversion.run.refusal import modality_of

    for name, attack in ATTACKS.items():
        steps = " + ".join(str(stage.steps) for stage in getattr(attack, "stages", ()))
        made_for = str(modality_of(attack) or "any")
        paper = str(getattr(attack, "paper", ""))
        yield (
            name,
            made_for,
            paper,
            _facts(attack),
            steps or str(getattr(attack, "steps", "closed form")),
            _doc(EVERY_ATTACK.home(name)),
        )
    yield from _batteries()
    for name, pair in MULTI_MODAL.items():
        phases = [getattr(pair, phase, None) for phase in ("teacher", "student")]
        steps = " + ".join(str(stage.steps) for phase in phases for stage in getattr(phase, "stages", ()))
        yield (
            name,
            "two modalities",
            pair.paper,
            _facts(pair),
            steps,
            f"{_doc(pair)} Run it with `gradaudit study mgia`.",
        )


def _batteries() -> Iterable[ListingRow]:
    from ..audit.battery import BATTERIES

    for name, battery in BATTERIES.items():
        listed = (
            f"{', '.join(member.attack.name for member in members)} ({modality})"
            for modality, members in battery.members.items()
        )
        yield name, "any", "", "what its attacks need", "battery", f"{battery.meaning} {'; '.join(listed)}."


def _defenses() -> Iterable[ListingRow]:
    from ..protocol.defenses import DEFENSES

    return ((name, cls.paper, _parameters(cls), _doc(cls)) for name, cls in DEFENSES.items())


def _detectors() -> Iterable[ListingRow]:
    from ..client.detectors import DETECTORS

    for name, cls in DETECTORS.items():
        yield name, cls.paper, ", ".join(sorted(cls.needs)) or "weights alone", _parameters(cls), _doc(cls)


def _priors() -> Iterable[ListingRow]:
    from ..inversion.parts.priors import PRIORS

    return ((name, cls.__name__, _parameters(cls), _doc(cls)) for name, cls in PRIORS.items())


def _parts() -> Iterable[ListingRow]:
    from ..inversion import FAMILIES

    for family in FAMILIES:
        kind = family.package.rpartition(".")[2].replace("_", " ")
        yield from ((kind, name, cls.__name__, _parameters(cls), _doc(cls)) for name, cls in family.items())


def label_rows() -> Iterable[ListingRow]:
    """Yield one row per label inference: name, class, facts that it needs, description."""
    from ..inversion.parts.labels import LABELS

    return ((name, cls.__name__, _facts(cls), _doc(cls)) for name, cls in LABELS.items())


def _metrics() -> Iterable[ListingRow]:
    from ..metrics import METRICS

    for name, metric in METRICS.items():
        better = "higher" if metric.higher_is_better else "lower"
        yield name, metric.modality or "labels", metric.unit, better, metric.paper, metric.meaning


def _models() -> Iterable[ListingRow]:
    from ..models import NAMED_MODELS
    from ..values.measures import MEASURES

    places = {modality: place for place, modality in enumerate(MEASURES)}
    for name, model in sorted(NAMED_MODELS.items(), key=lambda pair: places.get(pair[1].modality, len(places))):
        yield name, model.modality, _doc(model.build)
    yield "…", "pictures", "and every torchvision classifier, by its torchvision name"


def _losses() -> Iterable[ListingRow]:
    from ..protocol.local_training import LOSSES

    for name, loss in LOSSES.items():
        yield name, loss.output.format(count="B"), "classes" if loss.classes else "others", _doc(loss)


def _studies() -> Iterable[ListingRow]:
    from ..studies import STUDIES

    return ((name, study.paper, ", ".join(study.scales), study.title) for name, study in STUDIES.items())


def _sources() -> Iterable[ListingRow]:
    from ..data.sources import SOURCES

    return ((name, _parameters(cls), _doc(cls)) for name, cls in SOURCES.items())


def _doctor() -> Iterable[ListingRow]:
    import torch

    from ..execution.case_jobs import versions
    from ..metrics import perceptual_network

    yield from versions().items()
    yield "threads", str(torch.get_num_threads())
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none: attacks run on the CPU"
    yield "GPU", gpu
    network, reason = perceptual_network()
    yield "LPIPS", "ready" if network is not None else f"n/a: {reason}"


def _facts(value: Any) -> str:
    return ", ".join(value.needs.names) or "nothing"


def _parameters(cls: Any) -> str:
    import dataclasses

    return ", ".join(f.name for f in dataclasses.fields(cls))


def _doc(value: Any) -> str:
    return (value.__doc__ or "").strip().split("\n")[0]


LISTINGS: dict[str, tuple[ListingRow, Callable[[], Iterable[ListingRow]], str]] = {
    "attacks": (
        ("name", "modality", "paper", "needs", "steps", "description"),
        _attacks,
        "List the attacks with their papers, required knowledge and numbers of steps.",
    ),
    "defenses": (("name", "paper", "parameters", "description"), _defenses, "List the defenses and their parameters."),
    "detectors": (
        ("name", "paper", "needs", "parameters", "description"),
        _detectors,
        "List the detectors of models that a malicious server has modified.",
    ),
    "parts": (("kind", "name", "part", "parameters", "description"), _parts, "List all parts that attacks consist of."),
    "priors": (("name", "part", "parameters", "description"), _priors, "List the priors that an attack can use."),
    "metrics": (
        ("name", "modality", "unit", "larger leak", "paper", "description"),
        _metrics,
        "List the metrics with their units and conventions.",
    ),
    "models": (("name", "modality", "description"), _models, "List the networks that can be given by name."),
    "losses": (("name", "outputs", "labels", "description"), _losses, "List the losses that a client can train with."),
    "sources": (("name", "options", "description"), _sources, "List the data sources with their options."),
    "studies": (
        ("name", "paper", "scales", "description"),
        _studies,
        "List the studies: reproductions of published tables.",
    ),
    "doctor": (("item", "value"), _doctor, "Show versions and devices, and what cannot run on this machine and why."),
}
