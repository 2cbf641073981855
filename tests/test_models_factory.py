from __future__ import annotations

import sys

import pytest
from torch import nn

from gradaudit.models import from_factory
from gradaudit.values.errors import AuditError

GOOD = "from torch import nn\ndef make():\n    return nn.Linear(3, 2)\n"


@pytest.fixture(autouse=True)
def _unchanged_import_state():
    path, modules = list(sys.path), set(sys.modules)
    yield
    assert sys.path == path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(path, text=GOOD):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_file_and_module(tmp_path):
    write(tmp_path / "deep" / "ga_mine.py")
    write(tmp_path / "ga_package" / "__init__.py", "")
    write(tmp_path / "ga_package" / "inner.py")
    for spec in ("deep/ga_mine.py:make", f"{tmp_path}/deep/ga_mine.py:make", "ga_package.inner:make"):
        assert isinstance(from_factory(spec, tmp_path), nn.Linear)
    assert isinstance(from_factory("torch.nn:PReLU", tmp_path), nn.PReLU)


def test_current_folder_is_importable(tmp_path, monkeypatch):
    write(tmp_path / "here" / "ga_current.py")
    monkeypatch.chdir(tmp_path / "here")
    assert isinstance(from_factory("ga_current:make", tmp_path), nn.Linear)


def test_neighbours_are_importable_while_the_factory_runs(tmp_path):
    write(tmp_path / "deep" / "ga_neighbour.py")
    write(tmp_path / "deep" / "ga_user.py", "def make():\n    import ga_neighbour\n    return ga_neighbour.make()\n")
    assert isinstance(from_factory("deep/ga_user.py:make", tmp_path), nn.Linear)


def test_a_file_is_read_afresh(tmp_path):
    write(tmp_path / "a" / "ga_same.py")
    write(tmp_path / "b" / "ga_same.py", GOOD.replace("Linear", "Bilinear").replace("(3, 2)", "(3, 2, 1)"))
    assert isinstance(from_factory("ga_same.py:make", tmp_path / "a"), nn.Linear)
    assert isinstance(from_factory("ga_same.py:make", tmp_path / "b"), nn.Bilinear)


def test_a_module_of_the_same_name_is_not_mistaken(tmp_path):
    write(tmp_path / "a" / "ga_twice.py")
    write(tmp_path / "b" / "ga_twice.py")
    from_factory("ga_twice:make", tmp_path / "a")
    from_factory("ga_twice:make", tmp_path / "a")
    with pytest.raises(AuditError, match=r"ga_twice of .*b is hidden by .*ga_twice.py; rename it"):
        from_factory("ga_twice:make", tmp_path / "b")


@pytest.mark.parametrize("spec", ["", "module", ":make", "module:", "module:a-b", "file.py", "module:a.b"])
def test_malformed(tmp_path, spec):
    with pytest.raises(AuditError, match=r"must be package.module:function or path/file.py:function"):
        from_factory(spec, tmp_path)


BAD = {
    "model: no module ga_gone in the audit file's folder": ("ga_gone:make", ""),
    "model: no module torch.gone in the audit file's folder": ("torch.gone:make", ""),
    r"model: no file at .*gone.py \(paths are relative to the audit file\)": ("gone.py:make", ""),
    "model: ga_module has no build": ("ga_module:build", GOOD),
    "model: nn in ga_module is not a function but a value of type module": ("ga_module:nn", GOOD),
    r"model: ga_module:make returned a value of type int, not a torch.nn.Module": (
        "ga_module:make",
        "def make():\n    return 3\n",
    ),
    "model: ga_module:make raised ValueError: one.$": (
        "ga_module:make",
        "def make():\n    raise ValueError('one\\ntwo')\n",
    ),
    "model: ga_module:make raised TypeError: make.. missing 1 required": ("ga_module:make", "def make(a):\n    pass\n"),
    "model: importing ga_module raised ModuleNotFoundError: No module named 'ga_other'": (
        "ga_module:make",
        "import ga_other\n",
    ),
    "model: importing ga_module raised SyntaxError": ("ga_module:make", "def\n"),
    "model: running .*ga_module.py raised SystemExit: 2": ("ga_module.py:make", "raise SystemExit(2)\n"),
    "model: running .*ga_module.py raised NameError: name 'x'": ("ga_module.py:make", "x\n"),
    "model: ga_module:make raised GeneratorExit": ("ga_module:make", "def make():\n    raise GeneratorExit\n"),
    "model: importing ga_module raised BaseException: own": ("ga_module:make", "raise BaseException('own')\n"),
    "model: running .*ga_module.py raised GeneratorExit": ("ga_module.py:make", "raise GeneratorExit\n"),
    "model: ga_module:make returned a model without parameters": (
        "ga_module:make",
        "import torch\ndef make():\n    return torch.nn.Flatten()\n",
    ),
    "model: ga_module:make returned a TorchScript model; return the module": (
        "ga_module:make",
        "import torch, warnings\ndef make():\n    with warnings.catch_warnings(action='ignore'):\n"
        "        return torch.nn.Sequential(torch.jit.script(torch.nn.Linear(2, 2)))\n",
    ),
    "model: ga_module:make returned a model whose weight is sparse_coo; return it dense": (
        "ga_module:make",
        "import torch\ndef make():\n    net = torch.nn.Linear(2, 2)\n"
        "    net.weight = torch.nn.Parameter(torch.eye(2).to_sparse())\n    return net\n",
    ),
    "model: ga_module:make returned a model whose weight is on the meta device": (
        "ga_module:make",
        "import torch\ndef make():\n    return torch.nn.Linear(2, 2, device='meta')\n",
    ),
}


@pytest.mark.parametrize("message", list(BAD))
def test_what_can_go_wrong(tmp_path, message):
    spec, text = BAD[message]
    write(tmp_path / "ga_module.py", text)
    with pytest.raises(AuditError, match=message) as caught:
        from_factory(spec, tmp_path)
    assert "\n" not in str(caught.value)
