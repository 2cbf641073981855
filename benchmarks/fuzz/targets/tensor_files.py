"""Captured updates and weights with mutated names, tensors, nesting, formats and bytes."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from .. import whole
from ..judge import Input
from ..mutate import TENSORS, TEXTS, WRONG, Dice, bytes_mutated

ENDINGS = (".pt", ".pth", ".safetensors", ".npz")
OPTIONS = (
    (), (), (), ("--json",), ("--out", "page"), ("--batch-size", "1"), ("--kind", "gradient"), ("--kind", "weights"),
    ("--kind", "weight-difference"), ("--learning-rate", "0.1"), ("--input-shape", "1,8,8"), ("--batch-norm", "eval"),
    ("--sign", "before-minus-after"), ("--local-steps", "2"),
)  # fmt: skip
NESTED = ("state_dict", "model", "update", "gradients", "module", "data", "weights", "params", "0")


def saved(path: Path, value: Any, metadata: dict[str, str] | None = None) -> bool:
    """Save in the format of the file's ending; return false if the format cannot store the value."""
    try:
        if path.suffix == ".npz":
            named = value if isinstance(value, dict) else {f"arr_{i}": entry for i, entry in enumerate(value)}
            np.savez(
                path, **{k: v.detach().numpy() if isinstance(v, Tensor) else np.array(v) for k, v in named.items()}
            )
        elif path.suffix == ".safetensors":
            safetensors.torch.save_file({k: v.contiguous() for k, v in value.items()}, path, metadata)
        else:
            torch.save(value, path)
    except Exception:  # formats differ in what they cannot store, and libraries in the exceptions they raise
        return False
    return True


def update(dice: Dice, folder: Path) -> Input:
    """Return an input with a mutated update for `inspect`."""
    whole.project(folder)
    kind = dice.choice(("gradient", "gradient", "difference", "weights"))
    tensors = dict(whole.gradient())
    extra: tuple[str, ...] = dice.choice(OPTIONS)
    if kind != "gradient" or dice.rare():
        saved(folder / "w.pt", whole.weights())
        extra = (*extra, "--weights", "w.pt")
    if kind == "difference":
        tensors = {name: 0.1 * value for name, value in tensors.items()}
    elif kind == "weights":
        tensors = {name: whole.weights()[name] - 0.1 * value for name, value in tensors.items()}
    name, made, must = _file(dice, folder, tensors, whole_file=False)
    shape = () if "--input-shape" in extra or dice.rare(0.05) else ("--input-shape", "1,8,8")
    return Input(("inspect", name, "--model", "net.py:net", *shape, *extra), made, must)  # type: ignore[arg-type]


def weights(dice: Dice, folder: Path) -> Input:
    """Return an input with mutated weights for an audit or `inspect`."""
    whole.project(folder)
    name, made, must = _file(dice, folder, dict(whole.weights()), whole_file=True)
    if dice.rare(0.3):
        whole.audit_file(folder, whole.config(model={"factory": "net.py:net", "weights": name}))
        return Input(("audit", "a.yaml"), made, must)  # type: ignore[arg-type]
    saved(folder / "g.pt", whole.gradient())
    argv = ("inspect", "g.pt", "--model", "net.py:net", "--input-shape", "1,8,8", "--weights", name)
    return Input(argv, made, must)  # type: ignore[arg-type]


def _file(dice: Dice, folder: Path, tensors: dict[str, Tensor], *, whole_file: bool) -> tuple[str, str, str]:
    """Write a mutated file, and return its name, a description of the change, and what must happen."""
    ending = dice.choice(ENDINGS)
    path = folder / f"u{ending}"
    way = dice.choice(("wrong", "wrong", "tensor", "names", "nest", "bytes", "bytes", "cut", "place", "archive"))
    made, must, value = _value(dice, tensors, way, whole_file)
    fits = saved(path, value, {str(dice.choice(TEXTS))[:50]: "x"} if dice.rare() else None)
    if not fits:  # another format can store it
        path = folder / "u.pt"
        if not saved(path, value):
            return _file(dice, folder, tensors, whole_file=whole_file)
    if way in ("bytes", "cut", "archive", "place"):
        made, must = _damaged(dice, path, way)
    return path.name, f"{made} ({path.suffix})", must


