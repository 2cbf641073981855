"""Command lines: every option with boundary and invalid numbers, names and paths."""

from __future__ import annotations

import random
from pathlib import Path

from .. import whole
from ..judge import Input
from ..mutate import TEXTS, Dice
from .tensor_files import saved

NUMBERS = ("0", "-1", "1", "2", "1.5", "1e3", "nan", "inf", "-inf", "1e-320", "1e400", "9" * 30, "2147483648",
           "9223372036854775807",
           "9223372036854775808", "", " ", "x", "0x10", "١", "1_0", "+1", "01")  # fmt: skip
SHAPES = ("1,8,8", "1x8x8", "0,8,8", "1,8", "1,8,8,8", "-1,8,8", "a,b,c", "1, 8, 8", "٣,8,8", "²,8,8",
          "1,8,9999999999", "9" * 30 + ",8,8",
          ",,", "1,8,8.0", "64", "4,4,4", "1,64,1", "1,1,64")  # fmt: skip
PATHS = (
    "",
    ".",
    "page",
    "a/b/c",
    "net.py",
    "net.py/x",
    "a" * 300,
    "/proc/x",
    "/dev/null",
    "\x1b[2J",
    "\udcff",
    "~",
    "-",
    "link",
    "loop",
)
MODELS = ("net.py:net", "net.py", "net:net", ":", "", "lenet", "resnet18", "nothing", "net.py:no", "os:getcwd",
          "os:nothing", "a/b.py:c",
          "\0:a", "net.py:net:net", "sys:exit", "torch:zeros", "builtins:dict", "net.py:rows", "vit_h_14",
          "tiny-bert", "\u202e:a")  # fmt: skip
INSPECT = {
    "--kind": ("gradient", "weights", "weight-difference", "Gradient", "", "\x1b"),
    "--batch-size": NUMBERS,
    "--learning-rate": NUMBERS,
    "--local-steps": NUMBERS,
    "--input-shape": SHAPES,
    "--num-classes": NUMBERS,
    "--batch-norm": ("eval", "train", "", "Eval"),
    "--sign": ("before-minus-after", "after-minus-before", "", "+"),
    "--out": PATHS,
    "--weights": ("g.pt", "w.pt", "", ".", "net.py", "gone", "/dev/null", "/dev/zero", "a" * 300),
    "--model": MODELS,
}
COUNTS = ("0", "-1", "1.5", "1e3", "nan", "inf", "2147483648", "9" * 30, "", "x", "0x10")
WRONG = {
    "--kind": ("Gradient", "", "\x1b"),
    "--batch-size": COUNTS,
    "--local-steps": COUNTS,
    "--learning-rate": ("0", "-1", "nan", "inf", "-inf", "1e400", "", "x", "1e-400"),
    "--input-shape": ("0,8,8", "1,8", "1,8,8,8", "a,b,c", "²,8,8", "1,8,9999999999", ",,", "64", "1,8,7", "1.0,8,8"),
    "--batch-norm": ("", "Eval"),
    "--sign": ("", "+"),
    "--out": ("net.py", "net.py/x", "loop", "a" * 300),
    "--weights": ("", ".", "net.py", "gone", "link", "loop", "/dev/null", "/dev/zero", "a" * 300),
    "--model": ("net.py", ":", "", "nothing", "net.py:no", "os:nothing", "sys:exit", "builtins:dict", "net.py:rows"),
}
AUDIT = {
    "--out": PATHS,
    "--set": ("", "=", "a", "a=", "=1", "seed=", "seed=1", "seed", "data=1", "data.=1", ".=1", "..=1",
              "attacks.0=1", "attacks.9=1",
              "attacks.-1=1", "attacks.0.set=1", "attacks.x=1", "model.factory=", "seed=!!int 1", "seed=[",
              "seed={a: &a *a}", "a.b.c.d=1",
              "data.path=\x1b", "attacks.0.objective=Cosine()", "attacks.0.objective=Cosine(" * 200, "repeats=0x2",
              "knowledge=[]",
              "attacks.0.stages.0.optimiser.lr=1e-400", "attacks.0.stages.0=1", "attacks.0.stages=1",
              "attacks.0.name=x", "attacks=[]",
              "attacks.0.paper=1", "attacks.0.together=maybe", "attacks.0.stages.0.terms=[]",
              "attacks.0.labels=None", "\udcff=1"),
}  # fmt: skip
LABELS = {"--method": ("known", "nothing", "", "\x1b[2J", "idlg", "KnownLabels"), "--set": AUDIT["--set"]}
STUDY = {
    "--scale": ("nothing", "", "\x1b"),
    "--data": ("gone.npz", ".", "", "net.py", "\0"),
    "--weights": ("x", "=", "lenet=", "lenet=gone", "=w.pt", "lenet=w.pt=x"),
    "--device": ("gpu", "", "cuda:99", "meta", "\x1b"),
    "--workers": ("0", "-1", "x", "9" * 30),
    "--out": ("net.py", "net.py/x", "\0"),
}
LISTINGS = ("attacks", "defenses", "priors", "metrics", "models", "sources", "studies", "doctor", "labels")


