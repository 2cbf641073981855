"""Trained inverters as files, which say for which client they were trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..values.errors import AttackFailed, AuditError
from ..values.files import write_whole
from ..values.tensor_files import read_tensor_file
from ._inverter import Inverter
from ._inverter_training import InverterRecipe, TrainedInverter
from ._simulated_client import SimulatedClient

KIND = "inverter 1"
FIX = "Train one for this client: `gradaudit train inverter`."


def client_facts(client: SimulatedClient) -> dict[str, str]:
    """Return all that the updates of a client depend on besides its examples, in words or as a hash."""
    training = replace(client.training, shared=tuple(client.training.shared_parameters(client.model)))
    return {
        "model": weights_digest(client.model.state_dict()),
        "training": repr(training) + ("" if client.scaled else ", of unknown length"),
        "defenses": repr(client.defenses),
        "normalisation": repr(client.normalisation),
        "image shape": repr(tuple(client.input_shape)),
        "batch size": str(client.batch_size),
    }


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors with their names."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        digest.update(name.encode() + raw)
    return digest.hexdigest()


def save_inverter(path: Path, trained: TrainedInverter, recipe: InverterRecipe, client: SimulatedClient) -> Path:
    """Write a trained inverter as a safetensors file, and return its path.

    Args:
        path: Path that ends in `.safetensors`.
        trained: The inverter.
        recipe: How it was made.
        client: The client that it was trained for.

    Raises:
        AuditError: The file cannot be written.
    """
    made = {key: getattr(recipe, key) for key in ("width", "hashing", "standardise")}
    numbers = ("error", "control", "updates", "images", "seconds", "done", "steps")
    facts = {
        "gradaudit": KIND,
        "client": json.dumps(client_facts(client)),
        "made": json.dumps(made),
        "trained": json.dumps({key: getattr(trained, key) for key in numbers}),
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in trained.inverter.state_dict().items()}
    return write_whole(path, save(tensors, facts))


def load_inverter(path: Path, client: SimulatedClient, name: str) -> TrainedInverter:
    """Return the inverter of a file.

    Args:
        path: A file of `save_inverter`.
        client: The client that it must have been trained for.
        name: Name of the attack in errors.

    Raises:
        AttackFailed: There is no such file, it is no inverter, or it was trained for another client.
    """
    try:
        file = read_tensor_file(path, f"{name}: trained")
        held, own = json.loads(file.metadata["client"]), client_facts(client)
        made, facts = json.loads(file.metadata["made"]), json.loads(file.metadata["trained"])
        known = file.metadata["gradaudit"] == KIND and held.keys() == own.keys()
    except AuditError as error:
        raise AttackFailed(str(error)) from error
    except (KeyError, ValueError, AttributeError):
        known = False
    if not known:
        raise AttackFailed(f"{name}: trained: {path.name} is no trained inverter of this version. {FIX}")
    for fact, value in own.items():
        if held[fact] != value:
            raise AttackFailed(
                f"{name}: trained: {path.name} is for another client: {_difference(fact, held, own)} {FIX}"
            )
    return _rebuilt(path, client, name, made, facts, dict(file.tensors))


def assumes_defense(path: Path) -> bool:
    """Return whether the file is of an inverter that was trained with a defense; false if it cannot be read."""
    return _client_fact(path, "defenses") not in (None, repr(()))


def require_image_shape(path: Path, shape: tuple[int, ...]) -> None:
    """Raise `AttackFailed` if the file is of an inverter for images of another shape; other faults are for its use."""
    held = _client_fact(path, "image shape")
    if held not in (None, repr(tuple(shape))):
        raise AttackFailed(
            f"trained: {path.name} is for another client: its image shape is {held}, and this client's is "
            f"{tuple(shape)}. {FIX}"
        )


def _client_fact(path: Path, fact: str) -> object:
    """Return a fact of the client that the inverter of a file was trained for, or `None` if it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()["client"])[fact]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None


def _difference(fact: str, held: Mapping[str, str], own: Mapping[str, str]) -> str:
    """Return a sentence on the first fact that differs."""
    if fact == "model":
        return "its model has other weights."
    return f"its {fact} is {held[fact]}, and this client's is {own[fact]}."


def _rebuilt(
    path: Path, client: SimulatedClient, name: str, made: Any, facts: Any, tensors: dict[str, Tensor]
) -> TrainedInverter:
    try:
        with torch.random.fork_rng(devices=[]):
            inverter = Inverter(client.entries, (client.batch_size, *client.input_shape), **made)
        inverter.load_state_dict(tensors)
        device = next(client.model.parameters()).device
        return TrainedInverter(inverter.to(device).eval(), **facts)
    except (RuntimeError, TypeError, ValueError) as error:
        raise AttackFailed(f"{name}: trained: {path.name} is damaged. {FIX}") from error
