"""LoRA adapters of a model (Hu et al., 2022), found by the names that peft gives them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor, nn

from .architecture import Adapter

FACTOR = re.compile(r"(?:(?P<home>.*)\.)?lora_(?P<factor>A|B)(?P<rest>\..+)?$")


def adapters_of(model: nn.Module) -> tuple[Adapter, ...]:
    """Return the LoRA adapters: pairs of matrices `lora_A` `[r, n]` and `lora_B` `[m, r]` below the same module.

    The names are `lora_A` and `lora_B` themselves, `lora_A.weight`, or peft's `lora_A.default.weight`.
    """
    pairs: dict[tuple[str, str], dict[str, Tensor]] = {}
    for name, value in model.named_parameters():
        found = FACTOR.match(name)
        if found and value.ndim == 2:
            pairs.setdefault((found["home"] or "", found["rest"] or ""), {})[found["factor"]] = value.detach()
    return tuple(
        Adapter(home, len(pair["A"]), pair["A"].shape[1], len(pair["B"]), _zero(pair))
        for (home, _), pair in pairs.items()
        if len(pair) == 2 and len(pair["A"]) == pair["B"].shape[1]
    )


def adapters_in_words(adapters: Sequence[Adapter]) -> str:
    """Return in one line what the gradients of LoRA adapters show, or an empty string if there are none."""
    if not adapters:
        return ""
    ranks = sorted({adapter.rank for adapter in adapters})
    rank = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
    said = {
        "B": (
            "where B = 0 (the usual start), the gradient of A is zero, and the row space of that of B lies in the span "
            "of A x: an r-dimensional projection of the inputs x, not the inputs"
        ),
        "A": (
            "where A = 0, the gradient of B is zero, and the rows of that of A are combinations of the inputs x: at "
            "most r dimensions of their span, and all of it for at most r rows"
        ),
        "": (
            "where B is not zero, the gradient of A is Bᵀ (∂L/∂y) xᵀ: its rows are combinations of the inputs x, at "
            "most r dimensions of their span, and all of it for at most r rows"
        ),
    }
    seen = dict.fromkeys(adapter.zero for adapter in adapters)
    return f"{len(adapters)} LoRA {'adapter' if len(adapters) == 1 else 'adapters'} of {rank}: " + (
        "; ".join(said[state] for state in seen) + "."
    )


def _zero(pair: dict[str, Tensor]) -> str:
    return next((factor for factor in ("B", "A") if not pair[factor].any()), "")
