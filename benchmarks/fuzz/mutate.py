"""Mutations of plain values at a random position, of bytes, and of tensors."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

NUMBERS = (
    0,
    1,
    2,
    3,
    -1,
    1.5,
    -0.0,
    1e-300,
    1e300,
    2**31,
    2**63 - 1,
    2**63,
    -(2**63),
    10**30,
    float("nan"),
    float("inf"),
)
TEXTS = (
    "",
    " ",
    ".",
    "..",
    "/",
    "~",
    "nothing",
    "a" * 300,
    "a/" * 2_000,
    "\u202edlrow",
    "\x1b[31mred",
    "\0",
    "é\u0301",
    "ﷺ",
    "-1",
    "1e3",
    "null",
    "true",
    "%s{0}{x}",
    "[bold]",
    "a\nb",
    "\ud800",
    "*",
    "-",
    "--",
    "a:b",
    "a.py:b",
    ":",
    "../../etc/passwd",
)
ODD = (None, True, False, [], {}, [[]], [None], {"": None}, {"a": 1}, [1, "a", {}])


class Dice(random.Random):
    """The random generator of one input, which depends only on the seed and its number."""

    def __init__(self, target: str, seed: int, number: int) -> None:
        super().__init__(f"{target} {seed} {number}")

    def tensors(self) -> torch.Generator:
        """Return a generator for tensors."""
        return torch.Generator().manual_seed(self.getrandbits(62))

    def nasty(self) -> Any:
        """Return a plain value that most code does not expect."""
        pool = self.choice((NUMBERS, TEXTS, ODD))
        value = copy.deepcopy(self.choice(pool))
        if self.random() < 0.1:
            for _ in range(self.choice((1, 5, 60))):
                value = self.choice(([value], {"a": value}))
        return value

    def rare(self, chance: float = 0.1) -> bool:
        """Return true with probability `chance`."""
        return self.random() < chance


def places(value: Any, at: tuple = ()) -> list[tuple]:
    """Return every path into a nested value, without the root."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, entry in inner for path in ((*at, key), *places(entry, (*at, key)))]


def at(value: Any, path: tuple) -> Any:
    """Return the value at a path."""
    for key in path:
        value = value[key]
    return value


def put(value: Any, path: tuple, new: Any) -> Any:
    """Return a copy with `new` at a path, whose last step may be a new key."""
    value = copy.deepcopy(value)
    at(value, path[:-1])[path[-1]] = new
    return value


def mutated(value: Any, dice: Dice) -> tuple[Any, str]:
    """Return a copy of a nested value with one change, and a description of it."""
    paths = places(value)
    if not paths or dice.rare(0.02):
        return dice.nasty(), "another root"
    path = dice.choice(paths)
    name, here = ".".join(map(str, path)), copy.deepcopy(value)
    parent, key = at(here, path[:-1]), path[-1]
    way = dice.choice(("replace", "replace", "replace", "drop", "rename", "wrap", "add", "twice", "swap"))
    if way == "replace":
        parent[key] = dice.nasty()
    elif way == "drop":
        del parent[key]
    elif way == "rename" and isinstance(parent, dict):
        parent[str(dice.choice(TEXTS)) if dice.rare(0.5) else f"{key}x"] = parent.pop(key)
    elif way == "wrap":
        parent[key] = dice.choice(([parent[key]], {"a": parent[key]}, {str(key): parent[key]}, str(parent[key])))
    elif way == "add" and isinstance(parent, dict):
        parent[str(dice.choice(TEXTS))] = dice.nasty()
    elif way == "twice" and isinstance(parent, list):
        parent.insert(0, copy.deepcopy(parent[key]))
    else:
        way, other = "swap", dice.choice(paths)
        parent[key] = copy.deepcopy(at(value, other))
    return here, f"{way} {name}"