def make(dice: Dice, folder: Path) -> Input:
    """Return an input with a mutated command line and valid files."""
    whole.project(folder)
    whole.audit_file(folder, whole.config())
    saved(folder / "w.pt", whole.weights())
    saved(folder / "g.pt", whole.gradient())
    (folder / "link").symlink_to("gone")
    (folder / "loop").symlink_to("loop")
    if dice.rare(0.25):
        option = dice.choice(list(WRONG))
        value = dice.choice(WRONG[option])
        usual = {"--model": "net.py:net", "--input-shape": "1,8,8", option: value}
        argv = ["inspect", "g.pt", *(word for pair in usual.items() for word in pair)]
        return Input(tuple(argv), f"{option} {value[:20]}", "refuse")
    argv = dice.choice((_inspect, _inspect, _inspect, _audit, _audit, _labels, _study, _other, _words))(dice)
    return Input(
        tuple(word.replace("\0", "") for word in argv),
        " ".join(word[:20] for word in argv if word[:1] == "-"),
        seconds=20,
    )


def _some(dice: Dice, options: dict[str, tuple[str, ...]], flags: tuple[str, ...] = ("--json",)) -> list[str]:
    """Return one to four options with values; sometimes a flag, a missing value or a repeated option."""
    words = []
    for _ in range(dice.choice((1, 1, 2, 4))):
        name = dice.choice(list(options))
        words += [name, dice.choice(options[name])]
    if dice.rare():
        words.append(dice.choice((*flags, "--nothing", "--", "-x", "-h")))
    if dice.rare(0.03):
        words.pop()
    return words


def _inspect(dice: Dice) -> list[str]:
    usual = [] if dice.rare(0.05) else ["--model", "net.py:net"]
    shape = [] if dice.rare(0.2) else ["--input-shape", "1,8,8"]
    name = dice.choice(
        ("g.pt", "g.pt", "g.pt", "g.pt", "w.pt", "", ".", "net.py", "/dev/null", "link", "loop", "a" * 300)
    )
    return ["inspect", name, *usual, *shape, *_some(dice, INSPECT, ("--json", "--cifar-stem"))]


def _audit(dice: Dice) -> list[str]:
    return ["audit", "a.yaml", *_some(dice, AUDIT)]


def _labels(dice: Dice) -> list[str]:
    return ["labels", "a.yaml", *_some(dice, LABELS)]


def _study(dice: Dice) -> list[str]:
    """Return the options of a study, at least one of which is wrong, so that no study runs."""
    name = dice.choice(("label-inference", "mgia", "nothing", "", "\x1b[2J"))
    return ["study", name, *_some(dice, STUDY), "--scale", "nothing"]


def _other(dice: Dice) -> list[str]:
    seed = ["demo", "--seed", dice.choice(("-1", "x", "1.5", "9" * 30, "9223372036854775808", ""))]
    return dice.choice(
        (["report", dice.choice(PATHS)], [dice.choice(LISTINGS)], [dice.choice(LISTINGS), "--help"], seed)
    )


def _words(dice: random.Random) -> list[str]:
    commands = [
        "audit",
        "inspect",
        "labels",
        "report",
        "--json",
        "--help",
        "a.yaml",
        "g.pt",
        "--model",
        "--set",
        *TEXTS[:12],
        *LISTINGS,
    ]
    words = [dice.choice(commands) for _ in range(dice.randrange(6))]
    return [word.encode("utf-8", "ignore").decode() for word in words if len(word) < 500]
