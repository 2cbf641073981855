"""The house rules, as tests: imports point one way, the adversary is blind, files and functions stay small."""

import ast
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

import gradaudit

SRC = Path(gradaudit.__file__).parent
FILES = sorted(SRC.rglob("*.py"))

# A room may import from the rooms of the lines above its own, and from itself; so may a module within some rooms. What
# stands in no line of a room may import all that is in one.
ORDER = {
    "": [
        {"values"},
        {"metrics", "models"},
        {"data", "protocol"},
        {"client", "inversion"},
        {"attacks", "capture"},
        {"audit", "inspection"},
        {"execution"},
        {"studies"},
        {"comparison"},
        {"report"},
        {"commands", "__init__", "__main__"},
    ],
    "values": [
        {"characters", "chance", "image_statistics", "streams", "records", "versions", "federation_result"},
        {"errors"},
        {"columns", "discovery", "files", "full_precision", "memory", "own_code", "terminal", "validation"},
        {"tensor_files"},
        {"types"},
        {"measures", "scores", "transcript", "granting"},
        {"finding"},
    ],
    "protocol": [{"local_training"}, {"defenses"}, {"observation"}],
    "client": [
        {"checking", "defending", "granted", "received"},
        {"detectors", "exact_yield"},
        {"model_check", "participant"},
        {"aggregation", "multimodal", "federation_settings"},
        {"federation", "update_map"},
        {"flower_federation"},
    ],
    "inversion": [{"network"}, {"attack", "parts"}, {"step"}, {"run"}],
    "inversion.run": [
        {"best", "keeper", "one_pass", "refusal"},
        {"recipe", "stage"},
        {"allowance"},
        {"loop"},
        {"restarts"},
        {"gradient_matching"},
        {"ensemble", "mutual", "call"},
        {"adaptive", "started"},
    ],
    "audit": [
        {
            "yaml_text",
            "asset_files",
            "adapting",
            "attack_entry",
            "overrides",
            "attempt",
            "shelf",
            "closeness",
            "digests",
            "battery",
            "budget",
            "doubts",
            "federation_section",
            "recoverability_section",
        },
        {"changes", "suspects"},
        {"config", "judge", "self_checking"},
        {"resolve", "demo", "schedule"},
        {"choosing"},
        {"plan", "given"},
        {"captured_facts", "label_audit", "controls", "utility", "recoverable"},
        {"captured", "assessment"},
    ],
}
ROOMS = 16
BLIND = {"inversion", "attacks"}
# What the adversary must not import.
PRIVATE = {"client", "data", "metrics", "audit", "report", "execution", "studies"}
PRIVATE |= {"values.finding", "values.scores", "values.measures"}
PARTS = {path.name for path in SRC.joinpath("inversion", "parts").iterdir() if (path / "__init__.py").exists()}
PEERS = ("torchmetrics", "skimage.metrics", "lpips", "piq", "kornia")


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def parts(path):
    return path.relative_to(SRC).with_suffix("").parts


def said(path, fault):
    return f"{'/'.join(parts(path))}: {fault}"


def none_of(faults):
    """Fails with every violation, one a line."""
    faults = list(faults)
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)