def bytes_mutated(data: bytes, dice: Dice, other: bytes = b"") -> tuple[bytes, str]:
    """Return bytes flipped, inserted, deleted, cut or spliced at one to four positions, and a description."""
    done = []
    for _ in range(dice.choice((1, 1, 2, 4))):
        way = dice.choice(
            ("flip", "flip", "insert", "delete", "cut", "splice", "double", "empty" if dice.rare() else "flip")
        )
        place, span = dice.randrange(len(data) + 1), dice.choice((1, 1, 2, 8, 64))
        if way == "flip" and data:
            place = min(place, len(data) - 1)
            data = data[:place] + bytes([data[place] ^ (1 << dice.randrange(8))]) + data[place + 1 :]
        elif way == "insert":
            filler = dice.choice(
                (dice.randbytes(span), b"\0" * span, b"\n" * span, b"\xff" * span, b"9" * span, b'"', b"\x1b")
            )
            data = data[:place] + filler + data[place:]
        elif way == "delete":
            data = data[:place] + data[place + span :]
        elif way == "cut":
            data = data[:place]
        elif way == "splice":
            data = data[:place] + other[dice.randrange(len(other) + 1) :]
        elif way == "double":
            data = data + data[place:]
        elif way == "empty":
            data = b""
        done.append(way)
    return data, f"bytes: {', '.join(done)}"


def _with(value: Tensor, number: float, dice: Dice) -> Tensor:
    value = value.clone().double() if abs(number) > 1e38 and number not in (float("inf"),) else value.clone()
    if value.numel():
        value.view(-1)[dice.randrange(value.numel())] = number
    return value


TENSORS: dict[str, Callable[[Tensor, Dice], Any]] = {
    "half": lambda t, d: t.half(),
    "bfloat16": lambda t, d: t.bfloat16(),
    "double": lambda t, d: t.double(),
    "float8": lambda t, d: t.to(torch.float8_e4m3fn),
    "transposed": lambda t, d: t.t() if t.dim() == 2 else t.flip(0),
    "strided": lambda t, d: torch.stack([t, t], -1)[..., 0],
    "sparse": lambda t, d: t.to_sparse(),
    "grad": lambda t, d: t.clone().requires_grad_(),
    "parameter": lambda t, d: torch.nn.Parameter(t.clone()),
    "buffer": lambda t, d: torch.nn.Buffer(t.clone()),
    "quantised": lambda t, d: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8),
    "zeros": lambda t, d: torch.zeros_like(t),
    "tiny": lambda t, d: t * 1e-40,
    "huge": lambda t, d: t * 1e30,
    "expanded": lambda t, d: t.flatten()[:1].expand(t.numel()).reshape(t.shape) if t.numel() else t,
    "negative": lambda t, d: -t,
    "None": lambda t, d: None,
}
"""Changes that a reader may accept or refuse, but that must not make it fail."""

WRONG: dict[str, Callable[[Tensor, Dice], Any]] = {
    "nan": lambda t, d: _with(t, float("nan"), d),
    "infinity": lambda t, d: _with(t, float("-inf"), d),
    "beyond float32": lambda t, d: _with(t, 1e200, d),
    "integers": lambda t, d: (t * 100).round().to(torch.int32),
    "bytes": lambda t, d: t.to(torch.uint8),
    "booleans": lambda t, d: t > 0,
    "complex": lambda t, d: t.to(torch.complex64) * 1j,
    "scalar": lambda t, d: t.sum() if t.dim() else t[None].expand(2),
    "flat": lambda t, d: torch.cat([t.flatten(), torch.ones(1)]),
    "one axis more": lambda t, d: torch.stack([t, t]),
    "empty": lambda t, d: t.flatten()[:0],
    "meta": lambda t, d: t.to("meta"),
    "text": lambda t, d: "weights",
    "number": lambda t, d: 1e9,
    "list": lambda t, d: [t, t],
    "dictionary": lambda t, d: {"a": t},
    "array": lambda t, d: np.array(["a"]),
    "nested": lambda t, d: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
}
"""Changes after which a tensor cannot be a parameter of a model."""
