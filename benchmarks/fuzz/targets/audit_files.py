"""Audit files with mutated values, keys and bytes, and the same changes by `--set`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import whole
from ..judge import Input
from ..mutate import Dice, bytes_mutated, mutated, put

NAN, INF = float("nan"), float("inf")
COUNT = (0, -1, 1.5, "1", True, [1], {}, 2**31, 2**63, NAN, INF)
NAME = (0, 1.5, True, [], {}, "", "nothing-of-this-name", "a\nb", "\u202e", "\0", ["npz"])
FILE = (0, True, [], {}, "", "nothing.npz", ".", "\0", "a" * 300, "a/" * 2_000)
RATE = (0, -1, "0.1", NAN, INF, [], True)

WRONG: dict[tuple, tuple] = {
    ("data",): (None, [], {}, "npz", 3),
    ("data", "source"): (None, *NAME),
    ("data", "path"): (None, *FILE),
    ("data", "batch_size"): (None, 7, *COUNT),
    ("data", "size"): ("8", 0, -1, 1.5, 4097, True, 2**40, [8]),
    ("model",): (None, [], {}, "net.py:net", {"name": "lenet", "factory": "net.py:net"}),
    ("model", "factory"): (None, 3, [], "", ":", "net.py", "net.py:", "net.py:no",
                        "no.py:net", ".py:net", "net:a b", "\0.py:net"),
    ("model", "name"): NAME,
    ("model", "weights"): FILE,
    ("model", "mean"): ([0.1, 0.2], ["0"], 0.5, [NAN], [INF], [True], {}),
    ("model", "std"): ([0], [-1], [0.1, 0.2], [NAN], 1),
    ("model", "channels"): (3, *COUNT),
    ("model", "num_classes"): (1, *COUNT[:-3]),
    ("knowledge",): (None, "priors", ["nothing"], [1], {}, [["priors"]], 3, [None], ["NOTHING"]),
    ("training",): ([], "fedsgd", 1, {"kind": "fedavg"}, {"kind": "sgd"}, {"epochs": 2}, {"learning_rate": 0.1}),
    ("training", "kind"): NAME,
    ("training", "batch_norm"): NAME,
    ("training", "shared"): ([], "*", ["nothing*"], [1], [""]),
    ("training", "dropout"): (1, "true", 0, []),
    ("defenses",): (None, {}, "gaussian-noise", [{}], ["gaussian-noise"], [{"name": "nothing"}], [{"name": 3}],
                    [{"name": "gaussian-noise", "std": -1}], [{"name": "gaussian-noise", "std": NAN}],
                    [{"name": "gaussian-noise", "std": "1"}], [{"name": "gaussian-noise", "sigma": 1}]),
    ("attacks",): (None, [], {}, "inverting-gradients", ["nothing"], [3], [None], [{}], [{"name": 3}], ["net.py:net"],
                   ["nothing.py:ATTACK"], ["mgia"], ["a.yaml:ATTACK"], [{"name": "inverting-gradients", "set": []}]),
    ("attacks", 0, "set", "stages.0.steps"): (0, -1, 1.5, "1", True, None, [], NAN, 2**31),
    ("attacks", 0, "set", "seeds"): (0, -1, 1.5, "1", True, None, 10**9),
    ("attacks", 0, "set", "stages.0.optimiser.lr"): (-1, "0.1", NAN, INF, None),
    ("attacks", 0, "set", "stages.7.steps"): (1,),
    ("attacks", 0, "set", "nothing"): (1,),
    ("attacks", 0, "set", ""): (1,),
    ("attacks", 0, "set", "."): (1,),
    ("attacks", 0, "set", "objective"): ("Cosine", "Nothing()", "Cosine(a=1)", "Cosine(",
                                    "__import__('os')", 3, None, "TotalVariation()"),
    ("clients",): (7, *COUNT),
    ("repeats",): COUNT,
    ("seed",): (-1, 1.5, "0", True, 2**63, 10**30, NAN, [], None),
    ("device",): ("", "gpu", "cuda:99", 0, None, [], "meta", "cpu:x", "\0"),
    ("public_data",): ([], "npz", {}, {"source": "npz", "path": "p.npz"}),
    ("nothing",): (1, None, {}),
    ("Data",): (1,),
}  # fmt: skip
"""Path -> values that are always wrong there."""

FEDAVG = {"kind": "fedavg", "learning_rate": 0.1, "epochs": 1}
WRONG_FEDAVG: dict[tuple, tuple] = {
    ("training", "learning_rate"): (None, *RATE),
    ("training", "epochs"): (None, *COUNT),
    ("training", "minibatch_size"): COUNT,
    ("training", "momentum"): (-1, 1, NAN, "0"),
    ("training", "weight_decay"): (-1, NAN, INF, "0"),
    ("training", "betas"): ([0.9], [1, 1], [NAN, 0], 0.9, [-1, 0]),
    ("training", "eps"): (0, -1, NAN),
    ("training", "optimiser"): NAME,
    ("training", "update"): NAME,
}


def make(dice: Dice, folder: Path) -> Input:
    """Return an input with an audit file that is wrong at one position or in its bytes."""
    whole.project(folder)
    way = dice.choice(("wrong", "wrong", "tree", "tree", "bytes", "bytes", "set", "set", "missing", "place"))
    return {"wrong": _wrong, "tree": _tree, "bytes": _bytes, "set": _set, "missing": _missing, "place": _place}[way](
        dice, folder
    )


def _chosen(dice: Dice) -> tuple[dict[str, Any], tuple, Any]:
    """Return a valid configuration, a path in it, and a wrong value for that path."""
    fedavg = dice.rare(0.2)
    raw = whole.config(**({"training": FEDAVG} if fedavg else {}))
    path = dice.choice(list(WRONG_FEDAVG if fedavg else WRONG))
    return raw, path, dice.choice((WRONG_FEDAVG if fedavg else WRONG)[path])


def _wrong(dice: Dice, folder: Path) -> Input:
    raw, path, value = _chosen(dice)
    raw = put({"training": {}, **raw}, path, value)
    whole.audit_file(folder, raw)
    return Input(("audit", "a.yaml"), f"{'.'.join(map(str, path))} is {str(value)[:30]!r}", "refuse")


def _set(dice: Dice, folder: Path) -> Input:
    raw, path, value = _chosen(dice)
    whole.audit_file(folder, raw)
    text = json.dumps(value).replace("NaN", ".nan").replace("Infinity", ".inf")
    return Input(("audit", "a.yaml", "--set", f"{'.'.join(map(str, path))}={text}"), f"--set {path}", "any")


def _tree(dice: Dice, folder: Path) -> Input:
    raw = whole.config(training=dict(FEDAVG), defenses=[{"name": "gaussian-noise", "std": 0.1}], repeats=1, seed=3)
    done = []
    for _ in range(dice.choice((1, 1, 2, 3))):
        raw, what = mutated(raw, dice)
        done.append(what)
    whole.audit_file(folder, raw)
    return Input((dice.choice(("audit", "audit", "labels")), "a.yaml"), "; ".join(done))


def _bytes(dice: Dice, folder: Path) -> Input:
    path = whole.audit_file(folder, whole.config(training=FEDAVG))
    data, what = bytes_mutated(path.read_bytes(), dice, whole.audit_file(folder, whole.config(seed=1)).read_bytes())
    path.write_bytes(data)
    return Input(("audit", "a.yaml"), what)


def _missing(dice: Dice, folder: Path) -> Input:
    raw = whole.config()
    key = dice.choice(("data", "model", "knowledge"))
    del raw[key]
    whole.audit_file(folder, raw)
    return Input(("audit", "a.yaml"), f"without {key}", "refuse")


def _place(dice: Dice, folder: Path) -> Input:
    """Return an input whose audit file is not a regular file, or has hostile text."""
    path = whole.audit_file(folder, whole.config())
    text = path.read_text(encoding="utf-8")
    hostile = {
        "a tag": "!!python/object/apply:os.system [id]\n" + text,
        "aliases": "a: &a [1,1]\n"
        + "".join(f"b{i}: &b{i} [*b{i - 1},*b{i - 1}]\n" if i else "b0: &b0 [*a,*a]\n" for i in range(30)),
        "twice a key": text + "data: {source: photographs}\n",
        "two documents": text + "---\n" + text,
        "depth": "a: " + "[" * 5_000,
        "a cycle": "data: &a [*a]\n" + text,
        "a tab": text.replace("  ", "\t"),
        "utf-16": text.encode("utf-16").decode("latin-1"),
        "a huge line": "a" * 300_000 + ": 1\n" + text,
        "digits": text + f"seed: {'9' * 5_000}\n",
    }
    what = dice.choice([*hostile, "a folder", "a broken link", "a loop of links", "no file", "a long name", "NUL"])
    if what in hostile:
        path.write_text(hostile[what], encoding="utf-8")
        return Input(("audit", "a.yaml"), what, "refuse")
    path.unlink()
    if what == "a folder":
        path.mkdir()
    elif what.endswith(("link", "links")):
        path.symlink_to("gone.yaml" if what == "a broken link" else "a.yaml")
    name = {"a long name": "a" * 5_000, "NUL": "a\0.yaml"}.get(what, "a.yaml")
    return Input((dice.choice(("audit", "labels")), name), what, "refuse")
