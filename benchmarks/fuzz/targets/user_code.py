"""User code: factories and attacks that raise exceptions or return invalid values."""

from __future__ import annotations

from pathlib import Path

from .. import whole
from ..judge import Input
from ..mutate import Dice
from .tensor_files import saved

RAISED = (
    "ValueError('a\\nb')",
    "SystemExit(0)",
    "SystemExit('x')",
    "KeyError()",
    "RecursionError()",
    "MemoryError()",
    "StopIteration()",
    "GeneratorExit()",
    "Exception('\\x1b[2J')",
    "OSError(28, 'No space left')",
    "UnicodeDecodeError('utf-8', b'a', 0, 1, 'x')",
    "AssertionError()",
    "BrokenPipeError()",
    "EOFError()",
    "NotImplementedError()",
    "BaseException('x')",
    "TimeoutError()",
    "type('E', (Exception,), {'__str__': lambda self: 1 / 0})()",
    "ExceptionGroup('x', [ValueError()])",
    "AuditError('own')",
)
MODELS = {
    "None": "None",
    "a class": "nn.Linear",
    "a text": "'net'",
    "a list": "[nn.Linear(64, 3)]",
    "a tensor": "torch.ones(3)",
    "no parameters": "nn.Flatten()",
    "one logit": "nn.Sequential(nn.Flatten(), nn.Linear(64, 1))",
    "another input": "nn.Sequential(nn.Flatten(), nn.Linear(63, 3))",
    "raises in forward": "Wrong(lambda x: 1 / 0)",
    "exits in forward": "Wrong(lambda x: exit())",
    "NaN": "Wrong(lambda x: x.flatten(1)[:, :3] * float('nan'))",
    "None in forward": "Wrong(lambda x: None)",
    "a dictionary": "Wrong(lambda x: {'logits': x.flatten(1)[:, :3]})",
    "three axes": "Wrong(lambda x: x.flatten(1)[:, :3, None])",
    "one axis": "Wrong(lambda x: x.sum((1, 2, 3)))",
    "a scalar": "Wrong(lambda x: x.sum())",
    "integers": "Wrong(lambda x: x.flatten(1)[:, :3].long())",
    "random": "Wrong(lambda x: x.flatten(1)[:, :3] + torch.rand(1))",
    "another batch": "Wrong(lambda x: x.flatten(1)[:1, :3].repeat(7, 1))",
    "complex": "Wrong(lambda x: x.flatten(1)[:, :3] * 1j)",
    "meta": "net().to('meta')",
    "detached": "Wrong(lambda x: x.flatten(1)[:, :3].detach())",
    "no weights used": "Wrong(lambda x: x.flatten(1)[:, :3])",
    "numpy": "Wrong(lambda x: x.flatten(1)[:, :3].detach().numpy())",
    "frozen": "net().requires_grad_(False)",
    "infinite weights": "filled(float('inf'))",
    "zero weights": "filled(0.0)",
    "a sparse parameter": "sparse()",
    "long names": "nn.ModuleDict({'a' * 5000: nn.Linear(2, 2)})",
    "fewer classes": "nn.Sequential(nn.Flatten(), nn.Linear(64, 2))",
}
FINE = {
    "lazy": "nn.Sequential(nn.Flatten(), nn.LazyLinear(3))",
    "double": "net().double()",
    "half": "net().half()",
    "in place": "nn.Sequential(nn.Flatten(), nn.ReLU(True), nn.Linear(64, 3))",
    "scripted": "scripted()",
    "dropout": "nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 3))",
    "training": "net().train()",
    "parallel": "nn.DataParallel(net())",
    "compiled away": "nn.Sequential(net())",
    "channels last": "net().to(memory_format=torch.channels_last)",
    "batch norm": "nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 3))",
    "tied": "tied()",
    "hook": "hooked()",
    "a tuple": "Wrong(lambda x: (x.flatten(1)[:, :3],))",
}
NET = """
import warnings
import torch
from torch import nn
from gradaudit.values.errors import AuditError

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Sigmoid(), nn.Linear(4, 3))

class Wrong(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f, self.fc = f, nn.Linear(2, 2)
    def forward(self, x):
        return self.f(x)

def filled(number):
    model = net()
    for parameter in model.parameters():
        nn.init.constant_(parameter, number)
    return model

def sparse():
    model = net()
    model[1].weight = nn.Parameter(torch.eye(4, 64).to_sparse())
    return model

def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(net())

def tied():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 3))
    model[2].weight = model[1].weight
    return model

def hooked():
    model = net()
    model.register_forward_hook(lambda module, inputs, output: output * 1.0)
    return model
"""
GUESSES = {
    "None": "None",
    "a tensor": "torch.rand(1, 1, 8, 8)",
    "a tuple": "(torch.rand(1, 1, 8, 8), None, 0.0)",
    "NaN": "guess(whole * float('nan'))",
    "infinity": "guess(whole * float('inf'))",
    "another shape": "guess(torch.rand(1, 1, 4, 4))",
    "another batch": "guess(torch.rand(5, 1, 8, 8))",
    "no batch": "guess(torch.rand(1, 8, 8))",
    "empty": "guess(torch.rand(0, 1, 8, 8))",
    "text": "guess('x')",
    "complex": "guess(whole * 1j)",
    "sparse": "guess(whole.to_sparse())",
    "meta": "guess(whole.to('meta'))",
    "labels as floats": "guess(whole, torch.rand(1))",
    "labels too many": "guess(whole, torch.tensor([0, 1]))",
    "objective as text": "guess(whole, None, 'low')",
    "notes as a text": "guess(whole, None, 0.0, notes='x')",
    "notes as numbers": "guess(whole, None, 0.0, notes=(1,))",
    "trace of nonsense": "guess(whole, None, 0.0, trace=3)",
    "a list": "guess([1.0])",
    "None as inputs": "guess(None)",
}
MAYBE = {
    "integers": "guess((whole * 255).byte())",
    "objective NaN": "guess(whole, None, float('nan'))",
    "labels below zero": "guess(whole, torch.tensor([-1]))",
    "labels beyond": "guess(whole, torch.tensor([10**12]))",
    "far outside": "guess(whole * 1e30)",
    "half": "guess(whole.half())",
    "double": "guess(whole.double())",
    "a graph": "guess(whole.requires_grad_() * 2)",
    "notes that hide": "guess(whole, None, 0.0, notes=('\\x1b[2J\\u202e',))",
    "truth values": "guess(whole > 0.5)",
    "verified": "guess(whole, None, 0.0, verified=3)",
    "objective as a tensor": "guess(whole, None, torch.ones(2))",
    "float8": "guess(whole.to(torch.float8_e4m3fn))",
    "confidence": "guess(whole, confidence=torch.ones(3))",
    "expanded": "guess(torch.rand(1, 1, 1, 1).expand(1, 1, 8, 8))",
}
ATTACK = """
import torch
from gradaudit import Knowledge, Reconstruction
from gradaudit.values.errors import AttackFailed, AuditError

whole = torch.rand(1, 1, 8, 8)

def guess(inputs, labels=None, objective=0.0, **others):
    return Reconstruction(inputs, labels, objective, **others)

class Own:
    name = "own"
    needs = Knowledge.BATCH_SIZE
    def __call__(self, seen, *, seed=0, watch=None):
        {body}

ATTACK = {attack}
"""
ATTACKS = (
    "None",
    "3",
    "Own",
    "'own'",
    "lambda seen: None",
    "[Own()]",
    "object()",
    "Knowledge.LABELS",
    "torch.nn.Linear(2, 2)",
    "type('A', (Own,), {'needs': 3})()",
    "type('A', (Own,), {'name': None})()",
    "type('A', (), {'__call__': print})()",
    "type('A', (Own,), {'__repr__': lambda self: 1 / 0})()",
    "type('A', (Own,), {'__getattr__': lambda self, name: 1 / 0, 'name': 3})()",
)


