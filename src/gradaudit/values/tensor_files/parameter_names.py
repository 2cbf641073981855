"""Assignment of the tensors of a file to the parameters and buffers of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import AuditError
from .forms import precision
from .nesting import WRAPPING
from .tensor_reading import TensorFile

WRAPPERS = ("module", "_orig_mod", "_module")  # data parallel, torch.compile, Opacus
LISTED = 5
OPTIONAL = "num_batches_tracked"


@dataclass(frozen=True, eq=False)
class Placed:
    """The tensors of a file under a model's own names, in the model's order.

    Args:
        tensors: Name -> finite tensor of the shape in the model; floating point if the model's is.
        absent: Names for which the file contains `None`.
        sources: Name -> name, or position, in the file.
        wrapped: Whether names in the file had the prefix of a wrapper.
        positional: Whether the file had no names, so that tensors were matched by their order.
    """

    tensors: Mapping[str, Tensor]
    absent: tuple[str, ...]
    sources: Mapping[str, str]
    wrapped: bool
    positional: bool


def plain_name(name: str) -> str:
    """Return `name` without the segments that wrappers add: `module._orig_mod.fc.weight` -> `fc.weight`."""
    return ".".join(segment for segment in name.split(".") if segment not in WRAPPERS)


def place(model: nn.Module, expected: Mapping[str, Tensor], file: TensorFile, what: str, whole: bool) -> Placed:
    """Return the tensors of the file under the names of the model.

    Args:
        model: Determines tied weights, and the possible orders of a file without names.
        expected: Name -> tensor of the model, for everything that the file may contain.
        file: The contents of the file.
        what: `"update"` or `"weights"`, for error messages.
        whole: Whether every expected tensor is required, except BatchNorm's step counters and tied weights.

    Raises:
        AuditError: A name is unknown, two names belong to one tensor, the number of tensors without names is wrong, a
            shape differs, a tensor has integers instead of floating-point numbers, or NaN or infinity, or a required
            tensor is missing.
    """
    lazy = [name for name, value in expected.items() if nn.parameter.is_lazy(value)]
    if lazy:
        raise AuditError(f"model: {lazy[0]} has no shape before the model has seen an example; show it one first.")
    tied = _tied(model)
    entries = {**file.tensors, **_saved_once(file)}
    homes = _homes(entries, {*expected, *tied}) if file.named else _by_position(model, file, what)
    sources = _one_each(homes, tied, entries, f"{what}: {file.name}")
    found = {name: entries[sources[tied.get(name, name)]] for name in expected if tied.get(name, name) in sources}
    unknown = [name for name in file.tensors if name not in homes]
    _require_names(expected, found, unknown, f"{what}: {file.name}", whole)
    placed = {name: value for name, value in found.items() if value is not None}
    _require_values(expected, placed, f"{what}: {file.name}")
    return Placed(
        placed,
        tuple(name for name, value in found.items() if value is None),
        {name: sources[tied.get(name, name)] for name in found},
        wrapped=file.named and any(name not in expected and name not in tied for name in homes),
        positional=not file.named,
    )


def listed(names: Iterable[str]) -> str:
    """Return at most five names, and the number of further ones."""
    names = list(names)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _tied(model: nn.Module) -> dict[str, str]:
    """Return further name of a parameter or buffer -> its first name."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    first: dict[int, str] = {}
    return {name: first[id(value)] for name, value in named if first.setdefault(id(value), name) != name}


def _saved_once(file: TensorFile) -> dict[str, Tensor | None]:
    """Return the tensors under the duplicate names that `safetensors.torch.save_model` removed."""
    return {
        lost: file.tensors[kept]
        for lost, kept in file.metadata.items()
        if kept in file.tensors and lost not in file.tensors
    }


