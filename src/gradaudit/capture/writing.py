"""Captured updates as files: safetensors with a metadata block, and the global weights once beside them.

| key of the metadata | holds |
|---|---|
| `gradaudit` | version of this layout, `"1"` |
| `kind` | `weights`, `difference` or `gradient` |
| `direction` | for a difference, if known: `after-minus-before` or `before-minus-after` |
| `round`, `node` | number of the round and name of the client |
| `examples` | number of examples that the client reported, or an empty string |
| `order` | names of the tensors in the order in which they were sent, as a JSON list |
| `before` | name of the file of the global weights in the same folder, or an empty string |
| `before_sha256` | SHA-256 of that file, or an empty string |
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from ..values.errors import AuditError, in_one_line
from ..values.files import is_file, make_folder, write_whole

LAYOUT = "1"
KINDS = ("weights", "difference", "gradient")
DIRECTIONS = ("after-minus-before", "before-minus-after")
NUMBERS = "biuf"  # kinds of numpy arrays that a capture may contain


def write_capture(
    path: Path,
    tensors: Mapping[str, Any],
    *,
    kind: str,
    round: int,
    node: str | int,
    examples: int | None,
    order: Sequence[str],
    before: Mapping[str, Any] | None = None,
    direction: str | None = None,
) -> Path:
    """Write one captured update, and the global weights beside it if no file there holds them, and return `path`.

    Args:
        path: File to write; its folder is created.
        tensors: Name -> numpy array or torch tensor.
        kind: `"weights"` (whole weights after the training), `"difference"` or `"gradient"`.
        round: Number of the round.
        node: Name or number of the client.
        examples: Number of examples that the client reported, if any.
        order: All names of `tensors`, in the order in which they were sent.
        before: Name -> array of the global weights that the client received in this round, if known. Their file is
            `global-HASH.safetensors` and is written once, because its name and its bytes depend on its content alone.
        direction: For a difference, `"after-minus-before"` or `"before-minus-after"`, if known.

    Raises:
        AuditError: The kind or the direction is unknown, `order` is not a list of the names, a tensor does not consist
            of numbers, or a file cannot be written.
    """
    if kind not in KINDS:
        raise AuditError(f"kind: should be one of {', '.join(KINDS)}. Found {kind}.")
    if direction is not None and (kind != "difference" or direction not in DIRECTIONS):
        raise AuditError(f"direction: belongs to a difference and is {' or '.join(DIRECTIONS)}. Found {direction}.")
    if sorted(order) != sorted(tensors):
        raise AuditError(f"order: should name each of the {len(tensors)} tensors once. Found {len(order)} names.")
    make_folder(path.parent)
    beside, digest = ("", "") if before is None else _write_global(path.parent, before)
    facts = {
        "gradaudit": LAYOUT,
        "kind": kind,
        "round": str(round),
        "node": str(node),
        "examples": str(examples) if examples else "",
        "order": json.dumps(list(order)),
        "before": beside,
        "before_sha256": digest,
    }
    return write_whole(path, packed(tensors, {**facts, "direction": direction} if direction else facts))


def capture_name(round: int, node: str | int, message: str = "train") -> str:
    """Return the name of the file of one capture, such as `round-3-node-site-1.safetensors`.

    Args:
        round: Number of the round.
        node: Name or number of the client; characters that are not safe in a file name become `_`.
        message: Kind of the message that the capture answers; other kinds than `train` are part of the name.
    """
    first = "" if message == "train" else f"{_safe(message)}-"
    return f"{first}round-{round}-node-{_safe(str(node))}.safetensors"


def packed(tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a safetensors file. The same content always gives the same bytes.

    Raises:
        AuditError: A tensor does not consist of numbers.
    """
    arrays = {name: _array(name, value) for name, value in tensors.items()}
    try:
        if any(_is_torch(value) for value in arrays.values()):
            import torch
            from safetensors.torch import save

            data = save(
                {n: v if _is_torch(v) else torch.from_numpy(np.array(v)) for n, v in arrays.items()}, dict(metadata)
            )
        else:
            from safetensors.numpy import save as save_arrays

            data = save_arrays(arrays, dict(metadata))
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise AuditError(f"capture: the tensors cannot be written: {in_one_line(error)}") from error
    return _settled(data)


def _write_global(folder: Path, weights: Mapping[str, Any]) -> tuple[str, str]:
    """Write the global weights once, and return the name and the SHA-256 of their file."""
    facts = {"gradaudit": LAYOUT, "kind": "weights", "order": json.dumps(list(weights))}
    data = packed(weights, facts)
    digest = hashlib.sha256(data).hexdigest()
    path = folder / f"global-{digest[:16]}.safetensors"
    if not is_file(path):
        write_whole(path, data)
    return path.name, digest


def _array(name: str, value: Any) -> Any:
    """Return a contiguous numpy array, or a contiguous torch tensor of its own memory; 0-d arrays stay 0-d."""
    if _is_torch(value):
        return value.detach().cpu().contiguous().clone()
    array = np.array(value, order="C")
    if array.dtype.kind not in NUMBERS:
        raise AuditError(f"capture: {name} holds {array.dtype}, not numbers. Leave it out of what is captured.")
    return array


def _is_torch(value: Any) -> bool:
    """Return whether `value` is a torch tensor, without importing torch."""
    return type(value).__module__.split(".")[0] == "torch" or hasattr(value, "is_sparse")


def _settled(data: bytes) -> bytes:
    """Return a safetensors file with its header sorted: the library writes the metadata in an arbitrary order."""
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the data stay aligned
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def _safe(name: str) -> str:
    """Return `name` as a part of a file name, at most 80 characters."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:80] or "_"
