"""Tensors that the client did not train, or did not send."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...models.copying import private_copy
from .assumed import Assumed, Cause, Suspect

SHOWN = 4  # names in a sentence


def _frozen(assumed: Assumed) -> Iterator[Suspect]:
    """Yield the client that does not train, or does not send, what is zero or missing in the update."""
    observed, predicted = assumed.target.tensors, assumed.predicted
    both = [name for name, tensor in predicted.items() if tensor.any() and name in observed]
    zero = [name for name in both if not observed[name].any()]
    missing = [name for name in predicted if name not in observed]
    if len(zero) + len(missing) in (0, len(predicted)):
        return
    if zero:
        one = "is" if len(zero) == 1 else "are"
        what = f"the client did not train {_listed(zero)}: {one} exactly zero in the update"
        yield Suspect(_without(assumed, (*zero, *missing)), what, _freeze(zero))
    if missing:
        kept = [name for name in predicted if name in observed]
        one = "it is" if len(missing) == 1 else "they are"
        shared = assumed.training(shared=tuple(kept))
        fix = f"set training.shared: [{', '.join(kept)}]"
        yield Suspect(shared, f"the client did not send {_listed(missing)}: {one} missing from the update", fix)
        what = f"the client neither trained nor sent {_listed(missing)}"
        yield Suspect(_without(assumed, missing), what, _freeze(missing))


def _without(assumed: Assumed, names: Sequence[str]) -> Assumed:
    """Return the client with these parameters frozen."""
    model = private_copy(assumed.client.model)
    for name, parameter in model.named_parameters():
        if name in names:
            parameter.requires_grad_(False)
    return replace(assumed, client=replace(assumed.client, model=model))


def _freeze(names: Sequence[str]) -> str:
    return f"set requires_grad = False for {_listed(names)} in the model of model.factory"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


FROZEN = Cause("frozen-tensors", "frozen or missing tensors", _frozen)