def make(dice: Dice, folder: Path) -> Input:
    """Return an input with a user's factory or attack."""
    whole.project(folder)
    return dice.choice((_factory, _factory, _attack, _attack, _module))(dice, folder)


def _factory(dice: Dice, folder: Path) -> Input:
    way = dice.choice(("raises", "returns", "returns", "returns", "fine"))
    if way == "raises":
        what = dice.choice(RAISED)
        body = f"    raise {what}"
    else:
        pool = MODELS if way == "returns" else FINE
        what = dice.choice(list(pool))
        body = f"    return {pool[what]}"
    (folder / "own.py").write_text(f"{NET}\ndef make():\n{body}\n", encoding="utf-8")
    must = "any" if way == "fine" else "refuse"
    made = f"a factory {way}: {what}"
    if dice.rare(0.4):
        saved(folder / "g.pt", whole.gradient())
        return Input(("inspect", "g.pt", "--model", "own.py:make", "--input-shape", "1,8,8"), made, "any")
    whole.audit_file(folder, whole.config(model={"factory": "own.py:make"}))
    # with zero weights, labels can still be inferred, so that `labels` need not refuse the model
    command = "audit" if what == "zero weights" else dice.choice(("audit", "audit", "labels"))
    return Input((command, "a.yaml"), made, must)  # type: ignore[arg-type]


def _attack(dice: Dice, folder: Path) -> Input:
    way = dice.choice(("raises", "returns", "returns", "maybe", "is"))
    attack, must = "Own()", "any" if way == "maybe" else "refuse"
    if way == "is":
        what, body = (attack := dice.choice(ATTACKS)), "return guess(whole)"
    elif way == "raises":
        what = dice.choice((*RAISED, "AttackFailed('cannot')", "AttackFailed('')"))
        body = f"raise {what}"
    else:
        pool = GUESSES if way == "returns" else MAYBE
        what = dice.choice(list(pool))
        body = f"return {pool[what]}"
    (folder / "own.py").write_text(ATTACK.format(body=body, attack=attack), encoding="utf-8")
    whole.audit_file(folder, whole.config(attacks=["own.py:ATTACK"], repeats=dice.choice((1, 1, 2))))
    return Input(("audit", "a.yaml", *dice.choice(((), ("--json",)))), f"an attack {way}: {what}", must)  # type: ignore[arg-type]


def _module(dice: Dice, folder: Path) -> Input:
    """Return an input whose user module cannot be loaded, for a factory and for an attack."""
    bodies = {
        "a syntax error": "def (",
        "NUL": "\0",
        "no UTF-8": "\udcff",
        "an import": "import nothing_of_this_name",
        "itself": "import fuzz_own",
        "a raise": f"raise {dice.choice(RAISED)}".replace("AuditError", "ValueError"),
        "depth": "(" * 5_000,
        "empty": "",
    }
    what = dice.choice(list(bodies))
    (folder / "fuzz_own.py").write_bytes(bodies[what].encode("utf-8", "surrogateescape"))
    if dice.rare(0.5):
        whole.audit_file(folder, whole.config(model={"factory": dice.choice(("fuzz_own.py:make", "fuzz_own:make"))}))
    else:
        whole.audit_file(folder, whole.config(attacks=["fuzz_own.py:ATTACK"]))
    return Input(("audit", "a.yaml"), f"a module: {what}", "refuse")