@cache
def imports(path):
    """(absolute path inside the package as a tuple, imported name), and full names from other packages."""
    inside, outside = [], []
    here = list(parts(path))[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                target = (
                    [*base, alias.name] if not base or (SRC.joinpath(*base) / f"{alias.name}.py").exists() else base
                )
                inside.append((tuple(target), alias.name))
        elif isinstance(node, ast.ImportFrom):
            outside += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            outside += [alias.name for alias in node.names]
    return inside, outside


@cache
def type_checking_only(path):
    """Rooms imported only for annotations."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for inner in ast.walk(node):
                if isinstance(inner, ast.ImportFrom):
                    found.add((inner.module or inner.names[0].name).split(".")[0])
    return found


def wrong_ways(path):
    """Imports of `path` from a place to the right of its own, in the house or in a room."""
    here = parts(path)
    for target, _ in imports(path)[0]:
        target = target or ("__init__",)
        shared = next((i for i, (a, b) in enumerate(zip(here, target, strict=False)) if a != b), None)
        if shared is None or target[0] in type_checking_only(path):
            continue
        level = {name: i for i, names in enumerate(ORDER.get(".".join(here[:shared]), [])) for name in names}
        mine, theirs = level.get(here[shared], len(level)), level.get(target[shared], 0)
        if level and theirs > mine:
            yield said(path, f"may not import {'.'.join(target)}")


def test_every_room_has_its_place():
    rooms = {path.name for path in SRC.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms | {"__init__", "__main__"} == set().union(*ORDER[""])
    assert len(rooms) <= ROOMS
    assert len(ORDER[""]) <= 12


def test_no_name_of_a_module_or_a_class_stands_twice():
    modules = [parts(path)[-1 - (parts(path)[-1] == "__init__")].lstrip("_") for path in FILES if len(parts(path)) > 1]
    classes = []
    for path in FILES:
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef):
                classes.append(node.name)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                classes += [node.targets[0].id] if any(letter.islower() for letter in node.targets[0].id[1:]) else []
    capitals = [name for name in classes if name.lstrip("_")[0].isupper()]
    for names in (modules, capitals):
        none_of(f"{name} stands {count} times" for name, count in Counter(names).items() if count > 1)


def test_imports_point_one_way():
    none_of(fault for path in FILES for fault in wrong_ways(path))


def peeks(path):
    """What the adversary imports that it must not see."""
    inside, outside = imports(path)
    for target, name in inside:
        if any(target[: len(room.split("."))] == tuple(room.split(".")) for room in PRIVATE) or name == "Batch":
            yield said(path, f"imports {'.'.join((*target, name))}")
    for name in outside:
        if f"{name}.".startswith(tuple(f"{peer}." for peer in PEERS)):
            yield said(path, f"imports {name}")


def test_the_adversary_cannot_peek():
    none_of(fault for path in FILES if parts(path)[0] in BLIND for fault in peeks(path))


def kinds_asked(path):
    """Where a module outside the inversion asks which family an attack is of: the families are the inversion's own."""
    families = {"GradientMatching", "Ensemble", "MutualInversion"}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            asked = {getattr(name, "id", getattr(name, "attr", "")) for name in ast.walk(node.args[1])}
            if families & asked:
                yield said(path, f"line {node.lineno} asks for the family of an attack")


def test_nobody_asks_which_family_an_attack_is_of():
    none_of(fault for path in FILES if parts(path)[0] != "inversion" for fault in kinds_asked(path))


def test_no_import_cycle_among_modules():
    names = {parts(p) for p in FILES}
    edges = {}
    for path in FILES:
        skip = type_checking_only(path)
        edges[parts(path)] = {
            t if t in names else (*t, "__init__")
            for t, _ in imports(path)[0]
            if (t in names or (*t, "__init__") in names) and t and t[0] not in skip
        } - {parts(path)}
    done, path = set(), []

    def visit(node):
        assert node not in path, f"import cycle: {[*path[path.index(node) :], node]}"
        if node in done:
            return
        path.append(node)
        for other in edges.get(node, ()):
            visit(other)
        path.pop()
        done.add(node)

    for node in edges:
        visit(node)


def excesses(path):
    """Files, functions and classes that are too long."""
    if path.read_text(encoding="utf-8").count("\n") > 300:
        yield said(path, "a file holds at most 300 lines")
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            text = ast.get_docstring(node)
            length = node.end_lineno - node.lineno + 1 - (len(text.splitlines()) if text else 0)
            most = 120 if isinstance(node, ast.ClassDef) else 40
            if length > most:
                yield said(path, f"{node.name} has {length} lines, more than {most}")


def test_budgets():
    none_of(fault for path in FILES for fault in excesses(path))


def silences(path):
    """Public names without a docstring or a type."""
    module = tree(path)
    if not ast.get_docstring(module):
        yield said(path, "a module says what it is")
    public = [node for node in module.body if not getattr(node, "name", "_").startswith("_")]
    members = [inner for node in public if isinstance(node, ast.ClassDef) for inner in node.body]
    for node in [*public, *members]:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield said(path, f"{node.name} has no docstring")
            if isinstance(node, ast.FunctionDef) and node.returns is None:
                yield said(path, f"{node.name} does not say what it returns")


def test_public_names_are_documented_and_typed():
    none_of(fault for path in FILES for fault in silences(path))


def scanned():
    """The `__init__` of every room whose members a `Registry` finds."""
    for path in FILES:
        calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
        if path.name == "__init__.py" and any(getattr(call.func, "id", "") == "Registry" for call in calls):
            yield path


def lists_of_members(path):
    """Modules and members of a scanned room that its own `__init__` names."""
    beside = {file.stem for file in path.parent.glob("*.py") if not file.name.startswith("_")}
    imported = [node for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom) and node.level == 1]
    for node in imported:
        for named in [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]:
            if named in beside:
                yield said(path, f"imports {named}: the registry finds it")
    members = [name for file in beside for name in public_classes_of(path.with_name(f"{file}.py"))]
    texts = {node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant)}
    yield from (said(path, f"names {name}: the registry finds it") for name in members if name in texts)