def _homes(names: Iterable[str], known: set[str]) -> dict[str, str]:
    """Return name in the file -> name in the model, ignoring prefixes of wrappers.

    A first segment such as `model.` is ignored too if all names of one side have it and none of the other side has it.
    """
    often = Counter(map(plain_name, known))
    plain = {plain_name(name): name for name in known if often[plain_name(name)] == 1}
    theirs, ours = (_wrapping({plain_name(name) for name in side}) for side in (names, known))
    if theirs and not any(name.startswith(theirs) for name in plain):
        ours = ""
    elif ours and not any(plain_name(name).startswith(ours) for name in names):
        theirs = ""
    else:
        theirs = ours = ""
    homes = {name: name if name in known else plain.get(ours + plain_name(name).removeprefix(theirs)) for name in names}
    return {name: home for name, home in homes.items() if home is not None}


def _wrapping(names: set[str]) -> str:
    """Return the first segment with its dot if all names share it and it is one of `WRAPPING`, or an empty string."""
    first = {name.partition(".")[0] for name in names if "." in name}
    alike = len(first) == 1 and all("." in name for name in names) and first <= {*WRAPPING}
    return f"{first.pop()}." if alike else ""


def _by_position(model: nn.Module, file: TensorFile, what: str) -> dict[str, str]:
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    orders = (trained, list(dict(model.named_parameters())), list(model.state_dict()))
    for names in orders:
        if len(names) == len(file.tensors):
            return dict(zip(file.tensors, names, strict=True))
    raise AuditError(
        f"{what}: {file.name} holds {len(file.tensors)} tensors without names, but the model has {len(trained)} "
        f"trainable parameters and {len(orders[2])} tensors in its state_dict; save them with their names."
    )


def _one_each(
    homes: Mapping[str, str], tied: Mapping[str, str], entries: Mapping[str, Tensor | None], subject: str
) -> dict[str, str]:
    """Return name in the model (for tied weights the first) -> name in the file."""
    sources: dict[str, str] = {}
    for name, home in homes.items():
        first = sources.setdefault(tied.get(home, home), name)
        one, other = entries[first], entries[name]
        same = one is other or (one is not None and other is not None and torch.equal(one, other))
        if first != name and (homes[first] == home or not same):
            raise AuditError(f"{subject} holds two tensors for {home}, {first} and {name}; keep one of them.")
    return sources


def _require_names(
    expected: Mapping[str, Tensor],
    found: Mapping[str, Tensor | None],
    unknown: list[str],
    subject: str,
    whole: bool,
) -> None:
    lacking = [name for name in expected if found.get(name) is None and not name.endswith(OPTIONAL)]
    shapes = [
        f"{name} is {list(value.shape)} there but {list(expected[name].shape)} in the model"
        for name, value in found.items()
        if value is not None and value.shape != expected[name].shape
    ]
    faults = (
        ("missing", lacking if whole else [name for name in lacking if unknown and _is_parameter(expected[name])]),
        ("unexpected", unknown),
        ("other shapes:", shapes),
    )
    said = [f"{fault} {listed(names)}" for fault, names in faults if names]
    if said:
        raise AuditError(f"{subject} does not fit the model: {'; '.join(said)}.")


def _require_values(expected: Mapping[str, Tensor], placed: Mapping[str, Tensor], subject: str) -> None:
    for name, value in placed.items():
        if _is_parameter(expected[name]) and not value.is_floating_point():
            raise AuditError(
                f"{subject}: {name} holds {precision(value)}, which lacks the scale that turns it into numbers of the "
                "model; save it as floating point numbers, each times its scale."
            )
    broken = [name for name, value in placed.items() if not torch.isfinite(_as_in(value, expected[name])).all()]
    if broken:
        raise AuditError(f"{subject}: {len(broken)} of {len(placed)} tensors hold NaN or infinity, first {broken[0]}.")


def _as_in(value: Tensor, ours: Tensor) -> Tensor:
    """Return `value` in the precision of the model's tensor, in which a large number may become infinite."""
    return value.to(ours.dtype) if ours.is_floating_point() else value


def _is_parameter(value: Tensor) -> bool:
    return isinstance(value, nn.Parameter)
