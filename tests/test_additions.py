"""One file adds one thing: it is listed, usable and documented without another edit, inside the package or beside it.

Each file of tests/additions is a thing as a contributor would write it. To cover another kind of thing, add its file
there and a line to `KINDS`.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import gradaudit

SRC = Path(gradaudit.__file__).parent
TESTS = Path(__file__).parent
ADDITIONS = TESTS / "additions"


@dataclass(frozen=True)
class Kind:
    """One kind of thing.

    Args:
        room: Its folder in the package.
        registry: Name of the registry in the room.
        name: By which the thing of tests/additions is listed.
        attribute: What it is called in Python.
        command: The listing command that names it.
        use: Attack and dotted path at which the thing is put into an attack, for parts.
        offered: What an entry point names.
    """

    room: str
    registry: str
    name: str
    attribute: str
    command: str = "parts"
    use: tuple[str, str] | None = None
    offered: str = ""


PARTS = "inversion/parts"
KINDS = {
    "attacks": Kind("attacks", "EVERY_ATTACK", "division", "DIVISION", "attacks", offered="ATTACK"),
    "objectives": Kind(
        f"{PARTS}/objectives", "OBJECTIVES", "fourth-powers", "FourthPowers", use=("inverting-gradients", "objective")
    ),
    "priors": Kind(
        f"{PARTS}/priors", "PRIORS", "brightness", "Brightness", use=("inverting-gradients", "stages.0.terms.0.prior")
    ),
    "parametrisations": Kind(
        f"{PARTS}/parametrisations", "PARAMETRISATIONS", "squashed", "Squashed", use=("dlg", "stages.0.parametrisation")
    ),
    "labels": Kind(f"{PARTS}/labels", "LABELS", "first-class", "AlwaysFirst", use=("dlg", "labels")),
    "gradient_transforms": Kind(
        f"{PARTS}/gradient_transforms",
        "GRADIENT_TRANSFORMS",
        "halved",
        "Halved",
        use=("inverting-gradients", "stages.0.gradient.0"),
    ),
    "moves": Kind(f"{PARTS}/moves", "MOVES", "shrink", "Shrink", use=("gradinversion", "stages.0.moves.0")),
    "pools": Kind(f"{PARTS}/pools", "POOLS", "best-alone", "BestAlone", use=("tableak", "pool")),
    "simulations": Kind(
        f"{PARTS}/simulations", "SIMULATIONS", "one-gradient", "OneGradient", use=("sme", "simulation")
    ),
    "optimisers": Kind(
        f"{PARTS}/optimisers", "OPTIMISERS", "heavy-ball", "HeavyBall", use=("dlg", "stages.0.optimiser")
    ),
    "denoisers": Kind(
        f"{PARTS}/denoisers",
        "DENOISERS",
        "half-contrast",
        "HalfContrast",
        use=("inverting-gradients-fast-denoised", "denoiser"),
    ),
    "defenses": Kind("protocol/defenses", "DEFENSES", "rounding", "Rounding", "defenses"),
    "detectors": Kind("client/detectors", "DETECTORS", "equal-biases", "EqualBiases", "detectors"),
    "studies": Kind("studies", "STUDIES", "seeds", "SEEDS", "studies", offered="STUDY"),
}

CHECK = """
import json, runpy, sys
from importlib import import_module
from gradaudit.attacks import ATTACKS, constructors
from gradaudit.audit.overrides import override
from gradaudit.commands.listings import LISTINGS

kinds, found, pages = json.loads(sys.argv[1]), {}, {}
page = runpy.run_path(sys.argv[2])["reference"]() if sys.argv[2] else None
for kind, (room, registry, name, attribute, command, use) in kinds.items():
    room = import_module("gradaudit." + room.replace("/", "."))
    members = getattr(room, registry)
    one = found[kind] = {"member": name in members, "attribute": getattr(room, attribute, None) is members.get(name)}
    pages.setdefault(command, [cell for row in LISTINGS[command][1]() for cell in row])
    one["listed"] = name in pages[command]
    if page is not None:
        one["documented"] = name in page
    if use is not None:
        changed = override(ATTACKS[use[0]], use[1], attribute + "()", constructors())
        one["usable"] = attribute + "(" in repr(changed)
"""
USE = """
import pytest
from gradaudit.commands.cli import main

