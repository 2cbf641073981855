"""Which tensor of a file is which parameter or buffer of the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import AuditError
from .files import Raw

WRAPPERS = ("module", "_orig_mod", "_module")  # data parallel, torch.compile, Opacus
LISTED = 4


@dataclass(frozen=True, eq=False)
class Parts:
    """The tensors of a file under the model's own names, in the model's order.

    Args:
        parameters: Name -> tensor.
        buffers: Name -> tensor.
        unshared: Trainable parameters that the file does not hold.
        frozen: Parameters that are not trained, whether the file holds them or not.
        wrapped: Names in the file carried the prefix of a wrapper.
        positional: The file held no names; the tensors were matched by their order.
    """

    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    unshared: tuple[str, ...]
    frozen: tuple[str, ...]
    wrapped: bool = False
    positional: bool = False


def plain_name(name: str) -> str:
    """`name` without the segments that wrappers add: `module._orig_mod.fc.weight` -> `fc.weight`."""
    return ".".join(segment for segment in name.split(".") if segment not in WRAPPERS)


def fit(model: nn.Module, raw: Raw, file: str) -> Parts:
    """The file's tensors under the model's names.

    Args:
        model: Whose named_parameters and named_buffers count.
        raw: As `read_tensors` gives them.
        file: What to call the file in an error.

    Raises:
        AuditError: Names that the model has not, another number of tensors without names, other shapes, NaN or
            infinity, or no parameter of the model at all.
    """
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    frozen = tuple(name for name, value in model.named_parameters() if not value.requires_grad)
    expected: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    named = raw if isinstance(raw, dict) else _by_position(model, raw, file)
    found = _renamed(model, named, expected, file)
    _check(found, expected, file)
    ours = {name: found[name] for name in expected if name in found}
    shared = {name: value for name, value in ours.items() if name in parameters}
    if not shared:
        raise AuditError(f"update: {file} holds no parameter of the model, so there is nothing to inspect.")
    return Parts(
        shared,
        {name: value for name, value in ours.items() if name in dict(model.named_buffers())},
        tuple(name for name in parameters if name not in found),
        frozen,
        wrapped=isinstance(raw, dict) and any(name not in expected for name in raw),
        positional=not isinstance(raw, dict),
    )


def fits(model: nn.Module, raw: Raw) -> bool:
    """Whether `fit` would find a place for every tensor."""
    try:
        fit(model, raw, "")
    except AuditError:
        return False
    return True


def _by_position(model: nn.Module, raw: tuple[Tensor, ...], file: str) -> dict[str, Tensor]:
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    orders = (trained, list(dict(model.named_parameters())), list(model.state_dict()))
    for names in orders:
        if len(names) == len(raw):
            return dict(zip(names, raw, strict=True))
    raise AuditError(
        f"update: {file} holds {len(raw)} tensors without names, but the model has {len(trained)} trainable parameters "
        f"and {len(orders[2])} tensors in its state_dict; save them with their names."
    )


def _renamed(
    model: nn.Module, named: Mapping[str, Tensor], expected: Mapping[str, Tensor], file: str
) -> dict[str, Tensor]:
    """`named` under the model's names; tied weights under their first."""
    homes = Counter(map(plain_name, expected))
    known = {plain_name(name): name for name in expected if homes[plain_name(name)] == 1}
    first = {id(value): name for name, value in model.named_parameters()}
    tied = {name: first[id(value)] for name, value in model.named_parameters(remove_duplicate=False)}
    found: dict[str, Tensor] = {}
    unknown = []
    for name, value in named.items():
        home = name if name in expected else tied.get(name) or known.get(plain_name(name)) or tied.get(plain_name(name))
        if home is None:
            unknown.append(name)
        elif home in found and name not in tied:
            raise AuditError(f"update: two tensors of {file} stand for {home}; keep one of them.")
        else:
            found.setdefault(home, value)
    if unknown:
        missing = [name for name in expected if name not in found]
        hint = f" The model has {listed(missing)} without a tensor." if missing else ""
        raise AuditError(f"update: {file} holds {listed(unknown)}, which the model has not.{hint}")
    return found


def _check(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], file: str) -> None:
    shapes = [
        f"{name} is {list(value.shape)} there but {list(expected[name].shape)} in the model"
        for name, value in found.items()
        if value.shape != expected[name].shape
    ]
    if shapes:
        raise AuditError(f"update: {file} does not fit the model: {listed(shapes)}.")
    broken = [name for name, value in found.items() if not torch.isfinite(value).all()]
    if broken:
        raise AuditError(
            f"update: {len(broken)} of {len(found)} tensors of {file} hold NaN or infinity, first {broken[0]}."
        )


def listed(names: Iterable[str]) -> str:
    """At most four names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
