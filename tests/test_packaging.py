"""What is published: one version, a source distribution that holds its tests, hooks that download nothing."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TRAVELLING = (".ci", "benchmarks", "docs", "src", "tests")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info")


def test_one_version_and_one_date():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    version, date = re.search(r"^## (\S+) – (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M).groups()
    assert PROJECT["version"] == citation["version"] == version
    assert citation["date-released"] == date
    assert citation["license"] == PROJECT["license"]


def test_the_hooks_run_tools_of_this_machine():
    for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            assert hook["language"] == "system"
            assert hook["entry"].startswith(".venv/bin/")


@pytest.fixture(scope="module")
def archived(tmp_path_factory):
    """Names of the files in a source distribution that is built from a copy without build products."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("sdist")
    tree = folder / "tree"
    tree.mkdir()
    for path in ROOT.iterdir():
        if path.name in TRAVELLING:
            shutil.copytree(path, tree / path.name, ignore=LEFT_OUT)
        elif path.is_file() and path.name not in (".git", "PKG-INFO", "setup.cfg"):
            shutil.copy(path, tree / path.name)
    code = f"import setuptools.build_meta as backend; backend.build_sdist({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=tree, check=True, capture_output=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        return {name.partition("/")[2] for name in file.getnames()}


def test_the_source_distribution_holds_all_files(archived):
    folders = (path for name in TRAVELLING for path in (ROOT / name).rglob("*"))
    files = {path.relative_to(ROOT) for path in (*ROOT.iterdir(), *folders) if path.is_file()}
    unwanted = ("__pycache__", ".egg-info")
    expected = {str(path) for path in files if not any(word in str(path) for word in unwanted)} - {".git"}
    assert expected <= archived
    assert not any("__pycache__" in name for name in archived)