def public_classes_of(path):
    return [node.name for node in tree(path).body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]


def test_no_room_lists_its_members():
    rooms = {"/".join(parts(path)[:-1]) for path in scanned()}
    assert {"attacks", "protocol/defenses", "studies"} | {f"inversion/parts/{kind}" for kind in PARTS} <= rooms
    none_of(fault for path in scanned() for fault in lists_of_members(path))


def test_parts_are_imported_from_their_own_modules():
    """So that type checkers and readers see them: what a room's `__getattr__` returns is of any type."""
    rooms = {parts(path)[:-1]: set(lists_of_names(path)) for path in scanned()}
    none_of(
        said(path, f"imports {name} from {'.'.join(target)}, not from its module")
        for path in FILES
        if len(parts(path)) > 1  # the front door names whole rooms
        for target, name in imports(path)[0]
        if target in rooms and name not in rooms[target]
    )


def lists_of_names(path):
    """The names that an `__init__` really has."""
    for node in tree(path).body:
        if isinstance(node, ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets)
        elif isinstance(node, ast.AnnAssign):
            yield node.target.id
    yield from (child.name for child in path.parent.iterdir() if child.is_dir())


def test_few_duplicated_windows():
    """Six-line windows that stand in two places, as a share of all: below 5 %."""
    windows = {}
    total = 0
    for path in FILES:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        lines = [line for line in lines if line and not line.startswith(("#", "import ", "from ", '"""'))]
        for start in range(len(lines) - 5):
            total += 1
            windows.setdefault(tuple(lines[start : start + 6]), []).append((path.name, start))
    doubled = sum(len(places) - 1 for places in windows.values() if len(places) > 1)
    assert doubled / total < 0.05


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "generator", "--help"], ["study", "--help"], ["--version"]], ids=" ".join
)
def test_the_command_line_explains_itself_without_torch(words):
    """Importing torch takes seconds, which nobody should wait for a line of help."""
    code = (
        "import sys, gradaudit.commands.cli as cli\n"
        f"sys.argv = ['gradaudit', *{words}]\n"
        "try:\n    cli.main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "assert not {'torch', 'numpy', 'torchvision', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_one_gradient_crosses_five_files_beside_the_parts(monkeypatch):
    """From the stage to the local step: whoever reads how a gradient is taken opens these."""
    from conftest import make_batch, smooth_net
    from gradaudit.inversion.run.stage import Guesses

    crossed, real, root = set(), Guesses.slopes, str(SRC / "inversion")

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(root):
            crossed.add(frame.f_code.co_filename[len(root) + 1 :])

    def noted(*arguments):
        before = sys.getprofile()
        sys.setprofile(note)
        try:
            return real(*arguments)
        finally:
            sys.setprofile(before)

    monkeypatch.setattr(Guesses, "slopes", noted)
    client = gradaudit.Client(smooth_net())
    seen = client.share(make_batch(1), gradaudit.Level.BASIC | gradaudit.Knowledge.LABELS)
    attack = gradaudit.attacks.INVERTING_GRADIENTS
    replace(attack, stages=(replace(attack.stages[0], steps=2),), together=False)(seen)
    assert {name for name in crossed if not name.startswith("parts/")} == {
        "run/stage.py",
        "step/matching.py",
        "step/routes.py",
        "step/one_step.py",
        "step/kinks.py",
    }


def test_public_surface():
    assert sorted(gradaudit.__all__) == sorted(set(gradaudit.__all__))
    rooms = {path.name for path in SRC.iterdir() if (path / "__init__.py").exists()}
    assert rooms <= set(gradaudit.__all__)
    assert len(set(gradaudit.__all__) - rooms - {"defenses", "__version__"}) <= 23
    for name in gradaudit.__all__:
        assert getattr(gradaudit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = gradaudit.nonsense