def _value(dice: Dice, tensors: dict[str, Tensor], way: str, whole_file: bool) -> tuple[str, str, Any]:
    """Return a description of the change, what must happen, and the value to save."""
    name = dice.choice(list(tensors))
    if way == "wrong":
        what = dice.choice(list(WRONG))
        return f"a tensor is {what}", "refuse", {**tensors, name: WRONG[what](tensors[name], dice)}
    if way == "tensor":
        what = dice.choice(list(TENSORS))
        return f"a tensor is {what}", "any", {**tensors, name: TENSORS[what](tensors[name], dice)}
    if way == "names":
        return _renamed(dice, tensors, name, whole_file)
    if way == "nest":
        return _nested(dice, tensors)
    return "whole", "any", tensors


def _renamed(dice: Dice, tensors: dict[str, Tensor], name: str, whole_file: bool) -> tuple[str, str, Any]:
    what = dice.choice(("drop", "rename", "add", "prefix", "mixed prefix", "empty", "number", "twice"))
    rest = {key: value for key, value in tensors.items() if key != name}
    other = dice.choice([text for text in TEXTS if text.isprintable()][:-1]) or "x"
    value: Any = {
        "drop": rest,
        "rename": {**rest, f"{name}x": tensors[name]},
        "add": {**tensors, other: tensors[name]},
        "prefix": {f"module.{key}": entry for key, entry in tensors.items()},
        "mixed prefix": {**rest, f"module.{name}": tensors[name]},
        "empty": {},
        "number": dict(enumerate(tensors.values())),
        "twice": {**tensors, f"module.{name}": tensors[name]},
    }[what]
    refused = what in ("rename", "add", "empty", "twice") or (what == "drop" and whole_file)
    return f"names: {what}", "refuse" if refused else "any", value


def _nested(dice: Dice, tensors: dict[str, Tensor]) -> tuple[str, str, Any]:
    what = dice.choice(
        ("known key", "list", "tuple", "short list", "reversed", "deep", "beside", "list of lists", "tensor", "None")
    )
    values, key = list(tensors.values()), dice.choice(NESTED)
    deep: Any = tensors
    for _ in range(dice.choice((2, 30, 400))):
        deep = {key: deep}
    value = {
        "known key": {key: tensors},
        "list": values,
        "tuple": tuple(values),
        "short list": values[:-1],
        "reversed": values[::-1],
        "deep": deep,
        "beside": {key: tensors, "epoch": 3, "loss": 0.5, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
        "list of lists": [values, values],
        "tensor": values[0],
        "None": None,
    }[what]
    return f"nesting: {what}", "refuse" if what in ("short list", "reversed", "tensor", "None") else "any", value


def _damaged(dice: Dice, path: Path, way: str) -> tuple[str, str]:
    """Damage the file as a whole, and return a description of the change and what must happen."""
    data = path.read_bytes()
    if way == "bytes":
        data, made = bytes_mutated(data, dice, whole.archive())
        path.write_bytes(data)
        return made, "any"
    if way == "cut":
        path.write_bytes(data[: dice.randrange(len(data) - 8)])
        return "cut", "refuse"
    if way == "archive" and zipfile.is_zipfile(path):
        return _archive(dice, path, data)
    path.unlink()
    what = dice.choice(("a folder", "a broken link", "a loop of links", "nothing", "text", "a pickle"))
    if what == "a folder":
        path.mkdir()
    elif "link" in what:
        path.symlink_to("gone" if what == "a broken link" else path.name)
    elif what == "text":
        path.write_text("weights\n", encoding="utf-8")
    elif what == "a pickle":
        torch.save({"a": Path("x"), "b": torch.nn.Linear(2, 2)}, path)
    return f"the file is {what}", "refuse"


def _archive(dice: Dice, path: Path, data: bytes) -> tuple[str, str]:
    """Change a zip archive: remove, repeat, empty or rename a member."""
    what = dice.choice(("drop", "double", "empty", "rename", "packed", "claim"))
    with zipfile.ZipFile(io.BytesIO(data)) as before:
        members = [(info.filename, before.read(info)) for info in before.infolist()]
    place = dice.randrange(len(members))
    name, content = members[place]
    changed = {
        "drop": [],
        "double": [(name, content), (name, content)],
        "empty": [(name, b"")],
        "rename": [(dice.choice(("../x.npy", ".npy", "a" * 300, "\u202e.npy")), content)],
        "packed": [(name, content)],
        "claim": [(name, content.replace(b"(4, 64)", b"(9999999999, 64)").replace(b"(4,)", b"(9999999999999,)"))],
    }[what]
    with zipfile.ZipFile(path, "w", dice.choice((0, 8, 12, 14)) if what == "packed" else 0) as after:
        for entry in (*members[:place], *changed, *members[place + 1 :]):
            after.writestr(*entry)
    return f"archive: {what}", "any"