class Count:
    passed = 0
    def pytest_runtest_logreport(self, report):
        self.passed += report.when == "call" and report.passed

arguments, sys.argv = json.loads(sys.argv[3]), ["gradaudit", *json.loads(sys.argv[4])]
try:
    found["audit"] = main()
except SystemExit as stop:
    found["audit"] = stop.code
found["tests"] = int(pytest.main(arguments, [count := Count()]))
found["passed"] = count.passed
"""
PRINT = "print(json.dumps(found))"
AUDIT = """
data: {source: photographs, size: 8, batch_size: 1}
model: {factory: 'net.py:linear', num_classes: 10}
knowledge: [basic]
defenses: [{name: rounding, grid: 1.0e-7}]
attacks: [division]
"""
NET = """
from torch import nn


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))
"""
# The process has imported the package before pytest marks it for its plugin, which pytest would warn of.
PYTEST = ("-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
GENERIC = ("tests/test_demonstrations.py", "tests/test_every_part.py", "tests/test_defenses.py")
NEW = "division or Rounding or HeavyBall or FourthPowers or Brightness or Squashed"


def checked(path, more="", *arguments, reference=""):
    """What a process with these folders first on its path finds, and what it printed before.

    The reference of the documentation is made only where its script is given, which takes some seconds.
    """
    kinds = {
        key: (kind.room, kind.registry, kind.name, kind.attribute, kind.command, kind.use)
        for key, kind in KINDS.items()
    }
    program = CHECK + more + PRINT
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(kinds), str(reference), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))},
        cwd=TESTS.parent,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    *printed, found = done.stdout.splitlines()
    return json.loads(found), "\n".join(printed)[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def inside(tmp_path_factory):
    """A copy of the package with a new file in every room: listed, audited and tested, all in one process."""
    folder = tmp_path_factory.mktemp("inside")
    shutil.copytree(SRC, folder / "gradaudit", ignore=shutil.ignore_patterns("__pycache__"))
    for key, kind in KINDS.items():
        shutil.copy(ADDITIONS / f"{key}.py", folder / "gradaudit" / kind.room / f"added_{key}.py")
    (folder / "net.py").write_text(NET)
    (folder / "audit.yaml").write_text(AUDIT)
    audit = ["audit", str(folder / "audit.yaml"), "--out", str(folder / "out")]
    tests, script = json.dumps([*PYTEST, *GENERIC, "-k", NEW]), TESTS.parent / "docs/generate.py"
    found, printed = checked([folder], USE, tests, json.dumps(audit), reference=script)
    return folder, found, printed


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """Another installed package that offers the same things through entry points."""
    folder = tmp_path_factory.mktemp("beside")
    shutil.copytree(ADDITIONS, folder / "leaks", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "leaks" / "__init__.py").write_text("")
    info = folder / "leaks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaks\nVersion: 1.0\n")
    groups = (
        f"[gradaudit.{key}]\n{kind.name} = leaks.{key}:{kind.offered or kind.attribute}\n"
        for key, kind in KINDS.items()
    )
    (info / "entry_points.txt").write_text("\n".join(groups))
    return checked([folder, SRC.parent])[0]


@pytest.mark.parametrize("key", KINDS)
def test_one_file_in_its_room_is_enough(inside, key):
    _, found, _ = inside
    assert found[key]
    assert all(found[key].values()), found[key]


@pytest.mark.parametrize("key", KINDS)
def test_one_entry_point_of_another_package_is_enough(beside, key):
    assert beside[key]
    assert all(beside[key].values()), beside[key]


def test_a_new_attack_and_defense_run_in_an_audit_file(inside):
    """The network of the demonstration is one linear layer, so the picture comes back to the last digit."""
    folder, found, printed = inside
    assert not found["audit"], printed
    lines = (folder / "out/results.jsonl").read_text().splitlines()
    (finding,) = (one for one in map(json.loads, lines) if one.get("attack") == "division")
    assert finding["scores"]["psnr"]["mean"] > finding["control"]["psnr"]["mean"] + 20


def test_the_generic_tests_take_new_things_up(inside):
    """The same tests as for the built-in ones, without a line in them."""
    _, found, printed = inside
    assert found["tests"] == 0, printed
    assert found["passed"] > 25
