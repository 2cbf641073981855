"""Random combinations of attacks, defenses, training and knowledge, with one or two boundary values."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from gradaudit.attacks import ATTACKS
from gradaudit.inversion.run.refusal import modality_of
from gradaudit.protocol.defenses import DEFENSES
from gradaudit.values.types import LEVELS, Knowledge, Modality

from .. import whole
from ..judge import Input
from ..mutate import Dice

EDGES = (0, 1, 2, -1, 0.0, 0.5, 1.0, 1e-30, 1e30, -1e-3, True, False, None, "", "x", [], [0], [1, 2], [0.5, 1.0], 10**9)
TIMES = ("steps", "seeds", "restarts", "members")
MODELS = ("net.py:net", "net.py:net", "mlp", "lenet", "convnet-64")
TRAINING = (
    {},
    {},
    {"batch_norm": "train"},
    {"dropout": True},
    {"share_buffers": True},
    {"shared": ["*weight"]},
    {"shared": ["*bias"]},
    {"kind": "fedavg", "learning_rate": 0.1},
    {"kind": "fedavg", "learning_rate": 0.1, "epochs": 2, "minibatch_size": 1},
    {"kind": "fedavg", "learning_rate": 0.1, "optimiser": "adam", "shuffle": True},
    {"kind": "fedavg", "learning_rate": 0.1, "epochs": 3, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    {"kind": "fedavg", "learning_rate": 1e-12, "update": "gradient", "drop_last": True, "minibatch_size": 2},
    {"kind": "fedavg", "learning_rate": 1e12},
)


def make(dice: Dice, folder: Path) -> Input:
    """Return an audit of images with unusual parts or numbers."""
    whole.project(folder)
    names = [name for name, attack in ATTACKS.items() if modality_of(attack) in (None, Modality.PICTURES)]
    name, model = dice.choice(names), dice.choice(MODELS)
    changes, made = _changes(dice, ATTACKS[name])
    defenses = [_defense(dice) for _ in range(dice.choice((0, 0, 1, 2)))]
    flags = [flag for flag in Knowledge.__members__ if flag not in ("NOTHING", "PUBLIC_DATA")]
    knowledge = flags if dice.rare(0.5) else dice.sample([*flags, *LEVELS], dice.randrange(len(flags)))
    raw = whole.config(
        data={"source": "npz", "path": "p.npz", "batch_size": dice.choice((1, 1, 2, 3))},
        model={"factory": model} if ":" in model else {"name": model},
        knowledge=knowledge,
        training=dice.choice(TRAINING),
        defenses=defenses,
        attacks=[{"name": name, "set": changes}],
        clients=dice.choice((1, 1, 1, 2)),
        repeats=dice.choice((1, 1, 1, 2)),
        seed=dice.randrange(100),
    )
    whole.audit_file(folder, raw)
    command = "labels" if dice.rare(0.15) else "audit"
    return Input((command, "a.yaml"), f"{name} {made} {[entry['name'] for entry in defenses]}")


def paths(value: Any, at: str = "") -> list[tuple[str, Any]]:
    """Return dotted path and value of every field of a value of nested dataclasses and tuples."""
    if is_dataclass(value) and not isinstance(value, type):
        inner = [(field.name, getattr(value, field.name)) for field in fields(value) if field.init]
    else:
        inner = [(str(i), entry) for i, entry in enumerate(value)] if isinstance(value, tuple) else []
    return [path for key, entry in inner for path in ((f"{at}{key}", entry), *paths(entry, f"{at}{key}."))]


def _edge(dice: Dice, value: Any) -> Any:
    """Return a boundary value of the type of `value`, or sometimes of any type."""
    if isinstance(value, bool):
        usual: tuple[Any, ...] = (True, False)
    elif isinstance(value, int):
        usual = (0, 1, 2, 3, -1, 10**6 + 1)
    elif isinstance(value, float):
        usual = (0.0, -0.0, 1e-45, 0.5, 0.999999, 1.0, -1.0, 1e-3, 1e10, 1e38, -1e-3, 1e300)
    else:
        usual = EDGES
    return dice.choice(EDGES if dice.rare() else usual)


def _changes(dice: Dice, attack: Any) -> tuple[dict[str, Any], str]:
    """Return changes that make an attack short, and sometimes set a field to a boundary value."""
    known = {path: value for path, value in paths(attack) if not path.startswith(("deviations", "paper", "name"))}
    short = {path: 1 for path in known if path.rpartition(".")[2] in TIMES}
    made = []
    for _ in range(dice.choice((0, 1, 1, 2)) if known else 0):  # an attack may have nothing to set
        path = dice.choice(list(known))
        short[path] = dice.choice((0, -1, 1, 2, 1.5, None)) if path in short else _edge(dice, known[path])
        made.append(f"{path}={short[path]!r}")
    return short, " ".join(made)


def _defense(dice: Dice) -> dict[str, Any]:
    """Return a defense with all its fields, each with a usual or a boundary value."""
    name = dice.choice(list(DEFENSES))
    kinds = {field.name: True if field.type in ("bool", bool) else 0.1 for field in fields(DEFENSES[name])}
    return {"name": name, **{key: _edge(dice, kind) if dice.rare(0.5) else kind for key, kind in kinds.items()}}
