"""`gradaudit train inverter`: the network of Learning to Invert, for one client."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..values.errors import AuditError
from ..values.terminal import duration, echo
from .loading import load_attacks
from .placing import Changes

if TYPE_CHECKING:
    from torch import Tensor

    from ..attacks._inverter_training import TrainedInverter
    from ..attacks._simulated_client import SimulatedClient
    from ..attacks.lti import LearningToInvert
    from ..audit.plan import Plan

EVERY = 10.0  # seconds between two lines of progress
MOST = 50_000  # public images

OfClient = Annotated[
    Path, typer.Argument(metavar="AUDIT.YAML", help="An audit file with public_data; its client is the one to invert.")
]
InverterFile = Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write: NAME.safetensors.")]
InverterMinutes = Annotated[float | None, typer.Option("--minutes", help="End the training after this time.")]
InverterSeed = Annotated[int, typer.Option("--seed", help="Seed of the training.")]


def add_to(group: typer.Typer) -> None:
    """Register the command with its group."""
    group.command("inverter")(inverter)


def inverter(
    config: OfClient,
    out: InverterFile,
    minutes: InverterMinutes = None,
    seed: InverterSeed = 0,
    changes: Changes = None,
) -> None:
    """Train the network of the attack lti for the client of an audit file.

    It learns from updates that this client would share of the file's public_data, with its defenses if the file grants
    DEFENSE. Steps and sizes are those of the attack lti in the file, if it is there (set: {steps: 5000}). The error on
    held-out images is printed beside that of their mean; FILE.png shows held-out images above what the network returns
    for their updates. An attack uses the file by set: {trained: FILE}, on this model and client alone.

    After Ctrl-C, the same command goes on from a checkpoint.
    """
    load_attacks()
    from ..attacks._inverter_file import save_inverter
    from ..audit.config import read_config
    from ..audit.plan import make_plan
    from ..inversion.attack import TimeLimit
    from ..inversion.run.keeper import forget

    if out.suffix != ".safetensors" or out.exists():
        raise AuditError(f"--out {out}: should be a new file with the ending .safetensors.")
    plan = make_plan(read_config(config, changes or ()), config.parent)
    images, labels = _public(plan)
    client, recipe = _client(plan, images, labels), _recipe(plan)
    keep, watch = out.with_name(f"{out.stem}.unfinished"), _watch()
    limit = watch if minutes is None else TimeLimit(60 * minutes, watch)
    found = recipe.learn(client, images, labels, seed=seed, watch=limit, keep=keep)
    save_inverter(out, found, recipe, client)
    _show(out, found)
    forget(keep)


def _public(plan: Plan) -> tuple[Tensor, Tensor | None]:
    """Return the public images and their labels, if they have any. Raise `AuditError` if there are none."""
    import torch

    from ..audit.plan import labels_at
    from ..audit.resolve import open_source, require_labels
    from ..values.types import Modality

    config, device = plan.config, next(plan.client.model.parameters()).device
    if plan.handling.modality is not Modality.PICTURES:
        raise AuditError(f"data: holds {plan.handling.modality}; the network is for {Modality.PICTURES}.")
    if config.public_data is None:
        raise AuditError("public_data: is missing. The network learns from public images; add a source of them.")
    source = plan.handling.align(open_source(config.public_data, plan.folder, at="public_data")[0])
    if plan.classes:
        require_labels(source, plan.classes, "public_data")
    chosen = list(range(min(len(source), MOST)))
    given = torch.zeros(len(source), dtype=torch.int64) if source.labels is None else source.labels
    batch = plan.handling.gather(source, chosen, labels_at(given, chosen)).to(device)
    return batch.inputs, None if source.labels is None else batch.labels


def _client(plan: Plan, images: Tensor, labels: Tensor | None) -> SimulatedClient:
    """Return what the adversary of the audit knows of the client, read off an update of public images."""
    import torch

    from ..attacks._simulated_client import SimulatedClient
    from ..inversion.run.refusal import attacked
    from ..values.types import Batch, Knowledge

    size = plan.batch_size
    if len(images) < size:
        raise AuditError(f"public_data: {len(images)} images are fewer than the batch of {size}. Give more of them.")
    given = torch.zeros(size, dtype=torch.int64, device=images.device) if labels is None else labels[:size]
    facts = plan.config.granted & ~Knowledge.PUBLIC_DATA
    seen = plan.client.share(Batch(images[:size], given), facts)
    return SimulatedClient.of(attacked("lti", seen), size)


def _recipe(plan: Plan) -> LearningToInvert:
    """Return the attack lti of the audit file, also where it is a start, or the usual one."""
    from dataclasses import replace

    from ..attacks.lti import ATTACK, LearningToInvert

    waiting: list[Any] = [attack for _, attack in plan.attacks]
    while waiting:
        attack = waiting.pop(0)
        if isinstance(attack, LearningToInvert):
            return replace(attack, trained="")
        waiting += [one for name in ("attack", "start") if (one := getattr(attack, name, None)) is not None]
    return ATTACK


def _watch() -> Any:
    """Return a callback that prints the progress now and then."""
    started = last = time.monotonic()

    def watch(done: int, steps: int, loss: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > EVERY:
            last, left = now, (now - started) / done * (steps - done)
            echo(f"step {done} of {steps}, error {loss:.4f}, {duration(left)} left", err=True)

    return watch


def _show(out: Path, found: TrainedInverter) -> None:
    """Print what the file is, and write the picture beside it."""
    import torch

    from ..values.files import png, write_whole

    if found.samples is not None:
        rows = [torch.cat(list(side.flatten(0, 1)[:8].clamp(0, 1)), 2) for side in found.samples]
        write_whole(out.with_suffix(".png"), png(torch.cat(rows, 1).cpu()))
    echo(f"{out}: {' '.join(found.notes)}")
